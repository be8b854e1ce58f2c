/** From items' values to the value of a composition. */
import { MeshError } from '../../base/errors.ts'
import type { MeshBackend } from '../../node/types.ts'
import { isInputFailure, nodeName } from '../../runtime/failed-inputs.ts'
import type { Plan, Shape } from '../../scheduler/plan.ts'
import type { JobId, Range } from '../../scheduler/types.ts'
import { MAX_FAILURES_IN_ERROR } from '../limits.ts'
import { type ItemFailure, type ResultBatch, readBatches } from '../results.ts'
import { SpanSet } from '../span-set.ts'

/** Items of the output, numbered from 0 in the order of their numbers in the job. */
export class Output {
  readonly shape: Shape
  /** In ascending order, and apart. */
  readonly ranges: readonly Range[]
  readonly size: number
  /** Of each range: items of those before it. */
  private readonly before: readonly number[]

  constructor({ output }: Pick<Plan, 'output'>) {
    this.shape = output
    this.ranges = joined([...rangesOf(output)])
    const before: number[] = []
    let size = 0
    for (const { lo, hi } of this.ranges) {
      before.push(size)
      size += hi - lo
    }
    this.before = before
    this.size = size
  }

  /** The value is the list of the items' values as they are. */
  get isList(): boolean {
    return this.shape.kind === 'list' && this.shape.size === undefined
  }

  /** The number of an item of the job within the output; undefined when it has no part in it. */
  indexOf(item: number): number | undefined {
    const { ranges, before } = this
    let low = 0
    let high = ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (ranges[middle]!.hi <= item) low = middle + 1
      else high = middle
    }
    const range = ranges[low]
    return range !== undefined && item >= range.lo ? before[low]! + item - range.lo : undefined
  }

  /** A failure of an item of the output as one of the job's. */
  toJob(failure: ItemFailure): ItemFailure {
    const { ranges, before } = this
    let i = ranges.length - 1
    while (i > 0 && before[i]! > failure.index) i -= 1
    return { ...failure, index: ranges[i]!.lo + failure.index - before[i]! }
  }

  /** Parts of items lo..hi-1 that are in it, each with the number of its first item. */
  *within(lo: number, hi: number): Generator<Range & { readonly first: number }> {
    for (const [i, range] of this.ranges.entries()) {
      if (range.hi <= lo) continue
      if (range.lo >= hi) return
      const from = Math.max(lo, range.lo)
      yield { lo: from, hi: Math.min(hi, range.hi), first: this.before[i]! + from - range.lo }
    }
  }

  /** The value, of values by their numbers in the output. */
  build(values: readonly unknown[]): unknown {
    return this.made(this.shape, values)
  }

  private made(shape: Shape, values: readonly unknown[]): unknown {
    if (shape.kind === 'item') return values[this.indexOf(shape.item)!]
    if (shape.kind === 'tuple') return shape.parts.map((part) => this.made(part, values))
    const { lo, hi, size } = shape
    const at = lo === hi ? 0 : this.indexOf(lo)!
    const list = values.slice(at, at + hi - lo)
    while (list.length < hi - lo) list.push(undefined)
    if (size === undefined) return list
    return Array.from({ length: Math.ceil(list.length / size) }, (_, i) =>
      list.slice(i * size, (i + 1) * size),
    )
  }
}

/** The parts of a batch that are in the output, numbered as its items are. */
export function* renumbered<O>(batch: ResultBatch<O>, output: Output): Generator<ResultBatch<O>> {
  const { lo, values, failures } = batch
  for (const part of output.within(lo, batch.hi)) {
    const by = part.first - part.lo
    yield {
      lo: part.first,
      hi: part.hi + by,
      values: values.slice(part.lo - lo, part.hi - lo),
      failures: failures
        .filter(({ index }) => index >= part.lo && index < part.hi)
        .map((failure) => ({ ...failure, index: failure.index + by })),
    }
  }
}

function* rangesOf(shape: Shape): Generator<Range> {
  if (shape.kind === 'item') yield { lo: shape.item, hi: shape.item + 1 }
  else if (shape.kind === 'tuple') for (const part of shape.parts) yield* rangesOf(part)
  else if (shape.lo < shape.hi) yield { lo: shape.lo, hi: shape.hi }
}

function joined(ranges: Range[]): Range[] {
  const found: Range[] = []
  for (const { lo, hi } of ranges.sort((a, b) => a.lo - b.lo)) {
    const last = found.at(-1)
    if (last === undefined || lo > last.hi) found.push({ lo, hi })
    else if (hi > last.hi) found[found.length - 1] = { lo: last.lo, hi }
  }
  return found
}

// ---------------------------------------------------------------- failures

/** What failed in a composition: the item's number in the job, the task, and the item's number among those of the task's node. */
export interface CompositionFailure extends ItemFailure {
  readonly task: string
  readonly item: number
}

function nodeStarts({ nodes }: Plan): number[] {
  let at = 0
  return nodes.map(({ count }) => {
    const start = at
    at += count
    return start
  })
}

/** What failed itself is told in the place of what failed with it. */
export function isInherited({ code, message }: Pick<ItemFailure, 'code' | 'message'>): boolean {
  return code === 'ERR_MESH_NOTHING_LEFT' || isInputFailure(message)
}

/**
 * The items that failed first: those of nodes that the failed ones need, not those that failed with them. Reads what failed of these nodes,
 * where it is to be had.
 */
export async function firstFailures(
  backend: MeshBackend,
  job: JobId,
  plan: Plan,
  failures: readonly ItemFailure[],
): Promise<CompositionFailure[]> {
  const own = failures.filter((failure) => !isInherited(failure))
  if (own.length < failures.length) {
    const last = failures.reduce((most, { index }) => Math.max(most, index), 0)
    const earlier = await failuresUpTo(backend, job, plan, last).catch(() => [])
    own.push(...earlier)
  }
  const told = own.length > 0 ? own : [...failures]
  return told.sort((a, b) => a.index - b.index).map((failure) => placed(plan, failure))
}

/**
 * All that failed first in a job that is over: `failures` of its output, and those before it, also what `allowFailures` left out.
 * @throws what reading results throws
 */
export async function allFailures(
  backend: MeshBackend,
  job: JobId,
  plan: Plan,
  failures: readonly ItemFailure[],
): Promise<CompositionFailure[]> {
  const own = failures.filter((failure) => !isInherited(failure))
  own.push(...(await failuresUpTo(backend, job, plan, Number.POSITIVE_INFINITY)))
  const told = own.length > 0 ? own : [...failures]
  return told.sort((a, b) => a.index - b.index).map((failure) => placed(plan, failure))
}

/** What failed first in nodes up to that of item `last`, but for those of the output. */
async function failuresUpTo(
  backend: MeshBackend,
  job: JobId,
  plan: Plan,
  last: number,
): Promise<ItemFailure[]> {
  const info = await backend.job(job)
  const output = new Output(plan)
  const ranges = (info.nodes ?? [])
    .filter(({ failed, lo }) => failed > 0 && lo <= last)
    .map(({ lo, items }) => ({ lo, hi: lo + items }))
  const found: ItemFailure[] = []
  const options = { order: 'item', wait: false, ranges } as const
  if (ranges.length === 0) return found
  for await (const batch of readBatches(backend, job, options, new SpanSet())) {
    for (const failure of batch.failures) {
      if (isInherited(failure) || output.indexOf(failure.index) !== undefined) continue
      found.push(failure)
      if (found.length >= MAX_FAILURES_IN_ERROR) return found
    }
  }
  return found
}

function placed(plan: Plan, failure: ItemFailure): CompositionFailure {
  const starts = nodeStarts(plan)
  let k = starts.length - 1
  while (k > 0 && starts[k]! > failure.index) k -= 1
  return {
    ...failure,
    task: nodeName(plan.tasks, plan.nodes[k]!),
    item: failure.index - starts[k]!,
  }
}

/** ERR_MESH_ITEMS_FAILED of a composition. */
export function compositionFailed(
  failures: readonly CompositionFailure[],
  details: Record<string, unknown>,
): MeshError {
  const [first] = failures
  const why =
    first === undefined
      ? ''
      : `; ${first.task}, item ${first.item}: ${first.name}: ${first.message}`
  const count = `${failures.length} ${failures.length === 1 ? 'item' : 'items'} of the composition failed`
  return new MeshError('ERR_MESH_ITEMS_FAILED', `${count}${why}`, {
    details: { failed: failures.length, ...details, failures },
  })
}
