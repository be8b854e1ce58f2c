import { encodeSegment } from '../runtime/segment.ts'
import { RangeSet } from '../scheduler/range-set.ts'
import type { FailedSpan, JobId, SchedulerCore } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import { MAX_FAILED_AT_ONCE } from './limits.ts'
import type { ResultSpan } from './types.ts'

/** Items that a FAIL made final without a DONE, as a reader gets them: segments of failures, of at most 1 000 items. */
export function* failureSegments({ lo, hi, code, message }: FailedSpan): Generator<ResultSpan> {
  for (let from = lo; from < hi; from += MAX_FAILED_AT_ONCE) {
    const to = Math.min(hi, from + MAX_FAILED_AT_ONCE)
    const failures = Array.from({ length: to - from }, (_, index) => ({
      index,
      code,
      name: 'MeshError',
      message,
      attempts: 1,
    }))
    const bytes = encodeSegment(new Array(to - from).fill(null), failures)
    yield { lo: from, hi: to, originLo: from, bytes }
  }
}

/** The failed piece that covers `item`, from there on; undefined when the item did not fail so. */
export function failuresAt(
  scheduler: Pick<SchedulerCore, 'failures'>,
  job: JobId,
  item: number,
): ResultSpan | undefined {
  for (const span of scheduler.failures(job)) {
    if (span.lo > item) return undefined
    if (span.hi <= item) continue
    for (const piece of failureSegments({ ...span, lo: item })) return piece
  }
  return undefined
}

/** What the FAIL entries of a job in the store say, in item order, each item once; whoever reads leaves out what is done. */
export async function storedFailures(
  store: Pick<Store, 'entries'>,
  job: JobId,
): Promise<FailedSpan[]> {
  const all: FailedSpan[] = []
  for await (const { body } of store.entries(job)) {
    if (body.type !== 'fail') continue
    for (const { lo, hi, code, message } of body.ranges) all.push({ lo, hi, code, message })
  }
  all.sort((a, b) => a.lo - b.lo || (a.code < b.code ? -1 : a.code > b.code ? 1 : 0))
  const told = new RangeSet()
  const spans: FailedSpan[] = []
  for (const span of all) {
    for (const { lo, hi } of told.missing(span.lo, span.hi)) {
      spans.push({ ...span, lo, hi })
      told.add(lo, hi)
    }
  }
  return spans
}
