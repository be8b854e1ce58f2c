import * as fc from 'fast-check'
import {
  readDone,
  readFailed,
  readNoGpu,
  readProbed,
  readReady,
  readStarted,
  writeDoneHead,
} from '../../../src/gpu/worker/messages.ts'
import { encodeValue } from '../../../src/runtime/segment.ts'
import { type Decoder, decoder } from './decoder.ts'

const amount = fc.double({ min: 0, noNaN: true, noDefaultInfinity: true })
const names = fc.array(fc.string(), { maxLength: 4 })
const usage = { rssBytes: fc.nat(), residentBytes: fc.nat() }

/** A reader of what a GPU process says: msgpack of one object. */
function message(
  name: string,
  read: (payload: Uint8Array) => unknown,
  values: fc.Arbitrary<unknown>,
): Decoder {
  return decoder({
    name: `message of a GPU process: ${name}`,
    covers: [`src/gpu/worker/messages.ts#${read.name}`],
    form: 'bytes',
    values,
    write: encodeValue,
    read,
    canonical: false,
  })
}

export const gpuMessageDecoders: readonly Decoder[] = [
  message('ready', readReady, fc.record({ deviceClass: fc.string() })),
  message('started', readStarted, fc.record({ id: fc.nat() })),
  message(
    'failed',
    readFailed,
    fc.record({
      id: fc.nat(),
      code: fc.constantFrom('ERR_MESH_KERNEL_INVALID', 'ERR_MESH_KERNEL_FAILED'),
      message: fc.string(),
      ...usage,
    }),
  ),
  message(
    'no GPU',
    readNoGpu,
    fc.record({
      why: fc.oneof(
        fc.constant({ kind: 'noAdapter' }),
        fc.record({ kind: fc.constant('otherName'), wanted: fc.string() }),
        fc.record({ kind: fc.constantFrom('library', 'compiler', 'broken'), message: fc.string() }),
      ),
      adapters: names,
    }),
  ),
  message(
    'probed',
    readProbed,
    fc.record({
      name: fc.string(),
      deviceClass: fc.string(),
      software: fc.boolean(),
      adapters: names,
      wrong: fc.string(),
      gflops: amount,
      upMBs: amount,
      downMBs: amount,
      maxBufferBytes: fc.nat(),
      maxStorageBuffers: fc.nat(),
    }),
  ),
  decoder({
    name: 'message of a GPU process: done',
    covers: ['src/gpu/worker/messages.ts#readDone'],
    form: 'bytes',
    values: fc.record({
      id: fc.nat(),
      preparedMs: amount,
      elapsedMs: amount,
      ...usage,
      bytes: fc.uint8Array(),
    }),
    write: ({ bytes, ...done }) => Buffer.concat([writeDoneHead(done), bytes]),
    read: (bytes) => readDone(Buffer.from(bytes)),
    canonical: false,
  }),
]
