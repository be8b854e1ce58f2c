import type { JobId } from '../scheduler/types.ts'
import type { Change } from './key-value.ts'
import { jobKey, PREFIX } from './keys.ts'
import { MAX_WAITING_BYTES, MAX_WAITING_JOB_BYTES, MAX_WAITING_JOBS } from './limits.ts'
import { waitingValue } from './records.ts'

interface Waiting {
  bytes: number
  readonly order: number
}

/**
 * Jobs of which entries came, but not the JOB (yet): nobody can tell whether there is such a job at all. They are few and small, or
 * whoever invents job ids could fill the disk; the oldest go. When the JOB comes, what is missing is pulled again.
 */
export class WaitingJobs {
  /** The oldest first. */
  private readonly jobs = new Map<JobId, Waiting>()
  private readonly dirty = new Set<JobId>()
  private bytes = 0
  private order = 0

  get hasChanges(): boolean {
    return this.dirty.size > 0
  }

  load(rows: readonly (readonly [JobId, { bytes: number; order: number }])[]): void {
    for (const [job, { bytes, order }] of [...rows].sort(([, a], [, b]) => a.order - b.order)) {
      this.jobs.set(job, { bytes, order })
      this.bytes += bytes
      this.order = Math.max(this.order, order)
    }
  }

  begin(job: JobId): void {
    this.jobs.set(job, { bytes: 0, order: ++this.order })
    this.dirty.add(job)
  }

  has(job: JobId): boolean {
    return this.jobs.has(job)
  }

  /** Whether the job may have so many bytes more. */
  hasRoom(job: JobId, bytes: number): boolean {
    return (this.jobs.get(job)?.bytes ?? 0) + bytes <= MAX_WAITING_JOB_BYTES
  }

  grow(job: JobId, bytes: number): void {
    const waiting = this.jobs.get(job)
    if (waiting === undefined) return
    waiting.bytes += bytes
    this.bytes += bytes
    this.dirty.add(job)
  }

  /** The JOB came, or the job goes. */
  end(job: JobId): void {
    const waiting = this.jobs.get(job)
    if (waiting === undefined) return
    this.jobs.delete(job)
    this.bytes -= waiting.bytes
    this.dirty.add(job)
  }

  /** The oldest, as long as they are too many or too much. */
  get surplus(): JobId | undefined {
    const full = this.jobs.size > MAX_WAITING_JOBS || this.bytes > MAX_WAITING_BYTES
    return full ? this.jobs.keys().next().value : undefined
  }

  takeChanges(): Change[] {
    const changes = Array.from(this.dirty, (job): Change => {
      const key = jobKey(PREFIX.waiting, job)
      const waiting = this.jobs.get(job)
      return waiting === undefined
        ? { key }
        : { key, value: waitingValue(waiting.bytes, waiting.order) }
    })
    this.dirty.clear()
    return changes
  }
}
