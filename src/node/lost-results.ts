import type { Logger } from '../base/logger.ts'
import { rendezvousRank } from '../scheduler/rendezvous.ts'
import type { BlobHash, DoneSpan, JobId, PeerId, SchedulerEvent } from '../scheduler/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import { MAX_COPIES_KNOWN, MINORITY_FACTOR } from './limits.ts'
import type { Presence } from './presence.ts'
import type { UpkeepTimes } from './upkeep-times.ts'

/** A result that is a blob. */
export type BlobSpan = DoneSpan & {
  readonly result: Extract<DoneSpan['result'], { kind: 'blob' }>
}

export interface LostParts {
  readonly self: PeerId
  readonly exchange: Pick<BlobExchange, 'ensure'>
  readonly presence: Pick<Presence, 'live' | 'awayMs' | 'reachable' | 'inMinority'>
  readonly isRunning: (job: JobId) => boolean
  readonly dispatch: (event: SchedulerEvent) => void
  readonly times: Pick<UpkeepTimes, 'lostAfterMs' | 'lostRankMs'>
  readonly now: () => number
  readonly log: Logger
}

/** Decides when a result that nobody seems to have is given up: LOST, and its items run again (docs/protocol.md, "Values and results"). */
export class LostResults {
  private readonly parts: LostParts
  private readonly startedAt: number
  /** Results that this peer should have and nobody has, since when. */
  private readonly unfound = new Map<BlobHash, number>()

  constructor(parts: LostParts) {
    this.parts = parts
    this.startedAt = parts.now()
  }

  /** Declares a result lost when its time has come; else says in how many ms that would be. */
  async judge(job: JobId, span: BlobSpan): Promise<number> {
    const { presence, times, self, now } = this.parts
    const { keepers } = span.result
    // A keeper that lost its blobs knows best; the others count on it.
    const mine = keepers.includes(self)
    const others = keepers.filter((peer) => peer !== self).map((peer) => presence.awayMs(peer))
    const awayMs = Math.min(now() - this.startedAt, ...others)
    const rank = mine ? 0 : rendezvousRank(span.hash, self, presence.reachable())
    const waitMs = this.lostAfterMs(job) + rank * times.lostRankMs - awayMs
    return waitMs > 0 ? waitMs : this.lose(job, span)
  }

  /** Named as a keeper, and it is gone from this folder: it is fetched again, for the others count on this copy. */
  async heal(job: JobId, span: BlobSpan, running: boolean): Promise<number> {
    const { presence, exchange, self, now } = this.parts
    const { hash, keepers } = span.result
    try {
      await exchange.ensure(hash, keepers)
      this.unfound.delete(hash)
      return Number.POSITIVE_INFINITY
    } catch {
      // One that is heard of but not connected may have it.
      const reachable = presence.reachable()
      const hidden = keepers.some(
        (peer) => peer !== self && presence.live(peer) && !reachable.includes(peer),
      )
      if (!running || hidden) return Number.POSITIVE_INFINITY
      const since = this.unfound.get(hash)
      if (since === undefined) {
        if (this.unfound.size >= MAX_COPIES_KNOWN) this.unfound.clear()
        this.unfound.set(hash, now())
      }
      const waitMs = this.lostAfterMs(job) - (now() - (since ?? now()))
      return waitMs > 0 ? waitMs : this.lose(job, span)
    }
  }

  /** Where most of the job's peers are out of sight, it may be this side that is cut off: what the others hold is given up later. */
  private lostAfterMs(job: JobId): number {
    const { presence, times } = this.parts
    return presence.inMinority(job) ? MINORITY_FACTOR * times.lostAfterMs : times.lostAfterMs
  }

  private async lose(job: JobId, span: BlobSpan): Promise<number> {
    const { exchange, dispatch, log, isRunning } = this.parts
    const { lo, hi, hash, result } = span
    try {
      // Somebody may have a copy that the log does not name; then it is here, too, and is copied on.
      await exchange.ensure(result.hash, result.keepers)
      return 0
    } catch {
      if (!isRunning(job)) return Number.POSITIVE_INFINITY
      log.warn('a result is lost: its items run again', { job: job.slice(0, 8), lo, hi })
      this.unfound.delete(result.hash)
      dispatch({ type: 'resultLost', job, lo, hi, done: hash })
      return Number.POSITIVE_INFINITY
    }
  }
}
