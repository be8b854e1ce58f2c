import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import { MeshError } from '../../base/errors.ts'
import {
  COMPRESSION_GAIN,
  COMPRESSION_SAMPLE_BYTES,
  MAX_PIECE_BYTES,
  MIN_COMPRESSED_BYTES,
} from './limits.ts'

/** How a piece of a blob is written; also its number on the wire. */
export const RAW = 0
export const ZSTD = 1
export const DEFLATE = 2
export type Encoding = typeof RAW | typeof ZSTD | typeof DEFLATE

type Transform = (bytes: Uint8Array, options: object) => Promise<Uint8Array>
interface Codec {
  readonly compress: Transform
  readonly decompress: Transform
  readonly options: object
}

/** node:zlib has zstd from Node 22.15 on. */
const zstd = zlib as unknown as Record<string, Parameters<typeof promisify>[0] | undefined>
const ZSTD_COMPRESSION_LEVEL = 100

const codecs = new Map<number, Codec>([
  [
    DEFLATE,
    {
      compress: promisify(zlib.deflateRaw) as Transform,
      decompress: promisify(zlib.inflateRaw) as Transform,
      options: { level: 1 },
    },
  ],
])
if (zstd.zstdCompress !== undefined && zstd.zstdDecompress !== undefined) {
  codecs.set(ZSTD, {
    compress: promisify(zstd.zstdCompress) as Transform,
    decompress: promisify(zstd.zstdDecompress) as Transform,
    options: { params: { [ZSTD_COMPRESSION_LEVEL]: 1 } },
  })
}

/** Bit n - 1 is set when this process reads encoding n: what it tells the other side. */
export const ACCEPTED_ENCODINGS = [...codecs.keys()].reduce((bits, n) => bits | (1 << (n - 1)), 0)

/** The best encoding that both sides have; RAW if none. */
export function bestEncoding(accepted: number): Encoding {
  for (const encoding of [ZSTD, DEFLATE] as const) {
    if (codecs.has(encoding) && (accepted & (1 << (encoding - 1))) !== 0) return encoding
  }
  return RAW
}

export interface Piece {
  readonly encoding: Encoding
  readonly bytes: Uint8Array
}

/**
 * Compresses pieces, off the event loop. The first piece is the sample: when it does not shrink by a tenth the rest go as they
 * are, so that noise costs one try of 64 KiB.
 */
export async function* compressPieces(
  pieces: AsyncIterable<Uint8Array>,
  encoding: Encoding,
): AsyncGenerator<Piece> {
  const codec = codecs.get(encoding)
  let pays: boolean | undefined = codec === undefined ? false : undefined
  for await (const bytes of pieces) {
    if (codec === undefined || pays === false || bytes.length < MIN_COMPRESSED_BYTES) {
      yield { encoding: RAW, bytes }
      continue
    }
    if (pays === undefined) {
      const sample = bytes.subarray(0, COMPRESSION_SAMPLE_BYTES)
      const packed = await codec.compress(sample, codec.options)
      pays = packed.length <= sample.length * COMPRESSION_GAIN
      if (pays && sample.length === bytes.length) yield { encoding, bytes: packed }
      if (!pays) yield { encoding: RAW, bytes }
      if (!pays || sample.length === bytes.length) continue
    }
    const packed = await codec.compress(bytes, codec.options)
    yield packed.length < bytes.length ? { encoding, bytes: packed } : { encoding: RAW, bytes }
  }
}

/** The piece as it was. At most MAX_PIECE_BYTES come out, whatever goes in. Throws ERR_MESH_PROTOCOL. */
export async function decompressPiece({
  encoding,
  bytes,
}: {
  readonly encoding: number
  readonly bytes: Uint8Array
}): Promise<Uint8Array> {
  if (encoding === RAW) return bytes
  const codec = codecs.get(encoding)
  if (codec === undefined) {
    throw new MeshError('ERR_MESH_PROTOCOL', `piece in an unknown encoding (${encoding})`)
  }
  try {
    return await codec.decompress(bytes, { maxOutputLength: MAX_PIECE_BYTES })
  } catch (cause) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'piece that cannot be decompressed', { cause })
  }
}
