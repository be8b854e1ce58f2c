import type { Range } from './types.ts'

export interface IntervalRules<S extends Range> {
  /** Whether `a` replaces `b` where they overlap. A strict total order on the spans of different origin. */
  beats(a: S, b: S): boolean
  /** Whether touching spans are parts of one origin and are kept as one. */
  same(a: S, b: S): boolean
  /** The part [lo, hi) of a span. */
  cut(span: S, lo: number, hi: number): S
}

/** Where a join changed the map: [lo, hi) had `before` (nothing: undefined). */
export interface Changed<S extends Range> extends Range {
  readonly before: S | undefined
}

export interface JoinResult<S extends Range> {
  readonly changed: readonly Changed<S>[]
  /** Key-level: spans that are no longer there as they were, then spans that are new; keyed by their lo. */
  readonly removed: readonly S[]
  readonly put: readonly S[]
}

const NOTHING: JoinResult<never> = { changed: [], removed: [], put: [] }

/**
 * Disjoint spans in item order, joined pointwise: at each item the strongest span wins, whatever the order of arrival.
 * Canonical: neighbours of one origin are one span, so equal sets of joins give equal spans.
 */
export class IntervalMap<S extends Range> {
  private readonly spans: S[] = []
  private readonly rules: IntervalRules<S>

  constructor(rules: IntervalRules<S>) {
    this.rules = rules
  }

  get size(): number {
    return this.spans.length
  }

  at(item: number): S | undefined {
    const span = this.spans[this.firstEndingAfter(item)]
    return span !== undefined && span.lo <= item ? span : undefined
  }

  /** Spans that overlap [lo, hi), whole, in order. The map must not change while this is read. */
  *overlapping(lo: number, hi: number): IterableIterator<S> {
    for (let i = this.firstEndingAfter(lo); i < this.spans.length; i += 1) {
      const span = this.spans[i]!
      if (span.lo >= hi) return
      yield span
    }
  }

  all(): readonly S[] {
    return this.spans
  }

  join(span: S): JoinResult<S> {
    const { spans, rules } = this
    const from = this.firstEndingAfter(span.lo)
    let to = from
    let beaten = false
    while (to < spans.length && spans[to]!.lo < span.hi) {
      if (rules.beats(span, spans[to]!)) beaten = true
      to += 1
    }
    if (to > from && !beaten && this.covers(from, to, span)) return NOTHING
    const changed: Changed<S>[] = []
    const pieces = this.weave(from, to, span, changed)
    return changed.length === 0 ? NOTHING : this.replace(from, to, pieces, changed)
  }

  private covers(from: number, to: number, range: Range): boolean {
    let at = range.lo
    for (let i = from; i < to; i += 1) {
      if (this.spans[i]!.lo > at) return false
      at = this.spans[i]!.hi
    }
    return at >= range.hi
  }

  /** The spans [from, to) and `span` as one row of pieces; notes where `span` won. */
  private weave(from: number, to: number, span: S, changed: Changed<S>[]): S[] {
    const { rules } = this
    const pieces: S[] = []
    const win = (lo: number, hi: number, before: S | undefined): void => {
      changed.push({ lo, hi, before })
      pieces.push(rules.cut(span, lo, hi))
    }
    let at = span.lo
    for (let i = from; i < to; i += 1) {
      const old = this.spans[i]!
      if (old.lo > at) win(at, old.lo, undefined)
      if (rules.beats(span, old)) {
        const lo = Math.max(old.lo, span.lo)
        const hi = Math.min(old.hi, span.hi)
        if (old.lo < lo) pieces.push(rules.cut(old, old.lo, lo))
        win(lo, hi, old)
        if (old.hi > hi) pieces.push(rules.cut(old, hi, old.hi))
      } else {
        pieces.push(old)
      }
      at = Math.min(old.hi, span.hi)
    }
    if (at < span.hi) win(at, span.hi, undefined)
    return pieces
  }

  /** Puts the pieces in place of spans [from, to), joined with touching neighbours of one origin. */
  private replace(from: number, to: number, pieces: S[], changed: Changed<S>[]): JoinResult<S> {
    const { spans, rules } = this
    const merged: S[] = []
    const left = spans[from - 1]
    const right = spans[to]
    const start = left !== undefined && left.hi === pieces[0]!.lo ? from - 1 : from
    const end = right !== undefined && right.lo === pieces.at(-1)!.hi ? to + 1 : to
    if (start < from) merged.push(left!)
    for (const piece of pieces) append(merged, piece, rules)
    if (end > to) append(merged, right!, rules)
    const old = spans.splice(start, end - start, ...merged)
    if (old.length === 0) return { changed, removed: [], put: merged }
    const kept = new Set(merged)
    const were = new Set(old)
    return {
      changed,
      removed: old.filter((span) => !kept.has(span)),
      put: merged.filter((span) => !were.has(span)),
    }
  }

  private firstEndingAfter(item: number): number {
    let low = 0
    let high = this.spans.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.spans[middle]!.hi > item) high = middle
      else low = middle + 1
    }
    return low
  }
}

function append<S extends Range>(row: S[], piece: S, rules: IntervalRules<S>): void {
  const last = row.at(-1)
  if (last !== undefined && last.hi === piece.lo && rules.same(last, piece)) {
    row[row.length - 1] = rules.cut({ ...last, hi: piece.hi }, last.lo, piece.hi)
  } else {
    row.push(piece)
  }
}
