import {
  type Entry,
  type EntryHash,
  type EntryHeader,
  type JobId,
  ZERO_HASH,
} from '../scheduler/types.ts'
import { protocolError } from './cbor-reader.ts'
import { decodeEntry, decodeHeader, entryHash, jobIdOf } from './entry-codec.ts'
import { entryKey, feedOfKey, jobOfKey, readNumber } from './keys.ts'
import { readable, readEntryValue } from './records.ts'
import type { VerifyEnd } from './signatures.ts'
import type { FeedId } from './types.ts'

/** What a feed's entries in the database are worth, read from the first one on. */
export interface FeedAudit {
  readonly job: JobId
  readonly feed: FeedId
  /** Entries 1..seq hold; `hash` is the last one's. */
  readonly seq: number
  readonly hash: EntryHash
  /** Seqs of what is there beyond, or not linked to it. */
  readonly dropped: readonly number[]
  /** Seqs of good entries whose stored signature is not their author's. */
  readonly unsigned: readonly number[]
  /** Bytes of the entries that hold. */
  readonly bytes: number
  /** The JOB entry is among those that hold. */
  readonly opening: boolean
}

const NAME_END = 81

type Place = Pick<FeedAudit, 'seq' | 'hash' | 'bytes' | 'opening'>
const START: Place = { seq: 0, hash: ZERO_HASH, bytes: 0, opening: false }

/**
 * Reads entry rows in key order, feed by feed, and says of each how far its hash links hold from its first entry. With `verify`
 * each entry is decoded whole, the signatures are checked, and a feed holds up to its last good one only: what comes after could not
 * be served to anybody.
 */
export class FeedAuditor {
  private readonly verify: VerifyEnd | undefined
  private name: Buffer = Buffer.alloc(0)
  private current: FeedWalk | undefined

  constructor(verify?: VerifyEnd) {
    this.verify = verify
  }

  /** The audit of the feed before, when this row begins another. ERR_MESH_PROTOCOL for a key that is cut short. */
  add(key: Buffer, value: Buffer): FeedAudit | undefined {
    let ended: FeedAudit | undefined
    const seq = readNumber(key, NAME_END)
    if (this.current === undefined || this.name.compare(key, 0, NAME_END) !== 0) {
      ended = this.end()
      this.name = key.subarray(0, NAME_END)
      this.current = new FeedWalk(jobOfKey(key), feedOfKey(key), this.verify)
    }
    this.current.add(seq, value)
    return ended
  }

  /** The audit of the last feed. */
  end(): FeedAudit | undefined {
    const ended = this.current?.result()
    this.current = undefined
    return ended
  }
}

class FeedWalk {
  private readonly job: JobId
  private readonly feed: FeedId
  private readonly verify: VerifyEnd | undefined
  private at: Place = START
  /** Where the last good signature stands. */
  private signedAt: Place = START
  private isBroken = false
  private readonly dropped: number[] = []
  private readonly unsigned: number[] = []

  constructor(job: JobId, feed: FeedId, verify: VerifyEnd | undefined) {
    this.job = job
    this.feed = feed
    this.verify = verify
  }

  add(seq: number, value: Buffer): void {
    if (this.isBroken || !this.follow(seq, value)) {
      this.isBroken = true
      this.dropped.push(seq)
    }
  }

  result(): FeedAudit {
    const { job, feed } = this
    const end = this.verify === undefined ? this.at : this.signedAt
    const cut: number[] = []
    for (let seq = end.seq + 1; seq <= this.at.seq; seq++) cut.push(seq)
    const unsigned = this.unsigned.filter((seq) => seq <= end.seq)
    return { job, feed, ...end, unsigned, dropped: [...cut, ...this.dropped] }
  }

  private follow(seq: number, value: Buffer): boolean {
    const read = readable(() => this.read(seq, value))
    if (read === undefined) return false
    const { hash, size, opening, signature } = read
    const { at } = this
    this.at = { seq, hash, bytes: at.bytes + size, opening: at.opening || opening }
    if (signature === undefined || this.verify === undefined) return true
    if (this.verify(this.feed.author, Buffer.from(hash, 'hex'), signature)) this.signedAt = this.at
    else this.unsigned.push(seq)
    return true
  }

  private read(seq: number, value: Buffer) {
    const { bytes, signature } = readEntryValue(value)
    const hash = entryHash(bytes)
    if (!this.isNext(seq, decodeHeader(bytes))) return undefined
    const opening = this.verify !== undefined && isOpening(decodeEntry(bytes, hash))
    return { hash, size: bytes.length, opening, signature }
  }

  private isNext(seq: number, header: EntryHeader): boolean {
    const { author, session } = this.feed
    const { at } = this
    if (header.seq !== seq || seq !== at.seq + 1 || header.prev !== at.hash) return false
    return header.author === author && header.session === session && header.job === this.job
  }
}

/** Throws ERR_MESH_PROTOCOL for a JOB under an id that is not its own. */
function isOpening({ job, body }: Entry): boolean {
  if (body.type !== 'job') return false
  if (jobIdOf(body.spec) !== job) throw protocolError('JOB is filed under another id')
  return true
}

/** Key of an audited feed's entry. */
export function auditKey({ job, feed }: FeedAudit, seq: number): Buffer {
  return entryKey(job, feed, seq)
}
