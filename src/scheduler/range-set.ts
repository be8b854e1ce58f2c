import type { Range } from './types.ts'

/** Ranges per block: an insertion moves at most so many. */
const BLOCK_RANGES = 512

interface Block {
  readonly los: number[]
  readonly his: number[]
}

/** A range of the set, or where one would be put. */
interface Place {
  block: number
  index: number
}

/**
 * A set of items, kept as disjoint, non-touching half-open ranges in order. Kept in blocks: operations cost O(log n) plus the ranges they
 * touch, however many there are.
 */
export class RangeSet {
  /** At least one; only one that is alone may be empty. */
  private readonly blocks: Block[] = [{ los: [], his: [] }]
  private items = 0
  private count = 0

  constructor(ranges: Iterable<Range> = []) {
    for (const { lo, hi } of ranges) this.add(lo, hi)
  }

  /** Items in the set. */
  get size(): number {
    return this.items
  }

  /** Ranges it takes to say so. */
  get pieces(): number {
    return this.count
  }

  has(item: number): boolean {
    const { block, index } = this.firstEndingAfter(item)
    const { los } = this.blocks[block]!
    return index < los.length && los[index]! <= item
  }

  add(lo: number, hi: number): void {
    if (!(lo < hi)) return
    // Touching ranges merge, so look for the first that ends at or after lo.
    const place = this.firstEndingAfter(lo - 1)
    let touched = 0
    let newLo = lo
    let newHi = hi
    this.visit(place, (a, b) => {
      if (a > hi) return false
      newLo = Math.min(newLo, a)
      newHi = Math.max(newHi, b)
      this.items -= b - a
      touched += 1
      return true
    })
    this.items += newHi - newLo
    if (touched === 1) {
      const { los, his } = this.blocks[place.block]!
      los[place.index] = newLo
      his[place.index] = newHi
    } else this.replace(place, touched, [newLo], [newHi])
  }

  remove(lo: number, hi: number): void {
    if (!(lo < hi)) return
    const place = this.firstEndingAfter(lo)
    let touched = 0
    const keptLos: number[] = []
    const keptHis: number[] = []
    this.visit(place, (a, b) => {
      if (a >= hi) return false
      this.items -= Math.min(b, hi) - Math.max(a, lo)
      if (a < lo) {
        keptLos.push(a)
        keptHis.push(lo)
      }
      if (b > hi) {
        keptLos.push(hi)
        keptHis.push(b)
      }
      touched += 1
      return true
    })
    if (touched > 0) this.replace(place, touched, keptLos, keptHis)
  }

  clear(): void {
    this.blocks.length = 0
    this.blocks.push({ los: [], his: [] })
    this.items = 0
    this.count = 0
  }

  /** Items of the set within [lo, hi). */
  countIn(lo: number, hi: number): number {
    let count = 0
    this.visit(this.firstEndingAfter(lo), (a, b) => {
      if (a < hi) count += Math.min(b, hi) - Math.max(a, lo)
      return a < hi
    })
    return count
  }

  /** The parts of [lo, hi) that are in the set. */
  within(lo: number, hi: number): Range[] {
    const found: Range[] = []
    this.visit(this.firstEndingAfter(lo), (a, b) => {
      if (a < hi) found.push({ lo: Math.max(a, lo), hi: Math.min(b, hi) })
      return a < hi
    })
    return found
  }

  /** The parts of [lo, hi) that are not in the set. */
  missing(lo: number, hi: number): Range[] {
    const gaps: Range[] = []
    let at = lo
    this.visit(this.firstEndingAfter(lo), (a, b) => {
      if (a >= hi) return false
      if (a > at) gaps.push({ lo: at, hi: a })
      at = b
      return true
    })
    if (at < hi) gaps.push({ lo: at, hi })
    return gaps
  }

  /** The first part of the set at or after an item. */
  next(item: number): Range | undefined {
    const { block, index } = this.firstEndingAfter(item)
    const { los, his } = this.blocks[block]!
    return index < los.length ? { lo: Math.max(los[index]!, item), hi: his[index]! } : undefined
  }

  first(): Range | undefined {
    const { los, his } = this.blocks[0]!
    return los.length === 0 ? undefined : { lo: los[0]!, hi: his[0]! }
  }

  /** In item order. The set must not change while this is read. */
  *ranges(): IterableIterator<Range> {
    for (const { los, his } of this.blocks) {
      for (let i = 0; i < los.length; i += 1) yield { lo: los[i]!, hi: his[i]! }
    }
  }

  /** From the last range to the first. The set must not change while this is read. */
  *rangesBackwards(): IterableIterator<Range> {
    for (let block = this.blocks.length - 1; block >= 0; block -= 1) {
      const { los, his } = this.blocks[block]!
      for (let i = los.length - 1; i >= 0; i -= 1) yield { lo: los[i]!, hi: his[i]! }
    }
  }

  // ------------------------------------------------------------ the blocks

  /** The ranges from a place on, until `look` says that it is enough. */
  private visit({ block, index }: Place, look: (lo: number, hi: number) => boolean): void {
    for (let at = index; block < this.blocks.length; block += 1, at = 0) {
      const { los, his } = this.blocks[block]!
      for (; at < los.length; at += 1) if (!look(los[at]!, his[at]!)) return
    }
  }

  /** Where the first range with hi > item is; at the end of the last block when there is none. */
  private firstEndingAfter(item: number): Place {
    const { blocks } = this
    let low = 0
    let high = blocks.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (blocks[middle]!.his.at(-1)! > item) high = middle
      else low = middle + 1
    }
    const { his } = blocks[low]!
    let from = 0
    let to = his.length
    while (from < to) {
      const middle = (from + to) >>> 1
      if (his[middle]! > item) to = middle
      else from = middle + 1
    }
    return { block: low, index: from }
  }

  /** Takes `count` ranges out from `place` on and puts a few others in their place. */
  private replace({ block, index }: Place, count: number, los: number[], his: number[]): void {
    const { blocks } = this
    this.count += los.length - count
    const home = blocks[block]!
    const here = Math.min(count, home.los.length - index)
    home.los.splice(index, here, ...los)
    home.his.splice(index, here, ...his)
    let left = count - here
    let emptied = 0
    for (let at = block + 1; left > 0; at += 1) {
      const next = blocks[at]!
      const gone = Math.min(left, next.los.length)
      left -= gone
      if (gone === next.los.length) emptied += 1
      else {
        next.los.splice(0, gone)
        next.his.splice(0, gone)
      }
    }
    if (emptied > 0) blocks.splice(block + 1, emptied)
    if (home.los.length === 0 && blocks.length > 1) blocks.splice(block, 1)
    else if (home.los.length > BLOCK_RANGES) this.split(block)
  }

  private split(block: number): void {
    const { los, his } = this.blocks[block]!
    // What grows at its end stays full.
    const at = block === this.blocks.length - 1 ? BLOCK_RANGES : BLOCK_RANGES / 2
    this.blocks.splice(block + 1, 0, { los: los.splice(at), his: his.splice(at) })
  }
}
