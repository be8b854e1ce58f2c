import type { Range } from './types.ts'

/** Ranges that may overlap, fixed once made: which of them overlap another one is found in O(log n) and those that do. */
export class SpanIndex<S extends Range> {
  private readonly spans: readonly S[]
  /** The greatest `hi` of the spans of the implicit tree below each span: that in the middle of a run is its root. */
  private readonly reach: Float64Array

  constructor(spans: Iterable<S>) {
    this.spans = [...spans].sort((a, b) => a.lo - b.lo)
    this.reach = new Float64Array(this.spans.length)
    this.build(0, this.spans.length)
  }

  /** Calls `visit` for each span that overlaps [lo, hi), in the order of their lo. */
  overlapping(lo: number, hi: number, visit: (span: S) => void): void {
    if (lo < hi) this.walk(0, this.spans.length, lo, hi, visit)
  }

  private build(from: number, to: number): number {
    if (from >= to) return Number.NEGATIVE_INFINITY
    const middle = (from + to) >>> 1
    const below = Math.max(this.build(from, middle), this.build(middle + 1, to))
    const reach = Math.max(below, this.spans[middle]!.hi)
    this.reach[middle] = reach
    return reach
  }

  private walk(from: number, to: number, lo: number, hi: number, visit: (span: S) => void): void {
    if (from >= to) return
    const middle = (from + to) >>> 1
    if (this.reach[middle]! <= lo) return
    this.walk(from, middle, lo, hi, visit)
    const span = this.spans[middle]!
    if (span.lo >= hi) return
    if (span.hi > lo) visit(span)
    this.walk(middle + 1, to, lo, hi, visit)
  }
}
