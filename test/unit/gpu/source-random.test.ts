import { type AnyNode, parseExpressionAt } from 'acorn'
import { expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { itemsOf } from '../../../src/base/extents.ts'
import type { Size } from '../../../src/gpu/types.ts'
import { Random } from '../fuzz/random.ts'
import { SEED } from '../fuzz/seed.ts'
import { CONSTANTS, RandomKernel } from './random-kernel.ts'
import { asJavaScript, elementsOf, type Given, inSlices } from './run-source.ts'
import { array, facts, number, slices } from './source-facts.ts'
import { onWebasm } from './webasm-source.ts'

/** MESH_KERNELS=5000 looks longer than CI does; MESH_FUZZ_SEED repeats a run. */
const KERNELS = Number(process.env.MESH_KERNELS ?? 150)
const LOOP_MAX = 50
/** Beyond, an f32 or an i32 may not hold what an f64 does, and whatever follows from it may be something else. */
const EXACT = 2 ** 22

it('a kernel that is not refused gives on WebAssembly what it gives as JavaScript, however it is sliced', () => {
  let accepted = 0
  let index = 0
  let elements = 0
  let compared = 0
  for (; accepted < KERNELS; index++) {
    const random = new Random(`${SEED} kernel ${index}`)
    try {
      const found = compare(random)
      if (found === undefined) continue
      accepted++
      elements += found.elements
      compared += found.compared
    } catch (cause) {
      throw new Error(`seed ${SEED}, kernel ${index}: ${String(cause)}`, { cause })
    }
  }
  // Most of them: else the check refuses what it need not.
  expect(accepted / index, `seed ${SEED}`).toBeGreaterThan(0.5)
  expect(compared / elements, `seed ${SEED}`).toBeGreaterThan(0.7)
}, 600_000)

/** How many elements there were; undefined when the check refuses the kernel. */
function compare(random: Random): { elements: number; compared: number } | undefined {
  const dimensions = 1 + random.int(3)
  const output = Array.from({ length: dimensions }, () => 2 + random.int(5)) as unknown as Size
  const source = new RandomKernel(random, dimensions).source()
  const outer = output.at(-1)!
  const args: Given[] = [
    { data: [-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5], size: [8], perItem: false },
    { data: [0, 1, 2, 3, 1.5, 2.5, -1, -2], size: [4, 2], perItem: false },
    { data: Array.from({ length: outer }, (_, i) => i * 0.25), size: [outer], perItem: true },
    3,
    1.25,
  ]
  const given = facts({
    output,
    constants: CONSTANTS,
    args: [array(8), array(4, 2), slices(outer), number(3), number(1.25)],
    loopMaxIterations: LOOP_MAX,
  })
  const cuts = Array.from({ length: random.int(3) }, () => random.int(itemsOf(output)))
  let got: number[]
  try {
    got = inSlices(source, given, args, cuts, onWebasm(CONSTANTS, LOOP_MAX))
  } catch (error) {
    if (isMeshError(error, 'ERR_MESH_KERNEL_INVALID')) return undefined
    throw new Error(`${String(error)}\n${source}`, { cause: error })
  }
  const want = asJavaScript(tracked(source), CONSTANTS)(output, args)
  expect(got, source).toHaveLength(elementsOf(output))
  let compared = 0
  got.forEach((value, i) => {
    if (Number.isNaN(want[i])) return
    compared++
    expect(agrees(value, want[i]!), `element ${i} is ${value}, not ${want[i]}:\n${source}`).toBe(
      true,
    )
  })
  return { elements: got.length, compared }
}

/** The same source, but that it returns NaN where a number on the way was too large. */
function tracked(source: string): string {
  const edits: { at: number; text: string }[] = []
  const visit = (node: AnyNode) => {
    if (node.type === 'BinaryExpression' || node.type === 'AssignmentExpression') {
      edits.push({ at: node.start, text: 'T(' }, { at: node.end, text: ')' })
    }
  }
  full(parseExpressionAt(source, 0, { ecmaVersion: 2020 }), visit)
  edits.sort((a, b) => a.at - b.at || (a.text === ')' ? -1 : 1))
  let text = ''
  let at = 0
  for (const edit of edits) {
    text += source.slice(at, edit.at) + edit.text
    at = edit.at
  }
  text += source.slice(at)
  return `(() => {
    let large = false
    const T = (value) => { large ||= !(Math.abs(value) < ${EXACT}); return value }
    const kernel = ${text}
    return function (...args) {
      large = false
      const value = kernel.apply(this, args)
      return large ? NaN : value
    }
  })()`
}

function full(node: AnyNode, visit: (node: AnyNode) => void): void {
  visit(node)
  for (const child of Object.values(node).flat()) {
    if (typeof child?.type === 'string') full(child, visit)
  }
}

function agrees(got: number, want: number): boolean {
  return Math.abs(got - want) <= 1e-5 * Math.abs(want)
}
