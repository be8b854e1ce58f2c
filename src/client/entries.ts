import type { FailureTally } from './failures.ts'
import type { ItemFailure, ResultBatch } from './results.ts'

/** The value of one item. */
export interface ItemResult<O> {
  readonly index: number
  readonly value: O
  readonly error?: undefined
}

/** One item that failed for good. */
export interface ItemFailed {
  readonly index: number
  readonly value?: undefined
  readonly error: ItemFailure
}

interface Entries<O> {
  readonly length: number
  at(i: number): ItemResult<O> | ItemFailed
}

/** Batches as lists of results; only batches with failures are copied. */
export async function* entriesOf<O>(
  batches: AsyncIterable<ResultBatch<O>>,
  tally: FailureTally,
  yieldFailures: boolean,
): AsyncGenerator<Entries<O>> {
  for await (const { lo, values, failures } of batches) {
    if (failures.length === 0) {
      yield { length: values.length, at: (i) => ({ index: lo + i, value: values[i] as O }) }
      continue
    }
    tally.add(failures)
    const failed = new Map(failures.map((failure) => [failure.index, failure]))
    const entries: (ItemResult<O> | ItemFailed)[] = []
    values.forEach((value, i) => {
      const error = failed.get(lo + i)
      if (error === undefined) entries.push({ index: lo + i, value: value as O })
      else if (yieldFailures) entries.push({ index: lo + i, error })
    })
    yield { length: entries.length, at: (i) => entries[i]! }
  }
}
