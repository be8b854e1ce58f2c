import type { JobId } from '../scheduler/types.ts'
import { MAX_JOBS_WITH_LOGS, MAX_LOG_LINE_CHARS, MAX_LOG_LINES_PER_JOB } from './limits.ts'
import type { LogLine } from './types.ts'

interface Ring {
  lines: LogLine[]
  readonly followers: Set<(line: LogLine) => void>
}

/** Console output of tasks: a bounded ring per job on the peer that ran it; not part of the log of entries. */
export class LogRings {
  private readonly rings = new Map<JobId, Ring>()

  add(job: JobId, line: LogLine): void {
    const ring = this.ring(job)
    const kept =
      line.text.length > MAX_LOG_LINE_CHARS
        ? { ...line, text: `${line.text.slice(0, MAX_LOG_LINE_CHARS)}…` }
        : line
    ring.lines.push(kept)
    if (ring.lines.length > 2 * MAX_LOG_LINES_PER_JOB) {
      ring.lines = ring.lines.slice(-MAX_LOG_LINES_PER_JOB)
    }
    for (const follow of ring.followers) follow(kept)
  }

  lines(job: JobId): readonly LogLine[] {
    return this.rings.get(job)?.lines.slice(-MAX_LOG_LINES_PER_JOB) ?? []
  }

  /** Calls `follower` for each new line until the returned function is called. */
  follow(job: JobId, follower: (line: LogLine) => void): () => void {
    const ring = this.ring(job)
    ring.followers.add(follower)
    return () => ring.followers.delete(follower)
  }

  private ring(job: JobId): Ring {
    let ring = this.rings.get(job)
    if (ring === undefined) {
      ring = { lines: [], followers: new Set() }
      this.rings.set(job, ring)
      this.evict()
    }
    return ring
  }

  private evict(): void {
    for (const [job, ring] of this.rings) {
      if (this.rings.size <= MAX_JOBS_WITH_LOGS) return
      if (ring.followers.size === 0) this.rings.delete(job)
    }
  }
}
