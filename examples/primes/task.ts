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

/** Where the next block begins, and for each base prime in use the slot of its next odd multiple, counted from there. */
let nextLo = -1
let nextSlots = new Int32Array(0)
let inUse = 0

/** Slot of the first odd multiple of p at or after lo (and after p itself); slot k stands for the number lo + 2k + 1. */
function firstSlot(p: number, lo: number): number {
  const gap = p - (lo % p)
  return (Math.max(gap % 2 === 0 ? gap + p : gap, p * p - lo) - 1) / 2
}

/**
 * How many primes p with lo <= p < hi, lo and hi even: a sieve of Eratosthenes over the odd numbers of the block. A worker's
 * items mostly follow one another: then the sieve goes on where it stopped, which saves a division for each base prime.
 */
export function countPrimesIn(lo: number, hi: number): number {
  growBase(Math.floor(Math.sqrt(hi)) + 1)
  if (lo !== nextLo || nextSlots.length !== basePrimes.length) {
    nextSlots = new Int32Array(basePrimes.length)
    inUse = 0
  }
  while (inUse < basePrimes.length && basePrimes[inUse]! ** 2 < hi) {
    nextSlots[inUse] = firstSlot(basePrimes[inUse]!, lo)
    inUse++
  }
  const odds = (hi - lo) / 2
  const composite = new Uint8Array(odds)
  for (let i = 0; i < inUse; i++) {
    const p = basePrimes[i]!
    let slot = nextSlots[i]!
    for (; slot < odds; slot += p) composite[slot] = 1
    nextSlots[i] = slot - odds
  }
  nextLo = hi
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
