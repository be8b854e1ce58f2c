import type { JobInfo } from '../../src/node/types.ts'
import { comeBack } from './come-back.ts'
import { EXIT } from './exit-codes.ts'
import { errorDocument } from './failure.ts'
import { failureRecord } from './failures.ts'
import { formatCount, formatDuration, formatRate, plural, printable } from './format.ts'
import { itemWord, secondsOf } from './job-view.ts'
import { NAME_CHARS } from './limits.ts'
import { note } from './output.ts'
import type { End, Run } from './run.ts'

/** How the reading ended, in words on stderr. `missing` says what stands in the place of items that are not there. */
export async function tellEnd(run: Run, end: End, missing: string): Promise<void> {
  const { context, session, options, output, teller } = run
  const { info } = end
  const quiet = options.quiet
  if (end.error !== undefined) {
    // The reason of a cancelled job is another peer's text.
    note(context, printable(end.error.message))
    if (end.error.code === 'ERR_MESH_STOPPED') {
      for (const line of await comeBack(context, session, info.short)) note(context, line)
    }
  } else if (end.code === EXIT.notYet) {
    const there = `${formatCount(output.present)} of ${plural(output.expected ?? info.items, itemWord(info))}`
    note(context, `${there} are there; ${missing}`, quiet)
  } else if (end.code >= EXIT.internal) {
    for (const line of await comeBack(context, session, info.short)) note(context, line)
  } else {
    note(context, summaryLine(info, teller.count, context.wallClock()), quiet)
  }
}

/** 'primes: 1 000 000 items in 12.3 s (81.3k/s) on 3 peers; 2 failed' */
export function summaryLine(info: JobInfo, failed: number, wallClock: number): string {
  const seconds = secondsOf(info, wallClock)
  const rate = seconds > 0 && info.items > 0 ? ` (${formatRate(info.items / seconds)})` : ''
  const peers = info.peers.length > 0 ? ` on ${plural(info.peers.length, 'peer')}` : ''
  const leftOut = info.task.kind === 'graph' && info.failed > 0 ? '; what failed was left out' : ''
  const failures = failed > 0 ? `; ${formatCount(failed)} failed` : leftOut
  const items = plural(info.items, itemWord(info))
  return `${printable(info.name, NAME_CHARS)}: ${items}${Number.isNaN(seconds) ? '' : ` in ${formatDuration(seconds)}`}${rate}${peers}${failures}`
}

/** What every document of --json says of a job's end. */
export function endDocument(run: Run, { info, error }: End): Record<string, unknown> {
  const { options, teller, context } = run
  return {
    ...(options.errors === undefined ? {} : { errorsFile: options.errors }),
    name: info.name,
    state: info.state,
    items: info.items,
    done: info.done,
    failed: teller.count,
    failures: teller.first.map(failureRecord),
    seconds: secondsOf(info, context.wallClock()),
    peers: info.peers,
    ...(run.interrupt.code === undefined ? {} : { interrupted: true }),
    ...(error === undefined ? {} : { error: errorDocument(error) }),
  }
}
