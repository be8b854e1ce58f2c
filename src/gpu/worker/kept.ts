/** What a process keeps for the next launch, up to a number of bytes and of things; what was not used longest goes first. */

export interface Keepable {
  /** May grow while it is kept. */
  readonly bytes: number
  destroy(): void
}

export class Kept<T extends Keepable> {
  private readonly maxBytes: number
  private readonly maxCount: number
  /** In the order of their last use. */
  private readonly byKey = new Map<string, T>()

  constructor(maxBytes: number, maxCount: number) {
    this.maxBytes = maxBytes
    this.maxCount = maxCount
  }

  get bytes(): number {
    let sum = 0
    for (const it of this.byKey.values()) sum += it.bytes
    return sum
  }

  get size(): number {
    return this.byKey.size
  }

  /** Counts as a use. */
  get(key: string): T | undefined {
    const found = this.byKey.get(key)
    if (found === undefined) return undefined
    this.byKey.delete(key)
    this.byKey.set(key, found)
    return found
  }

  add(key: string, it: T): void {
    this.drop(key)
    this.byKey.set(key, it)
  }

  clear(): void {
    for (const key of [...this.byKey.keys()]) this.drop(key)
  }

  drop(key: string): void {
    this.byKey.get(key)?.destroy()
    this.byKey.delete(key)
  }

  /** Destroys the oldest until `extra` more bytes fit; never those of `inUse`. */
  makeRoom(extra: number, inUse: ReadonlySet<string>): void {
    let bytes = this.bytes + extra
    for (const [key, it] of this.byKey) {
      if (bytes <= this.maxBytes && this.byKey.size <= this.maxCount) return
      if (inUse.has(key)) continue
      bytes -= it.bytes
      this.drop(key)
    }
  }
}
