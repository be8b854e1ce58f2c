/** The options of submit and retry that say when a job runs, how fast, where, and what ends it. */
import { type Command, InvalidArgumentError } from 'commander'
import { MeshError } from '../../src/base/errors.ts'
import type { Context } from './context.ts'
import { duration, positiveDuration, secondsOf, timeOf } from './durations.ts'
import { parseLabel } from './labels.ts'
import type { SubmitOptions } from './library.ts'
import { MAX_REPLICAS } from './limits.ts'
import { positiveNumber, repeated, wholeNumber } from './options.ts'
import { bytes } from './quantities.ts'

export interface ControlFlags {
  readonly args?: string
  readonly chunkSize?: number
  readonly timeLimit?: number
  readonly softTimeLimit?: number
  readonly jobTimeLimit?: number
  readonly memory?: number
  readonly retries?: number
  readonly backoff?: SubmitOptions['backoff']
  readonly maxItemsPerWorker?: number
  readonly replicas?: number
  readonly speculate: boolean
  readonly priority?: number
  readonly rateLimit?: number
  readonly maxFailures?: SubmitOptions['maxFailures']
  readonly at?: string
  readonly in?: number
  readonly expires?: number
  readonly requires?: readonly string[]
  readonly controllers?: readonly string[]
  readonly key?: string
  readonly detach?: boolean
}

/** Adds them. */
export function withControlOptions(command: Command): Command {
  return withWorkerOptions(command)
    .option(
      '--job-time-limit <time>',
      'cancel what is left of the job so long after its start',
      positiveDuration,
    )
    .option(
      '--priority <0..9>',
      'jobs with a higher one go first (default: 5)',
      wholeNumber(0, MAX_PRIORITY),
    )
    .option('--rate-limit <n>', 'items started per second in the whole mesh; or 30/m, 100/h', rate)
    .option(
      '--max-failures <n>',
      'cancel the job when more items than this failed; or a share, as in 5%',
      maxFailures,
    )
    .option('--at <time>', 'start then: 14:30, or 2026-03-01T14:30')
    .option('--in <time>', 'start after so long: 10s, 5m, 2h, 1d', duration)
    .option(
      '--expires <time>',
      "keep the results so long after the job's end, in place of what each peer does",
      duration,
    )
    .option(
      '--requires <what>',
      'what a peer must have: cores=4,memory=8G,gpu,label.zone=eu; may be repeated',
      repeated,
    )
    .option(
      '--controllers <peers>',
      'ids of the peers that may cancel, pause and resume it, or me (default: all); may be repeated',
      repeated,
    )
    .option('--key <key>', 'the same work under the same key is submitted once')
}

function withWorkerOptions(command: Command): Command {
  return command
    .option('--chunk-size <n>', 'items a worker takes at a time (default: by time)', wholeNumber(1))
    .option(
      '--time-limit <time>',
      'an item that runs longer is killed, and fails',
      positiveDuration,
    )
    .option(
      '--soft-time-limit <time>',
      'an item that runs longer has its ctx.signal aborted, so that it may end by itself',
      positiveDuration,
    )
    .option('--memory <MB>', 'memory cap of a worker', positiveNumber('megabytes'))
    .option(
      '--retries <n>',
      'run an item that threw so many times more (default: 0)',
      wholeNumber(0, 1_000),
    )
    .option(
      '--backoff <time>',
      'wait before the first retry, and twice as long before each next; or 2s,factor=3,max=5m,jitter=0.2',
      backoff,
    )
    .option('--max-items-per-worker <n>', 'replace a worker after so many items', wholeNumber(1))
    .option(
      '--replicas <n>',
      'peers that keep each result, 1 to 8 (default: 2)',
      wholeNumber(1, MAX_REPLICAS),
    )
    .option('--no-speculate', 'never run a second copy of what a slow peer still runs')
}

/** As the library takes them; `args` are the caller's. @throws ERR_MESH_OPTION_INVALID */
export function controlOptions(
  context: Pick<Context, 'wallClock'>,
  flags: ControlFlags,
): SubmitOptions {
  const { timeLimit, softTimeLimit, jobTimeLimit, chunkSize, memory, retries, backoff } = flags
  const { maxItemsPerWorker, replicas, priority, rateLimit, maxFailures, expires, key } = flags
  const { requires, controllers, detach } = flags
  const startAt = flags.at === undefined ? undefined : timeOf(flags.at, context.wallClock())
  const given = {
    ...{ timeLimit, softTimeLimit, jobTimeLimit, chunkSize, memory, retries, backoff },
    ...{ maxItemsPerWorker, replicas, priority, rateLimit, maxFailures, expires, key, detach },
    ...{ startAt, startIn: flags.in },
    requires: requires && parseRequires(requires),
    controllers: controllers?.flatMap((list) => list.split(',').map((peer) => peer.trim())),
    speculate: flags.speculate ? undefined : false,
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

const MAX_PRIORITY = 9
const MIB = 2 ** 20

/** '10', '0.5', '30/m', '100/h' -> items per second. */
function rate(text: string): number {
  const [count = '', per = 's', ...more] = text.split('/').map((part) => part.trim())
  const seconds = per === '' ? undefined : secondsOf(`1${per}`)
  const value = /^\d[\d_]*\.?\d*$|^\.\d+$/.test(count) ? Number(count.replaceAll('_', '')) : 0
  if (more.length === 0 && seconds !== undefined && value > 0) return value / seconds
  throw new InvalidArgumentError(
    `must be items per second above 0, such as 10 or 0.5, or 30/m, 100/h (got '${text}')`,
  )
}

function maxFailures(text: string): number | `${number}%` {
  const trimmed = text.trim()
  if (/^\d+(\.\d+)?%$/.test(trimmed)) return trimmed as `${number}%`
  if (/^\d+(_\d+)*$/.test(trimmed)) return Number(trimmed.replaceAll('_', ''))
  throw new InvalidArgumentError(
    `must be a count such as 10, or a share such as 5% (got '${text}')`,
  )
}

/** '2s', '2s,factor=3,max=5m,jitter=0.2' */
function backoff(text: string): NonNullable<SubmitOptions['backoff']> {
  const [first = '', ...rest] = text.split(',').map((part) => part.trim())
  const delay = secondsOf(first)
  const fields: Record<string, number> = {}
  const right = rest.every((part) => {
    const [name = '', value = ''] = part.split('=').map((word) => word.trim())
    const number = name === 'max' ? secondsOf(value) : Number(value === '' ? Number.NaN : value)
    if (!['factor', 'max', 'jitter'].includes(name) || number === undefined) return false
    fields[name] = number
    return !Number.isNaN(number)
  })
  if (delay !== undefined && right) return rest.length === 0 ? delay : { delay, ...fields }
  throw new InvalidArgumentError(
    `must be a time, and after it factor=, max=, jitter=, as in 2s,factor=3,max=5m,jitter=0.2 (got '${text}')`,
  )
}

/** 'cores=4,memory=8G,gpu,label.zone=eu' */
function parseRequires(texts: readonly string[]): NonNullable<SubmitOptions['requires']> {
  const labels: Record<string, string> = {}
  const found: { cores?: number; memory?: number; gpu?: boolean } = {}
  for (const part of texts.flatMap((text) => text.split(',')).map((word) => word.trim())) {
    const [name, value] = split(part)
    if (name === 'gpu' && value === undefined) found.gpu = true
    else if (name === 'cores' && value !== undefined)
      found.cores = read(part, wholeNumber(1), value)
    else if (name === 'memory' && value !== undefined) found.memory = read(part, bytes, value) / MIB
    else if (name.startsWith('label.')) {
      const [label, text] = parseLabel(part.slice('label.'.length), (why) => wrong(part, why))
      labels[label] = text
    } else throw wrong(part, 'is none of cores=N, memory=SIZE, gpu and label.NAME=VALUE')
  }
  return { ...found, ...(Object.keys(labels).length > 0 && { labels }) }
}

function split(part: string): [name: string, value: string | undefined] {
  const at = part.indexOf('=')
  return at < 0 ? [part, undefined] : [part.slice(0, at).trim(), part.slice(at + 1).trim()]
}

function read(part: string, parse: (text: string) => number, value: string): number {
  try {
    return parse(value)
  } catch (error) {
    throw wrong(part, error instanceof InvalidArgumentError ? error.message : String(error))
  }
}

function wrong(part: string, why: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', `--requires: '${part}' ${why}`, {
    details: { option: '--requires' },
  })
}
