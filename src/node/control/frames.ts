/**
 * Streams over the control socket. Results are binary frames: head length (u32 little-endian), head (JSON), payload of `head.size`
 * bytes. Job states and log lines are NDJSON. Both say how they end, so that a cut one is seen: `{"end":true}` or `{"error":{…}}`.
 */
import { MeshError } from '../../base/errors.ts'
import type { ResultSpan } from '../types.ts'
import { MAX_FRAME_HEAD_BYTES, MAX_FRAME_PAYLOAD_BYTES, MAX_JSON_ANSWER_BYTES } from './limits.ts'
import { fromWire, type WireError } from './wire-error.ts'

export type StreamEnd = { readonly end: true } | { readonly error: WireError }

interface SpanHead {
  readonly lo: number
  readonly hi: number
  readonly originLo: number
  readonly size: number
}

export function encodeSpan(span: ResultSpan): Uint8Array[] {
  const { lo, hi, originLo, bytes } = span
  return [encodeHead({ lo, hi, originLo, size: bytes.byteLength }), bytes]
}

export function encodeHead(head: SpanHead | StreamEnd): Uint8Array {
  const json = Buffer.from(JSON.stringify(head))
  const frame = Buffer.allocUnsafe(4 + json.byteLength)
  frame.writeUInt32LE(json.byteLength, 0)
  frame.set(json, 4)
  return frame
}

/** @throws the error that the stream ends with, ERR_MESH_PROTOCOL on garbage, ERR_MESH_STOPPED when it is cut */
export async function* decodeSpans(source: AsyncIterable<Uint8Array>): AsyncGenerator<ResultSpan> {
  const reader = new ByteReader(source)
  for (;;) {
    const headBytes = Buffer.from(await reader.take(4)).readUInt32LE(0)
    if (headBytes > MAX_FRAME_HEAD_BYTES) throw garbage('a frame head is too long')
    const head = parse(Buffer.from(await reader.take(headBytes)).toString())
    if (endOf(head)) return
    const { lo, hi, originLo, size } = head as Partial<SpanHead>
    if (![lo, hi, originLo, size].every((n) => Number.isSafeInteger(n) && n! >= 0)) {
      throw garbage('a frame head lacks a number')
    }
    if (size! > MAX_FRAME_PAYLOAD_BYTES) throw garbage('a frame is too long')
    yield { lo: lo!, hi: hi!, originLo: originLo!, bytes: await reader.take(size!) }
  }
}

/** @throws the error that the stream ends with, ERR_MESH_PROTOCOL on garbage, ERR_MESH_STOPPED when it is cut */
export async function* decodeNdjson<T>(source: AsyncIterable<Uint8Array>): AsyncGenerator<T> {
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  for await (const chunk of source) {
    let start = 0
    for (;;) {
      const end = chunk.indexOf(0x0a, start)
      if (end === -1) break
      const line = Buffer.concat([...pending, chunk.subarray(start, end)]).toString()
      pending = []
      pendingBytes = 0
      start = end + 1
      const document = parse(line)
      if (endOf(document)) return
      yield document as T
    }
    pending.push(chunk.subarray(start))
    pendingBytes += chunk.byteLength - start
    if (pendingBytes > MAX_JSON_ANSWER_BYTES) throw garbage('a line is too long')
  }
  throw cut()
}

/** True at the end of a stream; throws what it ended with. */
function endOf(document: object): boolean {
  if ('error' in document) throw fromWire(document.error)
  return 'end' in document
}

function parse(text: string): object {
  try {
    const document: unknown = JSON.parse(text)
    if (typeof document === 'object' && document !== null) return document
  } catch {
    // told below
  }
  throw garbage('it is not JSON')
}

/** Takes an exact number of bytes at a time from chunks of any size. */
class ByteReader {
  private readonly source: AsyncIterator<Uint8Array>
  private chunk: Uint8Array = new Uint8Array(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source[Symbol.asyncIterator]()
  }

  async take(size: number): Promise<Uint8Array> {
    if (this.chunk.byteLength >= size) return this.cut(size)
    const bytes = new Uint8Array(size)
    let filled = 0
    while (filled < size) {
      if (this.chunk.byteLength === 0) {
        const result = await this.source.next()
        if (result.done === true) throw cut()
        this.chunk = result.value
      }
      const part = this.cut(Math.min(size - filled, this.chunk.byteLength))
      bytes.set(part, filled)
      filled += part.byteLength
    }
    return bytes
  }

  private cut(size: number): Uint8Array {
    const part = this.chunk.subarray(0, size)
    this.chunk = this.chunk.subarray(size)
    return part
  }
}

function garbage(why: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `the peer's answer cannot be read: ${why}`)
}

function cut(): MeshError {
  return new MeshError('ERR_MESH_STOPPED', 'the peer stopped while it answered')
}
