import * as fc from 'fast-check'
import { encodeManifest, readManifest } from '../../../src/runtime/manifest.ts'
import {
  readChecked,
  readDying,
  readEnded,
  readItemProgress,
  readLoadFailed,
  readLog,
  readReady,
} from '../../../src/runtime/reports.ts'
import {
  decodeSegments,
  decodeValue,
  encodeSegment,
  encodeValue,
  scanSegments,
} from '../../../src/runtime/segment.ts'
import { FrameReader, frameHead } from '../../../src/runtime/worker/frames.ts'
import { type Decoder, decoder } from './decoder.ts'

const piece = fc.record({
  hash: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => Buffer.from(b).toString('hex')),
  count: fc.integer({ min: 1, max: 1000 }),
  sizeBytes: fc.integer({ min: 1000, max: 1_000_000 }),
})

/** No value with such a property can be sent. */
const key = fc.string().filter((name) => name !== '__proto__')

/** What a structured clone carries: types that msgpack has of itself, and those that msgpackr adds. */
const value = fc.oneof(
  fc.jsonValue().filter((json) => !JSON.stringify(json).includes('__proto__')),
  fc.object({
    key,
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withTypedArray: true,
  }),
  fc.constantFrom(new Error('e'), /a+b/gi, new Map([[1, new Set([2])]]), 10n ** 30n, undefined, -0),
)
const failure = fc.record({
  index: fc.nat(2),
  code: fc.string(),
  name: fc.string(),
  message: fc.string(),
  attempts: fc.nat(3),
})
const segment = fc.record({
  values: fc.array(value, { minLength: 3, maxLength: 6 }),
  failures: fc.array(failure, { maxLength: 2 }),
})
const segments = fc
  .array(segment, { minLength: 1, maxLength: 3 })
  .map((list) => Buffer.concat(list.map(({ values, failures }) => encodeSegment(values, failures))))

const error = fc.record(
  { code: fc.string(), name: fc.string(), message: fc.string(), stack: fc.string() },
  { requiredKeys: ['code', 'name', 'message'] },
)

/** A reader of what a worker reports: msgpack of one object. */
function report(
  name: string,
  read: (payload: Uint8Array) => unknown,
  values: fc.Arbitrary<unknown>,
): Decoder {
  return decoder({
    name: `report of a worker: ${name}`,
    covers: [`src/runtime/reports.ts#${read.name}`],
    form: 'bytes',
    values,
    write: encodeValue,
    read,
    canonical: false,
  })
}

const frames = fc
  .array(fc.uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 4 })
  .map((list) => Buffer.concat(list.map((b, i) => Buffer.concat([frameHead(i, b.length), b]))))

export const runtimeDecoders: readonly Decoder[] = [
  decoder({
    name: 'value',
    covers: ['src/runtime/segment.ts#decodeValue'],
    form: 'bytes',
    values: value,
    write: encodeValue,
    read: decodeValue,
    canonical: false,
  }),
  decoder({
    name: 'segments',
    covers: ['src/runtime/segment.ts#decodeSegments', 'src/runtime/segment.ts#scanSegments'],
    form: 'bytes',
    values: segments,
    write: (bytes) => new Uint8Array(bytes),
    read: (bytes) => [[...scanSegments(bytes, 7)], [...decodeSegments(bytes, 7)]],
    canonical: false,
  }),
  decoder({
    name: 'manifest of an input',
    covers: ['src/runtime/manifest.ts#readManifest'],
    form: 'cbor',
    values: fc.array(piece, { maxLength: 5 }),
    write: encodeManifest,
    read: readManifest,
  }),
  decoder({
    name: 'frames of a worker',
    covers: ['src/runtime/worker/frames.ts#FrameReader'],
    form: 'bytes',
    values: frames,
    write: (bytes) => new Uint8Array(bytes),
    read: (bytes) => {
      const seen: [number, number][] = []
      const reader = new FrameReader((type, payload) => seen.push([type, payload.length]))
      for (let at = 0; at < bytes.length; at += 7)
        reader.push(Buffer.from(bytes.subarray(at, at + 7)))
      return seen
    },
    canonical: false,
  }),
  report(
    'end of a run',
    readEnded,
    fc.record(
      {
        run: fc.nat(),
        reached: fc.nat(),
        failed: fc.nat(),
        elapsedMs: fc.double(),
        ended: fc.constantFrom('range', 'time', 'output', 'aborted', 'inputLost'),
        rssBytes: fc.nat(),
        message: fc.string(),
      },
      { requiredKeys: ['run', 'reached', 'failed', 'elapsedMs', 'ended', 'rssBytes'] },
    ),
  ),
  report(
    'line',
    readLog,
    fc.record(
      { stream: fc.constantFrom('stdout', 'stderr', 'log'), text: fc.string(), item: fc.nat() },
      { requiredKeys: ['stream', 'text'] },
    ),
  ),
  report('progress', readItemProgress, fc.record({ item: fc.nat(), fraction: fc.constant(0.5) })),
  report(
    'ready',
    readReady,
    fc.record({ name: fc.string(), kind: fc.constant('task'), hasSchema: fc.boolean() }),
  ),
  report('failed load', readLoadFailed, error),
  report('last words', readDying, fc.record({ item: fc.nat(), exitCode: fc.nat(255), error })),
  report(
    'checked items',
    readChecked,
    fc.record({
      refused: fc.array(fc.record({ index: fc.nat(), issues: fc.array(fc.string()) })),
      error,
    }),
  ),
]
