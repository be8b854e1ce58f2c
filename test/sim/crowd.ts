import { Scheduler } from '../../src/scheduler/scheduler.ts'
import type {
  BlobHash,
  Entry,
  JobId,
  JobOptions,
  JobSpec,
  PeerFacts,
  PeerId,
  SchedulerEffect,
  SchedulerEvent,
  SessionId,
} from '../../src/scheduler/types.ts'
import { Clock } from './clock.ts'
import { Prng } from './prng.ts'
import { simHash, simSeal } from './seal.ts'

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

export interface CrowdOptions {
  readonly seed: number
  readonly peers: number
  readonly slots: number
  readonly latencyMs: number
}

export interface CrowdJob {
  readonly id: JobId
  readonly itemMs: number
  readonly submittedAt: number
  readonly priority: number
  startedAt: number | undefined
  finishedAt: number | undefined
  /** Slot time that it had, ms. */
  spentMs: number
}

/** A chunk that was started somewhere. */
export interface CrowdStart {
  readonly at: number
  readonly node: CrowdNode
  readonly job: CrowdJob
}

/**
 * Many jobs at once on a few peers, with a network that only takes time: who gets the slots is the question here. (What goes wrong
 * is the matter of world.ts, which runs one job.)
 */
export class Crowd {
  readonly options: CrowdOptions
  readonly clock = new Clock()
  readonly prng: Prng
  readonly nodes: readonly CrowdNode[]
  readonly jobs = new Map<JobId, CrowdJob>()
  readonly starts: CrowdStart[] = []
  /** Called before each start is noted. */
  onStart: (start: CrowdStart) => void = () => undefined

  constructor(options: CrowdOptions) {
    this.options = options
    this.prng = new Prng(options.seed * 7907 + 3)
    this.nodes = Array.from({ length: options.peers }, (_, i) => new CrowdNode(this, i))
    for (const one of this.nodes) {
      for (const other of this.nodes) {
        if (one !== other) one.on({ type: 'peerSeen', facts: other.facts })
      }
    }
  }

  submit(node: CrowdNode, items: number, itemMs: number, options: JobOptions = {}): CrowdJob {
    const spec: JobSpec = {
      v: 1,
      task: { kind: 'module', name: 'sim', bundle: simHash('bundle') as BlobHash, bundleBytes: 1 },
      input: { kind: 'range', start: 0, count: items },
      options,
      nonce: simHash(`nonce ${this.jobs.size}`),
    }
    const id = simHash(JSON.stringify(spec)) as JobId
    const job: CrowdJob = {
      id,
      itemMs,
      submittedAt: this.clock.now,
      priority: options.priority ?? 5,
      startedAt: undefined,
      finishedAt: undefined,
      spentMs: 0,
    }
    this.jobs.set(id, job)
    node.on({ type: 'submitted', job: id, spec, at: this.clock.now })
    return job
  }

  /** Until then, or until nothing is to come. */
  runUntil(at: number): void {
    let over = false
    this.clock.at(at, () => {
      over = true
    })
    while (!over && this.clock.step());
  }
}

/** A peer: a real scheduler, workers that take the time that items take, and every entry it has. */
export class CrowdNode {
  readonly crowd: Crowd
  readonly facts: PeerFacts
  readonly scheduler: Scheduler
  /** Most time that one event took, and the time of all, real ms. */
  handledMs = 0
  handled = 0
  private readonly feeds = new Map<JobId, Entry[]>()
  private readonly sent = new Map<string, number>()
  private readonly timers = new Map<string, number>()
  private readonly running = new Map<number, () => void>()

  constructor(crowd: Crowd, index: number) {
    this.crowd = crowd
    this.facts = {
      peer: simHash(`peer ${index}`) as PeerId,
      session: simHash(`session ${index}`).slice(0, 32) as SessionId,
      sessionNumber: 1,
      slots: crowd.options.slots,
      speed: 1,
    }
    const random = crowd.prng.fork().next
    this.scheduler = new Scheduler({ self: this.facts, seal: simSeal, random })
  }

  on(event: SchedulerEvent): void {
    const started = performance.now()
    const effects = this.scheduler.handle(event, this.crowd.clock.now)
    this.handledMs += performance.now() - started
    this.handled += 1
    for (const effect of effects) this.perform(effect)
  }

  private perform(effect: SchedulerEffect): void {
    const { clock } = this.crowd
    switch (effect.type) {
      case 'append':
        this.feedOf(effect.entry.job).push(effect.entry)
        return
      case 'push':
        this.tell(effect.to, effect.job)
        return
      case 'publish':
        for (const { facts } of this.crowd.nodes) this.tell(facts.peer, effect.job)
        return
      case 'sendSteal':
      case 'answerSteal':
      case 'sendLifeline':
      case 'sendHeartbeat':
        this.say(effect)
        return
      case 'setTimer':
        this.setTimer(effect.timer, effect.at)
        return
      case 'clearTimer':
        this.timers.delete(effect.timer)
        return
      case 'startChunk':
        this.start(effect)
        return
      case 'abortChunk':
        clock.after(0, () => this.running.get(effect.chunk)?.())
        return
      case 'jobFinished': {
        const job = this.crowd.jobs.get(effect.job)
        if (job !== undefined) job.finishedAt ??= clock.now
        return
      }
      default:
    }
  }

  private feedOf(job: JobId): Entry[] {
    let feed = this.feeds.get(job)
    if (feed === undefined) this.feeds.set(job, (feed = []))
    return feed
  }

  private to(peer: PeerId, deliver: (far: CrowdNode) => void): void {
    const far = this.crowd.nodes.find(({ facts }) => facts.peer === peer)
    if (far === undefined || far === this) return
    this.crowd.clock.after(this.crowd.options.latencyMs, () => deliver(far))
  }

  /** What the far end lacks of this peer's feed. */
  private tell(to: PeerId, job: JobId): void {
    const feed = this.feedOf(job)
    const from = this.sent.get(to + job) ?? 0
    if (from >= feed.length) return
    this.sent.set(to + job, feed.length)
    const entries = feed.slice(from)
    const { peer } = this.facts
    this.to(to, (far) => {
      far.on({ type: 'entriesReceived', entries, from: peer })
      if (entries[0]?.body.type !== 'job') return
      far.to(peer, (author) => author.on({ type: 'jobAcknowledged', job, from: to }))
    })
  }

  private say(
    effect: Effect<'sendSteal' | 'answerSteal' | 'sendLifeline' | 'sendHeartbeat'>,
  ): void {
    const { peer: from, session } = this.facts
    switch (effect.type) {
      case 'sendSteal': {
        const { job, nonce, rate, idle } = effect
        this.to(effect.to, (far) =>
          far.on({ type: 'stealRequested', from, session, job, nonce, rate, idle }),
        )
        return
      }
      case 'answerSteal': {
        const { job, nonce, granted, running } = effect
        this.tell(effect.to, job)
        this.to(effect.to, (far) =>
          far.on({ type: 'stealAnswered', from, job, nonce, granted, running }),
        )
        return
      }
      case 'sendLifeline': {
        const { job, rate, idle } = effect
        this.to(effect.to, (far) =>
          far.on({ type: 'lifelineReceived', from, session, job, rate, idle }),
        )
        return
      }
      default:
        for (const to of effect.to) {
          this.to(to, (far) => far.on({ type: 'heartbeat', from, last: effect.last }))
        }
    }
  }

  private setTimer(timer: string, at: number): void {
    this.timers.set(timer, at)
    this.crowd.clock.at(at, () => {
      if (this.timers.get(timer) !== at) return
      this.timers.delete(timer)
      this.on({ type: 'timerFired', timer })
    })
  }

  /** The worker looks at the clock between items. */
  private start({ chunk, job: id, lo, hi, budgetMs }: Effect<'startChunk'>): void {
    const { crowd } = this
    const job = crowd.jobs.get(id)!
    const { now } = crowd.clock
    const start = { at: now, node: this, job }
    crowd.onStart(start)
    crowd.starts.push(start)
    job.startedAt ??= now
    const items = Math.min(hi - lo, Math.max(1, Math.ceil(budgetMs / job.itemMs)))
    const end = (): void => {
      if (!this.running.delete(chunk)) return
      const elapsedMs = crowd.clock.now - now
      const done = Math.min(items, Math.floor(elapsedMs / job.itemMs + 1e-9))
      job.spentMs += elapsedMs
      this.on({
        type: 'chunkEnded',
        chunk,
        reached: lo + done,
        failed: 0,
        elapsedMs,
        outputBytes: done,
        inline: new Uint8Array(1),
      })
    }
    this.running.set(chunk, end)
    crowd.clock.after(items * job.itemMs, end)
  }
}
