import { MAX_SEEDS, SEED_SPLIT_FACTOR } from './limits.ts'
import type { Plan } from './plan.ts'
import { neededItems } from './plan-check.ts'
import { byPower, lendersOf, powerFor } from './seeds.ts'
import type { PeerFacts, Range, Seed } from './types.ts'

/**
 * Seeds of a composition, at most MAX_SEEDS. Items of each large node are split by power, all in the same proportions, so that the
 * stages of what goes item by item stay where they were. Small nodes between them go round in runs of neighbours. Whoever cannot run
 * the job lends no slots, or is left out.
 */
export function planSeeds(plan: Plan, self: PeerFacts, peers: readonly PeerFacts[]): Seed[] {
  const power = (peer: PeerFacts): number => powerFor(peer)
  const lenders = lendersOf(self, peers, power)
  if (lenders.length === 0) return []
  const slots = lenders.reduce((sum, peer) => sum + peer.slots, 0)
  const parts = partsOf(plan, splitFrom(plan, slots, lenders.length))
  const small = parts.reduce((sum, part) => sum + (part.split ? 0 : part.hi - part.lo), 0)
  const splits = parts.filter(({ split }) => split).length
  const left = MAX_SEEDS - splits * lenders.length - (parts.length - splits)
  const dealer = new Dealer(lenders)
  const tied = tiedItems(plan)
  const seeds: Seed[] = []
  for (const part of parts) {
    if (part.split) {
      cut(part, byPower(part.hi - part.lo, lenders, power), lenders, seeds)
      continue
    }
    const items = part.hi - part.lo
    // Few items: as many as the nearest has slots stay together, since they may need each other.
    const most = 1 + Math.floor((Math.max(0, left) * items) / Math.max(1, small))
    const run = Math.ceil(items / Math.min(most, Math.ceil(items / Math.max(1, lenders[0]!.slots))))
    for (let lo = part.lo, hi = lo; lo < part.hi; lo = hi) {
      hi = Math.min(part.hi, lo + run)
      while (hi < part.hi && tied.has(hi)) hi += 1
      join(seeds, { lo, hi, to: dealer.next(hi - lo).session })
    }
  }
  return seeds
}

/** First items of nodes that wait for the item before them: on another peer they would wait longer, and nothing would be won. */
function tiedItems(plan: Plan): Set<number> {
  const tied = new Set<number>()
  let at = 0
  for (const node of plan.nodes) {
    for (const { lo, hi } of neededItems(node)) if (lo < at && hi === at) tied.add(at)
    at += node.count
  }
  return tied
}

/** The least count of a node that is split: the largest nodes, as far as there are seeds. */
function splitFrom({ nodes }: Plan, slots: number, lenders: number): number {
  if (lenders === 1) return Number.POSITIVE_INFINITY
  const least = SEED_SPLIT_FACTOR * slots
  const large = nodes.flatMap(({ count }) => (count >= least ? [count] : []))
  // Each may have small ones after it.
  const room = Math.floor((MAX_SEEDS - 1) / (lenders + 1))
  if (large.length <= room) return least
  large.sort((a, b) => b - a)
  return room === 0 ? Number.POSITIVE_INFINITY : large[room - 1]! + 1
}

interface Part extends Range {
  readonly split: boolean
}

function partsOf({ nodes }: Plan, from: number): Part[] {
  const parts: Part[] = []
  let at = 0
  for (const { count } of nodes) {
    const split = count >= from
    const last = parts.at(-1)
    if (!split && last?.split === false) parts[parts.length - 1] = { ...last, hi: at + count }
    else parts.push({ lo: at, hi: at + count, split })
    at += count
  }
  return parts
}

function cut(
  part: Range,
  shares: readonly number[],
  lenders: readonly PeerFacts[],
  seeds: Seed[],
): void {
  let at = part.lo
  for (const [i, share] of shares.entries()) {
    if (share > 0) join(seeds, { lo: at, hi: at + share, to: lenders[i]!.session })
    at += share
  }
}

/** Neighbours of one peer are one seed. */
function join(seeds: Seed[], seed: Seed): void {
  const last = seeds.at(-1)
  if (last?.hi === seed.lo && last.to === seed.to)
    seeds[seeds.length - 1] = { ...last, hi: seed.hi }
  else seeds.push(seed)
}

/** Deals out items one run after another, in proportion to power, the nearest peer first. */
class Dealer {
  private readonly lenders: readonly PeerFacts[]
  private readonly dealt: number[]

  constructor(lenders: readonly PeerFacts[]) {
    this.lenders = lenders
    this.dealt = lenders.map(() => 0)
  }

  next(items: number): PeerFacts {
    let best = 0
    for (const [i, peer] of this.lenders.entries()) {
      const load = this.dealt[i]! / powerFor(peer)
      if (load < this.dealt[best]! / powerFor(this.lenders[best]!)) best = i
    }
    this.dealt[best]! += items
    return this.lenders[best]!
  }
}
