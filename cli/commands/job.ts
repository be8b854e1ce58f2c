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
  cancelledText,
  finishedItems,
  isOver,
  itemWord,
  localTime,
  runningLine,
  secondsOf,
  sizeText,
  stateText,
  untilText,
} from '../lib/job-view.ts'
import {
  LOG_LINES_READ,
  LOG_LINES_SHOWN,
  LOSSES_SHOWN,
  NAME_CHARS,
  NODES_SHOWN,
} from '../lib/limits.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { optionsText } from '../lib/options-text.ts'
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
    ['state', stateField(info, wallClock, style)],
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
    ...keptField(info, wallClock),
    ...copiesField(info, style),
    ...lossesField(info, style),
  ]
  return [
    `job ${style.bold(info.id)}\n`,
    isOver(info) ? '' : `\n${runningLine(info, style)}\n\n`,
    renderFields(fields, style.dim),
    nodesText(info, style),
    contributions(info, style),
    lines.length === 0 ? '' : `\nlast of \`mesh logs ${info.short}\`:\n`,
    ...lines.map((line) => `  ${logText(line, style)}\n`),
    info.state === 'finished' ? `\nmesh results ${info.short}${outHint(info)}\n` : '',
    isOver(info) && canRetry(info) ? `mesh retry ${info.short}\n` : '',
  ].join('')
}

/** The state, and what there is to say of it. */
function stateField(info: JobInfo, wallClock: number, style: Style): string {
  const state = stateText(info, style)
  if (info.state === 'cancelled') return style.yellow(cancelledText(info)) || state
  if (info.state === 'paused') return `${state} (\`mesh resume ${info.short}\` lets it go on)`
  if (info.startsAt !== null) {
    return `${state} for ${localTime(info.startsAt)} (${untilText(info.startsAt, wallClock)})`
  }
  return info.waitsFor === null ? state : `${state}, waits for ${info.waitsFor}`
}

/** Items that failed can be run again; those of a composition or a kernel not by themselves. */
function canRetry({ task, failed, done, items }: JobInfo): boolean {
  return task.kind === 'module' && (failed > 0 || done < items)
}

function keptField({ expiresAt, options }: JobInfo, wallClock: number): [string, string][] {
  if (expiresAt !== null) {
    return [['kept', `until ${localTime(expiresAt)} (${untilText(expiresAt, wallClock)})`]]
  }
  const { resultTtlMs } = options
  if (resultTtlMs === undefined) return []
  return [['kept', `for ${formatDuration(resultTtlMs / 1000)} after its end`]]
}

/** Of a composition: its nodes, each after what it takes values of. */
function nodesText({ nodes, nodesTotal }: JobInfo, style: Style): string {
  if (nodes === null || nodes.length === 0) return ''
  const rows = nodes
    .slice(0, NODES_SHOWN)
    .map((node, at) => [
      String(at),
      printable(node.name, NAME_CHARS),
      needsText(node.needs),
      `${style.cyan(renderBar(node.done, node.items, 12))} ${formatPercent(node.done, node.items)}`,
      `${formatCount(node.done)}/${formatCount(node.items)}`,
      node.failed > 0 ? style.red(formatCount(node.failed)) : '-',
    ])
  const more = nodesTotal - rows.length
  const columns = [
    { title: 'NODE', align: 'right' },
    { title: 'TASK' },
    { title: 'AFTER' },
    { title: 'PROGRESS' },
    { title: 'ITEMS', align: 'right' },
    { title: 'FAILED', align: 'right' },
  ] as const
  const rest = more > 0 ? style.dim(`… and ${plural(more, 'more node')}\n`) : ''
  return `\n${renderTable(columns, rows, style.dim)}${rest}`
}

/** '0, 1, 2 and 7 more' */
function needsText(needs: readonly number[]): string {
  if (needs.length === 0) return '-'
  const more = needs.length - 4
  return needs.slice(0, 4).join(', ') + (more > 0 ? ` and ${formatCount(more)} more` : '')
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

function inputText({ input, items, task }: JobInfo): string {
  if (task.kind === 'graph') return `${formatCount(items)} items of a composition`
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
