/** An item that threw, and that is tried again here after a while. */
export interface DelayedItem {
  readonly item: number
  readonly at: number
  /** Which try that will be. */
  readonly attempt: number
}

/** Items that wait for their next try, in the order of their times. */
export class DelayedItems {
  private readonly waiting: DelayedItem[] = []

  get size(): number {
    return this.waiting.length
  }

  /** When the next one may start. */
  get nextAt(): number | undefined {
    return this.waiting[0]?.at
  }

  /** The next one. */
  get first(): number | undefined {
    return this.waiting[0]?.item
  }

  isDue(now: number): boolean {
    const next = this.waiting[0]
    return next !== undefined && next.at <= now
  }

  add(delayed: DelayedItem): void {
    const { waiting } = this
    let low = 0
    let high = waiting.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (waiting[middle]!.at <= delayed.at) low = middle + 1
      else high = middle
    }
    waiting.splice(low, 0, delayed)
  }

  /** waiting -> to be started. */
  takeDue(now: number): DelayedItem | undefined {
    return this.isDue(now) ? this.waiting.shift() : undefined
  }

  /** Takes those within [lo, hi) out. */
  remove(lo: number, hi: number): number[] {
    if (this.waiting.length === 0) return []
    const items: number[] = []
    for (let i = this.waiting.length - 1; i >= 0; i -= 1) {
      const { item } = this.waiting[i]!
      if (item < lo || item >= hi) continue
      items.push(item)
      this.waiting.splice(i, 1)
    }
    return items
  }
}
