/** A timer for the soonest of what is due before the next regular look. */
export class Alarm {
  private readonly now: () => number
  /** What is due later waits for the regular look. */
  private readonly beforeMs: number
  private readonly ring: () => void
  private timer: NodeJS.Timeout | undefined
  private at = Number.POSITIVE_INFINITY
  private closed = false

  constructor(now: () => number, beforeMs: number, ring: () => void) {
    this.now = now
    this.beforeMs = beforeMs
    this.ring = ring
  }

  /** Rings in so many ms, unless it rings before. */
  set(ms: number): void {
    const at = this.now() + ms
    if (this.closed || at >= this.at || ms >= this.beforeMs) return
    this.at = at
    clearTimeout(this.timer)
    this.timer = setTimeout(this.ring, Math.ceil(ms))
    this.timer.unref()
  }

  /** Forgets when it was to ring. */
  reset(): void {
    clearTimeout(this.timer)
    this.at = Number.POSITIVE_INFINITY
  }

  close(): void {
    this.reset()
    this.closed = true
  }
}
