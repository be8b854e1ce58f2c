import type { PeerId } from '../../scheduler/types.ts'
import { byUsefulness } from './addresses.ts'
import {
  DIAL_BACKOFF_MS,
  DIAL_HANDICAP_MS,
  FORGET_PEER_MS,
  MAX_ADDRESSES_PER_PEER,
  MAX_DIAL_BACKOFF_MS,
  MAX_KNOWN_PEERS,
  MAX_PARALLEL_DIALS,
  MAX_PARALLEL_SEEKS,
  MAX_SOUGHT_PEERS,
  SEEK_MS,
  SEEK_PART,
} from './limits.ts'

export interface DialerParts {
  readonly self: PeerId
  readonly connectedCount: () => number
  /** Connected and heard of, or about to be. */
  readonly isConnected: (peer: PeerId) => boolean
  /** Whether somebody takes connections at one of them. */
  readonly isReachable: (addresses: readonly string[]) => Promise<boolean>
  /** One try; resolves with who answered. */
  readonly dial: (addresses: readonly string[], peer: PeerId | undefined) => Promise<PeerId>
  /** Monotonic ms. */
  readonly now: () => number
  readonly random: () => number
}

interface Target {
  peer: PeerId | undefined
  addresses: string[]
  /** From the ticket or the command line: never forgotten. */
  kept: boolean
  failures: number
  dueAt: number
  heardAt: number
  /** Since when it is missing that was there, or ought to be: it is sought before it is dialled. */
  missingSince: number | undefined
  /** It was sought, and somebody is there. */
  found: boolean
  dialling: boolean
}

/**
 * Looks for the peers that are known and not connected: at once, then again after 1 s, 2 s, … 30 s. Of two peers that hear of
 * each other the one with the smaller id dials, the other one waits 2 s for it. One whose connection was lost is sought every
 * half second, later less often, by a bare TCP connection, and dialled when that stands: it is back soon after it can be.
 */
export class Dialer {
  private readonly parts: DialerParts
  /** By peer id, or by address where it is not known whose it is. */
  private readonly targets = new Map<string, Target>()
  private timer: NodeJS.Timeout | undefined
  private running = 0
  private seeking = 0
  private stopped = false

  constructor(parts: DialerParts) {
    this.parts = parts
  }

  /** Addresses to keep trying, whoever answers there. */
  keep(address: string, peer: PeerId | undefined): void {
    if (peer === this.parts.self) return
    this.note(peer ?? address, peer, [address], this.parts.now()).kept = true
    this.schedule()
  }

  /** A peer was heard of. */
  learn(peer: PeerId, addresses: readonly string[]): void {
    if (peer === this.parts.self || addresses.length === 0) return
    const now = this.parts.now()
    this.note(peer, peer, addresses, now + (this.parts.self < peer ? 0 : DIAL_HANDICAP_MS))
    this.schedule()
  }

  addressesOf(peer: PeerId): string[] {
    return this.targetsOf(peer).flatMap((target) => target.addresses)
  }

  connected(peer: PeerId): void {
    for (const target of this.targetsOf(peer)) {
      target.failures = 0
      target.missingSince = undefined
      target.found = false
    }
  }

  /** Its connection was lost, or is silent: look for it, the smaller id first. */
  missing(peer: PeerId): void {
    const handicapMs = this.parts.self < peer ? 0 : DIAL_HANDICAP_MS
    for (const target of this.targetsOf(peer)) {
      target.heardAt = this.parts.now()
      if (target.missingSince === undefined) target.dueAt = target.heardAt + SEEK_MS + handicapMs
      target.missingSince ??= target.heardAt
    }
    this.schedule()
  }

  /** Its connection was closed on purpose: leave it alone for so long. */
  shun(peer: PeerId, pauseMs: number): void {
    for (const target of this.targetsOf(peer)) {
      target.heardAt = this.parts.now()
      target.dueAt = target.heardAt + pauseMs
      target.missingSince = undefined
    }
    this.schedule()
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.timer)
    this.targets.clear()
  }

  private targetsOf(peer: PeerId): Target[] {
    return [...this.targets.values()].filter((target) => target.peer === peer)
  }

  private note(
    key: string,
    peer: PeerId | undefined,
    addresses: readonly string[],
    dueAt: number,
  ): Target {
    const heardAt = this.parts.now()
    let target = this.targets.get(key)
    if (target === undefined) {
      target = {
        ...{ peer, addresses: [], kept: false, failures: 0, dueAt, heardAt },
        ...{ missingSince: undefined, found: false, dialling: false },
      }
      this.targets.set(key, target)
      if (this.targets.size > MAX_KNOWN_PEERS) this.forgetOne()
    }
    target.heardAt = heardAt
    const before = new Set(target.addresses)
    if (addresses.some((address) => !before.has(address))) {
      const all = [...new Set([...addresses, ...target.addresses])]
      target.addresses = all.slice(0, MAX_ADDRESSES_PER_PEER).sort(byUsefulness)
      // A new address is a new chance.
      if (before.size > 0 && target.failures > 0) {
        target.failures = 0
        target.dueAt = Math.min(target.dueAt, Math.max(dueAt, heardAt + DIAL_BACKOFF_MS))
      }
    }
    return target
  }

  private forgetOne(): void {
    for (const [key, target] of this.targets) {
      if (target.kept || target.dialling) continue
      this.targets.delete(key)
      return
    }
  }

  private schedule(): void {
    if (this.stopped) return
    clearTimeout(this.timer)
    let dueAt = Infinity
    for (const target of this.targets.values()) {
      if (target.dialling || this.isHere(target) || !this.hasRoom(target)) continue
      dueAt = Math.min(dueAt, target.dueAt)
    }
    if (dueAt === Infinity) return
    const full = this.parts.connectedCount() >= MAX_SOUGHT_PEERS
    const waitMs = Math.max(full ? MAX_DIAL_BACKOFF_MS : 0, dueAt - this.parts.now())
    this.timer = setTimeout(() => this.tick(), waitMs)
  }

  private tick(): void {
    const now = this.parts.now()
    for (const [key, target] of this.targets) {
      if (this.parts.connectedCount() + this.running >= MAX_SOUGHT_PEERS) break
      if (target.dialling || target.dueAt > now || this.isHere(target)) continue
      if (!this.hasRoom(target)) continue
      if (!target.kept && now - target.heardAt > FORGET_PEER_MS) this.targets.delete(key)
      else if (isSought(target)) void this.seekOne(target)
      else void this.tryOne(target)
    }
    this.schedule()
  }

  private hasRoom(target: Target): boolean {
    return isSought(target) ? this.seeking < MAX_PARALLEL_SEEKS : this.running < MAX_PARALLEL_DIALS
  }

  private async seekOne(target: Target): Promise<void> {
    target.dialling = true
    this.seeking += 1
    target.found = await this.parts.isReachable(target.addresses)
    this.seeking -= 1
    target.dialling = false
    const now = this.parts.now()
    const pauseMs = Math.max(SEEK_MS, (now - (target.missingSince ?? now)) * SEEK_PART)
    target.dueAt = target.found
      ? now
      : now + Math.min(pauseMs, MAX_DIAL_BACKOFF_MS) * (0.8 + 0.4 * this.parts.random())
    this.schedule()
  }

  private async tryOne(target: Target): Promise<void> {
    target.dialling = true
    this.running += 1
    try {
      const peer = await this.parts.dial(target.addresses, target.peer)
      target.failures = 0
      target.peer ??= peer
      target.missingSince = undefined
    } catch {
      target.failures += 1
      if (target.kept) target.missingSince ??= this.parts.now()
    }
    target.found = false
    const backoffMs = Math.min(
      MAX_DIAL_BACKOFF_MS,
      DIAL_BACKOFF_MS * 2 ** Math.max(0, target.failures - 1),
    )
    target.dueAt = this.parts.now() + backoffMs * (0.8 + 0.4 * this.parts.random())
    target.dialling = false
    this.running -= 1
    this.schedule()
  }

  private isHere(target: Target): boolean {
    return target.peer !== undefined && this.parts.isConnected(target.peer)
  }
}

function isSought(target: Target): boolean {
  return target.missingSince !== undefined && !target.found
}
