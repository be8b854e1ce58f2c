import { Scheduler } from '../../src/scheduler/scheduler.ts'
import type {
  DoneSpan,
  Entry,
  JobId,
  OwnerSpan,
  PeerFacts,
  PeerId,
  ResultRef,
  SchedulerEffect,
  SchedulerEvent,
  ViewChange,
} from '../../src/scheduler/types.ts'
import { simHash, simSeal } from './seal.ts'
import type { World } from './world.ts'

/** Bytes of one item's value: a chunk of over 64 items goes to its keeper as a blob. */
const VALUE_BYTES = 16
/** What starting and ending a chunk costs a worker, ms. */
const CHUNK_OVERHEAD_MS = 0.3

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

interface Running {
  readonly job: JobId
  readonly lo: number
  readonly hi: number
  readonly startedAt: number
  /** Cleared when the chunk ended, so that a late event of it is dropped. */
  alive: boolean
  reached: number
}

/** One simulated peer: the real scheduler, and an interpreter of its effects in virtual time. */
export class SimPeer {
  readonly facts: PeerFacts
  /** Real speed of a slot; `facts.speed` is what it advertises. */
  readonly speed: number
  readonly scheduler: Scheduler
  readonly finishedAt = new Map<JobId, number>()
  readonly breaches: string[] = []
  /** Replicas of the views, as a store would keep them. */
  readonly owners = new Map<number, OwnerSpan>()
  readonly dones = new Map<number, DoneSpan>()
  live = true
  /** Largest and total time of one handle() call, ms of real time. */
  handleMaxMs = 0
  handleTotalMs = 0
  handled = 0
  private readonly world: World
  private readonly running = new Map<number, Running>()
  private readonly timers = new Map<string, number>()
  /** Entries of each feed that are here. */
  private readonly known = new Map<string, number>()
  /** How much of the own feeds went to whom, and to gossip. */
  private readonly sent = new Map<string, number>()

  private readonly performers: { readonly [T in SchedulerEffect['type']]: (e: Effect<T>) => void } =
    {
      append: ({ entry }) => this.append(entry),
      changeView: ({ change }) => this.applyView(change),
      push: ({ to, job }) => this.sendFeed(to, job),
      publish: ({ job }) => this.publish(job),
      sendSteal: (effect) => this.sendSteal(effect),
      answerSteal: (effect) => this.answerSteal(effect),
      sendLifeline: (effect) => this.sendLifeline(effect),
      startChunk: (effect) => this.startChunk(effect),
      abortChunk: ({ chunk }) => this.abortChunk(chunk),
      placeResult: (effect) => this.place(effect),
      setTimer: ({ timer, at }) => this.setTimer(timer, at),
      clearTimer: ({ timer }) => this.timers.delete(timer),
      jobChanged: () => undefined,
      jobFinished: ({ job }) => this.finishedAt.set(job, this.world.clock.now),
      breach: ({ peer, reason }) => this.breaches.push(`${peer.slice(0, 8)}: ${reason}`),
    }

  constructor(world: World, facts: PeerFacts, speed: number) {
    this.world = world
    this.facts = facts
    this.speed = speed
    this.scheduler = new Scheduler({ self: facts, seal: simSeal, random: world.prng.next })
  }

  get id(): PeerId {
    return this.facts.peer
  }

  handle(event: SchedulerEvent): void {
    if (!this.live) return
    const started = performance.now()
    const effects = this.scheduler.handle(event, this.world.clock.now)
    const took = performance.now() - started
    this.handleTotalMs += took
    this.handled += 1
    if (took > this.handleMaxMs) this.handleMaxMs = took
    for (const effect of effects) this.perform(effect)
  }

  /** Entries up to `upTo` of a feed arrive; those before it that are missing are pulled first. */
  takeFeed(feed: string, from: number, upTo: number): void {
    if (!this.live) return
    const have = this.known.get(feed) ?? 0
    if (have >= upTo) return
    if (from > have) {
      // A gap: what is missing is pulled, which takes a round trip more.
      this.world.clock.after(this.world.network.latency(2), () => this.takeFeed(feed, 0, upTo))
      return
    }
    this.known.set(feed, upTo)
    const entries = this.world.feed(feed).slice(have, upTo)
    this.handle({ type: 'entriesReceived', entries, from: undefined })
  }

  /** Ends what runs, as a stopping peer does, then leaves. */
  stop(): void {
    this.handle({ type: 'stopping' })
    for (const [chunk, run] of [...this.running]) this.endChunk(chunk, run, this.progress(run))
  }

  private perform(effect: SchedulerEffect): void {
    const perform = this.performers[effect.type] as (effect: SchedulerEffect) => void
    perform(effect)
  }

  private append(entry: Entry): void {
    const feed = feedKey(entry)
    const entries = this.world.feed(feed)
    if (entry.seq !== entries.length + 1) throw new Error(`feed ${feed}: seq ${entry.seq} reopened`)
    entries.push(entry)
    this.known.set(feed, entry.seq)
    this.world.appended(entry)
  }

  private applyView(change: ViewChange): void {
    if (!this.world.options.checkViews) return
    for (const lo of change.ownersRemoved) this.owners.delete(lo)
    for (const span of change.ownersPut) this.owners.set(span.lo, span)
    for (const lo of change.doneRemoved) this.dones.delete(lo)
    for (const span of change.donePut) this.dones.set(span.lo, span)
  }

  // ------------------------------------------------------------ entries

  private ownFeed(job: JobId): string {
    return `${this.facts.session}|${job}`
  }

  private sendFeed(to: PeerId, job: JobId): void {
    const run = this.nextRun(to, job)
    if (run === undefined) return
    this.world.network.replicate(1, () => {
      this.world.peer(to)?.takeFeed(run.feed, run.from, run.upTo)
    })
  }

  private publish(job: JobId): void {
    const run = this.nextRun('gossip', job)
    if (run === undefined) return
    for (const peer of this.world.others(this.id)) {
      this.world.network.replicate(this.world.gossipHops, () => {
        peer.takeFeed(run.feed, run.from, run.upTo)
      })
    }
  }

  private nextRun(
    to: string,
    job: JobId,
  ): { feed: string; from: number; upTo: number } | undefined {
    const feed = this.ownFeed(job)
    const upTo = this.world.feed(feed).length
    const key = `${to}|${job}`
    const from = this.sent.get(key) ?? 0
    if (from >= upTo) return undefined
    this.sent.set(key, upTo)
    return { feed, from, upTo }
  }

  // ------------------------------------------------------------ stealing

  private sendSteal({ to, job, nonce, rate, idle }: Effect<'sendSteal'>): void {
    this.world.steals.asked += 1
    const from = this.id
    const { session } = this.facts
    this.world.network.send(() => {
      const victim = this.world.peer(to)
      victim?.handle({ type: 'stealRequested', from, session, job, nonce, rate, idle })
    })
  }

  private answerSteal({ to, job, nonce, granted, running }: Effect<'answerSteal'>): void {
    if (granted) this.world.steals.granted += 1
    const feed = this.ownFeed(job)
    const upTo = this.world.feed(feed).length
    this.sent.set(`${to}|${job}`, upTo)
    this.world.network.send(() => {
      const thief = this.world.peer(to)
      thief?.takeFeed(feed, 0, upTo)
      thief?.handle({ type: 'stealAnswered', from: this.id, job, nonce, granted, running })
    })
  }

  private sendLifeline({ to, job, rate, idle }: Effect<'sendLifeline'>): void {
    this.world.steals.lifelines += 1
    const from = this.id
    const { session } = this.facts
    this.world.network.send(() => {
      this.world.peer(to)?.handle({ type: 'lifelineReceived', from, session, job, rate, idle })
    })
  }

  // ------------------------------------------------------------ chunks

  private startChunk({ chunk, job, lo, hi, budgetMs }: Effect<'startChunk'>): void {
    if (this.running.size >= this.facts.slots) throw new Error('more chunks than slots')
    const { clock, workload } = this.world
    const reached = workload.reach(lo, hi, budgetMs * this.speed)
    const run: Running = { job, lo, hi, startedAt: clock.now, alive: true, reached }
    this.running.set(chunk, run)
    const lasts = workload.cost(lo, reached) / this.speed
    clock.after(CHUNK_OVERHEAD_MS + lasts / 2, () => {
      if (!run.alive || !this.live) return
      this.handle({ type: 'chunkProgressed', chunk, reached: this.progress(run) })
    })
    clock.after(CHUNK_OVERHEAD_MS + lasts, () => {
      if (run.alive && this.live) this.endChunk(chunk, run, reached)
    })
  }

  /** Whole items that a chunk has finished by now. */
  private progress(run: Running): number {
    const { clock, workload } = this.world
    const spent = (clock.now - run.startedAt - CHUNK_OVERHEAD_MS) * this.speed
    if (spent <= 0) return run.lo
    const at = workload.reach(run.lo, run.reached, spent)
    return workload.cost(run.lo, at) > spent ? at - 1 : at
  }

  private endChunk(chunk: number, run: Running, reached: number): void {
    const { workload } = this.world
    run.alive = false
    this.running.delete(chunk)
    this.world.executed(run.lo, reached)
    const outputBytes = (reached - run.lo) * VALUE_BYTES
    const inline = outputBytes > 0 && outputBytes <= 1024
    this.handle({
      type: 'chunkEnded',
      chunk,
      reached,
      failed: 0,
      elapsedMs: workload.cost(run.lo, reached) / this.speed,
      outputBytes,
      ...(inline ? { inline: new Uint8Array(outputBytes) } : {}),
    })
  }

  private abortChunk(chunk: number): void {
    const run = this.running.get(chunk)
    if (run === undefined) return
    this.world.clock.after(0, () => {
      if (run.alive) this.endChunk(chunk, run, this.progress(run))
    })
  }

  private place({ chunk, keeper }: Effect<'placeResult'>): void {
    const { clock, network } = this.world
    const result: ResultRef = {
      kind: 'blob',
      hash: simHash(`${this.id}|${chunk}`) as Extract<ResultRef, { kind: 'blob' }>['hash'],
      sizeBytes: 1,
      keepers: [keeper],
    }
    const placed = (): void => this.handle({ type: 'chunkPlaced', chunk, result })
    if (keeper === this.id) clock.after(1, placed)
    else network.replicate(2, placed)
  }

  // ------------------------------------------------------------ timers

  private setTimer(name: string, at: number): void {
    this.timers.set(name, at)
    this.world.clock.at(at, () => {
      if (this.timers.get(name) !== at) return
      this.timers.delete(name)
      this.handle({ type: 'timerFired', timer: name })
    })
  }
}

export function feedKey(entry: Entry): string {
  return `${entry.session}|${entry.job}`
}
