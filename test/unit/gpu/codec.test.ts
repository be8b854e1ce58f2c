import { decode, encode } from 'cborg'
import { describe, expect, it } from 'vitest'
import { decodeKernelSpec, encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import type { KernelSpec } from '../../../src/gpu/types.ts'

const spec: KernelSpec = {
  v: 1,
  name: 'k',
  source: 'function (a, n) { return a[this.thread.x] * n }',
  output: [3, 2],
  constants: { b: 1, a: 0.5 },
  args: [
    { kind: 'array', hash: 'ab'.repeat(32), size: [4, 2], perItem: true },
    { kind: 'number', value: -1.5 },
  ],
  loopMaxIterations: 7,
  tolerance: { absolute: 0.1, cells: 0.01 },
  requiresGpu: true,
}
const row = () => decode(encodeKernelSpec(spec)) as unknown[]
const change = (index: number, value: unknown) => {
  const changed = row()
  changed[index] = value
  return encode(changed)
}

describe('a kernel as bytes', () => {
  it('comes back as it was', () => {
    expect(decodeKernelSpec(encodeKernelSpec(spec))).toEqual(spec)
  })

  it('has one encoding, in whatever order its constants were written', () => {
    const other = { ...spec, constants: { a: 0.5, b: 1 } }
    expect(encodeKernelSpec(other)).toEqual(encodeKernelSpec(spec))
  })

  const hash = new Uint8Array(32)
  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['no list', encode({})],
    ['a short list', encode(row().slice(1))],
    ['a long list', encode([...row(), 1])],
    ['another version', change(0, 2)],
    ['a name that is none', change(1, 5)],
    ['an empty name', change(1, '')],
    ['a long name', change(1, 'x'.repeat(129))],
    ['a source that is none', change(2, null)],
    ['a long source', change(2, ' '.repeat(16_385))],
    ['no output', change(3, [])],
    ['four dimensions', change(3, [1, 1, 1, 1])],
    ['an extent of 0', change(3, [0])],
    ['half an element', change(3, [1.5])],
    ['a large output', change(3, [2 ** 24, 2 ** 24])],
    [
      'constants in the wrong order',
      change(4, [
        ['b', 1],
        ['a', 0.5],
      ]),
    ],
    [
      'a constant twice',
      change(4, [
        ['a', 1],
        ['a', 1],
      ]),
    ],
    ['a constant that is none', change(4, [['a', '1']])],
    ['a constant of NaN', change(4, [['a', Number.NaN]])],
    ['a constant without a value', change(4, [['a']])],
    ['__proto__ as a constant', change(4, [['__proto__', 1]])],
    ['constructor as a constant', change(4, [['constructor', 1]])],
    [
      'many constants',
      change(
        4,
        Array.from({ length: 65 }, (_, i) => [`c${100 + i}`, 1]),
      ),
    ],
    ['an argument of no kind', change(5, [[2, 1]])],
    ['an infinite argument', change(5, [[0, Number.POSITIVE_INFINITY]])],
    ['a text as an argument', change(5, [[0, 'x']])],
    ['a short hash', change(5, [[1, hash.subarray(1), [2], false]])],
    ['an array without a size', change(5, [[1, hash, [], false]])],
    ['a perItem array of another length', change(5, [[1, hash, [4, 3], true]])],
    ['a perItem that is none', change(5, [[1, hash, [4, 2], 1]])],
    [
      'many arguments',
      change(
        5,
        Array.from({ length: 33 }, () => [0, 1]),
      ),
    ],
    ['iterations below 0', change(6, -1)],
    ['iterations as text', change(6, '7')],
    ['many iterations', change(6, 2 ** 24 + 1)],
    ['a tolerance below 0', change(7, [-1, null, null])],
    ['a tolerance as text', change(7, ['1', null, null])],
    ['a tolerance of two', change(7, [1, null])],
    ['a requirement that is none', change(8, 1)],
    ['one byte more', Buffer.concat([encodeKernelSpec(spec), Buffer.of(0)])],
    ['too many bytes', new Uint8Array(64 * 1024 + 1)],
    ['a float where a whole number is shorter', longFloat()],
  ])('is refused: %s', (_, bytes) => {
    expect(() => decodeKernelSpec(bytes)).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }),
    )
  })
})

/** loopMaxIterations written as a float of 64 bits. */
function longFloat(): Uint8Array {
  const bytes = Buffer.from(encodeKernelSpec({ ...spec, tolerance: {} }))
  const tail = Buffer.from(encode([null, null, null]))
  const at = bytes.lastIndexOf(tail) - 1
  expect(bytes[at]).toBe(7)
  const seven = Buffer.alloc(9)
  seven[0] = 0xfb
  seven.writeDoubleBE(7, 1)
  return Buffer.concat([bytes.subarray(0, at), seven, bytes.subarray(at + 1)])
}
