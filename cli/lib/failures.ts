import type { ItemError } from '../../src/runtime/types.ts'
import type { Context } from './context.ts'
import { formatCount, plural, printable } from './format.ts'
import { FAILURES_IN_JSON, FAILURES_SHOWN } from './limits.ts'
import type { Sink } from './sink.ts'

export interface FailureTeller {
  tell(failure: ItemError): Promise<void>
  /** After the last one: how many were not shown, and where they are. */
  summary(): void
  readonly count: number
  /** The first ones, for the JSON document. */
  readonly first: readonly ItemError[]
}

export interface TellerOptions {
  readonly context: Context
  /** Every failure as a line of NDJSON. */
  readonly sink: Sink
  /** The file behind `sink`, to name it; undefined when there is none. */
  readonly file: string | undefined
  readonly silent: boolean
  readonly aside: (write: () => void) => void
}

/** Failed items: the first ones on stderr, then only a count; all of them in --errors. */
export function tellFailures(options: TellerOptions): FailureTeller {
  const first: ItemError[] = []
  let count = 0
  const say = (text: string): void => {
    if (!options.silent) options.aside(() => options.context.stderr.write(`mesh: ${text}\n`))
  }
  return {
    async tell(failure) {
      count += 1
      if (first.length < FAILURES_IN_JSON) first.push(failure)
      if (count <= FAILURES_SHOWN) say(failureLine(failure))
      await options.sink.write(`${JSON.stringify(failureRecord(failure))}\n`)
    },
    summary() {
      const more = count - FAILURES_SHOWN
      if (more > 0) {
        say(
          `… and ${formatCount(more)} more failed ${more === 1 ? 'item' : 'items'}; ` +
            (options.file === undefined
              ? '--errors FILE keeps them all'
              : `all ${plural(count, 'failed item')} in ${options.file}`),
        )
      }
    },
    get count() {
      return count
    },
    first,
  }
}

/** 'item 17 failed: TypeError: x is not a function (at run (task.ts:3:9))' */
export function failureLine(failure: ItemError): string {
  const place = firstFrame(failure.stack)
  const attempts = failure.attempts > 1 ? ` after ${failure.attempts} attempts` : ''
  const name = failure.name === '' || failure.name === 'MeshError' ? '' : `${failure.name}: `
  return printable(
    `item ${failure.index} failed${attempts}: ${name}${failure.message}${place === undefined ? '' : ` (${place})`}`,
    1_000,
  )
}

/** What a line of --errors holds. */
export function failureRecord(failure: ItemError): Record<string, unknown> {
  const { index, code, name, message, stack, attempts } = failure
  return { index, code, name, message, stack: stack ?? null, attempts }
}

function firstFrame(stack: string | undefined): string | undefined {
  return /^\s*(at .+)$/m.exec(stack ?? '')?.[1]?.trim()
}
