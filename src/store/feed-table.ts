import { type EntryHash, type JobId, type PeerId, ZERO_HASH } from '../scheduler/types.ts'
import type { Change } from './key-value.ts'
import { jobKey, PREFIX } from './keys.ts'
import {
  MAX_CACHED_FINISHED_JOBS,
  MAX_FEEDS_PER_JOB,
  MAX_SESSIONS_PER_AUTHOR,
  MAX_WAITING_JOB_FEEDS,
} from './limits.ts'
import { feedsValue } from './records.ts'
import type { FeedHead, FeedId } from './types.ts'

export interface Staged {
  readonly bytes: Uint8Array
  signature: Uint8Array | undefined
}

export interface FeedState {
  readonly job: JobId
  readonly feed: FeedId
  seq: number
  hash: EntryHash
  /** Entries up to `seq` that are not in the database yet: on their way, then those staged after them. */
  writing: Staged[]
  staged: Staged[]
}

interface JobFeeds {
  readonly feeds: Map<string, FeedState>
  /** How many feeds each author has here. */
  readonly authors: Map<PeerId, number>
  ended: boolean
}

/**
 * The feeds in memory, by job. Those of running jobs are all there from the start; those of an ended job are read when someone asks
 * for them, and leave again.
 */
export class FeedTable {
  private readonly jobs = new Map<JobId, JobFeeds>()
  /** Ended jobs in memory, the least recently used first. */
  private readonly ended = new Set<JobId>()
  /** Jobs whose list of feeds (of an ended job) is to be written. */
  private readonly listDirty = new Set<JobId>()
  /** Jobs whose list is being written: it cannot be read back yet. */
  private readonly listWriting = new Set<JobId>()
  private readonly endedHeads: (job: JobId) => FeedHead[] | undefined

  /** `endedHeads` reads the heads of an ended job; undefined for a job that is not one. */
  constructor(endedHeads: (job: JobId) => FeedHead[] | undefined) {
    this.endedHeads = endedHeads
  }

  get hasChanges(): boolean {
    return this.listDirty.size > 0
  }

  find(job: JobId, feed: FeedId): FeedState | undefined {
    return this.jobFeeds(job)?.feeds.get(feedName(feed))
  }

  all(job: JobId): Iterable<FeedState> {
    return this.jobFeeds(job)?.feeds.values() ?? []
  }

  *states(): Iterable<FeedState> {
    for (const { feeds } of this.jobs.values()) yield* feeds.values()
  }

  load(job: JobId, head: FeedHead): void {
    const state = this.addFeed(job, head)
    state.seq = head.seq
    state.hash = head.hash
  }

  has(job: JobId): boolean {
    return this.jobFeeds(job) !== undefined
  }

  /** Whether the author may have one feed more there; `waiting`: the JOB is not there yet. */
  hasRoom(job: JobId, author: PeerId, waiting: boolean): boolean {
    const known = this.jobFeeds(job)
    if (known === undefined) return true
    const most = waiting ? MAX_WAITING_JOB_FEEDS : MAX_FEEDS_PER_JOB
    return known.feeds.size < most && (known.authors.get(author) ?? 0) < MAX_SESSIONS_PER_AUTHOR
  }

  addFeed(job: JobId, { author, session }: FeedId): FeedState {
    const known = this.jobs.get(job) ?? this.addJob(job)
    known.authors.set(author, (known.authors.get(author) ?? 0) + 1)
    const feed = { author, session }
    const state = { job, feed, seq: 0, hash: ZERO_HASH, writing: [], staged: [] }
    known.feeds.set(feedName(feed), state)
    if (known.ended) this.listDirty.add(job)
    return state
  }

  /** An ended job's heads may leave memory; the names of its feeds are kept so that they can be found again. */
  setEnded(job: JobId, ended: boolean): void {
    const known = this.jobFeeds(job) ?? this.addJob(job)
    if (known.ended === ended) return
    known.ended = ended
    if (ended) this.ended.add(job)
    else this.ended.delete(job)
    this.listDirty.add(job)
  }

  forget(job: JobId): void {
    this.jobs.delete(job)
    this.ended.delete(job)
    this.listDirty.delete(job)
  }

  /** The lists of feeds that changed since the last call, to be written. */
  takeChanges(): Change[] {
    const changes = Array.from(this.listDirty, (job) => this.feedList(job))
    for (const job of this.listDirty) this.listWriting.add(job)
    this.listDirty.clear()
    return changes
  }

  /** What was taken last is in the database. */
  written(): void {
    this.listWriting.clear()
    this.dropEnded()
  }

  /** Lets the least recently used ended jobs go, down to the limit. */
  private dropEnded(except?: JobId): void {
    for (const job of this.ended) {
      if (this.ended.size <= MAX_CACHED_FINISHED_JOBS) return
      const known = this.jobs.get(job)!
      if (job === except || this.listDirty.has(job) || this.listWriting.has(job)) continue
      if (isUnwritten(known)) continue
      this.jobs.delete(job)
      this.ended.delete(job)
    }
  }

  private feedList(job: JobId): Change {
    const key = jobKey(PREFIX.feeds, job)
    const known = this.jobs.get(job)
    if (known?.ended !== true) return { key }
    return { key, value: feedsValue(Array.from(known.feeds.values(), (state) => state.feed)) }
  }

  private jobFeeds(job: JobId): JobFeeds | undefined {
    const known = this.jobs.get(job)
    if (known !== undefined) {
      if (known.ended && this.ended.delete(job)) this.ended.add(job)
      return known
    }
    const heads = this.endedHeads(job)
    if (heads === undefined) return undefined
    const loaded = this.addJob(job)
    for (const head of heads) this.load(job, head)
    loaded.ended = true
    this.ended.add(job)
    this.dropEnded(job)
    return loaded
  }

  private addJob(job: JobId): JobFeeds {
    const added: JobFeeds = { feeds: new Map(), authors: new Map(), ended: false }
    this.jobs.set(job, added)
    return added
  }
}

function isUnwritten(job: JobFeeds): boolean {
  for (const state of job.feeds.values()) {
    if (state.staged.length + state.writing.length > 0) return true
  }
  return false
}

export function feedName(feed: FeedId): string {
  return feed.author + feed.session
}
