import { MAX_SEEDS } from './limits.ts'
import { pickWeighted } from './steal.ts'
import type { JobSpec, PeerFacts, Requires, Seed } from './types.ts'

/** What of a job says who can run it. */
type Needs = Pick<JobSpec, 'task' | 'options'>

/**
 * Splits items 0..count-1 by slots × speed among the peers that lend slots, `self` first, at most MAX_SEEDS of them (the strongest).
 * Bounds are multiples of `grain`. When there are fewer grains than slots each slot gets at most one, the nearest peer's first; with
 * `random`, where `self` has no slot to spare, those of peers by chance.
 */
export function seedGrants(
  count: number,
  grain: number,
  self: PeerFacts,
  peers: readonly PeerFacts[],
  needs?: Needs,
  random?: () => number,
): Seed[] {
  const power = (peer: PeerFacts): number => powerFor(peer, needs)
  const nearest = lendersOf(self, peers, power)
  const grains = Math.ceil(count / grain)
  const slots = nearest.reduce((sum, peer) => sum + peer.slots, 0)
  if (grains === 0 || slots === 0) return []
  const lenders = grains > slots || random === undefined ? nearest : drawn(nearest, power, random)
  const shares = grains <= slots ? bySlot(grains, lenders) : byPower(grains, lenders, power)
  const seeds: Seed[] = []
  let at = 0
  lenders.forEach((peer, i) => {
    const next = at + shares[i]!
    if (next > at) {
      seeds.push({ lo: at * grain, hi: Math.min(next * grain, count), to: peer.session })
    }
    at = next
  })
  return seeds
}

/** Peers that can run it, `self` first, then the strongest. */
export function lendersOf(
  self: PeerFacts,
  peers: readonly PeerFacts[],
  power: (peer: PeerFacts) => number,
): PeerFacts[] {
  const others = peers
    .filter((peer) => power(peer) > 0 && peer.peer !== self.peer)
    .sort((a, b) => power(b) - power(a) || (a.peer < b.peer ? -1 : 1))
  return (power(self) > 0 ? [self, ...others] : others).slice(0, MAX_SEEDS)
}

/** In reference cores: slots × speed; of a kernel that of the GPU, where there is one. 0: it lends nothing, or cannot run that job. */
export function powerFor(peer: PeerFacts, needs?: Needs): number {
  if (peer.slots <= 0 || !meets(peer, needs?.options.requires)) return 0
  const task = needs?.task
  if (task?.kind === 'kernel') {
    if (peer.kernelSpeed !== undefined) return positive(peer.kernelSpeed)
    if (task.requiresGpu) return 0
  }
  return peer.slots * positive(peer.speed)
}

/** Has what a job requires. What is not known of a peer it has: it says so itself when it does not. */
function meets(peer: PeerFacts, requires: Requires | undefined): boolean {
  if (requires === undefined) return true
  const { cores = 0, memoryBytes = 0, gpu = false, labels = {} } = requires
  if (cores > (peer.cores ?? cores) || memoryBytes > (peer.memoryBytes ?? memoryBytes)) return false
  if (gpu && peer.kernelSpeed === undefined) return false
  const has = peer.labels
  return has === undefined || Object.entries(labels).every(([name, value]) => has[name] === value)
}

function positive(speed: number): number {
  return Number.isFinite(speed) && speed > 0 ? speed : 1
}

/** In an order by chance: the stronger the sooner. */
function drawn(
  lenders: readonly PeerFacts[],
  power: (peer: PeerFacts) => number,
  random: () => number,
): PeerFacts[] {
  const weights = lenders.map(power)
  const order: PeerFacts[] = []
  for (let at = pickWeighted(weights, random()); at !== undefined; ) {
    order.push(lenders[at]!)
    weights[at] = 0
    at = pickWeighted(weights, random())
  }
  return order
}

function bySlot(grains: number, lenders: readonly PeerFacts[]): number[] {
  let left = grains
  return lenders.map((peer) => {
    const share = Math.min(left, peer.slots)
    left -= share
    return share
  })
}

/** `grains` in proportion to power, each with its rounded running sum: equal counts are cut at equal places. */
export function byPower(
  grains: number,
  lenders: readonly PeerFacts[],
  power: (peer: PeerFacts) => number,
): number[] {
  const total = lenders.reduce((sum, peer) => sum + power(peer), 0)
  let sum = 0
  let given = 0
  return lenders.map((peer) => {
    sum += power(peer)
    const upTo = Math.round((grains * sum) / total)
    const share = upTo - given
    given = upTo
    return share
  })
}
