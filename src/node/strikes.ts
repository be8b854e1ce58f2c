import type { Logger } from '../base/logger.ts'
import type { PeerStrikes } from './transport/types.ts'

/** Distinct (peer, reason) pairs counted: bounds memory against a peer that invents reasons or ids. */
const MAX_COUNTERS = 1_000
const MAX_REASON_CHARS = 80

/** Counts what peers did wrong. A peer's fault never takes this one down; `mesh status` shows it. */
export class Strikes {
  private readonly counts = new Map<string, { peer: string; reason: string; count: number }>()
  private readonly log: Logger

  constructor(log: Logger) {
    this.log = log
  }

  add(peer: string, reason: string): void {
    const short = reason.slice(0, MAX_REASON_CHARS)
    const key = `${peer}\n${short}`
    const known = this.counts.get(key)
    if (known !== undefined) known.count += 1
    else if (this.counts.size < MAX_COUNTERS)
      this.counts.set(key, { peer, reason: short, count: 1 })
    this.log.warn('strike', { peer: peer.slice(0, 8), reason: short })
  }

  list(transport: readonly PeerStrikes[]): { peer: string; reason: string; count: number }[] {
    return [...this.counts.values(), ...transport].map((strike) => ({ ...strike }))
  }
}
