import {
  CHUNK_CONTENDED_MS,
  CHUNK_FIRST_MS,
  CHUNK_KERNEL_MS,
  CHUNK_MIN_MS,
  CHUNK_MS,
  HANDOUT_FACTOR,
  MAX_KNOWN_RATES,
  MAX_RATE_KEY_CHARS,
} from './limits.ts'

/** Older chunks count less: the weight of a sample halves about every 1.4 s of worker time. */
const RATE_MEMORY_MS = 2_000
/** A worker's clock is coarser than the shortest chunk. */
const SHORTEST_MS = 0.05

/** Items per millisecond of one slot, from ended chunks; recent ones count more. */
export class RateMeter {
  private items = 0
  private ms = 0
  /** What an earlier job of the same task showed; holds until a chunk of this one has ended. */
  private readonly prior: number | undefined

  constructor(prior?: number) {
    this.prior = prior
  }

  add(items: number, elapsedMs: number): void {
    const ms = Math.max(elapsedMs, SHORTEST_MS)
    const keep = Math.exp(-ms / RATE_MEMORY_MS)
    this.items = this.items * keep + items
    this.ms = this.ms * keep + ms
  }

  get perMs(): number | undefined {
    return this.items > 0 ? this.items / this.ms : this.prior
  }

  /** Known by an earlier job alone. */
  get isGuess(): boolean {
    return this.items === 0 && this.prior !== undefined
  }
}

/** How fast tasks ran here of late, by what they are: a short job of a known task is cut and shared as it should be from its first chunk on. */
export class RateBook {
  private readonly rates = new Map<string, number>()

  get(task: string): number | undefined {
    return this.rates.get(task)
  }

  note(task: string, perMs: number): void {
    if (task === '' || task.length > MAX_RATE_KEY_CHARS) return
    this.rates.delete(task)
    this.rates.set(task, perMs)
    if (this.rates.size <= MAX_KNOWN_RATES) return
    for (const oldest of this.rates.keys()) {
      this.rates.delete(oldest)
      return
    }
  }
}

export interface ChunkPlan {
  readonly hi: number
  readonly budgetMs: number
}

export interface ChunkSituation {
  /** Where the next unstarted range of this peer begins and ends, inside one owner span. */
  readonly lo: number
  readonly end: number
  /** Items not started here, all ranges. */
  readonly left: number
  readonly slots: number
  /** Items per ms of one slot, if known. */
  readonly perMs: number | undefined
  /** That is what an earlier job showed: items of this one may be quite others. */
  readonly guessed?: boolean
  readonly contended: boolean
  /** Launches of a kernel: between two of them a device is idle for a moment. */
  readonly launches?: boolean
  /** Fixed chunk size. */
  readonly chunkSize: number | undefined
}

/**
 * How much a worker is handed, and for how long. What is handed out cannot be stolen, so it is at most half a slot's share of what
 * is left; the worker stops by time and what it did not reach comes back. A fixed chunk size cuts at its multiples and has no time.
 */
export function planChunk(at: ChunkSituation): ChunkPlan {
  const { lo, end, left, slots, perMs, chunkSize } = at
  if (chunkSize !== undefined) {
    const bound = (Math.floor(lo / chunkSize) + 1) * chunkSize
    return { hi: Math.min(end, bound), budgetMs: Number.POSITIVE_INFINITY }
  }
  // Below the shortest chunk no halving: it would never end.
  const least = Math.max(1, perMs === undefined ? 1 : Math.ceil(perMs * CHUNK_MIN_MS))
  const part = Math.ceil(left / (at.guessed === true ? slots : 2 * slots))
  const share = at.guessed === true ? part : Math.max(least, part)
  const usual = at.launches === true ? CHUNK_KERNEL_MS : CHUNK_MS
  const longest = at.contended ? CHUNK_CONTENDED_MS : usual
  if (perMs === undefined) {
    return { hi: Math.min(end, lo + share), budgetMs: Math.min(longest, CHUNK_FIRST_MS) }
  }
  const restMs = left / (perMs * slots)
  const budgetMs = Math.min(longest, Math.max(CHUNK_MIN_MS, restMs / 2))
  const most = Math.max(1, Math.ceil(perMs * budgetMs * HANDOUT_FACTOR))
  return { hi: Math.min(end, lo + Math.min(share, most)), budgetMs }
}
