interface Event {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

/** So many events at one instant are a loop that stands still. */
const MAX_EVENTS_AT_ONCE = 2_000_000

/** Virtual time: a binary heap of events; those of one instant run in the order in which they were set. */
export class Clock {
  now = 0
  private readonly heap: Event[] = []
  private order = 0
  private same = 0

  get pending(): number {
    return this.heap.length
  }

  at(time: number, run: () => void): void {
    const event = { at: Math.max(time, this.now), order: this.order++, run }
    const { heap } = this
    let i = heap.length
    heap.push(event)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!before(event, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = event
  }

  after(delay: number, run: () => void): void {
    this.at(this.now + delay, run)
  }

  /** Runs the next event; false when there is none. */
  step(): boolean {
    const { heap } = this
    const first = heap[0]
    if (first === undefined) return false
    const last = heap.pop()!
    if (heap.length > 0) this.sink(last)
    this.same = first.at === this.now ? this.same + 1 : 0
    if (this.same > MAX_EVENTS_AT_ONCE) throw new Error(`time stands still at ${this.now}`)
    this.now = first.at
    first.run()
    return true
  }

  private sink(event: Event): void {
    const { heap } = this
    let i = 0
    for (;;) {
      let child = 2 * i + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1
      if (!before(heap[child]!, event)) break
      heap[i] = heap[child]!
      i = child
    }
    heap[i] = event
  }
}

function before(a: Event, b: Event): boolean {
  return a.at !== b.at ? a.at < b.at : a.order < b.order
}
