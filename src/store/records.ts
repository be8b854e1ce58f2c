import { isMeshError } from '../base/errors.ts'
import type {
  Cancellation,
  DoneSpan,
  EntryHash,
  OwnerSpan,
  PeerId,
  SessionId,
} from '../scheduler/types.ts'
import { readResult, resultValue } from './body-codec.ts'
import { CborReader, protocolError } from './cbor-reader.ts'
import { type CborValue, encodeCbor, hexBytes, text, uint } from './cbor-values.ts'
import { feedAt, readNumber, writeNumber } from './keys.ts'
import { MAX_MESSAGE_BYTES } from './limits.ts'
import { readSpec, specValue } from './spec-codec.ts'
import type { FeedId, StoredJob } from './types.ts'

/** The values of the database: what stands behind each kind of key (keys.ts). They are this peer's own business, not protocol. */

const RECORD_VERSION = 1
const STATES = ['running', 'finished', 'cancelled'] as const

/** What `read` makes of bytes that this peer wrote; undefined when the disk changed them. */
export function readable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (isMeshError(error, 'ERR_MESH_PROTOCOL')) return undefined
    throw error
  }
}

// ---------------------------------------------------------------- entries and heads

export interface StoredEntry {
  readonly bytes: Uint8Array
  /** Of the author over this entry's hash, where this is a signed end. */
  readonly signature: Uint8Array | undefined
}

export function entryValue(bytes: Uint8Array, signature: Uint8Array | undefined): Buffer {
  return signature === undefined
    ? Buffer.concat([Buffer.of(0), bytes])
    : Buffer.concat([Buffer.of(1), signature, bytes])
}

/** ERR_MESH_PROTOCOL, as from all readers here: the disk changed what was written. */
export function readEntryValue(value: Buffer): StoredEntry {
  const least = value[0] === 1 ? 65 : 1
  if (value[0]! > 1 || value.length <= least) throw protocolError('stored entry is cut short')
  const view = (from: number, to: number): Uint8Array =>
    new Uint8Array(value.buffer, value.byteOffset + from, to - from)
  return value[0] === 1
    ? { signature: view(1, 65), bytes: view(65, value.length) }
    : { signature: undefined, bytes: view(1, value.length) }
}

export function headValue(seq: number, hash: EntryHash): Buffer {
  const value = writeNumber(Buffer.allocUnsafe(40), seq, 0)
  value.write(hash, 8, 32, 'hex')
  return value
}

export function readHeadValue(value: Buffer): { seq: number; hash: EntryHash } {
  if (value.length !== 40) throw protocolError(`head has ${value.length} bytes, 40 are needed`)
  const seq = readNumber(value, 0)
  if (!Number.isSafeInteger(seq)) throw protocolError('the seq of a head is no safe integer')
  return { seq, hash: value.toString('hex', 8, 40) as EntryHash }
}

export function feedsValue(feeds: readonly FeedId[]): Buffer {
  const value = Buffer.allocUnsafe(feeds.length * 48)
  feeds.forEach((feed, i) => {
    value.write(feed.author, i * 48, 32, 'hex')
    value.write(feed.session, i * 48 + 32, 16, 'hex')
  })
  return value
}

export function readFeedsValue(value: Buffer): FeedId[] {
  if (value.length % 48 !== 0) throw protocolError('names of feeds are cut short')
  return Array.from({ length: value.length / 48 }, (_, i) => feedAt(value, i * 48))
}

export interface ForkProof {
  readonly first: Uint8Array
  readonly second: Uint8Array
}

export function forkValue(proof: ForkProof): Uint8Array {
  return encodeCbor([proof.first, proof.second])
}

export function readForkValue(value: Buffer): ForkProof {
  const reader = new CborReader(value)
  reader.array('fork', 2, 2)
  const first = reader.bytes('first', value.length)
  const second = reader.bytes('second', value.length)
  reader.end('fork')
  return { first, second }
}

// ---------------------------------------------------------------- views

export function ownerValue(span: OwnerSpan): Uint8Array {
  return encodeCbor([
    uint(span.hi, 'hi'),
    uint(span.epoch, 'epoch'),
    uint(span.hop, 'hop'),
    hexBytes(span.hash, 32, 'hash'),
    // A released range is nobody's.
    span.owner === '' ? null : hexBytes(span.owner, 16, 'owner'),
  ])
}

export function readOwnerValue(lo: number, value: Buffer): OwnerSpan {
  const reader = new CborReader(value)
  reader.array('owner', 5, 5)
  const span = {
    lo,
    hi: reader.uint('hi'),
    epoch: reader.uint('epoch'),
    hop: reader.uint('hop'),
    hash: reader.hex('hash', 32) as EntryHash,
    owner: (reader.null() ? '' : reader.hex('owner', 16)) as SessionId,
  }
  reader.end('owner')
  return span
}

export function doneSpanValue(span: DoneSpan): Uint8Array {
  return encodeCbor([
    uint(span.hi, 'hi'),
    uint(span.originLo, 'originLo'),
    hexBytes(span.hash, 32, 'hash'),
    hexBytes(span.author, 32, 'author'),
    uint(span.failed, 'failed'),
    resultValue(span.result),
  ])
}

export function readDoneSpanValue(lo: number, value: Buffer): DoneSpan {
  const reader = new CborReader(value)
  reader.array('done', 6, 6)
  const span = {
    lo,
    hi: reader.uint('hi'),
    originLo: reader.uint('originLo'),
    hash: reader.hex('hash', 32) as EntryHash,
    author: reader.hex('author', 32) as PeerId,
    failed: reader.uint('failed'),
    result: readResult(reader),
  }
  reader.end('done')
  return span
}

// ---------------------------------------------------------------- jobs

export function jobValue({ state, updatedAt, summary }: StoredJob): Uint8Array {
  return encodeCbor([
    RECORD_VERSION,
    STATES.indexOf(state),
    Math.round(updatedAt),
    uint(summary.items, 'items'),
    uint(summary.done, 'done'),
    uint(summary.failed, 'failed'),
    Math.round(summary.submittedAt),
    hexBytes(summary.author, 32, 'author'),
    specValue(summary.spec),
    summary.finishedAt === undefined ? null : Math.round(summary.finishedAt),
    ...cancellationValue(summary.cancellation),
  ])
}

/** The last field, of cancelled jobs alone. */
function cancellationValue(cancellation: Cancellation | undefined): CborValue[] {
  if (cancellation === undefined) return []
  const { by, reason } = cancellation
  return [[hexBytes(by, 32, 'by'), text(reason, 'reason', MAX_MESSAGE_BYTES)]]
}

function readCancellation(reader: CborReader): Cancellation {
  reader.array('cancellation', 2, 2)
  return { by: reader.hex('by', 32) as PeerId, reason: reader.text('reason', MAX_MESSAGE_BYTES) }
}

export function readJobValue(job: StoredJob['job'], value: Buffer): StoredJob {
  const reader = new CborReader(value)
  const fields = reader.array('job record', 10, 11)
  if (reader.uint('version') !== RECORD_VERSION) {
    throw protocolError('job record has an unknown version')
  }
  const state = STATES[reader.uint('state', STATES.length - 1)]!
  const updatedAt = reader.int('updatedAt')
  const items = reader.uint('items')
  const done = reader.uint('done')
  const failed = reader.uint('failed')
  const submittedAt = reader.int('submittedAt')
  const author = reader.hex('author', 32) as PeerId
  const spec = readSpec(reader)
  const finishedAt = reader.null() ? undefined : reader.int('finishedAt')
  const cancellation = fields === 11 ? readCancellation(reader) : undefined
  reader.end('job record')
  const summary = {
    ...{ items, done, failed, submittedAt, author, spec },
    ...(cancellation !== undefined && { cancellation }),
  }
  if (finishedAt === undefined) return { job, state, updatedAt, summary }
  return { job, state, updatedAt, summary: { ...summary, finishedAt } }
}

/** Bytes of entries of a job whose JOB has not come, and its place among such jobs. */
export function waitingValue(bytes: number, order = 0): Buffer {
  return writeNumber(writeNumber(Buffer.allocUnsafe(16), bytes, 0), order, 8)
}

export function readWaitingValue(value: Buffer): { bytes: number; order: number } {
  if (value.length !== 16) throw protocolError('waiting mark is cut short')
  return { bytes: readNumber(value, 0), order: readNumber(value, 8) }
}
