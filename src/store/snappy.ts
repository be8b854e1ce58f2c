import { VarReader } from './var-reader.ts'

/** LevelDB's blocks are 4 KiB and a value; larger says that the bytes are damaged. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** Decompresses a block (github.com/google/snappy, format_description.txt). RangeError for what is none. */
export function unsnap(bytes: Buffer): Buffer {
  const reader = new VarReader(bytes)
  const length = reader.number()
  if (length > MAX_OUTPUT_BYTES) throw new RangeError('too long')
  const out = Buffer.alloc(length)
  let at = 0
  while (!reader.ended) {
    const tag = reader.take(1)[0]!
    if ((tag & 3) === 0) {
      const size = tag >> 2
      const count = 1 + (size < 60 ? size : littleEndian(reader.take(size - 59)))
      if (count > length - at) throw new RangeError('too long')
      at += reader.take(count).copy(out, at)
      continue
    }
    const { count, offset } = readCopy(tag, reader)
    if (offset === 0 || offset > at || count > length - at) throw new RangeError('out of range')
    // Byte by byte: it may reach into what it writes.
    for (let i = 0; i < count; i++, at++) out[at] = out[at - offset]!
  }
  if (at !== length) throw new RangeError('too short')
  return out
}

function readCopy(tag: number, reader: VarReader): { count: number; offset: number } {
  if ((tag & 3) === 1) {
    return { count: 4 + ((tag >> 2) & 7), offset: ((tag >> 5) << 8) | reader.take(1)[0]! }
  }
  return { count: 1 + (tag >> 2), offset: littleEndian(reader.take((tag & 3) === 2 ? 2 : 4)) }
}

function littleEndian(bytes: Buffer): number {
  return bytes.readUIntLE(0, bytes.length)
}
