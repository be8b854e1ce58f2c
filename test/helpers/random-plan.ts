import type { NodeInput, Plan, PlanNode, Shape } from '../../src/scheduler/plan.ts'
import type { BlobHash, Range } from '../../src/scheduler/types.ts'

/** Uniform whole number below `n`. */
export type Below = (n: number) => number

/** Small and seeded: the same seed, the same plan. */
export function belowFrom(seed: number): Below {
  let state = (seed * 2_654_435_761) >>> 0 || 1
  return (n) => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return Math.floor((state / 2 ** 32) * n)
  }
}

export interface RandomPlanOptions {
  readonly nodes: number
  /** Of a node, at most. */
  readonly items: number
  readonly inputs?: readonly NodeInput['kind'][]
}

const KINDS: readonly NodeInput['kind'][] = ['range', 'values', 'each', 'each', 'call', 'call']

/** A plan whose nodes take what they need from any nodes before them. */
export function randomPlan(below: Below, options: RandomPlanOptions): Plan {
  const nodes: PlanNode[] = []
  let at = 0
  const count = 1 + below(options.nodes)
  for (let k = 0; k < count; k += 1) {
    const node = randomNode(below, options, at)
    nodes.push(node)
    at += node.count
  }
  return { tasks: [taskNamed('one'), taskNamed('two')], nodes, output: randomShape(below, at) }
}

export function taskNamed(name: string): Plan['tasks'][number] {
  return { name, bundle: 'ab'.repeat(32) as BlobHash, bundleBytes: 100, pick: false }
}

function randomNode(below: Below, options: RandomPlanOptions, at: number): PlanNode {
  const kinds = options.inputs ?? KINDS
  const kind = at === 0 ? 'range' : kinds[below(kinds.length)]!
  const steps = [{ task: below(2) }]
  const wanted = 1 + below(options.items)
  if (kind === 'call') {
    const args = Array.from({ length: below(3) }, () =>
      below(4) === 0
        ? ({ kind: 'value', bytes: new Uint8Array([below(100)]) } as const)
        : ({ kind: 'shape', shape: randomShape(below, at) } as const),
    )
    const allowFailures = below(2) === 0 ? { allowFailures: true } : {}
    return { count: 1, input: { kind, args }, steps, ...allowFailures }
  }
  const from = kind === 'each' ? randomRanges(below, at, wanted) : []
  const total = kind === 'each' ? sizeOf(from) : wanted
  const input = inputOf(kind, from)
  if (below(3) > 0) return { count: total, input, steps }
  const grain = 1 + below(total + 2)
  const combine = { step: { task: 1 }, grain, total }
  return {
    count: Math.ceil(total / grain),
    input,
    steps: below(2) === 0 ? steps : [],
    combine,
    ...(below(2) === 0 ? { allowFailures: true } : {}),
  }
}

function inputOf(kind: Exclude<NodeInput['kind'], 'call'>, from: readonly Range[]): NodeInput {
  if (kind === 'each') return { kind, from }
  if (kind === 'values') return { kind, segment: new Uint8Array([1, 2, 3]) }
  if (kind === 'pieces') return { kind, manifest: 'cd'.repeat(32) as BlobHash }
  return { kind: 'range', start: -3 }
}

/** Any order, with repetitions. */
function randomRanges(below: Below, end: number, most: number): Range[] {
  return Array.from({ length: 1 + below(3) }, () => {
    const lo = below(end)
    return { lo, hi: Math.min(end, lo + 1 + below(most)) }
  })
}

function randomShape(below: Below, end: number, depth = 0): Shape {
  const kind = below(depth > 2 ? 2 : 3)
  if (kind === 0) return { kind: 'item', item: below(end) }
  if (kind === 1) {
    const lo = below(end)
    const hi = lo + below(end - lo + 1)
    return { kind: 'list', lo, hi, ...(below(3) === 0 ? { size: 1 + below(4) } : {}) }
  }
  return {
    kind: 'tuple',
    parts: Array.from({ length: below(4) }, () => randomShape(below, end, depth + 1)),
  }
}

function sizeOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
}

export function itemsOfPlan({ nodes }: Plan): number {
  return nodes.reduce((sum, { count }) => sum + count, 0)
}

/** Item by item, what each one needs: written down from the words of the plan, without any cleverness. */
export function needsOfItems(plan: Plan): Set<number>[] {
  const needs: Set<number>[] = []
  for (const { count, input, combine } of plan.nodes) {
    const elements: number[] = []
    if (input.kind === 'each') {
      for (const { lo, hi } of input.from) for (let i = lo; i < hi; i += 1) elements.push(i)
    }
    for (let i = 0; i < count; i += 1) {
      const grain = combine?.grain ?? 1
      const mine = new Set(elements.slice(i * grain, (i + 1) * grain))
      if (input.kind === 'call') {
        for (const arg of input.args) if (arg.kind === 'shape') addItems(arg.shape, mine)
      }
      needs.push(mine)
    }
  }
  return needs
}

function addItems(shape: Shape, into: Set<number>): void {
  if (shape.kind === 'item') into.add(shape.item)
  else if (shape.kind === 'tuple') for (const part of shape.parts) addItems(part, into)
  else for (let i = shape.lo; i < shape.hi; i += 1) into.add(i)
}
