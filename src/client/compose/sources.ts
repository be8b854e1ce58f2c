/** The items of a composition's maps, and those of its calls, on their way to the peers. */
import { fromHex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'
import type { MeshBackend } from '../../node/types.ts'
import type { ItemChecker } from '../../runtime/bundle.ts'
import {
  type AnyComposition,
  isComposition,
  type MapComposition,
} from '../../runtime/composition.ts'
import { decodeSegments } from '../../runtime/segment.ts'
import type { JobSource } from '../../runtime/source.ts'
import { describe } from '../../runtime/task.ts'
import type { NodeInput } from '../../scheduler/plan.ts'
import type { JobInput } from '../../scheduler/types.ts'
import { checkSource, type Items } from '../input.ts'
import { isAsyncIterable } from '../iterate.ts'
import { MAX_PLAN_VALUES_BYTES } from '../limits.ts'
import { roughBytes } from '../rough-size.ts'
import { itemRefused, spool } from '../spool.ts'
import { checkRangeEnds, withChecker } from '../task-code.ts'
import { encodeItems } from './compile.ts'
import type { Draft } from './draft.ts'
import type { Source } from './evaluate.ts'
import type { TaskBook, TaskCode, TaskRef } from './tasks.ts'

type Backend = Pick<MeshBackend, 'putBlob'>
type Checker = Pick<ItemChecker, 'check'>

/** The maps that a composition has, each once. Walks on a stack of its own. */
export function mapsOf(root: AnyComposition): MapComposition[] {
  const found: MapComposition[] = []
  const seen = new Set<unknown>([root])
  const waiting: unknown[] = [root]
  const add = (parts: readonly unknown[]): void => {
    for (const part of parts) {
      if (typeof part !== 'object' || part === null || seen.has(part)) continue
      if (!isComposition(part) && !(Array.isArray(part) && part.every(isComposition))) continue
      seen.add(part)
      waiting.push(part)
    }
  }
  while (waiting.length > 0) {
    const part = waiting.pop() as AnyComposition | unknown[]
    if (Array.isArray(part)) add(part)
    else if (part.kind === 'signature') add(part.args)
    else if (part.kind === 'group') add(part.members)
    else if (part.kind === 'chain') add(part.links)
    else if (part.kind === 'chord') add([part.header, part.callback])
    else if (part.kind === 'reduce') add([part.source])
    else {
      found.push(part)
      add(part.call.args)
    }
  }
  // As they were written, for messages.
  return found.reverse()
}

/**
 * Reads the sources of all maps to their end, one after another, and writes large ones down as pieces.
 * @throws as `submit`
 */
export async function spoolSources(
  backend: Backend,
  maps: readonly MapComposition[],
  book: TaskBook,
  signal: AbortSignal | undefined,
): Promise<Map<MapComposition, Source>> {
  const sources = new Map<MapComposition, Source>()
  for (const over of maps) sources.set(over, await spoolSource(backend, over, book, signal))
  return sources
}

async function spoolSource(
  backend: Backend,
  { call, source, star }: MapComposition,
  book: TaskBook,
  signal: AbortSignal | undefined,
): Promise<Source> {
  if (isComposition(source)) throw mapOverValues()
  if (source === undefined) throw mapOfNothing()
  const checked = await checkSource(source as JobSource)
  const { bundle, name } = await book.code(book.ref(call.task, star || call.args.length > 0))
  signal?.throwIfAborted()
  // What is bound and not there yet cannot be checked.
  const literal = !call.args.some((arg) => isComposition(arg) || Array.isArray(arg))
  return withChecker({ ...bundle, hasSchema: bundle.hasSchema && literal }, async (checker) => {
    const all =
      checker && naming(name, call.args.length === 0 ? checker : after(checker, call.args))
    if (checked.kind === 'items') {
      const few = star ? undefined : fewItems(checked.items)
      if (few !== undefined) return await asValues(few, all)
      const items = star ? lists(checked.items) : checked.items
      const inlineBytes = MAX_PLAN_VALUES_BYTES
      return sourceOf(await spool(backend, items, { checker: all, signal, inlineBytes }))
    }
    if (star) {
      throw new MeshError(
        'ERR_MESH_INPUT_INVALID',
        'starmap() takes lists of arguments as its items, and a range has numbers: use map()',
      )
    }
    if (all !== undefined) await checkRangeEnds(all as ItemChecker, checked)
    return { input: { kind: 'range', start: checked.start }, count: checked.count }
  })
}

function mapOverValues(): MeshError {
  return new MeshError(
    'ERR_MESH_INPUT_INVALID',
    'a map takes its items from a source that is there when it is submitted, not from a composition: chain(composition, task) hands the values of a group or a map on item by item; a list that one task returns is one value',
  )
}

function mapOfNothing(): MeshError {
  return new MeshError(
    'ERR_MESH_INPUT_INVALID',
    'map(), starmap() and chunks() take their items as the second argument: map(task, items); in a chain the task alone, chain(map(a, items), b), is called with each value of the link before it',
  )
}

/** Items that are all there, and small: they go into the plan as they are. */
function fewItems(items: Items<unknown>): unknown[] | undefined {
  if (!Array.isArray(items) || items.length > MAX_PLAN_VALUES_BYTES) return undefined
  return roughBytes(items) <= MAX_PLAN_VALUES_BYTES ? [...items] : undefined
}

/** @throws ERR_MESH_ITEM_REFUSED */
async function asValues(items: unknown[], checker: Checker | undefined): Promise<Source> {
  const [refused] = (await checker?.check(items)) ?? []
  if (refused !== undefined) throw itemRefused(refused.index, refused)
  return { input: { kind: 'values', items }, count: items.length }
}

function sourceOf(input: JobInput): Source {
  const { count } = input
  if (input.kind === 'range') return { input: { kind: 'range', start: input.start }, count }
  if (input.kind === 'pieces') return { input: { kind: 'pieces', manifest: input.manifest }, count }
  const items = [...decodeSegments(fromHex(input.segment), 0)].flatMap(({ values }) => values)
  return { input: { kind: 'values', items }, count }
}

/** Items of starmap: lists. */
function lists(items: Items<unknown>): Items<unknown> {
  if (isAsyncIterable(items)) {
    return (async function* () {
      let index = 0
      for await (const item of items) yield list(item, index++)
    })()
  }
  return (function* () {
    let index = 0
    for (const item of items) yield list(item, index++)
  })()
}

function list(item: unknown, index: number): unknown {
  if (Array.isArray(item)) return item
  throw new MeshError(
    'ERR_MESH_INPUT_INVALID',
    `an item of starmap() is the list of a call's arguments, but item ${index} is ${describe(item)}`,
    { details: { index } },
  )
}

// ---------------------------------------------------------------- schemas

/** The arguments that are bound beside each item. */
function after(checker: Checker, bound: readonly unknown[]): Checker {
  return { check: (items) => checker.check(items.map((item) => [item, ...bound])) }
}

/** A composition has several tasks: what is refused says by whose schema. */
function naming(task: string, checker: Checker): Checker {
  return {
    async check(items) {
      const refused = await checker.check(items)
      return refused.map((it) => ({
        ...it,
        issues: it.issues.map((text) => `${text} ("${task}")`),
      }))
    },
  }
}

/** Whether the schemas of the tasks take the values that calls have as their items. @throws ERR_MESH_ITEM_REFUSED */
export async function checkCalls(
  drafts: readonly Draft[],
  codes: ReadonlyMap<TaskRef, TaskCode>,
): Promise<void> {
  const items = new Map<TaskRef, unknown[]>()
  for (const { input, steps } of drafts) {
    const [first] = steps
    if (input.kind !== 'values' || first === undefined || first.bound !== undefined) continue
    if (!codes.get(first.task)!.bundle.hasSchema) continue
    const known = items.get(first.task)
    if (known === undefined) items.set(first.task, [...input.items])
    else for (const item of input.items) known.push(item)
  }
  for (const [ref, list] of items) {
    const { bundle, name } = codes.get(ref)!
    const [refused] = await withChecker(bundle, async (checker) => checker?.check(list) ?? [])
    if (refused === undefined) continue
    throw new MeshError(
      'ERR_MESH_ITEM_REFUSED',
      `the input schema of "${name}" refuses the arguments of a call: ${refused.issues[0] ?? 'no reason given'}`,
      { details: { task: name, issues: refused.issues } },
    )
  }
}

// ---------------------------------------------------------------- pieces

/** Values that are too many for the plan, as pieces beside it; the smallest ones stay. */
export async function spoolValues(
  backend: Backend,
  drafts: readonly Draft[],
  signal: AbortSignal | undefined,
): Promise<Map<Draft, NodeInput>> {
  const inputs = new Map<Draft, NodeInput>()
  let room = MAX_PLAN_VALUES_BYTES
  for (const draft of bySize(drafts)) {
    if (draft.input.kind !== 'values') continue
    const { items } = draft.input
    const task = draft.steps[0]?.task
    const rough = roughBytes(items)
    const segment = rough > 2 * room ? undefined : encodeItems(items, task)
    if (segment !== undefined && segment.byteLength <= room) {
      room -= segment.byteLength
      inputs.set(draft, { kind: 'values', segment })
      continue
    }
    // Again with the task's name, should one of them not be sendable.
    const input = await spool(backend, items, { signal }).catch((error: unknown) => {
      encodeItems(items, task)
      throw error
    })
    inputs.set(
      draft,
      input.kind === 'pieces'
        ? { kind: 'pieces', manifest: input.manifest }
        : { kind: 'values', segment: segment ?? encodeItems(items, task) },
    )
  }
  return inputs
}

function bySize(drafts: readonly Draft[]): Draft[] {
  return [...drafts].sort((a, b) => a.count - b.count)
}
