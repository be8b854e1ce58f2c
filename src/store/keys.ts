import type { JobId } from '../scheduler/types.ts'
import { protocolError } from './cbor-reader.ts'
import type { FeedId } from './types.ts'

/**
 * The keys of the database, binary, so that they sort as numbers do (docs/architecture.md, "Store"):
 *
 *     m|name             → schema, whatever the peer keeps
 *     j|job              → the job's record
 *     e|job|feed|seq     → entry, with the signature where it is a signed end
 *     h|job|feed         → head: seq, hash
 *     x|job|feed         → proof that the feed forked: where it is cut
 *     f|job              → names of the feeds of an ended job, whose heads are not loaded at open
 *     o|job|lo           → who owns a range
 *     d|job|lo           → where the values of a range are
 *     g|job              → the job is being deleted
 *     t|job              → the job was collected: nothing of it is taken in; how old this peer's run was then (tombstones.ts)
 *     v|job              → the job's views were dropped and are to be made anew from its entries
 *     w|job              → entries came, the JOB did not: how many bytes, and which of such jobs came first
 *
 * job is 32 bytes, feed is author (32) and session (16), seq and lo are 8, big-endian.
 */
export const PREFIX = {
  meta: 0x6d,
  job: 0x6a,
  entry: 0x65,
  head: 0x68,
  fork: 0x78,
  feeds: 0x66,
  owner: 0x6f,
  done: 0x64,
  deleted: 0x67,
  tombstone: 0x74,
  views: 0x76,
  waiting: 0x77,
} as const

export type Prefix = (typeof PREFIX)[keyof typeof PREFIX]

/** gte <= key < lt */
export interface KeyRange {
  readonly gte: Buffer
  readonly lt: Buffer
}

const JOB_END = 33
const FEED_END = JOB_END + 48

/** Of keys that name a job or a feed. */
export function keyLength(prefix: Prefix): number {
  if (prefix === PREFIX.entry) return FEED_END + 8
  return prefix === PREFIX.head || prefix === PREFIX.fork ? FEED_END : JOB_END
}

export function metaKey(name: string): Buffer {
  return Buffer.concat([Buffer.of(PREFIX.meta), Buffer.from(name, 'utf8')])
}

export function jobKey(prefix: Prefix, job: JobId): Buffer {
  return writeJob(Buffer.allocUnsafe(JOB_END), prefix, job)
}

export function feedKey(prefix: Prefix, job: JobId, feed: FeedId): Buffer {
  return writeFeed(Buffer.allocUnsafe(FEED_END), prefix, job, feed)
}

export function entryKey(job: JobId, feed: FeedId, seq: number): Buffer {
  const key = writeFeed(Buffer.allocUnsafe(FEED_END + 8), PREFIX.entry, job, feed)
  return writeNumber(key, seq, FEED_END)
}

export function itemKey(prefix: Prefix, job: JobId, lo: number): Buffer {
  return writeNumber(writeJob(Buffer.allocUnsafe(JOB_END + 8), prefix, job), lo, JOB_END)
}

/** All keys of a kind. */
export function kindRange(prefix: Prefix): KeyRange {
  return { gte: Buffer.of(prefix), lt: Buffer.of(prefix + 1) }
}

/** All keys of a kind for one job. */
export function jobRange(prefix: Prefix, job: JobId): KeyRange {
  const gte = jobKey(prefix, job)
  return { gte, lt: after(gte) }
}

/** The job a key belongs to; not for meta keys. */
export function jobOfKey(key: Buffer): JobId {
  return key.toString('hex', 1, JOB_END) as JobId
}

export function feedOfKey(key: Buffer): FeedId {
  return feedAt(key, JOB_END)
}

/** Reads author and session from `offset` on. */
export function feedAt(bytes: Buffer, offset: number): FeedId {
  return {
    author: bytes.toString('hex', offset, offset + 32) as FeedId['author'],
    session: bytes.toString('hex', offset + 32, offset + 48) as FeedId['session'],
  }
}

export function itemOfKey(key: Buffer): number {
  return readNumber(key, JOB_END)
}

export function writeNumber(bytes: Buffer, value: number, offset: number): Buffer {
  bytes.writeUInt32BE(Math.floor(value / 2 ** 32), offset)
  bytes.writeUInt32BE(value % 2 ** 32, offset + 4)
  return bytes
}

/** ERR_MESH_PROTOCOL when it is cut short: the disk changed what was written. */
export function readNumber(bytes: Buffer, offset: number): number {
  if (bytes.length < offset + 8) throw protocolError('a stored number is cut short')
  return bytes.readUInt32BE(offset) * 2 ** 32 + bytes.readUInt32BE(offset + 4)
}

/** The first key after all those that begin with `prefix`. */
export function after(prefix: Buffer): Buffer {
  const next = Buffer.from(prefix)
  for (let i = next.length - 1; i >= 0; i--) {
    if (next[i] !== 0xff) {
      next[i]!++
      return next.subarray(0, i + 1)
    }
  }
  return Buffer.alloc(prefix.length + 1, 0xff)
}

function writeJob(key: Buffer, prefix: Prefix, job: JobId): Buffer {
  key[0] = prefix
  key.write(job, 1, 32, 'hex')
  return key
}

function writeFeed(key: Buffer, prefix: Prefix, job: JobId, feed: FeedId): Buffer {
  writeJob(key, prefix, job)
  key.write(feed.author, JOB_END, 32, 'hex')
  key.write(feed.session, JOB_END + 32, 16, 'hex')
  return key
}
