import type { Command } from 'commander'
import type { JobInfo } from '../../src/node/types.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import {
  formatAge,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  printable,
} from '../lib/format.ts'
import { finishedItems, isOver, secondsOf, stateText, untilText } from '../lib/job-view.ts'
import { NAME_CHARS } from '../lib/limits.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { attachOrRead, dataDirOf, withSession } from '../lib/session.ts'
import { type Style, styleFor } from '../lib/style.ts'
import { type Column, renderBar, renderTable } from '../lib/table.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program.command('jobs').description('the jobs that this peer knows, newest first'),
  ).action(async (options: CommonOptions) => app.finish(await jobs(app.context, options)))
}

async function jobs(context: Context, options: CommonOptions): Promise<number> {
  const session = await attachOrRead(context, await dataDirOf(context, options))
  const list =
    session === undefined
      ? []
      : await withSession(session, async ({ backend }) => await backend.jobs())
  const sorted = newestFirst(list)
  if (options.json) printJson(context, sorted)
  else if (sorted.length === 0)
    note(context, 'no jobs yet; `mesh submit TASK --range 0..100` makes one')
  else {
    const style = await styleFor(context, context.stdout)
    context.stdout.write(jobTable(sorted, context.wallClock(), style))
  }
  return EXIT.ok
}

export function newestFirst(list: readonly JobInfo[]): JobInfo[] {
  return [...list].sort(
    (a, b) => Date.parse(b.submittedAt) - Date.parse(a.submittedAt) || (a.id < b.id ? -1 : 1),
  )
}

const COLUMNS: readonly Column[] = [
  { title: 'JOB' },
  { title: 'TASK' },
  { title: 'STATE' },
  { title: 'PROGRESS' },
  { title: 'ITEMS', align: 'right' },
  { title: 'RATE', align: 'right' },
  { title: 'TIME', align: 'right' },
  { title: 'SUBMITTED', align: 'right' },
]

const EXPIRES: Column = { title: 'EXPIRES', align: 'right' }

/** What `mesh jobs` prints for people. */
export function jobTable(list: readonly JobInfo[], wallClock: number, style: Style): string {
  // Of jobs that say for how long they are kept; the others go by the rules of each peer.
  const expiring = list.some(({ options }) => options.resultTtlMs !== undefined)
  const rows = list.map((job) => {
    const finished = finishedItems(job)
    const seconds = secondsOf(job, wallClock)
    const meanRate = job.state === 'finished' && seconds > 0 ? job.items / seconds : 0
    const rate = isOver(job) ? meanRate : job.itemsPerSecond
    return [
      style.bold(job.short),
      printable(job.name, NAME_CHARS),
      stateText(job, style),
      `${renderBar(finished, job.items, 10)} ${formatPercent(finished, job.items)}`,
      formatCount(job.items),
      rate > 0 ? formatRate(rate) : '-',
      isOver(job)
        ? formatDuration(seconds)
        : job.etaSeconds === null
          ? job.startsAt === null
            ? '-'
            : `starts ${untilText(job.startsAt, wallClock)}`
          : `${formatDuration(Math.ceil(job.etaSeconds))} left`,
      formatAge(job.submittedAt, wallClock),
      ...(expiring ? [expiryText(job, wallClock)] : []),
    ]
  })
  return renderTable(expiring ? [...COLUMNS, EXPIRES] : COLUMNS, rows, style.dim)
}

function expiryText({ expiresAt, options }: JobInfo, wallClock: number): string {
  if (expiresAt !== null) return untilText(expiresAt, wallClock)
  const { resultTtlMs } = options
  return resultTtlMs === undefined ? '-' : `${formatDuration(resultTtlMs / 1000)} after its end`
}
