import type { Prng } from './prng.ts'

export type CostShape = 'even' | 'noisy' | 'ramp'

/** The cost of every item, ms on a slot of speed 1, as running sums. */
export class Workload {
  readonly items: number
  private readonly sums: Float64Array

  /** noisy: log-normal items (σ 0.5) in blocks that differ too (σ 0.4); ramp: also three times as dear at the end as at the start. */
  constructor(items: number, shape: CostShape, prng: Prng) {
    this.items = items
    this.sums = new Float64Array(items + 1)
    const block = Math.max(1, Math.round(items / 500))
    let level = 1
    for (let i = 0; i < items; i += 1) {
      if (i % block === 0 && shape !== 'even') level = prng.logNormal(0.4)
      const slope = shape === 'ramp' ? 1 + (2 * i) / items : 1
      const cost = shape === 'even' ? 1 : level * slope * prng.logNormal(0.5)
      this.sums[i + 1] = this.sums[i]! + cost
    }
  }

  /** Makes the whole job take so long at a total speed. */
  scale(totalMs: number): void {
    const factor = totalMs / this.sums[this.items]!
    for (let i = 0; i <= this.items; i += 1) this.sums[i]! *= factor
  }

  get totalMs(): number {
    return this.sums[this.items]!
  }

  /** Of one item, ms. */
  get dearest(): number {
    let dearest = 0
    for (let i = 0; i < this.items; i += 1) dearest = Math.max(dearest, this.cost(i, i + 1))
    return dearest
  }

  cost(lo: number, hi: number): number {
    return this.sums[hi]! - this.sums[lo]!
  }

  /** The first item boundary in (lo, hi] at which `ms` of work is spent: a worker stops between items. */
  reach(lo: number, hi: number, ms: number): number {
    const until = this.sums[lo]! + ms
    let low = lo + 1
    let high = hi
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.sums[middle]! >= until) high = middle
      else low = middle + 1
    }
    return low
  }
}
