import type {
  BlobHash,
  DoneSpan,
  Entry,
  EntryHash,
  JobId,
  JobView,
  OwnerSpan,
  PeerId,
  SessionId,
  ViewChange,
} from '../scheduler/types.ts'

/** Names one feed of a job. The author is part of the name: two peers cannot share a session id. */
export interface FeedId {
  readonly author: PeerId
  readonly session: SessionId
}

export interface FeedHead extends FeedId {
  readonly seq: number
  readonly hash: EntryHash
}

/** Consecutive entries of one feed as encoded bytes, with the author's Ed25519 signature over the last one's hash (32 raw bytes). */
export interface Run {
  readonly entries: readonly Uint8Array[]
  readonly signature: Uint8Array
}

export type IngestResult =
  /** `entries`: the ones new to this store, decoded, staged for writing; may be empty (all known). */
  | { readonly status: 'ok'; readonly entries: readonly Entry[] }
  /** The run starts after our head: pull from `have` + 1. */
  | { readonly status: 'gap'; readonly feed: FeedId; readonly job: JobId; readonly have: number }
  /** Two entries with one (feed, seq), both signed: proof of a fork. The feed is cut here. Each side is a run (run-codec.ts) from that seq to a signed end. */
  | {
      readonly status: 'fork'
      readonly feed: FeedId
      readonly job: JobId
      readonly first: Uint8Array
      readonly second: Uint8Array
    }
  | { readonly status: 'invalid'; readonly reason: string }

export interface StoredJob {
  readonly job: JobId
  readonly state: 'running' | 'finished' | 'cancelled'
  readonly updatedAt: number
  /** What `mesh jobs` shows of a job that is no longer in memory. */
  readonly summary: JobSummary
}
export type JobSummary = Pick<
  JobView,
  'items' | 'done' | 'failed' | 'submittedAt' | 'author' | 'spec' | 'cancellation'
> & { readonly finishedAt?: number }

/**
 * One peer's durable state. `ingest`, `append` and `stage*` are synchronous: they check, and stage into the next batch;
 * `flush()` resolves when everything staged before it is written (one chained batch; an fsync follows within 20 ms, or before
 * it resolves with `sync: true`). While the disk is full `flush` waits, runs are ingested as nothing new, and reads see what is written;
 * it goes on by itself when there is room (`onStall` of the options tells both). Reads see what is staged or written. The compliance suite is test/unit/store/compliance.ts.
 */
export interface Store {
  readonly dir: string
  /** Stage an entry of this peer's own; it is signed as an end at the next flush. */
  append(entry: Entry): void
  /** Check links and the end's signature against what is held; stage what is new. Never throws for a peer's fault. */
  ingest(run: Run): IngestResult
  stageView(change: ViewChange): void
  stageJob(record: StoredJob): void
  flush(options?: { sync?: boolean }): Promise<void>

  /** What is held of a feed from `fromSeq` up to a signed end, at most `maxBytes` when encoded (at least one run if any); undefined when nothing is there. Only what is written: it flushes first if need be. */
  readRun(job: JobId, feed: FeedId, fromSeq: number, maxBytes: number): Promise<Run | undefined>
  heads(job: JobId): readonly FeedHead[]
  head(job: JobId, feed: FeedId): FeedHead | undefined
  /** Every entry of a job, feed by feed. */
  entries(job: JobId): AsyncIterable<Entry>
  jobs(): Promise<StoredJob[]>
  /** One record, without a look at the others. */
  job(job: JobId): Promise<StoredJob | undefined>
  doneSpans(job: JobId, fromItem?: number): AsyncIterable<DoneSpan>
  ownerSpans(job: JobId): AsyncIterable<OwnerSpan>
  /** Drops entries, views and record of a job. */
  deleteJob(job: JobId): Promise<void>
  /**
   * Like deleteJob, and leaves a tombstone: what comes of that job later is not taken in (its runs are ingested as nothing new, and an
   * append throws ERR_MESH_JOB_COLLECTED).
   */
  collectJob(job: JobId): Promise<void>
  /** Whether the job has a tombstone. */
  isCollected(job: JobId): boolean
  /** Tombstones age by the time that this peer runs: adds `elapsedMs` to each and drops those of `maxAgeMs` and more. */
  ageTombstones(elapsedMs: number, maxAgeMs: number): Promise<void>
  /**
   * What opening had to mend; undefined when nothing. The views of its `jobs` are gone: the first stageView of such a job must hold all
   * of them (an empty one if there are none), and until then it is named again at each open.
   */
  readonly repair: StoreRepair | undefined

  getMeta(key: string): Promise<Uint8Array | undefined>
  putMeta(key: string, value: Uint8Array): Promise<void>

  readonly blobs: BlobStore
  close(): Promise<void>
}

/** What a damaged store lost when it was opened; the peer tells it, and pulls what is missing from others. */
export interface StoreRepair {
  /** What was wrong, for people. */
  readonly reason: string
  /** The copy of the damaged database; '' when there was nothing to copy. */
  readonly copy: string
  readonly entriesKept: number
  /** Entries dropped because their feed's links or signatures do not hold. */
  readonly entriesDropped: number
  /** Jobs whose views were dropped: their fold must be made anew from the entries. */
  readonly jobs: readonly JobId[]
}

/** Content-addressed files. Written to a temporary name, fsynced, renamed; then visible. */
export interface BlobStore {
  put(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }>
  /** Hashes while writing; with `expect`, throws ERR_MESH_PROTOCOL and keeps nothing if hash or size differ. */
  write(
    source: AsyncIterable<Uint8Array>,
    expect?: { hash: BlobHash; sizeBytes: number },
  ): Promise<{ hash: BlobHash; sizeBytes: number }>
  has(hash: BlobHash): boolean | Promise<boolean>
  size(hash: BlobHash): Promise<number | undefined>
  /** Path of the file, for a worker process to read by itself; the caller has checked has(). */
  path(hash: BlobHash): string
  /** Whole blob; ERR_MESH_RESULT_LOST when absent. */
  get(hash: BlobHash): Promise<Uint8Array>
  read(hash: BlobHash): AsyncIterable<Uint8Array>
  delete(hash: BlobHash): Promise<void>
  /** Every blob held, in no order; `ageMs` since it was put last, by the file system's own clock. */
  list(): AsyncIterable<{
    readonly hash: BlobHash
    readonly sizeBytes: number
    readonly ageMs: number
  }>
}
