/** What a plan means, written down as plainly as can be: all items one after another, in one process. */
import { MeshError } from '../../src/base/errors.ts'
import { decodeSegments, decodeValue } from '../../src/runtime/segment.ts'
import type { ItemError } from '../../src/runtime/types.ts'
import type { Arg, NodeInput, Plan, PlanNode, Shape, Step } from '../../src/scheduler/plan.ts'

export type Outcome = { readonly value: unknown } | { readonly failure: ItemError }

export interface PlanWorld {
  /** Calls task `task` of the plan. */
  call(task: number, item: unknown): unknown
  /** The values that a manifest stands for. */
  pieces(manifest: string): readonly unknown[]
}

/** The outcome of each item. */
export async function runPlan(plan: Plan, world: PlanWorld): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const names: string[] = []
  for (const node of plan.nodes) {
    const steps = node.combine === undefined ? node.steps : [...node.steps, node.combine.step]
    const name = steps.map(({ task }) => plan.tasks[task]!.name).join(' | ')
    const made = await runNode(node, outcomes, names, world)
    for (const [i, outcome] of made.entries()) {
      outcomes.push(outcome)
      names.push(`${name} (item ${i})`)
    }
  }
  return outcomes
}

/** The value of a shape. @throws the first failure */
export function valueIn(shape: Shape, outcomes: readonly Outcome[]): unknown {
  const built = build(shape, outcomes, [], false)
  if ('failure' in built) throw built
  return built.value
}

async function runNode(
  node: PlanNode,
  before: readonly Outcome[],
  names: readonly string[],
  world: PlanWorld,
): Promise<Outcome[]> {
  const { count, combine, steps, allowFailures = false } = node
  const total = combine?.total ?? count
  const elements = elementsOf(node.input, total, before, names, allowFailures, world)
  if (elements.length !== total) throw new Error(`${elements.length} elements for ${total}`)
  const through: Outcome[] = []
  for (const element of elements) through.push(await runSteps(steps, element, world))
  if (combine === undefined) return through
  const made: Outcome[] = []
  for (let i = 0; i < count; i++) {
    const grain = through.slice(i * combine.grain, (i + 1) * combine.grain)
    made.push(await combined(grain, combine.step, allowFailures, world))
  }
  return made
}

function elementsOf(
  input: NodeInput,
  count: number,
  before: readonly Outcome[],
  names: readonly string[],
  allowFailures: boolean,
  world: PlanWorld,
): Outcome[] {
  switch (input.kind) {
    case 'range':
      return Array.from({ length: count }, (_, i) => ({ value: input.start + i }))
    case 'values':
      return [...decodeSegments(input.segment, 0)].flatMap(({ values }) =>
        values.map((value) => ({ value })),
      )
    case 'pieces':
      return world.pieces(input.manifest).map((value) => ({ value }))
    case 'each':
      return input.from.flatMap(({ lo, hi }) =>
        Array.from({ length: hi - lo }, (_, i) => inherited(before[lo + i]!, names[lo + i]!)),
      )
    case 'call':
      return [called(input.args, before, names, allowFailures)]
  }
}

function called(
  args: readonly Arg[],
  before: readonly Outcome[],
  names: readonly string[],
  allowFailures: boolean,
): Outcome {
  const values: unknown[] = []
  for (const arg of args) {
    if (arg.kind === 'value') values.push(decodeValue(arg.bytes))
    else {
      const built = build(arg.shape, before, names, allowFailures)
      if ('failure' in built) return built
      values.push(built.value)
    }
  }
  return { value: values.length > 1 ? values : values[0] }
}

function build(
  shape: Shape,
  outcomes: readonly Outcome[],
  names: readonly string[],
  allowFailures: boolean,
): Outcome {
  if (shape.kind === 'item') return inherited(outcomes[shape.item]!, names[shape.item])
  const list: unknown[] = []
  if (shape.kind === 'tuple') {
    for (const part of shape.parts) {
      const built = build(part, outcomes, names, allowFailures)
      if (!('failure' in built)) list.push(built.value)
      else if (!allowFailures || part.kind !== 'item') return built
    }
    return { value: list }
  }
  const { lo, hi, size } = shape
  const step = size ?? Math.max(1, hi - lo)
  const lists: unknown[][] = []
  for (let from = lo; from < hi; from += step) {
    const part: unknown[] = []
    for (let item = from; item < Math.min(hi, from + step); item++) {
      const outcome = inherited(outcomes[item]!, names[item])
      if (!('failure' in outcome)) part.push(outcome.value)
      else if (!allowFailures) return outcome
    }
    lists.push(part)
  }
  return { value: size === undefined ? (lists[0] ?? []) : lists }
}

function inherited(outcome: Outcome, name: string | undefined): Outcome {
  if (!('failure' in outcome) || name === undefined) return outcome
  const { failure } = outcome
  if (failure.message.startsWith('its input failed: ')) return outcome
  return { failure: { ...failure, message: `its input failed: ${name}: ${failure.message}` } }
}

async function runSteps(steps: readonly Step[], element: Outcome, world: PlanWorld) {
  let outcome = element
  for (const { task, bound, immutable } of steps) {
    if ('failure' in outcome) return outcome
    const args = bound === undefined ? [] : (decodeValue(bound) as unknown[])
    if (immutable !== true) args.unshift(outcome.value)
    outcome = await attempt(() => world.call(task, args.length > 1 ? args : args[0]))
  }
  return outcome
}

async function combined(
  elements: readonly Outcome[],
  { task }: Step,
  allowFailures: boolean,
  world: PlanWorld,
): Promise<Outcome> {
  let total: Outcome | undefined
  let failed: Outcome | undefined
  for (const element of elements) {
    if ('failure' in element) {
      if (!allowFailures) return element
      failed ??= element
      continue
    }
    if (total === undefined) total = element
    else {
      const pair = [(total as { value: unknown }).value, element.value]
      total = await attempt(() => world.call(task, pair))
      if ('failure' in total) return total
    }
  }
  return total ?? failed!
}

async function attempt(run: () => unknown): Promise<Outcome> {
  try {
    return { value: await run() }
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error))
    const code = error instanceof MeshError ? error.code : 'ERR_MESH_ITEM_THREW'
    return { failure: { index: 0, code, name, message, attempts: 1 } }
  }
}
