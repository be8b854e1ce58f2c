import type { JobId } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import { MAX_COLLECTED_KNOWN } from './limits.ts'

const AGES_KEY = 'retention-ages'
const COLLECTED_KEY = 'retention-collected'
const LONGEST_KEY = 'retention-longest'
const ROW_BYTES = 40

/**
 * What retention remembers over restarts: for how long this peer has run since each job ended (never the wall clock, which may be
 * wrong by hours), and when collected jobs went, for people.
 */
export class RetentionBook {
  private readonly store: Pick<Store, 'getMeta' | 'putMeta'>
  private ages = new Map<JobId, number>()
  /** Wall time of the collection, ms since 1970. */
  private collected = new Map<JobId, number>()
  /** The longest time that a job here asked to be kept, ms: its tombstones outlive that too. */
  longestMs = 0

  constructor(store: Pick<Store, 'getMeta' | 'putMeta'>) {
    this.store = store
  }

  async load(): Promise<void> {
    this.ages = readRows(await this.store.getMeta(AGES_KEY))
    this.collected = readRows(await this.store.getMeta(COLLECTED_KEY))
    const longest = Number(Buffer.from((await this.store.getMeta(LONGEST_KEY)) ?? []).toString())
    this.longestMs = Number.isFinite(longest) ? Math.max(this.longestMs, longest) : this.longestMs
  }

  async save(): Promise<void> {
    await this.store.putMeta(AGES_KEY, writeRows(this.ages))
  }

  /** Makes the ended jobs older; those that are not among them any more (collected, or running again) are dropped. */
  age(ended: Iterable<JobId>, elapsedMs: (job: JobId) => number): void {
    const ages = new Map<JobId, number>()
    for (const job of ended) ages.set(job, (this.ages.get(job) ?? 0) + elapsedMs(job))
    this.ages = ages
  }

  async noteLongest(ms: number): Promise<void> {
    if (ms <= this.longestMs) return
    this.longestMs = ms
    await this.store.putMeta(LONGEST_KEY, Buffer.from(String(ms)))
  }

  /** How long this peer has run since the job ended, ms. */
  ageOf(job: JobId): number {
    return this.ages.get(job) ?? 0
  }

  async noteCollected(jobs: readonly JobId[], at: number): Promise<void> {
    for (const job of jobs) {
      this.ages.delete(job)
      this.collected.delete(job)
      this.collected.set(job, at)
    }
    for (const oldest of this.collected.keys()) {
      if (this.collected.size <= MAX_COLLECTED_KNOWN) break
      this.collected.delete(oldest)
    }
    await this.store.putMeta(COLLECTED_KEY, writeRows(this.collected))
  }

  collectedAt(job: JobId): number | undefined {
    return this.collected.get(job)
  }

  /** Collected jobs whose id starts so. */
  collectedLike(prefix: string): JobId[] {
    return [...this.collected.keys()].filter((job) => job.startsWith(prefix))
  }
}

function writeRows(rows: ReadonlyMap<JobId, number>): Uint8Array {
  const bytes = Buffer.alloc(rows.size * ROW_BYTES)
  let at = 0
  for (const [job, value] of rows) {
    bytes.write(job, at, 32, 'hex')
    bytes.writeDoubleBE(value, at + 32)
    at += ROW_BYTES
  }
  return bytes
}

function readRows(value: Uint8Array | undefined): Map<JobId, number> {
  const rows = new Map<JobId, number>()
  if (value === undefined) return rows
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  for (let at = 0; at + ROW_BYTES <= bytes.length; at += ROW_BYTES) {
    const number = bytes.readDoubleBE(at + 32)
    if (Number.isFinite(number)) rows.set(bytes.toString('hex', at, at + 32) as JobId, number)
  }
  return rows
}
