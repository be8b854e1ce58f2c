import { isMeshError, MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { DoneSpan, Entry, JobId, OwnerSpan, PeerId, ViewChange } from '../scheduler/types.ts'
import { decodeEntry } from './entry-codec.ts'
import { type FeedAudit, FeedAuditor } from './feed-audit.ts'
import { FeedBook } from './feed-book.ts'
import { feedName } from './feed-table.ts'
import { damaged } from './fs-errors.ts'
import { GroupCommit } from './group-commit.ts'
import type { Change, KeyValue, Row } from './key-value.ts'
import {
  entryKey,
  feedKey,
  feedOfKey,
  itemKey,
  itemOfKey,
  jobKey,
  jobOfKey,
  jobRange,
  type KeyRange,
  kindRange,
  metaKey,
  PREFIX,
} from './keys.ts'
import { MAX_STAGED_BYTES, POINT_READ_ENTRIES, STAGED_WRITE_BYTES } from './limits.ts'
import {
  doneSpanValue,
  jobValue,
  ownerValue,
  readDoneSpanValue,
  readEntryValue,
  readFeedsValue,
  readForkValue,
  readHeadValue,
  readJobValue,
  readOwnerValue,
  readWaitingValue,
  type StoredEntry,
} from './records.ts'
import { RunBuilder } from './run-builder.ts'
import { checkSchema, SCHEMA, SCHEMA_KEY } from './schema.ts'
import { createVerifier, type VerifyEnd } from './signatures.ts'
import { AGE_KEY, Tombstones } from './tombstones.ts'
import type {
  BlobStore,
  FeedHead,
  FeedId,
  IngestResult,
  Run,
  Store,
  StoredJob,
  StoreRepair,
} from './types.ts'

const SYNC_KEY = metaKey('\0sync')

export interface StoreOptions {
  readonly self: PeerId
  /** This peer's Ed25519 signature of 32 bytes. */
  readonly sign: (hash: Uint8Array) => Uint8Array
  readonly verify?: VerifyEnd | undefined
  /** What was mended before this store was opened. */
  readonly repair?: StoreRepair | undefined
  /** Something of the database was found to be missing or changed; it is repaired when it is opened next. */
  readonly onDamaged?: ((what: string) => void) | undefined
  /** The disk is full: nothing is written or taken in until it is called again with undefined. */
  readonly onStall?: ((error: MeshError | undefined) => void) | undefined
  readonly logger?: Logger | undefined
}

/** What a deleted job leaves in the database until its keys are cleared. */
const JOB_KINDS = [
  PREFIX.entry,
  PREFIX.head,
  PREFIX.fork,
  PREFIX.feeds,
  PREFIX.owner,
  PREFIX.done,
  PREFIX.views,
  PREFIX.waiting,
] as const

/** The Store over any KeyValue. */
export class KeyValueStore implements Store {
  readonly dir: string
  readonly blobs: BlobStore
  private readonly options: StoreOptions
  private readonly kv: KeyValue
  private readonly book: FeedBook
  private readonly commit: GroupCommit
  private readonly tombstones = new Tombstones()
  /** Jobs whose views were dropped by a repair and are not made yet. */
  private readonly unmade = new Set<JobId>()
  private repaired: StoreRepair | undefined
  private readonly deleting = new Map<JobId, Promise<void>>()
  /** Changes of views, records and meta; entries are staged in the book. */
  private staged: Change[] = []
  private closing: Promise<void> | undefined

  constructor(dir: string, kv: KeyValue, blobs: BlobStore, options: StoreOptions) {
    this.dir = dir
    this.kv = kv
    this.blobs = blobs
    this.options = options
    this.book = new FeedBook({
      self: options.self,
      sign: options.sign,
      verify: options.verify ?? createVerifier(),
      storedEntry: (job, feed, seq) => this.storedEntry(job, feed, seq),
      storedFork: (job, feed) => {
        const value = kv.getSync(feedKey(PREFIX.fork, job, feed))
        return value && this.whole(() => readForkValue(value))
      },
      endedHeads: (job) => this.endedHeads(job),
      dropWaiting: (job) => {
        options.logger?.warn('a job is dropped whose JOB did not come', { job: job.slice(0, 8) })
        this.deleteJob(job).catch(() => {})
      },
      isCollected: (job) => this.tombstones.has(job),
      damaged: (what) => this.damaged(what),
    })
    this.commit = new GroupCommit({
      kv,
      take: () => this.take(),
      written: () => this.book.written(),
      syncMark: () => ({ key: SYNC_KEY, value: Buffer.alloc(0) }),
      checkRecovered: () => this.checkRecovered(),
      onStall: options.onStall,
      logger: options.logger,
    })
  }

  // ------------------------------------------------------------ writing

  append(entry: Entry): void {
    this.commit.check()
    if (this.tombstones.has(entry.job)) throw collected(entry.job)
    const { stalled } = this.commit
    if (stalled !== undefined && this.book.unwrittenBytes > MAX_STAGED_BYTES) throw stalled
    this.book.append(entry)
    this.touch()
  }

  ingest(run: Run): IngestResult {
    this.commit.check()
    // As if it were known already: a gap would be pulled again at once, and again. It comes when heads are compared.
    if (this.commit.stalled !== undefined) return { status: 'ok', entries: [] }
    const result = this.book.ingest(run)
    if (this.book.hasStaged) this.touch()
    return result
  }

  stageView(change: ViewChange): void {
    const { job } = change
    if (this.isGone(job)) return
    if (this.unmade.delete(job)) this.put(jobKey(PREFIX.views, job))
    for (const lo of change.ownersRemoved) this.put(itemKey(PREFIX.owner, job, lo))
    for (const lo of change.doneRemoved) this.put(itemKey(PREFIX.done, job, lo))
    for (const span of change.ownersPut) {
      this.put(itemKey(PREFIX.owner, job, span.lo), ownerValue(span))
    }
    for (const span of change.donePut) {
      this.put(itemKey(PREFIX.done, job, span.lo), doneSpanValue(span))
    }
    this.touch()
  }

  stageJob(record: StoredJob): void {
    if (this.isGone(record.job)) return
    this.put(jobKey(PREFIX.job, record.job), jobValue(record))
    this.book.setEnded(record.job, record.state !== 'running')
    this.touch()
  }

  flush(options: { sync?: boolean } = {}): Promise<void> {
    return this.commit.flush(options)
  }

  private isGone(job: JobId): boolean {
    return this.deleting.has(job) || this.tombstones.has(job)
  }

  private put(key: Buffer, value?: Uint8Array): void {
    this.staged.push(value === undefined ? { key } : { key, value })
  }

  private touch(): void {
    this.commit.touch()
    if (this.book.unwrittenBytes > STAGED_WRITE_BYTES) void this.commit.flush().catch(() => {})
  }

  private take(): Change[] {
    const changes = [...this.book.take(), ...this.staged]
    this.staged = []
    return changes
  }

  // ------------------------------------------------------------ feeds

  heads(job: JobId): readonly FeedHead[] {
    return this.unlessReopening(() => this.book.heads(job)) ?? []
  }

  head(job: JobId, feed: FeedId): FeedHead | undefined {
    return this.unlessReopening(() => this.book.head(job, feed))
  }

  async readRun(
    job: JobId,
    feed: FeedId,
    fromSeq: number,
    maxBytes: number,
  ): Promise<Run | undefined> {
    const from = Math.max(1, fromSeq)
    // Only what is written may leave this peer, and only what is written is signed.
    if (this.book.hasUnwritten(job, feed)) await this.commit.settle()
    const head = this.book.head(job, feed)
    if (head === undefined || from > head.seq) return undefined
    const builder = new RunBuilder(maxBytes)
    if (head.seq - from < POINT_READ_ENTRIES) {
      for (let seq = from; seq <= head.seq; seq++) {
        const entry = this.storedEntry(job, feed, seq)
        if (entry === undefined || !builder.add(entry)) break
      }
      return builder.run()
    }
    const range = { gte: entryKey(job, feed, from), lt: entryKey(job, feed, head.seq + 1) }
    for await (const rows of this.kv.rows(range)) {
      for (const [, value] of rows) {
        if (!builder.add(this.whole(() => readEntryValue(value)))) return builder.run()
      }
    }
    return builder.run()
  }

  async *entries(job: JobId): AsyncIterable<Entry> {
    for await (const [, value] of this.rows(jobRange(PREFIX.entry, job))) {
      yield this.whole(() => decodeEntry(readEntryValue(value).bytes))
    }
  }

  /** For a moment after the disk was full the database is closed, and heads of ended jobs that are not in memory are unknown. */
  private unlessReopening<T>(read: () => T): T | undefined {
    try {
      return read()
    } catch (error) {
      if (isMeshError(error, 'ERR_MESH_DISK_FULL')) return undefined
      throw error
    }
  }

  private storedEntry(job: JobId, feed: FeedId, seq: number): StoredEntry | undefined {
    const value = this.kv.getSync(entryKey(job, feed, seq))
    return value && this.whole(() => readEntryValue(value))
  }

  private endedHeads(job: JobId): FeedHead[] | undefined {
    const feeds = this.kv.getSync(jobKey(PREFIX.feeds, job))
    if (feeds === undefined) return undefined
    return this.whole(() => readFeedsValue(feeds)).map((feed) => {
      const head = this.kv.getSync(feedKey(PREFIX.head, job, feed))
      if (head === undefined) throw this.damaged('the head of a feed is missing')
      return { ...feed, ...this.whole(() => readHeadValue(head)) }
    })
  }

  // ------------------------------------------------------------ records and views

  async jobs(): Promise<StoredJob[]> {
    const jobs: StoredJob[] = []
    for await (const [key, value] of this.rows(kindRange(PREFIX.job))) {
      jobs.push(this.whole(() => readJobValue(jobOfKey(key), value)))
    }
    return jobs
  }

  async *doneSpans(job: JobId, fromItem = 0): AsyncIterable<DoneSpan> {
    await this.commit.settle()
    const range = jobRange(PREFIX.done, job)
    const from = itemKey(PREFIX.done, job, fromItem)
    // The span that covers fromItem may begin before it.
    const before = await this.kv.last({ gte: range.gte, lt: from })
    if (before !== undefined) {
      const span = this.doneSpan(before)
      if (span.hi > fromItem) yield span
    }
    for await (const row of this.rows({ gte: from, lt: range.lt })) yield this.doneSpan(row)
  }

  async *ownerSpans(job: JobId): AsyncIterable<OwnerSpan> {
    for await (const [key, value] of this.rows(jobRange(PREFIX.owner, job))) {
      yield this.whole(() => readOwnerValue(itemOfKey(key), value))
    }
  }

  private doneSpan([key, value]: Row): DoneSpan {
    return this.whole(() => readDoneSpanValue(itemOfKey(key), value))
  }

  async deleteJob(job: JobId): Promise<void> {
    await (this.deleting.get(job) ?? this.remove(job, false))
  }

  async collectJob(job: JobId): Promise<void> {
    for (;;) {
      const deleting = this.deleting.get(job)
      if (deleting === undefined) break
      await deleting
    }
    if (!this.tombstones.has(job)) await this.remove(job, true)
  }

  isCollected(job: JobId): boolean {
    return this.tombstones.has(job)
  }

  async ageTombstones(elapsedMs: number, maxAgeMs: number): Promise<void> {
    const changes = this.tombstones.age(elapsedMs, maxAgeMs)
    if (changes.length === 0) return
    this.staged.push(...changes)
    this.commit.touch()
    await this.commit.flush()
  }

  private remove(job: JobId, tombstone: boolean): Promise<void> {
    this.book.block(job)
    const removed = this.removeBlocked(job, tombstone).finally(() => {
      this.deleting.delete(job)
      this.book.unblock(job)
    })
    this.deleting.set(job, removed)
    return removed
  }

  private async removeBlocked(job: JobId, tombstone: boolean): Promise<void> {
    await this.commit.flush()
    this.book.forget(job)
    // From here on it is deleted, also when this process ends in between: load() goes on with it.
    if (tombstone) this.staged.push(...this.tombstones.add(job))
    this.put(jobKey(PREFIX.deleted, job), Buffer.alloc(0))
    this.put(jobKey(PREFIX.job, job))
    this.commit.touch()
    await this.commit.flush({ sync: true })
    await this.clearJob(job)
  }

  private async clearJob(job: JobId): Promise<void> {
    for (const prefix of JOB_KINDS) {
      await this.commit.retried(() => this.kv.clear(jobRange(prefix, job)))
    }
    this.put(jobKey(PREFIX.deleted, job))
    this.commit.touch()
    await this.commit.flush()
  }

  // ------------------------------------------------------------ meta

  async getMeta(key: string): Promise<Uint8Array | undefined> {
    await this.commit.settle()
    return this.kv.getSync(metaKey(key))
  }

  async putMeta(key: string, value: Uint8Array): Promise<void> {
    this.put(metaKey(key), Buffer.from(value))
    this.commit.touch()
    await this.commit.flush({ sync: true })
  }

  // ------------------------------------------------------------ open and close

  /** Reads what must be in memory: the heads of jobs that have not ended. ERR_MESH_STORE_DAMAGED, ERR_MESH_UNSUPPORTED. */
  async load(): Promise<void> {
    await this.checkFormat()
    await this.loadTombstones()
    for await (const [key] of this.rows(kindRange(PREFIX.deleted))) {
      await this.clearJob(jobOfKey(key))
    }
    for await (const [key] of this.rows(kindRange(PREFIX.fork))) {
      this.book.loadFork(jobOfKey(key), feedOfKey(key))
    }
    const ended = new Set<JobId>()
    for await (const [key] of this.rows(kindRange(PREFIX.feeds))) ended.add(jobOfKey(key))
    const going = new Map<JobId, FeedHead[]>()
    for await (const [key, value] of this.rows(kindRange(PREFIX.head))) {
      const job = jobOfKey(key)
      if (ended.has(job)) continue
      const head = { ...feedOfKey(key), ...this.whole(() => readHeadValue(value)) }
      const heads = going.get(job)
      if (heads === undefined) going.set(job, [head])
      else heads.push(head)
    }
    for (const [job, heads] of going) await this.loadJob(job, heads)
    await this.loadMarks()
  }

  close(): Promise<void> {
    this.closing ??= this.commit.close().finally(() => this.kv.close())
    return this.closing
  }

  /** What was mended before this store was opened, or the views that an earlier process did not come to make. */
  get repair(): StoreRepair | undefined {
    return this.repaired
  }

  private async loadTombstones(): Promise<void> {
    const stones: (readonly [JobId, Buffer])[] = []
    for await (const [key, value] of this.rows(kindRange(PREFIX.tombstone))) {
      stones.push([jobOfKey(key), value])
    }
    this.tombstones.load(this.kv.getSync(AGE_KEY), stones)
  }

  private async loadMarks(): Promise<void> {
    const waiting: (readonly [JobId, { bytes: number; order: number }])[] = []
    for await (const [key, value] of this.rows(kindRange(PREFIX.waiting))) {
      waiting.push([jobOfKey(key), this.whole(() => readWaitingValue(value))])
    }
    this.book.loadWaiting(waiting)
    for await (const [key] of this.rows(kindRange(PREFIX.views))) this.unmade.add(jobOfKey(key))
    const jobs = [...this.unmade]
    const left = { reason: 'it was repaired before', copy: '', entriesKept: 0, entriesDropped: 0 }
    this.repaired = this.options.repair ?? (jobs.length > 0 ? { ...left, jobs } : undefined)
  }

  private async checkFormat(): Promise<void> {
    const value = this.kv.getSync(SCHEMA_KEY)
    checkSchema(this.dir, value)
    if (value !== undefined) return
    for await (const rows of this.kv.rows({ gte: Buffer.alloc(0), lt: Buffer.of(0xff) })) {
      if (rows.length > 0) throw this.damaged('what was written first is missing')
    }
    this.put(SCHEMA_KEY, Buffer.of(SCHEMA))
    this.commit.touch()
    await this.commit.flush({ sync: true })
  }

  /** Opened again on a disk that was full: what was acknowledged is there, or memory and disk have parted. */
  private checkRecovered(): void {
    for (const { job, feed, seq } of this.book.acknowledged()) {
      const head = this.kv.getSync(feedKey(PREFIX.head, job, feed))
      if (head === undefined || readHeadValue(head).seq < seq) {
        throw this.damaged('entries that were written are gone')
      }
    }
  }

  /**
   * The feeds of a job that goes on, read from their first entries: heads and entries are written in one batch, so one without the
   * other is what the disk lost.
   */
  private async loadJob(job: JobId, heads: readonly FeedHead[]): Promise<void> {
    const auditor = new FeedAuditor()
    const found = new Map<string, FeedAudit>()
    const keep = (audit: FeedAudit | undefined): void => {
      if (audit !== undefined) found.set(feedName(audit.feed), audit)
    }
    for await (const [key, value] of this.rows(jobRange(PREFIX.entry, job))) {
      keep(this.whole(() => auditor.add(key, value)))
    }
    keep(auditor.end())
    const whole = heads.every((head) => {
      const audit = found.get(feedName(head))
      return audit?.seq === head.seq && audit.hash === head.hash && audit.dropped.length === 0
    })
    if (!whole || found.size !== heads.length) {
      throw this.damaged(`entries of job ${job.slice(0, 8)} are missing or changed`)
    }
    for (const head of heads) this.book.load(job, head)
  }

  private damaged(what: string, cause?: unknown): MeshError {
    this.options.onDamaged?.(what)
    return damaged(this.dir, what, cause)
  }

  private async *rows(range: KeyRange): AsyncIterable<Row> {
    await this.commit.settle()
    for await (const rows of this.kv.rows(range)) yield* rows
  }

  /** What this store wrote, it can read; if not, the disk changed it. */
  private whole<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (isMeshError(error, 'ERR_MESH_PROTOCOL')) throw this.damaged(error.message, error)
      throw error
    }
  }
}

function collected(job: JobId): MeshError {
  return new MeshError(
    'ERR_MESH_JOB_COLLECTED',
    `job ${job.slice(0, 8)} has ended and was collected here: submit the work as a new job`,
    { details: { job } },
  )
}
