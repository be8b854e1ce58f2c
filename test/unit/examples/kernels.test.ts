import { describe, expect, it, vi } from 'vitest'
import convolution, { edges } from '../../../examples/kernels/convolution.ts'
import mandelbrot from '../../../examples/kernels/mandelbrot.ts'
import { columnWaves, product, rowWaves } from '../../../examples/kernels/matmul.ts'
import monteCarlo, { FUTURES, MARKET } from '../../../examples/kernels/monte-carlo.ts'
import nBody, { crowd, discs, step } from '../../../examples/kernels/n-body.ts'
import { photograph } from '../../../examples/kernels/photograph.ts'
import {
  isPerItem,
  type Kernel,
  type KernelArray,
  type KernelInput,
} from '../../../src/gpu/define-kernel.ts'
import { kernelSpec } from '../../../src/gpu/kernel-spec.ts'
import type { Tolerance } from '../../../src/gpu/types.ts'
import {
  blackScholes,
  convolvedAt,
  type Grid,
  hash24,
  mandelbrotAt,
  nextBodyAt,
  priceByChance,
  productAt,
} from '../../helpers/kernel-references.ts'

// The examples import the package by its name; here they get its source, built or not. The matrices of 64 MiB are not for unit tests.
vi.mock('meshwork', () => import('../../../src/gpu/define-kernel.ts'))
vi.hoisted(() => {
  process.env.MATMUL_SIZE = '64'
})

type Element = (x: number, y?: number) => number

/** The kernel's function as plain JavaScript: numbers are f64, so that it is the reference's peer, not its copy. */
function runner(kernel: Kernel): Element {
  const compute = new Function(`return (${kernel.source})`)() as (...args: unknown[]) => number
  const args = kernel.args.map(plain)
  const [width, height = 1] = kernel.output
  const self = { thread: { x: 0, y: 0, z: 0 }, output: { x: width, y: height, z: 1 } }
  return (x, y = 0) => {
    self.thread = { x, y, z: 0 }
    return compute.apply({ ...self, constants: kernel.constants }, args)
  }
}

/** A number, a row, or a list of rows. */
function plain(input: KernelInput): unknown {
  const array = isPerItem(input) ? input.array : (input as KernelArray)
  if (!(typeof array === 'object' && 'data' in array)) return array
  const { data, size } = array as Grid
  const [width, height] = size as [number, number]
  return Array.from({ length: height }, (_, y) => data.subarray(y * width, (y + 1) * width))
}

interface Difference {
  /** Elements farther apart than the tolerance. */
  readonly outside: number
  /** The largest difference inside, as a share of what the tolerance allows. */
  readonly used: number
}

/** `places` as [x, y] pairs; see Tolerance for the rule. */
function compare(
  places: Iterable<readonly [number, number]>,
  result: Element,
  expected: Element,
  { absolute = 0, relative = 0 }: Tolerance,
): Difference & { readonly places: number } {
  let [count, outside, used] = [0, 0, 0]
  for (const [x, y] of places) {
    const [a, b] = [result(x, y), expected(x, y)]
    const share = a === b ? 0 : Math.abs(a - b) / (absolute + relative * Math.abs(b))
    count++
    if (share <= 1) used = Math.max(used, share)
    else outside++
  }
  return { places: count, outside, used }
}

/** Every `stride`-th place of a grid, another column in each row. */
function* scattered(
  width: number,
  height: number,
  stride: number,
): Generator<readonly [number, number]> {
  for (let at = 0; at < width * height; at += stride) yield [at % width, Math.floor(at / width)]
}

describe('every example is a kernel that may travel', () => {
  it.each([
    ['mandelbrot', mandelbrot, [2048, 2048]],
    ['matmul 4096', product(64), [64, 64]],
    ['n-body 4096', nBody, [6, 4096]],
    ['convolution', convolution, [512, 242]],
    ['monte-carlo', monteCarlo, [128, 96]],
  ] as const)('%s', (_, kernel, output) => {
    const { spec, arrays } = kernelSpec(kernel)
    expect(spec.output).toEqual(output)
    expect(arrays.size).toBe(spec.args.filter(({ kind }) => kind === 'array').length)
    expect(Object.keys(spec.tolerance)).not.toEqual([])
  })

  it('matmul sends a peer its rows of the first matrix, and the second whole', () => {
    const { spec } = kernelSpec(product(32))
    expect(spec.args.map((arg) => arg.kind === 'array' && arg.perItem)).toEqual([true, false])
  })
})

describe('mandelbrot', () => {
  const at = runner(mandelbrot)
  const { left, top, step } = mandelbrot.constants as Record<string, number>
  const reference: Element = (x, y = 0) => mandelbrotAt(left!, top!, step!, x, y)

  it('differs from strict f32 in few cells', () => {
    const { outside, places } = compare(
      scattered(2048, 2048, 509),
      at,
      reference,
      mandelbrot.tolerance,
    )
    expect(places).toBeGreaterThan(8000)
    expect(outside / places).toBeLessThan(mandelbrot.tolerance.cells!)
  })

  it('knows what is inside, and what leaves at once', () => {
    const place = (re: number, im: number) =>
      [Math.round((re - left!) / step!), Math.round((im - top!) / step!)] as const
    for (const [re, im] of [
      [0, 0],
      [-1, 0],
      [-0.1, 0.7],
      [0.3, 0.3],
    ] as const) {
      expect(at(...place(re, im))).toBe(0)
    }
    expect(at(...place(0.6, 1.3))).toBeGreaterThan(1)
    expect(at(...place(0.6, 1.3))).toBeLessThan(3)
  })

  it('is its own mirror image', () => {
    for (let x = 0; x < 2048; x += 97) expect(at(x, 1024 - 300)).toBeCloseTo(at(x, 1024 + 300), 6)
  })
})

describe('matmul', () => {
  const n = 96
  const kernel = product(n)
  const at = runner(kernel)
  const [a, b] = [rowWaves(n), columnWaves(n)]

  it('agrees with strict f32, far inside its tolerance', () => {
    const { places, outside, used } = compare(
      scattered(n, n, 1),
      at,
      (x, y = 0) => productAt(a, b, y, x),
      kernel.tolerance,
    )
    expect({ places, outside }).toEqual({ places: n * n, outside: 0 })
    expect(used).toBeLessThan(0.05)
  })

  it('is the product: (A B) v = A (B v) for any v (Freivalds 1977)', () => {
    const v = Array.from({ length: n }, (_, k) => Math.sin(3 * k))
    const times = ({ data }: Grid, w: readonly number[]) =>
      w.map((_, row) => w.reduce((sum, each, k) => sum + data[row * n + k]! * each, 0))
    const expected = times(a, times(b, v))
    for (let row = 0; row < n; row++) {
      const sum = v.reduce((total, each, x) => total + at(x, row) * each, 0)
      expect(sum).toBeCloseTo(expected[row]!, 9)
    }
  })

  it('shows a circle: bright where both waves are in step', () => {
    const middle = n / 2
    const onCircle = at(
      middle + Math.round(middle * Math.SQRT1_2),
      middle + Math.round(middle * Math.SQRT1_2),
    )
    expect(onCircle).toBeGreaterThan(0.4)
    expect(Math.abs(at(middle, middle))).toBeLessThan(0.1)
  })
})

describe('n-body', () => {
  const bodies = 64
  const start = discs(bodies)

  function advance(state: Float32Array): Float32Array {
    const at = runner(step(state))
    return state.map((_, index) => at(index % 6, Math.floor(index / 6)))
  }

  it('agrees with strict f32, over 20 steps', () => {
    const kernel = step(start)
    const { mass, time, soft } = kernel.constants as { mass: number; time: number; soft: number }
    let [state, expected] = [start, start]
    for (let times = 0; times < 20; times++) {
      const before = expected
      state = advance(state)
      expected = Float32Array.from(
        Array.from({ length: bodies }, (_, body) =>
          nextBodyAt(before, { mass, time, soft }, body),
        ).flat(),
      )
    }
    const { outside, used } = compare(
      scattered(6 * bodies, 1, 1),
      (index) => state[index]!,
      (index) => expected[index]!,
      kernel.tolerance,
    )
    expect(outside).toBe(0)
    expect(used).toBeLessThan(0.5)
    expect(state).not.toEqual(start)
  })

  it('keeps the momentum of all', () => {
    const after = advance(start)
    for (const axis of [3, 4, 5]) {
      const momentum = (state: Float32Array) =>
        state.reduce((sum, value, index) => (index % 6 === axis ? sum + value : sum), 0)
      expect(momentum(after)).toBeCloseTo(momentum(start), 5)
    }
  })

  it('lets two bodies fall towards each other, and a far one hardly', () => {
    const state = new Float32Array(18)
    state.set([-1, 0, 0], 0)
    state.set([1, 0, 0], 6)
    state.set([0, 1000, 0], 12)
    const after = advance(state)
    expect(after[3]).toBeCloseTo(0.01 / 3 / 4, 5)
    expect(after[6 + 3]).toBeCloseTo(-after[3]!, 9)
    expect(after[0]).toBeGreaterThan(-1)
    expect(Math.abs(after[12 + 4]!)).toBeLessThan(1e-6)
  })

  it('begins with two discs inside the picture', () => {
    const { data, size } = crowd(discs(1000), 50)
    const seen = data.reduce((sum, value) => sum + 2 ** value - 1, 0)
    expect(size).toEqual([50, 50])
    expect(Math.round(seen)).toBe(1000)
  })
})

describe('convolution', () => {
  const at = runner(convolution)
  const photo = photograph()
  const filter = edges(1.4)

  it('works on a photograph: many shades, a bright sky and a dark wood', () => {
    const [width, height] = photo.size
    expect(photo.data.length).toBe(width * height)
    expect(new Set(photo.data).size).toBeGreaterThan(150)
    const mean = (from: number, to: number) =>
      photo.data.subarray(from * width, to * width).reduce((sum, grey) => sum + grey, 0) /
      ((to - from) * width)
    expect(mean(0, 30)).toBeGreaterThan(mean(150, 180) + 0.1)
    // Neighbours are alike, as in no noise.
    let rough = 0
    for (let x = 1; x < width; x++) rough += Math.abs(photo.data[x]! - photo.data[x - 1]!)
    expect(rough / width).toBeLessThan(0.02)
  })

  it('agrees with strict f32, at borders and corners too', () => {
    const [width, height] = photo.size
    const corners = [0, width - 1].flatMap((x) => [0, height - 1].map((y) => [x, y] as const))
    const { outside, used, places } = compare(
      [...corners, ...scattered(width, height, 61)],
      at,
      (x, y = 0) => convolvedAt(photo, filter, x, y),
      convolution.tolerance,
    )
    expect(places).toBeGreaterThan(2000)
    expect(outside).toBe(0)
    expect(used).toBeLessThan(0.1)
  })

  it('has a filter that sees nothing where all is even', () => {
    expect(filter.data.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(0, 5)
    expect(filter.data[40]).toBeGreaterThan(0.9)
  })
})

describe('monte-carlo', () => {
  const at = runner(monteCarlo)
  const strikeOf = (x: number) => MARKET.lowestStrike + x * MARKET.strikeStep
  const yearsOf = (y: number) => MARKET.shortestYears + y * MARKET.yearsStep
  const chance = (x: number, y: number) =>
    priceByChance(MARKET, strikeOf(x), yearsOf(y), FUTURES / 4, y * 128 + x)
  const places = [...scattered(128, 96, 379)]

  it('agrees with strict f32, its hash by integer operations', () => {
    const { outside, used } = compare(
      places,
      at,
      (x, y = 0) => chance(x, y).price,
      monteCarlo.tolerance,
    )
    expect(places.length).toBeGreaterThan(30)
    expect(outside).toBe(0)
    expect(used).toBeLessThan(0.2)
  })

  it('comes to the prices of Black and Scholes, within its own error', () => {
    let squares = 0
    for (const [x, y] of places) {
      const { price, error } = chance(x, y)
      const off = (price - blackScholes(MARKET, strikeOf(x), yearsOf(y))) / error
      expect(Math.abs(off)).toBeLessThan(5)
      squares += off * off
    }
    // As random as it should be: neither too far off nor too near. 33 places: 5 sigma.
    const mean = squares / places.length
    expect(mean).toBeGreaterThan(0.3)
    expect(mean).toBeLessThan(2.2)
  })

  it('knows a price from a textbook: 100, strike 100, 5 %, 20 %, a year', () => {
    expect(blackScholes({ price: 100, rate: 0.05, volatility: 0.2 }, 100, 1)).toBeCloseTo(
      10.4506,
      4,
    )
  })

  it('hashes evenly, and neighbours apart', () => {
    const samples = 1 << 16
    const bins = new Float64Array(256)
    const pairs = new Float64Array(256)
    let before = 0
    for (let at = 0; at < samples; at++) {
      const value = hash24(at % 12_288, Math.floor(at / 12_288))
      bins[value >> 16]!++
      pairs[((before >> 20) << 4) | (value >> 20)]!++
      before = value
    }
    // Chi-squared of 256 cells is 255 ± 22.6.
    for (const counts of [bins, pairs]) {
      const even = samples / 256
      const chi = counts.reduce((sum, count) => sum + (count - even) ** 2 / even, 0)
      expect(chi).toBeGreaterThan(150)
      expect(chi).toBeLessThan(370)
    }
  })
})
