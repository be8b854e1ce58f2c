import type { BlobHash, EntryBody, EntryHash, PeerId, SessionId } from '../scheduler/types.ts'
import { type CborReader, protocolError } from './cbor-reader.ts'
import { type CborValue, hexBytes, text, uint } from './cbor-values.ts'
import {
  MAX_CODE_BYTES,
  MAX_FORK_PROOF_BYTES,
  MAX_INLINE_BYTES,
  MAX_KEEPERS,
  MAX_MESSAGE_BYTES,
  MAX_RANGES,
} from './limits.ts'
import { readSpec, specValue } from './spec-codec.ts'

type Body<T extends EntryBody['type']> = Extract<EntryBody, { type: T }>
type DoneRange = Body<'done'>['ranges'][number]
type Result = DoneRange['result']

interface BodyCodec<T extends EntryBody['type']> {
  /** The type's number on the wire. */
  readonly code: number
  write(body: Body<T>): CborValue[]
  read(reader: CborReader): Body<T>
}

const RESULT_INLINE = 0
const RESULT_BLOB = 1

/** One row a type: what stands in the `body` array of an entry, and back. */
const CODECS: { readonly [T in EntryBody['type']]: BodyCodec<T> } = {
  job: {
    code: 1,
    write: (body) => [
      specValue(body.spec),
      uint(body.at, 'at'),
      body.seeds.map((seed) => [...span(seed), hexBytes(seed.to, 16, 'to')]),
    ],
    read: (reader) => {
      reader.array('JOB', 3, 3)
      const spec = readSpec(reader)
      const at = reader.uint('at')
      const seeds = ranges(reader, 'seeds', 3, 0, (range) => ({
        ...range,
        to: reader.hex('to', 16) as SessionId,
      }))
      if (seeds.some((seed) => seed.hi > spec.input.count)) {
        throw protocolError('a seed lies outside the items of the job')
      }
      return { type: 'job', spec, at, seeds }
    },
  },
  grant: {
    code: 2,
    write: (body) => [hexBytes(body.to, 16, 'to'), body.ranges.map(grantedValue)],
    read: (reader) => {
      reader.array('GRANT', 2, 2)
      const to = reader.hex('to', 16) as SessionId
      return { type: 'grant', to, ranges: readGranted(reader) }
    },
  },
  reclaim: {
    code: 3,
    write: (body) => [
      body.ranges.map((range) => [
        ...span(range),
        hexBytes(range.parent, 32, 'parent'),
        uint(range.epoch, 'epoch'),
      ]),
    ],
    read: (reader) => {
      reader.array('RECLAIM', 1, 1)
      const list = ranges(reader, 'ranges', 4, 1, (range) => ({
        ...range,
        parent: reader.hex('parent', 32) as EntryHash,
        epoch: reader.uint('epoch'),
      }))
      return { type: 'reclaim', ranges: list }
    },
  },
  release: {
    code: 4,
    write: (body) => [body.ranges.map(grantedValue)],
    read: (reader) => {
      reader.array('RELEASE', 1, 1)
      return { type: 'release', ranges: readGranted(reader) }
    },
  },
  start: {
    code: 5,
    write: (body) => [
      body.ranges.map((range) => [...span(range), hexBytes(range.parent, 32, 'parent')]),
    ],
    read: (reader) => {
      reader.array('START', 1, 1)
      const list = ranges(reader, 'ranges', 3, 1, (range) => ({
        ...range,
        parent: reader.hex('parent', 32) as EntryHash,
      }))
      return { type: 'start', ranges: list }
    },
  },
  done: {
    code: 6,
    write: (body) => [body.ranges.map(doneValue)],
    read: (reader) => {
      reader.array('DONE', 1, 1)
      const list = ranges(reader, 'ranges', 7, 1, (range) => readDone(reader, range))
      checkInline(list)
      return { type: 'done', ranges: list }
    },
  },
  fail: {
    code: 7,
    write: (body) => [
      body.ranges.map((range) => [
        ...span(range),
        text(range.code, 'code', MAX_CODE_BYTES),
        text(range.message, 'message', MAX_MESSAGE_BYTES),
      ]),
    ],
    read: (reader) => {
      reader.array('FAIL', 1, 1)
      const list = ranges(reader, 'ranges', 4, 1, (range) => ({
        ...range,
        code: reader.text('code', MAX_CODE_BYTES),
        message: reader.text('message', MAX_MESSAGE_BYTES),
      }))
      return { type: 'fail', ranges: list }
    },
  },
  lost: {
    code: 8,
    write: (body) => [
      body.ranges.map((range) => [...span(range), hexBytes(range.done, 32, 'done')]),
    ],
    read: (reader) => {
      reader.array('LOST', 1, 1)
      const list = ranges(reader, 'ranges', 3, 1, (range) => ({
        ...range,
        done: reader.hex('done', 32) as EntryHash,
      }))
      return { type: 'lost', ranges: list }
    },
  },
  cancel: {
    code: 9,
    write: (body) => [text(body.reason, 'reason', MAX_MESSAGE_BYTES)],
    read: (reader) => {
      reader.array('CANCEL', 1, 1)
      return { type: 'cancel', reason: reader.text('reason', MAX_MESSAGE_BYTES) }
    },
  },
  pause: { code: 10, write: () => [], read: (reader) => empty(reader, { type: 'pause' }) },
  resume: {
    code: 11,
    write: (body) => {
      if (body.pauses.length > MAX_RANGES) {
        throw protocolError(`RESUME names ${body.pauses.length} PAUSEs, at most ${MAX_RANGES}`)
      }
      return [body.pauses.map((hash) => hexBytes(hash, 32, 'pause'))]
    },
    read: (reader) => {
      reader.array('RESUME', 1, 1)
      const size = reader.array('pauses', 0, MAX_RANGES)
      const pauses = Array.from({ length: size }, () => reader.hex('pause', 32) as EntryHash)
      return { type: 'resume', pauses }
    },
  },
  fork: {
    code: 12,
    write: (body) => [proof(body.first), proof(body.second)],
    read: (reader) => {
      reader.array('FORK', 2, 2)
      const first = proof(reader.bytes('first', MAX_FORK_PROOF_BYTES).slice())
      const second = proof(reader.bytes('second', MAX_FORK_PROOF_BYTES).slice())
      return { type: 'fork', first, second }
    },
  },
}

const BY_CODE = new Map(Object.values(CODECS).map((codec) => [codec.code, codec]))

/** `[code, body array]` of an entry. */
export function bodyValue(body: EntryBody): { code: number; value: CborValue[] } {
  // The row is that of the body's own type, which the compiler cannot see through the index.
  const codec = CODECS[body.type] as BodyCodec<EntryBody['type']> | undefined
  if (codec === undefined) throw protocolError(`unknown entry type ${String(body.type)}`)
  return { code: codec.code, value: codec.write(body) }
}

export function readBody(reader: CborReader, code: number): EntryBody {
  const codec = BY_CODE.get(code)
  if (codec === undefined) throw protocolError(`unknown entry type ${code}`)
  return codec.read(reader)
}

// ---------------------------------------------------------------- ranges

interface Span {
  readonly lo: number
  readonly hi: number
}

function span(range: Span): [number, number] {
  return [uint(range.lo, 'lo'), uint(range.hi, 'hi')]
}

/** A list of arrays of `fields` elements, each opening with lo and hi: not empty, disjoint, in any order. */
function ranges<T extends Span>(
  reader: CborReader,
  what: string,
  fields: number,
  min: number,
  rest: (range: Span) => T,
): T[] {
  const count = reader.array(what, min, MAX_RANGES)
  const list: T[] = []
  let ascending = true
  for (let i = 0; i < count; i++) {
    reader.array(what, fields, fields)
    const lo = reader.uint('lo')
    const hi = reader.uint('hi')
    if (lo >= hi) throw protocolError(`range ${lo}..${hi} is empty`)
    if (i > 0 && lo < list[i - 1]!.hi) ascending = false
    list.push(rest({ lo, hi }))
  }
  if (!ascending) checkDisjoint(list)
  return list
}

function checkDisjoint(list: readonly Span[]): void {
  const sorted = [...list].sort((a, b) => a.lo - b.lo)
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i]!.lo < sorted[i - 1]!.hi) throw protocolError('ranges overlap')
  }
}

function grantedValue(range: Body<'grant'>['ranges'][number]): CborValue[] {
  const parent = hexBytes(range.parent, 32, 'parent')
  return [...span(range), parent, uint(range.epoch, 'epoch'), uint(range.hop, 'hop')]
}

function readGranted(reader: CborReader): Body<'grant'>['ranges'] {
  return ranges(reader, 'ranges', 5, 1, (range) => ({
    ...range,
    parent: reader.hex('parent', 32) as EntryHash,
    epoch: reader.uint('epoch'),
    hop: reader.uint('hop'),
  }))
}

// ---------------------------------------------------------------- results

function doneValue(range: DoneRange): CborValue[] {
  return [
    ...span(range),
    hexBytes(range.parent, 32, 'parent'),
    uint(range.failed, 'failed'),
    // A worker's clock has fractions of a millisecond; the log does not.
    uint(Math.round(range.elapsedMs), 'elapsedMs'),
    uint(range.chunks, 'chunks'),
    resultValue(range.result),
  ]
}

function readDone(reader: CborReader, range: Span): DoneRange {
  return {
    ...range,
    parent: reader.hex('parent', 32) as EntryHash,
    failed: reader.uint('failed', range.hi - range.lo),
    elapsedMs: reader.uint('elapsedMs'),
    chunks: reader.uint('chunks'),
    result: readResult(reader),
  }
}

export function resultValue(result: Result): CborValue[] {
  if (result.kind === 'inline') return [RESULT_INLINE, result.bytes]
  const keepers = result.keepers.map((peer) => hexBytes(peer, 32, 'keeper'))
  const size = uint(result.sizeBytes, 'sizeBytes')
  return [RESULT_BLOB, hexBytes(result.hash, 32, 'result'), size, keepers]
}

export function readResult(reader: CborReader): Result {
  const fields = reader.array('result', 2, 4)
  const kind = reader.uint('result kind', RESULT_BLOB)
  if (fields !== (kind === RESULT_INLINE ? 2 : 4)) {
    throw protocolError(`a result of kind ${kind} has ${fields} elements`)
  }
  if (kind === RESULT_INLINE) {
    // A copy: the view would keep the whole message it came in alive.
    return { kind: 'inline', bytes: new Uint8Array(reader.bytes('result', MAX_INLINE_BYTES)) }
  }
  const hash = reader.hex('result', 32) as BlobHash
  const sizeBytes = reader.uint('sizeBytes')
  const count = reader.array('keepers', 1, MAX_KEEPERS)
  const keepers = Array.from({ length: count }, () => reader.hex('keeper', 32) as PeerId)
  if (new Set(keepers).size !== count) throw protocolError('a keeper is named twice')
  return { kind: 'blob', hash, sizeBytes, keepers }
}

function checkInline(list: readonly DoneRange[]): void {
  let total = 0
  for (const { result } of list) if (result.kind === 'inline') total += result.bytes.length
  if (total > MAX_INLINE_BYTES) {
    throw protocolError(`DONE carries ${total} bytes of values, at most ${MAX_INLINE_BYTES}`)
  }
}

// ---------------------------------------------------------------- the rest

function empty<T>(reader: CborReader, body: T): T {
  reader.array('body', 0, 0)
  return body
}

function proof(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0 || bytes.length > MAX_FORK_PROOF_BYTES) {
    throw protocolError(`half of a FORK has ${bytes.length} bytes, 1 to ${MAX_FORK_PROOF_BYTES}`)
  }
  return bytes
}
