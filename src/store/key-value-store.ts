import { isMeshError, type MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { DoneSpan, Entry, JobId, OwnerSpan, PeerId, ViewChange } from '../scheduler/types.ts'
import { decodeEntry } from './entry-codec.ts'
import { FeedBook } from './feed-book.ts'
import { damaged } from './fs-errors.ts'
import { GroupCommit } from './group-commit.ts'
import { collected, JobRemoval } from './job-removal.ts'
import type { Change, KeyValue, Row } from './key-value.ts'
import {
  entryKey,
  feedKey,
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
  type StoredEntry,
} from './records.ts'
import { RunBuilder } from './run-builder.ts'
import { checkSchema, SCHEMA, SCHEMA_KEY } from './schema.ts'
import { createVerifier, type VerifyEnd } from './signatures.ts'
import { jobsOf, loadStore, rowsOf } from './store-load.ts'
import { AGE_KEY } from './tombstones.ts'
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

/** The Store over any KeyValue. */
export class KeyValueStore implements Store {
  readonly dir: string
  readonly blobs: BlobStore
  private readonly options: StoreOptions
  private readonly kv: KeyValue
  private readonly book: FeedBook
  private readonly commit: GroupCommit
  private readonly removal: JobRemoval
  /** Jobs whose views were dropped by a repair and are not made yet. */
  private readonly unmade = new Set<JobId>()
  private repaired: StoreRepair | undefined
  /** Changes of views, records and meta; entries are staged in the book. */
  private staged: Change[] = []
  private loaded = false
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
      isCollected: (job) => this.isCollected(job),
      damaged: (what) => this.damaged(what),
    })
    this.commit = new GroupCommit({
      kv,
      take: () => this.take(),
      written: () => this.book.written(),
      syncMark: () => ({ key: SYNC_KEY, value: Buffer.alloc(0) }),
      checkRecovered: () => this.checkRecovered(),
      // Who opens a store is told that the disk is full, and does not wait.
      waits: () => this.loaded,
      onStall: options.onStall,
      logger: options.logger,
    })
    this.removal = new JobRemoval({
      kv,
      book: this.book,
      commit: this.commit,
      stage: (changes) => {
        this.staged.push(...changes)
        this.commit.touch()
      },
    })
  }

  // ------------------------------------------------------------ writing

  append(entry: Entry): void {
    this.commit.check()
    if (this.isCollected(entry.job)) throw collected(entry.job)
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
    if (this.removal.isGone(job)) return
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
    if (this.removal.isGone(record.job)) return
    this.put(jobKey(PREFIX.job, record.job), jobValue(record))
    this.book.setEnded(record.job, record.state !== 'running')
    this.touch()
  }

  flush(options: { sync?: boolean } = {}): Promise<void> {
    return this.commit.flush(options)
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

  async job(job: JobId): Promise<StoredJob | undefined> {
    await this.commit.settle()
    const value = this.kv.getSync(jobKey(PREFIX.job, job))
    return value === undefined ? undefined : this.whole(() => readJobValue(job, value))
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

  deleteJob(job: JobId): Promise<void> {
    return this.removal.delete(job)
  }

  collectJob(job: JobId): Promise<void> {
    return this.removal.collect(job)
  }

  isCollected(job: JobId): boolean {
    return this.removal.tombstones.has(job)
  }

  ageTombstones(elapsedMs: number, maxAgeMs: number): Promise<void> {
    return this.removal.age(elapsedMs, maxAgeMs)
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
    try {
      await this.loadTombstones()
      for (const job of await jobsOf(this.kv, kindRange(PREFIX.deleted))) {
        await this.removal.clear(job)
      }
      const { forks, heads, waiting, unmade } = await loadStore(this.kv, (what) =>
        this.damaged(what),
      )
      for (const { job, feed } of forks) this.book.loadFork(job, feed)
      for (const [job, each] of heads) for (const head of each) this.book.load(job, head)
      this.book.loadWaiting(waiting)
      for (const job of unmade) this.unmade.add(job)
    } catch (error) {
      throw this.readError(error)
    }
    this.repaired = this.options.repair ?? unfinishedRepair([...this.unmade])
    this.loaded = true
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
    for await (const [key, value] of rowsOf(this.kv, kindRange(PREFIX.tombstone))) {
      stones.push([jobOfKey(key), value])
    }
    this.removal.tombstones.load(this.kv.getSync(AGE_KEY), stones)
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
      if (head === undefined || this.whole(() => readHeadValue(head)).seq < seq) {
        throw this.damaged('entries that were written are gone')
      }
    }
  }

  private damaged(what: string, cause?: unknown): MeshError {
    this.options.onDamaged?.(what)
    return damaged(this.dir, what, cause)
  }

  private async *rows(range: KeyRange): AsyncIterable<Row> {
    await this.commit.settle()
    yield* rowsOf(this.kv, range)
  }

  /** What this store wrote, it can read; if not, the disk changed it. */
  private whole<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      throw this.readError(error)
    }
  }

  private readError(error: unknown): unknown {
    if (!isMeshError(error, 'ERR_MESH_PROTOCOL')) return error
    return this.damaged(error.message, error)
  }
}

/** Views that the process which repaired did not come to make. */
function unfinishedRepair(jobs: readonly JobId[]): StoreRepair | undefined {
  if (jobs.length === 0) return undefined
  return { reason: 'it was repaired before', copy: '', entriesKept: 0, entriesDropped: 0, jobs }
}
