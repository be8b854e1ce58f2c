import type { Backoff, JobOptions, Requires } from '../../scheduler/types.ts'
import { MAX_CONTROLLERS, MAX_KEY_BYTES, MAX_LABEL_BYTES, MAX_LABELS } from '../../store/limits.ts'
import { MAX_REPLICAS } from '../limits.ts'
import { type Fields, fields, whole, wrong } from './fields.ts'

const CODE = 'ERR_MESH_OPTION_INVALID'

/** Options that count something, with their least and greatest value. */
const COUNTS = {
  chunkSize: [1],
  timeLimitMs: [1],
  memoryBytes: [1],
  retries: [0],
  maxItemsPerWorker: [1],
  replicas: [1, MAX_REPLICAS],
  softTimeLimitMs: [1],
  jobTimeLimitMs: [1],
  priority: [0, 9],
  ratePer1000s: [1],
  maxFailures: [0],
  maxFailuresPpm: [0, 1_000_000],
  startAt: [0],
  delayMs: [0],
  resultTtlMs: [0],
} as const satisfies Partial<Record<keyof JobOptions, readonly [number, number?]>>

const OTHERS = {
  args: (value) => {
    if (typeof value === 'string' && /^(?:[0-9a-f]{2})*$/.test(value)) return
    throw wrong('options.args', 'msgpack bytes in lower-case hex', CODE)
  },
  speculate: (value) => {
    if (typeof value !== 'boolean') throw wrong('options.speculate', 'true or false', CODE)
  },
  key: (value) => {
    if (isText(value, MAX_KEY_BYTES) && value !== '') return
    throw wrong('options.key', `a string of 1 to ${MAX_KEY_BYTES} bytes`, CODE)
  },
  controllers: (value) => {
    const right =
      Array.isArray(value) &&
      value.length > 0 &&
      value.length <= MAX_CONTROLLERS &&
      value.every((peer) => typeof peer === 'string' && /^[0-9a-f]{64}$/.test(peer))
    if (!right) throw wrong('options.controllers', `1 to ${MAX_CONTROLLERS} peer ids`, CODE)
  },
  backoff: checkBackoff,
  requires: checkRequires,
} as const satisfies Partial<Record<keyof JobOptions, (value: unknown) => void>>

/** @throws ERR_MESH_OPTION_INVALID; ERR_MESH_PROTOCOL when it is no object, or has an unknown field */
export function checkOptions(value: unknown): JobOptions {
  const options = fields('options', value, [...Object.keys(OTHERS), ...Object.keys(COUNTS)])
  const out: Fields = {}
  for (const [name, check] of Object.entries(OTHERS)) {
    if (options[name] === undefined) continue
    check(options[name])
    out[name] = options[name]
  }
  for (const [name, [min, max]] of Object.entries(COUNTS) as [string, readonly number[]][]) {
    if (options[name] !== undefined) out[name] = within(`options.${name}`, options[name], min!, max)
  }
  return out as JobOptions
}

const BACKOFF = {
  delayMs: [0],
  factorPercent: [100],
  maxMs: [0],
  jitterPercent: [0, 100],
} as const satisfies Record<keyof Backoff, readonly [number, number?]>

function checkBackoff(value: unknown): void {
  const backoff = fields('options.backoff', value, Object.keys(BACKOFF))
  for (const [name, [min, max]] of Object.entries(BACKOFF) as [string, readonly number[]][]) {
    within(`options.backoff.${name}`, backoff[name], min!, max)
  }
}

function checkRequires(value: unknown): void {
  const names = ['cores', 'memoryBytes', 'gpu', 'labels'] satisfies (keyof Requires)[]
  const { cores, memoryBytes, gpu, labels } = fields('options.requires', value, names)
  if (cores !== undefined) within('options.requires.cores', cores, 1)
  if (memoryBytes !== undefined) within('options.requires.memoryBytes', memoryBytes, 1)
  if (gpu !== undefined && typeof gpu !== 'boolean') {
    throw wrong('options.requires.gpu', 'true or false', CODE)
  }
  if (labels === undefined) return
  const right =
    typeof labels === 'object' &&
    labels !== null &&
    Object.keys(labels).length <= MAX_LABELS &&
    Object.entries(labels)
      .flat()
      .every((text) => isText(text, MAX_LABEL_BYTES))
  if (!right) throw wrong('options.requires.labels', `at most ${MAX_LABELS} names and values`, CODE)
}

function isText(value: unknown, maxBytes: number): value is string {
  return typeof value === 'string' && Buffer.byteLength(value) <= maxBytes
}

function within(name: string, value: unknown, min: number, max?: number): number {
  const count = whole(name, value, min, CODE)
  if (max !== undefined && count > max) throw wrong(name, `at most ${max}`, CODE)
  return count
}
