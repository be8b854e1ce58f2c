/** Which item a worker's death is held against, and what becomes of it. */
import { explainDeath } from './death.ts'
import { CAREFUL_ITEMS } from './limits.ts'
import type { ChunkRequest, ItemError } from './types.ts'
import type { Death } from './worker-process.ts'

/** An item in whose run somebody outside killed the worker is tried again so often, whatever the job says. */
export const OUTSIDE_DEATHS = 2
/** So many deaths in a row without a finished item or anybody to blame: then the next item is to blame. */
const BLIND_DEATHS = 3

/** Where a worker was, as far as its marks say. */
export interface Whereabouts {
  readonly hi: number
  readonly mark: number
  /** No item after `mark` had started. */
  readonly exact: boolean
}

export class Blame {
  private readonly request: ChunkRequest
  /** Items before it are run one by one, each announced. */
  private carefulTo = Number.NEGATIVE_INFINITY
  /** Tries that were spent before the next leg: by deaths, and by the chunks that ended for a retry. */
  private readonly attempts = new Map<number, number>()
  private readonly outside = new Map<number, number>()
  /** Items that failed for good by killing their worker, not handed over yet. */
  private readonly doomed = new Map<number, ItemError>()
  private blind = 0
  private blindAt = Number.NEGATIVE_INFINITY

  constructor(request: ChunkRequest) {
    this.request = request
    const { attempt = 1, lo } = request
    if (attempt > 1) this.attempts.set(lo, attempt - 1)
  }

  /** A worker died while it ran items from `reached` on. */
  onDeath(death: Death, at: Whereabouts, reached: number): void {
    const item = this.culprit(death, at, reached)
    if (item === undefined) {
      this.carefulTo = Math.min(this.request.hi, reached + CAREFUL_ITEMS)
      return
    }
    this.carefulTo = Math.max(this.carefulTo, item + 1)
    const { error, outside } = explainDeath(death, this.request.timeLimitMs)
    const tries = (this.attempts.get(item) ?? 0) + 1
    this.attempts.set(item, tries)
    if (outside) {
      const kills = (this.outside.get(item) ?? 0) + 1
      this.outside.set(item, kills)
      if (kills <= OUTSIDE_DEATHS) return
    }
    if (tries <= this.request.retries) return
    this.attempts.delete(item)
    this.doomed.set(item, { ...error, index: item, attempts: tries })
  }

  isCareful(reached: number): boolean {
    return reached < this.carefulTo
  }

  /** How far a leg from `reached` on may go. */
  limit(reached: number, hi: number): number {
    let end = this.isCareful(reached) ? Math.min(hi, this.carefulTo) : hi
    for (const item of this.doomed.keys()) end = Math.min(end, item)
    return end
  }

  /** Attempts spent before on items of [lo, hi). */
  attemptsIn(lo: number, hi: number): [number, number][] {
    return [...this.attempts].filter(([item]) => item >= lo && item < hi)
  }

  /** The error of an item that failed for good, once. */
  takeDoomed(item: number): ItemError | undefined {
    const error = this.doomed.get(item)
    this.doomed.delete(item)
    return error
  }

  private culprit(death: Death, at: Whereabouts, reached: number): number | undefined {
    const named = death.dying !== undefined ? death.dying.item : at.exact ? at.mark : undefined
    if (named !== undefined && named >= reached && named < at.hi) return named
    this.blind = this.blindAt === reached ? this.blind + 1 : 1
    this.blindAt = reached
    return this.blind >= BLIND_DEATHS ? reached : undefined
  }
}
