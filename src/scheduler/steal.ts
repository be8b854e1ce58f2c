import { MIN_GRANT_MS } from './limits.ts'

export interface ShareSituation {
  /** Grains (items, or fixed chunks) that the victim has not started. */
  readonly left: number
  /** Grains per ms of the whole peer, if known. */
  readonly victimRate: number | undefined
  readonly thiefRate: number | undefined
  /** slots × speed, used where a rate is not known. */
  readonly victimPower: number
  readonly thiefPower: number
  readonly thiefSlots: number
  /** Milliseconds until the thief can start what it is granted. */
  readonly delayMs: number
  /** Milliseconds until a slot of the victim is expected to be free. */
  readonly waitMs: number
  /** Other peers that may come for the rest of what a victim without slots owns. */
  readonly otherThieves: number
}

/**
 * How many grains of its tail a victim grants: so many that both end at the same time, reckoning that granted work starts `delayMs`
 * later (Blumofe & Leiserson's half, weighted by speed). 0: the thief would not be sooner, or by less than it costs.
 */
export function stealShare(at: ShareSituation): number {
  const { left } = at
  if (left < 1) return 0
  if (at.victimPower <= 0) return at.otherThieves > 0 ? Math.ceil(left / 2) : left
  const rates = bothRates(at)
  if (rates === undefined) {
    const part = at.thiefPower / (at.thiefPower + at.victimPower)
    return Math.min(left, Math.max(1, Math.floor(left * part)))
  }
  const [victim, thief] = rates
  const ahead = left - at.delayMs * victim
  const share = Math.floor((ahead * thief) / (thief + victim))
  if (share >= 1) return share / thief < MIN_GRANT_MS ? 0 : Math.min(share, left)
  // Long items: one more here starts when a slot is free; there it starts as soon as it arrives.
  const itemMs = Math.max(1, at.thiefSlots) / thief
  if (itemMs < MIN_GRANT_MS) return 0
  const thiefMs = at.delayMs + itemMs
  const victimMs = at.waitMs + left / victim
  return thiefMs < victimMs ? 1 : 0
}

/** A rate that is not known is taken from the other's by slots × speed. */
function bothRates(at: ShareSituation): [victim: number, thief: number] | undefined {
  const thiefPower = at.thiefPower > 0 ? at.thiefPower : at.victimPower
  const ratio = thiefPower / at.victimPower
  if (at.victimRate !== undefined) return [at.victimRate, at.thiefRate ?? at.victimRate * ratio]
  if (at.thiefRate !== undefined) return [at.thiefRate / ratio, at.thiefRate]
  return undefined
}

/** Picks an index with probability proportional to its weight; undefined when all are 0. */
export function pickWeighted(weights: readonly number[], random: number): number | undefined {
  let total = 0
  for (const weight of weights) total += weight
  if (!(total > 0)) return undefined
  let at = random * total
  let last: number | undefined
  for (let i = 0; i < weights.length; i += 1) {
    if (!(weights[i]! > 0)) continue
    last = i
    at -= weights[i]!
    if (at < 0) return i
  }
  return last
}
