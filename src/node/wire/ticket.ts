import { MeshError } from '../../base/errors.ts'
import { fromBase32, toBase32, wrongCharacter } from './base32.ts'
import { crc32 } from './crc32.ts'
import { MAX_TICKET_ADDRESSES, MAX_TICKET_CHARS } from './limits.ts'
import {
  formatTicketAddress,
  isLoopback,
  packAddresses,
  parseTicketAddress,
  type TicketAddress,
  unpackAddresses,
} from './ticket-address.ts'

/** What `mesh join TICKET` needs: the mesh's key (32 bytes) and where members of it are (multiaddrs). */
export interface Ticket {
  readonly meshKey: Uint8Array
  readonly addresses: string[]
}

const PREFIX = 'mesh1'
const KEY_BYTES = 32
const CRC_BYTES = 4
const LENGTH_BYTES = 2
const LEAST_CHARS = Math.ceil(((LENGTH_BYTES + KEY_BYTES + CRC_BYTES) * 8) / 5)

/**
 * The ticket of a mesh (docs/protocol.md, "Tickets"): `mesh1` and, in base 32,
 *
 *     length: u16 · key: 32 bytes · addresses · CRC-32 of all before: u32
 *
 * with length = bytes of key and addresses. It names the first three addresses that another machine can use; loopback ones only
 * when there is nothing else (a machine reaches its own other addresses too, so its processes join each other by any of them).
 */
export function encodeTicket({
  meshKey,
  addresses,
}: {
  readonly meshKey: Uint8Array
  readonly addresses: readonly string[]
}): string {
  if (meshKey.length !== KEY_BYTES) {
    throw new MeshError(
      'ERR_MESH_INTERNAL',
      `a mesh key has ${KEY_BYTES} bytes, not ${meshKey.length}`,
    )
  }
  const usable = addresses.map(parseTicketAddress).filter((address) => address !== undefined)
  const body = Buffer.concat([meshKey, packAddresses(chosen(usable))])
  const length = Uint8Array.of(body.length >> 8, body.length & 0xff)
  const checked = Buffer.concat([length, body])
  const crc = Buffer.alloc(CRC_BYTES)
  crc.writeUInt32BE(crc32(checked))
  return PREFIX + toBase32(Buffer.concat([checked, crc]))
}

/**
 * Reads a ticket; white space around it does not matter.
 * @throws ERR_MESH_TICKET_DAMAGED, which says in which way: no ticket at all, a wrong character and where, cut short, too long,
 * or mistyped (the checksum).
 */
export function decodeTicket(text: string): Ticket {
  const ticket = text.trim()
  if (!ticket.startsWith(PREFIX)) {
    throw damaged(`it must start with "${PREFIX}"`, 'prefix')
  }
  if (ticket.length > MAX_TICKET_CHARS) {
    throw damaged(`it has ${ticket.length} characters, more than any ticket`, 'long')
  }
  const digits = ticket.slice(PREFIX.length)
  const wrong = wrongCharacter(digits)
  if (wrong >= 0) {
    const position = PREFIX.length + wrong + 1
    const what = JSON.stringify([...digits][wrong])
    throw damaged(`character ${position}, ${what}, cannot be in a ticket`, 'character', {
      position,
    })
  }
  if (digits.length < LEAST_CHARS) throw cutShort(ticket.length)
  const length = Buffer.from(fromBase32(digits.slice(0, 8))!).readUInt16BE()
  const chars = Math.ceil(((LENGTH_BYTES + length + CRC_BYTES) * 8) / 5)
  const bytes = fromBase32(digits)
  if (bytes === undefined || digits.length !== chars || !crcHolds(bytes)) {
    throw misfit(ticket.length, digits.length - chars)
  }
  const addresses = unpackAddresses(bytes.subarray(LENGTH_BYTES + KEY_BYTES, -CRC_BYTES))
  if (addresses === undefined) {
    throw damaged('it was made by another version of meshwork: make both peers the same', 'version')
  }
  return {
    meshKey: bytes.slice(LENGTH_BYTES, LENGTH_BYTES + KEY_BYTES),
    addresses: addresses.map(formatTicketAddress),
  }
}

function chosen(addresses: readonly TicketAddress[]): TicketAddress[] {
  const outer = addresses.filter((address) => !isLoopback(address))
  return (outer.length > 0 ? outer : addresses).slice(0, MAX_TICKET_ADDRESSES)
}

function crcHolds(bytes: Uint8Array): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = buffer.length - CRC_BYTES
  return crc32(buffer.subarray(0, end)) === buffer.readUInt32BE(end)
}

function misfit(length: number, extra: number): MeshError {
  if (extra < 0) return cutShort(length)
  if (extra > 0) return damaged(`it has ${extra} characters too many`, 'long')
  return damaged('a character in it is wrong (its checksum does not fit)', 'checksum')
}

function cutShort(length: number): MeshError {
  return damaged(`it is cut short (${length} characters are there)`, 'short')
}

function damaged(how: string, damage: string, details: Record<string, unknown> = {}): MeshError {
  return new MeshError(
    'ERR_MESH_TICKET_DAMAGED',
    `the ticket is damaged: ${how}. Copy the whole line that \`mesh ticket\` prints`,
    { details: { damage, ...details } },
  )
}
