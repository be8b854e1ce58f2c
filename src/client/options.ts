import { toHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import type { JobInfo } from '../node/types.ts'
import { encodeValue } from '../runtime/segment.ts'
import { describe } from '../runtime/task.ts'
import type { JobOptions } from '../scheduler/types.ts'
import { MAX_ARGS_BYTES, MAX_OPTION_COUNT, MAX_REPLICAS, MAX_RETRIES } from './limits.ts'

/** How a job is run. All optional: with none, items are grouped into chunks by time and only a worker's memory is capped. */
export interface SubmitOptions {
  /**
   * What the task reads as `ctx.args`, the same for every item: anything a structured clone can carry, at most 4 KiB encoded.
   * Larger data belongs in the items, or in the task's module.
   */
  readonly args?: unknown
  /** Items that one worker runs in one go; without it a chunk ends by time (about 250 ms), which suits nearly everything. */
  readonly chunkSize?: number
  /** Seconds that one item may take (fractions allowed); then it fails with ERR_MESH_TIME_LIMIT. */
  readonly timeLimit?: number
  /** Memory cap of a worker process, MiB; an item that passes it fails with ERR_MESH_MEMORY_LIMIT. */
  readonly memory?: number
  /** How often an item that failed is tried again, 0 to 1 000; default 0. */
  readonly retries?: number
  /** Replace a worker process after so many items (for tasks that leak). */
  readonly maxItemsPerWorker?: number
  /** Peers that keep each result, 1 to 8; default 2: one may die. Fewer keep it while there are fewer. */
  readonly replicas?: number
  /**
   * false: no idle peer runs a second copy of what a slow one is still running near the end. For tasks with side effects that must not
   * happen twice; a peer that dies has its items run again all the same.
   */
  readonly speculate?: boolean
  /** Aborts the submission, and what is read from the job; a job that was submitted goes on. */
  readonly signal?: AbortSignal
  /** Return only when another peer holds the job, its code and its input too, so that this process may end. */
  readonly detach?: boolean
  /** Told of the job's progress, at most 10 times a second, until it ends. */
  readonly onProgress?: (info: JobInfo) => void
}

const KNOWN = [
  'args',
  'chunkSize',
  'timeLimit',
  'memory',
  'retries',
  'maxItemsPerWorker',
  'replicas',
  'speculate',
  'signal',
  'detach',
  'onProgress',
] as const satisfies readonly (keyof SubmitOptions)[]

const MIB = 2 ** 20
/** The least cap under which Node itself starts, and more than any machine has. */
const MIN_MEMORY_MIB = 64
const MAX_MEMORY_MIB = 2 ** 24
const MAX_TIME_LIMIT_S = 7 * 24 * 3600

/**
 * The options as they travel with the job.
 * @throws ERR_MESH_OPTION_INVALID, naming the option and what would be right
 */
export function toJobOptions(options: SubmitOptions): JobOptions {
  checkShape(options)
  const { args, chunkSize, timeLimit, memory, retries, maxItemsPerWorker } = options
  const { replicas, speculate } = options
  return {
    ...(args !== undefined && { args: encodeArgs(args) }),
    ...(chunkSize !== undefined && {
      chunkSize: whole('chunkSize', chunkSize, 1, MAX_OPTION_COUNT),
    }),
    ...(timeLimit !== undefined && { timeLimitMs: timeLimitMs(timeLimit) }),
    ...(memory !== undefined && { memoryBytes: memoryBytes(memory) }),
    ...(retries !== undefined && { retries: whole('retries', retries, 0, MAX_RETRIES) }),
    ...(maxItemsPerWorker !== undefined && {
      maxItemsPerWorker: whole('maxItemsPerWorker', maxItemsPerWorker, 1, MAX_OPTION_COUNT),
    }),
    ...(replicas !== undefined && { replicas: whole('replicas', replicas, 1, MAX_REPLICAS) }),
    ...(speculate !== undefined && { speculate }),
  }
}

function checkShape(options: SubmitOptions): void {
  if (typeof options !== 'object' || options === null) {
    throw invalid('options', `the options must be an object, not ${describe(options)}`)
  }
  for (const key of Object.keys(options)) {
    if ((KNOWN as readonly string[]).includes(key)) continue
    throw invalid(key, `there is no option "${key}": there are ${KNOWN.join(', ')}`)
  }
  const { signal, detach, onProgress, speculate } = options
  if (speculate !== undefined && typeof speculate !== 'boolean') {
    throw invalid('speculate', `speculate must be true or false, not ${describe(speculate)}`)
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw invalid('signal', `signal must be an AbortSignal, not ${describe(signal)}`)
  }
  if (detach !== undefined && typeof detach !== 'boolean') {
    throw invalid('detach', `detach must be true or false, not ${describe(detach)}`)
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalid('onProgress', `onProgress must be a function, not ${describe(onProgress)}`)
  }
}

function whole(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
    return value
  }
  throw invalid(
    name,
    `${name} must be a whole number from ${min} to ${max}, not ${describe(value)}`,
  )
}

function timeLimitMs(value: unknown): number {
  if (typeof value === 'number' && value > 0 && value <= MAX_TIME_LIMIT_S) {
    return Math.max(1, Math.round(value * 1000))
  }
  throw invalid(
    'timeLimit',
    `timeLimit must be a number of seconds above 0, at most ${MAX_TIME_LIMIT_S}, not ${describe(value)}`,
  )
}

function memoryBytes(value: unknown): number {
  if (typeof value === 'number' && value >= MIN_MEMORY_MIB && value <= MAX_MEMORY_MIB) {
    return Math.round(value * MIB)
  }
  throw invalid(
    'memory',
    `memory must be a number of MiB from ${MIN_MEMORY_MIB} to ${MAX_MEMORY_MIB}, not ${describe(value)}`,
  )
}

function encodeArgs(args: unknown): string {
  let bytes: Uint8Array
  try {
    bytes = encodeValue(args)
  } catch (error) {
    if (!isMeshError(error)) throw error
    throw new MeshError('ERR_MESH_OPTION_INVALID', `args: ${error.message}`, {
      cause: error,
      details: { option: 'args' },
    })
  }
  if (bytes.byteLength > MAX_ARGS_BYTES) {
    throw invalid(
      'args',
      `args are ${bytes.byteLength} bytes encoded, and may be ${MAX_ARGS_BYTES}: put large data into the items, or into the task's module`,
    )
  }
  return toHex(bytes)
}

function invalid(option: string, message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
}
