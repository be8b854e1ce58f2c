import type { Command } from 'commander'
import type { JobInfo, MeshStatus, PeerInfo } from '../../src/node/types.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { reportFailure } from '../lib/failure.ts'
import { formatBytes, formatDuration, plural, printable } from '../lib/format.ts'
import { gpuText, gpuTransferText } from '../lib/gpu.ts'
import { isOver, runningLine, stateOf } from '../lib/job-view.ts'
import { labelsText } from '../lib/labels.ts'
import { CLOCK_TOLD_MS, MISSING_SHOWN, NAME_CHARS } from '../lib/limits.ts'
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
    const peers = await backend.peers()
    context.stdout.write(statusText(now, jobs, await styleFor(context, context.stdout), peers))
    return EXIT.ok
  })
}

/** What `mesh status` prints for people. */
export function statusText(
  now: MeshStatus,
  jobs: readonly JobInfo[],
  style: Style,
  peers: readonly PeerInfo[] = [],
): string {
  const { peer, workers, loopDelayMs } = now
  const busy = Math.max(0, peer.slots - peer.freeSlots)
  const fields: [string, string][] = [
    ['mesh', `${now.mesh}, ${plural(now.peers, 'other peer')}`],
    ...missingField(peers, style),
    ['lends', lendsText(peer.slots, busy)],
    ['memory', `${formatBytes(peer.freeMemoryBytes)} free of ${formatBytes(peer.memoryBytes)}`],
    ['gpu', gpuField(peer)],
    ...labelsField(peer),
    ...clockField(now, style),
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
    ...diskField(now, style),
    [
      'keeps',
      `finished jobs for ${formatDuration(now.keep.ms / 1000)} of running time, ${formatBytes(now.keep.bytes)} at most`,
    ],
    ...handOnField(now, style),
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

/** Who is silent or away; those that said good-bye are not missed. */
function missingField(peers: readonly PeerInfo[], style: Style): [string, string][] {
  const missing = peers.filter(
    (peer) => !peer.self && (peer.state === 'silent' || peer.state === 'away'),
  )
  if (missing.length === 0) return []
  const some = missing
    .slice(0, MISSING_SHOWN)
    .map((peer) => `${printable(peer.name, NAME_CHARS)} (${stateOf(peer)})`)
  const more = missing.length - some.length
  return [['missing', style.yellow(some.join(', ') + (more > 0 ? ` and ${more} more` : ''))]]
}

function diskField({ disk }: MeshStatus, style: Style): [string, string][] {
  if (disk === null) return []
  const text = `${formatBytes(disk.freeBytes)} free, ${formatBytes(disk.reserveBytes)} are left alone`
  return [['disk', disk.short ? style.red(`full: ${text}`) : text]]
}

function handOnField({ handingOn }: MeshStatus, style: Style): [string, string][] {
  if (handingOn === null || handingOn.bytesLeft === 0) return []
  const left = formatBytes(handingOn.bytesLeft)
  return [['leaves', style.yellow(`hands on ${left} of results that only it has`)]]
}

function labelsField({ labels }: PeerInfo): [string, string][] {
  return Object.keys(labels).length === 0 ? [] : [['labels', printable(labelsText(labels), 200)]]
}

/** Delayed starts and times of day are those of the mesh, not of this machine. */
function clockField({ clockAheadMs }: MeshStatus, style: Style): [string, string][] {
  if (Math.abs(clockAheadMs) < CLOCK_TOLD_MS) return []
  const by = formatDuration(Math.abs(clockAheadMs) / 1000)
  const way = clockAheadMs > 0 ? 'ahead of' : 'behind'
  return [['clock', style.yellow(`this machine's is ${by} ${way} the mesh's`)]]
}

function gpuField({ gpu }: PeerInfo): string {
  if (gpu === null) return 'none is used: kernels run on the CPU (`mesh doctor` says more)'
  return `${gpuText(gpu, NAME_CHARS)}; ${gpuTransferText(gpu)}`
}

function lendsText(slots: number, busy: number): string {
  if (slots === 0) return 'nothing'
  return `${plural(slots, 'core')}: ${busy} busy, ${slots - busy} free`
}

function ms(value: number): string {
  return `${Math.round(value * 10) / 10} ms`
}
