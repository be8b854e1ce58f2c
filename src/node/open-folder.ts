import { mkdir } from 'node:fs/promises'
import { availableParallelism, hostname } from 'node:os'
import { join } from 'node:path'
import { fromHex, toHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { defaultDataDir } from '../base/paths.ts'
import { pause } from '../base/pause.ts'
import { VERSION } from '../base/version.ts'
import { ChosenGpu, type GpuOptions } from '../gpu/chosen-gpu.ts'
import type { PeerId, SessionId } from '../scheduler/types.ts'
import { lockFolder } from '../store/folder-lock.ts'
import { loadOrCreateIdentity } from '../store/identity.ts'
import { openStore } from '../store/level-store.ts'
import { createMeshKey, loadMesh, type MeshFile, meshIdOf, saveMesh } from '../store/mesh-file.ts'
import type { Store } from '../store/types.ts'
import { serveControl } from './control/server.ts'
import type { Peer, PeerConfig } from './peer.ts'
import { checkLabels } from './peer-labels.ts'
import type { KeepRules } from './retention.ts'
import type { MeshBackend } from './types.ts'
import type { StallSignal, UpkeepConfig } from './upkeep.ts'
import { decodeTicket } from './wire/ticket.ts'

export interface OpenOptions {
  /** Default: defaultDataDir(). */
  readonly dataDir?: string
  readonly ticket?: string
  /** Worker slots to lend; default: as many as cores; 0 lends nothing. */
  readonly cores?: number
  readonly name?: string
  /** Multiaddrs; default: every interface, on the port used last time. */
  readonly listen?: readonly string[]
  /** Multiaddrs that others are told in place of those it listens on: behind a forwarded port. */
  readonly announce?: readonly string[]
  readonly mdns?: boolean
  /** Started by `mesh submit` for itself. */
  readonly embedded?: boolean
  /** How long (of this peer's running time), and how much, of finished jobs is kept; default 7 days, and 10 GB or a tenth of the disk. */
  readonly keep?: KeepOptions
  /** Bytes of the disk that are left free; default 512 MB or 2 % of the disk, whichever is smaller. */
  readonly minFree?: number
  /** Seconds of silence after which another peer is taken for lost; default 10. */
  readonly lease?: number
  /** Where kernels run; default `auto`: on a GPU that is found, else on the CPU. */
  readonly gpu?: GpuOptions
  /** What jobs may require of this peer. */
  readonly labels?: Readonly<Record<string, string>>
  /** Waiting times, and what the disk says; for tests. */
  readonly upkeep?: Pick<UpkeepConfig, 'times' | 'space'>
  readonly wallClock?: () => number
  readonly logger?: Logger
}

/** How long, and how much, of what is finished is kept. */
export interface KeepOptions {
  /** Of the time that the peer runs; fractions allowed. */
  readonly days?: number
  /** Results and input of finished jobs. */
  readonly bytes?: number
}

export interface Membership {
  readonly dataDir: string
  readonly meshKey: Uint8Array
  readonly meshId: string
  readonly config: PeerConfig
  /** Called when the peer cannot go on. */
  onFailure: (error: MeshError) => void
  /** After start: joins through the ticket's addresses (a new ticket must work; known ones are retried in the background). */
  reach(peer: Peer): Promise<void>
  serve(backend: MeshBackend): Promise<void>
  closeServer(): Promise<void>
  release(): Promise<void>
}

/** How long `join TICKET` tries the ticket's addresses before it says that nobody answers. */
const REACH_TIMEOUT_MS = 5_000
const REACH_RETRY_MS = 300
const MAX_SLOTS = 1024
/** Of one other peer, the most useful first: a mesh file holds 64 in all. */
const MAX_ADDRESSES_KEPT = 2
const PORT_KEY = 'port'
const SESSIONS_KEY = 'sessions'
const SESSION_BYTES = 16
/** A job that outlives so many restarts of one peer leaves what the oldest held to the leases of others. */
const MAX_PREDECESSORS = 256

/** Locks a data folder and reads (or makes) what it holds: identity, mesh, store. */
export async function openFolder(options: OpenOptions): Promise<Membership> {
  const dataDir = options.dataDir ?? defaultDataDir()
  const slots = checkCores(options.cores)
  const keep = checkKeep(options.keep)
  const minFreeBytes = checkMinFree(options.minFree)
  const leaseMs = options.lease === undefined ? undefined : checkLease(options.lease)
  const ticket = options.ticket === undefined ? undefined : decodeTicket(options.ticket)
  const labels = checkLabels(options.labels)
  const gpu = new ChosenGpu(checkGpu(options.gpu), options.logger ?? silentLogger)
  await gpu.check()
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const lock = await lockFolder(dataDir)
  try {
    const mesh = await meshOf(dataDir, ticket)
    const identity = await loadOrCreateIdentity(dataDir)
    const logger = options.logger ?? silentLogger
    const stall: StallSignal = { stalled: false, changed: () => undefined }
    const store = await openStore({
      dir: dataDir,
      sign: identity.sign,
      self: identity.peer,
      logger: logger.child('store'),
      onStall: (error) => {
        stall.stalled = error !== undefined
        stall.changed(stall.stalled)
      },
    })
    const bootstrap = [...new Set([...(ticket?.addresses ?? []), ...mesh.addresses])]
    let server: Awaited<ReturnType<typeof serveControl>> | undefined
    const folder: Membership = {
      onFailure: () => undefined,
      dataDir,
      meshKey: mesh.key,
      meshId: mesh.id,
      config: {
        identity,
        store,
        meshKey: mesh.key,
        predecessors: await succeed(store, identity.session),
        name: options.name ?? hostname(),
        version: VERSION,
        slots,
        labels,
        listen: options.listen ?? [`/ip4/0.0.0.0/tcp/${await lastPort(store)}`],
        announce: options.announce ?? [],
        bootstrap: mesh.addresses,
        mdns: options.mdns ?? true,
        gpu,
        callsDir: join(dataDir, 'calls'),
        log: logger,
        upkeep: {
          keep,
          embedded: options.embedded ?? false,
          stall,
          ...(minFreeBytes !== undefined && { minFreeBytes }),
          ...options.upkeep,
        },
        ...(leaseMs !== undefined && { leaseMs }),
        ...(options.wallClock !== undefined && { wallClock: options.wallClock }),
        onFailure: (error) => folder.onFailure(error),
      },
      reach: async (peer) => {
        if (ticket !== undefined) await reachTicket(peer, ticket.addresses)
        const remember = () =>
          saveMesh(dataDir, { key: mesh.key, addresses: [...knownAddresses(peer), ...bootstrap] })
        await remember()
        peer.onNews(() => {
          remember().catch((error: unknown) => {
            logger.warn('the addresses of the others could not be kept', { error: String(error) })
          })
        })
        // An announced port is not this machine's.
        if ((options.announce ?? []).length === 0) await keepPort(store, peer)
      },
      serve: async (backend) => {
        server = await serveControl(backend, { dataDir, onLeave: () => backend.close() })
        await lock.update({ socket: server.path })
      },
      closeServer: async () => server?.close(),
      release: () => lock.release(),
    }
    return folder
  } catch (error) {
    await lock.release()
    throw error
  }
}

/** Where the others of the mesh listen, as far as this peer heard: tried at its next start, whoever of them is there then. */
function knownAddresses(peer: Peer): string[] {
  return peer.roster
    .list((id) => peer.transport.connection(id))
    .flatMap(({ id }) => peer.roster.addressesOf(id as PeerId).slice(0, MAX_ADDRESSES_KEPT))
}

function checkCores(cores: number | undefined): number {
  if (cores === undefined) return availableParallelism()
  if (!Number.isInteger(cores) || cores < 0 || cores > MAX_SLOTS) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `cores must be a whole number from 0 to ${MAX_SLOTS}, not ${cores}`,
      { details: { option: 'cores' } },
    )
  }
  return cores
}

const GPU_MODES: readonly string[] = ['auto', 'off', 'require']

function checkGpu(gpu: GpuOptions = { mode: 'auto' }): GpuOptions {
  const { mode, device } = gpu
  const stranger = Object.keys(gpu).find((key) => key !== 'mode' && key !== 'device')
  if (stranger !== undefined) {
    throw wrongOption('gpu', `gpu has no "${stranger}": there are mode and device`)
  }
  if (!GPU_MODES.includes(mode)) {
    throw wrongOption('gpu', `gpu.mode must be one of ${GPU_MODES.join(', ')}, not ${String(mode)}`)
  }
  if (device !== undefined && (typeof device !== 'string' || device === '')) {
    throw wrongOption('gpu', "gpu.device must be an adapter's name or a part of it")
  }
  return gpu
}

const DAY_MS = 24 * 3_600_000
const MAX_KEEP_DAYS = 36_500

function checkKeep(keep: KeepOptions = {}): KeepRules {
  const { days, bytes } = keep
  const stranger = Object.keys(keep).find((key) => key !== 'days' && key !== 'bytes')
  if (stranger !== undefined) {
    throw wrongOption('keep', `keep has no "${stranger}": there are days and bytes`)
  }
  if (days !== undefined && !(days >= 0 && days <= MAX_KEEP_DAYS)) {
    throw wrongOption('keep', `keep.days must be from 0 to ${MAX_KEEP_DAYS}, not ${days}`)
  }
  if (bytes !== undefined && !(bytes >= 0)) {
    throw wrongOption('keep', `keep.bytes must be a number from 0 up, not ${bytes}`)
  }
  return {
    ...(days !== undefined && { ms: Math.round(days * DAY_MS) }),
    ...(bytes !== undefined && { bytes }),
  }
}

function checkMinFree(bytes: number | undefined): number | undefined {
  if (bytes === undefined || (bytes >= 0 && Number.isFinite(bytes))) return bytes
  throw wrongOption('minFree', `minFree must be a number of bytes from 0 up, not ${bytes}`)
}

/** Under two heartbeats every pause of a busy machine would be a death. */
function checkLease(seconds: number): number {
  if (seconds >= 5 && seconds <= 3600) return Math.round(seconds * 1000)
  throw wrongOption('lease', `lease must be from 5 to 3600 seconds, not ${seconds}`)
}

function wrongOption(option: string, message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
}

async function meshOf(
  dataDir: string,
  ticket: { meshKey: Uint8Array; addresses: readonly string[] } | undefined,
): Promise<MeshFile> {
  const known = await loadMesh(dataDir)
  if (known === undefined) {
    const key = ticket?.meshKey ?? createMeshKey()
    return { key, id: meshIdOf(key), addresses: [] }
  }
  if (ticket !== undefined && meshIdOf(ticket.meshKey) !== known.id) {
    throw new MeshError(
      'ERR_MESH_TICKET_MISMATCH',
      `this ticket is of mesh ${meshIdOf(ticket.meshKey).slice(0, 8)}, but ${dataDir} belongs to mesh ${known.id.slice(0, 8)}: use another folder (--data DIR) for the other mesh`,
      { details: { ticket: meshIdOf(ticket.meshKey), folder: known.id } },
    )
  }
  return known
}

/**
 * One of a ticket's peers must answer, and hold the ticket's key. A peer that has just seen this one go may refuse it for a moment,
 * so such an address is tried until the time is up.
 */
async function reachTicket(peer: Peer, addresses: readonly string[]): Promise<void> {
  const signal = AbortSignal.timeout(REACH_TIMEOUT_MS)
  const own = peer.transport.addresses()
  const others = addresses.filter((address) => !own.includes(address))
  if (others.length === 0) return
  const failures: unknown[] = []
  let refused = false
  for (;;) {
    try {
      await Promise.any(others.map((address) => peer.transport.dial(address, signal)))
      return
    } catch (error) {
      failures.splice(0, Infinity, ...(error instanceof AggregateError ? error.errors : [error]))
    }
    if (peer.transport.connected().length > 0) return
    // Two dials that meet, or a member that is just stopping, look like a stranger once; not twice.
    const again = failures.some(isBusyMember) || (failures.some(isRefusal) && !refused)
    if (signal.aborted || !again) throw worst(failures)
    refused ||= failures.some(isRefusal)
    await pause(REACH_RETRY_MS, signal)
    if (peer.transport.connected().length > 0) return
  }
}

function worst(failures: readonly unknown[]): unknown {
  return failures.find(isRefusal) ?? failures[0]
}

function isRefusal(error: unknown): boolean {
  return isMeshError(error, 'ERR_MESH_TICKET_REFUSED')
}

/** A member answered, and closed the connection. */
function isBusyMember(error: unknown): boolean {
  return isMeshError(error) && error.details.member === true
}

/** The earlier sessions on this folder, the latest last; this one is added to them. */
async function succeed(store: Store, session: SessionId): Promise<SessionId[]> {
  const kept = (await store.getMeta(SESSIONS_KEY)) ?? new Uint8Array()
  const before: SessionId[] = []
  for (let at = 0; at + SESSION_BYTES <= kept.byteLength; at += SESSION_BYTES) {
    before.push(toHex(kept.subarray(at, at + SESSION_BYTES)) as SessionId)
  }
  const all = [...before, session].slice(-MAX_PREDECESSORS)
  await store.putMeta(SESSIONS_KEY, fromHex(all.join('')))
  return before
}

/** The port is kept over restarts, else tickets die. */
async function lastPort(store: Store): Promise<number> {
  const kept = await store.getMeta(PORT_KEY)
  return kept?.byteLength === 2 ? Buffer.from(kept).readUInt16BE(0) : 0
}

async function keepPort(store: Store, peer: Peer): Promise<void> {
  const match = /\/tcp\/(\d+)/.exec(peer.transport.addresses()[0] ?? '')
  if (match === null) return
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(Number(match[1]))
  await store.putMeta(PORT_KEY, bytes)
}
