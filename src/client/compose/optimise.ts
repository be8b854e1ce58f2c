/** Fewer nodes for the same plan: nodes that follow one another become one, and so do those beside each other that do the same. */
import { sha256Hex } from '../../base/bytes.ts'
import type { NodeOptions } from '../../scheduler/plan.ts'
import { addPart, type Draft, type DraftStep, type Part, resolve, type Value } from './draft.ts'
import type { TaskRef } from './tasks.ts'

/** Steps of one node: its items are tried again, moved and timed as a whole. */
const MAX_STEPS = 64
/** Longer arguments are told apart by their hash. */
const MAX_KEY_BYTES = 64

/** The nodes that are left, each after those that it needs. `output` and their inputs speak of them through `resolve()`. */
export function optimise(drafts: readonly Draft[], output: Value, job: NodeOptions = {}): Draft[] {
  let live = [...drafts]
  // One after another first: chains beside each other are then nodes that do the same.
  for (let round = 0; round < 2; round++) {
    live = ordered(fuse(live, output, job))
    live = ordered(merge(live))
  }
  return live
}

/** Nodes by level; sets their levels. `drafts` has each after those that it needs. */
function ordered(drafts: readonly Draft[]): Draft[] {
  const levels: Draft[][] = []
  for (const draft of drafts) {
    let level = 0
    for (const needed of neededBy(draft)) level = Math.max(level, needed.level + 1)
    draft.level = level
    if (levels[level] === undefined) levels[level] = []
    levels[level]!.push(draft)
  }
  return levels.flat()
}

function* neededBy({ input }: Draft): Generator<Draft> {
  if (input.kind === 'each') for (const { draft } of input.from) yield resolve(draft).draft
  if (input.kind !== 'call') return
  for (const arg of input.args) {
    if (arg.kind === 'made') for (const { draft } of partsOf(arg.value)) yield resolve(draft).draft
  }
}

/** Items that a value is made of. */
export function* partsOf(value: Value): Generator<Part> {
  if (value.kind === 'item') yield { draft: value.draft, lo: value.at, hi: value.at + 1 }
  else if (value.kind === 'list') yield* value.parts
  else for (const each of value.values) yield* partsOf(each)
}

/** Parts as they are after what was merged, as few as they can be. */
export function resolved(parts: readonly Part[]): Part[] {
  const found: Part[] = []
  for (const { draft, lo, hi } of parts) {
    const { draft: now, by } = resolve(draft)
    addPart(found, now, lo + by, hi + by)
  }
  return found
}

// ---------------------------------------------------------------- one after another

function fuse(drafts: readonly Draft[], output: Value, job: NodeOptions): Draft[] {
  const uses = countUses(drafts, output)
  for (const draft of drafts) {
    if (draft.input.kind !== 'each' || draft.apart === true) continue
    draft.input.from = resolved(draft.input.from)
    const [only, another] = draft.input.from
    if (only === undefined || another !== undefined) continue
    const before = only.draft
    if (uses.get(before) !== 1 || only.lo !== 0 || only.hi !== before.count) continue
    if (!mayFollow(before, draft, job)) continue
    // Its items are those of the node before it, which nobody else asks for.
    draft.input = before.input
    draft.steps = [...before.steps, ...draft.steps]
    if (draft.combine === undefined) draft.allowFailures = before.allowFailures
    before.moved = { to: draft, by: 0 }
  }
  return drafts.filter((draft) => draft.moved === undefined)
}

/**
 * Steps of a node are one item: together they are tried again, and together they have a time limit. So calls that are tried again, or
 * timed, stay apart; but for those of a reduce that are tried again with their grain, since millions of values would move otherwise.
 */
function mayFollow(before: Draft, draft: Draft, job: NodeOptions): boolean {
  const { retries = 0, timeLimitMs, softTimeLimitMs } = { ...job, ...draft.options.options }
  if (timeLimitMs !== undefined || softTimeLimitMs !== undefined) return false
  if (retries > 0 && draft.combine === undefined) return false
  if (before.combine !== undefined || before.options.key !== draft.options.key) return false
  if (before.steps.length + draft.steps.length > MAX_STEPS) return false
  return draft.combine === undefined || before.input.kind !== 'call'
}

/** How often the items of a node are asked for, by any part of them. */
function countUses(drafts: readonly Draft[], output: Value): Map<Draft, number> {
  const uses = new Map<Draft, number>()
  const add = (parts: Iterable<Part>): void => {
    for (const { draft } of parts) {
      const now = resolve(draft).draft
      uses.set(now, (uses.get(now) ?? 0) + 1)
    }
  }
  add(partsOf(output))
  for (const { input } of drafts) {
    // Whatever was merged meanwhile counts once where it is in one piece.
    if (input.kind === 'each') add(resolved(input.from))
    if (input.kind !== 'call') continue
    for (const arg of input.args) if (arg.kind === 'made') add(partsOf(arg.value))
  }
  return uses
}

// ---------------------------------------------------------------- beside each other

/** Of one level, so that none needs the other. */
function merge(drafts: readonly Draft[]): Draft[] {
  const tasks = new Map<TaskRef, number>()
  const first = new Map<string, Draft>()
  for (const draft of drafts) {
    const { input } = draft
    if (draft.combine !== undefined || (input.kind !== 'values' && input.kind !== 'each')) continue
    const steps = draft.steps.map((step) => stepKey(step, tasks)).join(';')
    const key = `${draft.level} ${input.kind} ${draft.options.key} ${steps}`
    const into = first.get(key)
    if (into === undefined) {
      first.set(key, draft)
      if (input.kind === 'each') draft.input = { kind: 'each', from: [...input.from] }
      continue
    }
    append(into, draft)
    draft.moved = { to: into, by: into.count }
    into.count += draft.count
  }
  return drafts.filter((draft) => draft.moved === undefined)
}

function append({ input: to }: Draft, { input: from }: Draft): void {
  if (to.kind === 'values' && from.kind === 'values') {
    for (const item of from.items) to.items.push(item)
  } else if (to.kind === 'each' && from.kind === 'each') {
    for (const part of from.from) (to.from as Part[]).push(part)
  }
}

function stepKey({ task, bound, immutable }: DraftStep, tasks: Map<TaskRef, number>): string {
  let number = tasks.get(task)
  if (number === undefined) tasks.set(task, (number = tasks.size))
  if (bound === undefined) return immutable === true ? `${number}!` : String(number)
  const text =
    bound.length > MAX_KEY_BYTES ? sha256Hex(bound) : Buffer.from(bound).toString('base64')
  return `${number}${immutable === true ? '!' : ':'}${text}`
}
