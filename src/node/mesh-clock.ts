import type { PeerId } from '../scheduler/types.ts'
import { CLOCK_STEP_MS, MAX_CLOCK_READINGS, MAX_CLOCKS } from './limits.ts'

export interface MeshClockParts {
  /** Monotonic, ms. */
  readonly now: () => number
  /** What this machine's clock says, ms since 1970. */
  readonly wallClock: () => number
  /** A peer that is silent, or gone, has no say. */
  readonly live: (peer: PeerId) => boolean
  /** The mesh's clock is `now` + offsetMs; told when it moved by more than 50 ms. */
  readonly changed: (offsetMs: number) => void
}

/**
 * The mesh's wall clock: the median of the live peers' clocks, this one's too (docs/protocol.md, "Time"). Of an even number the
 * earlier of the middle two counts, so that of two peers the one that is ahead starts nothing early.
 */
export class MeshClock {
  private readonly parts: MeshClockParts
  /** By peer: by how much its clock is ahead of `now`, the last readings; the peer heard last is at the end. */
  private readonly readings = new Map<PeerId, number[]>()
  private told: number | undefined

  constructor(parts: MeshClockParts) {
    this.parts = parts
  }

  heard(peer: PeerId, ms: number): void {
    const before = this.readings.get(peer) ?? []
    const readings = [...before, ms - this.parts.now()].slice(-MAX_CLOCK_READINGS)
    this.readings.delete(peer)
    this.readings.set(peer, readings)
    for (const oldest of this.readings.keys()) {
      if (this.readings.size <= MAX_CLOCKS) break
      this.readings.delete(oldest)
    }
    this.look()
  }

  gone(peer: PeerId): void {
    if (this.readings.delete(peer)) this.look()
  }

  /** To be called now and then: this machine's clock may be set. */
  look(): void {
    const offsetMs = this.offset()
    if (this.told !== undefined && Math.abs(offsetMs - this.told) <= CLOCK_STEP_MS) return
    this.told = offsetMs
    this.parts.changed(offsetMs)
  }

  /** ms since 1970. */
  wall(): number {
    return Math.round(this.parts.now() + this.offset())
  }

  /** By how much this machine's clock is ahead of the mesh's, ms. */
  aheadMs(): number {
    return Math.round(this.own() - this.offset())
  }

  private own(): number {
    return this.parts.wallClock() - this.parts.now()
  }

  private offset(): number {
    const offsets = [this.own()]
    for (const [peer, readings] of this.readings) {
      // A reading is late by the time that it travelled and waited: the one that was least so is the greatest.
      if (this.parts.live(peer)) offsets.push(Math.max(...readings))
    }
    offsets.sort((a, b) => a - b)
    return offsets[(offsets.length - 1) >> 1]!
  }
}
