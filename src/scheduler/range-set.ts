import type { Range } from './types.ts'

/** A set of items, kept as disjoint, non-touching half-open ranges in order. Operations cost O(log n) plus the ranges they touch. */
export class RangeSet {
  private readonly los: number[] = []
  private readonly his: number[] = []
  private items = 0

  constructor(ranges: Iterable<Range> = []) {
    for (const { lo, hi } of ranges) this.add(lo, hi)
  }

  /** Items in the set. */
  get size(): number {
    return this.items
  }

  /** Ranges it takes to say so. */
  get pieces(): number {
    return this.los.length
  }

  has(item: number): boolean {
    const i = this.firstEndingAfter(item)
    return i < this.los.length && this.los[i]! <= item
  }

  add(lo: number, hi: number): void {
    if (!(lo < hi)) return
    const { los, his } = this
    // Touching ranges merge, so look for the first that ends at or after lo.
    const from = this.firstEndingAfter(lo - 1)
    let to = from
    let newLo = lo
    let newHi = hi
    while (to < los.length && los[to]! <= hi) {
      if (los[to]! < newLo) newLo = los[to]!
      if (his[to]! > newHi) newHi = his[to]!
      this.items -= his[to]! - los[to]!
      to += 1
    }
    this.items += newHi - newLo
    if (to === from + 1) {
      los[from] = newLo
      his[from] = newHi
      return
    }
    los.splice(from, to - from, newLo)
    his.splice(from, to - from, newHi)
  }

  remove(lo: number, hi: number): void {
    if (!(lo < hi)) return
    const { los, his } = this
    const from = this.firstEndingAfter(lo)
    let to = from
    const keptLos: number[] = []
    const keptHis: number[] = []
    while (to < los.length && los[to]! < hi) {
      const a = los[to]!
      const b = his[to]!
      this.items -= Math.min(b, hi) - Math.max(a, lo)
      if (a < lo) {
        keptLos.push(a)
        keptHis.push(lo)
      }
      if (b > hi) {
        keptLos.push(hi)
        keptHis.push(b)
      }
      to += 1
    }
    if (to === from) return
    los.splice(from, to - from, ...keptLos)
    his.splice(from, to - from, ...keptHis)
  }

  clear(): void {
    this.los.length = 0
    this.his.length = 0
    this.items = 0
  }

  /** Items of the set within [lo, hi). */
  countIn(lo: number, hi: number): number {
    let count = 0
    for (let i = this.firstEndingAfter(lo); i < this.los.length && this.los[i]! < hi; i += 1) {
      count += Math.min(this.his[i]!, hi) - Math.max(this.los[i]!, lo)
    }
    return count
  }

  /** The parts of [lo, hi) that are in the set. */
  within(lo: number, hi: number): Range[] {
    const found: Range[] = []
    for (let i = this.firstEndingAfter(lo); i < this.los.length && this.los[i]! < hi; i += 1) {
      found.push({ lo: Math.max(this.los[i]!, lo), hi: Math.min(this.his[i]!, hi) })
    }
    return found
  }

  /** The parts of [lo, hi) that are not in the set. */
  missing(lo: number, hi: number): Range[] {
    const gaps: Range[] = []
    let at = lo
    for (let i = this.firstEndingAfter(lo); i < this.los.length && this.los[i]! < hi; i += 1) {
      if (this.los[i]! > at) gaps.push({ lo: at, hi: this.los[i]! })
      at = this.his[i]!
    }
    if (at < hi) gaps.push({ lo: at, hi })
    return gaps
  }

  /** The first part of the set at or after an item. */
  next(item: number): Range | undefined {
    const i = this.firstEndingAfter(item)
    return i < this.los.length ? { lo: Math.max(this.los[i]!, item), hi: this.his[i]! } : undefined
  }

  first(): Range | undefined {
    return this.los.length === 0 ? undefined : { lo: this.los[0]!, hi: this.his[0]! }
  }

  /** In item order. The set must not change while this is read. */
  *ranges(): IterableIterator<Range> {
    for (let i = 0; i < this.los.length; i += 1) yield { lo: this.los[i]!, hi: this.his[i]! }
  }

  /** From the last range to the first. The set must not change while this is read. */
  *rangesBackwards(): IterableIterator<Range> {
    for (let i = this.los.length - 1; i >= 0; i -= 1) yield { lo: this.los[i]!, hi: this.his[i]! }
  }

  /** Index of the first range with hi > item. */
  private firstEndingAfter(item: number): number {
    let low = 0
    let high = this.his.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.his[middle]! > item) high = middle
      else low = middle + 1
    }
    return low
  }
}
