/**
 * The frames of a blob stream (docs/protocol.md, "Blobs"): u32 length, then a type and its fields, numbers big-endian.
 *
 *     0 fetch    hash: 32 · encodings: u8            asks for a blob; bit n - 1: the asker reads encoding n
 *     1 offer    hash: 32 · sizeBytes: u64           leaves one; its data follow at once
 *     2 have     sizeBytes: u64                      answer to fetch; the data follow
 *     3 none                                         answer to fetch: not held
 *     4 data     encoding: u8 · bytes                one piece
 *     5 credit   bytes: u32                          the receiver took so much: as much more may be sent
 *     6 receipt  kept: u8                            answer to offer
 */
import { fromHex, toHex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'
import type { BlobHash } from '../../scheduler/types.ts'

const HASH_BYTES = 32

export type BlobFrame =
  | { readonly type: 'fetch'; readonly hash: BlobHash; readonly encodings: number }
  | { readonly type: 'offer'; readonly hash: BlobHash; readonly sizeBytes: number }
  | { readonly type: 'have'; readonly sizeBytes: number }
  | { readonly type: 'none' }
  | { readonly type: 'data'; readonly encoding: number; readonly bytes: Uint8Array }
  | { readonly type: 'credit'; readonly bytes: number }
  | { readonly type: 'receipt'; readonly kept: boolean }

const TYPES = ['fetch', 'offer', 'have', 'none', 'data', 'credit', 'receipt'] as const
/** Bytes after the type; data has any number from 1 on. */
const LENGTHS = { fetch: 33, offer: 40, have: 8, none: 0, credit: 4, receipt: 1 } as const

/** Without data's bytes, which are sent as they are, behind it. */
export function encodeBlobFrame(frame: BlobFrame): Uint8Array {
  const type = TYPES.indexOf(frame.type)
  switch (frame.type) {
    case 'fetch':
      return Buffer.concat([
        Uint8Array.of(type),
        fromHex(frame.hash),
        Uint8Array.of(frame.encodings),
      ])
    case 'offer':
      return Buffer.concat([Uint8Array.of(type), fromHex(frame.hash), u64(frame.sizeBytes)])
    case 'have':
      return Buffer.concat([Uint8Array.of(type), u64(frame.sizeBytes)])
    case 'none':
      return Uint8Array.of(type)
    case 'data':
      return Uint8Array.of(type, frame.encoding)
    case 'credit': {
      const bytes = Buffer.alloc(5)
      bytes[0] = type
      bytes.writeUInt32BE(frame.bytes, 1)
      return bytes
    }
    case 'receipt':
      return Uint8Array.of(type, frame.kept ? 1 : 0)
  }
}

/** Throws ERR_MESH_PROTOCOL, nothing else. `data` is a view of `bytes`. */
export function decodeBlobFrame(bytes: Uint8Array): BlobFrame {
  const type = TYPES[bytes[0] ?? -1]
  if (type === undefined) throw malformed('unknown frame')
  const body = Buffer.from(bytes.buffer, bytes.byteOffset + 1, bytes.length - 1)
  if (type === 'data') {
    if (body.length < 2) throw malformed('empty data frame')
    return { type, encoding: body[0]!, bytes: bytes.subarray(2) }
  }
  if (body.length !== LENGTHS[type]) throw malformed(`${type} frame of a wrong length`)
  switch (type) {
    case 'fetch':
      return { type, hash: hashOf(body), encodings: body[HASH_BYTES]! }
    case 'offer':
      return { type, hash: hashOf(body), sizeBytes: sizeOf(body, HASH_BYTES) }
    case 'have':
      return { type, sizeBytes: sizeOf(body, 0) }
    case 'none':
      return { type }
    case 'credit':
      return { type, bytes: body.readUInt32BE() }
    case 'receipt':
      if (body[0]! > 1) throw malformed('receipt that is neither yes nor no')
      return { type, kept: body[0] === 1 }
  }
}

function hashOf(body: Buffer): BlobHash {
  return toHex(body.subarray(0, HASH_BYTES)) as BlobHash
}

function sizeOf(body: Buffer, at: number): number {
  const size = body.readBigUInt64BE(at)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('size beyond all blobs')
  return Number(size)
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

function malformed(what: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', what)
}
