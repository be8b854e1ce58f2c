import type { Command } from 'commander'
import type { JobInfo, MeshStatus } from '../../src/node/types.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { reportFailure } from '../lib/failure.ts'
import { formatBytes, formatDuration, plural, printable } from '../lib/format.ts'
import { isOver, runningLine } from '../lib/job-view.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { printJson } from '../lib/output.ts'
import { dataDirOf, noPeer, withSession } from '../lib/session.ts'
import { type Style, styleFor } from '../lib/style.ts'
import { renderFields } from '../lib/table.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('status')
      .description('what this peer and its mesh are doing (exit 3: no peer runs)'),
  ).action(async (options: CommonOptions) => app.finish(await status(app.context, options)))
}

async function status(context: Context, options: CommonOptions): Promise<number> {
  const dataDir = await dataDirOf(context, options)
  const backend = await context.attach(dataDir)
  if (backend === undefined) {
    const view = { json: options.json === true, verbose: options.verbose === true }
    await reportFailure(context, noPeer(dataDir), view)
    return EXIT.notYet
  }
  return await withSession({ backend, dataDir, embedded: false }, async () => {
    const now = await backend.status()
    if (options.json) {
      printJson(context, now)
      return EXIT.ok
    }
    const jobs = await backend.jobs()
    context.stdout.write(statusText(now, jobs, await styleFor(context, context.stdout)))
    return EXIT.ok
  })
}

/** What `mesh status` prints for people. */
export function statusText(now: MeshStatus, jobs: readonly JobInfo[], style: Style): string {
  const { peer, workers, loopDelayMs } = now
  const busy = Math.max(0, peer.slots - peer.freeSlots)
  const fields: [string, string][] = [
    ['mesh', `${now.mesh}, ${plural(now.peers, 'other peer')}`],
    ['lends', lendsText(peer.slots, busy)],
    ['memory', `${formatBytes(peer.freeMemoryBytes)} free of ${formatBytes(peer.memoryBytes)}`],
    ['jobs', `${now.jobs.running} running, ${now.jobs.finished} finished`],
    [
      'workers',
      `${workers.busy} busy of ${workers.alive} alive; ${workers.started} started, ${workers.recycled} recycled, ${workers.died} died`,
    ],
    [
      'loop delay',
      `p50 ${ms(loopDelayMs.p50)}, p99 ${ms(loopDelayMs.p99)}, max ${ms(loopDelayMs.max)}`,
    ],
    ['folder', now.dataDir],
    [
      'process',
      `${now.pid}, up ${formatDuration(now.uptimeSeconds)}${now.embedded ? ', inside `mesh submit` (ends with it)' : ''}`,
    ],
    ...now.addresses.map((address, at): [string, string] => [at === 0 ? 'listens' : '', address]),
    ...now.strikes.map((strike, at): [string, string] => [
      at === 0 ? 'strikes' : '',
      style.yellow(
        `${strike.peer.slice(0, 8)}: ${strike.count} x ${printable(strike.reason, 100)}`,
      ),
    ]),
    ...now.warnings.map((warning, at): [string, string] => [
      at === 0 ? 'warnings' : '',
      style.yellow(printable(warning, 200)),
    ]),
  ]
  const running = jobs.filter((job) => !isOver(job))
  return [
    `peer ${style.bold(peer.short)} ${printable(peer.name, 64)}, meshwork ${printable(peer.version, 32)}\n`,
    renderFields(fields, style.dim),
    running.length === 0 ? '' : '\n',
    ...running.map((job) => `${runningLine(job, style)}\n`),
  ].join('')
}

function lendsText(slots: number, busy: number): string {
  if (slots === 0) return 'nothing'
  return `${plural(slots, 'core')}: ${busy} busy, ${slots - busy} free`
}

function ms(value: number): string {
  return `${Math.round(value * 10) / 10} ms`
}
