import { isMeshError } from '../../src/base/errors.ts'
import type { ItemError } from '../../src/runtime/types.ts'
import { SINK_BLOCK_LINES } from './limits.ts'
import type { Sink } from './sink.ts'

/** Some finished items in a row: `values[i]` is that of item `lo + i`; a failed item's is null or undefined. */
export interface ResultBatch {
  readonly lo: number
  readonly hi: number
  readonly values: readonly unknown[]
  /** Their `index` is the item's number in the job. */
  readonly failures: readonly ItemError[]
  /** Of a kernel: the class of devices that computed them. */
  readonly device?: string
  /** Of a kernel: the numbers of all items, one after another. */
  readonly numbers?: Float32Array
}

export interface LineWriterOptions {
  readonly sink: Sink
  /** A value as one line of JSON, without the line feed. */
  readonly format: (value: unknown) => string
  /** Lines of a file, or elements of a JSON array. */
  readonly layout: 'ndjson' | 'array'
  readonly onFailure: (failure: ItemError) => Promise<void>
}

export interface LineWriter {
  write(batch: ResultBatch): Promise<void>
  /** Lines so far; line n (from 0) is item n. */
  readonly lines: number
  /** Of them, lines of items that have a value or failed: the rest were not there. */
  readonly present: number
}

/**
 * Writes batches as one line per item, in item order. Line n is item n: an item that is not there (of a job that was cancelled,
 * or with --no-wait) gets the line `null`, as a failed one does.
 */
export function writeLines(options: LineWriterOptions): LineWriter {
  const { sink, format, layout } = options
  let next = 0
  let present = 0
  const put = async (lines: readonly string[]): Promise<void> => {
    if (layout === 'ndjson') await sink.write(`${lines.join('\n')}\n`)
    else await sink.write((next === 0 ? '' : ',') + lines.join(','))
    next += lines.length
  }
  // A value that JSON cannot say (it holds itself) costs its own line, not the others.
  const unwritable: ItemError[] = []
  const lineOf = (index: number, value: unknown): string => {
    try {
      return format(value)
    } catch (error) {
      if (!isMeshError(error)) throw error
      const { code, name, message } = error
      unwritable.push({ index, code, name, message, attempts: 1 })
      return 'null'
    }
  }
  const fillTo = async (item: number): Promise<void> => {
    while (next < item) {
      await put(new Array(Math.min(SINK_BLOCK_LINES, item - next)).fill('null'))
    }
  }
  return {
    async write(batch) {
      const { lo, values, failures } = unwritten(batch, next)
      if (values.length === 0) return
      await fillTo(lo)
      const failed = new Set(failures.map((failure) => failure.index))
      for (let from = 0; from < values.length; from += SINK_BLOCK_LINES) {
        const block = values.slice(from, from + SINK_BLOCK_LINES)
        const base = lo + from
        const lines = block.map((value, at) =>
          failed.has(base + at) ? 'null' : lineOf(base + at, value),
        )
        await put(lines)
      }
      present += values.length
      for (const failure of [...failures, ...unwritable.splice(0)]) await options.onFailure(failure)
    },
    get lines() {
      return next
    },
    get present() {
      return present
    },
  }
}

/** The part of a batch from item `from` on: results that are read a second time are not written again. */
function unwritten(batch: ResultBatch, from: number): ResultBatch {
  if (batch.lo >= from) return batch
  return {
    lo: from,
    hi: batch.hi,
    values: batch.values.slice(from - batch.lo),
    failures: batch.failures.filter(({ index }) => index >= from),
  }
}
