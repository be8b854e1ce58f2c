import { decode, encode } from 'cborg'
import { fromHex, toHex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'

/** One piece of a job's input: a blob that holds one segment of `count` items, in item order. */
export interface ManifestPiece {
  /** SHA-256 of the piece, hex. */
  readonly hash: string
  readonly count: number
  readonly sizeBytes: number
}

/** A piece is closed before it passes this size: small enough to fetch at need, large enough that 10 GB are 10 000 of them. */
export const MAX_PIECE_BYTES = 1024 * 1024

/** One item that is larger than a piece is a piece of its own, up to this size; a worker holds a few of them at a time. */
export const MAX_ITEM_BYTES = 16 * 1024 * 1024

/** Pieces of one job: the list of them stays in memory on each peer that works on it. */
export const MAX_PIECES = 65_536

/** `MAX_PIECES` entries of 32 hash bytes and two numbers, each with its CBOR head. */
export const MAX_MANIFEST_BYTES = MAX_PIECES * 56 + 16

/** The manifest as a blob: canonical CBOR, an array of [hash (32 bytes), count, size in bytes]. */
export function encodeManifest(pieces: readonly ManifestPiece[]): Uint8Array {
  if (pieces.length > MAX_PIECES) throw tooManyPieces(pieces.length)
  return encode(pieces.map((piece) => [fromHex(piece.hash), piece.count, piece.sizeBytes]))
}

/**
 * The pieces that a manifest lists. It came from another peer, so that every bound is checked.
 * @throws ERR_MESH_PROTOCOL
 */
export function readManifest(bytes: Uint8Array): ManifestPiece[] {
  if (bytes.byteLength > MAX_MANIFEST_BYTES) {
    throw refused(`it has ${bytes.byteLength} bytes, more than ${MAX_MANIFEST_BYTES}`)
  }
  let list: unknown
  try {
    list = decode(bytes, { strict: true, allowIndefinite: false, allowUndefined: false })
  } catch (cause) {
    throw refused('it is not canonical CBOR', cause)
  }
  if (!Array.isArray(list)) throw refused('it is not a list')
  if (list.length > MAX_PIECES)
    throw refused(`it lists ${list.length} pieces, more than ${MAX_PIECES}`)
  let items = 0
  const pieces = list.map((row: unknown, i) => {
    const piece = readPiece(row, i)
    items += piece.count
    if (!Number.isSafeInteger(items)) throw refused('its item count is too large')
    return piece
  })
  // The decoder takes 1.0 for 1.
  if (Buffer.compare(encodeManifest(pieces), bytes) !== 0) throw refused('it is not canonical CBOR')
  return pieces
}

export function tooManyPieces(count: number): MeshError {
  return new MeshError(
    'ERR_MESH_TOO_LARGE',
    `the input makes ${count} pieces of 1 MiB, more than ${MAX_PIECES}: submit it as several jobs`,
    { details: { pieces: count, limit: MAX_PIECES } },
  )
}

function readPiece(row: unknown, i: number): ManifestPiece {
  if (!Array.isArray(row) || row.length !== 3) throw refused(`piece ${i} is not a row of three`)
  const [hash, count, sizeBytes] = row as unknown[]
  if (!(hash instanceof Uint8Array) || hash.byteLength !== 32) {
    throw refused(`piece ${i} has no 32-byte hash`)
  }
  if (!isCount(sizeBytes, MAX_ITEM_BYTES)) throw refused(`piece ${i} has a wrong size`)
  // An item is at least one byte.
  if (!isCount(count, sizeBytes)) throw refused(`piece ${i} has a wrong count`)
  return { hash: toHex(hash), count, sizeBytes }
}

function isCount(value: unknown, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= max
}

function refused(why: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `the manifest of the job's input is damaged: ${why}`, {
    cause,
  })
}
