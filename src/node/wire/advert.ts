import { createHash } from 'node:crypto'
import { encode } from 'cborg'
import type { PeerId, SessionId } from '../../scheduler/types.ts'
import { CborReader, protocolError } from '../../store/cbor-reader.ts'
import { type CborValue, hexBytes, text, uint } from '../../store/cbor-values.ts'
import { createVerifier } from '../../store/signatures.ts'
import {
  MAX_ADDRESS_BYTES,
  MAX_ADDRESSES,
  MAX_ADVERT_BYTES,
  MAX_LABEL_BYTES,
  MAX_LABELS,
  MAX_NAME_BYTES,
  MAX_SLOTS,
  MAX_VERSION_BYTES,
} from './limits.ts'

/** What a peer says of itself. */
export interface Advert {
  readonly peer: PeerId
  readonly session: SessionId
  /** Grows by one with each start of the peer. */
  readonly sessionNumber: number
  /** Grows with each advert of a session. */
  readonly seq: number
  readonly version: string
  readonly name: string
  /** Multiaddrs. */
  readonly addresses: readonly string[]
  readonly cores: number
  readonly slots: number
  readonly freeSlots: number
  readonly memoryBytes: number
  readonly freeMemoryBytes: number
  /** None yet. */
  readonly gpu: null
  /** Relative speed of one slot; 1 is a reference core. */
  readonly speed: number
  readonly itemsPerSecond: number
  readonly labels: Readonly<Record<string, string>>
}

/** Signs a SHA-256. */
export type Sign = (hash: Uint8Array) => Uint8Array

const VERSION = 1
const DOMAIN = 'meshwork advert'
const SIGNATURE_BYTES = 64
/** Speeds travel as thousandths. */
const SCALE = 1000
const verify = createVerifier()

/** `[signature, body]`: the signature is over SHA-256 of the domain text and the body. */
export function encodeAdvert(advert: Advert, sign: Sign): Uint8Array {
  const body = encode(valueOf(advert))
  const bytes = encode([sign(digest(body)), body])
  if (bytes.byteLength > MAX_ADVERT_BYTES) throw protocolError('advert is too large')
  return bytes
}

/** Strict, bounded, and verified against the peer id inside. Throws ERR_MESH_PROTOCOL, nothing else. */
export function decodeAdvert(bytes: Uint8Array): Advert {
  if (bytes.byteLength > MAX_ADVERT_BYTES) throw protocolError('advert is too large')
  const outer = new CborReader(bytes)
  outer.array('advert', 2, 2)
  const signature = outer.bytes('signature', SIGNATURE_BYTES)
  const body = outer.bytes('body', MAX_ADVERT_BYTES)
  outer.end('advert')
  const reader = new CborReader(body)
  const advert = read(reader)
  reader.end('advert')
  if (!verify(advert.peer, digest(body), signature)) throw protocolError('advert: bad signature')
  return advert
}

function digest(body: Uint8Array): Uint8Array {
  return createHash('sha256').update(DOMAIN).update(body).digest()
}

function valueOf(a: Advert): CborValue {
  return [
    VERSION,
    hexBytes(a.peer, 32, 'peer'),
    hexBytes(a.session, 16, 'session'),
    uint(a.sessionNumber, 'session number'),
    uint(a.seq, 'seq'),
    text(a.version, 'version', MAX_VERSION_BYTES),
    text(cut(a.name, MAX_NAME_BYTES), 'name', MAX_NAME_BYTES),
    a.addresses.slice(0, MAX_ADDRESSES).map((address) => text(address, 'address', MAX_ADDRESS_BYTES)),
    [a.cores, a.slots, a.freeSlots],
    [uint(a.memoryBytes, 'memory'), uint(a.freeMemoryBytes, 'free memory')],
    null,
    uint(Math.round(a.speed * SCALE), 'speed'),
    uint(Math.round(a.itemsPerSecond), 'rate'),
    Object.entries(a.labels)
      .slice(0, MAX_LABELS)
      .map(([key, value]) => [
        text(key, 'label', MAX_LABEL_BYTES),
        text(value, 'label value', MAX_LABEL_BYTES),
      ]),
  ]
}

function read(r: CborReader): Advert {
  r.array('advert', 14, 14)
  if (r.uint('version') !== VERSION) throw protocolError('advert: unknown version')
  const peer = r.hex('peer', 32) as PeerId
  const session = r.hex('session', 16) as SessionId
  const sessionNumber = r.uint('session number')
  const seq = r.uint('seq')
  const version = r.text('version', MAX_VERSION_BYTES)
  const name = r.text('name', MAX_NAME_BYTES)
  const addresses: string[] = []
  const count = r.array('addresses', 0, MAX_ADDRESSES)
  for (let i = 0; i < count; i += 1) addresses.push(r.text('address', MAX_ADDRESS_BYTES))
  r.array('cores', 3, 3)
  const cores = r.uint('cores', MAX_SLOTS)
  const slots = r.uint('slots', MAX_SLOTS)
  const freeSlots = r.uint('free slots', MAX_SLOTS)
  r.array('memory', 2, 2)
  const memoryBytes = r.uint('memory')
  const freeMemoryBytes = r.uint('free memory')
  if (!r.null()) throw protocolError('advert: gpu has an unknown form')
  const speed = r.uint('speed') / SCALE
  const itemsPerSecond = r.uint('rate')
  return {
    peer,
    session,
    sessionNumber,
    seq,
    version,
    name,
    addresses,
    cores,
    slots,
    freeSlots,
    memoryBytes,
    freeMemoryBytes,
    gpu: null,
    speed,
    itemsPerSecond,
    labels: readLabels(r),
  }
}

function readLabels(r: CborReader): Record<string, string> {
  const count = r.array('labels', 0, MAX_LABELS)
  const labels: [string, string][] = []
  for (let i = 0; i < count; i += 1) {
    r.array('label', 2, 2)
    labels.push([r.text('label', MAX_LABEL_BYTES), r.text('label value', MAX_LABEL_BYTES)])
  }
  return Object.fromEntries(labels)
}

/** At most `maxBytes` of UTF-8, whole characters. */
function cut(value: string, maxBytes: number): string {
  let kept = value
  while (Buffer.byteLength(kept) > maxBytes) kept = kept.slice(0, -1)
  return kept
}
