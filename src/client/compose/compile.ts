/** A composition as a plan (src/scheduler/plan.ts). */
import { isMeshError } from '../../base/errors.ts'
import type { AnyComposition, MapComposition } from '../../runtime/composition.ts'
import { encodeSegment, findUnsendable } from '../../runtime/segment.ts'
import type {
  Arg,
  NodeInput,
  NodeOptions,
  Plan,
  PlanNode,
  PlanTask,
  Shape,
  Step,
} from '../../scheduler/plan.ts'
import type { BlobHash, Range } from '../../scheduler/types.ts'
import { MAX_PLAN_NODES, MAX_PLAN_TASKS } from '../limits.ts'
import { encodeArg, explainArg } from './args.ts'
import {
  type Draft,
  type DraftArg,
  type DraftStep,
  literalOf,
  type Part,
  resolve,
  tooLarge,
  type Value,
} from './draft.ts'
import { Evaluator, type Source } from './evaluate.ts'
import { optimise, resolved } from './optimise.ts'
import type { TaskBook, TaskCode, TaskRef } from './tasks.ts'

/** A composition whose tasks have no code yet, and whose nodes are not numbered. */
export interface Compiled {
  readonly drafts: readonly Draft[]
  readonly output: Value
  /** Each once, in the order of the plan's tasks. */
  readonly tasks: readonly TaskRef[]
}

/**
 * Which nodes it has; `job` are the options that they have without their own. Costs about as much as its parts, whatever their depth.
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_OPTION_INVALID, ERR_MESH_TOO_LARGE, ERR_MESH_VALUE_*
 */
export function compile(
  composition: AnyComposition,
  sources: ReadonlyMap<MapComposition, Source>,
  book: TaskBook,
  job: NodeOptions = {},
): Compiled {
  const evaluator = new Evaluator(sources, book)
  const value = evaluator.evaluate(composition)
  // A job has one item at least: an empty list is made by one.
  const output = literalOf(value) === undefined ? value : evaluator.calls.materialise(value)
  const drafts = optimise(evaluator.calls.drafts.all, output, job)
  if (drafts.length > MAX_PLAN_NODES) {
    throw tooLarge(
      `the composition has ${drafts.length} different calls, and a job may have ${MAX_PLAN_NODES}: calls of one task over values alone count once, as map() and group() make them`,
    )
  }
  const tasks = new Set<TaskRef>()
  for (const { steps, combine } of drafts) {
    for (const { task } of steps) tasks.add(task)
    if (combine !== undefined) tasks.add(combine.step.task)
  }
  if (tasks.size > MAX_PLAN_TASKS) {
    throw tooLarge(`the composition has ${tasks.size} tasks, and a job may have ${MAX_PLAN_TASKS}`)
  }
  return { drafts, output, tasks: [...tasks] }
}

/** The plan and how many items it has. `pieces` has the items of nodes that are too large for it. */
export function toPlan(
  { drafts, output, tasks }: Compiled,
  codes: ReadonlyMap<TaskRef, TaskCode>,
  pieces: ReadonlyMap<Draft, NodeInput> = new Map(),
): { readonly plan: Plan; readonly items: number } {
  const starts = new Map<Draft, number>()
  let items = 0
  for (const draft of drafts) {
    starts.set(draft, items)
    items += draft.count
  }
  if (!Number.isSafeInteger(items)) throw tooLarge('the composition has too many items')
  const numbers = new TaskNumbers(codes, tasks)
  const writer = new Writer(starts, numbers)
  const nodes = drafts.map((draft) => writer.node(draft, pieces.get(draft)))
  return { plan: { tasks: numbers.tasks, nodes, output: writer.shape(output) }, items }
}

/** Tasks whose code is the same are one. */
class TaskNumbers {
  readonly tasks: PlanTask[] = []
  private readonly numbers = new Map<TaskRef, number>()

  constructor(codes: ReadonlyMap<TaskRef, TaskCode>, refs: readonly TaskRef[]) {
    const known = new Map<string, number>()
    for (const ref of refs) {
      const { name, bundle, pick } = codes.get(ref)!
      const key = `${bundle.hash} ${pick ? name : ''}`
      let number = known.get(key)
      if (number === undefined) {
        number = this.tasks.length
        known.set(key, number)
        const { hash, code } = bundle
        this.tasks.push({ name, bundle: hash as BlobHash, bundleBytes: code.byteLength, pick })
      }
      this.numbers.set(ref, number)
    }
  }

  of({ task }: DraftStep): number {
    return this.numbers.get(task)!
  }
}

class Writer {
  private readonly starts: ReadonlyMap<Draft, number>
  private readonly numbers: TaskNumbers

  constructor(starts: ReadonlyMap<Draft, number>, numbers: TaskNumbers) {
    this.starts = starts
    this.numbers = numbers
  }

  node(draft: Draft, pieces: NodeInput | undefined): PlanNode {
    const { count, combine, allowFailures, options } = draft
    return {
      count,
      input: pieces ?? this.input(draft),
      steps: draft.steps.map((step) => this.step(step)),
      ...(combine !== undefined && {
        combine: { ...combine, step: this.step(combine.step) },
      }),
      ...(allowFailures && { allowFailures }),
      ...(options.options !== undefined && { options: options.options }),
    }
  }

  private step({ bound, immutable, ...step }: DraftStep): Step {
    return {
      task: this.numbers.of(step),
      ...(bound !== undefined && { bound }),
      ...(immutable === true && { immutable }),
    }
  }

  private input({ input, steps }: Draft): NodeInput {
    switch (input.kind) {
      case 'values':
        return { kind: 'values', segment: encodeItems(input.items, steps[0]?.task) }
      case 'each':
        return { kind: 'each', from: this.ranges(input.from) }
      case 'call':
        return { kind: 'call', args: input.args.map((arg) => this.arg(arg, steps.at(-1)?.task)) }
      default:
        return input
    }
  }

  private arg(arg: DraftArg, task: TaskRef | undefined): Arg {
    return arg.kind === 'literal'
      ? { kind: 'value', bytes: encodeArg(arg.value, task) }
      : { kind: 'shape', shape: this.shape(arg.value) }
  }

  /** Items in a row are one range. */
  private ranges(parts: readonly Part[]): Range[] {
    const found: Range[] = []
    for (const { draft, lo, hi } of resolved(parts)) {
      const start = this.starts.get(draft)!
      const last = found.at(-1)
      if (last?.hi === start + lo) found[found.length - 1] = { lo: last.lo, hi: start + hi }
      else found.push({ lo: start + lo, hi: start + hi })
    }
    return found
  }

  shape(value: Value): Shape {
    if (value.kind === 'item') {
      const { draft, by } = resolve(value.draft)
      return { kind: 'item', item: this.starts.get(draft)! + by + value.at }
    }
    if (value.kind === 'tuple') {
      return { kind: 'tuple', parts: value.values.map((each) => this.shape(each)) }
    }
    const ranges = this.ranges(value.parts)
    const { size } = value
    const [only = { lo: 0, hi: 0 }, another] = ranges
    if (another === undefined) return { kind: 'list', ...only, ...(size !== undefined && { size }) }
    const items = ranges.flatMap(({ lo, hi }) =>
      Array.from({ length: hi - lo }, (_, i): Shape => ({ kind: 'item', item: lo + i })),
    )
    if (size === undefined) return { kind: 'tuple', parts: items }
    const lists = Array.from({ length: Math.ceil(items.length / size) }, (_, i): Shape => {
      return { kind: 'tuple', parts: items.slice(i * size, (i + 1) * size) }
    })
    return { kind: 'tuple', parts: lists }
  }
}

/** @throws ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE, ERR_MESH_TASK_INVALID, naming the task */
export function encodeItems(items: readonly unknown[], task: TaskRef | undefined): Uint8Array {
  try {
    return encodeSegment(items)
  } catch (error) {
    const index = isMeshError(error) ? error.details.index : undefined
    const item = typeof index === 'number' ? items[index] : items
    const own = findUnsendable([item]) ?? error
    throw explainArg(own, item, task, typeof index === 'number' ? index : undefined)
  }
}
