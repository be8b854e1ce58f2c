import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { pipe } from 'it-pipe'
import { fromHex, toHex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'
import type { BlobHash, PeerId } from '../../scheduler/types.ts'
import { MAX_BLOB_STREAMS, MAX_OFFER_BYTES } from './limits.ts'
import {
  compress,
  decompress,
  exactly,
  framed,
  pieces,
  receiveFrom,
  sendTo,
  unframed,
} from './pipeline.ts'
import type { TransportEvents } from './types.ts'

/** A stream for each transfer (docs/protocol.md, "Blobs"). */
export const BLOB_PROTOCOL = '/meshwork/1/blob'

const FETCH = 1
const OFFER = 2
const ABSENT = 0
const PRESENT = 1
const HEAD_BYTES = 41
const REPLY_BYTES = 9

interface Head {
  readonly op: number
  readonly hash: BlobHash
  readonly sizeBytes: number
}

type Bytes = AsyncIterable<Uint8Array>

/** A peer's stream as frames: the first one is a head or a reply, the rest are the blob. */
async function* framesOf(stream: Stream): AsyncGenerator<Uint8Array> {
  yield* unframed(receiveFrom(stream))
}

async function first(frames: AsyncGenerator<Uint8Array>): Promise<Uint8Array> {
  const { value, done } = await frames.next()
  if (done === true || value === undefined) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'blob stream ended before its head')
  }
  return value
}

async function sendOne(stream: Stream, bytes: Uint8Array): Promise<void> {
  await pipe([bytes], framedSync, sendTo(stream))
}

async function* framedSync(source: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* framed(each(source))
}

async function* each(source: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* source
}

function sendBlob(stream: Stream, source: Bytes, zip: boolean): Promise<void> {
  return pipe(source, pieces, compress(zip), framed, sendTo(stream))
}

function blobOf(frames: AsyncGenerator<Uint8Array>, sizeBytes: number): Bytes {
  return pipe(frames, decompress, exactly(sizeBytes))
}

/** Asks for a blob; undefined when the peer has it not. */
export async function fetchBlob(
  stream: Stream,
  hash: BlobHash,
  maxBytes: number,
): Promise<{ sizeBytes: number; source: Bytes } | undefined> {
  const frames = framesOf(stream)
  await sendOne(stream, encodeHead({ op: FETCH, hash, sizeBytes: 0 }))
  const reply = await first(frames)
  if (reply.byteLength !== REPLY_BYTES) throw new MeshError('ERR_MESH_PROTOCOL', 'blob: bad reply')
  if (reply[0] !== PRESENT) {
    end(stream)
    return undefined
  }
  const sizeBytes = readSize(reply, 1)
  if (sizeBytes > maxBytes) {
    stream.abort(new Error('blob too large'))
    throw new MeshError('ERR_MESH_TOO_LARGE', `blob of ${sizeBytes} bytes, at most ${maxBytes}`)
  }
  return { sizeBytes, source: closing(stream, blobOf(frames, sizeBytes)) }
}

/** Leaves a blob with a peer; true is its receipt. */
export async function offerBlob(
  stream: Stream,
  hash: BlobHash,
  sizeBytes: number,
  source: Bytes,
  zip: boolean,
): Promise<boolean> {
  const frames = framesOf(stream)
  await sendOne(stream, encodeHead({ op: OFFER, hash, sizeBytes }))
  await sendBlob(stream, source, zip)
  const reply = await first(frames)
  end(stream)
  return reply[0] === PRESENT
}

export interface BlobServerParts {
  readonly events: TransportEvents
  readonly peerOf: (connection: Connection) => PeerId | undefined
  readonly zip: (connection: Connection) => boolean
  readonly fault: (peer: PeerId | undefined, connection: Connection, reason: string) => void
}

/** Serves fetches and takes offers. Whatever a peer sends, it costs at most its own stream and connection. */
export async function serveBlobs(node: Libp2p, parts: BlobServerParts): Promise<void> {
  const serve = async (stream: Stream, connection: Connection) => {
    const peer = parts.peerOf(connection)
    try {
      if (peer === undefined) throw new MeshError('ERR_MESH_PROTOCOL', 'peer without Ed25519 key')
      await serveOne(stream, connection, peer, parts)
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      if (error instanceof MeshError && error.code === 'ERR_MESH_PROTOCOL') {
        parts.fault(peer, connection, `blob: ${error.message}`)
      }
    }
  }
  await node.handle(BLOB_PROTOCOL, (stream, connection) => void serve(stream, connection), {
    maxInboundStreams: MAX_BLOB_STREAMS,
    maxOutboundStreams: MAX_BLOB_STREAMS,
  })
}

async function serveOne(
  stream: Stream,
  connection: Connection,
  peer: PeerId,
  { events, zip }: BlobServerParts,
): Promise<void> {
  const frames = framesOf(stream)
  const head = decodeHead(await first(frames))
  if (head.op === FETCH) {
    const found = await events.onBlobRequested(peer, head.hash)
    await sendOne(stream, encodeReply(found !== undefined, found?.sizeBytes ?? 0))
    if (found !== undefined) await sendBlob(stream, found.source, zip(connection))
    end(stream)
    return
  }
  if (head.sizeBytes > MAX_OFFER_BYTES) {
    throw new MeshError('ERR_MESH_PROTOCOL', `offer of ${head.sizeBytes} bytes`)
  }
  const source = blobOf(frames, head.sizeBytes)
  const kept = await events.onBlobOffered(peer, head.hash, head.sizeBytes, source)
  await sendOne(stream, encodeReply(kept, 0))
  end(stream)
}

async function* closing(stream: Stream, source: Bytes): AsyncGenerator<Uint8Array> {
  try {
    yield* source
    end(stream)
  } catch (error) {
    stream.abort(error instanceof Error ? error : new Error(String(error)))
    throw error
  }
}

/** Closes without waiting for the other side to close, too. */
function end(stream: Stream): void {
  stream.close().catch(() => stream.abort(new Error('not closed in time')))
}

function encodeHead({ op, hash, sizeBytes }: Head): Uint8Array {
  const bytes = Buffer.alloc(HEAD_BYTES)
  bytes[0] = op
  bytes.set(fromHex(hash), 1)
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 33)
  return bytes
}

function decodeHead(bytes: Uint8Array): Head {
  const op = bytes[0]
  if (bytes.byteLength !== HEAD_BYTES || (op !== FETCH && op !== OFFER)) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'bad head')
  }
  return { op, hash: toHex(bytes.subarray(1, 33)) as BlobHash, sizeBytes: readSize(bytes, 33) }
}

function encodeReply(present: boolean, sizeBytes: number): Uint8Array {
  const bytes = Buffer.alloc(REPLY_BYTES)
  bytes[0] = present ? PRESENT : ABSENT
  bytes.writeBigUInt64BE(BigInt(sizeBytes), 1)
  return bytes
}

function readSize(bytes: Uint8Array, at: number): number {
  const size = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readBigUInt64BE(at)
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new MeshError('ERR_MESH_PROTOCOL', 'bad size')
  return Number(size)
}
