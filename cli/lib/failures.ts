import { isInherited } from '../../src/client/compose/read.ts'
import type { Job } from '../../src/client/job.ts'
import type { ItemError } from '../../src/runtime/types.ts'
import type { Context } from './context.ts'
import { formatCount, plural, printable } from './format.ts'
import { FAILURES_IN_JSON, FAILURES_SHOWN } from './limits.ts'
import type { Sink } from './sink.ts'

/** Of a composition also the task, and the number among its items; `index` is the number in the job then. */
export interface Failure extends ItemError {
  readonly task?: string
  readonly item?: number
}

export interface FailureTeller {
  tell(failure: Failure): Promise<void>
  /** After the last one: how many were not shown, and where they are. */
  summary(): void
  readonly count: number
  /** The first ones, for the JSON document. */
  readonly first: readonly Failure[]
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
  const first: Failure[] = []
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

/** Of a composition: items that failed with what they need wait for the end, when what failed first is told in their place. */
export interface OriginTeller extends FailureTeller {
  /** At the end, before `summary`. */
  settle(job: Pick<Job, 'failedFirst'>): Promise<void>
}

export function tellOrigins(teller: FailureTeller): OriginTeller {
  /** The first ones, in case that nobody knows more, and the last one, up to which is looked. */
  const held: ItemError[] = []
  let last: ItemError | undefined
  let waiting = 0
  return {
    async tell(failure) {
      if (!isInherited(failure)) return await teller.tell(failure)
      waiting += 1
      if (held.length < FAILURES_IN_JSON) held.push(failure)
      if (last === undefined || failure.index > last.index) last = failure
    },
    async settle(job) {
      if (last === undefined) return
      const failed = held.includes(last) ? held : [...held, last]
      const found = await job.failedFirst(failed).catch(() => failed)
      waiting = 0
      for (const failure of found) await teller.tell(failure)
    },
    summary: () => teller.summary(),
    get count() {
      return teller.count + waiting
    },
    first: teller.first,
  }
}

/** 'item 17 failed: TypeError: x is not a function (at run (task.ts:3:9))'; of a composition 'item 17 of fetch failed: …' */
export function failureLine(failure: Failure): string {
  const place = firstFrame(failure.stack)
  const attempts = failure.attempts > 1 ? ` after ${failure.attempts} attempts` : ''
  const name = failure.name === '' || failure.name === 'MeshError' ? '' : `${failure.name}: `
  const { index, task, item = index } = failure
  return printable(
    `item ${item}${task === undefined ? '' : ` of ${task}`} failed${attempts}: ${name}${failure.message}${place === undefined ? '' : ` (${place})`}`,
    1_000,
  )
}

/** What a line of --errors holds. */
export function failureRecord(failure: Failure): Record<string, unknown> {
  const { index, code, name, message, stack, attempts, task, item } = failure
  const where = task === undefined ? {} : { task, item }
  return { index, ...where, code, name, message, stack: stack ?? null, attempts }
}

function firstFrame(stack: string | undefined): string | undefined {
  const frames = [...(stack ?? '').matchAll(/^\s*(at .+)$/gm)].map(([, frame = '']) => frame.trim())
  // Where the user's code called what threw says more than the inside of that.
  return frames.find((frame) => !/<anonymous>|\bnode:/.test(frame)) ?? frames[0]
}
