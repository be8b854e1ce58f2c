import { encode } from 'cborg'
import type { JobId, PeerId, RunningChunk, SessionId } from '../../scheduler/types.ts'
import { CborReader, protocolError } from '../../store/cbor-reader.ts'
import { type CborValue, hexBytes, text, uint } from '../../store/cbor-values.ts'
import { readRun } from '../../store/run-codec.ts'
import type { FeedHead, FeedId, Run } from '../../store/types.ts'
import type { LogLine } from '../types.ts'
import {
  MAX_ADVERT_BYTES,
  MAX_GOSSIP_BYTES,
  MAX_HEADS,
  MAX_HELLO_JOBS,
  MAX_LOG_LINE_BYTES,
  MAX_LOG_LINES,
  MAX_MESSAGE_BYTES,
  MAX_RUNNING,
  MAX_RUNS,
  MAX_SLOTS,
  MAX_VERSION_BYTES,
} from './limits.ts'

/** What peers say to each other over the direct stream (docs/protocol.md, "Messages"). */
export type WireMessage =
  /** First on a new connection: who this is, and which running jobs it knows. */
  | { readonly kind: 'hello'; readonly version: string; readonly advert: Uint8Array; readonly jobs: readonly JobId[] }
  | { readonly kind: 'advert'; readonly bytes: Uint8Array }
  | { readonly kind: 'entries'; readonly runs: readonly Run[] }
  /** `head`: how much of the victim's own feed the thief has. */
  | {
      readonly kind: 'steal'
      readonly job: JobId
      readonly session: SessionId
      readonly nonce: number
      readonly rate: number | undefined
      readonly idle: number
      readonly head: number
    }
  | {
      readonly kind: 'stealAnswer'
      readonly job: JobId
      readonly nonce: number
      readonly granted: boolean
      readonly running: readonly RunningChunk[]
      readonly runs: readonly Run[]
    }
  | {
      readonly kind: 'lifeline'
      readonly job: JobId
      readonly session: SessionId
      readonly rate: number | undefined
      readonly idle: number
    }
  /** A version vector with head hashes; `reply` asks for the other's. */
  | { readonly kind: 'heads'; readonly job: JobId; readonly heads: readonly FeedHead[]; readonly reply: boolean }
  | { readonly kind: 'pull'; readonly job: JobId; readonly feeds: readonly (FeedId & { readonly from: number })[] }
  /** `held`: the sender has the JOB entry. */
  | { readonly kind: 'jobAck'; readonly job: JobId; readonly held: boolean }
  | { readonly kind: 'jobWanted'; readonly job: JobId }
  | { readonly kind: 'logsWanted'; readonly job: JobId; readonly follow: boolean; readonly id: number }
  | { readonly kind: 'logs'; readonly id: number; readonly lines: readonly LogLine[]; readonly end: boolean }

const KINDS = [
  'hello',
  'advert',
  'entries',
  'steal',
  'stealAnswer',
  'lifeline',
  'heads',
  'pull',
  'jobAck',
  'jobWanted',
  'logsWanted',
  'logs',
] as const satisfies readonly WireMessage['kind'][]

const STREAMS = ['stdout', 'stderr', 'log'] as const

/** Rates travel as thousandths of an item per second. */
const RATE_SCALE = 1000

/** The bytes of a message: `[kind, field, …]` in canonical CBOR. */
export function encodeMessage(message: WireMessage): Uint8Array {
  return encode([KINDS.indexOf(message.kind), ...fieldsOf(message)])
}

/** Strict and bounded. Throws ERR_MESH_PROTOCOL, nothing else. */
export function decodeMessage(bytes: Uint8Array): WireMessage {
  if (bytes.byteLength > MAX_MESSAGE_BYTES) throw protocolError('message is too large')
  const reader = new CborReader(bytes)
  const fields = reader.array('message', 2, 8) - 1
  const kind = KINDS[reader.uint('kind', KINDS.length - 1)]!
  const [count, read] = READERS[kind]
  if (fields !== count) throw protocolError(`${kind} has ${fields} fields, ${count} are needed`)
  const message = read(reader)
  reader.end('message')
  return message
}

/** Runs as they are gossiped. */
export function encodeRuns(runs: readonly Run[]): Uint8Array {
  return encode(runs.map(runValue))
}

export function decodeRuns(bytes: Uint8Array): Run[] {
  if (bytes.byteLength > MAX_GOSSIP_BYTES) throw protocolError('gossip is too large')
  const reader = new CborReader(bytes)
  const runs = readRuns(reader, 1)
  reader.end('runs')
  return runs
}

function fieldsOf(m: WireMessage): CborValue[] {
  switch (m.kind) {
    case 'hello':
      return [text(m.version, 'version', MAX_VERSION_BYTES), m.advert, m.jobs.map(jobBytes)]
    case 'advert':
      return [m.bytes]
    case 'entries':
      return [m.runs.map(runValue)]
    case 'steal':
      return [jobBytes(m.job), sessionBytes(m.session), uint(m.nonce, 'nonce'), rateValue(m.rate), m.idle, m.head]
    case 'stealAnswer':
      return [
        jobBytes(m.job),
        m.nonce,
        bit(m.granted),
        m.running.slice(0, MAX_RUNNING).map((r) => [r.lo, r.hi, Math.round(r.ageMs)]),
        m.runs.map(runValue),
      ]
    case 'lifeline':
      return [jobBytes(m.job), sessionBytes(m.session), rateValue(m.rate), m.idle]
    case 'heads':
      return [jobBytes(m.job), m.heads.slice(0, MAX_HEADS).map(headValue), bit(m.reply)]
    case 'pull':
      return [
        jobBytes(m.job),
        m.feeds.slice(0, MAX_HEADS).map((f) => [peerBytes(f.author), sessionBytes(f.session), f.from]),
      ]
    case 'jobAck':
      return [jobBytes(m.job), bit(m.held)]
    case 'jobWanted':
      return [jobBytes(m.job)]
    case 'logsWanted':
      return [jobBytes(m.job), bit(m.follow), m.id]
    case 'logs':
      return [m.id, m.lines.map(lineValue), bit(m.end)]
  }
}

type Kind = WireMessage['kind']
type Readers = {
  [K in Kind]: readonly [fields: number, read: (r: CborReader) => Extract<WireMessage, { kind: K }>]
}

const READERS: Readers = {
  hello: [
    3,
    (r) => ({
      kind: 'hello',
      version: r.text('version', MAX_VERSION_BYTES),
      advert: r.bytes('advert', MAX_ADVERT_BYTES),
      jobs: list(r, 'jobs', MAX_HELLO_JOBS, readJob),
    }),
  ],
  advert: [1, (r) => ({ kind: 'advert', bytes: r.bytes('advert', MAX_ADVERT_BYTES) })],
  entries: [1, (r) => ({ kind: 'entries', runs: readRuns(r, 0) })],
  steal: [
    6,
    (r) => ({
      kind: 'steal',
      job: readJob(r),
      session: readSession(r),
      nonce: r.uint('nonce'),
      rate: readRate(r),
      idle: r.uint('idle', MAX_SLOTS),
      head: r.uint('head'),
    }),
  ],
  stealAnswer: [
    5,
    (r) => ({
      kind: 'stealAnswer',
      job: readJob(r),
      nonce: r.uint('nonce'),
      granted: readBit(r),
      running: list(r, 'running', MAX_RUNNING, readRunning),
      runs: readRuns(r, 0),
    }),
  ],
  lifeline: [
    4,
    (r) => ({
      kind: 'lifeline',
      job: readJob(r),
      session: readSession(r),
      rate: readRate(r),
      idle: r.uint('idle', MAX_SLOTS),
    }),
  ],
  heads: [
    3,
    (r) => ({
      kind: 'heads',
      job: readJob(r),
      heads: list(r, 'heads', MAX_HEADS, readHead),
      reply: readBit(r),
    }),
  ],
  pull: [2, (r) => ({ kind: 'pull', job: readJob(r), feeds: list(r, 'feeds', MAX_HEADS, readPull) })],
  jobAck: [2, (r) => ({ kind: 'jobAck', job: readJob(r), held: readBit(r) })],
  jobWanted: [1, (r) => ({ kind: 'jobWanted', job: readJob(r) })],
  logsWanted: [
    3,
    (r) => ({ kind: 'logsWanted', job: readJob(r), follow: readBit(r), id: r.uint('id') }),
  ],
  logs: [
    3,
    (r) => ({
      kind: 'logs',
      id: r.uint('id'),
      lines: list(r, 'lines', MAX_LOG_LINES, readLine),
      end: readBit(r),
    }),
  ],
}

// ------------------------------------------------------------ parts

const jobBytes = (job: JobId): Uint8Array => hexBytes(job, 32, 'job')
const sessionBytes = (session: SessionId): Uint8Array => hexBytes(session, 16, 'session')
const peerBytes = (peer: PeerId): Uint8Array => hexBytes(peer, 32, 'peer')
const bit = (value: boolean): number => (value ? 1 : 0)
const runValue = (run: Run): CborValue => [run.signature, run.entries as Uint8Array[]]
const headValue = (h: FeedHead): CborValue => [
  peerBytes(h.author),
  sessionBytes(h.session),
  h.seq,
  hexBytes(h.hash, 32, 'hash'),
]

function rateValue(rate: number | undefined): CborValue {
  if (rate === undefined) return null
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.round(rate * RATE_SCALE)))
}

function lineValue(line: LogLine): CborValue {
  return [
    hexBytes(line.job, 32, 'job'),
    hexBytes(line.peer, 32, 'peer'),
    uint(Date.parse(line.at), 'time'),
    STREAMS.indexOf(line.stream),
    line.text,
    line.item ?? null,
  ]
}

const readJob = (r: CborReader): JobId => r.hex('job', 32) as JobId
const readSession = (r: CborReader): SessionId => r.hex('session', 16) as SessionId
const readPeer = (r: CborReader): PeerId => r.hex('peer', 32) as PeerId
const readBit = (r: CborReader): boolean => r.uint('flag', 1) === 1

function readRate(r: CborReader): number | undefined {
  return r.null() ? undefined : r.uint('rate') / RATE_SCALE
}

function list<T>(r: CborReader, what: string, max: number, read: (r: CborReader) => T): T[] {
  const count = r.array(what, 0, max)
  const values: T[] = []
  for (let i = 0; i < count; i += 1) values.push(read(r))
  return values
}

function readRuns(r: CborReader, min: number): Run[] {
  const count = r.array('runs', min, MAX_RUNS)
  const runs: Run[] = []
  for (let i = 0; i < count; i += 1) runs.push(readRun(r))
  return runs
}

function readRunning(r: CborReader): RunningChunk {
  r.array('running', 3, 3)
  return { lo: r.uint('lo'), hi: r.uint('hi'), ageMs: r.uint('age') }
}

function readHead(r: CborReader): FeedHead {
  r.array('head', 4, 4)
  return {
    author: readPeer(r),
    session: readSession(r),
    seq: r.uint('seq'),
    hash: r.hex('hash', 32) as FeedHead['hash'],
  }
}

function readPull(r: CborReader): FeedId & { from: number } {
  r.array('pull', 3, 3)
  return { author: readPeer(r), session: readSession(r), from: r.uint('from') }
}

/** Last time a log line may claim, ms since the epoch: the largest that Date takes. */
const MAX_TIME = 8_640_000_000_000_000

function readLine(r: CborReader): LogLine {
  r.array('line', 6, 6)
  const job = readJob(r)
  const peer = readPeer(r)
  const at = new Date(r.uint('time', MAX_TIME)).toISOString()
  const stream = STREAMS[r.uint('stream', STREAMS.length - 1)]!
  const line = { job, peer, at, stream, text: r.text('text', MAX_LOG_LINE_BYTES) }
  return r.null() ? line : { ...line, item: r.uint('item') }
}
