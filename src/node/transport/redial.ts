import type { PeerId } from '../../scheduler/types.ts'
import { MAX_KNOWN_ADDRESSES, REDIAL_MAX_MS, REDIAL_MIN_MS, TIE_BREAK_MS } from './limits.ts'

interface Target {
  addresses: readonly string[]
  waitMs: number
  timer: NodeJS.Timeout | undefined
}

export interface RedialParts {
  readonly self: PeerId
  readonly connected: (peer: PeerId) => boolean
  readonly dial: (address: string) => Promise<unknown>
}

/** Keeps trying the peers it knows of while they are not connected: 1 s apart at first, 30 s at last. */
export class Redialer {
  private readonly parts: RedialParts
  private readonly targets = new Map<PeerId, Target>()
  private stopped = false

  constructor(parts: RedialParts) {
    this.parts = parts
  }

  /** Learns a peer's addresses; if it is not connected, the side with the smaller id dials, the other one later. */
  learn(peer: PeerId, addresses: readonly string[]): void {
    if (peer === this.parts.self || addresses.length === 0 || this.stopped) return
    const known = this.targets.get(peer)
    if (known !== undefined) {
      known.addresses = addresses
      if (!this.parts.connected(peer) && known.timer === undefined) this.schedule(peer, known, 0)
      return
    }
    if (this.targets.size >= MAX_KNOWN_ADDRESSES) return
    const target: Target = { addresses, waitMs: REDIAL_MIN_MS, timer: undefined }
    this.targets.set(peer, target)
    this.schedule(peer, target, this.parts.self < peer ? 0 : TIE_BREAK_MS)
  }

  lost(peer: PeerId): void {
    const target = this.targets.get(peer)
    if (target === undefined || target.timer !== undefined) return
    target.waitMs = REDIAL_MIN_MS
    this.schedule(peer, target, this.parts.self < peer ? target.waitMs : TIE_BREAK_MS)
  }

  addressesOf(peer: PeerId): readonly string[] {
    return this.targets.get(peer)?.addresses ?? []
  }

  stop(): void {
    this.stopped = true
    for (const target of this.targets.values()) clearTimeout(target.timer)
  }

  private schedule(peer: PeerId, target: Target, waitMs: number): void {
    target.timer = setTimeout(() => void this.attempt(peer, target), waitMs)
    target.timer.unref()
  }

  private async attempt(peer: PeerId, target: Target): Promise<void> {
    if (this.stopped || this.parts.connected(peer)) {
      target.timer = undefined
      return
    }
    for (const address of target.addresses) {
      try {
        await this.parts.dial(address)
        break
      } catch {
        // the next address, or later
      }
    }
    target.timer = undefined
    if (this.stopped || this.parts.connected(peer)) {
      target.waitMs = REDIAL_MIN_MS
      return
    }
    target.waitMs = Math.min(REDIAL_MAX_MS, target.waitMs * 2)
    this.schedule(peer, target, target.waitMs)
  }
}
