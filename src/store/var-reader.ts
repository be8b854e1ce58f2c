/** Reads what LevelDB writes: numbers of seven bits a byte, and bytes with their length before them. RangeError when cut short. */
export class VarReader {
  at: number
  private readonly bytes: Buffer

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes
    this.at = at
  }

  get ended(): boolean {
    return this.at >= this.bytes.length
  }

  /** Exact up to 2^53. */
  number(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++]
      if (byte === undefined || scale > 2 ** 63) throw new RangeError('cut short')
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }

  /** A view. */
  take(length: number): Buffer {
    const from = this.at
    if (length > this.bytes.length - from) throw new RangeError('cut short')
    this.at += length
    return this.bytes.subarray(from, this.at)
  }

  slice(): Buffer {
    return this.take(this.number())
  }
}

/** undefined where the bytes are not what is read out of them. */
export function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
