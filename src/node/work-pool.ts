/** Runs work a few at a time: `add` waits for a free place, so that a long list is never queued as a whole. */
export class WorkPool {
  private readonly size: number
  private readonly signal: AbortSignal
  private readonly running = new Set<Promise<void>>()

  constructor(size: number, signal: AbortSignal) {
    this.size = size
    this.signal = signal
  }

  /** Resolves when the work has begun (or will never, after an abort). What it throws is its own business. */
  async add(work: () => Promise<void>): Promise<void> {
    while (this.running.size >= this.size) await Promise.race(this.running)
    if (this.signal.aborted) return
    const mine: Promise<void> = work()
      .catch(() => undefined)
      .finally(() => this.running.delete(mine))
    this.running.add(mine)
  }

  async idle(): Promise<void> {
    while (this.running.size > 0) await Promise.race(this.running)
  }
}
