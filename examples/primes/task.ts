import { defineTask } from 'meshwork'

export interface PrimesArgs {
  /** How many numbers one item covers; even, default 1 000. */
  readonly block?: number
}

/** Odd primes from 3 on; kept by the worker process, and grown when a block needs more of them. */
let basePrimes = new Int32Array(0)
let baseLimit = 2

function growBase(limit: number): void {
  if (limit <= baseLimit) return
  const top = Math.max(limit, 2 * baseLimit)
  const composite = new Uint8Array(top + 1)
  const primes: number[] = []
  for (let n = 3; n <= top; n += 2) {
    if (composite[n] === 1) continue
    primes.push(n)
    for (let multiple = n * n; multiple <= top; multiple += 2 * n) composite[multiple] = 1
  }
  basePrimes = Int32Array.from(primes)
  baseLimit = top
}

/** How many primes p with lo <= p < hi, lo and hi even: a sieve of Eratosthenes over the odd numbers of the block. */
export function countPrimesIn(lo: number, hi: number): number {
  growBase(Math.floor(Math.sqrt(hi)) + 1)
  const odds = (hi - lo) / 2
  // Slot k stands for the number lo + 2k + 1.
  const composite = new Uint8Array(odds)
  for (const p of basePrimes) {
    if (p * p >= hi) break
    // The first odd multiple after lo, but never p itself.
    const gap = p - (lo % p)
    const first = Math.max(gap % 2 === 0 ? gap + p : gap, p * p - lo)
    for (let k = (first - 1) >> 1; k < odds; k += p) composite[k] = 1
  }
  let count = 0
  for (let k = 0; k < odds; k++) count += 1 - composite[k]!
  // 2 is the only even prime; 1 is none, though its slot stays empty: the two cancel out in the first block.
  return count
}

/** Item i counts the primes in [i × block, (i + 1) × block). */
export default defineTask({
  name: 'primes',
  module: import.meta.url,
  run(index: number, ctx): number {
    const { block = 1000 } = (ctx.args ?? {}) as PrimesArgs
    return countPrimesIn(index * block, (index + 1) * block)
  },
})
