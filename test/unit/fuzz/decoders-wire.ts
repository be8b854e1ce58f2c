import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { type Advert, decodeAdvert, encodeAdvert } from '../../../src/node/wire/advert.ts'
import { fromBase32, toBase32 } from '../../../src/node/wire/base32.ts'
import { peerIdKey, peerIdText } from '../../../src/node/wire/base58.ts'
import { decodeMessage, decodeRuns } from '../../../src/node/wire/decode.ts'
import { encodeMessage, encodeRuns } from '../../../src/node/wire/encode.ts'
import { decodeTicket, encodeTicket } from '../../../src/node/wire/ticket.ts'
import {
  packAddresses,
  parseTicketAddress,
  unpackAddresses,
} from '../../../src/node/wire/ticket-address.ts'
import { CborReader } from '../../../src/store/cbor-reader.ts'
import { encodeCbor } from '../../../src/store/cbor-values.ts'
import { peerOf } from '../store/writers.ts'
import { advertOf, message, run } from '../wire/arbitrary.ts'
import { type Decoder, decoder, utf16 } from './decoder.ts'

const self = peerOf('advertiser')
const key = Buffer.from(self.peer, 'hex')
const host = fc.oneof(
  fc.ipV4().map((ip) => `/ip4/${ip}`),
  fc.ipV6().map((ip) => `/ip6/${ip}`),
  fc.constantFrom('/dns/a.example', '/dns4/b.example', '/dns6/c-d.example'),
)
const address = fc
  .tuple(host, fc.integer({ min: 1, max: 65_535 }), fc.boolean())
  .map(([at, port, named]) => `${at}/tcp/${port}${named ? `/p2p/${peerIdText(key)}` : ''}`)
const addresses = fc.array(address, { maxLength: 3 })
const ticket = fc.record({
  meshKey: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  addresses,
})

/** The signed part of an advert, signed again after whatever was done to it: else nothing gets past the signature. */
function signed(body: Uint8Array): Uint8Array {
  const hash = createHash('sha256').update('meshwork advert').update(body).digest()
  return encodeCbor([self.sign(hash), body])
}

function bodyOf(advert: Uint8Array): Uint8Array {
  const reader = new CborReader(advert)
  reader.array('advert', 2, 2)
  reader.bytes('signature', 64)
  return reader.bytes('body', 4096).slice()
}

/** Labels are a map here: their order, as that of any keys that look like numbers, is not kept. */
const unlabelled = (advert: Advert): Advert => ({ ...advert, labels: {} })

export const wireDecoders: readonly Decoder[] = [
  decoder({
    name: 'message',
    covers: ['src/node/wire/decode.ts#decodeMessage'],
    form: 'cbor',
    values: message,
    write: encodeMessage,
    read: decodeMessage,
  }),
  decoder({
    name: 'gossiped runs',
    covers: ['src/node/wire/decode.ts#decodeRuns'],
    form: 'cbor',
    values: fc.array(run, { minLength: 1, maxLength: 4 }),
    write: encodeRuns,
    read: decodeRuns,
  }),
  decoder({
    name: 'advert',
    covers: ['src/node/wire/advert.ts#decodeAdvert'],
    form: 'cbor',
    values: advertOf(self.peer).map(unlabelled),
    write: (advert) => encodeAdvert(advert, self.sign),
    read: decodeAdvert,
  }),
  decoder({
    name: 'advert, signed again after the damage',
    covers: ['src/node/wire/advert.ts#decodeAdvert'],
    form: 'cbor',
    values: advertOf(self.peer),
    write: (advert) => bodyOf(encodeAdvert(advert, self.sign)),
    read: (body) => {
      const advert = decodeAdvert(signed(body))
      // It can be written again, and says the same then.
      const again = decodeAdvert(encodeAdvert(advert, self.sign))
      if (JSON.stringify(again) !== JSON.stringify(advert)) throw new Error('it changed on the way')
      return advert
    },
    canonical: false,
  }),
  decoder({
    name: 'ticket',
    covers: ['src/node/wire/ticket.ts#decodeTicket', 'src/node/wire/base32.ts#fromBase32'],
    form: 'bytes',
    values: ticket,
    write: (value) => utf16.bytes(encodeTicket(value)),
    read: (bytes) => decodeTicket(utf16.text(bytes).trim()),
    codes: ['ERR_MESH_TICKET_DAMAGED'],
    canonical: false,
  }),
  decoder({
    name: 'addresses in a ticket',
    covers: [
      'src/node/wire/ticket-address.ts#unpackAddresses',
      'src/node/wire/ticket-address.ts#parseTicketAddress',
    ],
    form: 'bytes',
    values: addresses.map((list) => list.map((each) => parseTicketAddress(each)!)),
    write: packAddresses,
    read: (bytes) => unpackAddresses(bytes),
    canonical: false,
  }),
  decoder({
    name: 'address in a ticket',
    covers: ['src/node/wire/ticket-address.ts#parseTicketAddress'],
    form: 'bytes',
    values: address,
    write: utf16.bytes,
    read: (bytes) => {
      const parsed = parseTicketAddress(utf16.text(bytes))
      return parsed && packAddresses([parsed])
    },
    canonical: false,
  }),
  decoder({
    name: 'base 32',
    covers: ['src/node/wire/base32.ts#fromBase32'],
    form: 'bytes',
    values: fc.uint8Array({ maxLength: 100 }),
    write: (bytes) => utf16.bytes(toBase32(bytes)),
    read: (bytes) => fromBase32(utf16.text(bytes).replace(/[^0-9a-hjkmnp-tv-z]/g, '')),
    canonical: false,
  }),
  decoder({
    name: 'peer id in base 58',
    covers: ['src/node/wire/base58.ts#peerIdKey'],
    form: 'bytes',
    values: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    write: (bytes) => utf16.bytes(peerIdText(bytes)),
    read: (bytes) => peerIdKey(utf16.text(bytes)),
    canonical: false,
  }),
]
