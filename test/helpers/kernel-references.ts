/**
 * The kernels of examples/kernels once more, element by element in plain JavaScript, each operation rounded to f32 as a strict device does
 * it, and written another way where there is one. Devices may fuse a multiplication and an addition, and have exp, log and cos of their own:
 * how far results may be apart is each kernel's `tolerance`.
 */
const f = Math.fround

export interface Grid {
  readonly data: Float32Array
  readonly size: readonly number[]
}

/** z -> z² + c from 0, at most 256 times, until |z|² > 256. */
export function mandelbrotAt(left: number, top: number, step: number, px: number, py: number) {
  const cx = f(f(left) + f(px * f(step)))
  const cy = f(f(top) + f(py * f(step)))
  let [re, im, steps] = [0, 0, 0]
  const norm = () => f(f(re * re) + f(im * im))
  while (steps < 256 && norm() <= 256) {
    const next = f(f(f(re * re) - f(im * im)) + cx)
    im = f(f(f(2 * re) * im) + cy)
    re = next
    steps++
  }
  if (norm() <= 256) return 0
  const smooth = f(f(steps + 4) - f(Math.log2(f(Math.log2(norm())))))
  return f(Math.log2(f(1 + smooth)))
}

export function productAt(a: Grid, b: Grid, row: number, column: number): number {
  const n = a.size[0]!
  let sum = 0
  for (let k = 0; k < n; k++) sum = f(sum + f(a.data[row * n + k]! * b.data[k * n + column]!))
  return sum
}

/** Kicks a body by what all pull, then lets it drift (symplectic Euler). */
export function nextBodyAt(
  state: Float32Array,
  { mass, time, soft }: { readonly mass: number; readonly time: number; readonly soft: number },
  body: number,
): number[] {
  const of = (index: number) => state.subarray(6 * index, 6 * index + 6)
  const own = of(body)
  const pull = [0, 0, 0]
  for (let other = 0; other < state.length / 6; other++) {
    const away = [0, 1, 2].map((axis) => f(of(other)[axis]! - own[axis]!))
    const square = away.reduce((sum, d, axis) => (axis === 0 ? f(d * d) : f(sum + f(d * d))), 0)
    const soften = f(square + f(soft))
    const cube = f(soften * f(Math.sqrt(soften)))
    for (const [axis, d] of away.entries()) pull[axis] = f(pull[axis]! + f(d / cube))
  }
  const velocity = pull.map((p, axis) => f(own[3 + axis]! + f(f(p * f(mass)) * f(time))))
  const place = velocity.map((v, axis) => f(own[axis]! + f(v * f(time))))
  return [...place, ...velocity]
}

export function convolvedAt(picture: Grid, filter: Grid, x: number, y: number): number {
  const [width, height] = picture.size as [number, number]
  const [side] = filter.size as [number]
  const inside = (at: number, end: number) => Math.min(end - 1, Math.max(0, at))
  let sum = 0
  for (const [at, weight] of filter.data.entries()) {
    const px = inside(x + (at % side) - (side >> 1), width)
    const py = inside(y + Math.floor(at / side) - (side >> 1), height)
    sum = f(sum + f(picture.data[py * width + px]! * weight))
  }
  return sum
}

/** A hash of 24 bits, by integer operations: six rounds of a Feistel network over halves of 12 bits. */
export function hash24(cell: number, draw: number): number {
  let [left, right, key] = [cell >> 12, cell & 0xfff, draw]
  for (let round = 0; round < 6; round++) {
    key = (key * 1229 + 2731) & 0xfff
    const mixed = (right + key) & 0xfff
    const square = (mixed * mixed) >> 6
    ;[left, right] = [right, (square + left) & 0xfff]
  }
  return (left << 12) | right
}

export interface Market {
  readonly price: number
  readonly rate: number
  readonly volatility: number
}

/** A call's price over random futures, four for each draw. */
export function priceByChance(
  { price, rate, volatility }: Market,
  strike: number,
  years: number,
  draws: number,
  cell: number,
): { readonly price: number; readonly error: number } {
  const spread = f(f(volatility) * f(Math.sqrt(years)))
  const drift = f(f(f(rate) * years) - f(f(f(0.5 * spread)) * spread))
  const middle = f(f(price) * f(Math.exp(drift)))
  const discount = f(Math.exp(f(-f(rate) * years)))
  let sum = 0
  // The four futures of a draw belong together: the spread of their means tells the error.
  let squares = 0
  for (let draw = 0; draw < draws; draw++) {
    const even = f(f(hash24(cell, 2 * draw) + 0.5) / 2 ** 24)
    const turn = f(f(hash24(cell, 2 * draw + 1) + 0.5) / 2 ** 24)
    const radius = f(spread * f(Math.sqrt(f(-2 * f(Math.log(even))))))
    const angle = f(f(6.2831853) * turn)
    const growths = [f(Math.cos(angle)), f(Math.sin(angle))].map((side) =>
      f(Math.exp(f(radius * side))),
    )
    const ends = growths.flatMap((growth) => [f(middle * growth), f(middle / growth)])
    const paid = ends.map((end) => Math.max(f(end - strike), 0))
    const both = [f(paid[0]! + paid[1]!), f(paid[2]! + paid[3]!)] as const
    sum = f(f(sum + both[0]) + both[1])
    squares += ((both[0] + both[1]) / 4) ** 2
  }
  const mean = sum / (4 * draws)
  const variance = Math.max(0, squares / draws - mean * mean)
  return {
    price: f(f(discount * sum) / f(4 * draws)),
    error: discount * Math.sqrt(variance / draws),
  }
}

/** Black and Scholes 1973: what a call is worth when futures are log-normal. */
export function blackScholes({ price, rate, volatility }: Market, strike: number, years: number) {
  const spread = volatility * Math.sqrt(years)
  const d1 = (Math.log(price / strike) + rate * years) / spread + spread / 2
  return price * normalBelow(d1) - strike * Math.exp(-rate * years) * normalBelow(d1 - spread)
}

/** Share of a normal distribution below x, by Simpson's rule: to 1e-9 here. */
function normalBelow(x: number): number {
  const steps = 2000
  const from = -9
  const width = (Math.max(from, x) - from) / steps
  let sum = 0
  for (let at = 0; at <= steps; at++) {
    const weight = at === 0 || at === steps ? 1 : at % 2 === 1 ? 4 : 2
    sum += weight * Math.exp(-((from + at * width) ** 2) / 2)
  }
  return (sum * width) / 3 / Math.sqrt(2 * Math.PI)
}
