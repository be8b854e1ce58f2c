/** Members that keep the encodings and the signatures, and say whatever they like: valid messages that make no sense. */

import { encodeAdvert } from '../../../src/node/wire/advert.ts'
import { encodeMessage, encodeRuns } from '../../../src/node/wire/encode.ts'
import type { WireMessage } from '../../../src/node/wire/messages.ts'
import {
  type EntryBody,
  type EntryHash,
  type JobId,
  type PeerId,
  type SessionId,
  ZERO_HASH,
} from '../../../src/scheduler/types.ts'
import { entryBytes, jobIdOf, seal } from '../../../src/store/entry-codec.ts'
import type { FeedId, Run } from '../../../src/store/types.ts'
import { hex, peerOf, sessionOf, specOf, type TestPeer } from '../store/writers.ts'
import type { Random } from './random.ts'

export const ITEMS = 1_000
const BIG = Number.MAX_SAFE_INTEGER
const RUNS_AT_ONCE = 2

interface Feed {
  readonly who: TestPeer
  readonly id: FeedId
  readonly job: JobId
  readonly written: { hash: EntryHash; bytes: Uint8Array }[]
}

export class HostileMesh {
  readonly members: readonly TestPeer[] = ['m0', 'm1', 'm2'].map(peerOf)
  readonly jobs: readonly JobId[]
  private readonly random: Random
  private readonly self: FeedId
  private readonly sessions: readonly SessionId[]
  private readonly specs = ['a', 'b', 'c'].map((name) => specOf(name, ITEMS))
  private readonly hashes: EntryHash[] = [ZERO_HASH, hex('unknown') as EntryHash]
  private readonly feeds = new Map<string, Feed>()
  private adverts = 0

  constructor(random: Random, self: FeedId) {
    this.random = random
    this.self = self
    this.jobs = [...this.specs.map(jobIdOf), hex('nobody knows') as JobId]
    // The session of the peer under test is known to all: others write under it too.
    this.sessions = [self.session, ...['s0', 's1', 's2', 's3'].map((name) => sessionOf(name))]
  }

  /** One that fits its peer; now and then another's, which is refused. */
  private sessionFor(peer: PeerId): SessionId {
    const session = this.random.pick(this.sessions)
    if (this.random.oneIn(20)) return session
    return (peer.slice(0, 16) + session.slice(16)) as SessionId
  }

  /** What some entry of the mesh is called: what the peer under test writes is granted from, finished and reclaimed as well. */
  saw(hash: EntryHash): void {
    this.hashes.push(hash)
    if (this.hashes.length > 400) this.hashes.splice(2, 100)
  }

  message(from: TestPeer): Uint8Array {
    return encodeMessage(this.anyMessage(from))
  }

  /** A message about things that nobody ever heard of, new ones each time. */
  strange(
    kind: 'steal' | 'lifeline' | 'heads' | 'pull' | 'jobAck' | 'jobWanted' | 'suspect',
  ): Uint8Array {
    const any = (bytes: number) => Buffer.from(this.random.bytes(bytes)).toString('hex')
    const job = any(32) as JobId
    const session = any(16) as SessionId
    const feed = { author: any(32) as PeerId, session }
    const rate = undefined
    const made: { readonly [K in typeof kind]: () => WireMessage } = {
      steal: () => ({ kind: 'steal', job, session, nonce: 1, rate, idle: 1, head: 5 }),
      lifeline: () => ({ kind: 'lifeline', job, session, rate, idle: 1 }),
      heads: () => {
        const heads = [{ ...feed, seq: 9, hash: any(32) as EntryHash }]
        return { kind: 'heads', job, heads, reply: true }
      },
      pull: () => ({ kind: 'pull', job, feeds: [{ ...feed, from: 1 }] }),
      jobAck: () => ({ kind: 'jobAck', job, held: true }),
      jobWanted: () => ({ kind: 'jobWanted', job }),
      suspect: () => ({ kind: 'suspect', peer: feed.author, session }),
    }
    return encodeMessage(made[kind]())
  }

  gossip(): { topic: 'adverts' | 'jobs' | 'entries'; bytes: Uint8Array } {
    const { random } = this
    if (random.oneIn(6)) return { topic: 'adverts', bytes: this.advert(random.pick(this.members)) }
    const topic = random.pick(['jobs', 'entries'] as const)
    return { topic, bytes: encodeRuns([this.run(), ...this.runs()].slice(0, 3)) }
  }

  // ------------------------------------------------------------ messages

  private anyMessage(from: TestPeer): WireMessage {
    const { random } = this
    const job = random.pick(this.jobs)
    const session = random.pick(this.sessions)
    const nonce = this.number()
    const rate = random.pick([undefined, 0, 0.001, 100, 1e12])
    const idle = random.pick([0, 1, 5, BIG])
    const makers: (() => WireMessage)[] = [
      () => ({ kind: 'hello', version: '9', advert: this.advert(from), jobs: this.jobs }),
      () => ({ kind: 'advert', bytes: this.advert(random.pick(this.members)) }),
      () => ({ kind: 'steal', job, session, nonce, rate, idle, head: this.number() }),
      () => {
        const running = [{ lo: 3, hi: 3 + 1 + random.int(1_000_000), ageMs: this.number() }]
        const granted = random.oneIn(2)
        return { kind: 'stealAnswer', job, nonce, granted, running, runs: this.runs() }
      },
      () => ({ kind: 'lifeline', job, session, rate, idle }),
      () => {
        const heads = this.feedIds().map((feed) => ({
          ...feed,
          seq: this.number(),
          hash: random.pick(this.hashes),
        }))
        return { kind: 'heads', job, heads, reply: random.oneIn(2) }
      },
      () => {
        const feeds = this.feedIds().map((feed) => ({ ...feed, from: this.number() }))
        return { kind: 'pull', job, feeds }
      },
      () => ({ kind: 'jobAck', job, held: random.oneIn(2) }),
      () => ({ kind: 'jobWanted', job }),
      () => ({ kind: 'logsWanted', job, follow: random.oneIn(2), id: this.number() }),
      () => ({ kind: 'logs', id: this.number(), lines: [], end: random.oneIn(2) }),
      () => ({ kind: 'heartbeat', last: random.oneIn(2) }),
      () => ({ kind: 'suspect', peer: this.peer(), session }),
      () => ({ kind: 'clock', ms: this.number() }),
      () => ({ kind: 'findNonce', id: this.number(), nonce: session }),
    ]
    const entries = (): WireMessage => ({ kind: 'entries', runs: this.runs() })
    return random.oneIn(2) ? entries() : random.pick(makers)()
  }

  private advert(who: TestPeer): Uint8Array {
    const { random } = this
    const slots = random.int(4)
    return encodeAdvert(
      {
        peer: who.peer,
        session: this.sessionFor(who.peer),
        sessionNumber: random.pick([0, 1, 2, BIG]),
        version: '9',
        name: who.peer.slice(0, 3),
        addresses: random.oneIn(2) ? [] : ['/ip4/127.0.0.1/tcp/1', 'nonsense'],
        cores: slots,
        slots,
        freeSlots: slots,
        memoryBytes: 0,
        freeMemoryBytes: BIG,
        gpu: null,
        speed: random.pick([0, 0.001, 1, 1e12]),
        itemsPerSecond: 1e12,
        seq: random.oneIn(50) ? BIG : this.adverts++,
        labels: {},
      },
      who.sign,
    )
  }

  private peer(): PeerId {
    return this.random.pick([...this.members.map(({ peer }) => peer), this.self.author])
  }

  private feedIds(): FeedId[] {
    return Array.from({ length: this.random.int(4) }, () => ({
      author: this.peer(),
      session: this.random.pick(this.sessions),
    }))
  }

  private number(): number {
    return this.random.pick([0, 1, 2, 3, 4, 7, 20, 1_000, 2 ** 32, BIG])
  }

  // ------------------------------------------------------------ entries

  private runs(): Run[] {
    return Array.from({ length: this.random.int(RUNS_AT_ONCE + 1) }, () => this.run())
  }

  /** Signed entries, linked or not: new ones, old ones again, with a hole before them, or of another future. */
  private run(): Run {
    const { random } = this
    const who = random.pick(this.members)
    const job = random.pick(this.jobs)
    const session = this.sessionFor(who.peer)
    const name = who.peer + job + session
    const id = { author: who.peer, session }
    const feed = this.feeds.get(name) ?? { who, id, job, written: [] }
    this.feeds.set(name, feed)
    if (random.oneIn(12)) feed.written.splice(random.int(feed.written.length + 1))
    for (let n = random.count(6); n > 0; n--) this.write(feed)
    const to = feed.written.length
    const from = random.oneIn(3) ? random.int(to) : Math.max(0, to - random.count(6))
    const entries = feed.written.slice(from, to)
    const signature = who.sign(Buffer.from(entries.at(-1)!.hash, 'hex'))
    return { entries: entries.map(({ bytes }) => bytes), signature }
  }

  private write({ id, job, written }: Feed): void {
    const prev = written.at(-1)?.hash ?? ZERO_HASH
    const entry = seal({ ...id, job, seq: written.length + 1, prev }, this.body(job))
    written.push({ hash: entry.hash, bytes: entryBytes(entry) })
    this.saw(entry.hash)
  }

  private body(job: JobId): EntryBody {
    const { random } = this
    const spec = this.specs[this.jobs.indexOf(job)]
    const to = random.pick(this.sessions)
    if (spec !== undefined && random.oneIn(5)) {
      return {
        type: 'job',
        spec,
        at: this.number(),
        seeds: this.ranges(ITEMS).map((r) => ({ ...r, to })),
      }
    }
    const ranges = this.ranges(random.oneIn(8) ? BIG : ITEMS)
    const parent = () => random.pick(this.hashes)
    const epoch = () => random.pick([0, 0, 0, 1, 1, 2, 2 ** 32, BIG])
    const granted = () =>
      ranges.map((r) => ({ ...r, parent: parent(), epoch: epoch(), hop: epoch() }))
    const bodies: (() => EntryBody)[] = [
      () => ({ type: 'grant', to, ranges: granted() }),
      () => ({ type: 'grant', to: this.self.session, ranges: granted() }),
      () => ({ type: 'release', ranges: granted() }),
      () => ({
        type: 'reclaim',
        ranges: ranges.map((r) => ({ ...r, parent: parent(), epoch: epoch() })),
      }),
      () => ({ type: 'start', ranges: ranges.map((r) => ({ ...r, parent: parent() })) }),
      () => ({ type: 'done', ranges: ranges.map((r) => this.done(r, parent())) }),
      () => ({
        type: 'fail',
        ranges: ranges.slice(0, 1).map((r) => ({ ...r, code: 'E', message: '' })),
      }),
      () => ({ type: 'lost', ranges: ranges.map((r) => ({ ...r, done: parent() })) }),
      () => ({ type: 'pause' }),
      () => ({ type: 'resume', pauses: [parent(), parent()] }),
      () => ({ type: 'fork', first: random.bytes(80), second: random.bytes(80) }),
      () => (random.oneIn(20) ? { type: 'cancel', reason: 'why not' } : { type: 'pause' }),
    ]
    return random.pick(bodies)()
  }

  private done(range: { lo: number; hi: number }, parent: EntryHash) {
    const { random } = this
    const blob = {
      kind: 'blob' as const,
      hash: hex(random.int(5)) as never,
      sizeBytes: this.number(),
      keepers: [this.peer()],
    }
    const inline = { kind: 'inline' as const, bytes: random.bytes(random.int(20)) }
    const failed = random.oneIn(4) ? range.hi - range.lo : 0
    const result = random.oneIn(2) ? blob : inline
    return { ...range, parent, failed, elapsedMs: this.number(), chunks: this.number(), result }
  }

  /** One to four disjoint ranges, in any order; the last may reach beyond `most`. */
  private ranges(most: number): { lo: number; hi: number }[] {
    const { random } = this
    const list: { lo: number; hi: number }[] = []
    let at = random.int(Math.min(most, ITEMS) - 10)
    for (let n = random.count(4); n > 0 && at < most; n--) {
      const hi = Math.min(most, at + random.pick([1, 10, 300, most]))
      list.push({ lo: at, hi })
      at = hi + random.int(20)
    }
    return random.oneIn(2) ? list : list.reverse()
  }
}
