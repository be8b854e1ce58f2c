import type { Command } from 'commander'
import type { JobInfo, LogLine, MeshBackend } from '../../src/node/types.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatRate,
  plural,
  printable,
} from '../lib/format.ts'
import { lossText } from '../lib/happenings.ts'
import {
  finishedItems,
  isOver,
  itemWord,
  runningLine,
  secondsOf,
  sizeText,
  stateText,
} from '../lib/job-view.ts'
import { LOG_LINES_READ, LOG_LINES_SHOWN, LOSSES_SHOWN, NAME_CHARS } from '../lib/limits.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { printJson } from '../lib/output.ts'
import { attachOrRead, dataDirOf, withSession } from '../lib/session.ts'
import { type Style, styleFor } from '../lib/style.ts'
import { renderBar, renderFields, renderTable } from '../lib/table.ts'
import { unknownJob } from '../lib/which-job.ts'
import { logText } from './logs.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('job')
      .description('one job: how far it is, who did what, its options, its last log lines')
      .argument('<job>', 'a job id, a unique prefix of one (4 characters or more), or `last`'),
  ).action(async (job: string, options: CommonOptions) =>
    app.finish(await showJob(app.context, job, options)),
  )
}

async function showJob(context: Context, id: string, options: CommonOptions): Promise<number> {
  const session = await attachOrRead(context, await dataDirOf(context, options))
  if (session === undefined) throw unknownJob(id)
  return await withSession(session, async ({ backend }) => {
    const info = await backend.job(id)
    if (options.json) {
      printJson(context, info)
      return EXIT.ok
    }
    const lines = await lastLogLines(backend, info.id as JobId)
    const style = await styleFor(context, context.stdout)
    context.stdout.write(jobText(info, lines, context.wallClock(), style))
    return EXIT.ok
  })
}

/** The end of what the executors still hold; a job must show even when its log cannot be had. */
async function lastLogLines(backend: MeshBackend, job: JobId): Promise<LogLine[]> {
  const last: LogLine[] = []
  let read = 0
  try {
    for await (const line of backend.logs(job, { follow: false })) {
      last.push(line)
      if (last.length > LOG_LINES_SHOWN) last.shift()
      read += 1
      if (read >= LOG_LINES_READ) break
    }
  } catch {
    return last
  }
  return last
}

/** What `mesh job` prints for people. */
export function jobText(
  info: JobInfo,
  lines: readonly LogLine[],
  wallClock: number,
  style: Style,
): string {
  const finished = finishedItems(info)
  const seconds = secondsOf(info, wallClock)
  const fields: [string, string][] = [
    ['task', printable(info.name, NAME_CHARS)],
    ['state', stateText(info, style)],
    [
      'items',
      `${formatCount(finished)} of ${formatCount(info.items)} (${formatPercent(finished, info.items)})${info.failed > 0 ? `, ${formatCount(info.failed)} failed` : ''}`,
    ],
    [
      'submitted',
      `${formatAge(info.submittedAt, wallClock)} by ${info.author.slice(0, 8)} (${info.submittedAt})`,
    ],
    [
      'time',
      isOver(info)
        ? `${formatDuration(seconds)}${seconds > 0 ? `, ${formatRate(finished / seconds)}` : ''}`
        : `${formatDuration(seconds)} so far`,
    ],
    info.output === null ? ['input', inputText(info)] : ['output', outputText(info, info.output)],
    ['options', optionsText(info)],
    ...logField(info),
    ...copiesField(info, style),
    ...lossesField(info, style),
  ]
  return [
    `job ${style.bold(info.id)}\n`,
    isOver(info) ? '' : `\n${runningLine(info, style)}\n\n`,
    renderFields(fields, style.dim),
    contributions(info, style),
    lines.length === 0 ? '' : `\nlast of \`mesh logs ${info.short}\`:\n`,
    ...lines.map((line) => `  ${logText(line, style)}\n`),
    info.state === 'finished' ? `\nmesh results ${info.short}${outHint(info)}\n` : '',
  ].join('')
}

/** Of a job that is only in the store the counts are not known. */
function logField({ log }: JobInfo): [string, string][] {
  if (log.entries === 0) return []
  const counts = [
    plural(log.chunks, 'chunk'),
    plural(log.grants, 'grant'),
    plural(log.reclaims, 'reclaim'),
  ]
  return [['log', `${plural(log.entries, 'entry', 'entries')}: ${counts.join(', ')}`]]
}

/** On how many live peers the results are. */
function copiesField({ copies }: JobInfo, style: Style): [string, string][] {
  if (copies === null || copies.results === 0) return []
  const { wanted, results, bytes, tooFew, none, partial } = copies
  const what = `${partial ? 'at least ' : ''}${plural(results, 'result')}, ${formatBytes(bytes)}`
  if (tooFew === 0) return [['copies', `${what}: each on ${plural(wanted, 'peer')}`]]
  const fewer = `${formatCount(tooFew)} on fewer than ${plural(wanted, 'peer')}`
  const away = none === 0 ? '' : `, ${formatCount(none)} of them on none that is here`
  return [['copies', style.yellow(`${what}: ${fewer}${away}`)]]
}

function lossesField({ peersLost }: JobInfo, style: Style): [string, string][] {
  const shown = peersLost.slice(-LOSSES_SHOWN)
  const more = peersLost.length - shown.length
  return [
    ...(more === 0 ? [] : ([['', `… and ${formatCount(more)} earlier`]] as [string, string][])),
    ...shown.map((loss): [string, string] => [
      '',
      style.yellow(`${loss.at.slice(11, 19)} ${lossText(loss)}`),
    ]),
  ].map(([, text], at): [string, string] => [at === 0 ? 'lost' : '', text])
}

function contributions(info: JobInfo, style: Style): string {
  if (info.peers.length === 0) return ''
  const most = Math.max(1, ...info.peers.map((peer) => peer.done))
  const total = Math.max(
    1,
    info.peers.reduce((sum, peer) => sum + peer.done, 0),
  )
  const rows = [...info.peers]
    .sort((a, b) => b.done - a.done || (a.id < b.id ? -1 : 1))
    .map((peer) => [
      peer.id.slice(0, 8),
      printable(peer.name, NAME_CHARS),
      formatCount(peer.done),
      formatPercent(peer.done, total),
      style.cyan(renderBar(peer.done, most, 20, { full: '█', empty: ' ' })),
    ])
  const columns = [
    { title: 'PEER' },
    { title: 'NAME' },
    { title: 'ITEMS', align: 'right' },
    { title: 'SHARE', align: 'right' },
    { title: '' },
  ] as const
  return `\n${renderTable(columns, rows, style.dim)}`
}

function inputText({ input, items }: JobInfo): string {
  if (input.kind !== 'range') return `${formatCount(items)} items sent`
  return `range ${input.start}..${input.start + input.count}`
}

function outputText(info: JobInfo, size: readonly number[]): string {
  return `${sizeText(size)} numbers of a kernel; an item is ${itemWord(info) === 'row' ? 'a row' : 'one of them'}`
}

function outHint({ output }: JobInfo): string {
  if (output === null) return ''
  return ` --out FILE.${output.length === 1 ? 'npy' : 'png'}`
}

function optionsText({ options }: JobInfo): string {
  const parts = [
    options.args === undefined ? '' : `args of ${formatBytes(options.args.length / 2)}`,
    options.chunkSize === undefined ? '' : `chunk size ${formatCount(options.chunkSize)}`,
    options.timeLimitMs === undefined
      ? ''
      : `time limit ${formatDuration(options.timeLimitMs / 1000)}`,
    options.memoryBytes === undefined ? '' : `memory ${formatBytes(options.memoryBytes)}`,
    options.retries === undefined ? '' : `retries ${options.retries}`,
    options.maxItemsPerWorker === undefined
      ? ''
      : `a new worker every ${formatCount(options.maxItemsPerWorker)} items`,
    options.replicas === undefined ? '' : `results on ${plural(options.replicas, 'peer')}`,
    options.speculate === false ? 'no speculation' : '',
  ].filter((part) => part !== '')
  return parts.length === 0 ? 'the defaults' : parts.join(', ')
}
