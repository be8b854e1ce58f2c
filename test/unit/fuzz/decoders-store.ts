import * as fc from 'fast-check'
import type { DoneSpan, Entry, JobId, OwnerSpan } from '../../../src/scheduler/types.ts'
import { readResult, resultValue } from '../../../src/store/body-codec.ts'
import { type CborReader, CborReader as Reader } from '../../../src/store/cbor-reader.ts'
import { encodeCbor } from '../../../src/store/cbor-values.ts'
import { crc32c } from '../../../src/store/crc32c.ts'
import { decodeEntry, decodeHeader, encodeEntry } from '../../../src/store/entry-codec.ts'
import { readForkProof } from '../../../src/store/fork-proof.ts'
import { readNumber } from '../../../src/store/keys.ts'
import { readLevelLog } from '../../../src/store/level-log.ts'
import { readBatch } from '../../../src/store/level-table.ts'
import { decodePlan, encodePlan } from '../../../src/store/plan-codec.ts'
import {
  doneSpanValue,
  entryValue,
  feedsValue,
  forkValue,
  headValue,
  jobValue,
  ownerValue,
  readDoneSpanValue,
  readEntryValue,
  readFeedsValue,
  readForkValue,
  readHeadValue,
  readJobValue,
  readOwnerValue,
  readWaitingValue,
  waitingValue,
} from '../../../src/store/records.ts'
import { decodeRun, encodeRun, readRun } from '../../../src/store/run-codec.ts'
import { createVerifier } from '../../../src/store/signatures.ts'
import { readSpec, specValue } from '../../../src/store/spec-codec.ts'
import { belowFrom, randomPlan } from '../../helpers/random-plan.ts'
import { entryBody, entryHeader, jobSpec, storedJob } from '../store/arbitrary.ts'
import { FeedWriter, hex, peerOf, sessionOf } from '../store/writers.ts'
import { run } from '../wire/arbitrary.ts'
import { type Decoder, decoder } from './decoder.ts'

const whole = <T>(bytes: Uint8Array, read: (reader: CborReader) => T): T => {
  const reader = new Reader(bytes)
  const value = read(reader)
  reader.end('all')
  return value
}
const buffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

const entry = fc.record({ header: entryHeader, body: entryBody })
const done = entryBody
  .filter((body) => body.type === 'done')
  .map((body) => (body as Extract<typeof body, { type: 'done' }>).ranges[0]!)
const hex32 = fc.nat().map((n) => hex(n))

const ownerSpan = fc
  .tuple(fc.nat(), fc.integer({ min: 1, max: 1e9 }), fc.nat(), fc.nat(), hex32, fc.boolean())
  .map(([lo, size, epoch, hop, hash, nobody]) => {
    const owner = nobody ? '' : hash.slice(0, 32)
    return { lo: 0 * lo, hi: lo + size, epoch, hop, hash, owner } as OwnerSpan
  })
const doneSpan = fc
  .tuple(done, hex32, fc.nat())
  .map(
    ([{ hi, failed, result }, hash, originLo]) =>
      ({ lo: 0, hi, originLo, hash, author: hash, failed, result }) as unknown as DoneSpan,
  )

const author = peerOf('fuzzer')
const writer = (): FeedWriter => new FeedWriter(author, 'fuzz', hex('job') as JobId)
/** Two futures of one feed: signed, so that the proof holds until something is changed. */
const proofs = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }))
  .map(([at, more]) => {
    const one = writer().many(at + more)
    const two = one.branch('fuzz', at).many(0)
    two.next({ type: 'pause' })
    return [encodeRun(one.run(at)), encodeRun(two.run(at))] as const
  })
const verify = createVerifier()

/** Each value under a key of one byte, as LevelDB writes a batch: behind 12 bytes that nobody reads. */
function levelBatch(values: readonly Uint8Array[]): Uint8Array {
  const rows = values.flatMap((value, i) => [Buffer.from([1, 1, i, value.length]), value])
  return new Uint8Array(Buffer.concat([Buffer.alloc(12), ...rows]))
}

/** Records as LevelDB writes them, each in one fragment: masked CRC-32C, length, type, data. */
function levelLog(records: readonly Uint8Array[]): Uint8Array {
  const fragments = records.map((data) => {
    const fragment = Buffer.concat([Buffer.of(0, 0, 0, 0, data.length, 0, 1), data])
    const crc = crc32c(fragment, 6, fragment.length)
    fragment.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0)
    return fragment
  })
  return new Uint8Array(Buffer.concat(fragments))
}

const RUN = 'src/store/run-codec.ts'
const RECORDS = 'src/store/records.ts'
const head = fc.record({ seq: fc.maxSafeNat(), hash: hex32 })

export const storeDecoders: readonly Decoder[] = [
  decoder({
    name: 'entry',
    covers: ['src/store/entry-codec.ts#decodeEntry', 'src/store/body-codec.ts#readBody'],
    form: 'cbor',
    values: entry,
    write: ({ header, body }) => encodeEntry(header, body),
    rewrite: (value: Entry) => encodeEntry(value, value.body),
    read: (bytes) => decodeEntry(bytes),
  }),
  decoder({
    name: 'header of an entry',
    covers: ['src/store/entry-codec.ts#decodeHeader'],
    form: 'cbor',
    values: entry,
    write: ({ header, body }) => encodeEntry(header, body),
    read: decodeHeader,
    canonical: false,
  }),
  decoder({
    name: 'result',
    covers: ['src/store/body-codec.ts#readResult'],
    form: 'cbor',
    values: done.map((range) => range.result),
    write: (result) => encodeCbor(resultValue(result)),
    read: (bytes) => whole(bytes, readResult),
  }),
  decoder({
    name: 'spec',
    covers: ['src/store/spec-codec.ts#readSpec', 'src/store/options-codec.ts#readOptions'],
    form: 'cbor',
    values: jobSpec(),
    write: (spec) => encodeCbor(specValue(spec)),
    read: (bytes) => whole(bytes, readSpec),
  }),
  decoder({
    name: 'plan',
    covers: ['src/store/plan-codec.ts#decodePlan'],
    form: 'cbor',
    values: fc.nat().map((seed) => randomPlan(belowFrom(seed), { nodes: 5, items: 6 })),
    write: encodePlan,
    read: decodePlan,
  }),
  decoder({
    name: 'run',
    covers: [`${RUN}#decodeRun`],
    form: 'cbor',
    values: run,
    write: encodeRun,
    read: decodeRun,
  }),
  decoder({
    name: 'run within a message',
    covers: [`${RUN}#readRun`],
    form: 'cbor',
    values: run,
    write: encodeRun,
    read: (bytes) => whole(bytes, readRun),
  }),
  decoder({
    name: 'proof of a fork',
    covers: ['src/store/fork-proof.ts#readForkProof'],
    form: 'cbor',
    values: proofs,
    write: (halves) => encodeCbor([...halves]),
    read: (bytes) =>
      whole(bytes, (reader) => {
        reader.array('halves', 2, 2)
        return readForkProof(reader.bytes('a', 8_000), reader.bytes('b', 8_000), verify)
      }),
    canonical: false,
  }),
  decoder({
    name: 'stored entry',
    covers: [`${RECORDS}#readEntryValue`],
    form: 'bytes',
    values: fc.tuple(fc.uint8Array({ minLength: 1 }), fc.boolean()),
    write: ([bytes, signed]) => entryValue(bytes, signed ? new Uint8Array(64) : undefined),
    read: (bytes) => readEntryValue(buffer(bytes)),
    canonical: false,
  }),
  decoder({
    name: 'stored head',
    covers: [`${RECORDS}#readHeadValue`, 'src/store/keys.ts#readNumber'],
    form: 'bytes',
    values: head,
    write: ({ seq, hash }) => headValue(seq, hash as never),
    read: (bytes) => {
      readNumber(Buffer.alloc(8), 0)
      return readHeadValue(buffer(bytes))
    },
  }),
  decoder({
    name: 'stored names of feeds',
    covers: [`${RECORDS}#readFeedsValue`],
    form: 'bytes',
    values: fc.array(fc.nat().map((n) => ({ author: author.peer, session: sessionOf(n) }))),
    write: feedsValue,
    read: (bytes) => readFeedsValue(buffer(bytes)),
    canonical: false,
  }),
  decoder({
    name: 'stored fork',
    covers: [`${RECORDS}#readForkValue`],
    form: 'cbor',
    values: proofs.map(([first, second]) => ({ first, second })),
    write: forkValue,
    read: (bytes) => readForkValue(buffer(bytes)),
  }),
  decoder({
    name: 'stored owner',
    covers: [`${RECORDS}#readOwnerValue`],
    form: 'cbor',
    values: ownerSpan,
    write: ownerValue,
    read: (bytes) => readOwnerValue(0, buffer(bytes)),
  }),
  decoder({
    name: 'stored DONE span',
    covers: [`${RECORDS}#readDoneSpanValue`],
    form: 'cbor',
    values: doneSpan,
    write: doneSpanValue,
    read: (bytes) => readDoneSpanValue(0, buffer(bytes)),
  }),
  decoder({
    name: 'stored job',
    covers: [`${RECORDS}#readJobValue`],
    form: 'cbor',
    values: storedJob,
    write: jobValue,
    read: (bytes) => readJobValue(hex('job') as JobId, buffer(bytes)),
  }),
  decoder({
    name: 'log of LevelDB',
    covers: ['src/store/level-log.ts#readLevelLog'],
    form: 'bytes',
    values: fc.array(fc.uint8Array({ maxLength: 80 }), { minLength: 1, maxLength: 5 }),
    write: levelLog,
    read: (bytes) => {
      const { records, damage } = readLevelLog(buffer(bytes))
      if (damage === 'none' && records.length === 0 && bytes.length > 7)
        throw new Error('none read')
      return [records.map(({ length }) => length), damage]
    },
    codes: [],
    canonical: false,
  }),
  decoder({
    name: 'batch in a log of LevelDB',
    covers: ['src/store/level-table.ts#readBatch'],
    form: 'bytes',
    values: fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 5 }),
    write: levelBatch,
    read: (bytes) => readBatch(buffer(bytes)),
    codes: [],
    canonical: false,
  }),
  decoder({
    name: 'stored waiting mark',
    covers: [`${RECORDS}#readWaitingValue`],
    form: 'bytes',
    values: fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()),
    write: ([bytes, order]) => waitingValue(bytes, order),
    read: (bytes) => readWaitingValue(buffer(bytes)),
    canonical: false,
  }),
]
