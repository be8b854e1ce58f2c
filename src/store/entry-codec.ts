import { hash as digest } from 'node:crypto'
import type {
  Entry,
  EntryBody,
  EntryHash,
  EntryHeader,
  JobId,
  PeerId,
  Seal,
  SessionId,
} from '../scheduler/types.ts'
import { bodyValue, readBody } from './body-codec.ts'
import { CborReader, protocolError } from './cbor-reader.ts'
import { encodeCbor, hexBytes, uint } from './cbor-values.ts'
import { MAX_ENTRY_BYTES } from './limits.ts'

export { jobIdOf, specBytes } from './spec-codec.ts'

/** Version of the entry format. */
export const ENTRY_VERSION = 1

/** An entry of a version that this one does not know: from a newer Meshwork, and no fault. Looks at two bytes. */
export function isOfNewerVersion(bytes: Uint8Array): boolean {
  const [head = 0, version = 0] = bytes
  return head >= 0x81 && head <= 0x97 && version > ENTRY_VERSION && version <= 0x17
}

/** SHA-256 of an encoded entry. */
export function entryHash(bytes: Uint8Array): EntryHash {
  return digest('sha256', bytes, 'hex') as EntryHash
}

/**
 * `[v, author, session, job, seq, prev, type, body]` in canonical CBOR (docs/protocol.md, "Entries").
 * ERR_MESH_PROTOCOL for what could not be read back: numbers that are no safe integers, or more than the limits.
 */
export function encodeEntry(header: EntryHeader, body: EntryBody): Uint8Array {
  const { code, value } = bodyValue(body)
  const bytes = encodeCbor([
    ENTRY_VERSION,
    hexBytes(header.author, 32, 'author'),
    hexBytes(header.session, 16, 'session'),
    hexBytes(header.job, 32, 'job'),
    uint(header.seq, 'seq'),
    hexBytes(header.prev, 32, 'prev'),
    code,
    value,
  ])
  checkSize(bytes)
  return bytes
}

/**
 * The entry in `bytes`, with its hash. Strict: one byte string an entry. Says nothing of links and signatures.
 * Throws ERR_MESH_PROTOCOL, nothing else. `hash` may be handed in by a caller who has just computed it.
 */
export function decodeEntry(bytes: Uint8Array, hash: EntryHash = entryHash(bytes)): Entry {
  const reader = new CborReader(bytes)
  const header = readHeader(reader, bytes)
  const body = readBody(reader, reader.uint('type'))
  reader.end('entry')
  return { ...header, hash, body }
}

/** The header alone: cheap, for entries that are already known. ERR_MESH_PROTOCOL. */
export function decodeHeader(bytes: Uint8Array): EntryHeader {
  return readHeader(new CborReader(bytes), bytes)
}

/** Entries as they were sealed here, so that the store need not encode them again. */
const sealed = new WeakMap<Entry, Uint8Array>()

/**
 * The real Seal: what it returns is what any peer reads out of the encoded bytes (fractions of elapsedMs gone, absent options
 * absent). ERR_MESH_PROTOCOL when no peer would take the entry.
 */
export const seal: Seal = (header, body) => {
  const bytes = encodeEntry(header, body)
  const entry = decodeEntry(bytes)
  sealed.set(entry, bytes)
  return entry
}

/** The encoding of an entry; at once for one that `seal` made. */
export function entryBytes(entry: Entry): Uint8Array {
  return sealed.get(entry) ?? encodeEntry(entry, entry.body)
}

function readHeader(reader: CborReader, bytes: Uint8Array): EntryHeader {
  checkSize(bytes)
  reader.array('entry', 8, 8)
  const version = reader.uint('version')
  if (version !== ENTRY_VERSION) throw protocolError(`entry has the unknown version ${version}`)
  const author = reader.hex('author', 32) as PeerId
  const session = reader.hex('session', 16) as SessionId
  const job = reader.hex('job', 32) as JobId
  const seq = reader.uint('seq')
  const prev = reader.hex('prev', 32) as EntryHash
  if (seq === 0) throw protocolError('seq is 0, the first entry has 1')
  return { author, session, job, seq, prev }
}

function checkSize(bytes: Uint8Array): void {
  if (bytes.length > MAX_ENTRY_BYTES) {
    throw protocolError(`entry has ${bytes.length} bytes, at most ${MAX_ENTRY_BYTES} are allowed`)
  }
}
