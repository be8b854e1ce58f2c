import type { PeerId } from '../../scheduler/types.ts'
import {
  DEAD_CONNECTION_MS,
  PULSE_MS,
  QUIET_MS,
  QUIET_PER_CONNECTION_MS,
  RTT_INTERVAL_MS,
  SILENT_MS,
  SLEPT_MS,
} from './limits.ts'

/** What it needs of a link (link.ts). */
export interface Pulsing {
  readonly peer: PeerId
  readonly answersPings: boolean
  readonly bytesHeard: number
  silent: boolean
  ping(): void
  abort(reason: string): void
}

export interface PulseParts {
  readonly links: () => Iterable<Pulsing>
  /** Nothing is heard of a peer though it was asked: look for it, its connection may be dead. */
  readonly onSilent: (peer: PeerId) => void
  /** It is heard again, on the connection that stood. */
  readonly onHeard: (peer: PeerId) => void
  /** Monotonic ms. */
  readonly now: () => number
}

interface Heard {
  bytes: number
  at: number
  /** When it was asked for a sign of life and gave none yet. */
  askedAt: number | undefined
  pingedAt: number
}

/**
 * Knows which connections are alive: a TCP connection does not tell when the cable is pulled, or the machine at the other end gone.
 *
 *     heard -> quiet (pinged) -> silent (looked for) -> given up
 *     quiet | silent -> heard
 */
export class Pulse {
  private readonly parts: PulseParts
  private heard = new Map<Pulsing, Heard>()
  private lookedAt: number
  private readonly timer: NodeJS.Timeout

  constructor(parts: PulseParts) {
    this.parts = parts
    this.lookedAt = parts.now()
    this.timer = setInterval(() => this.look(), PULSE_MS)
    this.timer.unref()
  }

  stop(): void {
    clearInterval(this.timer)
    this.heard.clear()
  }

  /** One look at all connections; the timer calls it. */
  look(): void {
    const now = this.parts.now()
    const lateMs = now - this.lookedAt - PULSE_MS
    this.lookedAt = now
    // While this peer slept nobody could be heard: that time does not count, and who is there now shows at once.
    const sleptMs = lateMs > SLEPT_MS ? lateMs : 0
    const links = [...this.parts.links()]
    const quietMs = Math.max(QUIET_MS, links.length * QUIET_PER_CONNECTION_MS)
    const before = this.heard
    this.heard = new Map()
    for (const link of links) {
      if (!link.answersPings) continue
      const one = before.get(link) ?? {
        bytes: -1,
        at: now,
        askedAt: undefined,
        pingedAt: -Infinity,
      }
      this.heard.set(link, one)
      one.at += sleptMs
      if (sleptMs > 0) one.askedAt = undefined
      this.check(link, one, now)
      const quiet = now - one.at >= quietMs || sleptMs > 0
      if (quiet && one.askedAt === undefined) one.askedAt = one.pingedAt = now
      else if (now - one.pingedAt >= RTT_INTERVAL_MS) one.pingedAt = now
      if (one.pingedAt === now) link.ping()
    }
  }

  private check(link: Pulsing, one: Heard, now: number): void {
    const { bytesHeard } = link
    if (bytesHeard !== one.bytes) {
      one.bytes = bytesHeard
      one.at = now
      one.askedAt = undefined
      if (!link.silent) return
      link.silent = false
      this.parts.onHeard(link.peer)
    } else if (now - one.at >= DEAD_CONNECTION_MS) {
      link.abort('nothing was heard for 30 s')
    } else if (one.askedAt !== undefined && now - one.askedAt >= SILENT_MS && !link.silent) {
      link.silent = true
      this.parts.onSilent(link.peer)
    }
  }
}
