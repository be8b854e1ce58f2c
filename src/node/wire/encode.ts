import { protocolError } from '../../store/cbor-reader.ts'
import { type CborValue, encodeCbor, hexBytes, text, uint } from '../../store/cbor-values.ts'
import { checkRun } from '../../store/run-codec.ts'
import type { FeedHead, Run } from '../../store/types.ts'
import type { LogLine } from '../types.ts'
import {
  MAX_ADVERT_BYTES,
  MAX_FEEDS,
  MAX_FOUND_JOBS,
  MAX_GOSSIP_BYTES,
  MAX_HELLO_JOBS,
  MAX_LOG_LINE_BYTES,
  MAX_LOG_LINES,
  MAX_MESSAGE_BYTES,
  MAX_PREFIX_CHARS,
  MAX_RATE_THOUSANDTHS,
  MAX_RUNNING,
  MAX_RUNS,
  MAX_VERSION_BYTES,
} from './limits.ts'
import { type FeedFrom, KINDS, type WireMessage } from './messages.ts'

/** `[kind, field, …]` in canonical CBOR. ERR_MESH_PROTOCOL above a limit: the caller split it wrongly. */
export function encodeMessage(message: WireMessage): Uint8Array {
  const bytes = encodeCbor([KINDS[message.kind], ...fieldsOf(message)])
  if (bytes.length > MAX_MESSAGE_BYTES) {
    throw protocolError(
      `${message.kind} has ${bytes.length} bytes, at most ${MAX_MESSAGE_BYTES} are allowed`,
    )
  }
  return bytes
}

/** `[run, …]`: what is gossiped on the topics jobs and entries. ERR_MESH_PROTOCOL above 256 KiB. */
export function encodeRuns(runs: readonly Run[]): Uint8Array {
  if (runs.length === 0) throw protocolError('no run to gossip')
  const bytes = encodeCbor(runsOf(runs))
  if (bytes.length > MAX_GOSSIP_BYTES) {
    throw protocolError(`runs have ${bytes.length} bytes, at most ${MAX_GOSSIP_BYTES} are allowed`)
  }
  return bytes
}

function fieldsOf(message: WireMessage): CborValue[] {
  switch (message.kind) {
    case 'hello':
      return [
        text(message.version, 'version', MAX_VERSION_BYTES),
        advert(message.advert),
        list(message.jobs, MAX_HELLO_JOBS, 'jobs', job),
      ]
    case 'advert':
      return [advert(message.bytes)]
    case 'entries':
      return [runsOf(message.runs)]
    case 'steal': {
      const { nonce, rate, idle, head } = message
      const from = [job(message.job), session(message.session)]
      return [
        ...from,
        uint(nonce, 'nonce'),
        thousandths(rate),
        uint(idle, 'idle'),
        uint(head, 'head'),
      ]
    }
    case 'stealAnswer': {
      const running = list(message.running, MAX_RUNNING, 'running', ({ lo, hi, ageMs }) => [
        uint(lo, 'lo'),
        uint(hi, 'hi'),
        uint(Math.round(ageMs), 'ageMs'),
      ])
      const granted = flag(message.granted)
      return [
        job(message.job),
        uint(message.nonce, 'nonce'),
        granted,
        running,
        runsOf(message.runs),
      ]
    }
    case 'lifeline': {
      const { rate, idle } = message
      return [job(message.job), session(message.session), thousandths(rate), uint(idle, 'idle')]
    }
    case 'heads':
      return [job(message.job), list(message.heads, MAX_FEEDS, 'heads', head), flag(message.reply)]
    case 'pull':
      return [job(message.job), list(message.feeds, MAX_FEEDS, 'feeds', feedFrom)]
    case 'jobAck':
      return [job(message.job), flag(message.held)]
    case 'jobWanted':
      return [job(message.job)]
    case 'logsWanted':
      return [job(message.job), flag(message.follow), uint(message.id, 'id')]
    case 'logs':
      return [
        uint(message.id, 'id'),
        list(message.lines, MAX_LOG_LINES, 'lines', logLine),
        flag(message.end),
      ]
    case 'heartbeat':
      return [flag(message.last)]
    case 'suspect':
      return [hexBytes(message.peer, 32, 'peer'), session(message.session)]
    case 'findJobs':
      return [uint(message.id, 'id'), text(message.prefix, 'prefix', MAX_PREFIX_CHARS)]
    case 'foundJobs':
      return [uint(message.id, 'id'), list(message.jobs, MAX_FOUND_JOBS, 'jobs', job)]
    case 'findNonce':
      return [uint(message.id, 'id'), hexBytes(message.nonce, 16, 'nonce')]
    case 'clock':
      return [uint(message.ms, 'ms')]
  }
}

function list<T>(
  values: readonly T[],
  max: number,
  what: string,
  encode: (value: T) => CborValue,
): CborValue[] {
  if (values.length > max) {
    throw protocolError(`${what} has ${values.length} elements, at most ${max} are allowed`)
  }
  return values.map(encode)
}

function runsOf(runs: readonly Run[]): CborValue[] {
  return list(runs, MAX_RUNS, 'runs', (run) => {
    checkRun(run)
    return [run.signature, run.entries as Uint8Array[]]
  })
}

function advert(bytes: Uint8Array): Uint8Array {
  if (bytes.length > MAX_ADVERT_BYTES) {
    throw protocolError(`advert has ${bytes.length} bytes, at most ${MAX_ADVERT_BYTES} are allowed`)
  }
  return bytes
}

function logLine(line: LogLine): CborValue {
  const at = Date.parse(line.at)
  return [
    job(line.job),
    hexBytes(line.peer, 32, 'peer'),
    uint(at, 'at'),
    STREAMS.indexOf(line.stream),
    text(line.text, 'text', MAX_LOG_LINE_BYTES),
    line.item === undefined ? null : uint(line.item, 'item'),
  ]
}

/** A stream's number on the wire is its place here. */
export const STREAMS = ['stdout', 'stderr', 'log'] as const

const job = (hex: string): Uint8Array => hexBytes(hex, 32, 'job')
const session = (hex: string): Uint8Array => hexBytes(hex, 16, 'session')
const flag = (value: boolean): number => (value ? 1 : 0)

const head = (feed: FeedHead): CborValue => [
  hexBytes(feed.author, 32, 'author'),
  session(feed.session),
  uint(feed.seq, 'seq'),
  hexBytes(feed.hash, 32, 'hash'),
]

const feedFrom = (feed: FeedFrom): CborValue => [
  hexBytes(feed.author, 32, 'author'),
  session(feed.session),
  uint(feed.from, 'from'),
]

/** Never 0 for something that is more than 0: a slow thief has a share all the same. */
export function thousandths(value: number | undefined): number | null {
  if (value === undefined) return null
  const scaled = Math.min(MAX_RATE_THOUSANDTHS, Math.round(value * 1000))
  return uint(value > 0 ? Math.max(1, scaled) : scaled, 'rate')
}
