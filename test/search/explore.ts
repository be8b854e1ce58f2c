import type { Bounds } from './bounds.ts'
import type { Invariant, Move } from './context.ts'
import { Model } from './model.ts'
import { IntList, RowTable } from './row-table.ts'

export interface Broken {
  readonly invariant: Invariant
  /** One of the shortest ways there, in words, a step a line. */
  readonly trace: readonly string[]
}

export interface SearchResult {
  readonly states: number
  readonly steps: number
  /** Sets of entries that were folded, and entries that were written. */
  readonly views: number
  readonly entries: number
  /** The bound on states was met: nothing is proved, and I6 was not looked at. */
  readonly truncated: boolean
  /** The first breach of each invariant. What follows a breach is not explored. */
  readonly broken: ReadonlyMap<Invariant, Broken>
  readonly elapsedMs: number
}

/** Explores every world within the bounds, breadth first, so that the first breach found of an invariant is a shortest one. */
export function explore(bounds: Bounds): SearchResult {
  return new Search(bounds).run()
}

class Search {
  private readonly model: Model
  private readonly bounds: Bounds
  private readonly table: RowTable
  /** The world from which each was found first; -1 of the first one. */
  private readonly parents = new IntList()
  /** Helpful steps. */
  private readonly edges = { from: new IntList(), to: new IntList() }
  private readonly broken = new Map<Invariant, { readonly at: number; readonly move?: Move }>()
  /** Worlds where I6 needs no further proof. */
  private readonly settled: number[] = []
  private readonly row: Int32Array

  constructor(bounds: Bounds) {
    this.bounds = bounds
    this.model = new Model(bounds)
    this.table = new RowTable(this.model.stride)
    this.row = new Int32Array(this.model.stride)
  }

  run(): SearchResult {
    const { model, table, row } = this
    const startedAt = performance.now()
    table.add(model.first())
    this.parents.push(-1)
    let steps = 0
    let at = 0
    for (; at < table.size && table.size <= this.bounds.maxStates; at += 1) {
      table.read(at, row)
      if (model.goal(row)) this.settled.push(at)
      if (model.over(row)) continue
      const here = at
      model.successors(row, (next, move, helpful, broken) => {
        steps += 1
        if (broken !== undefined) this.report(here, move, helpful, broken)
        else this.found(here, next, helpful)
      })
    }
    const truncated = at < table.size
    if (!truncated) this.checkReach()
    return {
      states: table.size,
      steps,
      views: model.views,
      entries: model.entries,
      truncated,
      broken: this.traces(),
      elapsedMs: performance.now() - startedAt,
    }
  }

  private found(here: number, next: Int32Array, helpful: boolean): void {
    const before = this.table.size
    const index = this.table.add(next)
    if (this.table.size > before) this.parents.push(here)
    if (!helpful) return
    this.edges.from.push(here)
    this.edges.to.push(index)
  }

  private report(here: number, move: Move, helpful: boolean, invariant: Invariant): void {
    // Whether a broken world could still end well is not asked.
    if (helpful) this.settled.push(here)
    if (!this.broken.has(invariant)) this.broken.set(invariant, { at: here, move })
  }

  /**
   * I6, from every world backwards: one in which everyone alive that has the JOB has all items final can be reached by deliveries,
   * runs and due RECLAIMs alone. None of these is bounded, so that a bound of the model is never what holds them up.
   */
  private checkReach(): void {
    const { table } = this
    const { from, to } = this.edges
    const starts = new Int32Array(table.size + 1)
    for (let i = 0; i < to.length; i += 1) starts[to.at(i) + 1]! += 1
    for (let i = 0; i < table.size; i += 1) starts[i + 1]! += starts[i]!
    const sources = new Int32Array(from.length)
    const filled = starts.slice()
    for (let i = 0; i < to.length; i += 1) sources[filled[to.at(i)]!++] = from.at(i)
    const good = new Uint8Array(table.size)
    const queue = this.settled
    for (const index of queue) good[index] = 1
    for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
      for (let i = starts[index]!; i < starts[index + 1]!; i += 1) {
        const source = sources[i]!
        if (good[source] === 1) continue
        good[source] = 1
        queue.push(source)
      }
    }
    const bad = good.indexOf(0)
    if (bad >= 0) this.broken.set('I6', { at: bad })
  }

  private traces(): Map<Invariant, Broken> {
    const told = new Map<Invariant, Broken>()
    for (const [invariant, { at, move }] of this.broken) {
      const last =
        move === undefined
          ? 'from here on not all items can become final'
          : this.model.describe(move)
      told.set(invariant, { invariant, trace: [...this.traceTo(at), last] })
    }
    return told
  }

  private traceTo(index: number): string[] {
    const words: string[] = []
    for (let to = index, from = this.parents.at(to); from >= 0; from = this.parents.at(to)) {
      words.push(this.step(from, to))
      to = from
    }
    return words.reverse()
  }

  /** The words of a step between two worlds: only the way back is kept, so it is taken again. */
  private step(from: number, to: number): string {
    const { model, table } = this
    let words = ''
    table.read(from, this.row)
    model.successors(this.row, (next, move, _helpful, broken) => {
      if (words === '' && broken === undefined && table.find(next) === to) {
        words = model.describe(move)
      }
    })
    return words
  }
}

/** "I4 broken:\n  1. …" */
export function tell({ invariant, trace }: Broken): string {
  return [`${invariant} broken:`, ...trace.map((step, i) => `  ${i + 1}. ${step}`)].join('\n')
}
