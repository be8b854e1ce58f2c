import type { PeerId } from '../../scheduler/types.ts'
import { MAX_STRIKE_COUNTERS, MAX_STRIKES, REFUSE_MS } from './limits.ts'
import type { PeerStrikes } from './types.ts'

/** Counts what peers break, and refuses for a minute those that break much. */
export class StrikeBook {
  private readonly counts = new Map<
    string,
    { peer: PeerId | 'unknown'; reason: string; count: number }
  >()
  private readonly recent = new Map<PeerId, { count: number; until: number }>()

  add(peer: PeerId | undefined, reason: string): void {
    const key = `${peer ?? 'unknown'} ${reason}`
    const known = this.counts.get(key)
    if (known !== undefined) known.count += 1
    else if (this.counts.size < MAX_STRIKE_COUNTERS) {
      this.counts.set(key, { peer: peer ?? 'unknown', reason, count: 1 })
    }
    if (peer === undefined) return
    const now = performance.now()
    const recent = this.recent.get(peer)
    if (recent === undefined || recent.until < now) {
      if (this.recent.size >= MAX_STRIKE_COUNTERS) this.recent.clear()
      this.recent.set(peer, { count: 1, until: now + REFUSE_MS })
    } else {
      recent.count += 1
      recent.until = now + REFUSE_MS
    }
  }

  refused(peer: PeerId): boolean {
    const recent = this.recent.get(peer)
    return recent !== undefined && recent.count >= MAX_STRIKES && recent.until > performance.now()
  }

  list(): PeerStrikes[] {
    return [...this.counts.values()].map((strike) => ({ ...strike }))
  }
}
