import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { BlobHash, JobId, JobSpec } from '../scheduler/types.ts'
import type { Store, StoredJob } from '../store/types.ts'
import { Alarm } from './alarm.ts'
import { BlobSet } from './blob-set.ts'
import { MAX_PINNED, SPANS_PER_TURN } from './limits.ts'
import { RetentionBook } from './retention-book.ts'
import type { UpkeepTimes } from './upkeep-times.ts'

/** How long, and how much, of what is finished is kept. */
export interface KeepRules {
  /** Of time that this peer runs, ms; default 7 days. */
  readonly ms?: number
  /** Of results and input of finished jobs, bytes; default 10 GB, or a tenth of the disk when that is less. */
  readonly bytes?: number
}

export const DEFAULT_KEEP_MS = 7 * 24 * 3_600_000
export const DEFAULT_KEEP_BYTES = 10e9
const DISK_SHARE = 0.1
/** Tombstones outlive retention by so much: a peer that was away for less cannot bring a collected job back. */
const TOMBSTONE_FACTOR = 10
const MIN_TOMBSTONE_MS = 24 * 3_600_000

export interface RetentionParts {
  readonly store: Store
  readonly keep: KeepRules
  readonly diskBytes: () => number | undefined
  readonly diskShort: () => boolean
  /** Running here: not to be touched, whatever its record says. */
  readonly isRunning: (job: JobId) => boolean
  /** Bundle, manifest and pieces of a job, as far as they are known here. */
  readonly inputsOf: (spec: JobSpec) => Promise<readonly BlobHash[]>
  /** Takes a job out of memory before it is collected. */
  readonly letGo: (job: JobId) => void
  /** Deletes a blob; whoever asks for it meanwhile waits, and finds it gone. */
  readonly drop: (hash: BlobHash) => Promise<void>
  readonly times: Pick<
    UpkeepTimes,
    'retentionEveryMs' | 'sweepEveryMs' | 'sweepAgeMs' | 'sweepAgeShortMs'
  >
  /** Monotonic: a machine whose clock jumps collects nothing early. */
  readonly now: () => number
  readonly wallClock: () => number
  readonly log: Logger
}

/** What one pass did. */
export interface Pass {
  readonly collected: readonly JobId[]
  readonly sweptBlobs: number
  readonly sweptBytes: number
}

interface Ended {
  readonly record: StoredJob
  readonly sizeBytes: number
}

/**
 * Collects what is finished and old, the oldest first when there is too much, and sweeps blobs that no job names (docs/operations.md,
 * "Retention"). Collected jobs leave a tombstone, so that a peer that was away cannot bring them back.
 */
export class Retention {
  readonly book: RetentionBook
  private readonly parts: RetentionParts
  /** Written by a local caller, named by no job yet. */
  private readonly pinned = new BlobSet()
  /** Unreferenced in the sweep before. */
  private suspects = new BlobSet()
  /** Of those, the ones that the sweep under way may delete. */
  private condemned = new BlobSet()
  private agedAt: number
  /** When jobs ended that have not aged yet. */
  private readonly endedAt = new Map<JobId, number>()
  private readonly alarm: Alarm
  private sweptAt: number
  private timer: NodeJS.Timeout | undefined
  private working: Promise<unknown> = Promise.resolve()
  private closed = false

  constructor(parts: RetentionParts) {
    this.parts = parts
    this.book = new RetentionBook(parts.store)
    this.agedAt = this.sweptAt = parts.now()
    const { retentionEveryMs } = parts.times
    this.alarm = new Alarm(parts.now, retentionEveryMs, () => void this.tick())
  }

  async start(): Promise<void> {
    await this.book.load()
    this.timer = setInterval(() => void this.tick(), this.parts.times.retentionEveryMs)
    this.timer.unref()
  }

  /** Ages so far are written down; nothing is collected any more. */
  async close(): Promise<void> {
    clearInterval(this.timer)
    this.alarm.close()
    await this.alone(async () => {
      await this.age()
      this.closed = true
    })
  }

  /** A local caller wrote it: it stays until a job names it. */
  pin(hash: BlobHash): void {
    this.touch(hash)
    if (this.pinned.size < MAX_PINNED) this.pinned.add(hash)
  }

  /** Somebody wants it: it is not swept before two more sweeps find it unreferenced. */
  touch(hash: BlobHash): void {
    this.suspects.delete(hash)
    this.condemned.delete(hash)
  }

  /** A job names these now. */
  unpin(hashes: Iterable<BlobHash>): void {
    for (const hash of hashes) this.pinned.delete(hash)
  }

  /** Ages, collects what is due, and sweeps when it is time (or the disk is short). */
  tick(): Promise<Pass | undefined> {
    return this.alone(async () => {
      await this.age()
      const short = this.parts.diskShort()
      const sweepDue = this.parts.now() - this.sweptAt >= this.parts.times.sweepEveryMs
      const ended = await this.ended()
      this.wakeForNext(ended)
      if (short || sweepDue || ended.some((record) => this.isDue(record))) return this.pass(short)
      return undefined
    }).catch((error: unknown) => {
      this.parts.log.warn('retention failed', { error: String(error) })
      return undefined
    })
  }

  /** A job is over just now. */
  jobEnded(job: JobId, spec: JobSpec): void {
    // One that was taken up again has its age.
    if (this.book.ageOf(job) === 0) this.endedAt.set(job, this.parts.now())
    const { resultTtlMs } = spec.options
    if (resultTtlMs !== undefined) this.alarm.set(resultTtlMs)
  }

  /** How much longer an ended job is kept, ms, if this peer runs on and has room. */
  leftMs(job: JobId, spec: JobSpec): number {
    const now = this.parts.now()
    const since = now - Math.max(this.agedAt, this.endedAt.get(job) ?? this.agedAt)
    return Math.max(0, this.keepMsOf(spec) - this.book.ageOf(job) - since)
  }

  /**
   * Collects these jobs now.
   * @throws ERR_MESH_JOB_RUNNING when one is not over; then none is collected
   */
  forget(jobs: readonly JobId[]): Promise<void> {
    return this.alone(async () => {
      for (const job of jobs) {
        if (!this.parts.isRunning(job)) continue
        throw new MeshError(
          'ERR_MESH_JOB_RUNNING',
          `job ${job.slice(0, 8)} is not over: only finished and cancelled jobs are forgotten`,
          { details: { job } },
        )
      }
      await this.collect(jobs)
    })
  }

  get keepMs(): number {
    return this.parts.keep.ms ?? DEFAULT_KEEP_MS
  }

  get keepBytes(): number {
    const { keep, diskBytes } = this.parts
    if (keep.bytes !== undefined) return keep.bytes
    const disk = diskBytes()
    return disk === undefined ? DEFAULT_KEEP_BYTES : Math.min(DEFAULT_KEEP_BYTES, disk * DISK_SHARE)
  }

  // ------------------------------------------------------------ one pass

  private async pass(short: boolean): Promise<Pass> {
    this.sweptAt = this.parts.now()
    const marked = new BlobSet()
    const ended: Ended[] = []
    const dueNow: JobId[] = []
    for (const record of await this.parts.store.jobs()) {
      if (this.isOver(record) && this.isDue(record)) {
        dueNow.push(record.job)
        continue
      }
      const sizeBytes = await this.mark(record, marked)
      if (this.isOver(record)) ended.push({ record, sizeBytes })
    }
    const tooMuch = this.aboveSize(ended)
    const collected = [...dueNow, ...tooMuch]
    await this.collect(collected)
    // What jobs that went just now named is still marked; the next pass sweeps it.
    const swept = await this.sweep(marked, short)
    if (collected.length > 0 || swept.sweptBlobs > 0) {
      this.parts.log.info('retention', { collected: collected.length, ...swept })
    }
    return { collected, ...swept }
  }

  /** The oldest of them, until the rest fits. */
  private aboveSize(ended: readonly Ended[]): JobId[] {
    let total = ended.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
    const oldestFirst = [...ended].sort(
      (a, b) =>
        this.book.ageOf(b.record.job) - this.book.ageOf(a.record.job) ||
        (a.record.summary.finishedAt ?? 0) - (b.record.summary.finishedAt ?? 0),
    )
    const tooMuch: JobId[] = []
    for (const { record, sizeBytes } of oldestFirst) {
      if (total <= this.keepBytes) break
      // A job without a byte of results frees nothing.
      if (sizeBytes === 0) continue
      total -= sizeBytes
      tooMuch.push(record.job)
    }
    return tooMuch
  }

  /** Marks every blob that the job names; returns the bytes of those that are here. */
  private async mark(record: StoredJob, marked: BlobSet): Promise<number> {
    const { store, inputsOf } = this.parts
    const { job, summary } = record
    let sizeBytes = 0
    let seen = 0
    const add = async (hash: BlobHash, known?: number): Promise<void> => {
      marked.add(hash)
      // Where the size is known, a look whether it is here is five times cheaper than asking for it.
      if (known === undefined) sizeBytes += (await store.blobs.size(hash)) ?? 0
      else if (await store.blobs.has(hash)) sizeBytes += known
      seen += 1
      if (seen % SPANS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    for (const hash of await inputsOf(summary.spec)) await add(hash)
    let last: BlobHash | undefined
    for await (const { result } of store.doneSpans(job)) {
      if (result.kind !== 'blob' || result.hash === last) continue
      last = result.hash
      await add(result.hash, result.sizeBytes)
    }
    return sizeBytes
  }

  private async collect(jobs: readonly JobId[]): Promise<void> {
    if (jobs.length === 0) return
    for (const job of jobs) {
      this.parts.letGo(job)
      await this.parts.store.collectJob(job)
    }
    await this.book.noteCollected(jobs, this.parts.wallClock())
    await this.book.save()
  }

  private async sweep(
    marked: BlobSet,
    short: boolean,
  ): Promise<{ sweptBlobs: number; sweptBytes: number }> {
    const { store, times, drop } = this.parts
    // What names a blob may be in entries that were lost with the damage and are still to be pulled.
    if (store.repair !== undefined && !short) return { sweptBlobs: 0, sweptBytes: 0 }
    const minAgeMs = short ? times.sweepAgeShortMs : times.sweepAgeMs
    this.condemned = this.suspects
    this.suspects = new BlobSet()
    let sweptBlobs = 0
    let sweptBytes = 0
    for await (const { hash, sizeBytes, ageMs } of store.blobs.list()) {
      if (this.closed) break
      if (marked.has(hash) || this.pinned.has(hash)) continue
      if (!this.condemned.has(hash) || ageMs < minAgeMs) {
        this.suspects.add(hash)
        continue
      }
      await drop(hash)
      sweptBlobs += 1
      sweptBytes += sizeBytes
    }
    return { sweptBlobs, sweptBytes }
  }

  // ------------------------------------------------------------ time

  private async age(): Promise<void> {
    const now = this.parts.now()
    const elapsedMs = Math.max(0, Math.round(now - this.agedAt))
    const endedAt = new Map(this.endedAt)
    this.agedAt = now
    this.endedAt.clear()
    const { store } = this.parts
    const ended = await this.ended()
    // Of a job that ended meanwhile only the time since then counts.
    const elapsedOf = (job: JobId) =>
      Math.min(elapsedMs, Math.round(now - (endedAt.get(job) ?? Number.NEGATIVE_INFINITY)))
    this.book.age(
      ended.map(({ job }) => job),
      elapsedOf,
    )
    await this.book.save()
    const asked = ended.map(({ summary }) => summary.spec.options.resultTtlMs ?? 0)
    await this.book.noteLongest(asked.reduce((most, ms) => Math.max(most, ms), 0))
    const longestMs = Math.max(this.keepMs, this.book.longestMs)
    await store.ageTombstones(elapsedMs, Math.max(MIN_TOMBSTONE_MS, TOMBSTONE_FACTOR * longestMs))
  }

  private keepMsOf(spec: JobSpec): number {
    return spec.options.resultTtlMs ?? this.keepMs
  }

  private isDue({ job, summary }: StoredJob): boolean {
    return this.book.ageOf(job) >= this.keepMsOf(summary.spec)
  }

  /** Jobs that ask to go soon do not wait for the next look. */
  private wakeForNext(ended: readonly StoredJob[]): void {
    let nextMs = Number.POSITIVE_INFINITY
    for (const { job, summary } of ended) {
      const { resultTtlMs } = summary.spec.options
      if (resultTtlMs === undefined) continue
      const leftMs = resultTtlMs - this.book.ageOf(job)
      if (leftMs > 0) nextMs = Math.min(nextMs, leftMs)
    }
    this.alarm.reset()
    this.alarm.set(nextMs)
  }

  private async ended(): Promise<StoredJob[]> {
    return (await this.parts.store.jobs()).filter((record) => this.isOver(record))
  }

  private isOver(record: StoredJob): boolean {
    return record.state !== 'running' && !this.parts.isRunning(record.job)
  }

  /** One piece of work at a time: a pass must not mark while a job is being collected. */
  private alone<T>(work: () => Promise<T>): Promise<T | undefined> {
    const mine = this.working.then(() => (this.closed ? undefined : work()))
    this.working = mine.catch(() => undefined)
    return mine
  }
}
