import { MAX_PLAN_NODES, MAX_PLAN_PARTS, MAX_PLAN_TASKS, MAX_SHAPE_DEPTH } from './limits.ts'
import type { NodeInput, Plan, PlanNode, Shape, Step } from './plan.ts'
import type { Range } from './types.ts'

/**
 * Why a plan makes no sense for a job of `items` items, or undefined. It comes from another peer: after this every index is inside its
 * bounds, and what an item needs is before its node.
 */
export function planFault(plan: Plan, items: number): string | undefined {
  const { tasks, nodes } = plan
  if (nodes.length === 0 || nodes.length > MAX_PLAN_NODES) {
    return `it has ${nodes.length} nodes, 1 to ${MAX_PLAN_NODES} are allowed`
  }
  if (tasks.length > MAX_PLAN_TASKS) {
    return `it has ${tasks.length} tasks, at most ${MAX_PLAN_TASKS} are allowed`
  }
  if (partsOf(plan) > MAX_PLAN_PARTS) return `its inputs have more than ${MAX_PLAN_PARTS} parts`
  let at = 0
  for (const [k, node] of nodes.entries()) {
    const fault = nodeFault(node, at, tasks.length)
    if (fault !== undefined) return `node ${k}: ${fault}`
    at += node.count
    if (!Number.isSafeInteger(at)) return 'its item count is too large'
  }
  if (at !== items) return `its nodes have ${at} items, and the job has ${items}`
  const fault = shapeFault(plan.output, items)
  return fault === undefined ? undefined : `its output: ${fault}`
}

function nodeFault(node: PlanNode, lo: number, tasks: number): string | undefined {
  const { count, combine, steps, input } = node
  if (!isCount(count)) return `it has ${count} items`
  if (combine === undefined && steps.length === 0) return 'it does nothing'
  for (const step of combine === undefined ? steps : [...steps, combine.step]) {
    if (!isTask(step, tasks)) return `it names task ${step.task} of ${tasks}`
  }
  if (combine !== undefined) {
    const { grain, total } = combine
    if (!isCount(grain) || !isCount(total)) return `it combines ${total} elements by ${grain}`
    if (Math.ceil(total / grain) !== count) {
      return `${total} elements by ${grain} are not ${count} items`
    }
  }
  return inputFault(input, combine?.total ?? count, combine !== undefined, lo)
}

function isTask({ task }: Step, tasks: number): boolean {
  return Number.isSafeInteger(task) && task >= 0 && task < tasks
}

/** `elements` are wanted of it; what it needs is before item `lo`. */
function inputFault(
  input: NodeInput,
  elements: number,
  combines: boolean,
  lo: number,
): string | undefined {
  switch (input.kind) {
    case 'range':
      return Number.isSafeInteger(input.start) && Number.isSafeInteger(input.start + elements)
        ? undefined
        : 'the end of its range is not a safe integer'
    case 'each': {
      let sum = 0
      for (const range of input.from) {
        if (!isRange(range, lo) || range.lo === range.hi) {
          return `it takes items ${range.lo}..${range.hi}, and has items from ${lo} on`
        }
        sum += range.hi - range.lo
      }
      return sum === elements ? undefined : `it takes ${sum} items for ${elements} elements`
    }
    case 'call': {
      if (combines || elements !== 1) return 'a call is one item'
      for (const arg of input.args) {
        const fault = arg.kind === 'shape' ? shapeFault(arg.shape, lo) : undefined
        if (fault !== undefined) return fault
      }
      return undefined
    }
    default:
      return undefined
  }
}

/** A shape may be made of items 0..end-1. */
function shapeFault(shape: Shape, end: number, depth = 1): string | undefined {
  if (depth > MAX_SHAPE_DEPTH) return `a shape is deeper than ${MAX_SHAPE_DEPTH}`
  switch (shape.kind) {
    case 'item':
      return isRange({ lo: shape.item, hi: shape.item + 1 }, end)
        ? undefined
        : `it takes item ${shape.item} of ${end}`
    case 'list':
      if (!isRange(shape, end)) return `it takes items ${shape.lo}..${shape.hi} of ${end}`
      return shape.size === undefined || isCount(shape.size) ? undefined : 'lists of no length'
    case 'tuple':
      for (const part of shape.parts) {
        const fault = shapeFault(part, end, depth + 1)
        if (fault !== undefined) return fault
      }
      return undefined
  }
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1
}

function isRange({ lo, hi }: Range, end: number): boolean {
  return Number.isSafeInteger(lo) && Number.isSafeInteger(hi) && lo >= 0 && lo <= hi && hi <= end
}

/** Steps, ranges, arguments and shapes of all nodes: what a plan costs to go through. */
function partsOf({ nodes, output }: Plan): number {
  let parts = shapeParts(output)
  for (const { steps, input } of nodes) {
    parts += steps.length
    if (input.kind === 'each') parts += input.from.length
    if (input.kind !== 'call') continue
    for (const arg of input.args) parts += arg.kind === 'shape' ? shapeParts(arg.shape) : 1
  }
  return parts
}

function shapeParts(shape: Shape, depth = 1): number {
  if (shape.kind !== 'tuple' || depth > MAX_SHAPE_DEPTH) return 1
  return shape.parts.reduce((sum, part) => sum + shapeParts(part, depth + 1), 1)
}

/** Items that a shape is made of, in the order of its parts; an item may come twice. */
export function* shapeItems(shape: Shape): Generator<Range> {
  if (shape.kind === 'item') yield { lo: shape.item, hi: shape.item + 1 }
  else if (shape.kind === 'tuple') for (const part of shape.parts) yield* shapeItems(part)
  else if (shape.lo < shape.hi) yield { lo: shape.lo, hi: shape.hi }
}

/** Items that a node takes values of; for `each` in the order of its elements. */
export function* neededItems({ input }: PlanNode): Generator<Range> {
  if (input.kind === 'each') yield* input.from
  if (input.kind !== 'call') return
  for (const arg of input.args) if (arg.kind === 'shape') yield* shapeItems(arg.shape)
}

/** The first item of each node, and the number of all items. */
export function nodeStarts({ nodes }: Plan): Float64Array {
  const starts = new Float64Array(nodes.length + 1)
  for (const [k, { count }] of nodes.entries()) starts[k + 1] = starts[k]! + count
  return starts
}

/** The node that has an item. */
export function nodeAt(starts: Float64Array, item: number): number {
  let low = 0
  let high = starts.length - 2
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if (starts[middle]! <= item) low = middle
    else high = middle - 1
  }
  return low
}
