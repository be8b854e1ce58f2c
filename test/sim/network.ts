import type { Clock } from './clock.ts'
import type { NetworkFaults, Partition } from './faults.ts'
import type { Prng } from './prng.ts'

/** The end of a connection, as far as the network cares. */
export interface Endpoint {
  readonly index: number
}

/** Delays, loses, doubles and counts messages, and splits. */
export class Network {
  /** Messages by kind. */
  readonly sent: Record<string, number> = {}
  readonly faults: NetworkFaults
  private readonly clock: Clock
  private readonly prng: Prng
  private readonly splits: { partition: Partition; from: Set<number>; to: Set<number> }[] = []

  constructor(clock: Clock, prng: Prng, faults: NetworkFaults) {
    this.clock = clock
    this.prng = prng
    this.faults = faults
  }

  get messages(): number {
    let sum = 0
    for (const count of Object.values(this.sent)) sum += count
    return sum
  }

  latency(hops = 1): number {
    let ms = 0
    for (let i = 0; i < hops; i += 1) ms += this.prng.between(...this.faults.latencyMs)
    return ms
  }

  count(kind: string, messages = 1): void {
    this.sent[kind] = (this.sent[kind] ?? 0) + messages
  }

  /** A message on its way; `deliver` is called when it arrives, or never, or twice. */
  send(from: Endpoint, to: Endpoint, kind: string, deliver: () => void, hops = 1): void {
    const { faults, prng, clock } = this
    this.count(kind)
    const healMs = this.blockedUntil(from, to)
    if (healMs !== undefined) {
      if (prng.chance(faults.heldShare)) clock.at(healMs + this.latency(hops), deliver)
      return
    }
    if (prng.chance(faults.loss)) return
    const slower = prng.chance(faults.reordering) ? 10 : 1
    clock.after(this.latency(hops) * slower, deliver)
    if (prng.chance(faults.duplication)) clock.after(this.latency(hops) * 3, deliver)
  }

  split(partition: Partition): void {
    const split = { partition, from: new Set(partition.from), to: new Set(partition.to) }
    this.splits.push(split)
    this.clock.at(partition.endMs, () => this.splits.splice(this.splits.indexOf(split), 1))
  }

  /** When messages of `from` reach `to` again; undefined: they do. */
  blockedUntil(from: Endpoint, to: Endpoint): number | undefined {
    for (const { partition, from: a, to: b } of this.splits) {
      if (a.has(from.index) && b.has(to.index)) return partition.endMs
      if (partition.bothWays && a.has(to.index) && b.has(from.index)) return partition.endMs
    }
    return undefined
  }

  /** Whether a connection can be made. */
  joins(a: Endpoint, b: Endpoint): boolean {
    return this.blockedUntil(a, b) === undefined && this.blockedUntil(b, a) === undefined
  }
}
