/** Disjoint half-open spans of item numbers, in order; adjoining ones are joined. */
export class SpanSet {
  private readonly los: number[] = []
  private readonly his: number[] = []

  /** Numbers in the set. */
  size = 0

  /** Adds [lo, hi) and returns the parts of it that were not in the set yet, in order. */
  add(lo: number, hi: number): [lo: number, hi: number][] {
    if (hi <= lo) return []
    const { los, his } = this
    // The first span that ends at or after lo: all before it are untouched.
    const from = firstEndingFrom(his, lo)
    const fresh: [number, number][] = []
    let at = lo
    let to = from
    while (to < los.length && los[to]! <= hi) {
      if (los[to]! > at) fresh.push([at, los[to]!])
      at = Math.max(at, his[to]!)
      to += 1
    }
    if (at < hi) fresh.push([at, hi])
    const newLo = to > from ? Math.min(lo, los[from]!) : lo
    const newHi = to > from ? Math.max(hi, his[to - 1]!) : hi
    los.splice(from, to - from, newLo)
    his.splice(from, to - from, newHi)
    for (const [a, b] of fresh) this.size += b - a
    return fresh
  }
}

function firstEndingFrom(his: readonly number[], lo: number): number {
  let low = 0
  let high = his.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (his[middle]! < lo) low = middle + 1
    else high = middle
  }
  return low
}
