/** From a composition to the nodes of a plan: what each part of it is applied to, and what it gives. */
import { MeshError } from '../../base/errors.ts'
import {
  type AnyComposition,
  type Chain,
  type Chord,
  Group,
  isComposition,
  type MapComposition,
  type Reduce,
  type Signature,
} from '../../runtime/composition.ts'
import { isTask } from '../../runtime/task.ts'
import { Job } from '../job.ts'
import { argOf, Calls, type ItemValue, itemOf } from './calls.ts'
import {
  type Draft,
  type DraftArg,
  type DraftInput,
  itemValue,
  lengthOf,
  listValue,
  literalOf,
  NOTHING,
  together,
  type Value,
} from './draft.ts'
import { reduceParts } from './fold-tree.ts'
import { nodeOptions } from './node-options.ts'
import type { TaskBook, TaskRef } from './tasks.ts'

/** What precedes a part of a composition. */
interface Before {
  readonly value: Value
  /** It is one argument, also when it is a list. */
  readonly whole: boolean
  readonly allowFailures: boolean
}

/** The items of a map, where they are. */
export interface Source {
  readonly input: DraftInput
  readonly count: number
}

type Want = readonly [AnyComposition, Before | undefined]
type Visit = Generator<Want, Value, Value>
interface Frame {
  readonly visit: Visit
  readonly known: Map<Before | undefined, Value | undefined>
  readonly before: Before | undefined
}

/**
 * Walks a composition on a stack of its own: a chain of 10 000 links, and calls as deep, are nothing special. A part that is met again
 * with the same before it gives the same items.
 */
export class Evaluator {
  readonly calls: Calls
  private readonly sources: ReadonlyMap<MapComposition, Source>
  private readonly known = new Map<AnyComposition, Map<Before | undefined, Value | undefined>>()
  /** Groups that stand for lists of compositions among arguments. */
  private readonly lists = new Map<readonly unknown[], Group>()

  constructor(sources: ReadonlyMap<MapComposition, Source>, tasks?: TaskBook) {
    this.sources = sources
    this.calls = new Calls(tasks)
  }

  /** @throws ERR_MESH_TASK_INVALID, ERR_MESH_OPTION_INVALID, ERR_MESH_TOO_LARGE, ERR_MESH_VALUE_UNSENDABLE */
  evaluate(root: AnyComposition): Value {
    const stack: Frame[] = []
    let given: Value | undefined
    let want: Want | undefined = [root, undefined]
    for (;;) {
      if (want !== undefined) {
        const [composition, before]: Want = want
        const known = this.knownOf(composition)
        given = known.get(before)
        if (given === undefined) {
          if (known.has(before)) throw wrong('a composition is an argument of itself')
          known.set(before, undefined)
          stack.push({ visit: this.visit(composition, before), known, before })
        }
      }
      const top = stack.at(-1)
      if (top === undefined) return given!
      const step = top.visit.next(given as Value)
      want = undefined
      if (step.done === true) {
        given = step.value
        top.known.set(top.before, given)
        stack.pop()
        if (stack.length === 0) return given
      } else {
        want = step.value
      }
    }
  }

  private knownOf(composition: AnyComposition): Map<Before | undefined, Value | undefined> {
    let known = this.known.get(composition)
    if (known === undefined) this.known.set(composition, (known = new Map()))
    return known
  }

  private visit(composition: AnyComposition, before: Before | undefined): Visit {
    switch (composition.kind) {
      case 'signature':
        return this.signature(composition, before)
      case 'group':
        return this.group(composition, before)
      case 'map':
        return this.map(composition, before)
      case 'chain':
        return this.chain(composition, before)
      case 'chord':
        return this.chord(composition, before)
      case 'reduce':
        return this.reduce(composition, before)
    }
  }

  // ---------------------------------------------------------------- calls

  private *signature(call: Signature, before: Before | undefined): Visit {
    const args: DraftArg[] = []
    for (const arg of call.args) {
      const needed = this.composed(arg)
      args.push(
        needed === undefined ? { kind: 'literal', value: arg } : argOf(yield [needed, undefined]),
      )
    }
    const options = nodeOptions(call.options)
    if (before === undefined || (call.immutable && literalOf(before.value) !== undefined)) {
      return this.calls.source(call, args, options, before?.allowFailures)
    }
    if (call.immutable) return this.calls.after(call, before, args, options)
    const { value, allowFailures } = before
    const whole = before.whole || call.options.collect === true
    if (whole || value.kind === 'item') {
      return this.calls.withFirst(call, value, args, options, allowFailures)
    }
    return this.calls.itemByItem(call, value, args, options)
  }

  // ---------------------------------------------------------------- what is made of calls

  private *group({ members }: Group, before: Before | undefined): Visit {
    // Most groups are calls of one task with values alone: their node is made at once.
    const nodes = new Map<string, Map<TaskRef, Draft>>()
    const values: Value[] = []
    for (const member of members) {
      const plain = before === undefined && this.isPlain(member)
      values.push(plain ? this.plainMember(member, nodes) : yield [member, before])
    }
    return together(values)
  }

  private isPlain(member: AnyComposition): member is Signature {
    return (
      member.kind === 'signature' && member.args.every((arg) => this.composed(arg) === undefined)
    )
  }

  private plainMember(call: Signature, nodes: Map<string, Map<TaskRef, Draft>>): Value {
    const known = this.knownOf(call)
    const found = known.get(undefined)
    if (found !== undefined) return found
    const options = nodeOptions(call.options)
    const task = this.calls.tasks.ref(call.task, call.args.length > 1)
    let byTask = nodes.get(options.key)
    if (byTask === undefined) nodes.set(options.key, (byTask = new Map()))
    const node = byTask.get(task)
    let value: Value
    if (node?.input.kind === 'values') {
      node.input.items.push(itemOf(call.args))
      value = itemValue(node, node.count)
      node.count += 1
    } else {
      value = this.calls.source(
        call,
        call.args.map((arg) => ({ kind: 'literal', value: arg })),
        options,
      )
      byTask.set(task, (value as ItemValue).draft)
    }
    known.set(undefined, value)
    return value
  }

  private *map(over: MapComposition, before: Before | undefined): Visit {
    if (before !== undefined) {
      throw wrong(
        'a map takes its items from its source: it can only be the first link of a chain; a task takes the value of the link before it item by item',
      )
    }
    const { call, size } = over
    const { input, count } = this.sources.get(over)!
    if (count === 0) return NOTHING
    const options = nodeOptions(call.options)
    if (call.args.every((arg) => this.composed(arg) === undefined)) {
      const args = call.args.map((value): DraftArg => ({ kind: 'literal', value }))
      const step = this.calls.step(
        this.calls.tasks.ref(call.task, over.star || args.length > 0),
        args,
      )
      return listValue(this.calls.drafts.add({ input, steps: [step], options, count }), size)
    }
    // What is bound is not there yet: each item becomes a call of its own.
    const items = this.calls.items(input, count)
    const each = call.options.collect === true ? call.set({ collect: false }) : call
    const value = yield [each, { value: items, whole: false, allowFailures: false }]
    return size === undefined || value.kind !== 'list' ? value : { ...value, size }
  }

  private *chain({ links, collect }: Chain, before: Before | undefined): Visit {
    let value: Value | undefined
    for (const link of links) {
      const previous: Before | undefined =
        value === undefined ? before : { value, whole: collect, allowFailures: false }
      value = yield [link, previous]
    }
    return value!
  }

  private *chord({ header, callback, allowFailures }: Chord, before: Before | undefined): Visit {
    const value = yield [header, before]
    return yield [callback, { value, whole: true, allowFailures }]
  }

  private *reduce(reduction: Reduce, before: Before | undefined): Visit {
    const { source, combiner, allowFailures, grain, initial } = reduction
    const value = yield [source, before]
    const parts = this.calls.partsOf(value)
    const options = nodeOptions(combiner.options)
    const step = this.calls.step(this.calls.tasks.ref(combiner.task, true))
    if (lengthOf(parts) === 0) {
      if (initial !== undefined) return this.calls.literal(initial[0])
      throw new MeshError(
        'ERR_MESH_OPTION_INVALID',
        'reduce() has nothing to combine: give it a value for that, reduce(source, combiner, { initial })',
        { details: { option: 'initial' } },
      )
    }
    const total = reduceParts(this.calls.drafts, parts, { step, options, allowFailures, grain })
    if (initial === undefined) return total
    const first: DraftArg = { kind: 'literal', value: initial[0] }
    return this.calls.call([first, { kind: 'made', value: total }], step, options)
  }

  /** The composition that an argument is, or a list of such. */
  private composed(arg: unknown): AnyComposition | undefined {
    if (isComposition(arg)) return arg
    if (isTask(arg)) {
      throw wrong(
        `the task "${arg.name}" is an argument: its value would be that of a call, ${arg.name}.s(…)`,
      )
    }
    if (arg instanceof Job) {
      throw wrong(
        'a job is an argument: give the composition that it was made of, or what it gives, await job.collect()',
      )
    }
    if (!Array.isArray(arg) || arg.length === 0 || !arg.every(isComposition)) return undefined
    let group = this.lists.get(arg)
    if (group === undefined) this.lists.set(arg, (group = new Group(arg)))
    return group
  }
}

function wrong(message: string): MeshError {
  return new MeshError('ERR_MESH_TASK_INVALID', message)
}
