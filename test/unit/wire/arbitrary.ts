import * as fc from 'fast-check'
import type { Advert } from '../../../src/node/wire/advert.ts'
import type { WireMessage } from '../../../src/node/wire/messages.ts'
import type { EntryHash, JobId, PeerId, SessionId } from '../../../src/scheduler/types.ts'
import type { Run } from '../../../src/store/types.ts'

/** A failure whose shrinking goes on and on is told as it is. */
fc.configureGlobal({ interruptAfterTimeLimit: 30_000, markInterruptAsFailure: true })

const hexOf = (size: number): fc.Arbitrary<string> =>
  fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes) => Buffer.from(bytes).toString('hex'))
const job = hexOf(32) as fc.Arbitrary<JobId>
const peer = hexOf(32) as fc.Arbitrary<PeerId>
const session = hexOf(16) as fc.Arbitrary<SessionId>
const hash = hexOf(32) as fc.Arbitrary<EntryHash>
const uint = fc.oneof(fc.nat(30), fc.nat(70_000), fc.maxSafeNat())
const rate = fc.option(
  fc.nat(2 ** 40).map((thousandths) => thousandths / 1000),
  { nil: undefined },
)
const text = (max: number): fc.Arbitrary<string> =>
  fc.string({ unit: 'grapheme', maxLength: Math.floor(max / 40) })
const feed = fc.record({ author: peer, session })

export const run: fc.Arbitrary<Run> = fc.record({
  entries: fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 }),
  signature: fc.uint8Array({ minLength: 64, maxLength: 64 }),
})
const runs = fc.array(run, { maxLength: 4 })

const running = fc
  .tuple(fc.nat(2 ** 40), fc.integer({ min: 1, max: 2 ** 40 }), fc.nat(1e9))
  .map(([lo, size, ageMs]) => ({ lo, hi: lo + size, ageMs }))

const line = fc
  .record({
    job: job as fc.Arbitrary<string>,
    peer: peer as fc.Arbitrary<string>,
    at: fc.integer({ min: 0, max: 8.64e15 }).map((ms) => new Date(ms).toISOString()),
    stream: fc.constantFrom('stdout' as const, 'stderr' as const, 'log' as const),
    text: text(16_384),
    item: fc.option(uint, { nil: undefined }),
  })
  .map(({ item, ...rest }) => (item === undefined ? rest : { ...rest, item }))

const kind = <K extends string>(name: K): fc.Arbitrary<K> => fc.constant(name)

/** One arbitrary for each kind: a kind that is added without one does not compile. */
export const messages: {
  readonly [K in WireMessage['kind']]: fc.Arbitrary<Extract<WireMessage, { kind: K }>>
} = {
  hello: fc.record({
    kind: kind('hello'),
    version: text(32),
    advert: fc.uint8Array({ maxLength: 4096 }),
    jobs: fc.array(job, { maxLength: 6 }),
  }),
  advert: fc.record({ kind: kind('advert'), bytes: fc.uint8Array({ maxLength: 4096 }) }),
  entries: fc.record({ kind: kind('entries'), runs }),
  steal: fc.record({
    kind: kind('steal'),
    job,
    session,
    nonce: uint,
    rate,
    idle: uint,
    head: uint,
  }),
  stealAnswer: fc.record({
    kind: kind('stealAnswer'),
    job,
    nonce: uint,
    granted: fc.boolean(),
    running: fc.array(running, { maxLength: 6 }),
    runs,
  }),
  lifeline: fc.record({ kind: kind('lifeline'), job, session, rate, idle: uint }),
  heads: fc.record({
    kind: kind('heads'),
    job,
    heads: fc.array(
      fc.tuple(feed, uint, hash).map(([of, seq, hashed]) => ({ ...of, seq, hash: hashed })),
      { maxLength: 6 },
    ),
    reply: fc.boolean(),
  }),
  pull: fc.record({
    kind: kind('pull'),
    job,
    feeds: fc.array(
      fc.tuple(feed, uint).map(([of, from]) => ({ ...of, from })),
      { maxLength: 6 },
    ),
  }),
  jobAck: fc.record({ kind: kind('jobAck'), job, held: fc.boolean() }),
  jobWanted: fc.record({ kind: kind('jobWanted'), job }),
  logsWanted: fc.record({ kind: kind('logsWanted'), job, follow: fc.boolean(), id: uint }),
  logs: fc.record({
    kind: kind('logs'),
    id: uint,
    lines: fc.array(line, { maxLength: 6 }),
    end: fc.boolean(),
  }),
  heartbeat: fc.record({ kind: kind('heartbeat'), last: fc.boolean() }),
  suspect: fc.record({ kind: kind('suspect'), peer, session }),
  findJobs: fc.record({
    kind: kind('findJobs'),
    id: fc.nat(),
    prefix: fc.stringMatching(/^[0-9a-f]{4,64}$/),
  }),
  foundJobs: fc.record({
    kind: kind('foundJobs'),
    id: fc.nat(),
    jobs: fc.array(job, { maxLength: 4 }),
  }),
  clock: fc.record({ kind: kind('clock'), ms: fc.nat() }),
  findNonce: fc.record({ kind: kind('findNonce'), id: fc.nat(), nonce: session }),
}

export const message: fc.Arbitrary<WireMessage> = fc.oneof(...Object.values(messages))

export const advertOf = (self: PeerId): fc.Arbitrary<Advert> =>
  fc
    .record({
      session,
      sessionNumber: uint,
      version: text(32),
      name: text(64),
      addresses: fc.array(
        fc.nat(65_535).map((port) => `/ip4/192.0.2.7/tcp/${port}`),
        { maxLength: 16 },
      ),
      cores: fc.nat(65_536),
      slots: fc.nat(65_536),
      memoryBytes: uint,
      freeMemoryBytes: uint,
      gpu: fc.option(
        fc.record({
          name: text(128),
          state: fc.constantFrom('hardware', 'software'),
          gflops: fc.nat(10_000_000).map((thousandths) => thousandths / 1000),
          upMBs: fc.nat(1_000_000),
          downMBs: fc.nat(1_000_000),
        }),
      ),
      speed: fc.nat(1e9).map((thousandths) => thousandths / 1000),
      itemsPerSecond: fc.nat(1e9).map((thousandths) => thousandths / 1000),
      seq: uint,
      labels: fc.dictionary(text(64), text(64), { maxKeys: 8 }),
    })
    .chain((advert) =>
      fc.nat(advert.slots).map((freeSlots) => ({ ...advert, peer: self, freeSlots })),
    )

/** `bytes` with some damage: bytes changed, cut out, put in, the end cut off. */
export function damaged(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const place = fc.nat(Math.max(0, bytes.length - 1))
  const change = fc.record({
    at: place,
    remove: fc.nat(3),
    insert: fc.uint8Array({ maxLength: 3 }),
  })
  return fc
    .tuple(fc.array(change, { minLength: 1, maxLength: 4 }), fc.option(place))
    .map(([changes, end]) => {
      let result = Buffer.from(bytes)
      for (const { at, remove, insert } of changes) {
        result = Buffer.concat([result.subarray(0, at), insert, result.subarray(at + remove)])
      }
      return new Uint8Array(end === null ? result : result.subarray(0, end))
    })
}
