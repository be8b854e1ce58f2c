import { createHash, sign as signBytes } from 'node:crypto'
import {
  type BlobHash,
  type Entry,
  type EntryBody,
  type EntryHash,
  type JobId,
  type JobSpec,
  type PeerId,
  type SessionId,
  ZERO_HASH,
} from '../../../src/scheduler/types.ts'
import { entryBytes, jobIdOf, seal } from '../../../src/store/entry-codec.ts'
import { peerIdOf, privateKeyOf } from '../../../src/store/identity.ts'
import type { FeedId, Run, StoredJob } from '../../../src/store/types.ts'

export const hex = (name: string | number): string =>
  createHash('sha256').update(String(name)).digest('hex')
export const entryHashOf = (name: string | number): EntryHash => hex(name) as EntryHash
export const blobHashOf = (name: string | number): BlobHash => hex(name) as BlobHash
/** A session, of that peer where it matters whose. */
export const sessionOf = (name: string | number, who?: { readonly peer: PeerId }): SessionId =>
  ((who?.peer.slice(0, 16) ?? hex(name).slice(0, 16)) + hex(name).slice(16, 32)) as SessionId

export function specOf(name: string, count = 1000): JobSpec {
  return {
    v: 1,
    task: { kind: 'module', name, bundle: blobHashOf(name), bundleBytes: 10 },
    input: { kind: 'range', start: 0, count },
    options: {},
    nonce: hex(name).slice(0, 32),
  }
}

export function recordOf(spec: JobSpec, author: PeerId, state: StoredJob['state']): StoredJob {
  const counts = { items: spec.input.count, done: 3, failed: 1 }
  const summary = { ...counts, submittedAt: 1_700_000_000_000, author, spec }
  return { job: jobIdOf(spec), state, updatedAt: 1_700_000_000_001, summary }
}

export interface TestPeer {
  readonly peer: PeerId
  readonly sign: (hash: Uint8Array) => Uint8Array
}

export function peerOf(name: string): TestPeer {
  const key = privateKeyOf(Buffer.from(hex(name), 'hex'))
  return { peer: peerIdOf(key), sign: (hash) => new Uint8Array(signBytes(null, hash, key)) }
}

/** Writes one feed, entry by entry. The session is a name, or (somebody else's) an id. */
export class FeedWriter {
  readonly feed: FeedId
  readonly entries: Entry[]
  private readonly who: TestPeer
  private readonly job: JobId

  constructor(who: TestPeer, session: string, job: JobId, entries: readonly Entry[] = []) {
    this.who = who
    this.job = job
    const isId = /^[0-9a-f]{32}$/.test(session)
    this.feed = {
      author: who.peer,
      session: isId ? (session as SessionId) : sessionOf(session, who),
    }
    this.entries = [...entries]
  }

  /** Another future of the same feed, from `seq` on. */
  branch(session: string, seq: number): FeedWriter {
    return new FeedWriter(this.who, session, this.job, this.entries.slice(0, seq - 1))
  }

  next(body: EntryBody = startBody(this.entries.length)): Entry {
    const last = this.entries.at(-1)
    const prev = last?.hash ?? ZERO_HASH
    const entry = seal({ ...this.feed, job: this.job, seq: this.entries.length + 1, prev }, body)
    this.entries.push(entry)
    return entry
  }

  many(count: number): this {
    for (let i = 0; i < count; i++) this.next()
    return this
  }

  /** Entries from..to (seq, both included), signed. */
  run(from = 1, to = this.entries.length): Run {
    const entries = this.entries.slice(from - 1, to)
    const signature = this.who.sign(Buffer.from(entries.at(-1)!.hash, 'hex'))
    return { entries: entries.map(entryBytes), signature }
  }
}

export function startBody(n: number): EntryBody {
  return { type: 'start', ranges: [{ lo: n, hi: n + 1, parent: entryHashOf(n) }] }
}
