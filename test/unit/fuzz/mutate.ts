/** Damage of every kind that bytes take on their way, or that somebody does to them: knows nothing of any format. */
import type { Random } from './random.ts'

/** Bytes that mean something in one of our formats: lengths, CBOR and msgpack heads, text that is not UTF-8. */
const TELLING = [
  0x00, 0x01, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1f, 0x20, 0x3b, 0x40, 0x5b, 0x5f, 0x60, 0x7b, 0x7f,
  0x80, 0x81, 0x9b, 0x9f, 0xa1, 0xbb, 0xbf, 0xc0, 0xc1, 0xc7, 0xc9, 0xd4, 0xd8, 0xdb, 0xdd, 0xdf,
  0xed, 0xf6, 0xf7, 0xf9, 0xfb, 0xfe, 0xff,
]
/** Numbers at the edges of what fields hold. */
const NUMBERS = [
  0n,
  1n,
  23n,
  24n,
  255n,
  256n,
  65_535n,
  65_536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
]
const MOST_REPEATS = 64

type Change = (bytes: Buffer, random: Random, others: readonly Uint8Array[]) => Buffer

const place = (bytes: Buffer, random: Random): number => random.int(bytes.length + 1)

function piece(bytes: Buffer, random: Random): [from: number, to: number] {
  const from = place(bytes, random)
  return [from, Math.min(bytes.length, from + random.count(64))]
}

function insert(bytes: Buffer, at: number, more: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)])
}

/** A number of 1, 2, 4 or 8 bytes, either end first. */
function number(random: Random): Buffer {
  const all = Buffer.alloc(8)
  all.writeBigUInt64BE(random.pick(NUMBERS))
  const size = random.pick([1, 2, 4, 8])
  const bytes = all.subarray(8 - size)
  return random.oneIn(2) ? bytes : bytes.reverse()
}

const CHANGES: readonly Change[] = [
  function flipBits(bytes, random) {
    for (let n = random.count(8); n > 0 && bytes.length > 0; n--) {
      bytes[random.int(bytes.length)]! ^= 1 << random.int(8)
    }
    return bytes
  },
  function setByte(bytes, random) {
    if (bytes.length > 0) bytes[random.int(bytes.length)] = random.pick(TELLING)
    return bytes
  },
  function setNumber(bytes, random) {
    const more = number(random)
    const at = place(bytes, random)
    return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at + more.length)])
  },
  function insertSome(bytes, random) {
    const more = random.oneIn(2) ? random.bytes(random.count(32)) : number(random)
    return insert(bytes, place(bytes, random), more)
  },
  function cutOut(bytes, random) {
    const [from, to] = piece(bytes, random)
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
  },
  function repeat(bytes, random) {
    const [from, to] = piece(bytes, random)
    const times = random.count(MOST_REPEATS)
    const more = Buffer.concat(Array.from({ length: times }, () => bytes.subarray(from, to)))
    return insert(bytes, from, more)
  },
  function move(bytes, random) {
    const [from, to] = piece(bytes, random)
    const rest = Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)])
    return insert(rest, place(rest, random), bytes.subarray(from, to))
  },
  function cutShort(bytes, random) {
    return bytes.subarray(0, place(bytes, random))
  },
  function splice(bytes, random, others) {
    const other = Buffer.from(random.pick(others) ?? bytes)
    const tail = other.subarray(place(other, random))
    return Buffer.concat([bytes.subarray(0, place(bytes, random)), tail])
  },
  function nest(bytes, random) {
    // A list in a list in a list, in CBOR, JSON and msgpack.
    const depth = random.pick([3, 100, 5_000, 100_000])
    return insert(bytes, place(bytes, random), Buffer.alloc(depth, random.pick([0x81, 0x5b, 0x91])))
  },
]

/** `bytes` with one to four changes; pieces of `others` may come in. The input is left as it is. */
export function mutateBytes(
  bytes: Uint8Array,
  random: Random,
  others: readonly Uint8Array[],
): Uint8Array {
  let result = Buffer.from(bytes)
  for (let n = 1 + random.int(4); n > 0; n--) {
    // A copy: some changes write in place, into what may be a view of another sample.
    result = Buffer.from(random.pick(CHANGES)(result, random, others))
  }
  return new Uint8Array(result)
}
