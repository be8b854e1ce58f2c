import {
  abortOvertaken,
  awaitRetry,
  chunkEnded,
  chunkPlaced,
  chunkProgressed,
  chunkReturned,
} from './chunk-flow.ts'
import { Core, type TimerKind } from './core.ts'
import { failUnplanned, isNeeded, planInvalid, planLoaded, usePlan } from './dependants.ts'
import { flushDone } from './done-queue.ts'
import type { MakeFold } from './fold.ts'
import { Intake } from './intake.ts'
import { clockSet, reviewLimits, submissionTime, watchClock } from './job-clock.ts'
import type { JobRun } from './job-run.ts'
import {
  adoptOwners,
  beat,
  checkLeases,
  disconnected,
  distrust,
  heartbeat,
  livenessOf,
  noteConnected,
  noteLateness,
  noteLife,
  peerHeard,
  suspected,
} from './leases.ts'
import { HEARTBEAT_MS, MAX_GRANT_RANGES, MAX_SEEDS, SEED_ACK_MS } from './limits.ts'
import { planSeeds } from './plan-seeds.ts'
import { viewOf } from './read-model.ts'
import { hasLeftovers, reclaimOwn, reclaimReleased, releaseAll, remindSeeds } from './reclaim.ts'
import { grainOf, itemCount } from './rules.ts'
import { powerFor, seedGrants } from './seeds.ts'
import { fillSlots } from './slots.ts'
import { cancelled, paused, resumed } from './steer.ts'
import { endBackoff, seekWork, stealAnswered, stealTimedOut } from './thief.ts'
import type {
  DoneSpan,
  FailedSpan,
  JobId,
  JobSpec,
  JobView,
  Liveness,
  PeerFacts,
  PeerId,
  SchedulerConfig,
  SchedulerCore,
  SchedulerEffect,
  SchedulerEvent,
} from './types.ts'
import { lifelineReceived, serveLifelines, stealRequested } from './victim.ts'

type Handlers = {
  readonly [T in SchedulerEvent['type']]: (event: Extract<SchedulerEvent, { type: T }>) => void
}

/**
 * The scheduler of one peer session: jobs over item ranges, their logs' folds, and who runs what. Pure: everything comes in as an
 * event with the time, everything goes out as an effect. Total: what peers send never makes it throw.
 */
export class Scheduler implements SchedulerCore {
  private readonly core: Core
  private readonly intake: Intake
  private readonly handlers: Handlers
  private readonly timers: Readonly<Record<TimerKind, (run: JobRun) => void>>

  constructor(config: SchedulerConfig, makeFold?: MakeFold) {
    const core = (this.core = new Core(config, makeFold))
    const intake = (this.intake = new Intake(core))
    this.handlers = {
      peerSeen: ({ facts }) => this.peerSeen(facts),
      peerGone: (event) => disconnected(core, event),
      peerHeard: (event) => peerHeard(core, event),
      heartbeat: (event) => heartbeat(core, event),
      suspected: (event) => suspected(core, event),
      jobAcknowledged: ({ job, from }) => this.acknowledged(job, from),
      jobSynced: ({ job }) => {
        const run = core.jobs.get(job)
        if (run !== undefined) run.catchUpUntil = core.now
      },
      forkFound: (event) => this.forkFound(event),
      resultLost: (event) => this.resultLost(event),
      lending: ({ on }) => {
        core.lending = on
      },
      unfit: ({ job, ms }) => {
        const run = core.jobs.get(job)
        if (run === undefined || run.ended) return
        run.unfitUntil = core.now + ms
        core.touched.add(run)
        core.arm('release', run, run.unfitUntil)
      },
      gpuFound: ({ kernelSpeed }) => {
        core.self = { ...core.self, kernelSpeed }
      },
      submitted: (event) => this.submitted(event),
      planLoaded: (event) => planLoaded(core, event),
      planInvalid: (event) => planInvalid(core, event),
      cancelled: (event) => cancelled(core, event),
      paused: (event) => paused(core, event),
      resumed: (event) => resumed(core, event),
      clockSet: (event) => clockSet(core, event),
      entriesReceived: ({ entries, from }) => {
        if (from !== undefined) noteLife(core, from)
        intake.received(entries)
      },
      jobLoaded: ({ entries }) => intake.loaded(entries),
      stealRequested: (event) => {
        noteLife(core, event.from)
        stealRequested(core, event)
      },
      stealAnswered: (event) => {
        noteLife(core, event.from)
        stealAnswered(core, event)
      },
      lifelineReceived: (event) => {
        noteLife(core, event.from)
        lifelineReceived(core, event)
      },
      chunkProgressed: (event) => chunkProgressed(core, event),
      chunkEnded: (event) => chunkEnded(core, event),
      chunkPlaced: (event) => chunkPlaced(core, event),
      chunkReturned: (event) => chunkReturned(core, event),
      timerFired: ({ timer }) => this.timerFired(timer),
      stopping: () => this.stop(),
    }
    this.timers = {
      done: (run) => flushDone(core, run),
      publish: (run) => core.publish(run),
      steal: (run) => stealTimedOut(core, run),
      idle: (run) => endBackoff(core, run),
      // A timer may fire a little early by the clock that stamps events.
      retry: (run) => {
        run.blockedUntil = 0
        if (core.now >= run.parkedUntil) run.unpark()
        else if (run.parked.size > 0) core.arm('retry', run, run.parkedUntil)
      },
      // The time itself is what was waited for: settle() looks again.
      release: () => undefined,
      reclaim: (run) => endBackoff(core, run),
      seeds: (run) => remindSeeds(core, run),
      start: (run) => watchClock(core, run),
      limit: (run) => reviewLimits(core, run),
      rate: () => undefined,
      again: (run) => awaitRetry(core, run),
    }
  }

  handle(event: SchedulerEvent, now: number): SchedulerEffect[] {
    const { core } = this
    core.now = now
    if (core.dueAt('beat') === undefined) core.armAlone('beat', now + HEARTBEAT_MS)
    const handler = this.handlers[event.type] as (event: SchedulerEvent) => void
    handler(event)
    this.settle()
    return core.takeEffects()
  }

  private timerFired(timer: string): void {
    const { core } = this
    const due = core.dueAt(timer)
    if (due !== undefined) noteLateness(core, core.now - due)
    const fired = core.fired(timer)
    if (fired === 'beat') beat(core)
    else if (fired === 'lease') checkLeases(core)
    else if (fired !== undefined) this.timers[fired.kind](fired.run)
  }

  private peerSeen(facts: PeerFacts): void {
    const { core } = this
    const known = core.peers.get(facts.peer)
    if (facts.peer === core.self.peer || !noteConnected(core, facts)) return
    if (known?.session === facts.session) return
    for (const run of core.jobs.values()) {
      const news = run.author === core.self.peer ? !run.ended : run.author === facts.peer
      if (news && run.seq > 0) core.emit({ type: 'push', to: facts.peer, job: run.job })
      // Somebody new to ask.
      if (run.thief.backingOff !== 'no') endBackoff(core, run)
    }
  }

  private acknowledged(job: JobId, from: PeerId): void {
    const { core } = this
    noteLife(core, from)
    const session = core.current.get(from)
    if (session !== undefined) core.jobs.get(job)?.unacked.delete(session)
  }

  /** A feed forked: the proof becomes an entry, so that every peer cuts it at the same place. */
  private forkFound({ job, first, second }: Extract<SchedulerEvent, { type: 'forkFound' }>): void {
    const { core } = this
    const run = core.jobs.get(job)
    const fork = core.config.readFork?.(first, second)
    if (run === undefined || fork === undefined) return
    const cut = run.fold.cutSeq(fork.session)
    if (cut !== undefined && cut <= fork.seq) return
    core.append(run, { type: 'fork', first, second })
    core.pushToAuthor(run)
    core.publish(run)
  }

  /** done -> open again, as far as that DONE is still the accepted one. */
  private resultLost(event: Extract<SchedulerEvent, { type: 'resultLost' }>): void {
    const { core } = this
    const run = core.jobs.get(event.job)
    const { done } = event
    const spans = run?.fold.dones.overlapping(event.lo, event.hi) ?? []
    const ranges = spans.flatMap((span) =>
      span.hash === done
        ? [{ lo: Math.max(event.lo, span.lo), hi: Math.min(event.hi, span.hi), done }]
        : [],
    )
    if (run === undefined || ranges.length === 0) return
    core.append(run, { type: 'lost', ranges: ranges.slice(0, MAX_GRANT_RANGES) })
    core.pushToAuthor(run)
    core.publish(run)
  }

  private submitted(event: Extract<SchedulerEvent, { type: 'submitted' }>): void {
    const { core } = this
    const { job, spec } = event
    if (core.jobs.has(job)) return
    const peers = [...core.peers.values()]
    const busy = core.self.slots > 0 && core.freeSlots === 0 ? core.config.random : undefined
    const seeds = core.stopping
      ? []
      : event.plan === undefined
        ? seedGrants(itemCount(spec), grainOf(spec), core.self, peers, spec, busy)
        : planSeeds(event.plan, ...this.eligible(spec))
    const run = this.intake.create(job)
    core.append(run, { type: 'job', spec, at: submissionTime(core, event), seeds })
    if (event.plan !== undefined) usePlan(core, run, event.plan)
    this.intake.adopted(run)
    const seeded = new Set(seeds.map((seed) => seed.to))
    for (const session of seeded) if (session !== core.self.session) run.unacked.add(session)
    if (run.unacked.size > 0) core.arm('seeds', run, core.now + SEED_ACK_MS)
    const first = peers.filter((peer) => seeded.has(peer.session))
    const rest = peers.filter((peer) => !seeded.has(peer.session))
    for (const { peer } of [...first, ...rest].slice(0, MAX_SEEDS)) {
      core.emit({ type: 'push', to: peer, job })
    }
    core.publish(run)
  }

  /** This peer, and those connected, as far as they have what the job requires. */
  private eligible(spec: JobSpec): [self: PeerFacts, peers: PeerFacts[]] {
    const { self, peers } = this.core
    const isEligible = (facts: PeerFacts): boolean => powerFor(facts, spec) > 0
    return [isEligible(self) ? self : { ...self, slots: 0 }, [...peers.values()].filter(isEligible)]
  }

  private stop(): void {
    this.core.stopping = true
    for (const run of this.core.jobs.values()) {
      flushDone(this.core, run)
      this.core.publish(run)
    }
  }

  /** After every event: what follows from the state, whatever brought it about. */
  private settle(): void {
    const { core } = this
    for (const run of core.touched) {
      this.intake.review(run)
      // Whoever owns what is open (again) may be long gone; once a lease is watched, all are looked at in turn.
      if (!run.ended && core.dueAt('lease') === undefined) adoptOwners(core, run)
    }
    this.dropSuspects()
    for (const run of this.toSettle()) {
      if (core.stopping || !core.lending || core.now < run.unfitUntil) releaseAll(core, run)
      reclaimOwn(core, run)
      reclaimReleased(core, run)
      failUnplanned(core, run)
      if (hasLeftovers(core, run)) core.unsettled.add(run)
      else core.unsettled.delete(run)
    }
    fillSlots(core)
    serveLifelines(core)
    seekWork(core)
    // What was just taken from the dead can start.
    fillSlots(core)
    for (const run of core.touched) {
      this.intake.review(run)
      if (run.overtaken) abortOvertaken(core, run)
      const change = run.fold.takeChange()
      if (change !== undefined) core.emit({ type: 'changeView', change })
      if (run.fold.jobEntry !== undefined) core.emit({ type: 'jobChanged', job: run.job })
      this.intake.announce(run)
    }
    core.touched.clear()
  }

  /** Jobs that this event, or those before it, left something to do of; there may be a thousand others. */
  private toSettle(): JobRun[] {
    const { core } = this
    if (core.stopping || !core.lending) return [...core.active]
    const runs = new Set([...core.touched, ...core.unsettled])
    return [...runs].filter((run) => !run.ended && core.jobs.get(run.job) === run)
  }

  /** Whoever broke a rule is not waited for, nor asked, any more. */
  private dropSuspects(): void {
    const { suspects } = this.core
    for (const [session, peer] of suspects) distrust(this.core, session, peer)
    suspects.clear()
  }

  // ------------------------------------------------------------ read model

  job(id: JobId): JobView | undefined {
    const run = this.core.jobs.get(id)
    return run === undefined ? undefined : viewOf(this.core, run)
  }

  jobs(): JobView[] {
    return [...this.core.jobs.values()]
      .map((run) => viewOf(this.core, run))
      .filter((view) => view !== undefined)
  }

  doneAt(job: JobId, item: number): DoneSpan | undefined {
    return this.core.jobs.get(job)?.fold.dones.at(item)
  }

  doneSpans(job: JobId): Iterable<DoneSpan> {
    return this.core.jobs.get(job)?.fold.dones ?? []
  }

  failures(job: JobId): Iterable<FailedSpan> {
    return this.core.jobs.get(job)?.fold.failures() ?? []
  }

  liveness(peer: PeerId): Liveness {
    return livenessOf(this.core, peer)
  }

  /** Whether the values of items lo..hi-1 are still of use; not those that only finished items of a composition were computed from. */
  isNeeded(job: JobId, lo: number, hi: number): boolean {
    const run = this.core.jobs.get(job)
    return run === undefined || isNeeded(run, { lo, hi })
  }

  /** Whether a STEAL of this peer waits for its answer: a peer that leaves waits for it, since a GRANT may be on its way. */
  awaitsAnswer(): boolean {
    return this.core.active.some((run) => run.thief.asked !== undefined)
  }

  forget(job: JobId): void {
    this.intake.forget(job)
  }
}
