import type { Backoff, JobOptions, PeerId, Requires } from '../scheduler/types.ts'
import { type CborReader, protocolError } from './cbor-reader.ts'
import { type CborValue, hexBytes, text, uint } from './cbor-values.ts'
import {
  MAX_ARGS_BYTES,
  MAX_CONTROLLERS,
  MAX_KEEPERS,
  MAX_KEY_BYTES,
  MAX_LABEL_BYTES,
  MAX_LABELS,
} from './limits.ts'

type Name = keyof JobOptions
type Filled = { [K in Name]: NonNullable<JobOptions[K]> }

interface OptionCodec<T> {
  write(value: T): CborValue
  read(reader: CborReader): T
}

const MAX_PRIORITY = 9
const PER_MILLION = 1_000_000
const PER_CENT = 100

/** A whole number within bounds. */
function count(what: string, min = 0, max = Number.MAX_SAFE_INTEGER): OptionCodec<number> {
  const checked = (value: number): number => {
    if (value >= min && value <= max) return value
    throw protocolError(`${what} is ${value}, ${min} to ${max} are allowed`)
  }
  return {
    write: (value) => checked(uint(value, what)),
    read: (reader) => checked(reader.uint(what)),
  }
}

function flag(what: string): OptionCodec<boolean> {
  return { write: (value) => Number(value), read: (reader) => reader.uint(what, 1) === 1 }
}

const args: OptionCodec<string> = {
  write: (value) => {
    const bytes = hexBytes(value, value.length >> 1, 'args')
    if (bytes.length <= MAX_ARGS_BYTES) return bytes
    throw protocolError(`args have ${bytes.length} bytes, at most ${MAX_ARGS_BYTES} are allowed`)
  },
  read: (reader) => Buffer.from(reader.bytes('args', MAX_ARGS_BYTES)).toString('hex'),
}

const jitter = count('jitterPercent', 0, PER_CENT)
/** Waits do not shrink from try to try. */
const factor = count('factorPercent', PER_CENT)

const backoff: OptionCodec<Backoff> = {
  write: ({ delayMs, factorPercent, maxMs, jitterPercent }) => [
    uint(delayMs, 'delayMs'),
    factor.write(factorPercent),
    uint(maxMs, 'maxMs'),
    jitter.write(jitterPercent),
  ],
  read: (reader) => {
    reader.array('backoff', 4, 4)
    return {
      delayMs: reader.uint('delayMs'),
      factorPercent: factor.read(reader),
      maxMs: reader.uint('maxMs'),
      jitterPercent: jitter.read(reader),
    }
  },
}

const key: OptionCodec<string> = {
  write: (value) => text(value, 'key', MAX_KEY_BYTES),
  read: (reader) => reader.text('key', MAX_KEY_BYTES),
}

const label = {
  write: (value: string) => text(value, 'label', MAX_LABEL_BYTES),
  read: (reader: CborReader) => reader.text('label', MAX_LABEL_BYTES),
}

/** Pairs in ascending order of their names, by UTF-16 units. */
const labels: OptionCodec<Readonly<Record<string, string>>> = {
  write: (value) => {
    const pairs = Object.entries(value).map(([name, is]) => [label.write(name), label.write(is)])
    if (pairs.length > MAX_LABELS) {
      throw protocolError(`${pairs.length} labels are required, at most ${MAX_LABELS} are allowed`)
    }
    pairs.sort(([a = ''], [b = '']) => (a < b ? -1 : 1))
    if (pairs.some(([name], i) => pairs[i + 1]?.[0] === name)) {
      throw protocolError('a label is required twice')
    }
    return pairs
  },
  read: (reader) => {
    const size = reader.array('labels', 0, MAX_LABELS)
    const pairs: [string, string][] = []
    for (let i = 0; i < size; i += 1) {
      reader.array('label', 2, 2)
      const name = label.read(reader)
      const before = pairs.at(-1)
      if (before !== undefined && before[0] >= name) throw protocolError('labels are out of order')
      pairs.push([name, label.read(reader)])
    }
    return Object.fromEntries(pairs)
  },
}

const requires = listOf<{ [K in keyof Requires]-?: NonNullable<Requires[K]> }>('requires', [
  ['cores', count('cores')],
  ['memoryBytes', count('memoryBytes')],
  ['gpu', flag('gpu')],
  ['labels', labels],
])

/** In ascending order, each once. */
const controllers: OptionCodec<readonly PeerId[]> = {
  write: (value) => {
    const peers = [...new Set(value)].sort()
    if (peers.length > MAX_CONTROLLERS) {
      throw protocolError(`${peers.length} controllers, at most ${MAX_CONTROLLERS} are allowed`)
    }
    return peers.map((peer) => hexBytes(peer, 32, 'controller'))
  },
  read: (reader) => {
    const size = reader.array('controllers', 0, MAX_CONTROLLERS)
    const peers: PeerId[] = []
    for (let i = 0; i < size; i += 1) {
      const peer = reader.hex('controller', 32) as PeerId
      const before = peers.at(-1)
      if (before !== undefined && before >= peer)
        throw protocolError('controllers are out of order')
      peers.push(peer)
    }
    return peers
  },
}

type Row<F> = { [K in keyof F & string]: readonly [name: K, codec: OptionCodec<F[K]>] }[keyof F &
  string]

/** `[[id, value], …]` in ascending order of the ids; what is absent is left out. An option's id is its place in the rows. */
function listOf<F extends object>(what: string, rows: readonly Row<F>[]): OptionCodec<Partial<F>> {
  const codecs = rows as readonly (readonly [keyof F & string, OptionCodec<unknown>])[]
  return {
    write: (value) =>
      codecs.flatMap(([name, codec], id): CborValue[] => {
        const given = value[name]
        return given === undefined ? [] : [[id, codec.write(given)]]
      }),
    read: (reader) => {
      const size = reader.array(what, 0, rows.length)
      const found: [string, unknown][] = []
      let last = -1
      for (let i = 0; i < size; i += 1) {
        reader.array(`one of the ${what}`, 2, 2)
        const id = reader.uint(`id in the ${what}`, rows.length - 1)
        if (id <= last) throw protocolError(`the ${what} are out of order`)
        last = id
        const [name, codec] = codecs[id]!
        found.push([name, codec.read(reader)])
      }
      return Object.fromEntries(found) as Partial<F>
    },
  }
}

/** docs/protocol.md, "The job": a new option gets the next id; none is given twice. */
const OPTIONS = listOf<Filled>('options', [
  ['args', args],
  ['chunkSize', count('chunkSize', 1)],
  ['timeLimitMs', count('timeLimitMs')],
  ['memoryBytes', count('memoryBytes')],
  ['retries', count('retries')],
  ['maxItemsPerWorker', count('maxItemsPerWorker')],
  // A result has at least one keeper, and a DONE names at most so many.
  ['replicas', count('replicas', 1, MAX_KEEPERS)],
  ['speculate', flag('speculate')],
  ['backoff', backoff],
  ['softTimeLimitMs', count('softTimeLimitMs', 1)],
  ['jobTimeLimitMs', count('jobTimeLimitMs', 1)],
  ['priority', count('priority', 0, MAX_PRIORITY)],
  ['ratePer1000s', count('ratePer1000s', 1)],
  ['maxFailures', count('maxFailures')],
  ['maxFailuresPpm', count('maxFailuresPpm', 0, PER_MILLION)],
  ['startAt', count('startAt')],
  ['delayMs', count('delayMs')],
  ['resultTtlMs', count('resultTtlMs')],
  ['requires', requires],
  ['controllers', controllers],
  ['key', key],
])

export const optionsValue = (options: JobOptions): CborValue => OPTIONS.write(options as Filled)

export const readOptions = (reader: CborReader): JobOptions => OPTIONS.read(reader)
