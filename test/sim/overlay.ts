import {
  IntervalMap,
  type IntervalRules,
  type JoinResult,
} from '../../src/scheduler/interval-map.ts'
import { RangeSet } from '../../src/scheduler/range-set.ts'
import type { Range } from '../../src/scheduler/types.ts'

const END = Number.MAX_SAFE_INTEGER

/** A map of its own over one that many share: reads see the pointwise join of both, joins go to its own. */
export class OverlayMap<S extends Range> extends IntervalMap<S> {
  private readonly shared: () => IntervalMap<S>
  private readonly wins: IntervalRules<S>
  private mine: IntervalMap<S>

  constructor(shared: () => IntervalMap<S>, rules: IntervalRules<S>) {
    super(rules)
    this.shared = shared
    this.wins = rules
    this.mine = new IntervalMap<S>(rules)
  }

  reset(): void {
    if (this.mine.size > 0) this.mine = new IntervalMap<S>(this.wins)
  }

  get own(): IntervalMap<S> {
    return this.mine
  }

  override join(span: S): JoinResult<S> {
    return this.mine.join(span)
  }

  override at(item: number): S | undefined {
    if (this.mine.size === 0) return this.shared().at(item)
    return this.overlapping(item, item + 1)[0]
  }

  override overlapping(lo: number, hi: number): S[] {
    const under = this.shared().overlapping(lo, hi)
    if (this.mine.size === 0) return under
    const over = this.mine.overlapping(lo, hi)
    // A span that reaches out of [lo, hi) may be cut there by one of the other kind.
    const from = Math.min(lo, under[0]?.lo ?? lo, over[0]?.lo ?? lo)
    const to = Math.max(hi, under.at(-1)?.hi ?? hi, over.at(-1)?.hi ?? hi)
    const cutters = this.mine.overlapping(from, to)
    if (cutters.length === 0) return under
    const joined = new IntervalMap<S>(this.wins)
    for (const span of this.shared().overlapping(from, to)) joined.join(span)
    for (const span of cutters) joined.join(span)
    return joined.overlapping(lo, hi)
  }

  /** The same, cut at lo and hi; cheaper, since what lies outside does not matter. */
  within(lo: number, hi: number): S[] {
    const under = this.clipped(this.shared().overlapping(lo, hi), lo, hi)
    const over = this.mine.size === 0 ? [] : this.mine.overlapping(lo, hi)
    if (over.length === 0) return under
    const joined = new IntervalMap<S>(this.wins)
    for (const span of under) joined.join(span)
    for (const span of this.clipped(over, lo, hi)) joined.join(span)
    return [...joined]
  }

  /** Where this one has nothing of its own, the shared spans as they are. */
  override *[Symbol.iterator](): IterableIterator<S> {
    let at = 0
    for (const { lo, hi } of this.mine) {
      if (lo > at) yield* this.clipped(this.shared().overlapping(at, lo), at, lo)
      yield* this.within(lo, hi)
      at = hi
    }
    if (at === 0) yield* this.shared()
    else yield* this.clipped(this.shared().overlapping(at, END), at, END)
  }

  private clipped(spans: readonly S[], lo: number, hi: number): S[] {
    return spans.map((span) => this.wins.cut(span, Math.max(lo, span.lo), Math.min(hi, span.hi)))
  }
}

/** The same for a set. Its own part holds only what the shared one lacks, once it was trimmed. */
export class OverlaySet extends RangeSet {
  private readonly shared: () => RangeSet
  private readonly mine = new RangeSet()

  constructor(shared: () => RangeSet) {
    super()
    this.shared = shared
  }

  get own(): RangeSet {
    return this.mine
  }

  /** The shared set has grown: what it holds now is no longer this one's. */
  trim(): void {
    for (const { lo, hi } of [...this.mine.ranges()]) {
      for (const part of this.shared().within(lo, hi)) this.mine.remove(part.lo, part.hi)
    }
  }

  override get size(): number {
    return this.shared().size + this.mine.size
  }

  override has(item: number): boolean {
    return this.mine.has(item) || this.shared().has(item)
  }

  override add(lo: number, hi: number): void {
    for (const part of this.shared().missing(lo, hi)) this.mine.add(part.lo, part.hi)
  }

  override countIn(lo: number, hi: number): number {
    return this.shared().countIn(lo, hi) + (this.mine.size === 0 ? 0 : this.mine.countIn(lo, hi))
  }

  override missing(lo: number, hi: number): Range[] {
    const missing = this.shared().missing(lo, hi)
    if (this.mine.size === 0) return missing
    return missing.flatMap((part) => this.mine.missing(part.lo, part.hi))
  }
}
