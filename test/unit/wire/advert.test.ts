import { generateKeyPairSync, sign as signWith } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { decodeAdvert, encodeAdvert } from '../../../src/node/wire/advert.ts'
import { MAX_ADVERT_BYTES } from '../../../src/node/wire/limits.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'
import { advertOf, damaged } from './arbitrary.ts'

function key(): { peer: PeerId; sign: (hash: Uint8Array) => Uint8Array } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = publicKey.export({ format: 'jwk' }).x!
  const peer = Buffer.from(raw, 'base64url').toString('hex') as PeerId
  return { peer, sign: (hash) => signWith(null, hash, privateKey) }
}
const mine = key()
const advert = advertOf(mine.peer)

describe('adverts', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(advert, (value) => {
        const back = decodeAdvert(encodeAdvert(value, mine.sign))
        expect({ ...back, labels: { ...back.labels } }).toEqual({
          ...value,
          labels: { ...value.labels },
        })
      }),
    )
  })

  it('random bytes are refused, with ERR_MESH_PROTOCOL', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(() => decodeAdvert(bytes)).toThrow(
          expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }),
        )
      }),
      { numRuns: 2000 },
    )
  })

  it('whatever is changed in one, it is refused', () => {
    const cases = advert.chain((value) => {
      const bytes = encodeAdvert(value, mine.sign)
      return damaged(bytes).map((after) => ({ bytes, after }))
    })
    fc.assert(
      fc.property(cases, ({ bytes, after }) => {
        fc.pre(Buffer.compare(bytes, after) !== 0)
        try {
          decodeAdvert(after)
        } catch (error) {
          if (isMeshError(error, 'ERR_MESH_PROTOCOL')) return
          throw error
        }
        throw new Error('a damaged advert was taken')
      }),
      { numRuns: 1000 },
    )
  })

  it('signed by another than it names is refused', () => {
    fc.assert(
      fc.property(advert, (value) => {
        expect(() => decodeAdvert(encodeAdvert(value, key().sign))).toThrow(
          expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }),
        )
      }),
      { numRuns: 20 },
    )
  })

  it('too long a name, version or list of one’s own is cut, never the advert refused', () => {
    const [value] = fc.sample(advert, 1)
    const long = {
      ...value!,
      name: '🦊é'.repeat(100),
      version: '1.2.3-'.padEnd(200, 'x'),
      addresses: Array.from({ length: 40 }, (_, i) => `/ip4/192.0.2.1/tcp/${i}`.padEnd(200, '0')),
      labels: Object.fromEntries(
        Array.from({ length: 100 }, (_, i) => [`${i}`.padEnd(64, 'k'), 'v'.repeat(64)]),
      ),
    }
    const bytes = encodeAdvert(long, mine.sign)
    expect(bytes.length).toBeLessThanOrEqual(MAX_ADVERT_BYTES)
    const back = decodeAdvert(bytes)
    expect(Buffer.byteLength(back.name)).toBeLessThanOrEqual(64)
    expect(long.name.startsWith(back.name)).toBe(true)
    expect(back.addresses.length).toBeLessThanOrEqual(16)
  })

  it('a label called __proto__ is a label', () => {
    const [value] = fc.sample(advert, 1)
    const labels = JSON.parse('{"__proto__":"x"}') as Record<string, string>
    const back = decodeAdvert(encodeAdvert({ ...value!, labels }, mine.sign))
    expect(Object.entries(back.labels)).toEqual([['__proto__', 'x']])
  })
})
