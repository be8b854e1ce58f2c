import type {
  JobId,
  SchedulerCore,
  SchedulerEffect,
  SchedulerEvent,
  ViewChange,
} from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import { MAX_TIMER_MS } from './limits.ts'

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

/** What the live peer does for the scheduler. Each is called after the entries it depends on are written, and returns at once. */
export interface EnginePorts {
  push(to: Effect<'push'>['to'], job: JobId): void
  publish(job: JobId): void
  sendSteal(effect: Effect<'sendSteal'>): void
  answerSteal(effect: Effect<'answerSteal'>): void
  sendLifeline(effect: Effect<'sendLifeline'>): void
  startChunk(effect: Effect<'startChunk'>): void
  sendHeartbeat(effect: Effect<'sendHeartbeat'>): void
  sendSuspicion(effect: Effect<'sendSuspicion'>): void
  resync(effect: Effect<'resync'>): void
  leaseEnded(effect: Effect<'leaseEnded'>): void
  abortChunk(chunk: number): void
  placeResult(effect: Effect<'placeResult'>): void
  loadPlan(effect: Effect<'loadPlan'>): void
  viewChanged(change: ViewChange): void
  jobChanged(job: JobId): void
  jobFinished(job: JobId): void
  breach(effect: Effect<'breach'>): void
  /** A write failed: nothing that depended on it left this peer, and nothing more will. */
  writeFailed(error: unknown): void
}

/**
 * The live interpreter of the scheduler: one event in, its effects out, in order. Entries and views are staged at once; whatever
 * leaves this peer waits in the outbox until the store has written everything staged before it (invariant I3). Writes of many
 * events share one batch.
 */
export class Engine {
  private readonly outbox: SchedulerEffect[] = []
  private readonly timers = new Map<string, NodeJS.Timeout>()
  private ports: EnginePorts | undefined
  private pumping: Promise<void> | undefined
  private failed = false
  private readonly scheduler: SchedulerCore
  private readonly store: Store

  constructor(scheduler: SchedulerCore, store: Store) {
    this.scheduler = scheduler
    this.store = store
  }

  attach(ports: EnginePorts): void {
    this.ports = ports
  }

  now(): number {
    return performance.now()
  }

  dispatch(event: SchedulerEvent): void {
    if (this.failed) return
    const local: SchedulerEffect[] = []
    try {
      for (const effect of this.scheduler.handle(event, this.now())) {
        if (this.accept(effect) === 'local') local.push(effect)
      }
      // After all of this event's entries are staged: what runs here may dispatch the next event.
      for (const effect of local) this.perform(effect)
    } catch (error) {
      this.fail(error)
      return
    }
    if (this.outbox.length > 0) this.pump()
  }

  /** Resolves when all effects so far have been carried out. */
  async settled(): Promise<void> {
    while (this.pumping !== undefined) await this.pumping
  }

  close(): void {
    for (const timer of this.timers.values()) clearTimeout(timer)
    this.timers.clear()
    this.failed = true
  }

  /** Entries, views and timers are taken in at once; what stays on this machine need not wait for the write, the rest does. */
  private accept(effect: SchedulerEffect): 'taken' | 'local' | 'waits' {
    switch (effect.type) {
      case 'append':
        this.store.append(effect.entry)
        return 'taken'
      case 'changeView':
        this.store.stageView(effect.change)
        return 'local'
      case 'setTimer':
        this.setTimer(effect.timer, effect.at)
        return 'taken'
      case 'clearTimer':
        clearTimeout(this.timers.get(effect.timer))
        this.timers.delete(effect.timer)
        return 'taken'
      case 'startChunk':
        if (!effect.afterWrite) return 'local'
        this.outbox.push(effect)
        return 'waits'
      case 'abortChunk':
      case 'jobChanged':
      case 'jobFinished':
      case 'leaseEnded':
      case 'loadPlan':
      // These speak of nothing that was written, and must go out while the disk is stuck.
      case 'sendHeartbeat':
      case 'sendSuspicion':
      case 'resync':
        return 'local'
      default:
        this.outbox.push(effect)
        return 'waits'
    }
  }

  private setTimer(name: string, at: number): void {
    clearTimeout(this.timers.get(name))
    const waitMs = Math.max(0, at - this.now())
    // Node takes a longer one for none at all: what starts in a month is waited for in parts.
    if (waitMs > MAX_TIMER_MS) {
      this.timers.set(
        name,
        setTimeout(() => this.setTimer(name, at), MAX_TIMER_MS),
      )
      return
    }
    const fire = () => {
      this.timers.delete(name)
      this.dispatch({ type: 'timerFired', timer: name })
    }
    this.timers.set(name, setTimeout(fire, waitMs))
  }

  private pump(): void {
    this.pumping ??= this.drain()
  }

  private async drain(): Promise<void> {
    try {
      while (this.outbox.length > 0) {
        const batch = this.outbox.splice(0)
        await this.store.flush()
        for (const effect of batch) this.perform(effect)
      }
    } catch (error) {
      this.fail(error)
    } finally {
      // The last synchronous step: a dispatch after it starts a new drain.
      this.pumping = undefined
    }
  }

  /** Nothing leaves this peer any more: its store does not take what would have to be there first. */
  private fail(error: unknown): void {
    if (this.failed) return
    this.failed = true
    this.outbox.length = 0
    this.ports?.writeFailed(error)
  }

  private perform(effect: SchedulerEffect): void {
    const ports = this.ports
    if (ports === undefined) return
    switch (effect.type) {
      case 'push':
        ports.push(effect.to, effect.job)
        return
      case 'publish':
        ports.publish(effect.job)
        return
      case 'sendSteal':
        ports.sendSteal(effect)
        return
      case 'answerSteal':
        ports.answerSteal(effect)
        return
      case 'sendLifeline':
        ports.sendLifeline(effect)
        return
      case 'startChunk':
        ports.startChunk(effect)
        return
      case 'sendHeartbeat':
        ports.sendHeartbeat(effect)
        return
      case 'sendSuspicion':
        ports.sendSuspicion(effect)
        return
      case 'resync':
        ports.resync(effect)
        return
      case 'leaseEnded':
        ports.leaseEnded(effect)
        return
      case 'abortChunk':
        ports.abortChunk(effect.chunk)
        return
      case 'placeResult':
        ports.placeResult(effect)
        return
      case 'loadPlan':
        ports.loadPlan(effect)
        return
      case 'changeView':
        ports.viewChanged(effect.change)
        return
      case 'jobChanged':
        ports.jobChanged(effect.job)
        return
      case 'jobFinished':
        ports.jobFinished(effect.job)
        return
      case 'breach':
        ports.breach(effect)
        return
      default:
    }
  }
}
