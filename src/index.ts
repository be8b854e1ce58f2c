/**
 * Meshwork: any set of machines as one computer.
 *
 * ```ts
 * import { defineTask, joinMesh } from 'meshwork'
 *
 * const mesh = await joinMesh()
 * const squares = await mesh.map((x: number) => x * x, [1, 2, 3])
 * await mesh.stop()
 * ```
 *
 * @module
 */
import { resolve } from 'node:path'
import { MeshError } from './base/errors.ts'
import { createLogger, type LogLevel } from './base/logger.ts'
import { defaultDataDir } from './base/paths.ts'
import { Mesh } from './client/mesh.ts'
import { describe } from './runtime/task.ts'

export { isMeshError, MeshError, type MeshErrorCode } from './base/errors.ts'
export type { LogLevel } from './base/logger.ts'
export { defaultDataDir } from './base/paths.ts'
export {
  type ArrayFileWritten,
  type PictureOptions,
  type PictureScale,
  type SizedArray,
  writeArrayFile,
} from './client/array-files.ts'
export type { ItemFailed, ItemResult } from './client/entries.ts'
export type { Items, JobSource } from './client/input.ts'
export type { Job, ReadOptions } from './client/job.ts'
export type { KernelResult } from './client/kernel-array.ts'
export type { ItemFunction, Mesh, TaskLike } from './client/mesh.ts'
export type { BackoffOptions, RequiresOptions, SubmitOptions } from './client/options.ts'
export type { ItemFailure, ResultBatch } from './client/results.ts'
export {
  defineKernel,
  type Kernel,
  type KernelArray,
  type KernelDefinition,
  type KernelInput,
  type KernelThis,
  type Numbers,
  type PerItem,
  perItem,
} from './gpu/define-kernel.ts'
export type { JobInfo, LogLine, MeshStatus, PeerInfo } from './node/types.ts'
export {
  type ChainOptions,
  type ChordOptions,
  chain,
  chord,
  chunks,
  group,
  type Link,
  type Mapper,
  map,
  type ReduceOptions,
  reduce,
  signature,
  starmap,
  type ValueOf,
} from './runtime/compose.ts'
export type {
  Bindable,
  Chain,
  Chord,
  Composition,
  Group,
  MapComposition,
  Reduce,
  Signature,
  SignatureArgs,
  SignatureOptions,
} from './runtime/composition.ts'
export {
  defineTask,
  type KernelCallOptions,
  type SetupContext,
  type StandardSchema,
  type Task,
  type TaskContext,
  type TaskDefinition,
  type TaskGpu,
} from './runtime/task.ts'

/** How to join. All optional: `joinMesh()` alone uses this machine's cores in a mesh of its own, which others may join. */
export interface JoinOptions {
  /** Folder of the peer's identity, mesh key, log and results; default: `defaultDataDir()`. One process at a time may use it. */
  readonly dataDir?: string
  /** What `mesh ticket` or `mesh.ticket()` gave on a peer of the mesh to join; without it the folder's own mesh, or a new one. */
  readonly ticket?: string
  /** Worker processes that this peer lends: default as many as it has cores; 0 lends nothing. */
  readonly cores?: number
  /** How other peers show this one; default: the host's name. */
  readonly name?: string
  /** Multiaddrs to listen on, like '/ip4/0.0.0.0/tcp/4001'; default: every interface, on the port used last time. */
  readonly listen?: readonly string[]
  /** Multiaddrs that others are told in place of those it listens on, like '/ip4/203.0.113.1/tcp/4001': behind a forwarded port. */
  readonly announce?: readonly string[]
  /** Find peers on the local network (they need the mesh's key all the same); default true. */
  readonly mdns?: boolean
  /**
   * How long, and how much, of finished jobs this peer keeps: `days` of its running time (default 7), `bytes` of results and input
   * (default 10 GB, or a tenth of the disk when that is less). What is over either is collected, the oldest first.
   */
  readonly keep?: { readonly days?: number; readonly bytes?: number }
  /** Bytes of the disk to leave free (default 512 MB, or 2 % of a small disk): below, the peer takes no work and keeps nothing. */
  readonly minFree?: number
  /** Seconds of silence after which this peer takes another one for lost, and its work is taken over: 5 to 3600, default 10. */
  readonly lease?: number
  /**
   * Where kernels run here: `auto` (default) on a GPU that is found and gives right answers, else on the CPU; `off`: on the CPU; `require`: without a GPU
   * it does not join. `device` names an adapter, or a part of its name; a software adapter is used only when it is named.
   */
  readonly gpu?: { readonly mode: 'auto' | 'off' | 'require'; readonly device?: string }
  /** What jobs may require of this peer: names and values, such as { zone: 'eu' }. */
  readonly labels?: Readonly<Record<string, string>>
  /** What is logged to stderr, as JSON lines: 'debug', 'info', 'warn' (default), 'error' or 'silent'. */
  readonly logLevel?: LogLevel
}

const JOIN_OPTIONS = [
  'dataDir',
  'ticket',
  'cores',
  'name',
  'listen',
  'announce',
  'mdns',
  'keep',
  'minFree',
  'lease',
  'gpu',
  'labels',
  'logLevel',
] as const
const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent']

/**
 * Starts a peer in this process and joins a mesh. Members of a mesh can run code on each other's machines, as their users.
 * @throws ERR_MESH_OPTION_INVALID, ERR_MESH_FOLDER_LOCKED (a peer runs on the folder: `connectMesh()` talks to it),
 * ERR_MESH_TICKET_DAMAGED, ERR_MESH_TICKET_MISMATCH, ERR_MESH_TICKET_REFUSED, ERR_MESH_UNREACHABLE, ERR_MESH_PORT_IN_USE,
 * ERR_MESH_ADDRESS_INVALID, ERR_MESH_STORE_DAMAGED
 */
export async function joinMesh(options: JoinOptions = {}): Promise<Mesh> {
  checkOptions(options, JOIN_OPTIONS)
  const { logLevel = 'warn', ...rest } = options
  if (!LOG_LEVELS.includes(logLevel)) {
    throw invalid(
      'logLevel',
      `logLevel must be one of ${LOG_LEVELS.join(', ')}, not ${describe(logLevel)}`,
    )
  }
  // Loaded when used: a program that only defines tasks or connects pays nothing for libp2p.
  const { openLocalBackend } = await import('./node/local-backend.ts')
  return new Mesh(await openLocalBackend({ ...rest, logger: createLogger(logLevel) }))
}

/** Which running peer to talk to. */
export interface ConnectOptions {
  /** The folder that the peer runs on; default: `defaultDataDir()`. */
  readonly dataDir?: string
}

/**
 * Attaches to the peer that runs on a data folder (`mesh join`, or another program's `joinMesh()`) through its control socket.
 * `mesh.stop()` closes the connection; the peer goes on.
 * @throws ERR_MESH_NO_PEER_RUNNING, ERR_MESH_OPTION_INVALID
 */
export async function connectMesh(options: ConnectOptions = {}): Promise<Mesh> {
  checkOptions(options, ['dataDir'])
  const { connectControl } = await import('./node/control/client.ts')
  const { socketPathFor } = await import('./node/control/socket-path.ts')
  const backend = connectControl(socketPathFor(resolve(options.dataDir ?? defaultDataDir())))
  await backend.status()
  return new Mesh(backend)
}

function checkOptions(options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw invalid('options', `the options must be an object, not ${describe(options)}`)
  }
  const texts = ['dataDir', 'ticket', 'name']
  for (const [key, value] of Object.entries(options)) {
    if (!known.includes(key)) {
      throw invalid(key, `there is no option "${key}": there are ${known.join(', ')}`)
    }
    if (value === undefined) continue
    if (texts.includes(key) && (typeof value !== 'string' || value === '')) {
      throw invalid(key, `${key} must be a string that is not empty, not ${describe(value)}`)
    }
    if (key === 'keep' && (typeof value !== 'object' || value === null)) {
      throw invalid(key, `keep must be an object { days, bytes }, not ${describe(value)}`)
    }
    if (key === 'gpu' && (typeof value !== 'object' || value === null)) {
      throw invalid(key, `gpu must be an object { mode, device }, not ${describe(value)}`)
    }
    if (key === 'minFree' && typeof value !== 'number') {
      throw invalid(key, `minFree must be a number of bytes, not ${describe(value)}`)
    }
    if (key === 'lease' && typeof value !== 'number') {
      throw invalid(key, `lease must be a number of seconds, not ${describe(value)}`)
    }
    if (key === 'mdns' && typeof value !== 'boolean') {
      throw invalid(key, `mdns must be true or false, not ${describe(value)}`)
    }
    if (
      (key === 'listen' || key === 'announce') &&
      !(Array.isArray(value) && value.every((a) => typeof a === 'string'))
    ) {
      throw invalid(key, `${key} must be a list of multiaddrs, not ${describe(value)}`)
    }
  }
}

function invalid(option: string, message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
}
