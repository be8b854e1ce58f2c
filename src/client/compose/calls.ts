/** Calls as nodes of a plan, one by one and item by item. */
import { MeshError } from '../../base/errors.ts'
import type { Signature } from '../../runtime/composition.ts'
import { encodeArg } from './args.ts'
import {
  addPart,
  type Draft,
  type DraftArg,
  type DraftStep,
  Drafts,
  elementsOf,
  itemValue,
  lengthOf,
  listValue,
  literalOf,
  NOTHING,
  type OptionSet,
  type Part,
  together,
  type Value,
} from './draft.ts'
import { nodeOptions } from './node-options.ts'
import { TaskBook, type TaskRef } from './tasks.ts'

export type ItemValue = Value & { readonly kind: 'item' }
export const NO_OPTIONS = nodeOptions({})

/** `x => x`: makes an item of a list. */
const same = (value: unknown): unknown => value
/** The arguments after the first. */
const rest = ([, ...args]: unknown[]): unknown => (args.length === 1 ? args[0] : args)

export class Calls {
  readonly drafts = new Drafts()
  readonly tasks: TaskBook

  constructor(tasks = new TaskBook()) {
    this.tasks = tasks
  }

  /** The first of a chain: it has its arguments alone. */
  source(
    call: Signature,
    args: readonly DraftArg[],
    options: OptionSet,
    allowFailures = false,
  ): Value {
    const step = this.step(this.tasks.ref(call.task, args.length > 1))
    if (!args.every((arg) => arg.kind === 'literal')) {
      return this.call(args, step, options, allowFailures)
    }
    const items = [itemOf(args.map(({ value }) => value))]
    const input = { kind: 'values', items } as const
    return itemValue(this.drafts.add({ input, steps: [step], options, count: 1 }))
  }

  /** `si()`: once, after all that precedes. */
  after(
    call: Signature,
    before: { readonly value: Value; readonly allowFailures: boolean },
    args: readonly DraftArg[],
    options: OptionSet,
  ): Value {
    const { value, allowFailures } = before
    const task = this.tasks.ref(call.task, args.length > 1)
    if (args.some((arg) => arg.kind === 'made')) {
      const steps = [this.step(this.tasks.ref(rest)), this.step(task)]
      return this.call([argOf(value), ...args], steps, options, allowFailures)
    }
    const step = { ...this.step(task, args), immutable: true }
    if (value.kind !== 'item') return this.call([argOf(value)], step, options, allowFailures)
    return itemValue(this.each([partOf(value)], step, options))
  }

  /** One call, whose first argument is what precedes. */
  withFirst(
    call: Signature,
    value: Value,
    args: readonly DraftArg[],
    options: OptionSet,
    allowFailures = false,
  ): ItemValue {
    const task = this.tasks.ref(call.task, args.length > 0)
    if (value.kind === 'item' && args.every((arg) => arg.kind === 'literal')) {
      return itemValue(this.each([partOf(value)], this.step(task, args), options)) as ItemValue
    }
    return this.call([argOf(value), ...args], this.step(task), options, allowFailures)
  }

  /** A call for each element of what precedes. */
  itemByItem(
    call: Signature,
    value: Value & { readonly kind: 'list' | 'tuple' },
    args: readonly DraftArg[],
    options: OptionSet,
  ): Value {
    if (value.kind === 'list' && value.parts.length === 0) return NOTHING
    const literal = args.every((arg) => arg.kind === 'literal')
    if (value.kind === 'list' && value.size === undefined && literal) {
      const step = this.step(this.tasks.ref(call.task, args.length > 0), args)
      return listValue(this.each(value.parts, step, options))
    }
    const elements = elementsOf(value)!
    if (!literal) return together(elements.map((it) => this.withFirst(call, it, args, options)))
    // Elements that are items go through one node together.
    const parts: Part[] = []
    for (const it of elements) if (it.kind === 'item') addPart(parts, it.draft, it.at, it.at + 1)
    const step = this.step(this.tasks.ref(call.task, args.length > 0), args)
    const node = parts.length === 0 ? undefined : this.each(parts, step, options)
    let at = 0
    return together(
      elements.map((it) =>
        it.kind === 'item' ? itemValue(node!, at++) : this.withFirst(call, it, args, options),
      ),
    )
  }

  /** An item that is the value, whatever that is made of. */
  materialise(value: Value): ItemValue {
    if (value.kind === 'item') return value
    return this.call([argOf(value)], this.step(this.tasks.ref(same)), NO_OPTIONS)
  }

  /** The elements of a list, each as an item. */
  partsOf(value: Value): readonly Part[] {
    if (value.kind === 'list' && value.size === undefined) return value.parts
    const elements = elementsOf(value)
    if (elements === undefined) {
      throw new MeshError(
        'ERR_MESH_TASK_INVALID',
        'reduce() takes the values of a group or a map, and this is the value of one call: a task can combine the list that it is',
      )
    }
    const parts: Part[] = []
    for (const element of elements) {
      const { draft, at } = this.materialise(element)
      addPart(parts, draft, at, at + 1)
    }
    return parts
  }

  literal(value: unknown): ItemValue {
    return this.call([{ kind: 'literal', value }], this.step(this.tasks.ref(same)), NO_OPTIONS)
  }

  call(
    args: readonly DraftArg[],
    steps: DraftStep | readonly DraftStep[],
    options: OptionSet,
    allowFailures = false,
  ): ItemValue {
    const input = { kind: 'call', args } as const
    const all = 'task' in steps ? [steps] : steps
    const draft = this.drafts.add({ input, steps: all, options, count: 1, allowFailures })
    return { kind: 'item', draft, at: 0 }
  }

  private each(from: readonly Part[], step: DraftStep, options: OptionSet): Draft {
    const input = { kind: 'each' as const, from }
    return this.drafts.add({ input, steps: [step], options, count: lengthOf(from) })
  }

  step(task: TaskRef, bound: readonly DraftArg[] = []): DraftStep {
    if (bound.length === 0) return { task }
    return {
      task,
      bound: encodeArg(
        bound.map(({ value }) => value),
        task,
      ),
    }
  }

  /** The same for all items of a map, whose task is not known yet. */
  items(input: Draft['input'], count: number): Value {
    const steps = [this.step(this.tasks.ref(same))]
    return listValue(this.drafts.add({ input, steps, options: NO_OPTIONS, count }))
  }
}

/** What run() gets of some arguments. */
export function itemOf(args: readonly unknown[]): unknown {
  return args.length > 1 ? args : args[0]
}

export function argOf(value: Value): DraftArg {
  const literal = literalOf(value)
  return literal === undefined ? { kind: 'made', value } : { kind: 'literal', value: literal.value }
}

function partOf({ draft, at }: ItemValue): Part {
  return { draft, lo: at, hi: at + 1 }
}
