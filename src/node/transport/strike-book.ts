import type { PeerId } from '../../scheduler/types.ts'
import { MAX_STRIKE_COUNTERS, MAX_STRIKES, REFUSE_MS, STRIKE_WINDOW_MS } from './limits.ts'
import type { PeerStrikes } from './types.ts'

/** Counts what peers did wrong, and says whom to refuse for a while. */
export class StrikeBook {
  private readonly counts = new Map<
    string,
    { -readonly [K in keyof PeerStrikes]: PeerStrikes[K] }
  >()
  /** Times of each peer's strikes within the window, at most MAX_STRIKES. */
  private readonly recent = new Map<PeerId, number[]>()
  private readonly refused = new Map<PeerId, number>()
  private readonly now: () => number

  constructor(now: () => number) {
    this.now = now
  }

  /** Counts a fault; true when the peer is refused from now on. */
  add(peer: PeerId | 'unknown', reason: string): boolean {
    this.count(peer, reason)
    if (peer === 'unknown') return false
    const now = this.now()
    const times = (this.recent.get(peer) ?? []).filter((at) => now - at < STRIKE_WINDOW_MS)
    times.push(now)
    this.recent.delete(peer)
    if (times.length < MAX_STRIKES) {
      this.recent.set(peer, times)
      dropOldest(this.recent)
      return false
    }
    this.refused.set(peer, now + REFUSE_MS)
    dropOldest(this.refused)
    return true
  }

  isRefused(peer: PeerId): boolean {
    const until = this.refused.get(peer)
    if (until === undefined) return false
    if (this.now() < until) return true
    this.refused.delete(peer)
    return false
  }

  list(): PeerStrikes[] {
    return [...this.counts.values()].map((strike) => ({ ...strike }))
  }

  private count(peer: PeerId | 'unknown', reason: string): void {
    const key = `${peer}\n${reason}`
    const strike = this.counts.get(key) ?? { peer, reason, count: 0 }
    strike.count += 1
    this.counts.delete(key)
    this.counts.set(key, strike)
    dropOldest(this.counts)
  }
}

function dropOldest(map: Map<string, unknown>): void {
  if (map.size > MAX_STRIKE_COUNTERS) map.delete(map.keys().next().value!)
}
