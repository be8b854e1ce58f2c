import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { itemsOf } from '../../../src/base/extents.ts'
import type { KernelFacts } from '../../../src/gpu/kernel-scope.ts'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { boxesOf, rewriteKernel } from '../../../src/gpu/rewrite.ts'
import type { Size } from '../../../src/gpu/types.ts'
import { asJavaScript, elementsOf, type Given, inSlices } from './run-source.ts'
import { array, facts, number, slices } from './source-facts.ts'

const rewritten = (source: string, given: KernelFacts) =>
  rewriteKernel(checkKernelSource(source, given), given)

const extent = fc.integer({ min: 1, max: 9 })
const size: fc.Arbitrary<Size> = fc.oneof(
  fc.tuple(extent),
  fc.tuple(extent, extent),
  fc.tuple(extent, extent, extent),
)

describe('boxesOf', () => {
  it('covers the items, each once and in order, with at most 3 boxes inside the output', () => {
    fc.assert(
      fc.property(size, fc.nat(), fc.nat(), (output, a, b) => {
        const items = itemsOf(output)
        const [lo, hi] = [a % (items + 1), b % (items + 1)].sort((x, y) => x - y) as [
          number,
          number,
        ]
        const boxes = boxesOf(output, lo, hi)
        expect(boxes.length).toBeLessThanOrEqual(output.length === 3 ? 3 : 1)
        let next = lo
        for (const box of boxes) {
          expect(box.firstItem).toBe(next)
          next += box.items
          expect(box.offset).toHaveLength(output.length)
          expect(box.extent).toHaveLength(output.length)
          box.offset.forEach((from, axis) => {
            expect(from + box.extent[axis]!).toBeLessThanOrEqual(output[axis]!)
          })
          // Its first place is its first item's.
          const [x, y = 0, z = 0] = box.offset
          expect(output.length === 1 ? x : y + z * output[1]!).toBe(box.firstItem)
          const rows = (box.extent[1] ?? 1) * (box.extent[2] ?? 1)
          expect(output.length === 1 ? box.extent[0] : rows).toBe(box.items)
          // Whole planes only, or one of them.
          if (box.extent[2] !== undefined && box.extent[2] > 1)
            expect(box.extent[1]).toBe(output[1])
        }
        expect(next).toBe(hi)
      }),
    )
  })

  it('gives one box for all, and none for nothing', () => {
    expect(boxesOf([4, 3, 2], 0, 6)).toEqual([
      { offset: [0, 0, 0], extent: [4, 3, 2], firstItem: 0, items: 6 },
    ])
    expect(boxesOf([4, 3, 2], 2, 2)).toEqual([])
  })

  it('cuts planes that are not whole', () => {
    expect(boxesOf([4, 3, 9], 2, 14)).toEqual([
      { offset: [0, 2, 0], extent: [4, 1, 1], firstItem: 2, items: 1 },
      { offset: [0, 0, 1], extent: [4, 3, 3], firstItem: 3, items: 9 },
      { offset: [0, 0, 4], extent: [4, 2, 1], firstItem: 12, items: 2 },
    ])
  })
})

/** Kernels of any output, with each way to read where they are. */
const KERNELS: readonly ((axes: readonly string[]) => string)[] = [
  (axes) =>
    `function (m, p, n) { return ${axes.map((axis) => `this.thread.${axis} * 100`).join(' + ')} + n }`,
  (axes) => `function (m, p, n) {
    // what it is worth
    const at = this.thread.${axes.at(-1)}
    let sum = p[at][0] + p[this.thread.${axes.at(-1)}][1] /* both */
    for (let i = 0; i < 3; i++) sum += m[i][this.thread.x]
    for (let i = 0; i < this.output.x - 1; i++) { sum += i * at }
    return sum + n
  }`,
  (axes) => `function (m, p, n) {
    var sum = ${axes.map((axis) => `this.output.${axis}`).join(' * ')}
    if (this.thread.x === this.output.x - 1) return -sum
    { let k = this.thread.x; k++; sum += k }
    { let k = p[this.thread.${axes.at(-1)}][0]; k--; sum += k }
    return sum
  }`,
]

describe('rewriteKernel', () => {
  it('gives the values of the kernel as it was written, whatever the slices are', () => {
    fc.assert(
      fc.property(
        size,
        fc.array(fc.nat(81), { maxLength: 6 }),
        fc.nat(2),
        (output, cuts, which) => {
          const source = KERNELS[which]!(['x', 'y', 'z'].slice(0, output.length))
          const outer = output.at(-1)!
          const args: Given[] = [
            {
              data: Array.from({ length: output[0] * 3 }, (_, i) => i * 7),
              size: [output[0], 3],
              perItem: false,
            },
            {
              data: Array.from({ length: outer * 2 }, (_, i) => i * 11),
              size: [2, outer],
              perItem: true,
            },
            5,
          ]
          const given = facts({ output, args: [array(output[0], 3), slices(2, outer), number(5)] })
          const items = itemsOf(output)
          const got = inSlices(
            source,
            given,
            args,
            cuts.map((cut) => cut % items),
            (text) => asJavaScript(text, {}),
          )
          const want = asJavaScript(source, {})(output, args)
          expect(got).toHaveLength(elementsOf(output))
          expect(got).toEqual(want)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('adds one offset for each axis, behind the kernel’s own parameters', () => {
    const { source, params, offsets } = rewritten(
      'function (\n  a,\n  b,\n) { return a + b + this.thread.y }',
      facts({ output: [4, 4], args: [number(1), number(2)] }),
    )
    expect(params).toEqual(['a', 'b', 'mesh_x', 'mesh_y'])
    expect(offsets).toEqual(['mesh_x', 'mesh_y'])
    expect(source).toBe(
      'function (\n  a,\n  b, mesh_x, mesh_y) { return a + b + (this.thread.y + mesh_y) }',
    )
  })

  it.each<[string, string, Partial<KernelFacts>]>([
    ['return this.thread.x', 'return (this.thread.x + mesh_x)', {}],
    ['return this . thread /* of */ . x', 'return (this.thread.x + mesh_x)', {}],
    ['return this.thread.x', 'return this.thread.x', { output: [4, 4] }],
    ['return this.output.x * 2 - 1', 'return 127', {}],
    ['return 1 - this.output.x', 'return (-63)', {}],
    [
      'let a = 1.5; let b = 2\na--\n(++b)\nreturn a',
      'let a = 1.5; let b = 2\na -= 1;\n(++b)\nreturn a',
      {},
    ],
    [
      'let a = 1.5; if (a > 1) a--; else a++\nreturn a',
      'let a = 1.5; if (a > 1) a -= 1; else a += 1;\nreturn a',
      {},
    ],
    ['return (5 & 6) << ~-3 | 1', 'return 17', {}],
    ['let i = 0, q = 1; i++; q++; return i / q', 'let i = 0, q = 1; i++; q++; return i / q', {}],
    ['const a = 1 // é\n return a', 'let a = 1  \n return a', {}],
    ['let a = 1 /*\n*/ let b = 2; return a + b', 'let a = 1 \n let b = 2; return a + b', {}],
    [
      '{ let a = 1.5; a++ }\n{ var a = 2; a-- }\nreturn 1',
      '{ let a = 1.5; a += 1; }\n{ let mesh_2_a = 2; mesh_2_a -= 1; }\nreturn 1',
      {},
    ],
  ])('rewrites %j', (before, after, changes) => {
    const { source, offsets } = rewritten(`function () {${before}}`, facts(changes))
    expect(source).toBe(`function (${offsets.join(', ')}) {${after}}`)
  })

  it('changes nothing else', () => {
    const source = 'function (a) {\n\tlet  x=a ;;\n  return  x*2.50\n}'
    expect(rewritten(source, facts({ args: [number(1)] })).source).toBe(
      'function (a, mesh_x) {\n\tlet  x=a ;;\n  return  x*2.50\n}',
    )
  })
})
