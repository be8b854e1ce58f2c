/** The stages of a transfer's pipeline that are not compression (docs/protocol.md, "Blobs"). */
import { MeshError } from '../../base/errors.ts'
import type { BlobChannel } from './blob-channel.ts'
import { decompressPiece } from './compression.ts'
import { MAX_PIECE_BYTES } from './limits.ts'

/**
 * Pieces of 256 KiB, the last one shorter: `sizeBytes` in all. A source that has more or fewer is this peer's own fault
 * (ERR_MESH_INTERNAL).
 */
export async function* cut(
  source: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  enough: () => boolean,
): AsyncGenerator<Uint8Array> {
  let left = sizeBytes
  let parts: Uint8Array[] = []
  let held = 0
  const join = (): Uint8Array => {
    const piece = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
    parts = []
    held = 0
    return piece
  }
  for await (const bytes of source) {
    if (enough()) return
    left -= bytes.length
    if (left < 0) break
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + MAX_PIECE_BYTES - held)
      parts.push(part)
      held += part.length
      at += part.length
      if (held === MAX_PIECE_BYTES) yield join()
    }
  }
  if (left !== 0) {
    const what = left < 0 ? 'more' : 'fewer'
    throw new MeshError('ERR_MESH_INTERNAL', `a blob has ${what} than its ${sizeBytes} bytes`)
  }
  if (held > 0) yield join()
}

/** A channel's pieces, decompressed. */
export async function* receive(
  channel: BlobChannel,
  broken: (reason: string) => MeshError,
): AsyncGenerator<Uint8Array> {
  for (;;) {
    const frame = await channel.readData()
    if (frame === undefined) throw broken('blob cut short')
    yield await decompressPiece(frame).catch((error: Error) => {
      throw broken(error.message)
    })
  }
}

export interface SizedHooks {
  /** The peer sent more than it said. */
  readonly broken: (reason: string) => MeshError
  /** All of it was read. */
  readonly whole: () => void
  /** The reader left before its end, or it broke off. Either of the two is called, once. */
  readonly abandoned: () => void
}

/** Exactly `sizeBytes` of `pieces`. Says how it ended also when a reader leaves before it has begun. */
export function sized(
  pieces: AsyncGenerator<Uint8Array>,
  sizeBytes: number,
  { broken, whole, abandoned }: SizedHooks,
): AsyncIterable<Uint8Array> {
  let left = sizeBytes
  let over = false
  const finish = (how: () => void): void => {
    if (!over) how()
    over = true
  }
  const end = { done: true, value: undefined } as const
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    if (sizeBytes === 0) finish(whole)
    if (over) return end
    try {
      const { value } = await pieces.next()
      left -= value.length
      if (left < 0) throw broken('blob longer than it was said to be')
      if (left === 0) finish(whole)
      return { done: false, value }
    } catch (error) {
      finish(abandoned)
      throw error
    }
  }
  const leave = async (): Promise<IteratorResult<Uint8Array>> => {
    finish(left === 0 ? whole : abandoned)
    return end
  }
  return { [Symbol.asyncIterator]: () => ({ next, return: leave }) }
}
