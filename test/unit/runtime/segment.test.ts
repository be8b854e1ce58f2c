import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeSegments,
  decodeValue,
  encodeSegment,
  encodeValue,
  scanSegments,
} from '../../../src/runtime/segment.ts'
import type { ItemError } from '../../../src/runtime/types.ts'

const roundTrip = (values: unknown[]): unknown[] =>
  [...decodeSegments(encodeSegment(values), 0)].flatMap((it) => it.values)

describe('values', () => {
  it('round-trips all that a structured clone carries', () => {
    const values = [
      undefined,
      null,
      true,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 53,
      -(2 ** 40),
      5n,
      2n ** 80n,
      -(2n ** 100n),
      'text',
      new Date(5),
      new Map<unknown, unknown>([[1, { a: new Set(['x']) }]]),
      new Set([1, 'x']),
      new Uint8Array([1, 2]),
      new Float64Array([1, Number.NaN]),
      new BigInt64Array([-1n]),
      [undefined, [1]],
      { a: undefined, nested: { b: [1, { c: 2 }] } },
      /a+/g,
    ]
    expect(roundTrip(values)).toEqual(values)
  })

  it('keeps cycles and shared references within a value', () => {
    const cycle: { self?: unknown } = {}
    cycle.self = cycle
    const [read] = roundTrip([cycle]) as [{ self: unknown }]
    expect(read.self).toBe(read)
  })

  it('round-trips any plain data', () => {
    // That one name is refused (see below).
    const key = fc.string().filter((name) => name !== '__proto__')
    const kinds = { withBigInt: true, withDate: true, withMap: true, withSet: true }
    const anything = fc.anything({ key, ...kinds })
    fc.assert(
      fc.property(fc.array(anything), (values) => {
        expect(plain(roundTrip(values))).toEqual(plain(values))
      }),
      { numRuns: 300 },
    )
  })

  it.each([
    ['a function', [1, () => 2], 1],
    ['a function', [{ deep: { f: () => 1 } }], 0],
    ['a symbol', [1, 2, Symbol('s')], 2],
    ['a promise', [[Promise.resolve(1)]], 0],
    ['a WeakMap', [new WeakMap()], 0],
  ])('refuses %s and says which item', (what, values, index) => {
    expect(() => encodeSegment(values)).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_VALUE_UNSENDABLE',
        message: expect.stringMatching(new RegExp(`item ${index} .*${what}`)),
        details: { index },
      }),
    )
    // The encoder works on after a refusal.
    expect(roundTrip([1])).toEqual([1])
  })

  it('refuses a value over the limit and names its item', () => {
    const large = new Uint8Array(64 * 2 ** 20 + 1)
    expect(() => encodeSegment([1, large])).toThrow(
      expect.objectContaining({
        code: 'ERR_MESH_VALUE_TOO_LARGE',
        details: expect.objectContaining({ index: 1 }),
      }),
    )
  })

  it('encodes one value for args', () => {
    expect(decodeValue(encodeValue({ size: 3, of: [1n] }))).toEqual({ size: 3, of: [1n] })
    expect(() => encodeValue(() => 1)).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_VALUE_UNSENDABLE' }),
    )
  })
})

describe('segments', () => {
  const failure: ItemError = {
    index: 1,
    code: 'ERR_MESH_ITEM_THREW',
    name: 'TypeError',
    message: 'bad',
    stack: 'TypeError: bad\n    at x',
    attempts: 2,
  }

  it('concatenates: items are numbered on, failures by their item', () => {
    const bytes = Buffer.concat([encodeSegment(['a', null], [failure]), encodeSegment(['c'])])
    expect([...decodeSegments(bytes, 100)]).toEqual([
      { lo: 100, hi: 102, values: ['a', null], failures: [{ ...failure, index: 101 }] },
      { lo: 102, hi: 103, values: ['c'], failures: [] },
    ])
    expect([...scanSegments(bytes, 100)].map(({ lo, hi }) => [lo, hi])).toEqual([
      [100, 102],
      [102, 103],
    ])
  })

  it('is empty for no bytes', () => {
    expect([...decodeSegments(new Uint8Array(), 7)]).toEqual([])
    expect([...decodeSegments(encodeSegment([]), 7)]).toEqual([
      { lo: 7, hi: 7, values: [], failures: [] },
    ])
  })

  const garbage = expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' })
  const header = (count: number, values: number, failures: number): Buffer => {
    const bytes = Buffer.alloc(12)
    bytes.writeUInt32LE(count, 0)
    bytes.writeUInt32LE(values, 4)
    bytes.writeUInt32LE(failures, 8)
    return bytes
  }

  it.each([
    ['a header cut short', Buffer.alloc(5)],
    ['a body cut short', encodeSegment([1, 2, 3]).subarray(0, 14)],
    ['more values than bytes', Buffer.concat([header(1000, 2, 0), Buffer.from([0x91, 1])])],
    ['fewer values than it says', Buffer.concat([header(2, 2, 0), Buffer.from([0x91, 1])])],
    ['sizes beyond the bytes', header(1, 0xffffffff, 0xffffffff)],
    ['values that are no array', Buffer.concat([header(1, 1, 0), Buffer.from([5])])],
    [
      'an array that says it holds four thousand million values',
      Buffer.concat([header(5, 5, 0), Buffer.from([0xdd, 255, 255, 255, 255])]),
    ],
    ['failures that name an item outside', encodeSegment([null], [{ ...failure, index: 1 }])],
  ])('refuses %s', (_, bytes) => {
    expect(() => [...decodeSegments(bytes, 0)]).toThrow(garbage)
  })

  it('survives any bytes: decodes or refuses, nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(8), (bytes, count) => {
        for (const input of [bytes, Buffer.concat([header(count, bytes.length, 0), bytes])]) {
          let thrown: unknown
          try {
            for (const _ of decodeSegments(input, 0));
          } catch (error) {
            thrown = error
          }
          if (thrown !== undefined) expect(thrown).toEqual(garbage)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

/** Drops what values do not carry: prototypes, holes, the sign of zero, lone surrogates. */
function plain(value: unknown): unknown {
  if (Object.is(value, -0)) return 0
  if (typeof value === 'string') return Buffer.from(value).toString()
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Array.from(value, plain)
  if (value instanceof Map) return ['map', ...[...value].map(plain)]
  if (value instanceof Set) return ['set', ...[...value].map(plain)]
  if (value instanceof Date) return ['date', value.getTime()]
  return Object.entries(value).map(([key, it]) => [plain(key), plain(it)])
}
