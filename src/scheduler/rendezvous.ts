import type { PeerId } from './types.ts'

/** FNV-1a over the UTF-16 units, finished with a multiply-shift mix; every peer must compute the same. */
export function hash32(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i += 1) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Highest-random-weight rank of `self` among `peers` for a key: 0 is the one that should act. Ties go to the smaller id. */
export function rendezvousRank(key: string, self: PeerId, peers: Iterable<PeerId>): number {
  const own = hash32(key + self)
  let rank = 0
  for (const peer of peers) {
    if (peer === self) continue
    const other = hash32(key + peer)
    if (other > own || (other === own && peer < self)) rank += 1
  }
  return rank
}

/** Peers in the order in which they should act for a key: the first has rank 0. */
export function rendezvousOrder(key: string, peers: Iterable<PeerId>): PeerId[] {
  return [...peers]
    .map((peer) => ({ peer, weight: hash32(key + peer) }))
    .sort((a, b) => b.weight - a.weight || (a.peer < b.peer ? -1 : 1))
    .map(({ peer }) => peer)
}
