import type { Range } from './types.ts'

export interface IntervalRules<S extends Range> {
  /** Whether `a` replaces `b` where they overlap. A strict total order on the spans of different origin. */
  beats(a: S, b: S): boolean
  /** Whether touching spans are parts of one origin and are kept as one. */
  same(a: S, b: S): boolean
  /** The part [lo, hi) of a span; also a wider one, when two parts are joined. */
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
/** Spans per block: an insertion moves at most so many. */
const BLOCK_SPANS = 256

interface Place {
  block: number
  index: number
}

/**
 * Disjoint spans in item order, joined pointwise: at each item the strongest span wins, whatever the order of arrival.
 * Canonical: neighbours of one origin are one span, so equal sets of joins give equal spans. Kept in blocks: an operation costs
 * O(log n) and the spans that it touches.
 */
export class IntervalMap<S extends Range> {
  private readonly blocks: S[][] = []
  private readonly rules: IntervalRules<S>
  private count = 0

  constructor(rules: IntervalRules<S>) {
    this.rules = rules
  }

  get size(): number {
    return this.count
  }

  at(item: number): S | undefined {
    const span = this.spanAt(this.firstEndingAfter(item))
    return span !== undefined && span.lo <= item ? span : undefined
  }

  /** All spans in order. The map must not change while this is read. */
  *[Symbol.iterator](): IterableIterator<S> {
    for (const block of this.blocks) yield* block
  }

  /** Spans that overlap [lo, hi), whole, in order. */
  overlapping(lo: number, hi: number): S[] {
    const found: S[] = []
    const place = this.firstEndingAfter(lo)
    for (let span = this.spanAt(place); span !== undefined && span.lo < hi; ) {
      found.push(span)
      this.advance(place)
      span = this.spanAt(place)
    }
    return found
  }

  join(span: S): JoinResult<S> {
    const place = this.firstEndingAfter(span.lo)
    const left = this.before(place)
    const next = this.spanAt(place)
    if ((next === undefined || next.lo >= span.hi) && !this.touches(left, span, next)) {
      this.replace(place, 0, [span])
      return {
        changed: [{ lo: span.lo, hi: span.hi, before: undefined }],
        removed: [],
        put: [span],
      }
    }
    return this.weaveIn(span, place, left)
  }

  /** Whether `span`, put between its neighbours, would be one with either. */
  private touches(left: S | undefined, span: S, right: S | undefined): boolean {
    const { same } = this.rules
    if (left !== undefined && left.hi === span.lo && same(left, span)) return true
    return right !== undefined && right.lo === span.hi && same(span, right)
  }

  private weaveIn(span: S, place: Place, left: S | undefined): JoinResult<S> {
    const { rules } = this
    const old = this.overlapping(span.lo, span.hi)
    const changed: Changed<S>[] = []
    const pieces = weave(old, span, rules, changed)
    if (changed.length === 0) return NOTHING
    const last = old.at(-1)
    const right = this.at(last === undefined ? span.hi : Math.max(last.hi, span.hi))
    if (left !== undefined && left.hi === pieces[0]!.lo) {
      old.unshift(left)
      pieces.unshift(left)
      this.retreat(place)
    }
    if (right !== undefined && right.lo === pieces.at(-1)!.hi) {
      old.push(right)
      pieces.push(right)
    }
    const merged: S[] = []
    for (const piece of pieces) append(merged, piece, rules)
    this.replace(place, old.length, merged)
    const kept = new Set(merged)
    const were = new Set(old)
    return {
      changed,
      removed: old.filter((one) => !kept.has(one)),
      put: merged.filter((one) => !were.has(one)),
    }
  }

  // ------------------------------------------------------------ the blocks

  private spanAt(place: Place): S | undefined {
    return this.blocks[place.block]?.[place.index]
  }

  private before(place: Place): S | undefined {
    if (place.index > 0) return this.blocks[place.block]![place.index - 1]
    return this.blocks[place.block - 1]?.at(-1)
  }

  private advance(place: Place): void {
    place.index += 1
    if (place.index < this.blocks[place.block]!.length) return
    place.block += 1
    place.index = 0
  }

  private retreat(place: Place): void {
    if (place.index === 0) {
      place.block -= 1
      place.index = this.blocks[place.block]!.length
    }
    place.index -= 1
  }

  /** Where the first span with hi > item is, or where it would be put. */
  private firstEndingAfter(item: number): Place {
    const { blocks } = this
    let low = 0
    let high = blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (blocks[middle]!.at(-1)!.hi > item) high = middle
      else low = middle + 1
    }
    const block = blocks[low]
    if (block === undefined) return { block: low, index: 0 }
    let from = 0
    let to = block.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (block[middle]!.hi > item) to = middle
      else from = middle + 1
    }
    return { block: low, index: from }
  }

  /** Takes `count` spans out from `place` on and puts others in their place. No block stays empty. */
  private replace(place: Place, count: number, spans: readonly S[]): void {
    const { blocks } = this
    this.count += spans.length - count
    if (blocks.length === 0) blocks.push([])
    // Behind the last block: at the end of it.
    if (place.block === blocks.length) {
      place.block -= 1
      place.index = blocks[place.block]!.length
    }
    const home = blocks[place.block]!
    const here = Math.min(count, home.length - place.index)
    home.splice(place.index, here, ...spans)
    for (let left = count - here; left > 0; ) {
      const next = blocks[place.block + 1]!
      const gone = Math.min(left, next.length)
      if (gone === next.length) blocks.splice(place.block + 1, 1)
      else next.splice(0, gone)
      left -= gone
    }
    if (home.length > BLOCK_SPANS) this.split(place.block)
  }

  private split(at: number): void {
    const block = this.blocks[at]!
    const parts: S[][] = []
    for (let i = 0; i < block.length; i += BLOCK_SPANS / 2) {
      parts.push(block.slice(i, i + BLOCK_SPANS / 2))
    }
    this.blocks.splice(at, 1, ...parts)
  }
}

/** Overlapped spans and the new one as one row of pieces; notes where the new one won. */
function weave<S extends Range>(
  olds: readonly S[],
  span: S,
  rules: IntervalRules<S>,
  changed: Changed<S>[],
): S[] {
  const pieces: S[] = []
  const win = (lo: number, hi: number, before: S | undefined): void => {
    changed.push({ lo, hi, before })
    pieces.push(rules.cut(span, lo, hi))
  }
  let at = span.lo
  for (const old of olds) {
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

function append<S extends Range>(row: S[], piece: S, rules: IntervalRules<S>): void {
  const last = row.at(-1)
  if (last !== undefined && last.hi === piece.lo && rules.same(last, piece)) {
    row[row.length - 1] = rules.cut(last, last.lo, piece.hi)
  } else {
    row.push(piece)
  }
}
