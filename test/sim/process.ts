import { type FoldListener, JobFold } from '../../src/scheduler/fold.ts'
import type { Scheduler } from '../../src/scheduler/scheduler.ts'
import type {
  DoneSpan,
  Entry,
  JobId,
  OwnerSpan,
  PeerFacts,
  PeerId,
  SchedulerEffect,
  SchedulerEvent,
  ViewChange,
} from '../../src/scheduler/types.ts'
import type { Feed } from './feeds.ts'
import { readSimFork } from './fork.ts'
import type { Host } from './host.ts'
import { Replica } from './replica.ts'
import { Workers } from './workers.ts'
import type { World } from './world.ts'

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

/** As in Node: what is due already comes a little later all the same. */
const SHORTEST_TIMER_MS = 0.5

/** What thinks in a process: the real scheduler, or a peer that breaks the protocol. */
export interface Brain {
  /** Of an honest peer. */
  readonly scheduler?: Scheduler
  handle(event: SchedulerEvent, now: number): SchedulerEffect[]
  /** Whether the job is known here and not over. */
  isRunning(job: JobId): boolean
}

export const DEAF: FoldListener = {
  ownerChanged: () => undefined,
  finalChanged: () => undefined,
  rebuilt: () => undefined,
  breach: () => undefined,
  forked: () => undefined,
}

/** One session of a peer: it lives from a start to a crash, and interprets its brain's effects in virtual time. */
export class Process {
  readonly world: World
  readonly host: Host
  readonly facts: PeerFacts
  readonly brain: Brain
  readonly workers: Workers
  readonly replica: Replica
  /** The far ends of its connections, as it sees them. */
  readonly links = new Map<PeerId, Process>()
  readonly jobs = new Set<JobId>()
  readonly finishedAt = new Map<JobId, number>()
  /** Copies of the views, as a store would keep them. */
  readonly owners = new Map<number, OwnerSpan>()
  readonly dones = new Map<number, DoneSpan>()
  alive = true
  /** SIGSTOP. */
  stopped = false
  leaving = false
  handled = 0
  private readonly timers = new Map<string, number>()
  private readonly lateTimers: (() => void)[] = []
  private readonly lateMessages: (() => void)[] = []
  private outbox: SchedulerEffect[] = []
  private flushing = false

  constructor(world: World, host: Host, facts: PeerFacts, brain: (process: Process) => Brain) {
    this.world = world
    this.host = host
    this.facts = facts
    this.workers = new Workers(this)
    this.replica = new Replica(this)
    this.brain = brain(this)
  }

  get id(): PeerId {
    return this.host.id
  }

  get name(): string {
    return `peer ${this.host.index} (session ${this.facts.sessionNumber})`
  }

  // ------------------------------------------------------------ life

  /** What the folder holds of every job whose JOB it has; the views are made anew from it. */
  load(): void {
    const { world } = this
    for (const job of world.book.jobs()) {
      const entries = this.replica.allOf(job)
      if (entries[0]?.body.type !== 'job') continue
      this.jobs.add(job)
      if (world.options.checked) {
        const fold = new JobFold(job, DEAF, readSimFork)
        for (const entry of entries) fold.add(entry)
        const change = fold.takeChange()
        if (change !== undefined) this.applyView(change)
      }
      this.handle({ type: 'jobLoaded', entries })
    }
  }

  /** Something happens in this process: now, or when it goes on. */
  run(kind: 'timer' | 'io', work: () => void): void {
    if (!this.alive) return
    if (!this.stopped) work()
    else (kind === 'timer' ? this.lateTimers : this.lateMessages).push(work)
  }

  /** SIGCONT. An event loop looks at its timers first, and mostly before it reads. */
  resume(timersFirst: boolean): void {
    this.stopped = false
    const [timers, messages] = [this.lateTimers.splice(0), this.lateMessages.splice(0)]
    for (const work of timersFirst ? [...timers, ...messages] : [...messages, ...timers]) {
      if (this.alive) work()
    }
  }

  /** Ctrl-C: tells everyone that it lends nothing any more, and hands on what it has not started. */
  leave(): void {
    this.leaving = true
    const facts = { ...this.facts, slots: 0 }
    for (const peer of this.links.keys()) {
      this.send(peer, 'advert', (far) => far.handle({ type: 'peerSeen', facts }))
    }
    this.handle({ type: 'stopping' })
    this.workers.abortAll()
  }

  /** kill -9. */
  die(): void {
    this.alive = false
    this.outbox = []
    this.workers.die()
  }

  // ------------------------------------------------------------ events and effects

  handle(event: SchedulerEvent): void {
    if (!this.alive) return
    const { world } = this
    this.handled += 1
    const effects = this.brain.handle(event, this.host.localTime(world.clock.now))
    if (effects.length === 0) return
    let locals: SchedulerEffect[] | undefined
    for (const effect of effects) {
      switch (effect.type) {
        case 'append':
          this.append(effect.entry)
          break
        case 'setTimer':
          this.setTimer(effect.timer, effect.at)
          break
        case 'clearTimer':
          this.timers.delete(effect.timer)
          break
        case 'jobChanged':
          break
        case 'startChunk':
          if (effect.afterWrite) this.outbox.push(effect)
          else (locals ??= []).push(effect)
          break
        case 'changeView':
        case 'abortChunk':
        case 'jobFinished':
        case 'leaseEnded':
        case 'breach':
          ;(locals ??= []).push(effect)
          break
        default:
          this.outbox.push(effect)
      }
    }
    if (locals !== undefined) {
      for (const effect of locals) this.perform(effect)
      if (world.options.checked) for (const effect of locals) this.checkOwned(effect)
    }
    if (this.outbox.length > 0) this.flush()
  }

  /** What leaves this peer waits until everything staged before it is written (I3). */
  private flush(): void {
    const { writeMs } = this.world.faults
    if (writeMs === 0) {
      const batch = this.outbox
      this.outbox = []
      this.replica.written()
      for (const effect of batch) this.perform(effect)
      return
    }
    if (this.flushing) return
    this.flushing = true
    const batch = this.outbox
    this.outbox = []
    const staged = this.replica.staged()
    this.world.clock.after(writeMs, () =>
      this.run('io', () => {
        this.flushing = false
        this.replica.written(staged)
        for (const effect of batch) this.perform(effect)
        if (this.outbox.length > 0) this.flush()
      }),
    )
  }

  private perform(effect: SchedulerEffect): void {
    const { world, replica, workers } = this
    switch (effect.type) {
      case 'changeView':
        if (world.options.checked) this.applyView(effect.change)
        return
      case 'startChunk':
        workers.start(effect)
        return
      case 'abortChunk':
        workers.abort(effect.chunk)
        return
      case 'placeResult':
        workers.place(effect)
        return
      case 'push':
        replica.push(effect.to, effect.job)
        return
      case 'publish':
        replica.publish(effect.job)
        return
      case 'answerSteal':
        this.answerSteal(effect)
        return
      case 'sendSteal':
        this.sendSteal(effect)
        return
      case 'resync':
        replica.resync(effect.job, effect.with)
        return
      case 'jobFinished':
        this.finishedAt.set(effect.job, world.clock.now)
        replica.tellEnd(effect.job)
        return
      case 'leaseEnded':
        world.leaseEnded(this, effect.session)
        return
      case 'breach':
        world.breach(this, effect.peer, effect.reason)
        return
      case 'loadPlan':
        this.loadPlan(effect.job)
        return
      default:
        this.say(effect)
    }
  }

  /** A blob, fetched from whoever has it. */
  private loadPlan(job: JobId): void {
    const { plan, planMs } = this.world.options
    const { clock, prng } = this.world
    if (plan === undefined) return
    clock.after(prng.between(1, planMs), () =>
      this.run('io', () => this.handle({ type: 'planLoaded', job, plan })),
    )
  }

  /** The short messages. */
  private say(effect: SchedulerEffect): void {
    const from = this.id
    const { session } = this.facts
    switch (effect.type) {
      case 'sendLifeline': {
        const { to, job, rate, idle } = effect
        this.send(to, 'lifeline', (far) =>
          far.handle({ type: 'lifelineReceived', from, session, job, rate, idle }),
        )
        return
      }
      case 'sendHeartbeat':
        for (const to of effect.to) {
          this.send(to, 'heartbeat', (far) =>
            far.handle({ type: 'heartbeat', from, last: effect.last }),
          )
        }
        return
      case 'sendSuspicion': {
        const { peer, session: suspect } = effect
        for (const to of effect.to) {
          this.send(to, 'suspect', (far) =>
            far.handle({ type: 'suspected', from, peer, session: suspect }),
          )
        }
        return
      }
      default:
        throw new Error(`no interpreter for ${effect.type}`)
    }
  }

  private append(entry: Entry): void {
    const { world, host } = this
    const feed = world.book.of(entry.author, entry.session, entry.job)
    const wrong =
      entry.session !== this.facts.session ||
      entry.author !== this.id ||
      entry.seq !== feed.entries.length + 1
    if (wrong) throw new Error(`${this.name}: feed opened again at seq ${entry.seq}`)
    feed.entries.push(entry)
    host.folder.have.set(feed.index, entry.seq)
    this.replica.appended(feed)
    this.jobs.add(entry.job)
    world.tellEntry(this, entry)
    if (host.honest) {
      world.truth.wrote(entry)
      world.checkFail(this, entry)
    } else world.byzantineEntries += 1
  }

  private applyView(change: ViewChange): void {
    for (const lo of change.ownersRemoved) this.owners.delete(lo)
    for (const span of change.ownersPut) this.owners.set(span.lo, span)
    for (const lo of change.doneRemoved) this.dones.delete(lo)
    for (const span of change.donePut) this.dones.set(span.lo, span)
  }

  /** I5: what runs here, and is no copy, is this session's by its own views. */
  private checkOwned(effect: SchedulerEffect): void {
    if (effect.type !== 'startChunk' || effect.speculative || !this.host.honest) return
    for (const { lo, hi, owner } of this.owners.values()) {
      if (hi <= effect.lo || lo >= effect.hi || owner === this.facts.session) continue
      this.world.truth.problem(`${this.name} starts ${effect.lo}..${effect.hi}, not all its own`)
    }
  }

  private setTimer(name: string, at: number): void {
    this.timers.set(name, at)
    const { clock } = this.world
    clock.at(Math.max(this.host.virtualTime(at), clock.now + SHORTEST_TIMER_MS), () =>
      this.run('timer', () => {
        if (this.timers.get(name) !== at) return
        // The clock stood still while the machine slept: it is not time yet.
        if (this.host.localTime(clock.now) < at - 0.001) {
          this.setTimer(name, at)
          return
        }
        this.timers.delete(name)
        this.handle({ type: 'timerFired', timer: name })
      }),
    )
  }

  // ------------------------------------------------------------ messages

  /** Over the direct stream; false: there is none. */
  send(to: PeerId, kind: string, deliver: (far: Process) => void): boolean {
    const far = this.links.get(to)
    if (far === undefined) return false
    this.world.network.send(this.host, far.host, kind, () => far.run('io', () => deliver(far)))
    return true
  }

  private sendSteal({ to, job, nonce, rate, idle }: Effect<'sendSteal'>): void {
    const from = this.id
    const { session } = this.facts
    const far = this.links.get(to)
    if (far === undefined) return
    const head = this.replica.headOf(far, job)
    this.send(to, 'steal', () => {
      far.replica.peerHas(from, job, head)
      far.handle({ type: 'stealRequested', from, session, job, nonce, rate, idle })
    })
  }

  private answerSteal({ to, job, nonce, granted, running }: Effect<'answerSteal'>): void {
    const run = this.replica.nextRun(to, job)
    const from = this.id
    this.send(to, 'stealAnswer', (far) => {
      if (run !== undefined) far.replica.receive([run], this)
      far.handle({ type: 'stealAnswered', from, job, nonce, granted, running })
    })
  }

  // ------------------------------------------------------------ connections

  /** A connection stands: greetings go out. */
  connected(far: Process): void {
    this.links.set(far.id, far)
    this.replica.forgetPeer(far.id)
    this.handle({ type: 'peerSeen', facts: far.facts })
    this.replica.greet(far)
  }

  /** It closed. */
  disconnected(far: Process, refused: boolean): void {
    if (this.links.get(far.id) !== far) return
    this.links.delete(far.id)
    this.replica.forgetPeer(far.id)
    this.handle({ type: 'peerGone', peer: far.id, refused })
  }

  ownFeed(job: JobId): Feed {
    return this.world.book.of(this.id, this.facts.session, job)
  }
}
