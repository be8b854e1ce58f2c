import { MAX_SEEDS } from './limits.ts'
import type { JobTask, PeerFacts, Seed } from './types.ts'

/**
 * Splits items 0..count-1 by slots × speed among the peers that lend slots, `self` first, at most MAX_SEEDS of them (the strongest).
 * Bounds are multiples of `grain`. When there are fewer grains than slots each slot gets at most one, the nearest peer's first.
 */
export function seedGrants(
  count: number,
  grain: number,
  self: PeerFacts,
  peers: readonly PeerFacts[],
  task?: JobTask,
): Seed[] {
  const power = (peer: PeerFacts): number => powerFor(peer, task)
  const others = peers
    .filter((peer) => power(peer) > 0 && peer.peer !== self.peer)
    .sort((a, b) => power(b) - power(a) || (a.peer < b.peer ? -1 : 1))
  const lenders = (power(self) > 0 ? [self, ...others] : others).slice(0, MAX_SEEDS)
  const grains = Math.ceil(count / grain)
  const slots = lenders.reduce((sum, peer) => sum + peer.slots, 0)
  if (grains === 0 || slots === 0) return []
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

/** In reference cores: slots × speed; of a kernel that of the GPU, where there is one. 0: it cannot run that task. */
export function powerFor(peer: PeerFacts, task?: JobTask): number {
  if (peer.slots <= 0) return 0
  if (task?.kind === 'kernel') {
    if (peer.kernelSpeed !== undefined) return positive(peer.kernelSpeed)
    if (task.requiresGpu) return 0
  }
  return peer.slots * positive(peer.speed)
}

function positive(speed: number): number {
  return Number.isFinite(speed) && speed > 0 ? speed : 1
}

function bySlot(grains: number, lenders: readonly PeerFacts[]): number[] {
  let left = grains
  return lenders.map((peer) => {
    const share = Math.min(left, peer.slots)
    left -= share
    return share
  })
}

function byPower(
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
