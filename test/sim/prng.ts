/** mulberry32: small, fast, seeded; every failure replays from its seed. */
export class Prng {
  private state: number

  constructor(seed: number) {
    this.state = seed | 0
  }

  /** Uniform in [0, 1). */
  next = (): number => {
    this.state = (this.state + 0x6d2b79f5) | 0
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  between(low: number, high: number): number {
    return low + (high - low) * this.next()
  }

  /** Uniform in 0 .. n - 1. */
  int(n: number): number {
    return Math.floor(this.next() * n)
  }

  chance(probability: number): boolean {
    return probability > 0 && this.next() < probability
  }

  pick<T>(list: readonly T[]): T | undefined {
    return list[this.int(list.length)]
  }

  /** `count` of the list, no one twice. */
  sample<T>(list: readonly T[], count: number): T[] {
    const rest = [...list]
    const found: T[] = []
    while (found.length < count && rest.length > 0) {
      const i = this.int(rest.length)
      found.push(rest[i]!)
      rest[i] = rest.at(-1)!
      rest.pop()
    }
    return found
  }

  gauss(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next())
  }

  /** Mean 1; `sigma` is that of the logarithm. */
  logNormal(sigma: number): number {
    return Math.exp(sigma * this.gauss() - (sigma * sigma) / 2)
  }

  /** A generator of its own, so that what one part draws does not move the others. */
  fork(): Prng {
    return new Prng(Math.floor(this.next() * 4294967296))
  }
}
