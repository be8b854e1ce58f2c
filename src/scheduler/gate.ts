import type { Plan, PlanNode } from './plan.ts'
import { neededItems, nodeAt, nodeStarts, shapeItems } from './plan-check.ts'
import { RangeSet } from './range-set.ts'
import { SpanIndex } from './span-index.ts'
import type { Range } from './types.ts'

/** Items lo..hi-1 are needed by a node: of `each` as its elements from `first` on; a call needs all of them. */
interface Edge extends Range {
  readonly node: number
  readonly first: number
}

/**
 * Which items of a composition are ready: those all of whose needed items are final (docs/protocol.md, "Plan"). Told as items become
 * final; costs the ranges that are told and the edges that they touch, never items.
 */
export class Gate {
  readonly plan: Plan
  /** Items that may start as far as their inputs go. */
  readonly ready = new RangeSet()
  /** Items whose values are a part of the composition's. */
  readonly output: RangeSet
  private readonly starts: Float64Array
  private readonly edges: SpanIndex<Edge>
  /** Final items, as told. */
  private readonly final = new RangeSet()
  /** Of each call: items that it needs, all, and those that are not final. */
  private readonly needs: Float64Array
  private readonly lacks: Float64Array
  /** Of each `combine` over items: its elements that are final. */
  private readonly elements = new Map<number, RangeSet>()

  /** The plan has passed planFault(). */
  constructor(plan: Plan) {
    this.plan = plan
    this.starts = nodeStarts(plan)
    this.output = setOf(shapeItems(plan.output))
    this.needs = new Float64Array(plan.nodes.length)
    this.lacks = new Float64Array(plan.nodes.length)
    const edges: Edge[] = []
    for (const [node, one] of plan.nodes.entries()) {
      const { ranges, needs } = edgesOf(one)
      for (const { lo, hi, first } of ranges) edges.push({ lo, hi, first, node })
      const { input, combine } = one
      if (input.kind === 'call') this.needs[node] = needs
      if (input.kind === 'each' && combine !== undefined) {
        this.elements.set(node, new RangeSet())
      }
    }
    this.edges = new SpanIndex(edges)
    this.clear()
  }

  /** The node that has an item. */
  nodeOf(item: number): number {
    return nodeAt(this.starts, item)
  }

  /** Items of a node. */
  itemsOf(node: number): Range {
    return { lo: this.starts[node]!, hi: this.starts[node + 1]! }
  }

  /** Items lo..hi-1 are final: what becomes ready by that. */
  finalChanged(lo: number, hi: number): Range[] {
    const opened: Range[] = []
    for (const fresh of this.final.missing(lo, hi)) {
      this.final.add(fresh.lo, fresh.hi)
      this.edges.overlapping(fresh.lo, fresh.hi, (edge) => {
        const from = Math.max(edge.lo, fresh.lo)
        const to = Math.min(edge.hi, fresh.hi)
        for (const ready of this.openedBy(edge, from, to)) {
          for (const part of this.ready.missing(ready.lo, ready.hi)) opened.push(part)
          this.ready.add(ready.lo, ready.hi)
        }
      })
    }
    return opened
  }

  /** Items may have become open again: from scratch. */
  rebuild(final: Iterable<Range>): void {
    this.clear()
    for (const { lo, hi } of final) this.finalChanged(lo, hi)
  }

  /** Items that need one of lo..hi-1, as ranges that may overlap. */
  dependants(lo: number, hi: number): Range[] {
    const found: Range[] = []
    this.edges.overlapping(lo, hi, (edge) => {
      found.push(this.itemsBy(edge, Math.max(edge.lo, lo), Math.min(edge.hi, hi)))
    })
    return found
  }

  private clear(): void {
    this.ready.clear()
    this.final.clear()
    this.lacks.set(this.needs)
    for (const elements of this.elements.values()) elements.clear()
    for (const [node, { input }] of this.plan.nodes.entries()) {
      if (input.kind === 'each' || this.needs[node]! > 0) continue
      this.ready.add(this.starts[node]!, this.starts[node + 1]!)
    }
  }

  /** Items of its node that need items from..to-1 of an edge. */
  private itemsBy({ lo, first, node }: Edge, from: number, to: number): Range {
    const { input, combine } = this.plan.nodes[node]!
    const start = this.starts[node]!
    if (input.kind !== 'each') return { lo: start, hi: start + 1 }
    const grain = combine?.grain ?? 1
    const a = first + from - lo
    const b = first + to - lo
    return { lo: start + Math.floor(a / grain), hi: start + Math.ceil(b / grain) }
  }

  private openedBy(edge: Edge, from: number, to: number): Range[] {
    const { node } = edge
    const { input, combine } = this.plan.nodes[node]!
    const items = this.itemsBy(edge, from, to)
    if (input.kind !== 'each') {
      const lacks = this.lacks[node]! - (to - from)
      this.lacks[node] = lacks
      return lacks === 0 ? [items] : []
    }
    const elements = this.elements.get(node)
    if (combine === undefined || elements === undefined) return [items]
    const a = edge.first + from - edge.lo
    elements.add(a, a + to - from)
    // Those at the ends may have elements beyond.
    let { lo, hi } = items
    if (lo < hi && !this.allElements(node, lo)) lo += 1
    if (lo < hi && !this.allElements(node, hi - 1)) hi -= 1
    return lo < hi ? [{ lo, hi }] : []
  }

  /** Whether all elements of an item of a `combine` over items are final. */
  private allElements(node: number, item: number): boolean {
    const { grain = 1, total = 0 } = this.plan.nodes[node]!.combine ?? {}
    const lo = (item - this.starts[node]!) * grain
    const run = this.elements.get(node)?.next(lo)
    return run !== undefined && run.lo === lo && run.hi >= Math.min(lo + grain, total)
  }
}

/** Which items the elements of an `each` input are the values of. */
export class ElementMap {
  private readonly from: readonly Range[]
  /** The first element of each range. */
  private readonly firsts: Float64Array

  constructor(from: readonly Range[]) {
    this.from = from
    this.firsts = new Float64Array(from.length + 1)
    for (const [i, { lo, hi }] of from.entries()) this.firsts[i + 1] = this.firsts[i]! + hi - lo
  }

  /** The items of elements first..end-1, as far as there are so many, in their order. */
  items(first: number, end: number): Range[] {
    const found: Range[] = []
    const { from, firsts } = this
    for (let i = nodeAt(firsts, first); i < from.length && firsts[i]! < end; i += 1) {
      const a = Math.max(first, firsts[i]!)
      const b = Math.min(end, firsts[i + 1]!)
      const { lo } = from[i]!
      if (a < b) found.push({ lo: lo + a - firsts[i]!, hi: lo + b - firsts[i]! })
    }
    return found
  }
}

/** In order a set of any size is made fast. */
function setOf(ranges: Iterable<Range>): RangeSet {
  return new RangeSet([...ranges].sort((a, b) => a.lo - b.lo))
}

/** A call names an item as often as it likes, and waits for it once. */
function edgesOf(node: PlanNode): { ranges: Omit<Edge, 'node'>[]; needs: number } {
  if (node.input.kind === 'call') {
    const set = setOf(neededItems(node))
    return { ranges: [...set.ranges()].map((range) => ({ ...range, first: 0 })), needs: set.size }
  }
  const ranges: Omit<Edge, 'node'>[] = []
  let first = 0
  for (const { lo, hi } of neededItems(node)) {
    ranges.push({ lo, hi, first })
    first += hi - lo
  }
  return { ranges, needs: first }
}
