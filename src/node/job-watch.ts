import type { DoneSpan, JobId, JobView, PeerId, ViewChange } from '../scheduler/types.ts'
import { MAX_WAITING_SPANS } from './limits.ts'

interface Subscription {
  /** Spans of finished items that wait for a reader that wants them; undefined: it does not, or too many waited. */
  done: DoneSpan[] | undefined
  wake: (() => void) | undefined
  changed: boolean
  closed: boolean
}

export interface JobChanges {
  /** Resolves true on a change since the last call, false when closed or aborted. */
  next(): Promise<boolean>
  /** Finished spans since the last call; undefined when there were too many: look at the whole fold. */
  takeDone(): DoneSpan[] | undefined
  close(): void
}

interface Rate {
  /** (time, items done) samples of the last seconds, oldest first. */
  readonly samples: { at: number; done: number }[]
  readonly peers: Map<PeerId, { done: number; at: number }>
  finishedAt: number | undefined
}

const RATE_WINDOW_MS = 3_000
const SAMPLE_EVERY_MS = 100

/** Tells local readers of a job what changed, and keeps the rates that people look at. */
export class JobWatch {
  private readonly subscriptions = new Map<JobId, Set<Subscription>>()
  private readonly rates = new Map<JobId, Rate>()
  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  viewChanged(change: ViewChange): void {
    for (const subscription of this.subscriptions.get(change.job) ?? []) {
      if (subscription.done === undefined) continue
      if (subscription.done.length + change.donePut.length > MAX_WAITING_SPANS) {
        subscription.done = undefined
      } else for (const span of change.donePut) subscription.done.push(span)
    }
  }

  jobChanged(view: JobView): void {
    this.sample(view)
    for (const subscription of this.subscriptions.get(view.job) ?? []) {
      subscription.changed = true
      subscription.wake?.()
    }
  }

  subscribe(
    job: JobId,
    signal?: AbortSignal,
    options: { readonly spans?: boolean } = {},
  ): JobChanges {
    const wantsSpans = options.spans === true
    const mine: Subscription = {
      done: wantsSpans ? [] : undefined,
      wake: undefined,
      changed: false,
      closed: false,
    }
    let all = this.subscriptions.get(job)
    if (all === undefined) this.subscriptions.set(job, (all = new Set()))
    all.add(mine)
    const close = () => {
      mine.closed = true
      mine.wake?.()
      signal?.removeEventListener('abort', close)
      const set = this.subscriptions.get(job)
      set?.delete(mine)
      if (set?.size === 0) this.subscriptions.delete(job)
    }
    signal?.addEventListener('abort', close)
    if (signal?.aborted) close()
    return {
      next: async () => {
        if (!mine.changed && !mine.closed) {
          await new Promise<void>((resolve) => {
            mine.wake = resolve
          })
          mine.wake = undefined
        }
        mine.changed = false
        return !mine.closed
      },
      takeDone: () => {
        const taken = mine.done
        mine.done = wantsSpans ? [] : undefined
        return taken
      },
      close,
    }
  }

  /** Ends every reader: the peer stops. */
  closeAll(): void {
    for (const set of this.subscriptions.values()) {
      for (const subscription of set) {
        subscription.closed = true
        subscription.wake?.()
      }
    }
    this.subscriptions.clear()
  }

  /** Items/s over the last 3 s, or over the job's life when it is shorter. */
  itemsPerSecond(job: JobId): number {
    const samples = this.rates.get(job)?.samples
    if (samples === undefined || samples.length < 2) return 0
    const now = this.now()
    const last = samples.at(-1)!
    const first = samples.find((s) => s.at >= now - RATE_WINDOW_MS) ?? last
    const ms = Math.max(now, last.at) - first.at
    return ms <= 0 ? 0 : ((last.done - first.done) * 1000) / ms
  }

  /** Peers whose items finished within the last 3 s. */
  peersAtWork(job: JobId): PeerId[] {
    const rate = this.rates.get(job)
    if (rate === undefined || rate.finishedAt !== undefined) return []
    const since = this.now() - RATE_WINDOW_MS
    return [...rate.peers].filter(([, seen]) => seen.at >= since).map(([peer]) => peer)
  }

  forget(job: JobId): void {
    this.rates.delete(job)
  }

  private sample(view: JobView): void {
    const now = this.now()
    let rate = this.rates.get(view.job)
    if (rate === undefined) {
      rate = { samples: [{ at: now, done: view.done }], peers: new Map(), finishedAt: undefined }
      this.rates.set(view.job, rate)
    }
    for (const [peer, done] of view.doneBy) {
      const seen = rate.peers.get(peer)
      if (seen === undefined || seen.done !== done) rate.peers.set(peer, { done, at: now })
    }
    if (view.state === 'finished') rate.finishedAt ??= now
    const last = rate.samples.at(-1)!
    if (now - last.at >= SAMPLE_EVERY_MS || view.state === 'finished') {
      rate.samples.push({ at: now, done: view.done })
      const keepFrom = now - RATE_WINDOW_MS
      while (rate.samples.length > 2 && rate.samples[1]!.at < keepFrom) rate.samples.shift()
    }
  }
}
