import { MeshError } from '../../base/errors.ts'

const HEAD_BYTES = 4

/** `u32 big-endian length, bytes`. */
export function frame(bytes: Uint8Array): Uint8Array[] {
  const head = Buffer.allocUnsafe(HEAD_BYTES)
  head.writeUInt32BE(bytes.byteLength)
  return [head, bytes]
}

/** Cuts a byte stream into frames. A length above the cap is refused before anything of it is kept. */
export class FrameReader {
  private parts: Uint8Array[] = []
  private buffered = 0
  private readonly maxBytes: number

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** True when the stream may end here. */
  get empty(): boolean {
    return this.buffered === 0
  }

  /** The frames that `chunk` completes. Throws ERR_MESH_PROTOCOL for an oversized one. */
  *push(chunk: Uint8Array): Generator<Uint8Array> {
    if (chunk.byteLength === 0) return
    this.parts.push(chunk)
    this.buffered += chunk.byteLength
    while (this.buffered >= HEAD_BYTES) {
      const length = this.peekLength()
      if (length > this.maxBytes) {
        throw new MeshError(
          'ERR_MESH_PROTOCOL',
          `frame of ${length} bytes, at most ${this.maxBytes} are allowed`,
        )
      }
      if (this.buffered < HEAD_BYTES + length) return
      const whole = this.take(HEAD_BYTES + length)
      yield whole.subarray(HEAD_BYTES)
    }
  }

  private peekLength(): number {
    if (this.parts[0]!.byteLength < HEAD_BYTES) this.parts = [Buffer.concat(this.parts)]
    const first = this.parts[0]!
    return Buffer.from(first.buffer, first.byteOffset, first.byteLength).readUInt32BE(0)
  }

  private take(count: number): Uint8Array {
    if (this.parts[0]!.byteLength < count) this.parts = [Buffer.concat(this.parts)]
    const first = this.parts[0]!
    const taken = first.subarray(0, count)
    if (first.byteLength === count) this.parts.shift()
    else this.parts[0] = first.subarray(count)
    this.buffered -= count
    return taken
  }
}
