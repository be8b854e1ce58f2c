import { type RateBook, RateMeter } from './chunks.ts'
import { DelayedItems } from './delayed.ts'
import { type FoldListener, JobFold, type MakeFold } from './fold.ts'
import { Gate } from './gate.ts'
import { BACKOFF_MIN_MS, MAX_NODES_LOOKED_AT, MAX_RATE_KEY_CHARS } from './limits.ts'
import type { NodeOptions, Plan } from './plan.ts'
import { RangeSet } from './range-set.ts'
import type { TokenBucket } from './rate.ts'
import { grainOf } from './rules.ts'
import type { Turn } from './turns.ts'
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
  /** Slot time that its job was charged for it, ms. */
  chargedMs: number
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
  /** What the others have was not worth asking for; once only, since they may be stuck. */
  waived: boolean
}

export interface SlowChunk extends Range {
  readonly session: SessionId
  readonly startedAt: number
}

/** One job on this peer: its fold, and what this session is doing of it. */
export class JobRun implements FoldListener {
  readonly job: JobId
  readonly fold: JobFold
  /** Owned by this session, not final, not handed out, and ready. */
  readonly todo = new RangeSet()
  /** The same, but what they need is not final: items of compositions. */
  readonly waiting = new RangeSet()
  /** Ready items of a composition whose inputs could not be had just now: they are tried again then, and others meanwhile. */
  readonly parked = new RangeSet()
  parkedUntil = 0
  /** Of a composition whose plan is here. */
  gate: Gate | undefined
  /** The plan of the composition makes no sense: what this session owns FAILs so. */
  planFault: { readonly code: string; readonly message: string } | undefined
  /** Handed out, being placed, or waiting for its DONE to be written. */
  readonly busy = new RangeSet()
  /** Of the busy ones those that threw, and wait for their next try. */
  readonly delayed = new DelayedItems()
  readonly chunks = new Map<number, Chunk>()
  readonly turn: Turn
  /** By which it is counted among the jobs that are not over. */
  countedPriority = 0
  /** When its JOB came, or was taken up. */
  knownSince = 0
  paused = false
  /** Its time has come. */
  begun = false
  /** Its time is up, or too much of it failed, since then: nothing starts. */
  overLimitSince: number | undefined
  /** Of a job with a rate limit, while it runs. */
  bucket: TokenBucket | undefined
  knownRate:
    | {
        readonly perMs: number
        readonly entries: number
        readonly ended: number
        readonly at: number
      }
    | undefined
  /** By what is run: '', or the node's kind (`kindOf`); and by node, since a node may have thousands of steps. */
  private readonly meters = new Map<string, RateMeter>()
  private readonly meterOf = new Map<number, RateMeter>()
  readonly thief: ThiefState = {
    asked: undefined,
    empties: 0,
    backingOff: 'no',
    refreshed: false,
    backoffMs: BACKOFF_MIN_MS,
    dry: new Map(),
    slow: [],
    waived: false,
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
  private readonly rates: RateBook
  private readonly accuse: (author: PeerId, session: SessionId, reason: string) => void
  private readonly tellForked: (session: SessionId) => void

  constructor(
    job: JobId,
    session: SessionId,
    accuse: (author: PeerId, session: SessionId, reason: string) => void,
    forked: (session: SessionId) => void,
    turn: Turn,
    rates: RateBook,
    makeFold: MakeFold = (id, listener) => new JobFold(id, listener),
  ) {
    this.job = job
    this.rates = rates
    this.turn = turn
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

  get isGraph(): boolean {
    return this.fold.spec?.task.kind === 'graph'
  }

  /** How fast the items at `item` are run here; nodes with the same steps share it. */
  meterAt(item: number): RateMeter {
    const { gate } = this
    const node = gate?.nodeOf(item) ?? -1
    const known = this.meterOf.get(node)
    if (known !== undefined) return known
    const kind = gate === undefined ? '' : kindOf(gate.plan, node)
    const meter = this.meters.get(kind) ?? new RateMeter(this.rates.get(this.taskAt(item)))
    this.meters.set(kind, meter)
    this.meterOf.set(node, meter)
    return meter
  }

  /** A chunk from `lo` on has ended. */
  noteRate(lo: number, items: number, elapsedMs: number): void {
    const meter = this.meterAt(lo)
    meter.add(items, elapsedMs)
    this.rates.note(this.taskAt(lo), meter.perMs!)
  }

  /** What is run on an item, for jobs to come; '': nothing that is remembered. */
  private taskAt(item: number): string {
    const { spec } = this.fold
    if (spec === undefined) return ''
    const args = spec.options.args ?? ''
    if (this.gate === undefined) return `${spec.task.bundle}|${args}`
    const { tasks, nodes } = this.gate.plan
    const { steps, combine } = nodes[this.gate.nodeOf(item)]!
    // Each takes more than one character.
    if (steps.length > MAX_RATE_KEY_CHARS) return ''
    const named = (task: number): string => `${tasks[task]!.bundle}:${tasks[task]!.name}`
    const all = steps.map(({ task }) => named(task)).join()
    const folded = combine === undefined ? '' : `+${named(combine.step.task)}x${combine.grain}`
    return `${all}${folded}|${args}`
  }

  /**
   * How long one slot needs for what others may have to start, by the rates known here; more than `atMostMs`, or not known: undefined.
   */
  othersMs(atMostMs: number): number | undefined {
    const { fold, gate } = this
    let ms = 0
    const missing = (range: Range): number =>
      range.hi - range.lo - fold.final.countIn(range.lo, range.hi)
    const add = (range: Range): boolean => {
      const items = missing(range)
      if (items === 0) return true
      const { perMs } = this.meterAt(range.lo)
      ms += perMs === undefined ? Number.POSITIVE_INFINITY : items / perMs
      return ms <= atMostMs
    }
    if (gate === undefined) return add({ lo: 0, hi: fold.items }) ? ms : undefined
    if (gate.plan.nodes.length > MAX_NODES_LOOKED_AT) return undefined
    for (let node = 0; node < gate.plan.nodes.length; node += 1) {
      const { lo, hi } = gate.itemsOf(node)
      for (const part of gate.ready.within(lo, hi)) if (!add(part)) return undefined
    }
    return ms
  }

  /** How fast what comes next, or runs, goes here. */
  get rate(): RateMeter {
    if (this.gate === undefined) return this.meterAt(0)
    const next = this.todo.first()?.lo ?? this.chunks.values().next().value?.lo
    return next === undefined ? new RateMeter() : this.meterAt(next)
  }

  /** Of a composition whose next items are of a kind that is new here: how fast the first chunk of them goes, per ms. */
  glimpse(now: number): number | undefined {
    const next = this.todo.first()
    if (this.gate === undefined || next === undefined) return undefined
    const meter = this.meterAt(next.lo)
    for (const { state, lo, reached, startedAt, movedAt } of this.chunks.values()) {
      if (state !== 'running' || reached === lo || this.meterAt(lo) !== meter) continue
      return (reached - lo) / Math.max(1, Math.min(now, movedAt) - startedAt)
    }
    return undefined
  }

  /** Items per chunk where the job, or the node of `item`, fixes it. */
  chunkSizeAt(item: number): number | undefined {
    return this.optionsAt(item)?.chunkSize ?? this.fold.spec?.options.chunkSize
  }

  /** An idle peer may copy what is slow elsewhere. */
  speculates(item: number): boolean {
    return (this.optionsAt(item)?.speculate ?? this.fold.spec?.options.speculate) !== false
  }

  private optionsAt(item: number): NodeOptions | undefined {
    return this.gate?.plan.nodes[this.gate.nodeOf(item)]?.options
  }

  /** May start as far as what they need goes, and are of one node. */
  mayRun(lo: number, hi: number): boolean {
    if (!this.isGraph) return true
    const { gate } = this
    if (gate === undefined || gate.ready.countIn(lo, hi) < hi - lo) return false
    return gate.nodeOf(lo) === gate.nodeOf(hi - 1)
  }

  /** The plan of this composition is known: it has passed planFault(). */
  usePlan(plan: Plan): void {
    if (this.gate !== undefined) return
    this.gate = new Gate(plan)
    this.gate.rebuild(this.fold.final.ranges())
    this.open(this.gate.ready.ranges())
  }

  /** What this session owns and has not handed out, ready or not. */
  *unstarted(): Iterable<Range> {
    yield* this.todo.ranges()
    yield* this.waiting.ranges()
    yield* this.parked.ranges()
  }

  /** Items of `unstarted`. */
  get held(): number {
    return this.todo.size + this.waiting.size + this.parked.size
  }

  /** todo -> parked. All that are parked are tried again when the first of them is. */
  park(lo: number, hi: number, until: number): void {
    if (this.parked.size === 0) this.parkedUntil = until
    for (const part of this.todo.within(lo, hi)) {
      this.todo.remove(part.lo, part.hi)
      this.parked.add(part.lo, part.hi)
    }
  }

  /** parked -> todo */
  unpark(): void {
    const parked = [...this.parked.ranges()]
    this.parked.clear()
    for (const { lo, hi } of parked) this.reclaimLocal(lo, hi)
  }

  /** May start chunks here now. */
  runnable(now: number): boolean {
    return (
      !this.ended &&
      now >= this.blockedUntil &&
      // Without its plan nobody knows what may start.
      (!this.isGraph || this.gate !== undefined || this.planFault !== undefined) &&
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
    this.drop(lo, hi)
    this.busy.add(lo, hi)
  }

  /** Items come back, as far as this session still owns them. */
  giveBack(lo: number, hi: number): void {
    this.busy.remove(lo, hi)
    this.reclaimLocal(lo, hi)
  }

  /** A handed-out item waits for its next try. */
  delay(item: number, at: number, attempt: number): void {
    this.delayed.add({ item, at, attempt })
  }

  /** Its items wait no longer; who runs them next counts their tries from the first. */
  endDelays(lo: number, hi: number): void {
    for (const item of this.delayed.remove(lo, hi)) this.giveBack(item, item + 1)
  }

  /** Own entry or not, after the fold took it: follow this session's own feed. */
  follow(entry: Entry): void {
    if (entry.session !== this.session || entry.seq <= this.seq) return
    this.seq = entry.seq
    this.head = entry.hash
  }

  ownerChanged(lo: number, hi: number, owner: SessionId): void {
    if (owner !== this.session) {
      this.drop(lo, hi)
      this.endDelays(lo, hi)
      return
    }
    this.addOpen(lo, hi)
    this.thief.refreshed = true
    this.thief.waived = false
    this.thief.empties = 0
    this.thief.backoffMs = BACKOFF_MIN_MS
  }

  finalChanged(lo: number, hi: number): void {
    this.drop(lo, hi)
    this.endDelays(lo, hi)
    if (this.chunks.size > 0) this.overtaken = true
    if (this.gate !== undefined) this.open(this.gate.finalChanged(lo, hi))
  }

  rebuilt(): void {
    this.todo.clear()
    this.waiting.clear()
    this.parked.clear()
    this.gate?.rebuild(this.fold.final.ranges())
    this.reclaimLocal(0, this.fold.items)
    this.overtaken = true
  }

  breach(author: PeerId, session: SessionId, reason: string): void {
    this.accuse(author, session, reason)
  }

  forked(session: SessionId): void {
    this.tellForked(session)
  }

  private drop(lo: number, hi: number): void {
    this.todo.remove(lo, hi)
    this.waiting.remove(lo, hi)
    this.parked.remove(lo, hi)
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
      for (const free of this.busy.missing(open.lo, open.hi)) this.addFree(free)
    }
  }

  private addFree({ lo, hi }: Range): void {
    if (!this.isGraph) {
      this.todo.add(lo, hi)
      return
    }
    const ready = this.gate?.ready
    for (const part of ready?.within(lo, hi) ?? []) this.todo.add(part.lo, part.hi)
    for (const part of ready?.missing(lo, hi) ?? [{ lo, hi }]) this.waiting.add(part.lo, part.hi)
  }

  /** waiting -> todo; what others own is worth a STEAL. */
  private open(ready: Iterable<Range>): void {
    for (const { lo, hi } of ready) {
      this.thief.refreshed = true
      this.thief.backoffMs = BACKOFF_MIN_MS
      for (const part of this.waiting.within(lo, hi)) {
        this.waiting.remove(part.lo, part.hi)
        this.todo.add(part.lo, part.hi)
      }
    }
  }
}

/** Nodes that run the same tasks are equally fast; what their bound arguments are does not count. */
function kindOf(plan: Plan, node: number): string {
  const { steps, combine } = plan.nodes[node]!
  const tasks = steps.map(({ task }) => task).join()
  return combine === undefined ? tasks : `${tasks}+${combine.step.task}x${combine.grain}`
}
