import { setImmediate as turn } from 'node:timers/promises'
import { MeshError } from '../base/errors.ts'
import type { MeshBackend, ResultSpan, ResultsOptions } from '../node/types.ts'
import { type DecodedSegment, decodeSegments, rowsOf } from '../runtime/segment.ts'
import type { ItemError } from '../runtime/types.ts'
import type { JobId } from '../scheduler/types.ts'
import type { SpanSet } from './span-set.ts'

/** Why one item has no value: the error of its last attempt. */
export type ItemFailure = ItemError

/** Items lo..hi-1 that were read in one go. */
export interface ResultBatch<O> {
  readonly lo: number
  readonly hi: number
  /** `values[i]` is the value of item `lo + i`; undefined where the item failed. */
  readonly values: (O | undefined)[]
  /** In item order; `index` is the item's number within the job. */
  readonly failures: readonly ItemFailure[]
  /** Of a kernel: the class of devices that computed it; results are the same bit for bit within one. */
  readonly device?: string
  /** Of a kernel: the numbers of all items, one after another; `values` has them item by item. */
  readonly numbers?: Float32Array
}

/** The loop is left alone at least this often while results are decoded, ms. */
const TURN_EVERY_MS = 8

/**
 * Decodes a job's results, a segment at a time; no item comes twice, whatever spans the peer gives. `seen` holds what came.
 * @throws ERR_MESH_PROTOCOL when results are damaged, and what the backend throws
 */
export async function* readBatches<O>(
  backend: Pick<MeshBackend, 'results'>,
  job: JobId,
  options: ResultsOptions,
  seen: SpanSet,
): AsyncGenerator<ResultBatch<O>> {
  let turnAt = performance.now() + TURN_EVERY_MS
  // In item order nothing comes that lies before what came.
  let cursor = 0
  for await (const span of backend.results(job, options)) {
    options.signal?.throwIfAborted()
    let reached = span.lo
    for (const segment of decodeSegments(span.bytes, span.originLo)) {
      const lo = Math.max(segment.lo, span.lo, cursor)
      const hi = Math.min(segment.hi, span.hi)
      reached = Math.max(reached, hi)
      for (const [from, to] of seen.add(lo, hi)) yield cut<O>(segment, from, to)
      if (options.order === 'item') cursor = Math.max(cursor, hi)
      if (performance.now() >= turnAt) {
        await turn()
        turnAt = performance.now() + TURN_EVERY_MS
      }
    }
    if (reached < span.hi) throw tooShort(span, reached)
  }
  options.signal?.throwIfAborted()
}

function cut<O>(segment: DecodedSegment, lo: number, hi: number): ResultBatch<O> {
  if (segment.f32 !== undefined) return cutNumbers(segment.f32, segment, lo, hi)
  const whole = lo === segment.lo && hi === segment.hi
  const values = (
    whole ? segment.values : segment.values.slice(lo - segment.lo, hi - segment.lo)
  ) as (O | undefined)[]
  if (segment.failures.length === 0) return { lo, hi, values, failures: [] }
  const failures = segment.failures
    .filter((failure) => failure.index >= lo && failure.index < hi)
    .sort((a, b) => a.index - b.index)
  for (const failure of failures) values[failure.index - lo] = undefined
  return { lo, hi, values, failures }
}

/** Rows are made when they are asked for: a kernel's numbers may be millions of short ones. */
function cutNumbers<O>(
  { numbers, device }: NonNullable<DecodedSegment['f32']>,
  segment: DecodedSegment,
  lo: number,
  hi: number,
): ResultBatch<O> {
  const width = numbers.length / (segment.hi - segment.lo)
  const part = numbers.subarray((lo - segment.lo) * width, (hi - segment.lo) * width)
  let values: O[] | undefined
  return {
    lo,
    hi,
    get values() {
      values ??= rowsOf(part, hi - lo) as O[]
      return values
    },
    failures: [],
    numbers: part,
    device,
  }
}

function tooShort(span: ResultSpan, reached: number): MeshError {
  return new MeshError(
    'ERR_MESH_PROTOCOL',
    `a result says that it holds items ${span.lo}..${span.hi - 1}, but ends before item ${reached}`,
    { details: { lo: span.lo, hi: span.hi, reached } },
  )
}
