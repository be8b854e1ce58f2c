import { RPC } from '@chainsafe/libp2p-gossipsub/message'
import type { Stream } from '@libp2p/interface'
import * as fc from 'fast-check'
import { parseDialAddress } from '../../../src/node/transport/addresses.ts'
import { decodeBlobFrame, encodeBlobFrame } from '../../../src/node/transport/blob-frames.ts'
import {
  compressPieces,
  DEFLATE,
  decompressPiece,
} from '../../../src/node/transport/compression.ts'
import { FrameParser, frameHeader } from '../../../src/node/transport/frames.ts'
import { guardGossip } from '../../../src/node/transport/gossip-guard.ts'
import { MAX_PIECE_BYTES } from '../../../src/node/transport/limits.ts'
import { peerIdText } from '../../../src/node/wire/base58.ts'
import type { BlobHash } from '../../../src/scheduler/types.ts'
import { hex, peerOf } from '../store/writers.ts'
import { type Decoder, decoder, utf16 } from './decoder.ts'

const hash = fc.nat().map((n) => hex(n) as BlobHash)
const kind = <T extends string>(type: T) => fc.constant(type)
const blobFrame = fc.oneof(
  fc.record({ type: kind('fetch'), hash, encodings: fc.nat(255) }),
  fc.record({ type: kind('offer'), hash, sizeBytes: fc.maxSafeNat() }),
  fc.record({ type: kind('have'), sizeBytes: fc.maxSafeNat() }),
  fc.record({ type: kind('none') }),
  fc.record({
    type: kind('data'),
    encoding: fc.nat(3),
    bytes: fc.uint8Array({ minLength: 1, maxLength: 90 }),
  }),
  fc.record({ type: kind('credit'), bytes: fc.nat(2 ** 31 - 1) }),
  fc.record({ type: kind('receipt'), kept: fc.boolean() }),
)
type BlobFrame = Parameters<typeof encodeBlobFrame>[0]

function wholeBlobFrame(frame: BlobFrame): Uint8Array {
  const head = encodeBlobFrame(frame)
  return new Uint8Array(frame.type === 'data' ? Buffer.concat([head, frame.bytes]) : head)
}

const parts = fc.array(fc.uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 4 })
const framed = (list: readonly Uint8Array[]): Uint8Array =>
  new Uint8Array(Buffer.concat(list.flatMap((part) => [frameHeader(part.length), part])))

const rpc = fc
  .record({
    messages: fc.array(
      fc.record({
        from: fc.uint8Array({ maxLength: 10 }),
        data: fc.uint8Array({ maxLength: 40 }),
        topic: fc.constant('mesh'),
      }),
      { maxLength: 3 },
    ),
    subscriptions: fc.array(fc.record({ subscribe: fc.boolean(), topic: fc.string() }), {
      maxLength: 3,
    }),
  })
  .map((value) => RPC.encode(value))

function varint(length: number): Uint8Array {
  return length < 0x80 ? Uint8Array.of(length) : Uint8Array.of((length & 0x7f) | 0x80, length >> 7)
}

/** What a guarded gossip stream does with bytes that come in pieces: the faults that it told. */
function gossipFaults(bytes: Uint8Array): string[] {
  const target = new EventTarget()
  const faults: string[] = []
  guardGossip(target as unknown as Stream, (reason) => faults.push(reason))
  for (let at = 0; at < bytes.length; at += 11) {
    const data = bytes.subarray(at, at + 11)
    // An error of the listener would not come out of dispatchEvent, but end the process.
    target.dispatchEvent(Object.assign(new Event('message'), { data }))
  }
  target.dispatchEvent(new Event('remoteCloseWrite'))
  if (faults.length > 1) throw new Error('it told more than one fault')
  return faults
}

async function compressed(bytes: Uint8Array): Promise<Uint8Array> {
  const source = (async function* () {
    yield bytes
  })()
  for await (const piece of compressPieces(source, DEFLATE)) return piece.bytes
  return bytes
}
const packed = await Promise.all(
  [5_000, 20_000, 60_000].map((n) => compressed(Buffer.alloc(n, 'ab'))),
)

const key = Buffer.from(peerOf('dialled').peer, 'hex')

export const transportDecoders: readonly Decoder[] = [
  decoder<BlobFrame>({
    name: 'blob frame',
    covers: ['src/node/transport/blob-frames.ts#decodeBlobFrame'],
    form: 'bytes',
    values: blobFrame,
    write: wholeBlobFrame,
    read: decodeBlobFrame,
  }),
  decoder({
    name: 'frames of a direct stream',
    covers: ['src/node/transport/frames.ts#FrameParser'],
    form: 'bytes',
    values: parts,
    write: framed,
    read: (bytes) => {
      const seen: number[] = []
      const parser = new FrameParser(1_000, (frame) => seen.push(frame.length))
      for (let at = 0; at < bytes.length; at += 5) parser.push(bytes.subarray(at, at + 5))
      return seen
    },
    canonical: false,
  }),
  decoder({
    name: 'gossip stream',
    covers: ['src/node/transport/gossip-guard.ts#guardGossip'],
    form: 'bytes',
    values: fc.array(rpc, { minLength: 1, maxLength: 3 }),
    write: (list) =>
      new Uint8Array(Buffer.concat(list.flatMap((frame) => [varint(frame.length), frame]))),
    read: gossipFaults,
    canonical: false,
  }),
  decoder({
    name: 'compressed piece',
    covers: ['src/node/transport/compression.ts#decompressPiece'],
    form: 'bytes',
    values: fc.constantFrom(...packed),
    write: (bytes) => bytes,
    read: (bytes) => decompressPiece({ encoding: DEFLATE, bytes }),
    canonical: false,
    // A bomb is let off up to the limit of a piece.
    maxBytes: 2 * MAX_PIECE_BYTES,
  }),
  decoder({
    name: 'address to dial',
    covers: ['src/node/transport/addresses.ts#parseDialAddress'],
    form: 'bytes',
    values: fc.constantFrom(
      '/ip4/192.0.2.1/tcp/4001',
      `/ip6/2001:db8::1/tcp/4001/p2p/${peerIdText(key)}`,
      `/dns4/a.example/tcp/1/p2p/${peerIdText(key)}`,
    ),
    write: utf16.bytes,
    read: (bytes) => parseDialAddress(utf16.text(bytes)).peer,
    codes: ['ERR_MESH_ADDRESS_INVALID'],
    canonical: false,
  }),
]
