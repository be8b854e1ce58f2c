import { createHash } from 'node:crypto'
import { toHex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'

/**
 * A mesh ticket: `mesh1` and base-58 text (no look-alikes) of the mesh key, up to three addresses, and a checksum over all of it.
 * docs/protocol.md, "Tickets".
 */
export interface Ticket {
  /** 32 bytes. */
  readonly meshKey: Uint8Array
  /** Multiaddrs with /p2p/. */
  readonly addresses: readonly string[]
}

const PREFIX = 'mesh1'
const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const KEY_BYTES = 32
const CHECKSUM_BYTES = 5
const MAX_ADDRESSES = 3
const MAX_TEXT_CHARS = 2_000
/** Any one address as text. */
const MAX_ADDRESS_BYTES = 200

const IP4 = 4
const TEXT = 0

/** The ticket's text. Loopback addresses come last: they only serve processes of one machine. */
export function encodeTicket({ meshKey, addresses }: Ticket): string {
  if (meshKey.byteLength !== KEY_BYTES) {
    throw new MeshError('ERR_MESH_INTERNAL', `a mesh key has ${KEY_BYTES} bytes`)
  }
  const chosen = choose(addresses)
  const body = Buffer.concat([meshKey, Buffer.from([chosen.length]), ...chosen.map(packAddress)])
  return PREFIX + toBase58(Buffer.concat([body, checksum(body)]))
}

/** Throws ERR_MESH_TICKET_DAMAGED, which says in which way. */
export function decodeTicket(text: string): Ticket {
  const ticket = text.trim()
  if (!ticket.startsWith(PREFIX)) {
    throw damaged(`it does not begin with "${PREFIX}"`)
  }
  if (ticket.length > MAX_TEXT_CHARS) throw damaged('it is far too long')
  const coded = ticket.slice(PREFIX.length)
  for (let i = 0; i < coded.length; i += 1) {
    if (!ALPHABET.includes(coded[i]!)) {
      throw damaged(`character ${PREFIX.length + i + 1} ("${coded[i]}") cannot be in a ticket`)
    }
  }
  const bytes = fromBase58(coded)
  if (bytes.byteLength < KEY_BYTES + 1 + CHECKSUM_BYTES) throw damaged('it is cut short')
  const body = bytes.subarray(0, -CHECKSUM_BYTES)
  if (!checksum(body).equals(bytes.subarray(-CHECKSUM_BYTES))) {
    throw damaged('its checksum does not fit: a part is missing, added or mistyped')
  }
  return unpack(body)
}

function unpack(body: Buffer): Ticket {
  const meshKey = new Uint8Array(body.subarray(0, KEY_BYTES))
  const count = body[KEY_BYTES]!
  const addresses: string[] = []
  let at = KEY_BYTES + 1
  for (let i = 0; i < count; i += 1) {
    const length = body[at + 1]
    if (length === undefined || at + 2 + length > body.byteLength) throw damaged('it is cut short')
    addresses.push(unpackAddress(body[at]!, body.subarray(at + 2, at + 2 + length)))
    at += 2 + length
  }
  return { meshKey, addresses }
}

function choose(addresses: readonly string[]): string[] {
  const short = [...new Set(addresses)].filter((a) => Buffer.byteLength(a) <= MAX_ADDRESS_BYTES)
  const far = short.filter((address) => !isLoopback(address))
  const near = short.filter(isLoopback)
  return [...far.slice(0, near.length > 0 ? MAX_ADDRESSES - 1 : MAX_ADDRESSES), ...near.slice(0, 1)]
}

function isLoopback(address: string): boolean {
  return address.startsWith('/ip4/127.') || address.startsWith('/ip6/::1/')
}

/** `kind, length, bytes`: ip4 + tcp + p2p packed, anything else as text. */
function packAddress(address: string): Buffer {
  const match = /^\/ip4\/(\d+)\.(\d+)\.(\d+)\.(\d+)\/tcp\/(\d+)\/p2p\/([1-9A-HJ-NP-Za-km-z]+)$/.exec(address)
  let packed: Buffer
  let kind = TEXT
  if (match === null) packed = Buffer.from(address)
  else {
    kind = IP4
    const port = Buffer.alloc(2)
    port.writeUInt16BE(Number(match[5]))
    const ip = Buffer.from(match.slice(1, 5).map(Number))
    packed = Buffer.concat([ip, port, fromBase58(match[6]!)])
    if (unpackAddress(kind, packed) !== address) {
      kind = TEXT
      packed = Buffer.from(address)
    }
  }
  return Buffer.concat([Buffer.from([kind, packed.byteLength]), packed])
}

function unpackAddress(kind: number, bytes: Buffer): string {
  if (kind === TEXT) return bytes.toString()
  if (kind !== IP4 || bytes.byteLength < 7) {
    throw damaged('it was made by a newer version')
  }
  return `/ip4/${[...bytes.subarray(0, 4)].join('.')}/tcp/${bytes.readUInt16BE(4)}/p2p/${toBase58(bytes.subarray(6))}`
}

function checksum(body: Uint8Array): Buffer {
  return createHash('sha256').update('meshwork ticket').update(body).digest().subarray(0, CHECKSUM_BYTES)
}

/** Leading zero bytes are leading `1`s, as Bitcoin's base 58 has it. */
function toBase58(bytes: Uint8Array): string {
  let number = bytes.byteLength === 0 ? 0n : BigInt(`0x${toHex(bytes)}`)
  let text = ''
  while (number > 0n) {
    text = ALPHABET[Number(number % 58n)]! + text
    number /= 58n
  }
  for (let i = 0; i < bytes.byteLength && bytes[i] === 0; i += 1) text = ALPHABET[0]! + text
  return text
}

function fromBase58(text: string): Buffer {
  let number = 0n
  for (const character of text) number = number * 58n + BigInt(ALPHABET.indexOf(character))
  const hex = number === 0n ? '' : number.toString(16)
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  let zeros = 0
  while (zeros < text.length && text[zeros] === ALPHABET[0]) zeros += 1
  return Buffer.concat([Buffer.alloc(zeros), bytes])
}

function damaged(how: string): MeshError {
  return new MeshError(
    'ERR_MESH_TICKET_DAMAGED',
    `this ticket is damaged: ${how}. Copy the whole line that \`mesh ticket\` prints`,
    { details: { how } },
  )
}
