import type { EntryHash, JobId, PeerId, RunningChunk, SessionId } from '../../scheduler/types.ts'
import { CborReader, protocolError } from '../../store/cbor-reader.ts'
import { readRun } from '../../store/run-codec.ts'
import type { FeedHead, FeedId, Run } from '../../store/types.ts'
import type { LogLine } from '../types.ts'
import { STREAMS } from './encode.ts'
import {
  MAX_ADVERT_BYTES,
  MAX_DATE_MS,
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
import { KINDS, type WireMessage } from './messages.ts'

type Kind = WireMessage['kind']
const NAMES = Object.keys(KINDS) as Kind[]

/**
 * The message in `bytes`: every length checked before anything is made of it; entries, adverts and signatures are views of
 * `bytes`, not looked into. Throws ERR_MESH_PROTOCOL, nothing else.
 */
export function decodeMessage(bytes: Uint8Array): WireMessage {
  if (bytes.length > MAX_MESSAGE_BYTES) {
    throw protocolError(`message has ${bytes.length} bytes, at most ${MAX_MESSAGE_BYTES}`)
  }
  const reader = new CborReader(bytes)
  const fields = reader.array('message', 1, 8) - 1
  const kind = NAMES[reader.uint('kind', NAMES.length - 1)]!
  if (fields !== FIELD_COUNT[kind]) {
    throw protocolError(`${kind} has ${fields} fields, ${FIELD_COUNT[kind]} are needed`)
  }
  const message = readFields(kind, reader)
  reader.end(kind)
  return message
}

/** A message of a kind that this version does not know: from a newer one, and to be passed over. Looks at two or three bytes. */
export function isOfNewerKind(bytes: Uint8Array): boolean {
  const [head = 0, first = 0, second = 0] = bytes
  if (head < 0x81 || head > 0x97) return false
  if (first <= 0x17) return first >= NAMES.length
  return first === 0x18 && second > 0x17
}

/** Runs as gossiped: `[run, …]`, at least one, at most 256 KiB. Throws ERR_MESH_PROTOCOL, nothing else. */
export function decodeRuns(bytes: Uint8Array): Run[] {
  if (bytes.length > MAX_GOSSIP_BYTES) {
    throw protocolError(`runs have ${bytes.length} bytes, at most ${MAX_GOSSIP_BYTES}`)
  }
  const reader = new CborReader(bytes)
  const runs = list(reader, 'runs', MAX_RUNS, readRun)
  if (runs.length === 0) throw protocolError('no run is there')
  reader.end('runs')
  return runs
}

const FIELD_COUNT: Readonly<Record<Kind, number>> = {
  hello: 3,
  advert: 1,
  entries: 1,
  steal: 6,
  stealAnswer: 5,
  lifeline: 4,
  heads: 3,
  pull: 2,
  jobAck: 2,
  jobWanted: 1,
  logsWanted: 3,
  logs: 3,
  heartbeat: 1,
  suspect: 2,
  findJobs: 2,
  foundJobs: 2,
  clock: 1,
  findNonce: 2,
}

function readFields(kind: Kind, r: CborReader): WireMessage {
  switch (kind) {
    case 'hello': {
      const version = r.text('version', MAX_VERSION_BYTES)
      const advert = r.bytes('advert', MAX_ADVERT_BYTES)
      return { kind, version, advert, jobs: list(r, 'jobs', MAX_HELLO_JOBS, job) }
    }
    case 'advert':
      return { kind, bytes: r.bytes('advert', MAX_ADVERT_BYTES) }
    case 'entries':
      return { kind, runs: list(r, 'runs', MAX_RUNS, readRun) }
    case 'steal':
      return {
        kind,
        job: job(r),
        session: session(r),
        nonce: r.uint('nonce'),
        rate: rate(r),
        idle: r.uint('idle'),
        head: r.uint('head'),
      }
    case 'stealAnswer':
      return {
        kind,
        job: job(r),
        nonce: r.uint('nonce'),
        granted: flag(r, 'granted'),
        running: list(r, 'running', MAX_RUNNING, running),
        runs: list(r, 'runs', MAX_RUNS, readRun),
      }
    case 'lifeline':
      return { kind, job: job(r), session: session(r), rate: rate(r), idle: r.uint('idle') }
    case 'heads':
      return {
        kind,
        job: job(r),
        heads: list(r, 'heads', MAX_FEEDS, head),
        reply: flag(r, 'reply'),
      }
    case 'pull':
      return { kind, job: job(r), feeds: list(r, 'feeds', MAX_FEEDS, feedFrom) }
    case 'jobAck':
      return { kind, job: job(r), held: flag(r, 'held') }
    case 'jobWanted':
      return { kind, job: job(r) }
    case 'logsWanted':
      return { kind, job: job(r), follow: flag(r, 'follow'), id: r.uint('id') }
    case 'logs': {
      const id = r.uint('id')
      return { kind, id, lines: list(r, 'lines', MAX_LOG_LINES, logLine), end: flag(r, 'end') }
    }
    case 'heartbeat':
      return { kind, last: flag(r, 'last') }
    case 'suspect':
      return { kind, peer: r.hex('peer', 32) as PeerId, session: session(r) }
    case 'findJobs':
      return { kind, id: r.uint('id'), prefix: prefix(r) }
    case 'foundJobs':
      return { kind, id: r.uint('id'), jobs: list(r, 'jobs', MAX_FOUND_JOBS, job) }
    case 'findNonce':
      return { kind, id: r.uint('id'), nonce: r.hex('nonce', 16) }
    case 'clock':
      return { kind, ms: r.uint('ms', MAX_DATE_MS) }
  }
}

function list<T>(
  reader: CborReader,
  what: string,
  max: number,
  read: (reader: CborReader) => T,
): T[] {
  const count = reader.array(what, 0, max)
  const values: T[] = []
  for (let i = 0; i < count; i++) values.push(read(reader))
  return values
}

const job = (r: CborReader): JobId => r.hex('job', 32) as JobId
const session = (r: CborReader): SessionId => r.hex('session', 16) as SessionId
const flag = (r: CborReader, what: string): boolean => r.uint(what, 1) === 1

function prefix(r: CborReader): string {
  const text = r.text('prefix', MAX_PREFIX_CHARS)
  if (!/^[0-9a-f]{4,64}$/.test(text)) throw protocolError('prefix is not 4 to 64 hex characters')
  return text
}

function rate(r: CborReader): number | undefined {
  return r.null() ? undefined : r.uint('rate', MAX_RATE_THOUSANDTHS) / 1000
}

function running(r: CborReader): RunningChunk {
  r.array('running chunk', 3, 3)
  const lo = r.uint('lo')
  const hi = r.uint('hi')
  if (hi <= lo) throw protocolError(`running chunk ends at ${hi}, before it starts at ${lo}`)
  return { lo, hi, ageMs: r.uint('ageMs') }
}

function feed(r: CborReader): FeedId {
  return { author: r.hex('author', 32) as PeerId, session: session(r) }
}

function head(r: CborReader): FeedHead {
  r.array('head', 4, 4)
  return { ...feed(r), seq: r.uint('seq'), hash: r.hex('hash', 32) as EntryHash }
}

function feedFrom(r: CborReader): FeedId & { from: number } {
  r.array('feed', 3, 3)
  return { ...feed(r), from: r.uint('from') }
}

function logLine(r: CborReader): LogLine {
  r.array('line', 6, 6)
  const line = {
    job: job(r),
    peer: r.hex('peer', 32),
    at: new Date(r.uint('at', MAX_DATE_MS)).toISOString(),
    stream: STREAMS[r.uint('stream', STREAMS.length - 1)]!,
    text: r.text('text', MAX_LOG_LINE_BYTES),
  }
  return r.null() ? line : { ...line, item: r.uint('item') }
}
