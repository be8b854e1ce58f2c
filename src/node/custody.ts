import type { Logger } from '../base/logger.ts'
import { rendezvousRank } from '../scheduler/rendezvous.ts'
import type { JobId, JobView, PeerId, SchedulerCore } from '../scheduler/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import type { Inputs } from './inputs.ts'
import { INPUT_COPIES } from './limits.ts'
import type { Presence } from './presence.ts'
import type { UpkeepTimes } from './upkeep-times.ts'

export interface CustodyParts {
  readonly self: PeerId
  readonly scheduler: Pick<SchedulerCore, 'jobs' | 'job'>
  readonly inputs: Inputs
  readonly exchange: Pick<BlobExchange, 'ensure'>
  readonly presence: Pick<Presence, 'reachable'>
  /** Whether the peer keeps things for others: it lends, and its disk has room. */
  readonly keeps: (peer: PeerId) => boolean
  readonly times: Pick<UpkeepTimes, 'custodyAfterMs' | 'custodyEveryMs'>
  readonly now: () => number
  readonly log: Logger
}

/**
 * Input and code of a job that runs for more than a moment live on two peers beside its author: the first two by rendezvous hash fetch
 * all of it, whoever they are when the mesh changes. Nobody has to tell them, and an author that vanishes leaves it behind.
 */
export class Custody {
  private readonly parts: CustodyParts
  private readonly firstSeen = new Map<JobId, number>()
  private readonly complete = new Set<JobId>()
  private readonly closed = new AbortController()
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | undefined

  constructor(parts: CustodyParts) {
    this.parts = parts
  }

  start(): void {
    this.timer = setInterval(() => void this.look(), this.parts.times.custodyEveryMs)
    this.timer.unref()
  }

  close(): void {
    clearInterval(this.timer)
    this.closed.abort()
  }

  /** Whether all of a job's input and code was brought here for safe keeping. */
  has(job: JobId): boolean {
    return this.complete.has(job)
  }

  /** Fetches what this peer should hold; one look at a time, one blob at a time. */
  look(): Promise<void> {
    this.running ??= this.lookAtAll().finally(() => {
      this.running = undefined
    })
    return this.running
  }

  private async lookAtAll(): Promise<void> {
    const { scheduler, times, now } = this.parts
    const running = scheduler.jobs().filter(isWanted)
    const ids = new Set(running.map((view) => view.job))
    for (const job of this.firstSeen.keys()) if (!ids.has(job)) this.forget(job)
    for (const view of running) {
      const since = this.firstSeen.get(view.job)
      if (since === undefined) this.firstSeen.set(view.job, now())
      if (now() - (since ?? now()) < times.custodyAfterMs || !this.isMine(view)) continue
      if (this.closed.signal.aborted) return
      await this.bring(view)
    }
  }

  private isMine({ job, author }: JobView): boolean {
    const { self, presence, keeps } = this.parts
    if (author === self || this.complete.has(job) || !keeps(self)) return false
    const others = presence.reachable().filter((peer) => peer !== author && keeps(peer))
    return rendezvousRank(job, self, others) < INPUT_COPIES
  }

  private async bring({ job, spec, author }: JobView): Promise<void> {
    const { inputs, exchange, log } = this.parts
    try {
      for (const hash of await inputs.blobsOf(job, spec, author)) {
        if (this.closed.signal.aborted || !isWanted(this.parts.scheduler.job(job))) return
        await exchange.ensure(hash, [author])
      }
      this.complete.add(job)
      log.debug('input kept for the author', { job: job.slice(0, 8) })
    } catch (error) {
      log.debug('input could not be kept', { job: job.slice(0, 8), error: String(error) })
    }
  }

  private forget(job: JobId): void {
    this.firstSeen.delete(job)
    this.complete.delete(job)
  }
}

/** A job that pauses, or waits for its time, goes on one day, and its author may be gone then. */
function isWanted(view: JobView | undefined): boolean {
  return view?.state === 'running' || view?.state === 'paused'
}
