/** What a user writes as the value of an option, as it travels with a job; each throws ERR_MESH_OPTION_INVALID, naming the option. */
import { MeshError } from '../base/errors.ts'
import { describe } from '../runtime/task.ts'
import type { Backoff, JobOptions, Requires } from '../scheduler/types.ts'
import {
  MAX_BACKOFF_FACTOR,
  MAX_KEY_BYTES,
  MAX_LABEL_BYTES,
  MAX_LABELS,
  MAX_MEMORY_MIB,
  MAX_OPTION_COUNT,
  MAX_RATE,
  MAX_REQUIRED_CORES,
  MAX_TIME_LIMIT_S,
  MAX_WAIT_S,
} from './limits.ts'
import type { BackoffOptions, RequiresOptions } from './options.ts'

const MIB = 2 ** 20

export function whole(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) {
    return value
  }
  throw invalid(
    name,
    `${name} must be a whole number from ${min} to ${max}, not ${describe(value)}`,
  )
}

/** Of one item. */
export function limitMs(name: string, value: unknown): number {
  if (typeof value === 'number' && value > 0 && value <= MAX_TIME_LIMIT_S) {
    return Math.max(1, Math.round(value * 1000))
  }
  throw invalid(
    name,
    `${name} must be a number of seconds above 0, at most ${MAX_TIME_LIMIT_S}, not ${describe(value)}`,
  )
}

export function waitMs(name: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= MAX_WAIT_S)
    return Math.round(value * 1000)
  throw invalid(
    name,
    `${name} must be a number of seconds from 0 to ${MAX_WAIT_S}, not ${describe(value)}`,
  )
}

export function memoryBytes(name: string, value: unknown, minMib: number): number {
  if (typeof value === 'number' && value >= minMib && value <= MAX_MEMORY_MIB) {
    return Math.round(value * MIB)
  }
  throw invalid(
    name,
    `${name} must be a number of MiB from ${minMib} to ${MAX_MEMORY_MIB}, not ${describe(value)}`,
  )
}

export function backoffOf(value: unknown): Backoff {
  const options = typeof value === 'number' ? { delay: value } : (value as BackoffOptions)
  if (typeof options !== 'object' || options === null) {
    throw invalid(
      'backoff',
      `backoff must be a number of seconds, or { delay, factor, max, jitter }, not ${describe(value)}`,
    )
  }
  const known = ['delay', 'factor', 'max', 'jitter']
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue
    throw invalid('backoff', `backoff has no "${key}": there are ${known.join(', ')}`)
  }
  const { delay, factor = 2, jitter = 0.5 } = options
  const delayMs = waitMs('backoff.delay', delay)
  const { max = Math.max(DEFAULT_BACKOFF_MAX_S, delay) } = options
  const maxMs = waitMs('backoff.max', max)
  if (maxMs < delayMs) {
    throw invalid(
      'backoff.max',
      `backoff.max (${max} s) must not be below backoff.delay (${delay} s)`,
    )
  }
  const factorPercent = Math.round(within('backoff.factor', factor, 1, MAX_BACKOFF_FACTOR) * 100)
  const jitterPercent = Math.round(within('backoff.jitter', jitter, 0, 1) * 100)
  return { delayMs, factorPercent, maxMs, jitterPercent }
}

const DEFAULT_BACKOFF_MAX_S = 600

/** A mesh of one peer holds it to about a hundredth. */
export function ratePer1000s(value: unknown): number {
  if (typeof value === 'number' && value >= 0.001 && value <= MAX_RATE) {
    return Math.round(value * 1000)
  }
  throw invalid(
    'rateLimit',
    `rateLimit must be a number of items per second from 0.001 to ${MAX_RATE}, not ${describe(value)}`,
  )
}

export function maxFailuresOf(value: unknown): Pick<JobOptions, 'maxFailures' | 'maxFailuresPpm'> {
  const share = typeof value === 'string' ? /^\s*(\d+(?:\.\d+)?)\s*%\s*$/.exec(value) : null
  if (share !== null && Number(share[1]) <= 100) {
    return { maxFailuresPpm: Math.round(Number(share[1]) * 10_000) }
  }
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0) {
    return { maxFailures: whole('maxFailures', value, 0, MAX_OPTION_COUNT) }
  }
  throw invalid(
    'maxFailures',
    `maxFailures must be a whole number from 0 up, or a share of the items such as '5%', not ${describe(value)}`,
  )
}

export function startTime(value: unknown): number {
  if (value instanceof Date && value.getTime() >= 0) return value.getTime()
  throw invalid(
    'startAt',
    `startAt must be a Date, not ${value instanceof Date ? 'an invalid one' : describe(value)}; startIn takes seconds from now`,
  )
}

export function requiresOf(value: unknown): Requires {
  const fail = (name: string, right: string, got: unknown): MeshError =>
    invalid(name, `${name} must be ${right}, not ${describe(got)}`)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw fail('requires', 'an object { cores, memory, gpu, labels }', value)
  }
  const known = ['cores', 'memory', 'gpu', 'labels']
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue
    throw invalid('requires', `requires has no "${key}": there are ${known.join(', ')}`)
  }
  const { cores, memory, gpu, labels } = value as RequiresOptions
  if (gpu !== undefined && typeof gpu !== 'boolean')
    throw fail('requires.gpu', 'true or false', gpu)
  return {
    ...(cores !== undefined && { cores: whole('requires.cores', cores, 1, MAX_REQUIRED_CORES) }),
    ...(memory !== undefined && { memoryBytes: memoryBytes('requires.memory', memory, 1) }),
    ...(gpu === true && { gpu }),
    ...(labels !== undefined && { labels: labelsOf('requires.labels', labels) }),
  }
}

/** Names and values of labels, checked. */
function labelsOf(option: string, value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(
      option,
      `${option} must be an object such as { zone: 'eu' }, not ${describe(value)}`,
    )
  }
  const labels = Object.entries(value)
  if (labels.length > MAX_LABELS) {
    throw invalid(option, `${option} has ${labels.length} labels, and may have ${MAX_LABELS}`)
  }
  for (const [name, text] of labels) {
    const right =
      name !== '' &&
      typeof text === 'string' &&
      [name, text].every((part) => Buffer.byteLength(part) <= MAX_LABEL_BYTES)
    if (right) continue
    throw invalid(
      option,
      `${option}: the label ${describe(name)} must have a string as its value, and both at most ${MAX_LABEL_BYTES} bytes, not ${describe(text)}`,
    )
  }
  return Object.fromEntries(labels)
}

export function keyOf(value: unknown): string {
  const sizeBytes = typeof value === 'string' ? Buffer.byteLength(value) : 0
  if (
    typeof value === 'string' &&
    value.isWellFormed() &&
    sizeBytes > 0 &&
    sizeBytes <= MAX_KEY_BYTES
  ) {
    return value
  }
  throw invalid(
    'key',
    typeof value === 'string' && sizeBytes > MAX_KEY_BYTES
      ? `key has ${sizeBytes} bytes, and may have ${MAX_KEY_BYTES}`
      : `key must be a string of 1 to ${MAX_KEY_BYTES} bytes, not ${describe(value)}`,
  )
}

function within(name: string, value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && value >= min && value <= max) return value
  throw invalid(name, `${name} must be a number from ${min} to ${max}, not ${describe(value)}`)
}

export function invalid(option: string, message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
}
