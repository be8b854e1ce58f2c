import { encode } from 'cborg'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  encodeManifest,
  MAX_ITEM_BYTES,
  MAX_MANIFEST_BYTES,
  MAX_PIECES,
  readManifest,
} from '../../../src/runtime/manifest.ts'

const HASH = new Uint8Array(32).fill(1)
const refused = expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' })

describe('the manifest of an input', () => {
  it('reads what it wrote', () => {
    const piece = fc.record({
      hash: fc.stringMatching(/^[0-9a-f]{64}$/),
      count: fc.integer({ min: 1, max: 1000 }),
      sizeBytes: fc.integer({ min: 1000, max: MAX_ITEM_BYTES }),
    })
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        expect(readManifest(encodeManifest(pieces))).toEqual(pieces)
      }),
    )
  })

  it.each([
    ['no list', { a: 1 }],
    ['a short row', [[HASH, 1]]],
    ['a long row', [[HASH, 1, 1, 1]]],
    ['a short hash', [[HASH.subarray(1), 1, 1]]],
    ['a hash in hex', [['01'.repeat(32), 1, 1]]],
    ['no items', [[HASH, 0, 1]]],
    ['more items than bytes', [[HASH, 2, 1]]],
    ['half an item', [[HASH, 1.5, 2]]],
    ['no bytes', [[HASH, 1, 0]]],
    ['too many bytes', [[HASH, 1, MAX_ITEM_BYTES + 1]]],
    ['a huge count', [[HASH, 2n ** 60n, 5]]],
  ])('refuses %s', (_, content) => {
    expect(() => readManifest(encode(content))).toThrow(refused)
  })

  it('refuses too many pieces and too many bytes, on both sides', () => {
    const pieces = Array.from({ length: MAX_PIECES + 1 }, () => ({
      hash: '01'.repeat(32),
      count: 1,
      sizeBytes: 1,
    }))
    expect(() => encodeManifest(pieces)).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_TOO_LARGE' }),
    )
    expect(readManifest(encodeManifest(pieces.slice(1)))).toHaveLength(MAX_PIECES)
    expect(() => readManifest(encode(pieces.map(() => [HASH, 1, 1])))).toThrow(refused)
    expect(() => readManifest(new Uint8Array(MAX_MANIFEST_BYTES + 1))).toThrow(refused)
  })

  it('takes any bytes without harm', () => {
    const good = encodeManifest([{ hash: '01'.repeat(32), count: 3, sizeBytes: 30 }])
    fc.assert(
      fc.property(fc.uint8Array(), fc.nat(good.length - 1), fc.nat(255), (noise, at, byte) => {
        const mutated = good.slice()
        mutated[at] = byte
        for (const bytes of [noise, mutated, good.subarray(0, at)]) {
          try {
            readManifest(bytes)
          } catch (error) {
            expect(error).toEqual(refused)
          }
        }
      }),
    )
  })
})
