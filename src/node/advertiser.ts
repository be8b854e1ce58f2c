import type { PeerFacts } from '../scheduler/types.ts'
import { ADVERT_MIN_INTERVAL_MS } from './limits.ts'
import { LEFT_LABEL, machineFacts } from './roster.ts'
import type { GpuFacts } from './types.ts'
import { type Advert, encodeAdvert } from './wire/advert.ts'

export interface AdvertiserParts {
  readonly facts: PeerFacts
  readonly name: string
  readonly version: string
  readonly addresses: () => string[]
  readonly busySlots: () => number
  /** Items this peer has finished since its start, all jobs in memory. */
  readonly itemsDone: () => number
  readonly sign: (hash: Uint8Array) => Uint8Array
  readonly publish: (advert: Uint8Array) => void
  readonly now: () => number
  /** Words that others heed (roster.ts): why this peer takes nothing. */
  readonly labels?: () => Readonly<Record<string, string>>
  /** False: it lends nothing for now. */
  readonly lends?: () => boolean
  /** What kernels run on, once it is known. */
  readonly gpu?: () => GpuFacts | null
}

const RATE_WINDOW_MS = 5_000
const MIN_RATE_WINDOW_MS = 100

/** What this peer says of itself, signed; gossiped at once when asked, but not more often than every 2 s. */
export class Advertiser {
  private readonly parts: AdvertiserParts
  private readonly samples: { at: number; items: number }[] = []
  private seq = 0
  private publishedAt = -Infinity
  private later: NodeJS.Timeout | undefined

  constructor(parts: AdvertiserParts) {
    this.parts = parts
  }

  advert(): Advert {
    const { facts, name, version, addresses, busySlots } = this.parts
    const slots = this.parts.lends?.() === false ? 0 : facts.slots
    return {
      peer: facts.peer,
      session: facts.session,
      sessionNumber: facts.sessionNumber,
      version,
      name,
      addresses: addresses(),
      ...machineFacts(),
      slots,
      freeSlots: Math.max(0, slots - busySlots()),
      gpu: this.parts.gpu?.() ?? null,
      speed: facts.speed,
      itemsPerSecond: Math.round(this.itemsPerSecond()),
      seq: this.seq,
      labels: this.parts.labels?.() ?? {},
    }
  }

  signed(): Uint8Array {
    this.seq += 1
    return encodeAdvert(this.advert(), this.parts.sign)
  }

  /** The last one: lends nothing any more. */
  leaving(): Uint8Array {
    this.seq += 1
    const labels = { [LEFT_LABEL]: '1' }
    return encodeAdvert({ ...this.advert(), slots: 0, freeSlots: 0, labels }, this.parts.sign)
  }

  publish(): void {
    const waitMs = this.publishedAt + ADVERT_MIN_INTERVAL_MS - this.parts.now()
    if (waitMs > 0) {
      this.later ??= setTimeout(() => {
        this.later = undefined
        this.publish()
      }, waitMs)
      return
    }
    this.publishedAt = this.parts.now()
    this.parts.publish(this.signed())
  }

  close(): void {
    clearTimeout(this.later)
  }

  private itemsPerSecond(): number {
    const at = this.parts.now()
    const { samples } = this
    samples.push({ at, items: this.parts.itemsDone() })
    while (samples.length > 2 && samples[1]!.at < at - RATE_WINDOW_MS) samples.shift()
    const ms = at - samples[0]!.at
    if (ms < MIN_RATE_WINDOW_MS) return 0
    return Math.max(0, ((samples.at(-1)!.items - samples[0]!.items) * 1000) / ms)
  }
}
