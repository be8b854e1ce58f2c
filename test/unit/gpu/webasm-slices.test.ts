/** A launch computes its cells in their place, or at the begin of a room that is too small for all: nobody can tell which, nor how it was cut. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { concatBytes } from '../../../src/base/bytes.ts'
import { elementsOf, itemsOf } from '../../../src/base/extents.ts'
import { encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import type { Size } from '../../../src/gpu/types.ts'
import { Planner } from '../../../src/gpu/worker/plan.ts'
import { compute } from '../../../src/gpu/worker/run-launch.ts'
import { WebasmEngine } from '../../../src/gpu/worker/webasm.ts'
import { bytesOf, hashOf, specOf } from './kernels.ts'

const DEPTH = 3
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mesh-slices-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Extents around those of a tile, which is 16 × 64. */
const wide = fc.constantFrom(1, 3, 4, 15, 16, 17, 32, 37)
const high = fc.constantFrom(1, 2, 63, 64, 65, 130)
const size: fc.Arbitrary<Size> = fc.oneof(
  fc.tuple(fc.constantFrom(1, 5, 64, 333)),
  fc.tuple(wide, high),
  fc.tuple(wide, fc.constantFrom(1, 3, 65), fc.constantFrom(1, 2, 5)),
)

function given(output: Size) {
  const x = output[0]
  const outer = output.at(-1)!
  const thread = ['this.thread.x', 'this.thread.y', 'this.thread.z'].slice(0, output.length)
  const last = thread.at(-1)!
  return specOf({
    name: 'slices',
    kernel: `function (columns, own, scale) {
      let sum = 0
      for (let i = 0; i < ${DEPTH}; i++) sum += columns[i][this.thread.x] * own[${last}][i]
      return sum * scale + ${thread.map((axis, i) => `${axis} * ${10 ** i}`).join(' + ')}
    }`,
    output,
    args: [
      { data: Float32Array.from({ length: x * DEPTH }, (_, i) => (i * 7) % 11), size: [x, DEPTH] },
      {
        data: Float32Array.from({ length: outer * DEPTH }, (_, i) => (i * 5) % 13),
        size: [DEPTH, outer],
        perItem: true,
      },
      2,
    ],
  })
}

/** Small whole numbers: exact in f32 in any order. */
function expected(output: Size, [columns, own]: readonly Float32Array[]): Float32Array {
  const [x, y = 1] = output
  return Float32Array.from({ length: elementsOf(output) }, (_, cell) => {
    const at = [cell % x, Math.floor(cell / x) % y, Math.floor(cell / (x * y))]
    const outer = at[output.length - 1]!
    let sum = 0
    for (let i = 0; i < DEPTH; i++) sum += columns![i * x + at[0]!]! * own![outer * DEPTH + i]!
    const place = at.slice(0, output.length).reduce((total, n, axis) => total + n * 10 ** axis, 0)
    return sum * 2 + place
  })
}

describe('slices on the CPU', () => {
  it('give every cell its value, in a room for all of the output and in one for less', async () => {
    await fc.assert(
      fc.asyncProperty(
        size,
        fc.array(fc.nat(400), { maxLength: 4 }),
        fc.boolean(),
        async (output, marks, isSmall) => {
          const { spec, arrays } = given(output)
          const files: Record<string, string> = {}
          for (const data of arrays) {
            const hash = hashOf(data)
            files[hash] = join(folder, hash)
            writeFileSync(files[hash], bytesOf(data))
          }
          // Of 1 byte: as much as the launch at hand needs.
          const engine = new WebasmEngine(isSmall ? 1 : undefined)
          const planner = new Planner()
          const items = itemsOf(output)
          const inside = marks.map((mark) => mark % items).sort((a, b) => a - b)
          const cuts = [...new Set([0, ...inside, items])]
          const parts: Uint8Array[] = []
          // From the end, so that places in between are launched first.
          for (let i = cuts.length - 2; i >= 0; i--) {
            const message = { key: 'k', spec: encodeKernelSpec(spec), files }
            const range = { lo: cuts[i]!, hi: cuts[i + 1]! }
            const { parts: got } = await compute(
              engine,
              planner,
              { ...message, ...range },
              () => {},
            )
            parts.unshift(...got.map((part) => part.slice()))
          }
          engine.forget()
          const all = concatBytes(parts)
          expect([...new Float32Array(all.buffer, all.byteOffset, all.byteLength / 4)]).toEqual([
            ...expected(output, arrays),
          ])
        },
      ),
      { numRuns: 60 },
    )
  })
})
