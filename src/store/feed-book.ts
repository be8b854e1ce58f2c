import { invariant, isMeshError } from '../base/errors.ts'
import {
  type Entry,
  type EntryHash,
  type EntryHeader,
  type JobId,
  type PeerId,
  ZERO_HASH,
} from '../scheduler/types.ts'
import { protocolError } from './cbor-reader.ts'
import { decodeHeader, entryBytes, entryHash } from './entry-codec.ts'
import { type FeedState, FeedTable, feedName, type Staged } from './feed-table.ts'
import type { Change } from './key-value.ts'
import { entryKey, feedKey, PREFIX } from './keys.ts'
import { MAX_JOBS_DELETING, MAX_STAGED_BYTES, SIGNED_END_BYTES } from './limits.ts'
import { entryValue, type ForkProof, forkValue, headValue, type StoredEntry } from './records.ts'
import { checkLinks } from './run-check.ts'
import { checkRun, encodeRun } from './run-codec.ts'
import type { VerifyEnd } from './signatures.ts'
import type { FeedHead, FeedId, IngestResult, Run } from './types.ts'
import { WaitingJobs } from './waiting-jobs.ts'

/** What the book needs of the database: all of it at once, none of it staged. */
export interface FeedBookParts {
  readonly self: PeerId
  readonly sign: (hash: Uint8Array) => Uint8Array
  readonly verify: VerifyEnd
  readonly storedEntry: (job: JobId, feed: FeedId, seq: number) => StoredEntry | undefined
  readonly storedFork: (job: JobId, feed: FeedId) => ForkProof | undefined
  /** Heads of an ended job; undefined for a job that is not one. */
  readonly endedHeads: (job: JobId) => FeedHead[] | undefined
  /** More jobs wait for their JOB than may: this one is to be deleted. */
  readonly dropWaiting: (job: JobId) => void
  /** A job that must not come back. */
  readonly isCollected: (job: JobId) => boolean
  /** The store holds something that contradicts itself. */
  readonly damaged: (what: string) => Error
}

/**
 * The heads of all feeds, in memory, and the rules by which feeds grow: each entry names the hash of the one before, and the end
 * of each run is signed by its author. What passes is staged; `take` hands it over for writing. Heads of ended jobs are read when
 * someone asks for them.
 */
export class FeedBook {
  private readonly parts: FeedBookParts
  private readonly table: FeedTable
  /** Sessions of this peer that this process has written as: one, except in tests. */
  private readonly ownSessions = new Set<string>()
  /** Feeds cut because their author forked them. */
  private readonly forked = new Set<string>()
  /** Jobs that are being deleted: nothing grows there. */
  private readonly blocked = new Set<JobId>()
  private readonly waiting = new WaitingJobs()
  private readonly dirty = new Set<FeedState>()
  private readonly forkChanges: Change[] = []
  private inFlight: FeedState[] = []
  private stagedSize = 0
  private inFlightSize = 0

  constructor(parts: FeedBookParts) {
    this.parts = parts
    this.table = new FeedTable(parts.endedHeads)
  }

  /** Bytes of entries that are not in the database yet. */
  get unwrittenBytes(): number {
    return this.stagedSize + this.inFlightSize
  }

  /** Whether `take` would give anything. */
  get hasStaged(): boolean {
    const { dirty, table, waiting, forkChanges } = this
    return dirty.size > 0 || table.hasChanges || waiting.hasChanges || forkChanges.length > 0
  }

  // ------------------------------------------------------------ at open

  load(job: JobId, head: FeedHead): void {
    this.table.load(job, head)
  }

  loadWaiting(rows: Parameters<WaitingJobs['load']>[0]): void {
    this.waiting.load(rows)
  }

  loadFork(job: JobId, feed: FeedId): void {
    this.forked.add(forkName(job, feed))
  }

  // ------------------------------------------------------------ reads

  heads(job: JobId): FeedHead[] {
    return Array.from(this.table.all(job), (state) => ({
      ...state.feed,
      seq: state.seq,
      hash: state.hash,
    }))
  }

  head(job: JobId, feed: FeedId): FeedHead | undefined {
    const state = this.table.find(job, feed)
    return state && { ...state.feed, seq: state.seq, hash: state.hash }
  }

  /** How far each feed in memory was written when it was last known to be. */
  *acknowledged(): Iterable<{ job: JobId; feed: FeedId; seq: number }> {
    for (const { job, feed, seq, staged, writing } of this.table.states()) {
      const written = seq - staged.length - writing.length
      if (written > 0) yield { job, feed, seq: written }
    }
  }

  hasUnwritten(job: JobId, feed: FeedId): boolean {
    const state = this.table.find(job, feed)
    return state !== undefined && state.staged.length + state.writing.length > 0
  }

  // ------------------------------------------------------------ growth

  /** Stages an entry of this peer's own. Throws ERR_MESH_INTERNAL when it does not continue its feed. */
  append(entry: Entry): void {
    invariant(entry.author === this.parts.self, 'an appended entry is by this peer')
    invariant(!this.blocked.has(entry.job), 'nothing is appended to a job that is being deleted')
    const state = this.table.find(entry.job, entry) ?? this.addFeed(entry.job, entry)
    const own = this.ownSessions.has(entry.session)
    invariant(
      own || state.seq === 0,
      'a feed is never reopened: each process start is a new session',
    )
    invariant(
      entry.seq === state.seq + 1 && entry.prev === state.hash,
      `entry ${entry.seq} does not follow entry ${state.seq} of its feed`,
    )
    const bytes = entryBytes(entry)
    invariant(entryHash(bytes) === entry.hash, 'an appended entry has the hash of its encoding')
    this.ownSessions.add(entry.session)
    this.stage(state, bytes, entry, undefined)
  }

  /** Takes in a run of another peer's feed (types.ts, Store.ingest). */
  ingest(run: Run): IngestResult {
    try {
      checkRun(run)
      return this.takeIn(run, decodeHeader(run.entries[0]!))
    } catch (error) {
      if (!isMeshError(error, 'ERR_MESH_PROTOCOL')) throw error
      return { status: 'invalid', reason: error.message }
    }
  }

  private takeIn(run: Run, first: EntryHeader): IngestResult {
    const { job } = first
    const feed: FeedId = { author: first.author, session: first.session }
    if (this.parts.isCollected(job)) return { status: 'ok', entries: [] }
    if (this.blocked.has(job)) return { status: 'gap', feed, job, have: 0 }
    const state = this.table.find(job, feed)
    const have = state?.seq ?? 0
    const lastSeq = first.seq + run.entries.length - 1
    const end = entryHash(run.entries.at(-1)!)
    if (state !== undefined && lastSeq <= have && end === this.hashAt(state, lastSeq)) {
      return { status: 'ok', entries: [] }
    }
    if (first.seq > have + 1) return { status: 'gap', feed, job, have }
    const checked = checkLinks(run, first, end, have)
    if (!this.parts.verify(feed.author, Buffer.from(end, 'hex'), run.signature)) {
      throw protocolError('the signature of the run is not its author’s')
    }
    if (this.forked.has(forkName(job, feed))) return this.storedFork(job, feed)
    if (state !== undefined && first.seq <= have) {
      const split = this.firstDifference(state, first.seq, checked.hashes)
      if (split !== undefined) return this.fork(state, run, first.seq, split)
    }
    return this.extend(feed, job, run, checked.entries)
  }

  /** Stages the entries that are new, all checked but for the first one's link to what is held. */
  private extend(feed: FeedId, job: JobId, run: Run, entries: Entry[]): IngestResult {
    let state = this.table.find(job, feed)
    const have = state?.seq ?? 0
    const next = entries[0]!
    if (next.prev !== (state?.hash ?? ZERO_HASH)) {
      if (state === undefined) throw protocolError('the first entry of a feed has a predecessor')
      // Its author forked the feed at or before our head: with the entry at our head it can be proven.
      return { status: 'gap', feed, job, have: have - 1 }
    }
    if (feed.author === this.parts.self && this.ownSessions.has(feed.session)) {
      throw protocolError('the run goes beyond the end of a feed that this peer writes')
    }
    if (this.unwrittenBytes > MAX_STAGED_BYTES) return { status: 'gap', feed, job, have }
    // Not the sender's fault, and a gap would be pulled again at once: as if it were known.
    if (!this.hasRoom(state, feed, job, run, entries)) return { status: 'ok', entries: [] }
    state ??= this.addFeed(job, feed)
    const from = run.entries.length - entries.length
    entries.forEach((entry, i) => {
      const signature = i === entries.length - 1 ? run.signature : undefined
      this.stage(state, run.entries[from + i]!, entry, signature)
    })
    this.dropSurplus(job)
    return { status: 'ok', entries }
  }

  private stage(
    state: FeedState,
    bytes: Uint8Array,
    entry: Entry,
    signature: Uint8Array | undefined,
  ): void {
    if (entry.body.type === 'job') this.waiting.end(state.job)
    else this.waiting.grow(state.job, bytes.length)
    state.staged.push({ bytes, signature })
    state.seq++
    state.hash = entry.hash
    this.stagedSize += bytes.length
    this.dirty.add(state)
  }

  private addFeed(job: JobId, feed: FeedId): FeedState {
    if (!this.table.has(job)) this.waiting.begin(job)
    return this.table.addFeed(job, feed)
  }

  /** Whether limits.ts allows what comes: sessions of its author, feeds and bytes of a job whose JOB is not there. */
  private hasRoom(
    state: FeedState | undefined,
    feed: FeedId,
    job: JobId,
    run: Run,
    entries: readonly Entry[],
  ): boolean {
    const { waiting, table } = this
    if (!table.has(job) && this.blocked.size >= MAX_JOBS_DELETING) return false
    if (state === undefined && !table.hasRoom(job, feed.author, waiting.has(job))) return false
    if (!waiting.has(job) || entries.some((entry) => entry.body.type === 'job')) return true
    return waiting.hasRoom(job, sizeOf(run))
  }

  /** Lets the oldest jobs go that wait for their JOB; what comes of them meanwhile is refused. */
  private dropSurplus(newest: JobId): void {
    for (;;) {
      const oldest = this.waiting.surplus
      if (oldest === undefined || oldest === newest) return
      this.waiting.end(oldest)
      this.parts.dropWaiting(oldest)
    }
  }

  // ------------------------------------------------------------ forks

  /** Index of the first entry of a run that is not the one held with its seq; undefined when they agree. */
  private firstDifference(
    state: FeedState,
    fromSeq: number,
    hashes: readonly EntryHash[],
  ): number | undefined {
    const both = Math.min(state.seq - fromSeq + 1, hashes.length)
    // Hash links: where the last ones agree, so do all before them.
    if (hashes[both - 1] === this.hashAt(state, fromSeq + both - 1)) return undefined
    for (let i = 0; i < both; i++) if (hashes[i] !== this.hashAt(state, fromSeq + i)) return i
    return undefined
  }

  private fork(state: FeedState, run: Run, fromSeq: number, split: number): IngestResult {
    const { job, feed } = state
    const second = encodeRun({ entries: run.entries.slice(split), signature: run.signature })
    const proof = { first: this.signedRun(state, fromSeq + split), second }
    this.forked.add(forkName(job, feed))
    const key = feedKey(PREFIX.fork, job, feed)
    this.forkChanges.push({ key, value: forkValue(proof) })
    return { status: 'fork', feed, job, ...proof }
  }

  /** Our side of a fork: from `seq` to the first signed end, encoded. */
  private signedRun(state: FeedState, seq: number): Uint8Array {
    const entries: Uint8Array[] = []
    for (; seq <= state.seq; seq++) {
      const { bytes, signature } = this.at(state, seq)
      entries.push(bytes)
      if (signature !== undefined) return encodeRun({ entries, signature })
    }
    // The end of this peer's own feed, which is signed only when it is written.
    const signature = this.parts.sign(Buffer.from(state.hash, 'hex'))
    return encodeRun({ entries, signature })
  }

  private storedFork(job: JobId, feed: FeedId): IngestResult {
    const proof = this.parts.storedFork(job, feed)
    // Not written yet: it was reported a moment ago.
    if (proof === undefined) return { status: 'ok', entries: [] }
    return { status: 'fork', feed, job, ...proof }
  }

  private hashAt(state: FeedState, seq: number): EntryHash {
    return seq === state.seq ? state.hash : entryHash(this.at(state, seq).bytes)
  }

  private at(state: FeedState, seq: number): StoredEntry | Staged {
    const { staged, writing } = state
    const fromEnd = state.seq - seq
    if (fromEnd < staged.length) return staged[staged.length - 1 - fromEnd]!
    const beforeStaged = fromEnd - staged.length
    if (beforeStaged < writing.length) return writing[writing.length - 1 - beforeStaged]!
    const stored = this.parts.storedEntry(state.job, state.feed, seq)
    if (stored === undefined) throw this.parts.damaged(`entry ${seq} of a feed is missing`)
    return stored
  }

  // ------------------------------------------------------------ writing

  /** The changes staged so far, own feeds signed; to be written in one batch, then `written`. */
  take(): Change[] {
    const changes: Change[] = this.forkChanges.splice(0)
    for (const state of this.dirty) this.takeFeed(state, changes)
    changes.push(...this.table.takeChanges(), ...this.waiting.takeChanges())
    this.inFlight = [...this.dirty]
    this.inFlightSize = this.stagedSize
    this.stagedSize = 0
    this.dirty.clear()
    return changes
  }

  written(): void {
    for (const state of this.inFlight) state.writing = []
    this.inFlight = []
    this.inFlightSize = 0
    this.table.written()
  }

  private takeFeed(state: FeedState, changes: Change[]): void {
    const { job, feed, staged } = state
    if (this.ownSessions.has(feed.session)) this.signEnds(state)
    let seq = state.seq - staged.length
    for (const { bytes, signature } of staged) {
      seq++
      changes.push({ key: entryKey(job, feed, seq), value: entryValue(bytes, signature) })
    }
    const value = headValue(state.seq, state.hash)
    changes.push({ key: feedKey(PREFIX.head, job, feed), value })
    state.writing = staged
    state.staged = []
  }

  /** One signature for what is written now; more where it is too much for one message. */
  private signEnds(state: FeedState): void {
    const last = state.staged.length - 1
    let size = 0
    state.staged.forEach((entry, i) => {
      size += entry.bytes.length
      if (i < last && size < SIGNED_END_BYTES) return
      const hash = i === last ? state.hash : entryHash(entry.bytes)
      entry.signature = this.parts.sign(Buffer.from(hash, 'hex'))
      size = 0
    })
  }

  // ------------------------------------------------------------ jobs

  /** An ended job's heads may leave memory; the names of its feeds are kept so that they can be found again. */
  setEnded(job: JobId, ended: boolean): void {
    this.table.setEnded(job, ended)
  }

  /** Nothing grows in a job that is being deleted. */
  block(job: JobId): void {
    this.blocked.add(job)
  }

  unblock(job: JobId): void {
    this.blocked.delete(job)
  }

  /** Drops a blocked job whose entries are all written. */
  forget(job: JobId): void {
    for (const name of this.forked) if (name.startsWith(job)) this.forked.delete(name)
    this.table.forget(job)
    this.waiting.end(job)
  }
}

function sizeOf(run: Run): number {
  return run.entries.reduce((size, bytes) => size + bytes.length, 0)
}

function forkName(job: JobId, feed: FeedId): string {
  return job + feedName(feed)
}
