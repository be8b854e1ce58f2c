import { isMeshError, MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { DoneSpan, Entry, JobId, OwnerSpan, PeerId, ViewChange } from '../scheduler/types.ts'
import { decodeEntry, entryHash } from './entry-codec.ts'
import { FeedBook } from './feed-book.ts'
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
import { POINT_READ_ENTRIES, STAGED_WRITE_BYTES } from './limits.ts'
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
import { createVerifier, type VerifyEnd } from './signatures.ts'
import type { BlobStore, FeedHead, FeedId, IngestResult, Run, Store, StoredJob } from './types.ts'

/** Version of keys.ts and records.ts. */
const SCHEMA = 1
const SCHEMA_KEY = metaKey('\0schema')
const SYNC_KEY = metaKey('\0sync')

export interface StoreOptions {
  readonly self: PeerId
  /** This peer's Ed25519 signature of 32 bytes. */
  readonly sign: (hash: Uint8Array) => Uint8Array
  readonly verify?: VerifyEnd | undefined
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
] as const

/** The Store over any KeyValue. */
export class KeyValueStore implements Store {
  readonly dir: string
  readonly blobs: BlobStore
  private readonly kv: KeyValue
  private readonly book: FeedBook
  private readonly commit: GroupCommit
  private readonly deleting = new Set<JobId>()
  /** Changes of views, records and meta; entries are staged in the book. */
  private staged: Change[] = []
  private closing: Promise<void> | undefined

  constructor(dir: string, kv: KeyValue, blobs: BlobStore, options: StoreOptions) {
    this.dir = dir
    this.kv = kv
    this.blobs = blobs
    this.book = new FeedBook({
      self: options.self,
      sign: options.sign,
      verify: options.verify ?? createVerifier(),
      storedEntry: (job, feed, seq) => this.storedEntry(job, feed, seq),
      storedFork: (job, feed) => {
        const value = kv.getSync(feedKey(PREFIX.fork, job, feed))
        return value && readForkValue(value)
      },
      endedHeads: (job) => this.endedHeads(job),
      damaged: (what) => damaged(dir, what),
    })
    this.commit = new GroupCommit({
      kv,
      take: () => this.take(),
      written: () => this.book.written(),
      syncMark: () => ({ key: SYNC_KEY, value: Buffer.alloc(0) }),
      logger: options.logger,
    })
  }

  // ------------------------------------------------------------ writing

  append(entry: Entry): void {
    this.commit.check()
    this.book.append(entry)
    this.touch()
  }

  ingest(run: Run): IngestResult {
    this.commit.check()
    const result = this.book.ingest(run)
    if (this.book.hasStaged) this.touch()
    return result
  }

  stageView(change: ViewChange): void {
    const { job } = change
    if (this.deleting.has(job)) return
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
    if (this.deleting.has(record.job)) return
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
    return this.book.heads(job)
  }

  head(job: JobId, feed: FeedId): FeedHead | undefined {
    return this.book.head(job, feed)
  }

  async readRun(
    job: JobId,
    feed: FeedId,
    fromSeq: number,
    maxBytes: number,
  ): Promise<Run | undefined> {
    const from = Math.max(1, fromSeq)
    // Only what is written may leave this peer, and only what is written is signed.
    if (this.book.hasUnwritten(job, feed)) await this.commit.flush()
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
      for (const [, value] of rows) if (!builder.add(readEntryValue(value))) return builder.run()
    }
    return builder.run()
  }

  async *entries(job: JobId): AsyncIterable<Entry> {
    for await (const [, value] of this.rows(jobRange(PREFIX.entry, job))) {
      yield this.whole(() => decodeEntry(readEntryValue(value).bytes))
    }
  }

  private storedEntry(job: JobId, feed: FeedId, seq: number): StoredEntry | undefined {
    const value = this.kv.getSync(entryKey(job, feed, seq))
    return value && readEntryValue(value)
  }

  private endedHeads(job: JobId): FeedHead[] | undefined {
    const feeds = this.kv.getSync(jobKey(PREFIX.feeds, job))
    if (feeds === undefined) return undefined
    return readFeedsValue(feeds).map((feed) => {
      const head = this.kv.getSync(feedKey(PREFIX.head, job, feed))
      if (head === undefined) throw damaged(this.dir, 'the head of a feed is missing')
      return { ...feed, ...readHeadValue(head) }
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
    await this.commit.flush()
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
    if (this.deleting.has(job)) return
    this.deleting.add(job)
    this.book.block(job)
    try {
      await this.commit.flush()
      this.book.forget(job)
      // From here on it is deleted, also when this process ends in between: load() goes on with it.
      this.put(jobKey(PREFIX.deleted, job), Buffer.alloc(0))
      this.put(jobKey(PREFIX.job, job))
      this.commit.touch()
      await this.commit.flush({ sync: true })
      await this.clearJob(job)
    } finally {
      this.deleting.delete(job)
      this.book.unblock(job)
    }
  }

  private async clearJob(job: JobId): Promise<void> {
    for (const prefix of JOB_KINDS) await this.kv.clear(jobRange(prefix, job))
    this.put(jobKey(PREFIX.deleted, job))
    this.commit.touch()
    await this.commit.flush()
  }

  // ------------------------------------------------------------ meta

  async getMeta(key: string): Promise<Uint8Array | undefined> {
    await this.commit.flush()
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
    await this.checkSchema()
    for await (const [key] of this.rows(kindRange(PREFIX.deleted))) {
      await this.clearJob(jobOfKey(key))
    }
    for await (const [key] of this.rows(kindRange(PREFIX.fork))) {
      this.book.loadFork(jobOfKey(key), feedOfKey(key))
    }
    const ended = new Set<JobId>()
    for await (const [key] of this.rows(kindRange(PREFIX.feeds))) ended.add(jobOfKey(key))
    for await (const [key, value] of this.rows(kindRange(PREFIX.head))) {
      const job = jobOfKey(key)
      if (ended.has(job)) continue
      const head = { ...feedOfKey(key), ...readHeadValue(value) }
      this.checkHead(job, head)
      this.book.load(job, head)
    }
  }

  close(): Promise<void> {
    this.closing ??= this.commit.close().finally(() => this.kv.close())
    return this.closing
  }

  private async checkSchema(): Promise<void> {
    const value = this.kv.getSync(SCHEMA_KEY)
    if (value?.[0] === SCHEMA) return
    if (value !== undefined) {
      throw new MeshError(
        'ERR_MESH_UNSUPPORTED',
        `${this.dir} has store format ${value[0]}, this version of Meshwork reads ${SCHEMA}: ` +
          'use the version that wrote it, or another folder',
      )
    }
    for await (const rows of this.kv.rows({ gte: Buffer.alloc(0), lt: Buffer.of(0xff) })) {
      if (rows.length > 0) throw damaged(this.dir, 'what was written first is missing')
    }
    this.put(SCHEMA_KEY, Buffer.of(SCHEMA))
    this.commit.touch()
    await this.commit.flush({ sync: true })
  }

  /** Head and entry are written in one batch: one without the other is what LevelDB lost. */
  private checkHead(job: JobId, head: FeedHead): void {
    const entry = this.storedEntry(job, head, head.seq)
    if (entry === undefined || entryHash(entry.bytes) !== head.hash) {
      throw damaged(this.dir, `the end of a feed of job ${job.slice(0, 8)} is missing`)
    }
  }

  private async *rows(range: KeyRange): AsyncIterable<Row> {
    await this.commit.flush()
    for await (const rows of this.kv.rows(range)) yield* rows
  }

  /** What this store wrote, it can read; if not, the disk changed it. */
  private whole<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (isMeshError(error, 'ERR_MESH_PROTOCOL')) throw damaged(this.dir, error.message, error)
      throw error
    }
  }
}
