import fc from 'fast-check'
import type { WireMessage } from '../../../src/node/wire/messages.ts'
import type { EntryHash, JobId, PeerId, SessionId } from '../../../src/scheduler/types.ts'
import type { Run } from '../../../src/store/types.ts'

const hex = <T extends string>(bytes: number): fc.Arbitrary<T> =>
  fc
    .uint8Array({ minLength: bytes, maxLength: bytes })
    .map((b) => Buffer.from(b).toString('hex') as T)
const job = hex<JobId>(32)
const peer = hex<PeerId>(32)
const session = hex<SessionId>(16)
const uint = fc.maxSafeNat()
/** Rates travel as thousandths. */
const rate = fc.option(
  fc.nat(1e9).map((n) => n / 1000),
  { nil: undefined },
)
const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ maxLength }).map((b) => new Uint8Array(b))
const wellFormed = (maxBytes: number): fc.Arbitrary<string> =>
  fc
    .string({ unit: 'grapheme', maxLength: maxBytes })
    .filter((text) => text.isWellFormed() && Buffer.byteLength(text) <= maxBytes)

export const run: fc.Arbitrary<Run> = fc.record({
  entries: fc.array(bytes(200), { minLength: 1, maxLength: 5 }),
  signature: fc.uint8Array({ minLength: 64, maxLength: 64 }).map((b) => new Uint8Array(b)),
})
const runs = fc.array(run, { maxLength: 4 })

const running = fc
  .tuple(fc.nat(1e6), fc.integer({ min: 1, max: 1e6 }), fc.nat(1e6))
  .map(([lo, length, ageMs]) => ({ lo, hi: lo + length, ageMs }))

const line = fc
  .record({
    job,
    peer: peer as fc.Arbitrary<string>,
    at: fc.nat(4e12).map((ms) => new Date(ms).toISOString()),
    stream: fc.constantFrom('stdout' as const, 'stderr' as const, 'log' as const),
    text: wellFormed(100),
    item: fc.option(uint, { nil: undefined }),
  })
  .map(({ item, ...rest }) => (item === undefined ? rest : { ...rest, item }))

const k = <K extends WireMessage['kind']>(kind: K): fc.Arbitrary<K> => fc.constant(kind)

/** Any message, of every kind. */
export const message: fc.Arbitrary<WireMessage> = fc.oneof(
  fc.record({ kind: k('hello'), version: wellFormed(32), advert: bytes(300), jobs: fc.array(job) }),
  fc.record({ kind: k('advert'), bytes: bytes(300) }),
  fc.record({ kind: k('entries'), runs }),
  fc.record({ kind: k('steal'), job, session, nonce: uint, rate, idle: uint, head: uint }),
  fc.record({
    kind: k('stealAnswer'),
    job,
    nonce: uint,
    granted: fc.boolean(),
    running: fc.array(running),
    runs,
  }),
  fc.record({ kind: k('lifeline'), job, session, rate, idle: uint }),
  fc.record({
    kind: k('heads'),
    job,
    heads: fc.array(fc.record({ author: peer, session, seq: uint, hash: hex<EntryHash>(32) })),
    reply: fc.boolean(),
  }),
  fc.record({
    kind: k('pull'),
    job,
    feeds: fc.array(fc.record({ author: peer, session, from: uint })),
  }),
  fc.record({ kind: k('jobAck'), job, held: fc.boolean() }),
  fc.record({ kind: k('jobWanted'), job }),
  fc.record({ kind: k('logsWanted'), job, follow: fc.boolean(), id: uint }),
  fc.record({ kind: k('logs'), id: uint, lines: fc.array(line), end: fc.boolean() }),
)

/** Valid bytes with a few damaged: what a fuzzer would send. */
export function mutated(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc
    .record({
      valid,
      hits: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }),
      cut: fc.option(fc.nat(), { nil: undefined }),
      tail: fc.uint8Array({ maxLength: 8 }),
    })
    .map(({ valid: whole, hits, cut, tail }) => {
      const bytes = new Uint8Array([...whole, ...tail])
      for (const [at, value] of hits) if (bytes.length > 0) bytes[at % bytes.length] = value
      return cut === undefined ? bytes : bytes.slice(0, cut % (bytes.length + 1))
    })
}
