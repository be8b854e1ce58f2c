import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { toJsonLine } from '../../../src/client/format.ts'

describe('a value as a line of JSON', () => {
  it.each([
    [undefined, 'null'],
    [null, 'null'],
    [Number.NaN, 'null'],
    [Number.NEGATIVE_INFINITY, 'null'],
    [-0, '0'],
    [1.5, '1.5'],
    [1e21, '1e+21'],
    ['a\n"b"', '"a\\n\\"b\\""'],
    [true, 'true'],
    [12345678901234567890n, '"12345678901234567890"'],
    [new Uint8Array([1, 2, 3]), '"AQID"'],
    [new Uint8Array([0, 1, 2, 3, 4]).subarray(1, 4), '"AQID"'],
    [Buffer.from('hi'), '"aGk="'],
    [new Float32Array([1]), '"AACAPw=="'],
    [new Uint8Array([1, 2, 3]).buffer, '"AQID"'],
    [new Date(0), '"1970-01-01T00:00:00.000Z"'],
    [new Date(Number.NaN), 'null'],
    [new Map([['a', 1n]]), '{"a":"1"}'],
    [
      new Map<unknown, unknown>([
        [1, 'x'],
        ['b', undefined],
      ]),
      '[[1,"x"],["b",null]]',
    ],
    [new Set([1, undefined]), '[1,null]'],
    [/a\/b/gi, '"/a\\\\/b/gi"'],
    [new TypeError('no'), '{"name":"TypeError","message":"no"}'],
    [
      { a: undefined, b: [Number.NaN, 1n, new Uint8Array([255])] },
      '{"a":null,"b":[null,"1","/w=="]}',
    ],
    [new Array(2), '[null,null]'],
    [JSON.parse('{"__proto__":{"x":1}}'), '{"__proto__":{"x":1}}'],
    ['\ud800', '"\\ud800"'],
    [{}, '{}'],
  ])('%o', (value, line) => {
    expect(toJsonLine(value)).toBe(line)
  })

  it('writes what JSON can say as JSON says it', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(toJsonLine(value))).toEqual(JSON.parse(JSON.stringify(value)))
        expect(toJsonLine(value)).not.toContain('\n')
      }),
    )
  })

  it('refuses a value that holds itself, but not one that holds another twice', () => {
    const twice = { x: 1 }
    expect(toJsonLine([twice, twice])).toBe('[{"x":1},{"x":1}]')
    const cycle: { self?: unknown } = {}
    cycle.self = [cycle]
    expect(() => toJsonLine(cycle)).toThrow(/cannot be written as JSON: it holds itself/)
  })

  it('refuses a value that nests too deep, and what is no data', () => {
    let deep: unknown = 1
    for (let i = 0; i < 3000; i++) deep = [deep]
    expect(() => toJsonLine(deep)).toThrow(/deeper than 500/)
    expect(() => toJsonLine({ f: () => 1 })).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_VALUE_UNSENDABLE' }),
    )
  })
})
