/** Kernels that must be accepted: what people write. */
import type { KernelFacts } from '../../../src/gpu/kernel-scope.ts'
import type { Given } from './run-source.ts'
import { array, facts, number, slices } from './source-facts.ts'

export interface Good {
  readonly source: string
  readonly given: KernelFacts
  readonly args: readonly Given[]
}

const ramp = (length: number, step = 0.25) => Array.from({ length }, (_, i) => (i % 17) * step)
const flat = (...size: number[]): Given => ({
  data: ramp(size.reduce((a, b) => a * b)),
  size: size as unknown as [number],
  perItem: false,
})

export const GOOD: Readonly<Record<string, Good>> = {
  mandelbrot: {
    source: `function () {
      const cr = (this.thread.x / this.output.x) * 3.5 - 2.5
      const ci = (this.thread.y / this.output.y) * 2 - 1
      let zr = 0
      let zi = 0
      let count = 0
      for (let i = 0; i < this.constants.depth && zr * zr + zi * zi <= 4; i++) {
        const next = zr * zr - zi * zi + cr
        zi = 2 * zr * zi + ci
        zr = next
        count++
      }
      return count
    }`,
    given: facts({ output: [16, 8], constants: { depth: 50 } }),
    args: [],
  },
  'matrix product': {
    source: `function (a, b) {
      let sum = 0
      for (let k = 0; k < this.constants.n; k++) sum += a[this.thread.y][k] * b[k][this.thread.x]
      return sum
    }`,
    given: facts({ output: [5, 6], constants: { n: 7 }, args: [slices(7, 6), array(5, 7)] }),
    args: [{ data: ramp(42), size: [7, 6], perItem: true }, flat(5, 7)],
  },
  'n bodies': {
    source: `function (p, n) {
      const x = p[this.thread.y][0], y = p[this.thread.y][1], z = p[this.thread.y][2]
      let f = 0
      for (let j = 0; j < n; j++) {
        const dx = p[j][0] - x, dy = p[j][1] - y, dz = p[j][2] - z
        const r = dx * dx + dy * dy + dz * dz + 0.5
        f += (this.thread.x === 0 ? dx : this.thread.x === 1 ? dy : dz) / (r * Math.sqrt(r))
      }
      return f
    }`,
    given: facts({ output: [3, 8], args: [array(3, 8), number(8)], loopMaxIterations: 8 }),
    args: [flat(3, 8), 8],
  },
  convolution: {
    source: `function (image, weights) {
      let sum = 0
      for (let dy = -1; dy <= 1; dy++) {
        for (let dx = -1; dx <= 1; dx++) {
          const y = Math.min(this.output.y - 1, Math.max(0, this.thread.y + dy))
          const x = Math.min(this.output.x - 1, Math.max(0, this.thread.x + dx))
          sum += image[y][x] * weights[dy + 1][dx + 1]
        }
      }
      return sum
    }`,
    given: facts({ output: [9, 7], args: [array(9, 7), array(3, 3)] }),
    args: [flat(9, 7), flat(3, 3)],
  },
  'a hash in place of random numbers': {
    source: `function (seed) {
      let h = (this.thread.x + seed) & 65535
      for (let i = 0; i < 3; i++) {
        h = (h ^ (h >> 7)) & 65535
        h = (h * 251 + 13) % 65536
      }
      return h / 65536
    }`,
    given: facts({ output: [50], args: [number(11)] }),
    args: [11],
  },
  'three dimensions': {
    source: `function (v, p) {
      const z = this.thread.z
      return v[z][this.thread.y][this.thread.x] + p[z][1] * this.output.z
    }`,
    given: facts({ output: [3, 4, 5], args: [array(3, 4, 5), slices(2, 5)] }),
    args: [flat(3, 4, 5), { data: ramp(10), size: [2, 5], perItem: true }],
  },
  'names used again side by side, with any keyword': {
    source: `function (n) {
      let sum = 0
      for (let i = 0; i < n; i++) { const v = i; sum += v }
      for (var i = n; i > 0; i--) { let v = i * 0.5; v++; sum += v }
      { const v = 3; sum -= v }
      return sum
    }`,
    given: facts({ output: [3], args: [number(6)], loopMaxIterations: 6 }),
    args: [6],
  },
  'a counter that gets a fraction keeps it': {
    source: `function () {
      let a = 0
      a++
      a = a + 0.5
      a++
      return a
    }`,
    given: facts({ output: [2] }),
    args: [],
  },
  'names that devices have a meaning for': {
    source: `function (vec3, sampler, fn, texture, uniform) {
      const float = vec3 + sampler, int = fn, discard = 1, struct = 2, loop = 3, f32 = 4, output = 5
      const thread = 6, main = 7, gid = 8, params = 9, result = 10, data_index = 11, LOOP_MAX = 12, x = 13
      return float + int + discard + struct + loop + f32 + output + thread + main + gid + params + result + data_index + LOOP_MAX + x + texture + uniform
    }`,
    given: facts({ output: [2], args: [1, 2, 3, 4, 5].map(number) }),
    args: [1, 2, 3, 4, 5],
  },
  'while and do…while': {
    source: `function (n) {
      let a = n
      while (a > 1) { if (a === 7) { a -= 2; continue } a -= 1 }
      do { a += 3 } while (a < 20)
      return a
    }`,
    given: facts({ output: [2], args: [number(9)], loopMaxIterations: 20 }),
    args: [9],
  },
  'a loop of 5000 with a literal bound': {
    source: `function () { let a = 0; for (let i = 0; i < 5000; i++) { a += 1 } return a }`,
    given: facts({ output: [2] }),
    args: [],
  },
  'a loop of 1000 that a device would end at 1000': {
    source: `function () { let a = 0; for (let i = 1000; i > 0 && a < 5000; i -= 1) a += 1; return a }`,
    given: facts({ output: [2] }),
    args: [],
  },
  'a step that multiplies': {
    source: `function (b) { let a = 0; for (let s = 1; s < 8; s *= 2) { if (s === 2) continue; a += b[s] } return a }`,
    given: facts({ output: [2], args: [array(8)] }),
    args: [flat(8)],
  },
  'every function of Math, to a rounding': {
    source: `function (n) {
      const x = 0.3 + this.thread.x * 0.05
      let a = Math.abs(-x) + Math.acos(x) + Math.acosh(1 + x) + Math.asin(x) + Math.asinh(x) + Math.atan(x)
      a += Math.atanh(x) + Math.cbrt(x) + Math.ceil(x) + Math.cos(x) + Math.cosh(x) + Math.exp(x) + Math.expm1(x)
      a += Math.floor(x) + Math.fround(x) + Math.log(x) + Math.log10(x) + Math.log1p(x) + Math.log2(x)
      a += Math.round(x) + Math.sign(x) + Math.sin(x) + Math.sinh(x) + Math.sqrt(x) + Math.tan(x) + Math.tanh(x)
      a += Math.trunc(x) + Math.atan2(x, n) + Math.max(x, n) + Math.min(x, n) + Math.pow(x, n)
      return a + Math.E + Math.PI + Math.SQRT2 + Math.SQRT1_2 + Math.LN2 + Math.LN10 + Math.LOG2E + Math.LOG10E
    }`,
    given: facts({ output: [8], args: [number(2.5)] }),
    args: [2.5],
  },
}
