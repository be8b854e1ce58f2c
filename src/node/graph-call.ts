import { isMeshError } from '../base/errors.ts'
import { INPUT_FAILED, isInputFailure, nodeName } from '../runtime/failed-inputs.ts'
import { decodeValue, encodeSegment } from '../runtime/segment.ts'
import type { ItemError } from '../runtime/types.ts'
import type { Arg, Plan, Shape } from '../scheduler/plan.ts'
import { nodeAt, nodeStarts } from '../scheduler/plan-check.ts'
import type { GraphValues, ItemValue } from './graph-values.ts'
import { MAX_FAIL_MESSAGE } from './limits.ts'

export interface Call {
  readonly plan: Plan
  readonly args: readonly Arg[]
  readonly allowFailures: boolean
}

/** The one item of a call, made of its arguments, as a segment; a failure when one that it needs failed. */
export async function callSegment(values: GraphValues, call: Call): Promise<Uint8Array> {
  const args: unknown[] = []
  for (const arg of call.args) {
    const built =
      arg.kind === 'value'
        ? { value: decodeValue(arg.bytes) }
        : await build(values, arg.shape, call)
    if ('failure' in built) return failed(inputFailure(call.plan, built))
    args.push(built.value)
  }
  const item = args.length > 1 ? args : args[0]
  try {
    return encodeSegment([item])
  } catch (error) {
    if (!isMeshError(error)) throw error
    const { code, name } = error
    const message = `its arguments together: ${error.message}`
    return failed({ index: 0, code, name, message, attempts: 1 })
  }
}

/** Why a value cannot be made: which item failed, and how. */
interface Failed {
  readonly failure: ItemError
  readonly item: number
}
type Built = { readonly value: unknown } | Failed

async function build(values: GraphValues, shape: Shape, call: Call): Promise<Built> {
  switch (shape.kind) {
    case 'item': {
      const [value] = await values.read([{ lo: shape.item, hi: shape.item + 1 }])
      return orFailed(value!, shape.item)
    }
    case 'list':
      return listOf(await values.read([shape]), shape, call.allowFailures)
    case 'tuple': {
      const list: unknown[] = []
      for (const part of shape.parts) {
        const built = await build(values, part, call)
        if (!('failure' in built)) list.push(built.value)
        // Members of a group that is no list of one task are left out alike.
        else if (!call.allowFailures || part.kind !== 'item') return built
      }
      return { value: list }
    }
  }
}

function orFailed(value: ItemValue, item: number): Built {
  return 'failure' in value ? { failure: value.failure, item } : value
}

function listOf(
  all: readonly ItemValue[],
  { lo, size }: Extract<Shape, { kind: 'list' }>,
  allowFailures: boolean,
): Built {
  const lists: unknown[][] = []
  let list: unknown[] = []
  for (const [i, value] of all.entries()) {
    if (i % (size ?? all.length) === 0) lists.push((list = []))
    if (!('failure' in value)) list.push(value.value)
    else if (!allowFailures) return { failure: value.failure, item: lo + i }
  }
  return { value: size === undefined ? (lists[0] ?? []) : lists }
}

/** As the item that needed it tells of it; told once, however long the way. */
function inputFailure(plan: Plan, { failure, item }: Failed): ItemError {
  const { code, name, attempts } = failure
  if (isInputFailure(failure.message)) return { ...failure, index: 0 }
  const starts = nodeStarts(plan)
  const node = nodeAt(starts, item)
  const told = `${nodeName(plan.tasks, plan.nodes[node]!)} (item ${item - starts[node]!})`
  const message = `${INPUT_FAILED}${told}: ${failure.message}`.slice(0, MAX_FAIL_MESSAGE)
  return { index: 0, code, name, message, attempts }
}

function failed(failure: ItemError): Uint8Array {
  return encodeSegment([null], [failure])
}
