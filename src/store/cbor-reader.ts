import { MeshError } from '../base/errors.ts'

const UINT = 0
const NEGATIVE = 1
const BYTES = 2
const TEXT = 3
const ARRAY = 4
const NULL = 0xf6

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A message or an entry that breaks the protocol. */
export function protocolError(reason: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', reason)
}

/**
 * Reads canonical CBOR by a schema that the caller spells out call by call. It knows only what the protocol uses (integers, byte
 * strings, text, arrays of known length, null), accepts only the shortest form of each head, and checks every length before it
 * allocates. A generic decoder cannot: it reads 1.0 as 1, and builds what a peer asks for before anyone looks at it.
 * Every method throws ERR_MESH_PROTOCOL, and nothing else.
 */
export class CborReader {
  private readonly buffer: Buffer
  private at = 0

  constructor(bytes: Uint8Array) {
    this.buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Bytes read so far. */
  get position(): number {
    return this.at
  }

  /** A safe integer, 0 <= n <= max. */
  uint(what: string, max: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.head(UINT, what)
    if (value > max) throw protocolError(`${what} is ${value}, at most ${max} is allowed`)
    return value
  }

  /** A safe integer of either sign. */
  int(what: string): number {
    if (this.buffer[this.at]! >> 5 !== NEGATIVE) return this.head(UINT, what)
    const value = -1 - this.head(NEGATIVE, what)
    if (!Number.isSafeInteger(value)) throw protocolError(`${what} is not a safe integer`)
    return value
  }

  /** A view, not a copy. */
  bytes(what: string, max: number): Uint8Array {
    const length = this.length(BYTES, what, max)
    const start = this.at
    this.at += length
    return new Uint8Array(this.buffer.buffer, this.buffer.byteOffset + start, length)
  }

  /** Exactly `size` bytes, as hex. */
  hex(what: string, size: number): string {
    const length = this.length(BYTES, what, size)
    if (length !== size) throw protocolError(`${what} has ${length} bytes, ${size} are needed`)
    const start = this.at
    this.at += length
    return this.buffer.toString('hex', start, this.at)
  }

  text(what: string, maxBytes: number): string {
    const length = this.length(TEXT, what, maxBytes)
    const start = this.at
    this.at += length
    try {
      return utf8.decode(this.buffer.subarray(start, this.at))
    } catch {
      throw protocolError(`${what} is not UTF-8`)
    }
  }

  /** Number of elements that follow. */
  array(what: string, min: number, max: number): number {
    const count = this.head(ARRAY, what)
    if (count < min || count > max) {
      const allowed = min === max ? `${min}` : `${min} to ${max}`
      throw protocolError(`${what} has ${count} elements, ${allowed} are allowed`)
    }
    return count
  }

  /** Takes a null, if one is next. */
  null(): boolean {
    if (this.buffer[this.at] !== NULL) return false
    this.at++
    return true
  }

  end(what: string): void {
    if (this.at !== this.buffer.length) {
      throw protocolError(`${what} has ${this.buffer.length - this.at} bytes too many`)
    }
  }

  private length(major: number, what: string, max: number): number {
    const length = this.head(major, what)
    if (length > max) throw protocolError(`${what} has ${length} bytes, at most ${max} are allowed`)
    if (length > this.buffer.length - this.at) throw protocolError(`${what} is cut short`)
    return length
  }

  /** The argument of the next head, which must be of type `major` and in its shortest form. */
  private head(major: number, what: string): number {
    const first = this.buffer[this.at]
    if (first === undefined) throw protocolError(`${what} is missing`)
    if (first >> 5 !== major) throw protocolError(`${what} has the wrong type`)
    const info = first & 0x1f
    this.at++
    if (info < 24) return info
    if (info > 27) throw protocolError(`${what} has an unknown form`)
    const size = 1 << (info - 24)
    if (size > this.buffer.length - this.at) throw protocolError(`${what} is cut short`)
    const start = this.at
    this.at += size
    return this.argument(start, size, what)
  }

  private argument(start: number, size: number, what: string): number {
    const { buffer } = this
    let value: number
    let least: number
    if (size === 1) {
      value = buffer[start]!
      least = 24
    } else if (size === 2) {
      value = buffer.readUInt16BE(start)
      least = 0x100
    } else if (size === 4) {
      value = buffer.readUInt32BE(start)
      least = 0x10000
    } else {
      value = buffer.readUInt32BE(start) * 2 ** 32 + buffer.readUInt32BE(start + 4)
      least = 2 ** 32
    }
    if (value < least) throw protocolError(`${what} is not in its shortest form`)
    if (value > Number.MAX_SAFE_INTEGER) throw protocolError(`${what} is not a safe integer`)
    return value
  }
}
