/** Numbers for one fuzz case: the same seed gives the same case again. */
export class Random {
  private state: number

  constructor(seed: string) {
    // FNV-1a, then xorshift32: quick, and good enough to choose among mutations.
    let hash = 0x811c9dc5
    for (let i = 0; i < seed.length; i++) hash = Math.imul(hash ^ seed.charCodeAt(i), 0x01000193)
    this.state = hash >>> 0 || 1
  }

  /** Uniform in 0..below-1. */
  int(below: number): number {
    let x = this.state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.state = x >>> 0
    return Math.floor((this.state / 2 ** 32) * below)
  }

  /** True one time in `n`. */
  oneIn(n: number): boolean {
    return this.int(n) === 0
  }

  pick<T>(list: readonly T[]): T {
    return list[this.int(list.length)]!
  }

  /** Mostly few, now and then many. */
  count(most: number): number {
    return 1 + this.int(this.oneIn(8) ? most : Math.min(most, 4))
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.int(256))
  }
}
