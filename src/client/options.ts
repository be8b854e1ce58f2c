import { toHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import type { JobInfo } from '../node/types.ts'
import { encodeValue } from '../runtime/segment.ts'
import { describe } from '../runtime/task.ts'
import type { JobOptions } from '../scheduler/types.ts'
import { checkControllers } from './controllers.ts'
import {
  MAX_ARGS_BYTES,
  MAX_OPTION_COUNT,
  MAX_PRIORITY,
  MAX_REPLICAS,
  MAX_RETRIES,
  MIN_MEMORY_MIB,
} from './limits.ts'
import {
  backoffOf,
  invalid,
  keyOf,
  limitMs,
  maxFailuresOf,
  memoryBytes,
  ratePer1000s,
  requiresOf,
  startTime,
  waitMs,
  whole,
} from './option-values.ts'

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
  /** How often an item that failed is tried again, 0 to 1 000; default 0. A task's `retryOn` says which errors are worth it. */
  readonly retries?: number
  /** Waits between the tries of an item; without it they follow at once. A number is the first wait in seconds; each next one is twice as long. */
  readonly backoff?: number | BackoffOptions
  /** Seconds after which an item's `ctx.signal` aborts, so that it may end by itself; `timeLimit` kills. */
  readonly softTimeLimit?: number
  /** Seconds from the job's start after which what is left of it is cancelled. */
  readonly jobTimeLimit?: number
  /** 0 to 9, default 5: jobs with a higher one go first. */
  readonly priority?: number
  /** Items started per second in the whole mesh, from 0.001 up. */
  readonly rateLimit?: number
  /** The job is cancelled when more items than this failed: a count, or a share of all as in '5%'. */
  readonly maxFailures?: number | `${number}%`
  /** Nothing starts before this time, by the median of the peers' clocks. */
  readonly startAt?: Date
  /** Nothing starts before so many seconds have passed. */
  readonly startIn?: number
  /** Seconds (of the time that a peer runs) for which the results are kept after the job's end, in place of what each peer does by itself. */
  readonly expires?: number
  /** What a peer must have to run it. */
  readonly requires?: RequiresOptions
  /** Peers that may cancel, pause and resume it: ids (or the beginning of one, 8 characters or more) as `mesh.peers()` has them, or 'me'. Default: every member. */
  readonly controllers?: readonly string[]
  /**
   * Idempotency key, 1 to 200 bytes: while a job with this key is known, the same submission gives that job (`job.attached`), finished or not, and
   * another one is refused (ERR_MESH_KEY_REUSED).
   */
  readonly key?: string
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

/** Before try n + 1 an item waits `delay` × `factor`^(n-1) seconds, at most `max`, less a random part of up to `jitter` of that. */
export interface BackoffOptions {
  /** Seconds. */
  readonly delay: number
  /** 1 to 100; default 2. */
  readonly factor?: number
  /** Seconds; default 600. */
  readonly max?: number
  /** 0 to 1; default 0.5. */
  readonly jitter?: number
}

export interface RequiresOptions {
  readonly cores?: number
  /** MiB that the machine has. */
  readonly memory?: number
  readonly gpu?: boolean
  /** As given to `mesh join --label`, or `joinMesh({ labels })`. */
  readonly labels?: Readonly<Record<string, string>>
}

const KNOWN = [
  'args',
  'chunkSize',
  'timeLimit',
  'memory',
  'retries',
  'backoff',
  'softTimeLimit',
  'jobTimeLimit',
  'priority',
  'rateLimit',
  'maxFailures',
  'startAt',
  'startIn',
  'expires',
  'requires',
  'controllers',
  'key',
  'maxItemsPerWorker',
  'replicas',
  'speculate',
  'signal',
  'detach',
  'onProgress',
] as const satisfies readonly (keyof SubmitOptions)[]

/**
 * The options as they travel with the job; `controllers` are resolved by whoever knows the peers (controllers.ts).
 * @throws ERR_MESH_OPTION_INVALID, naming the option and what would be right
 */
export function toJobOptions(options: SubmitOptions): JobOptions {
  checkShape(options)
  const { args, retries, replicas, speculate, maxItemsPerWorker, chunkSize } = options
  const { timeLimit, softTimeLimit, memory, priority } = options
  checkTogether(options)
  return {
    ...(args !== undefined && { args: encodeArgs(args) }),
    ...(chunkSize !== undefined && {
      chunkSize: whole('chunkSize', chunkSize, 1, MAX_OPTION_COUNT),
    }),
    ...(timeLimit !== undefined && { timeLimitMs: limitMs('timeLimit', timeLimit) }),
    ...(softTimeLimit !== undefined && {
      softTimeLimitMs: limitMs('softTimeLimit', softTimeLimit),
    }),
    ...(memory !== undefined && { memoryBytes: memoryBytes('memory', memory, MIN_MEMORY_MIB) }),
    ...(retries !== undefined && { retries: whole('retries', retries, 0, MAX_RETRIES) }),
    ...(maxItemsPerWorker !== undefined && {
      maxItemsPerWorker: whole('maxItemsPerWorker', maxItemsPerWorker, 1, MAX_OPTION_COUNT),
    }),
    ...(replicas !== undefined && { replicas: whole('replicas', replicas, 1, MAX_REPLICAS) }),
    ...(speculate !== undefined && { speculate }),
    ...(priority !== undefined && { priority: whole('priority', priority, 0, MAX_PRIORITY) }),
    ...controlOptions(options),
  }
}

/** When it runs, how fast, where, and what ends it. */
function controlOptions(options: SubmitOptions): JobOptions {
  const { backoff, jobTimeLimit, rateLimit, maxFailures } = options
  const { startAt, startIn, expires, requires, key } = options
  return {
    ...(backoff !== undefined && { backoff: backoffOf(backoff) }),
    ...(jobTimeLimit !== undefined && {
      jobTimeLimitMs: jobLimitMs(jobTimeLimit),
    }),
    ...(rateLimit !== undefined && { ratePer1000s: ratePer1000s(rateLimit) }),
    ...(maxFailures !== undefined && maxFailuresOf(maxFailures)),
    ...(startAt !== undefined && { startAt: startTime(startAt) }),
    ...(startIn !== undefined && { delayMs: waitMs('startIn', startIn) }),
    ...(expires !== undefined && { resultTtlMs: waitMs('expires', expires) }),
    ...(requires !== undefined && { requires: requiresOf(requires) }),
    ...(key !== undefined && { key: keyOf(key) }),
  }
}

function jobLimitMs(seconds: number): number {
  if (seconds === 0) {
    throw invalid('jobTimeLimit', 'jobTimeLimit is seconds above 0; leave it out for no limit')
  }
  return Math.max(1, waitMs('jobTimeLimit', seconds))
}

/** Options that make no sense beside each other. */
function checkTogether(options: SubmitOptions): void {
  const { backoff, retries, softTimeLimit, timeLimit, startAt, startIn } = options
  if (backoff !== undefined && (retries ?? 0) === 0) {
    throw invalid('backoff', 'backoff is the wait before a retry, and there is none: give retries')
  }
  if (softTimeLimit !== undefined && timeLimit !== undefined && softTimeLimit >= timeLimit) {
    throw invalid(
      'softTimeLimit',
      `softTimeLimit (${softTimeLimit} s) must be below timeLimit (${timeLimit} s), which kills`,
    )
  }
  if (startAt !== undefined && startIn !== undefined) {
    throw invalid('startAt', 'startAt and startIn both say when to start: give one of them')
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
  const { signal, detach, onProgress, speculate, controllers } = options
  if (controllers !== undefined) checkControllers(controllers)
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
