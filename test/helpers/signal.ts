/** Wakes all who wait, each time it fires. */
export class Signal {
  private readonly waiting = new Set<() => void>()

  fire(): void {
    for (const wake of [...this.waiting]) wake()
  }

  /** Resolves when it fires next, or when `signal` aborts. */
  next(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.waiting.delete(wake)
        signal?.removeEventListener('abort', wake)
        resolve()
      }
      this.waiting.add(wake)
      signal?.addEventListener('abort', wake)
      if (signal?.aborted === true) wake()
    })
  }
}
