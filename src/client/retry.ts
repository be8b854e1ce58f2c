/** A new job over what failed of an old one. */
import { fromHex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'
import type { JobInfo, JobRequest, MeshBackend } from '../node/types.ts'
import { readManifest } from '../runtime/manifest.ts'
import { decodeSegments } from '../runtime/segment.ts'
import type { BlobHash, JobId, JobInput, JobOptions } from '../scheduler/types.ts'
import { controllersOf } from './controllers.ts'
import { type SubmitOptions, toJobOptions } from './options.ts'
import { readBatches } from './results.ts'
import { SpanSet } from './span-set.ts'
import { spool } from './spool.ts'

export interface RetryPlan {
  readonly request: JobRequest
  /** Item i of the new job was item `items[i]` of the old one; in ascending order. */
  readonly items: readonly number[]
}

/**
 * What a retry submits; undefined when nothing failed. The options are those of the old job, with `options` in their place; its key and
 * its delayed start are left behind.
 * @throws ERR_MESH_JOB_RUNNING, ERR_MESH_UNSUPPORTED (a kernel, a composition), ERR_MESH_OPTION_INVALID, ERR_MESH_INPUT_LOST,
 * ERR_MESH_RESULT_LOST
 */
export async function planRetry(
  backend: MeshBackend,
  info: JobInfo,
  options: SubmitOptions,
): Promise<RetryPlan | undefined> {
  const { signal } = options
  if (info.state === 'running' || info.state === 'paused') {
    throw new MeshError(
      'ERR_MESH_JOB_RUNNING',
      `job ${info.short} is not over: what failed of it is known at its end`,
      { details: { job: info.id } },
    )
  }
  if (info.task.kind !== 'module') throw notRetried(info)
  const given = toJobOptions(options)
  const controllers = await controllersOf(backend, options.controllers)
  const items = await failedItems(backend, info, signal)
  if (items.length === 0) return undefined
  // The peer that is spoken to must hold what the new job names.
  await backend.readBlob(info.task.bundle)
  const input = await inputOf(backend, info.input, items, signal)
  const { key: _key, startAt: _startAt, delayMs: _delayMs, ...kept } = info.options
  const merged: JobOptions = { ...withoutLimitOfFailures(kept, given), ...given, ...controllers }
  return { request: { task: info.task, input, options: merged }, items }
}

/** Of the two forms of one option the new one counts. */
function withoutLimitOfFailures(kept: JobOptions, given: JobOptions): JobOptions {
  if (given.maxFailures === undefined && given.maxFailuresPpm === undefined) return kept
  const { maxFailures: _count, maxFailuresPpm: _share, ...rest } = kept
  return rest
}

/** Items that failed, and of a cancelled job those that have no result, in ascending order. */
async function failedItems(
  backend: MeshBackend,
  { id, short, state, items }: JobInfo,
  signal: AbortSignal | undefined,
): Promise<number[]> {
  const seen = new SpanSet()
  const failed: number[] = []
  const read = { order: 'arrival', wait: state === 'finished', ...(signal && { signal }) } as const
  for await (const { failures } of readBatches(backend, id as JobId, read, seen)) {
    for (const { index } of failures) failed.push(index)
  }
  signal?.throwIfAborted()
  const missing = seen.add(0, items)
  if (state === 'finished' && missing.length > 0) {
    throw new MeshError(
      'ERR_MESH_RESULT_LOST',
      `the results of some items of job ${short} are on no peer that is connected now: whether they failed is not known`,
      { details: { job: id } },
    )
  }
  for (const [lo, hi] of missing) for (let item = lo; item < hi; item += 1) failed.push(item)
  return failed.sort((a, b) => a - b)
}

async function inputOf(
  backend: MeshBackend,
  input: JobInput,
  items: readonly number[],
  signal: AbortSignal | undefined,
): Promise<JobInput> {
  const first = items[0]!
  if (input.kind === 'range') {
    // What lies together stays a range, which costs nothing to ship.
    if (items.at(-1)! - first === items.length - 1) {
      return { kind: 'range', start: input.start + first, count: items.length }
    }
    return spool(backend, startingAt(input.start, items), { signal })
  }
  return spool(backend, valuesOf(backend, input, items), { signal })
}

function* startingAt(start: number, items: readonly number[]): Generator<number> {
  for (const item of items) yield start + item
}

/** The values of those items, out of the old job's input; a piece is read only if one of them lies in it. */
async function* valuesOf(
  backend: MeshBackend,
  input: Exclude<JobInput, { kind: 'range' }>,
  items: readonly number[],
): AsyncGenerator<unknown> {
  if (input.kind === 'inline') {
    yield* pick(fromHex(input.segment), 0, items, 0)
    return
  }
  let first = 0
  let at = 0
  for (const { hash, count } of readManifest(await backend.readBlob(input.manifest))) {
    if (at < items.length && items[at]! < first + count) {
      const bytes = await backend.readBlob(hash as BlobHash)
      for (const value of pick(bytes, first, items, at)) {
        yield value
        at += 1
      }
    }
    first += count
  }
}

function* pick(
  bytes: Uint8Array,
  originLo: number,
  items: readonly number[],
  from: number,
): Generator<unknown> {
  let at = from
  for (const { lo, values } of decodeSegments(bytes, originLo)) {
    while (at < items.length && items[at]! < lo + values.length) {
      yield values[items[at]! - lo]
      at += 1
    }
  }
}

function notRetried({ id, short, task }: JobInfo): MeshError {
  const why =
    task.kind === 'graph'
      ? 'is a composition, whose items take the results of others: submit the composition again'
      : 'is that of a kernel, which fails as a whole: submit it again'
  return new MeshError('ERR_MESH_UNSUPPORTED', `job ${short} ${why}`, { details: { job: id } })
}
