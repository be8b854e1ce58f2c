import { RateBook } from './chunks.ts'
import { JobFold, type MakeFold } from './fold.ts'
import { JobRun } from './job-run.ts'
import type { Lease } from './leases.ts'
import { DEFAULT_RTT_MS, LEASE_MS, PUBLISH_MS } from './limits.ts'
import { powerFor } from './seeds.ts'
import { priorityOf, Turns } from './turns.ts'
import type {
  EntryBody,
  JobId,
  PeerFacts,
  PeerId,
  SchedulerConfig,
  SchedulerEffect,
  SessionId,
} from './types.ts'

/** Timers are named kind|job: at most one of each kind a job. */
export type TimerKind =
  | 'done'
  | 'publish'
  | 'steal'
  | 'idle'
  | 'retry'
  | 'release'
  | 'reclaim'
  | 'seeds'
  | 'start'
  | 'limit'
  | 'rate'
  | 'again'
/** These belong to no job. */
export type LoneTimer = 'beat' | 'lease'

/** The state that the parts of the scheduler share, and the few things they all do with it. */
export class Core {
  self: PeerFacts
  readonly config: SchedulerConfig
  /** Connected peers whose lease runs. */
  readonly peers = new Map<PeerId, PeerFacts>()
  readonly leases = new Map<SessionId, Lease>()
  /** The newest session of each peer heard of. */
  readonly current = new Map<PeerId, SessionId>()
  /** Sessions whose lease is over. */
  readonly ended = new Set<SessionId>()
  /** Peers that this one sends its heartbeats to. */
  reportsTo = new Set<PeerId>()
  readonly leaseMs: number
  /** After a sleep: nobody is declared dead before. */
  listenUntil = Number.NEGATIVE_INFINITY
  /** When this peer last said that it lives though it was suspected. */
  refutedAt = Number.NEGATIVE_INFINITY
  /** False while this peer takes no work (its disk is full). */
  lending = true
  readonly jobs = new Map<JobId, JobRun>()
  readonly rates = new RateBook()
  /** Jobs that are not over. */
  readonly active: JobRun[] = []
  /** How many of them there are of each priority. */
  readonly priorities = new Map<number, number>()
  readonly chunkJobs = new Map<number, JobRun>()
  /** Earlier sessions of this peer. */
  readonly predecessors: Set<SessionId>
  /** Jobs whose fold moved in this call. */
  readonly touched = new Set<JobRun>()
  /** Jobs that other peers left word for. */
  readonly asked = new Set<JobRun>()
  /** Jobs of which something is to be taken over in time. */
  readonly unsettled = new Set<JobRun>()
  now = 0
  running = 0
  placing = 0
  placingBytes = 0
  stopping = false
  /** Of a STEAL, measured: a moving mean. */
  rttMs = DEFAULT_RTT_MS
  /** Which job gets the next slot. */
  readonly turns = new Turns()
  /** Which job is asked for first the next time. */
  seekTurn = 0
  /** What is to be added to `now` for the mesh's wall clock; undefined: not known yet. */
  clockOffsetMs: number | undefined
  /** Sessions that broke a rule in this call, with their peer where it is known. */
  readonly suspects = new Map<SessionId, PeerId | undefined>()
  private readonly makeFold: MakeFold
  private nextNumber = 1
  private effects: SchedulerEffect[] = []
  private readonly timers = new Map<string, number>()

  constructor(config: SchedulerConfig, makeFold?: MakeFold) {
    this.config = config
    this.makeFold = makeFold ?? ((job, listener) => new JobFold(job, listener, config.readFork))
    this.self = config.self
    this.leaseMs = config.leaseMs ?? LEASE_MS
    this.predecessors = new Set(config.predecessors)
    this.predecessors.delete(config.self.session)
  }

  emit(effect: SchedulerEffect): void {
    this.effects.push(effect)
  }

  takeEffects(): SchedulerEffect[] {
    const taken = this.effects
    this.effects = []
    return taken
  }

  /** Numbers chunks and nonces; never reused in a session. */
  number(): number {
    return this.nextNumber++
  }

  newRun(job: JobId): JobRun {
    const accuse = (peer: PeerId, session: SessionId, reason: string): void => {
      this.emit({ type: 'breach', peer, reason })
      this.suspects.set(session, peer)
    }
    const forked = (session: SessionId): void => {
      this.suspects.set(session, undefined)
    }
    const turn = this.turns.newTurn(this.now)
    return new JobRun(job, this.self.session, accuse, forked, turn, this.rates, this.makeFold)
  }

  /** Writes an entry of this session, folds it in, and sees that it gets about. */
  append(run: JobRun, body: EntryBody): void {
    const entry = this.config.seal(
      {
        author: this.self.peer,
        session: this.self.session,
        job: run.job,
        seq: run.seq + 1,
        prev: run.head,
      },
      body,
    )
    this.emit({ type: 'append', entry })
    run.follow(entry)
    run.fold.add(entry)
    this.touched.add(run)
    run.unpublished = true
    this.armOnce('publish', run, this.now + PUBLISH_MS)
  }

  /** What this session wrote goes to the job's author, unless that is this peer or it is away. */
  pushToAuthor(run: JobRun): void {
    const author = run.author
    if (author !== undefined && author !== this.self.peer && this.peers.has(author)) {
      this.emit({ type: 'push', to: author, job: run.job })
    }
  }

  /** Gossips what was not gossiped yet at that time, if not sooner. */
  publishSoon(run: JobRun, at: number): void {
    const due = this.dueAt(`publish|${run.job}`)
    if (due === undefined || due > at) this.arm('publish', run, at)
  }

  publish(run: JobRun): void {
    this.disarm('publish', run)
    if (!run.unpublished) return
    run.unpublished = false
    this.emit({ type: 'publish', job: run.job })
  }

  // ------------------------------------------------------------ timers

  arm(kind: TimerKind, run: JobRun, at: number): void {
    const timer = `${kind}|${run.job}`
    if (this.timers.get(timer) === at) return
    this.timers.set(timer, at)
    this.emit({ type: 'setTimer', timer, at })
  }

  /** Keeps the time of a timer that is set already. */
  armOnce(kind: TimerKind, run: JobRun, at: number): void {
    if (!this.timers.has(`${kind}|${run.job}`)) this.arm(kind, run, at)
  }

  disarm(kind: TimerKind, run: JobRun): void {
    const timer = `${kind}|${run.job}`
    if (this.timers.delete(timer)) this.emit({ type: 'clearTimer', timer })
  }

  armAlone(kind: LoneTimer, at: number): void {
    this.timers.set(kind, at)
    this.emit({ type: 'setTimer', timer: kind, at })
  }

  /** When a timer that is set fires. */
  dueAt(timer: string): number | undefined {
    return this.timers.get(timer)
  }

  /** The kind and job of a timer that fired and that is still wanted; of lone ones, the kind. */
  fired(timer: string): { kind: TimerKind; run: JobRun } | LoneTimer | undefined {
    if (!this.timers.delete(timer)) return undefined
    if (timer === 'beat' || timer === 'lease') return timer
    const bar = timer.indexOf('|')
    const run = this.jobs.get(timer.slice(bar + 1) as JobId)
    return run === undefined ? undefined : { kind: timer.slice(0, bar) as TimerKind, run }
  }

  // ------------------------------------------------------------ jobs in turn

  activate(run: JobRun): void {
    if (this.active.includes(run)) return
    this.active.push(run)
    const priority = priorityOf(run)
    run.countedPriority = priority
    this.priorities.set(priority, (this.priorities.get(priority) ?? 0) + 1)
  }

  retire(run: JobRun): void {
    const i = this.active.indexOf(run)
    if (i < 0) return
    this.active.splice(i, 1)
    // A forked JOB may be gone by now, and its options with it.
    const priority = run.countedPriority
    const others = (this.priorities.get(priority) ?? 1) - 1
    if (others > 0) this.priorities.set(priority, others)
    else this.priorities.delete(priority)
    this.unsettled.delete(run)
    this.asked.delete(run)
  }

  /** 0 while it takes no work. */
  get freeSlots(): number {
    return this.lending ? Math.max(0, this.self.slots - this.running) : 0
  }

  /** Takes work: it lends slots, and is not about to stop. */
  get willing(): boolean {
    return !this.stopping && this.lending && this.self.slots > 0
  }

  /** May start, or take, items of that job: it is not over, its time has come, and it needs nothing that this peer lacks. */
  runnable(run: JobRun): boolean {
    return run.runnable(this.now) && run.begun && run.overLimitSince === undefined && this.fits(run)
  }

  /** This peer has what the job's task needs. */
  fits(run: JobRun): boolean {
    if (this.now < run.unfitUntil) return false
    return this.self.slots === 0 || powerFor(this.self, run.fold.spec) > 0
  }

  isLive(peer: PeerId): boolean {
    return peer === this.self.peer || this.peers.has(peer)
  }
}
