import { generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { peerIdText } from '../../../src/node/wire/base58.ts'
import { decodeTicket, encodeTicket } from '../../../src/node/wire/ticket.ts'

const keyBytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
const peerText = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(peerIdText)
const host = fc.oneof(
  fc.ipV4().map((ip) => `/ip4/${ip}`),
  fc
    .array(fc.integer({ min: 1, max: 0xffff }), { minLength: 8, maxLength: 8 })
    .map((groups) => `/ip6/${groups.map((group) => group.toString(16)).join(':')}`),
  fc
    .domain()
    .filter((name) => name.length < 100)
    .map((name) => `/dns4/${name}`),
)
const address = fc
  .tuple(host, fc.integer({ min: 1, max: 65_535 }), fc.option(peerText, { nil: undefined }))
  .map(([at, port, peer]) => `${at}/tcp/${port}${peer === undefined ? '' : `/p2p/${peer}`}`)
const loopback = (text: string): boolean => text.startsWith('/ip4/127.')
const ticket = fc.record({ meshKey: keyBytes, addresses: fc.array(address, { maxLength: 3 }) })

const ALL = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i))

function isRefused(text: string): boolean {
  try {
    decodeTicket(text)
    return false
  } catch (error) {
    if (!isMeshError(error, 'ERR_MESH_TICKET_DAMAGED')) throw error
    return true
  }
}

const sample = encodeTicket({
  meshKey: new Uint8Array(32).map((_, i) => i * 7),
  addresses: [
    '/ip4/192.0.2.7/tcp/4001',
    '/ip4/198.51.100.9/tcp/4001',
    '/dns4/example.com/tcp/4001',
  ].map((at) => `${at}/p2p/${peerIdText(new Uint8Array(32).fill(5))}`),
})

describe('tickets', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(ticket, ({ meshKey, addresses }) => {
        const back = decodeTicket(encodeTicket({ meshKey, addresses }))
        expect([...back.meshKey]).toEqual([...meshKey])
        const outer = addresses.filter((each) => !loopback(each))
        expect(back.addresses).toEqual(outer.length > 0 ? outer : addresses)
      }),
    )
  })

  it('with white space around them too', () => {
    expect(decodeTicket(`  ${sample}\n`)).toEqual(decodeTicket(sample))
  })

  it('name three addresses at most, loopback ones only where there is nothing else', () => {
    const meshKey = new Uint8Array(32)
    const near = '/ip4/127.0.0.1/tcp/1'
    const far = [1, 2, 3, 4].map((port) => `/ip4/192.0.2.1/tcp/${port}`)
    const of = (addresses: string[]) => decodeTicket(encodeTicket({ meshKey, addresses })).addresses
    expect(of([near, ...far])).toEqual(far.slice(0, 3))
    expect(of([near])).toEqual([near])
    expect(of(['/ip6/::1/tcp/9', near])).toEqual(['/ip6/::1/tcp/9', near])
    expect(of([])).toEqual([])
    expect(of(['/unix/tmp/x', '/ip4/192.0.2.1/udp/9/quic-v1'])).toEqual([])
  })

  it('are short: a key and three IPv4 addresses of one peer, in 162 characters at most', () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url')
    const at = (last: number) => `/ip4/192.168.1.${last}/tcp/4001/p2p/${peerIdText(raw)}`
    const text = encodeTicket({ meshKey: raw, addresses: [at(1), at(2), at(3)] })
    expect(text).toMatch(/^mesh1[0-9a-z]+$/)
    expect(text.length).toBeLessThanOrEqual(162)
  })
})

describe('a damaged ticket is noticed', () => {
  it('with any one character changed', () => {
    for (let at = 0; at < sample.length; at++) {
      for (const other of ALL) {
        if (other === sample[at]) continue
        const text = sample.slice(0, at) + other + sample.slice(at + 1)
        expect(isRefused(text), text).toBe(true)
      }
    }
  })

  it('with any one character, or any piece, cut out', () => {
    for (let at = 0; at < sample.length; at++) {
      for (const count of [1, 2, 8, 40]) {
        expect(isRefused(sample.slice(0, at) + sample.slice(at + count))).toBe(true)
      }
    }
  })

  it('with any one character put in', () => {
    for (let at = 0; at <= sample.length; at++) {
      for (const other of ALL) {
        expect(isRefused(sample.slice(0, at) + other + sample.slice(at))).toBe(true)
      }
    }
  })

  it('with any two characters swapped', () => {
    for (let a = 0; a < sample.length; a++) {
      for (let b = a + 1; b < sample.length; b++) {
        if (sample[a] === sample[b]) continue
        const text = [...sample]
        ;[text[a], text[b]] = [text[b]!, text[a]!]
        expect(isRefused(text.join(''))).toBe(true)
      }
    }
  })

  it('whatever the ticket', () => {
    const cases = ticket.chain((value) => {
      const text = encodeTicket(value)
      return fc.tuple(
        fc.constant(text),
        fc.nat(text.length - 1),
        fc.constantFrom(...ALL),
        fc.constantFrom('change', 'remove', 'insert', 'swap'),
      )
    })
    fc.assert(
      fc.property(cases, ([text, at, other, how]) => {
        const next = text[at + 1] ?? ''
        const after = {
          change: text.slice(0, at) + other + text.slice(at + 1),
          remove: text.slice(0, at) + text.slice(at + 1),
          insert: text.slice(0, at) + other + text.slice(at),
          swap: text.slice(0, at) + next + text[at] + text.slice(at + 2),
        }[how as 'change']
        fc.pre(after !== text)
        expect(isRefused(after), after).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })

  it('for any text at all', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        expect(isRefused(text)).toBe(true)
        expect(isRefused(`mesh1${text}`)).toBe(true)
      }),
      { numRuns: 2000 },
    )
    expect(isRefused(`mesh1${'0'.repeat(1_000_000)}`)).toBe(true)
    expect(isRefused('')).toBe(true)
  })

  it.each([
    ['hello', 'prefix'],
    [sample.slice(1), 'prefix'],
    [sample.slice(0, -5), 'short'],
    [`${sample}0`, 'long'],
    [`${sample.slice(0, 20)}!${sample.slice(21)}`, 'character'],
    [`${sample.slice(0, 20)}${sample[20] === 'a' ? 'b' : 'a'}${sample.slice(21)}`, 'checksum'],
  ])('and says in which way (%#)', (text, damage) => {
    expect(() => decodeTicket(text)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_TICKET_DAMAGED',
        details: expect.objectContaining({ damage }),
      }),
    )
  })
})
