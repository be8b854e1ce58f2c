import { userInfo } from 'node:os'
import type { Command } from 'commander'
import { isMeshError } from '../../src/base/errors.ts'
import type { MeshBackend, MeshStatus } from '../../src/node/types.ts'
import { dataFlag } from '../lib/come-back.ts'
import type { App, Context, PeerOptions } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { formatBytes, formatCount, plural, printable } from '../lib/format.ts'
import { gpuText } from '../lib/gpu.ts'
import { tellHandOn } from '../lib/hand-on.ts'
import { type Interrupt, listenForInterrupt } from '../lib/interrupt.ts'
import { label, labelsText } from '../lib/labels.ts'
import { EVENT_POLL_MS, NAME_CHARS } from '../lib/limits.ts'
import { eventsBetween, viewOf } from '../lib/mesh-events.ts'
import {
  type CommonOptions,
  coresOption,
  type GpuFlags,
  gpuOptions,
  positiveNumber,
  repeated,
  withCommonOptions,
  withPeerOptions,
} from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { bytes, days } from '../lib/quantities.ts'
import { dataDirOf } from '../lib/session.ts'
import { type Style, styleFor } from '../lib/style.ts'
import { renderFields } from '../lib/table.ts'

interface JoinFlags extends CommonOptions, GpuFlags {
  readonly listen?: string[]
  readonly announce?: string[]
  readonly cores?: number
  readonly name?: string
  readonly mdns: boolean
  readonly keep?: number
  readonly keepSize?: number
  readonly minFree?: number
  readonly lease?: number
  readonly label?: Readonly<Record<string, string>>
}

export function register(program: Command, app: App): void {
  const command = program
    .command('join')
    .description("lend this machine's cores until Ctrl-C; without a ticket, to a mesh of its own")
    .argument('[ticket]', 'what `mesh ticket` prints on a peer of the mesh (needed once)')
    .option(
      '--listen <multiaddr>',
      'address to listen on, may be repeated (default: every interface)',
      repeated,
    )
    .option(
      '--announce <multiaddr>',
      'address that others are told instead, where a port is forwarded; may be repeated',
      repeated,
    )
    .addOption(coresOption(1, 'cores to lend (default: all)'))
    .option(
      '--keep <time>',
      'how long finished jobs are kept, of the time that the peer runs (default: 7d)',
      days,
    )
    .option(
      '--keep-size <size>',
      'how much of finished jobs is kept (default: 10GB, or a tenth of the disk)',
      bytes,
    )
    .option(
      '--min-free <size>',
      'disk space to leave free; below, no work is taken (default: 512MB, or 2 % of a small disk)',
      bytes,
    )
  command.option(
    '--lease <seconds>',
    'a peer that is silent so long is taken for lost, 5 to 3600 (default: 10)',
    positiveNumber('seconds'),
  )
  command.option(
    '--label <name=value>',
    'what jobs may require of this peer, as zone=eu; may be repeated',
    label,
  )
  withCommonOptions(withPeerOptions(command)).action(
    async (ticket: string | undefined, flags: JoinFlags) =>
      app.finish(await join(app.context, ticket, flags)),
  )
}

async function join(
  context: Context,
  ticket: string | undefined,
  flags: JoinFlags,
): Promise<number> {
  const dataDir = await dataDirOf(context, flags)
  const gpu = gpuOptions(flags)
  const interrupt = listenForInterrupt(context)
  try {
    const backend = await context.startPeer({
      dataDir,
      mdns: flags.mdns,
      ...(ticket === undefined ? {} : { ticket: bareTicket(ticket) }),
      ...(flags.listen === undefined ? {} : { listen: flags.listen }),
      ...(flags.announce === undefined ? {} : { announce: flags.announce }),
      ...(flags.cores === undefined ? {} : { cores: flags.cores }),
      ...(flags.name === undefined ? {} : { name: flags.name }),
      ...keepOptions(flags),
      ...gpu,
      ...(flags.minFree === undefined ? {} : { minFree: flags.minFree }),
      ...(flags.lease === undefined ? {} : { lease: flags.lease }),
      ...(flags.label === undefined ? {} : { labels: flags.label }),
      ...(flags.verbose === undefined ? {} : { verbose: flags.verbose }),
    })
    await run(context, backend, dataDir, flags, interrupt)
    // Leaving when asked to is what the command is for.
    return EXIT.ok
  } finally {
    interrupt.dispose()
  }
}

function keepOptions({ keep, keepSize }: JoinFlags): Pick<PeerOptions, 'keep'> {
  if (keep === undefined && keepSize === undefined) return {}
  return {
    keep: {
      ...(keep === undefined ? {} : { days: keep }),
      ...(keepSize === undefined ? {} : { bytes: keepSize }),
    },
  }
}

async function run(
  context: Context,
  backend: MeshBackend,
  dataDir: string,
  flags: JoinFlags,
  interrupt: Interrupt,
): Promise<void> {
  const status = await backend.status()
  const ticket = await backend.ticket()
  if (flags.json) {
    printJson(context, readyDocument(status, ticket))
  } else {
    const style = await styleFor(context, context.stdout)
    const data = await dataFlag(context, dataDir)
    context.stdout.write(welcome(status, ticket, data, style))
    if (status.repair !== null) tellRepair(context, status.repair)
  }
  // `mesh leave` stops the peer from outside; src/node/local-backend.ts tells by `left`.
  const own = backend as MeshBackend & {
    readonly left?: Promise<void>
    readonly failure?: Error
  }
  const { left } = own
  const asked = await Promise.race([
    interrupt.asked,
    left?.then(() => 'left') ?? new Promise<never>(() => {}),
    ...(flags.json === true ? [] : [tellEvents(context, backend, interrupt.signal, status)]),
  ])
  if (asked !== 'left') note(context, 'leaving (Ctrl-C again: at once)', flags.json)
  const telling = tellHandOn(context, backend, flags.json === true)
  await backend.close()
  telling()
  if (own.failure !== undefined) throw own.failure
  note(context, 'left the mesh', flags.json)
}

function tellRepair(context: Context, repair: NonNullable<MeshStatus['repair']>): void {
  const dropped =
    repair.entriesDropped === 0 ? '' : `, ${formatCount(repair.entriesDropped)} dropped`
  note(
    context,
    `the store was damaged (${repair.reason}) and was repaired: ${formatCount(repair.entriesKept)} entries kept${dropped}; what is missing is pulled from other peers`,
  )
  note(context, `the damaged one is kept in ${repair.copy}`)
}

/** Prints what comes and goes until the peer stops or the user asks. */
async function tellEvents(
  context: Context,
  backend: MeshBackend,
  signal: AbortSignal,
  welcomed: MeshStatus,
): Promise<'left'> {
  let view = viewOf([], await backend.jobs())
  let short = false
  let gpuTold = welcomed.peer.gpu !== null
  let warned: readonly string[] = []
  for (;;) {
    try {
      const [peers, jobs, status] = [
        await backend.peers(),
        await backend.jobs(),
        await backend.status(),
      ]
      const disk = status.disk
      if (disk !== null && disk.short !== short) {
        short = disk.short
        context.stdout.write(`${clock(context)} ${diskLine(disk)}\n`)
      }
      const { gpu } = status.peer
      if (gpu !== null && !gpuTold) {
        // The probe takes seconds, and the welcome does not wait for it.
        gpuTold = true
        context.stdout.write(
          `${clock(context)} ~ this peer has a GPU: ${gpuText(gpu, NAME_CHARS)}\n`,
        )
      }
      for (const warning of status.warnings) {
        if (warned.includes(warning)) continue
        context.stdout.write(`${clock(context)} ! ${printable(warning, 200)}\n`)
      }
      warned = status.warnings
      for (const line of eventsBetween(view, peers, jobs, context.wallClock())) {
        context.stdout.write(`${clock(context)} ${line}\n`)
      }
      view = viewOf(peers, jobs)
    } catch (error) {
      if (signal.aborted || isMeshError(error, 'ERR_MESH_STOPPED')) return 'left'
      throw error
    }
    await pause(EVENT_POLL_MS, signal)
    if (signal.aborted) return 'left'
  }
}

function diskLine({ short, freeBytes, reserveBytes }: NonNullable<MeshStatus['disk']>): string {
  const free = formatBytes(freeBytes)
  if (!short) return `~ the disk has room again (${free} free): this peer takes work`
  return `! the disk is nearly full (${free} free, ${formatBytes(reserveBytes)} are left alone): this peer takes no work and keeps nothing for others`
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end)
  })
}

/** The whole line `mesh join mesh1…` may be pasted as the ticket. */
function bareTicket(text: string): string {
  return text.trim().replace(/^mesh\s+join\s+/, '')
}

function readyDocument(status: MeshStatus, ticket: string): Record<string, unknown> {
  const { peer } = status
  return {
    peer: peer.id,
    short: peer.short,
    name: peer.name,
    mesh: status.mesh,
    ticket,
    cores: peer.slots,
    memoryBytes: peer.memoryBytes,
    gpu: peer.gpu,
    labels: peer.labels,
    addresses: status.addresses,
    dataDir: status.dataDir,
    pid: status.pid,
    version: status.version,
  }
}

/** What `mesh join` prints for people when it is ready. */
export function welcome(status: MeshStatus, ticket: string, data: string, style: Style): string {
  const { peer } = status
  return [
    `peer ${style.bold(peer.short)} ${printable(peer.name, 64)} is in mesh ${status.mesh}\n`,
    renderFields(
      [
        ['lends', `${plural(peer.slots, 'core')}, ${formatBytes(peer.memoryBytes)} memory`],
        ...(peer.gpu === null ? [] : [['gpu', gpuText(peer.gpu, NAME_CHARS)] as [string, string]]),
        ...labelsField(peer.labels),
        ['folder', status.dataDir],
        ...status.addresses.map((address, at): [string, string] => [
          at === 0 ? 'listens' : '',
          address,
        ]),
      ],
      style.dim,
    ),
    '\nOn the next machine, run:\n\n',
    `  ${style.green(`mesh join ${ticket}`)}\n\n`,
    `${style.yellow('Members can run code on this machine as its user')} (${userName()}). Give the ticket only to those you trust so far.\n`,
    `Submit from here: mesh submit task.ts --range 0..1000${data}\n`,
    `Stop: Ctrl-C, or \`mesh leave${data}\`; work in hand goes to the others.\n\n`,
  ].join('')
}

function labelsField(labels: Readonly<Record<string, string>>): [string, string][] {
  return Object.keys(labels).length === 0 ? [] : [['labels', printable(labelsText(labels), 200)]]
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // A user id without a name, as in some containers.
    return `uid ${process.getuid?.() ?? '?'}`
  }
}

function clock(context: Context): string {
  return new Date(context.wallClock()).toTimeString().slice(0, 8)
}
