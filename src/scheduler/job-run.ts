import { RateMeter } from './chunks.ts'
import { type FoldListener, JobFold, type MakeFold } from './fold.ts'
import { BACKOFF_MIN_MS } from './limits.ts'
import { RangeSet } from './range-set.ts'
import { grainOf } from './rules.ts'
import {
  type DoneRange,
  type Entry,
  type EntryHash,
  type JobId,
  type PeerId,
  type Range,
  type RunningChunk,
  type SessionId,
  ZERO_HASH,
} from './types.ts'

/** `running` on a worker -> `placing` its output -> gone (its DONE waits in `ready`, then is an entry). */
export interface Chunk {
  readonly id: number
  readonly lo: number
  readonly hi: number
  /** The entry that made this session own it. */
  readonly parent: EntryHash
  readonly startedAt: number
  readonly budgetMs: number
  state: 'running' | 'placing'
  /** Items lo..reached-1 are finished; at first as the worker says, then for good. */
  reached: number
  failed: number
  elapsedMs: number
  outputBytes: number
  aborted: boolean
  /** A copy of what another session owns. */
  readonly speculative: boolean
  /** When `reached` moved last. */
  movedAt: number
}

export interface OutstandingSteal {
  readonly victim: PeerId
  readonly nonce: number
  readonly sentAt: number
  /** Asked twice with this nonce. */
  readonly retried: boolean
}

export interface Lifeline {
  readonly session: SessionId
  readonly rate: number | undefined
  readonly idle: number
  readonly until: number
}

/** A thief's side of a job: whom it asked, who had nothing, how long it waits. */
export interface ThiefState {
  asked: OutstandingSteal | undefined
  /** Empty answers in a row. */
  empties: number
  /** `ahead`: it has work still, so the wait ends when a slot is idle. */
  backingOff: 'no' | 'ahead' | 'idle'
  /** Work came since it was last looked at: steal again at once when that is used up. */
  refreshed: boolean
  backoffMs: number
  /** Peers that had nothing, until when not to ask them again. */
  readonly dry: Map<PeerId, number>
  /** Running chunks that victims told of, and when. */
  slow: SlowChunk[]
}

export interface SlowChunk extends Range {
  readonly session: SessionId
  readonly startedAt: number
}

/** One job on this peer: its fold, and what this session is doing of it. */
export class JobRun implements FoldListener {
  readonly job: JobId
  readonly fold: JobFold
  /** Owned by this session, not final, not handed out. */
  readonly todo = new RangeSet()
  /** Handed out, being placed, or waiting for its DONE to be written. */
  readonly busy = new RangeSet()
  readonly chunks = new Map<number, Chunk>()
  readonly rate = new RateMeter()
  readonly thief: ThiefState = {
    asked: undefined,
    empties: 0,
    backingOff: 'no',
    refreshed: false,
    backoffMs: BACKOFF_MIN_MS,
    dry: new Map(),
    slow: [],
  }
  readonly lifelines = new Map<PeerId, Lifeline>()
  /** The last STEAL of each thief's session. */
  readonly nonces = new Map<SessionId, { readonly nonce: number; readonly granted: boolean }>()
  /** RELEASE entries with open items, since when they may be taken. */
  readonly releasedSince = new Map<EntryHash, number>()
  /** Taken up from the store: until then others may tell what became of it meanwhile. */
  catchUpUntil = Number.NEGATIVE_INFINITY
  /** Since when there has been nothing to start or to steal, with the same peers about. */
  idleSince: number | undefined
  /** Looking through what the dead held costs: not before, unless something changes. */
  lookAt = 0
  goneLookAt = 0
  /** Sessions that handed on what nobody can trace, since when. */
  readonly orphanedSince = new Map<SessionId, number>()
  /** When a session last showed that it works on this job: an entry, or a running chunk that it told of. */
  readonly progressAt = new Map<SessionId, number>()
  /** Asked since then for work, they had none to give and none running. */
  readonly emptyAnswers = new Map<SessionId, number>()
  /** Live sessions that hold items, and neither work on them nor grant them; since when. */
  readonly stalled = new Map<SessionId, number>()
  /** Seeds of a job submitted here that have not said that they have it. */
  readonly unacked = new Set<SessionId>()
  /** The JOB was sent to the silent seeds once more. */
  seedsReminded = false
  /** DONE ranges not written yet, and their inline bytes. */
  ready: DoneRange[] = []
  readyBytes = 0
  /** Head of this session's feed of the job. */
  seq = 0
  head: EntryHash = ZERO_HASH
  /** Chunks whose DONE is in the feed or in `ready`. */
  ownChunks = 0
  unpublished = false
  /** Left alone here until then (input not to be had…). */
  blockedUntil = 0
  /** The task does not run here until then. */
  unfitUntil = 0
  /** Told as finished, or cancelled: nothing is started any more. */
  ended = false
  /** Items of running chunks became final elsewhere. */
  overtaken = false
  private readonly session: SessionId
  private readonly accuse: (author: PeerId, session: SessionId, reason: string) => void
  private readonly tellForked: (session: SessionId) => void

  constructor(
    job: JobId,
    session: SessionId,
    accuse: (author: PeerId, session: SessionId, reason: string) => void,
    forked: (session: SessionId) => void,
    makeFold: MakeFold = (id, listener) => new JobFold(id, listener),
  ) {
    this.job = job
    this.session = session
    this.accuse = accuse
    this.tellForked = forked
    this.fold = makeFold(job, this)
  }

  get author(): PeerId | undefined {
    return this.fold.jobEntry?.author
  }

  get grain(): number {
    return this.fold.spec === undefined ? 1 : grainOf(this.fold.spec)
  }

  /** May start chunks here now. */
  runnable(now: number): boolean {
    return (
      !this.ended &&
      now >= this.blockedUntil &&
      this.fold.state === 'running' &&
      this.fold.cutSeq(this.session) === undefined
    )
  }

  /** Nothing of the job is left to start here, runs, or is being placed. */
  get idle(): boolean {
    return this.todo.size === 0 && this.chunks.size === 0
  }

  runningChunks(now: number): (RunningChunk & { chunk: number; reached: number })[] {
    const list: (RunningChunk & { chunk: number; reached: number })[] = []
    for (const { id, lo, hi, startedAt, reached, state } of this.chunks.values()) {
      if (state === 'running') list.push({ chunk: id, lo, hi, reached, ageMs: now - startedAt })
    }
    return list
  }

  /** Items not reached yet, handed out or not. */
  get left(): number {
    let left = this.todo.size
    for (const chunk of this.chunks.values()) {
      if (chunk.state === 'running') left += chunk.hi - chunk.reached
    }
    return left
  }

  handOut(lo: number, hi: number): void {
    this.todo.remove(lo, hi)
    this.busy.add(lo, hi)
  }

  /** Items come back, as far as this session still owns them. */
  giveBack(lo: number, hi: number): void {
    this.busy.remove(lo, hi)
    this.reclaimLocal(lo, hi)
  }

  /** Own entry or not, after the fold took it: follow this session's own feed. */
  follow(entry: Entry): void {
    if (entry.session !== this.session || entry.seq <= this.seq) return
    this.seq = entry.seq
    this.head = entry.hash
  }

  ownerChanged(lo: number, hi: number, owner: SessionId): void {
    if (owner !== this.session) {
      this.todo.remove(lo, hi)
      return
    }
    this.addOpen(lo, hi)
    this.thief.refreshed = true
    this.thief.empties = 0
    this.thief.backoffMs = BACKOFF_MIN_MS
  }

  finalChanged(lo: number, hi: number): void {
    this.todo.remove(lo, hi)
    if (this.chunks.size > 0) this.overtaken = true
  }

  rebuilt(): void {
    this.todo.clear()
    this.reclaimLocal(0, this.fold.items)
    this.overtaken = true
  }

  breach(author: PeerId, session: SessionId, reason: string): void {
    this.accuse(author, session, reason)
  }

  forked(session: SessionId): void {
    this.tellForked(session)
  }

  private reclaimLocal(lo: number, hi: number): void {
    const mine: Range[] = []
    for (const span of this.fold.owners.overlapping(lo, hi)) {
      if (span.owner !== this.session) continue
      mine.push({ lo: Math.max(lo, span.lo), hi: Math.min(hi, span.hi) })
    }
    for (const range of mine) this.addOpen(range.lo, range.hi)
  }

  private addOpen(lo: number, hi: number): void {
    for (const open of this.fold.final.missing(lo, hi)) {
      for (const free of this.busy.missing(open.lo, open.hi)) this.todo.add(free.lo, free.hi)
    }
  }
}
