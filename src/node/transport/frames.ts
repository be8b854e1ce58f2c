import type { StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../base/errors.ts'

const HEADER_BYTES = 4
/** In place of a length, nothing follows: a sign of life is asked for, and given (docs/protocol.md, "Connections"). */
export const PING = 0xffff_ff01
export const PONG = 0xffff_ff02
/** Smaller ones come out of Node's pool of 8 KiB, so that a message that is kept keeps no more than that alive. */
const POOLED_BYTES = 2048

/** u32 (big-endian) length, then so many bytes. */
export function frameHeader(length: number): Uint8Array {
  const header = Buffer.allocUnsafe(HEADER_BYTES)
  header.writeUInt32BE(length)
  return header
}

/**
 * Takes length-prefixed frames out of a byte stream, however it is cut up. A length above the cap throws before anything is
 * allocated. Each frame is a copy of its own: a small one that is kept would otherwise keep a whole chunk of the stream alive.
 */
export class FrameParser {
  private readonly maxBytes: number
  private readonly onFrame: (frame: Uint8Array) => void
  private readonly onWord: ((word: number) => void) | undefined
  private length = 0
  private headerFilled = 0
  private body: Uint8Array | undefined
  private bodyFilled = 0

  /** @param onWord told of PING and PONG; without it they are lengths above the cap */
  constructor(
    maxBytes: number,
    onFrame: (frame: Uint8Array) => void,
    onWord?: (word: number) => void,
  ) {
    this.maxBytes = maxBytes
    this.onFrame = onFrame
    this.onWord = onWord
  }

  /** A frame has begun and not ended. */
  get partial(): boolean {
    return this.headerFilled > 0
  }

  /** Throws ERR_MESH_PROTOCOL on a frame above the cap, and whatever onFrame throws. */
  push(data: StreamMessageEvent['data']): void {
    if (data instanceof Uint8Array) this.take(data)
    else for (const part of data) this.take(part)
  }

  private take(part: Uint8Array): void {
    let at = 0
    while (at < part.length) {
      if (this.body === undefined) at = this.takeHeader(part, at)
      else at = this.takeBody(this.body, part, at)
    }
  }

  private takeHeader(part: Uint8Array, from: number): number {
    let at = from
    while (at < part.length && this.headerFilled < HEADER_BYTES) {
      this.length = this.length * 256 + part[at]!
      this.headerFilled += 1
      at += 1
    }
    if (this.headerFilled < HEADER_BYTES) return at
    if ((this.length === PING || this.length === PONG) && this.onWord !== undefined) {
      const word = this.length
      this.length = 0
      this.headerFilled = 0
      this.onWord(word)
      return at
    }
    if (this.length > this.maxBytes) {
      throw new MeshError(
        'ERR_MESH_PROTOCOL',
        `frame of ${this.length} bytes, at most ${this.maxBytes} are allowed`,
      )
    }
    this.body =
      this.length <= POOLED_BYTES
        ? Buffer.allocUnsafe(this.length)
        : Buffer.allocUnsafeSlow(this.length)
    if (this.length === 0) this.finish(this.body)
    return at
  }

  private takeBody(body: Uint8Array, part: Uint8Array, from: number): number {
    const count = Math.min(body.length - this.bodyFilled, part.length - from)
    body.set(part.subarray(from, from + count), this.bodyFilled)
    this.bodyFilled += count
    if (this.bodyFilled === body.length) this.finish(body)
    return from + count
  }

  private finish(body: Uint8Array): void {
    this.body = undefined
    this.length = 0
    this.headerFilled = 0
    this.bodyFilled = 0
    this.onFrame(new Uint8Array(body.buffer, body.byteOffset, body.length))
  }
}
