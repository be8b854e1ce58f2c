import { createHash } from 'node:crypto'
import type { PeerId, SessionId } from '../../scheduler/types.ts'
import { CborReader, protocolError } from '../../store/cbor-reader.ts'
import { type CborValue, encodeCbor, hexBytes, text, uint } from '../../store/cbor-values.ts'
import { createVerifier } from '../../store/signatures.ts'
import type { GpuFacts } from '../types.ts'
import {
  MAX_ADDRESS_BYTES,
  MAX_ADDRESSES,
  MAX_ADVERT_BYTES,
  MAX_CORES,
  MAX_GPU_NAME_BYTES,
  MAX_LABEL_BYTES,
  MAX_LABELS,
  MAX_NAME_BYTES,
  MAX_RATE_THOUSANDTHS,
  MAX_VERSION_BYTES,
} from './limits.ts'

/** What a peer says of itself. Of two adverts of one peer the greater (sessionNumber, seq) counts. */
export interface Advert {
  readonly peer: PeerId
  readonly session: SessionId
  readonly sessionNumber: number
  readonly version: string
  readonly name: string
  /** Multiaddrs that it listens on, the most useful first. */
  readonly addresses: string[]
  readonly cores: number
  readonly slots: number
  readonly freeSlots: number
  readonly memoryBytes: number
  readonly freeMemoryBytes: number
  readonly gpu: GpuFacts | null
  /** Of one slot, 1 = a reference core; to a thousandth. */
  readonly speed: number
  /** Over the last seconds, all jobs; to a thousandth. */
  readonly itemsPerSecond: number
  /** Grows with each advert of a session. */
  readonly seq: number
  readonly labels: Readonly<Record<string, string>>
}

const SIGNATURE_BYTES = 64
/** Signed before the body, so that a signature of an advert is one of nothing else. */
const DOMAIN = 'meshwork advert'
const verify = createVerifier()

/**
 * `[signature, body]`, at most 4096 bytes. What is too long is shortened, for it is this peer's own: the name to 64 bytes, the
 * version to 32, addresses to 16, labels as far as they fit.
 * @param sign signs 32 bytes with the key of `advert.peer`
 */
export function encodeAdvert(advert: Advert, sign: (hash: Uint8Array) => Uint8Array): Uint8Array {
  const labels = Object.entries(advert.labels).slice(0, MAX_LABELS)
  for (;;) {
    const body = encodeCbor(bodyOf(advert, labels))
    const bytes = encodeCbor([sign(digest(body)), body])
    if (bytes.length <= MAX_ADVERT_BYTES) return bytes
    if (labels.pop() === undefined) throw protocolError(`advert has ${bytes.length} bytes`)
  }
}

/** The advert in `bytes`, its signature checked against the peer that it names. Throws ERR_MESH_PROTOCOL, nothing else. */
export function decodeAdvert(bytes: Uint8Array): Advert {
  if (bytes.length > MAX_ADVERT_BYTES) {
    throw protocolError(`advert has ${bytes.length} bytes, at most ${MAX_ADVERT_BYTES} are allowed`)
  }
  const reader = new CborReader(bytes)
  reader.array('advert', 2, 2)
  const signature = reader.bytes('signature', SIGNATURE_BYTES)
  const body = reader.bytes('body', MAX_ADVERT_BYTES)
  reader.end('advert')
  const advert = readBody(new CborReader(body))
  if (!verify(advert.peer, digest(body), signature)) {
    throw protocolError(`advert is not signed by peer ${advert.peer.slice(0, 8)}, whom it names`)
  }
  return advert
}

function digest(body: Uint8Array): Uint8Array {
  return createHash('sha256').update(DOMAIN).update(body).digest()
}

function bodyOf(advert: Advert, labels: readonly [string, string][]): CborValue {
  const { cores, slots, freeSlots, memoryBytes, freeMemoryBytes, gpu } = advert
  return [
    1,
    hexBytes(advert.peer, 32, 'peer'),
    hexBytes(advert.session, 16, 'session'),
    uint(advert.sessionNumber, 'sessionNumber'),
    uint(advert.seq, 'seq'),
    cut(advert.version, MAX_VERSION_BYTES),
    cut(advert.name, MAX_NAME_BYTES),
    advert.addresses
      .filter((address) => Buffer.byteLength(address) <= MAX_ADDRESS_BYTES)
      .slice(0, MAX_ADDRESSES),
    [uint(cores, 'cores'), uint(slots, 'slots'), uint(freeSlots, 'freeSlots')],
    [uint(memoryBytes, 'memoryBytes'), uint(freeMemoryBytes, 'freeMemoryBytes')],
    gpu === null ? null : gpuOf(gpu),
    thousandths(advert.speed, 'speed'),
    thousandths(advert.itemsPerSecond, 'itemsPerSecond'),
    labels.map(([key, value]) => [
      text(key, 'label', MAX_LABEL_BYTES),
      text(value, 'label', MAX_LABEL_BYTES),
    ]),
  ]
}

function gpuOf({ name, state, gflops, upMBs, downMBs }: GpuFacts): CborValue {
  const rate = (value: number, what: string) =>
    uint(Math.min(MAX_RATE_THOUSANDTHS, Math.round(value)), what)
  return [
    cut(name, MAX_GPU_NAME_BYTES),
    state === 'hardware' ? 0 : 1,
    thousandths(gflops, 'gflops'),
    rate(upMBs, 'upMBs'),
    rate(downMBs, 'downMBs'),
  ]
}

function thousandths(value: number, what: string): number {
  return uint(Math.min(MAX_RATE_THOUSANDTHS, Math.round(value * 1000)), what)
}

/** The first `maxBytes` of UTF-8, ended at a whole character. */
function cut(value: string, maxBytes: number): string {
  const bytes = Buffer.from(value.toWellFormed())
  if (bytes.length <= maxBytes) return bytes.toString()
  let end = maxBytes
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}

function readBody(r: CborReader): Advert {
  r.array('advert', 14, 14)
  const version = r.uint('version of the form')
  if (version !== 1) throw protocolError(`advert has form ${version}, only 1 is known`)
  const peer = r.hex('peer', 32) as PeerId
  const session = r.hex('session', 16) as SessionId
  const sessionNumber = r.uint('sessionNumber')
  const seq = r.uint('seq')
  const software = r.text('version', MAX_VERSION_BYTES)
  const name = r.text('name', MAX_NAME_BYTES)
  const addresses: string[] = []
  for (let left = r.array('addresses', 0, MAX_ADDRESSES); left > 0; left--) {
    addresses.push(r.text('address', MAX_ADDRESS_BYTES))
  }
  r.array('cores and slots', 3, 3)
  const cores = r.uint('cores', MAX_CORES)
  const slots = r.uint('slots', MAX_CORES)
  const freeSlots = r.uint('freeSlots', slots)
  r.array('memory', 2, 2)
  const memoryBytes = r.uint('memoryBytes')
  const freeMemoryBytes = r.uint('freeMemoryBytes')
  const gpu = readGpu(r)
  const speed = r.uint('speed', MAX_RATE_THOUSANDTHS) / 1000
  const itemsPerSecond = r.uint('itemsPerSecond', MAX_RATE_THOUSANDTHS) / 1000
  const labels = readLabels(r)
  r.end('advert')
  return {
    peer,
    session,
    sessionNumber,
    version: software,
    name,
    addresses,
    cores,
    slots,
    freeSlots,
    memoryBytes,
    freeMemoryBytes,
    gpu,
    speed,
    itemsPerSecond,
    seq,
    labels,
  }
}

function readGpu(r: CborReader): GpuFacts | null {
  if (r.null()) return null
  r.array('gpu', 5, 5)
  return {
    name: r.text('gpu', MAX_GPU_NAME_BYTES),
    state: r.uint('gpu state', 1) === 0 ? 'hardware' : 'software',
    gflops: r.uint('gflops', MAX_RATE_THOUSANDTHS) / 1000,
    upMBs: r.uint('upMBs', MAX_RATE_THOUSANDTHS),
    downMBs: r.uint('downMBs', MAX_RATE_THOUSANDTHS),
  }
}

function readLabels(r: CborReader): Record<string, string> {
  // No prototype: a label may be called __proto__.
  const labels: Record<string, string> = Object.create(null)
  for (let left = r.array('labels', 0, MAX_LABELS); left > 0; left--) {
    r.array('label', 2, 2)
    const key = r.text('label', MAX_LABEL_BYTES)
    labels[key] = r.text('label', MAX_LABEL_BYTES)
  }
  return labels
}
