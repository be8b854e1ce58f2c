/**
 * How values and item errors travel: a *segment* is a 12-byte header (count, valuesBytes, failuresBytes; u32 little-endian), a
 * msgpack array of `count` values (null where an item failed) and a msgpack array of failures, whose `index` counts from the
 * segment's first item. A result, a DONE's inline bytes or an input piece is a concatenation of segments.
 */
import { addExtension, Packr, Unpackr } from 'msgpackr/pack'
import { MeshError } from '../base/errors.ts'
import { MAX_MESSAGE_CHARS, MAX_STACK_CHARS, MAX_VALUE_BYTES } from './limits.ts'
import { describe } from './task.ts'
import type { ItemError } from './types.ts'

export const SEGMENT_HEADER_BYTES = 12
const VALUE_OPTIONS = { structuredClone: true, moreTypes: true } as const

/** msgpackr would write these as `{}`: a result that silently lost its content. */
const UNSENDABLE: [abstract new (...args: never[]) => object, string, number][] = [
  [Promise, 'a promise (await it first)', 0x50],
  [WeakMap, 'a WeakMap', 0x51],
  [WeakSet, 'a WeakSet', 0x52],
  [WeakRef, 'a WeakRef', 0x54],
]
for (const [Class, words, type] of UNSENDABLE) {
  addExtension({
    Class,
    type,
    pack: () => {
      throw new TypeError(words)
    },
  } as never)
}

/** One packer per direction: msgpackr keeps state that must not be shared with a reader. */
function createPacker(): Packr {
  const packer = new Packr(VALUE_OPTIONS) as Packr & { writeFunction?: () => never }
  packer.writeFunction = () => {
    throw new TypeError('a function')
  }
  return packer
}
const packer = createPacker()
const unpacker = new Unpackr(VALUE_OPTIONS)

/** msgpackr reads a key `__proto__` back as another one, since it would change the object itself: such a value is refused. */
function pack(value: unknown): Buffer {
  const bytes = packer.pack(value)
  if (bytes.includes(PROTO_KEY) && hasProtoKey(value, new Set())) {
    throw new TypeError('an object with a property named __proto__')
  }
  return bytes
}

const PROTO_KEY = Buffer.from('__proto__')

function hasProtoKey(value: unknown, seen: Set<unknown>): boolean {
  if (value === null || typeof value !== 'object' || seen.has(value)) return false
  seen.add(value)
  if (value instanceof Map) {
    return [...value].some(([k, v]) => hasProtoKey(k, seen) || hasProtoKey(v, seen))
  }
  if (value instanceof Set || Array.isArray(value)) {
    return [...value].some((it) => hasProtoKey(it, seen))
  }
  if (ArrayBuffer.isView(value)) return false
  return (
    Object.hasOwn(value, '__proto__') || Object.values(value).some((it) => hasProtoKey(it, seen))
  )
}

/** One value as msgpack: a job's args. @throws ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE */
export function encodeValue(value: unknown): Uint8Array {
  try {
    const bytes = pack(value)
    if (bytes.length > MAX_VALUE_BYTES) throw tooLarge(bytes.length)
    return bytes
  } catch (error) {
    throw error instanceof MeshError ? error : unsendable(error)
  }
}

/** The value that encodeValue took. @throws ERR_MESH_PROTOCOL */
export function decodeValue(bytes: Uint8Array): unknown {
  return unpackChecked(bytes, 'a value')
}

/**
 * Encodes `values` (null in the place of a failed item) and `failures` (their `index` counted from the segment's start).
 * @throws ERR_MESH_VALUE_UNSENDABLE or ERR_MESH_VALUE_TOO_LARGE with `details.index`, the first value that cannot be sent.
 */
export function encodeSegment(
  values: readonly unknown[],
  failures: readonly ItemError[] = [],
): Uint8Array {
  return Buffer.concat(encodeSegmentParts(values, failures))
}

/** encodeSegment without joining header, values and failures: for a vectored write. */
export function encodeSegmentParts(
  values: readonly unknown[],
  failures: readonly ItemError[] = [],
): Uint8Array[] {
  let packed: Uint8Array
  try {
    packed = pack(values)
  } catch (error) {
    throw findUnsendable(values) ?? unsendable(error)
  }
  // One value may be at most MAX_VALUE_BYTES; only then is it worth to look for the one that is more.
  if (packed.length > MAX_VALUE_BYTES) {
    const culprit = findUnsendable(values)
    if (culprit) throw culprit
  }
  const header = Buffer.allocUnsafe(SEGMENT_HEADER_BYTES)
  header.writeUInt32LE(values.length, 0)
  header.writeUInt32LE(packed.length, 4)
  if (failures.length === 0) {
    header.writeUInt32LE(0, 8)
    return [header, packed]
  }
  const errors = packer.pack(failures)
  header.writeUInt32LE(errors.length, 8)
  return [header, packed, errors]
}

/** The first of `values` that cannot be sent, as the error to give for it. */
export function findUnsendable(values: readonly unknown[]): MeshError | undefined {
  for (let i = 0; i < values.length; i++) {
    try {
      const sizeBytes = pack(values[i]).length
      if (sizeBytes > MAX_VALUE_BYTES) return tooLarge(sizeBytes, i)
    } catch (error) {
      return unsendable(error, i)
    }
  }
  return undefined
}

function unsendable(error: unknown, index?: number): MeshError {
  let what = error instanceof Error ? error.message : String(error)
  if (what.startsWith('Unknown type: ')) what = `a ${what.slice('Unknown type: '.length)}`
  if (error instanceof RangeError && /call stack/i.test(what)) what = 'nested too deeply'
  const where = index === undefined ? 'the value' : `the value of item ${index}`
  return new MeshError(
    'ERR_MESH_VALUE_UNSENDABLE',
    `${where} cannot be sent: it is or holds ${what}. What a structured clone can carry can be sent: plain objects, arrays, numbers, strings, BigInt, Date, Map, Set, typed arrays`,
    { details: index === undefined ? {} : { index }, cause: error },
  )
}

function tooLarge(sizeBytes: number, index?: number): MeshError {
  const where = index === undefined ? 'the value' : `the value of item ${index}`
  return new MeshError(
    'ERR_MESH_VALUE_TOO_LARGE',
    `${where} is ${(sizeBytes / 2 ** 20).toFixed(1)} MiB, and one value may be ${MAX_VALUE_BYTES / 2 ** 20} MiB: split it into more items`,
    { details: { sizeBytes, ...(index === undefined ? {} : { index }) } },
  )
}

/** A bit of `failuresBytes`: the values are f32, little-endian, the same number for each item; none failed, and the text that follows names the device. */
const F32_VALUES = 0x8000_0000
const F32_BYTES = 4
const MAX_DEVICE_BYTES = 256

/**
 * A segment of `count` items whose values are f32 numbers (`bytes.length` is 4 × count) or rows of so many each, little-endian: what a
 * kernel gives. Decoded as numbers, or as a Float32Array for each item. `device` is the class of devices that computed them.
 */
export function encodeF32Segment(count: number, bytes: Uint8Array, device: string): Uint8Array {
  const name = Buffer.from(device).subarray(0, MAX_DEVICE_BYTES)
  const header = Buffer.allocUnsafe(SEGMENT_HEADER_BYTES)
  header.writeUInt32LE(count, 0)
  header.writeUInt32LE(bytes.byteLength, 4)
  header.writeUInt32LE(F32_VALUES + name.length, 8)
  return Buffer.concat([header, bytes, name])
}

/** Numbers, or a row for each of the `count` items. */
export function rowsOf(numbers: Float32Array, count: number): unknown[] {
  if (numbers.length === count) return Array.from(numbers)
  const width = numbers.length / count
  return Array.from({ length: count }, (_, i) => numbers.subarray(i * width, (i + 1) * width))
}

/** Where a segment lies, without its content: enough to count or to cut. */
export interface SegmentSpan {
  readonly lo: number
  readonly hi: number
  /** Of its first byte and after its last, in the bytes given. */
  readonly start: number
  readonly end: number
  readonly valuesBytes: number
  readonly failuresBytes: number
  /** The values are f32 numbers. */
  readonly isF32: boolean
}

/** Walks the headers only. @throws ERR_MESH_PROTOCOL when they do not add up. */
export function* scanSegments(bytes: Uint8Array, originLo: number): Generator<SegmentSpan> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let start = 0
  let lo = originLo
  while (start < bytes.length) {
    if (bytes.length - start < SEGMENT_HEADER_BYTES) throw garbage('a segment header is cut short')
    const count = view.getUint32(start, true)
    const valuesBytes = view.getUint32(start + 4, true)
    const third = view.getUint32(start + 8, true)
    const isF32 = third >= F32_VALUES
    const failuresBytes = isF32 ? third - F32_VALUES : third
    const end = start + SEGMENT_HEADER_BYTES + valuesBytes + failuresBytes
    if (end > bytes.length) throw garbage('a segment is cut short')
    // Every value takes a byte at least, so a count cannot ask for more memory than the bytes that carry it.
    if (count > valuesBytes) {
      throw garbage(`a segment of ${valuesBytes} bytes says that it holds ${count} values`)
    }
    const wrong = count === 0 || valuesBytes % (F32_BYTES * count) !== 0
    if (isF32 && (wrong || failuresBytes > MAX_DEVICE_BYTES)) {
      throw garbage(`a segment of ${count} items cannot hold ${valuesBytes} bytes of f32`)
    }
    yield { lo, hi: lo + count, start, end, valuesBytes, failuresBytes, isF32 }
    lo += count
    start = end
  }
}

export interface DecodedSegment {
  readonly lo: number
  readonly hi: number
  /** null where the item failed; empty where there is `f32`. */
  readonly values: unknown[]
  /** `index` is the item's number within the job. */
  readonly failures: ItemError[]
  /** Of a kernel: its numbers, as many for each item (`rowsOf`), and the class of devices that computed them. */
  readonly f32?: { readonly numbers: Float32Array; readonly device: string }
}

/**
 * Decodes a concatenation of segments whose first item is `originLo`. Lazy: one segment at a time.
 * @throws ERR_MESH_PROTOCOL on anything that encodeSegment could not have made.
 */
export function* decodeSegments(bytes: Uint8Array, originLo: number): Generator<DecodedSegment> {
  for (const span of scanSegments(bytes, originLo)) {
    const at = span.start + SEGMENT_HEADER_BYTES
    const packed = bytes.subarray(at, at + span.valuesBytes)
    const count = span.hi - span.lo
    const rest = bytes.subarray(at + span.valuesBytes, span.end)
    if (span.isF32) {
      // Aligned, and free of the message that it came in.
      const numbers = new Float32Array(new Uint8Array(packed).buffer)
      const f32 = { numbers, device: Buffer.from(rest).toString() }
      yield { lo: span.lo, hi: span.hi, failures: [], f32, values: [] }
      continue
    }
    const values = unpackChecked(packed, 'values')
    if (!Array.isArray(values) || values.length !== count) {
      throw garbage(`a segment does not hold the ${count} values that it says`)
    }
    const failures = span.failuresBytes === 0 ? [] : decodeFailures(rest, span.lo, count)
    yield { lo: span.lo, hi: span.hi, values, failures }
  }
}

function decodeFailures(bytes: Uint8Array, lo: number, count: number): ItemError[] {
  const list = unpackChecked(bytes, 'failures')
  if (!Array.isArray(list) || list.length > count) throw garbage('the failures are not a list')
  return list.map((raw: unknown): ItemError => {
    const it = raw as Partial<Record<keyof ItemError, unknown>> | null
    if (typeof it !== 'object' || it === null) throw garbage('a failure is not an object')
    const { index, code, name, message, stack, attempts } = it
    if (!Number.isInteger(index) || (index as number) < 0 || (index as number) >= count) {
      throw garbage(`a failure names item ${describe(index)} of ${count}`)
    }
    if (typeof code !== 'string' || typeof name !== 'string' || typeof message !== 'string') {
      throw garbage('a failure lacks its code, name or message')
    }
    return {
      index: lo + (index as number),
      code: code.slice(0, 64),
      name: name.slice(0, 256),
      message: message.slice(0, MAX_MESSAGE_CHARS),
      ...(typeof stack === 'string' ? { stack: stack.slice(0, MAX_STACK_CHARS) } : {}),
      attempts: typeof attempts === 'number' && Number.isFinite(attempts) ? attempts : 1,
    }
  })
}

function unpackChecked(bytes: Uint8Array, what: string): unknown {
  // msgpackr bounds what array headers may reserve by the bytes that are there (its array budget).
  try {
    return unpacker.unpack(bytes)
  } catch (error) {
    throw new MeshError('ERR_MESH_PROTOCOL', `${what} cannot be decoded`, { cause: error })
  }
}

function garbage(message: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', message)
}
