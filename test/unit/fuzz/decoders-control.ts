import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import * as fc from 'fast-check'
import { readLines, readNdjson } from '../../../src/client/lines.ts'
import {
  decodeNdjson,
  decodeSpans,
  encodeHead,
  encodeSpan,
} from '../../../src/node/control/frames.ts'
import {
  checkCancelRequest,
  checkJobRequest,
  checkRanges,
  readBody,
  readCancelRequest,
  readJobRequest,
  readRanges,
  readUpload,
} from '../../../src/node/control/requests.ts'
import { fromWire } from '../../../src/node/control/wire-error.ts'
import { parseObject } from '../../../src/store/atomic-file.ts'
import { hex } from '../store/writers.ts'
import { type Decoder, decoder } from './decoder.ts'

const span = fc
  .tuple(fc.nat(), fc.nat(100), fc.uint8Array({ maxLength: 80 }))
  .map(([lo, size, bytes]) => ({ lo, hi: lo + size, originLo: lo, bytes }))

const json = (value: unknown): Uint8Array => new Uint8Array(Buffer.from(JSON.stringify(value)))

const request = fc.record(
  {
    task: fc.constant({ kind: 'module', name: 'task', bundle: hex('bundle'), bundleBytes: 9 }),
    input: fc.constantFrom(
      { kind: 'range', start: -3, count: 10 },
      { kind: 'pieces', count: 2, manifest: hex('manifest') },
      { kind: 'inline', count: 1, segment: '00'.repeat(12) },
    ),
    options: fc.record(
      {
        args: fc.constant('c0'),
        key: fc.constant('k'),
        controllers: fc.constant([hex('peer')]),
        backoff: fc.constant({ delayMs: 1, factorPercent: 200, maxMs: 9, jitterPercent: 50 }),
        requires: fc.constant({ cores: 2, gpu: true, labels: { zone: 'eu' } }),
        chunkSize: fc.integer({ min: 1, max: 9 }),
        retries: fc.nat(9),
        priority: fc.nat(9),
      },
      { requiredKeys: [] },
    ),
    detach: fc.boolean(),
  },
  { requiredKeys: ['task', 'input', 'options'] },
)

/** Pieces of seven bytes, so that everything is cut somewhere. */
function pieces(bytes: Uint8Array): Uint8Array[] {
  const list: Uint8Array[] = []
  const size = Math.max(7, Math.ceil(bytes.length / 200))
  for (let at = 0; at < bytes.length; at += size) list.push(bytes.subarray(at, at + size))
  return list
}

async function* stream(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield* pieces(bytes)
}

function incoming(bytes: Uint8Array): IncomingMessage {
  const source = Readable.from(pieces(bytes).map((part) => Buffer.from(part)))
  return Object.assign(source, { headers: {} }) as unknown as IncomingMessage
}

async function all(source: AsyncIterable<unknown>): Promise<unknown[]> {
  const list: unknown[] = []
  for await (const each of source) list.push(each)
  return list
}

const lines = fc.array(fc.jsonValue(), { maxLength: 5 })
const ndjson = (values: readonly unknown[], end: string): Uint8Array =>
  new Uint8Array(Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join('') + end))

export const controlDecoders: readonly Decoder[] = [
  decoder({
    name: 'stream of results',
    covers: ['src/node/control/frames.ts#decodeSpans'],
    form: 'bytes',
    values: fc.array(span, { maxLength: 4 }),
    write: (spans) =>
      new Uint8Array(Buffer.concat([...spans.flatMap(encodeSpan), encodeHead({ end: true })])),
    read: (bytes) => all(decodeSpans(stream(bytes))),
    // What the stream ends with is thrown: any code of ours that it names.
    codes: ['ERR_MESH_PROTOCOL', 'ERR_MESH_STOPPED'],
    canonical: false,
    // A frame is received into a buffer of its size; only this machine's user can send one.
    maxBytes: 256 * 1024 * 1024,
  }),
  decoder({
    name: 'stream of documents',
    covers: ['src/node/control/frames.ts#decodeNdjson'],
    form: 'json',
    values: fc.array(fc.dictionary(fc.constantFrom('a', 'b'), fc.jsonValue()), { maxLength: 5 }),
    write: (values) => ndjson(values, '{"end":true}\n'),
    read: (bytes) => all(decodeNdjson(stream(bytes))),
    codes: ['ERR_MESH_PROTOCOL', 'ERR_MESH_STOPPED'],
    canonical: false,
  }),
  decoder({
    name: 'error over the control socket',
    covers: ['src/node/control/wire-error.ts#fromWire'],
    form: 'json',
    values: fc.record({
      code: fc.constantFrom('ERR_MESH_TIMEOUT', 'ERR_MESH_STOPPED'),
      message: fc.string(),
      details: fc.dictionary(fc.string(), fc.jsonValue()),
    }),
    write: json,
    read: (bytes) => {
      const value = parseObject(Buffer.from(bytes).toString())
      const { code, message, details } = fromWire(value)
      return { code, message, details }
    },
    canonical: false,
  }),
  decoder({
    name: 'submission',
    covers: [
      'src/node/control/requests.ts#readJobRequest',
      'src/node/control/requests.ts#readBody',
      'src/node/control/requests.ts#checkJobRequest',
    ],
    form: 'json',
    values: request,
    write: json,
    read: async (bytes) => {
      const read = await readJobRequest(incoming(bytes))
      // What was taken is what is taken again.
      if (JSON.stringify(checkJobRequest(read)) !== JSON.stringify(read)) throw new Error('changed')
      return read
    },
    codes: ['ERR_MESH_PROTOCOL', 'ERR_MESH_OPTION_INVALID', 'ERR_MESH_TOO_LARGE'],
    canonical: false,
  }),
  decoder({
    name: 'request to cancel',
    covers: [
      'src/node/control/requests.ts#readCancelRequest',
      'src/node/control/requests.ts#checkCancelRequest',
    ],
    form: 'json',
    values: fc.record({
      jobs: fc.oneof(fc.constant('all' as const), fc.array(fc.string())),
      reason: fc.string(),
    }),
    write: json,
    read: async (bytes) => checkCancelRequest(await readCancelRequest(incoming(bytes))),
    codes: ['ERR_MESH_PROTOCOL', 'ERR_MESH_TOO_LARGE'],
    canonical: false,
  }),
  decoder({
    name: 'ranges of results',
    covers: ['src/node/control/requests.ts#readRanges'],
    form: 'json',
    values: fc.array(fc.nat(9), { minLength: 2, maxLength: 2 }).map(([a, b]) => ({
      ranges: [{ lo: a!, hi: a! + b! }],
    })),
    write: json,
    read: async (bytes) => {
      const ranges = await readRanges(incoming(bytes))
      return { ranges: checkRanges({ ranges }) }
    },
    codes: ['ERR_MESH_PROTOCOL', 'ERR_MESH_TOO_LARGE'],
    canonical: false,
  }),
  decoder({
    name: 'uploaded blob',
    covers: ['src/node/control/requests.ts#readUpload', 'src/node/control/requests.ts#readBody'],
    form: 'bytes',
    values: fc.uint8Array(),
    write: (bytes) => bytes,
    read: async (bytes) => {
      const whole = await readUpload(incoming(bytes))
      await readBody(incoming(bytes), 100).catch((error: { code?: string }) => {
        if (error.code !== 'ERR_MESH_TOO_LARGE') throw error
      })
      return new Uint8Array(whole)
    },
    codes: ['ERR_MESH_TOO_LARGE'],
  }),
  decoder({
    name: 'small JSON file',
    covers: ['src/store/atomic-file.ts#parseObject'],
    form: 'json',
    values: fc.dictionary(fc.string(), fc.jsonValue()),
    write: json,
    read: (bytes) => parseObject(Buffer.from(bytes).toString()),
    codes: [],
    canonical: false,
  }),
  decoder({
    name: 'lines of input',
    covers: ['src/client/lines.ts#readLines', 'src/client/lines.ts#readNdjson'],
    form: 'json',
    values: lines,
    write: (values) => ndjson(values, ''),
    read: async (bytes) => {
      const text = await all(readLines(stream(bytes), { maxLineBytes: 2_000 }))
      return [text.length, await all(readNdjson(stream(bytes)))]
    },
    codes: ['ERR_MESH_INPUT_INVALID'],
    canonical: false,
  }),
]
