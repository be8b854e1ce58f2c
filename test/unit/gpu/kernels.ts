/** Kernels that every back end must run, each with a reference in strict f32: Math.fround after every operation. */
import { createHash } from 'node:crypto'
import type { KernelArg, KernelSpec, Size } from '../../../src/gpu/types.ts'

export interface Case {
  readonly spec: KernelSpec
  readonly arrays: readonly Float32Array[]
  /** All elements, in item order. */
  readonly reference: () => Float32Array
  /** Every operation is exact on every device; else only where f32 is kept to the letter. */
  readonly exact: boolean
}

export interface Given {
  readonly name: string
  readonly kernel: string
  readonly output: Size
  readonly args?: readonly (number | GivenArray)[]
  readonly constants?: Readonly<Record<string, number>>
  readonly loopMaxIterations?: number
}
interface GivenArray {
  readonly data: Float32Array
  readonly size: Size
  readonly perItem?: boolean
}

export function hashOf(data: Float32Array): string {
  return createHash('sha256').update(bytesOf(data)).digest('hex')
}

export function bytesOf(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

export function specOf(given: Given): { spec: KernelSpec; arrays: Float32Array[] } {
  const { name, kernel, output, args = [], constants = {}, loopMaxIterations = 1000 } = given
  const arrays: Float32Array[] = []
  const list = args.map((arg): KernelArg => {
    if (typeof arg === 'number') return { kind: 'number', value: arg }
    arrays.push(arg.data)
    const { size, perItem = false } = arg
    return { kind: 'array', hash: hashOf(arg.data), size, perItem }
  })
  const spec: KernelSpec = {
    ...{ v: 1, name, source: kernel, output, constants, args: list, loopMaxIterations },
    tolerance: {},
    requiresGpu: false,
  }
  return { spec, arrays }
}

const f = Math.fround

function fill(size: Size, at: (x: number, y: number, z: number) => number): Float32Array {
  const [x, y = 1, z = 1] = size
  const out = new Float32Array(x * y * z)
  let i = 0
  for (let k = 0; k < z; k++) {
    for (let j = 0; j < y; j++) for (let l = 0; l < x; l++) out[i++] = at(l, j, k)
  }
  return out
}

/** Whole numbers below `modulus`: sums and products of a few are exact. */
function whole(size: Size, modulus: number): Float32Array {
  let i = 0
  return fill(size, () => (i++ * 7919) % modulus)
}

function saxpy(): Case {
  const n = 1009
  const [x, y] = [whole([n], 101), whole([n], 89)]
  return {
    ...specOf({
      name: 'saxpy',
      kernel: 'function (a, x, y) { return a * x[this.thread.x] + y[this.thread.x]; }',
      output: [n],
      args: [3, { data: x, size: [n], perItem: true }, { data: y, size: [n], perItem: true }],
    }),
    reference: () => fill([n], (i) => 3 * x[i]! + y[i]!),
    exact: true,
  }
}

function matmul(): Case {
  const [n, k, m] = [37, 29, 41]
  const [a, b] = [whole([k, m], 13), whole([n, k], 17)]
  return {
    ...specOf({
      name: 'matmul',
      kernel: `function (a, b) {
        let sum = 0;
        for (let i = 0; i < this.constants.k; i++) {
          sum += a[this.thread.y][i] * b[i][this.thread.x];
        }
        return sum;
      }`,
      output: [n, m],
      args: [
        { data: a, size: [k, m], perItem: true },
        { data: b, size: [n, k] },
      ],
      constants: { k },
    }),
    reference: () =>
      fill([n, m], (x, y) => {
        let sum = 0
        for (let i = 0; i < k; i++) sum += a[y * k + i]! * b[i * n + x]!
        return sum
      }),
    exact: true,
  }
}

function mandelbrot(): Case {
  const size: Size = [61, 47]
  return {
    ...specOf({
      name: 'mandelbrot',
      kernel: `function (most) {
        const cx = this.thread.x / 20 - 2;
        const cy = this.thread.y / 20 - 1.2;
        let x = 0;
        let y = 0;
        let n = 0;
        for (let i = 0; i < most; i++) {
          if (x * x + y * y <= 4) {
            const t = x * x - y * y + cx;
            y = 2 * x * y + cy;
            x = t;
            n += 1;
          }
        }
        return n;
      }`,
      output: size,
      args: [200],
      loopMaxIterations: 200,
    }),
    reference: () =>
      fill(size, (px, py) => {
        const cx = f(f(px / 20) - 2)
        const cy = f(f(py / 20) - f(1.2))
        let [x, y, n] = [0, 0, 0]
        for (let i = 0; i < 200; i++) {
          if (f(f(x * x) + f(y * y)) > 4) break
          const t = f(f(f(x * x) - f(y * y)) + cx)
          y = f(f(f(2 * x) * y) + cy)
          x = t
          n++
        }
        return n
      }),
    exact: false,
  }
}

function nBody(): Case {
  const n = 203
  const bodies = fill([4, n], (x, y) => f(Math.sin(1 + y * 4 + x)))
  return {
    ...specOf({
      name: 'n-body',
      kernel: `function (bodies, n) {
        const axis = this.thread.x;
        const me = this.thread.y;
        let sum = 0;
        for (let i = 0; i < n; i++) {
          const dx = bodies[i][0] - bodies[me][0];
          const dy = bodies[i][1] - bodies[me][1];
          const dz = bodies[i][2] - bodies[me][2];
          const d = dx * dx + dy * dy + dz * dz + 0.01;
          sum += (bodies[i][axis] - bodies[me][axis]) / (d * Math.sqrt(d));
        }
        return sum;
      }`,
      output: [3, n],
      args: [{ data: bodies, size: [4, n] }, n],
      loopMaxIterations: n,
    }),
    reference: () =>
      fill([3, n], (axis, me) => {
        let sum = 0
        for (let i = 0; i < n; i++) {
          const [dx, dy, dz] = [0, 1, 2].map((k) => f(bodies[i * 4 + k]! - bodies[me * 4 + k]!))
          const squares = f(f(f(dx! * dx!) + f(dy! * dy!)) + f(dz! * dz!))
          const d = f(squares + f(0.01))
          const along = f(bodies[i * 4 + axis]! - bodies[me * 4 + axis]!)
          sum = f(sum + f(along / f(d * f(Math.sqrt(d)))))
        }
        return sum
      }),
    exact: false,
  }
}

function stencil(): Case {
  const size: Size = [11, 7, 9]
  const [sx, sy, sz] = size
  const grid = whole(size, 64)
  const at = (x: number, y: number, z: number): number =>
    grid[
      Math.min(Math.max(x, 0), sx - 1) +
        sx * (Math.min(Math.max(y, 0), sy - 1) + sy * Math.min(Math.max(z, 0), sz - 1))
    ]!
  return {
    ...specOf({
      name: 'stencil',
      kernel: `function (grid) {
        const x = this.thread.x;
        const y = this.thread.y;
        const z = this.thread.z;
        const x0 = Math.max(x - 1, 0);
        const x1 = Math.min(x + 1, this.output.x - 1);
        const y0 = Math.max(y - 1, 0);
        const y1 = Math.min(y + 1, this.output.y - 1);
        const z0 = Math.max(z - 1, 0);
        const z1 = Math.min(z + 1, this.output.z - 1);
        return grid[z][y][x] * 0.5 + (grid[z][y][x0] + grid[z][y][x1] + grid[z][y0][x]
          + grid[z][y1][x] + grid[z0][y][x] + grid[z1][y][x]) * 0.125;
      }`,
      output: size,
      args: [{ data: grid, size }],
    }),
    reference: () =>
      fill(size, (x, y, z) => {
        const around = at(x - 1, y, z) + at(x + 1, y, z) + at(x, y - 1, z)
        return (
          at(x, y, z) * 0.5 + (around + at(x, y + 1, z) + at(x, y, z - 1) + at(x, y, z + 1)) / 8
        )
      }),
    exact: true,
  }
}

/** Slices of a 3-D array, and of one with an element for each plane. */
function planes(): Case {
  const size: Size = [8, 5, 13]
  const [sx, sy, sz] = size
  const [field, scale] = [whole([sx, sy, sz], 97), whole([sz], 7)]
  return {
    ...specOf({
      name: 'planes',
      kernel: `function (field, scale) {
        return field[this.thread.z][this.thread.y][this.thread.x] * scale[this.thread.z]
          + this.thread.x + 100 * this.thread.y + 10000 * this.thread.z;
      }`,
      output: size,
      args: [
        { data: field, size, perItem: true },
        { data: scale, size: [sz], perItem: true },
      ],
    }),
    reference: () =>
      fill(size, (x, y, z) => field[x + sx * (y + sy * z)]! * scale[z]! + x + 100 * y + 10_000 * z),
    exact: true,
  }
}

/** More iterations than gpu.js grants on its own. */
function longLoop(): Case {
  const n = 5003
  return {
    ...specOf({
      name: 'long-loop',
      kernel: `function (n) {
        let count = 0;
        for (let i = 0; i < n; i++) { count += 1; }
        return count + this.thread.x;
      }`,
      output: [21],
      args: [n],
      loopMaxIterations: 6000,
    }),
    reference: () => fill([21], (x) => n + x),
    exact: true,
  }
}

export const CASES: readonly Case[] = [
  saxpy(),
  matmul(),
  mandelbrot(),
  nBody(),
  stencil(),
  planes(),
  longLoop(),
]

/** Runs far longer than any test. */
export const RUNAWAY: Given = {
  name: 'runaway',
  kernel: `function (n) {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) { sum = sum * 0.5 + this.thread.x; }
    }
    return sum;
  }`,
  output: [64],
  args: [16_777_216],
  loopMaxIterations: 16_777_216,
}
