/**
 * Does a device compute right? Some drivers do not. A few kernels, through gpu.js as any other, whose results are exact on every device
 * that keeps to IEEE 754 for sums, products and comparisons of f32: whole numbers and halves.
 */

import { refuseFallback } from './engine.ts'
import type { GpuJs } from './gpujs.ts'

interface KnownAnswer {
  readonly what: string
  readonly source: string
  readonly output: readonly number[]
  readonly arrays: readonly Float32Array[]
  readonly expected: (x: number, y: number, arrays: readonly Float32Array[]) => number
}

const SIDE = 67
const LENGTH = 1003

const ramp = (count: number, modulus: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => (i * 7919) % modulus)

const ANSWERS: readonly KnownAnswer[] = [
  {
    what: 'sums of products in a loop',
    source: `function (a, b) {
      let sum = 0;
      for (let i = 0; i < ${SIDE}; i++) { sum += a[this.thread.y * ${SIDE} + i] * b[i * ${SIDE} + this.thread.x]; }
      return sum;
    }`,
    output: [SIDE, SIDE],
    arrays: [ramp(SIDE * SIDE, 13), ramp(SIDE * SIDE, 17)],
    expected: (x, y, [a, b]) => {
      let sum = 0
      for (let i = 0; i < SIDE; i++) sum += a![y * SIDE + i]! * b![i * SIDE + x]!
      return sum
    },
  },
  {
    what: 'branches, comparisons and rounding',
    source: `function (a) {
      const v = a[this.thread.x] * 0.5 - 20;
      let r = 0;
      if (v < 0) { r = Math.floor(v) - 1; } else { r = Math.max(v, 7) * 4; }
      for (let i = 0; i < 9; i++) { if (r > 100) { break; } r = r + Math.abs(v); }
      return r + (this.thread.x & 3);
    }`,
    output: [LENGTH],
    arrays: [ramp(LENGTH, 101)],
    expected: (x, _, [a]) => {
      const v = a![x]! * 0.5 - 20
      let r = v < 0 ? Math.floor(v) - 1 : Math.max(v, 7) * 4
      for (let i = 0; i < 9 && r <= 100; i++) r += Math.abs(v)
      return r + (x & 3)
    },
  },
]

/** What came out wrong, as one sentence; '' when nothing did. */
export async function tryKnownAnswers(gpu: GpuJs): Promise<string> {
  for (const answer of ANSWERS) {
    const wrong = await tryOne(gpu, answer)
    if (wrong > 0) {
      const cells = answer.output.reduce((a, b) => a * b, 1)
      return `it computes wrong: ${answer.what}, ${wrong} of ${cells} results`
    }
  }
  return ''
}

async function tryOne(gpu: GpuJs, answer: KnownAnswer): Promise<number> {
  const { output, arrays, expected } = answer
  const kernel = gpu.createKernel(answer.source, {
    output,
    constants: {},
    argumentTypes: arrays.map(() => 'Array'),
    loopMaxIterations: 1000,
    precision: 'single',
    onRequestFallback: refuseFallback,
  })
  try {
    const result = (await kernel(...arrays)) as Float32Array | Float32Array[]
    const rows = Array.isArray(result) ? result : [result]
    let wrong = 0
    rows.forEach((row, y) => {
      row.forEach((value, x) => {
        if (value !== expected(x, y, arrays)) wrong++
      })
    })
    return wrong
  } finally {
    kernel.destroy()
  }
}
