import type { Clock } from './clock.ts'
import type { Prng } from './prng.ts'

/** What the network does to messages. */
export interface NetworkFaults {
  /** One-way latency, ms, drawn anew for each message. */
  readonly latencyMs: readonly [number, number]
  /** Share of messages that never arrive. Entries they carried come with the next exchange of version vectors. */
  readonly loss: number
  /** When that is, ms after the loss. */
  readonly repairMs: readonly [number, number]
}

export const WIDE_AREA: NetworkFaults = {
  latencyMs: [20, 200],
  loss: 0.01,
  repairMs: [1_000, 2_000],
}

export const LOCAL_AREA: NetworkFaults = {
  latencyMs: [0.1, 0.5],
  loss: 0,
  repairMs: [1_000, 2_000],
}

/** Delays, loses and counts messages. */
export class Network {
  messages = 0
  private readonly clock: Clock
  private readonly prng: Prng
  readonly faults: NetworkFaults

  constructor(clock: Clock, prng: Prng, faults: NetworkFaults) {
    this.clock = clock
    this.prng = prng
    this.faults = faults
  }

  latency(hops = 1): number {
    let ms = 0
    for (let i = 0; i < hops; i += 1) ms += this.prng.between(...this.faults.latencyMs)
    return ms
  }

  /** A message that may be lost for good. */
  send(deliver: () => void): void {
    this.messages += 1
    if (!this.prng.chance(this.faults.loss)) this.clock.after(this.latency(), deliver)
  }

  /** A message that carries entries: when it is lost, they come later all the same. */
  replicate(hops: number, deliver: () => void): void {
    this.messages += 1
    const lost = this.prng.chance(this.faults.loss)
    const repair = lost ? this.prng.between(...this.faults.repairMs) : 0
    this.clock.after(this.latency(hops) + repair, deliver)
  }
}
