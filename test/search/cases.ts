import { type Bounds, DEFAULT_BOUNDS } from './bounds.ts'

export interface Case {
  readonly name: string
  readonly bounds: Bounds
  /** Fewer states than this, and the case no longer searches what it was made for. */
  readonly atLeast: number
}

function searched(name: string, atLeast: number, bounds: Partial<Bounds>): Case {
  return { name, atLeast, bounds: { ...DEFAULT_BOUNDS, ...bounds } }
}

/** The bounds that CI searches: together some two million states. */
export const CASES: readonly Case[] = [
  searched('grants of every size, nobody fails', 1, {
    peers: 3,
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 2,
  }),
  searched('grants back and forth, nobody fails', 1, {
    peers: 2,
    items: 4,
    seeds: [[3, 4, 1]],
    grants: 3,
  }),
  searched('one of three dies', 1, {
    peers: 3,
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 1,
    crashes: 1,
    everySize: false,
  }),
  searched('two of three die', 1, {
    peers: 3,
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 1,
    crashes: 2,
  }),
  searched('a live peer is taken for dead', 1, {
    peers: 3,
    items: 2,
    seeds: [[0, 1, 1]],
    grants: 1,
    suspicions: 1,
    everySize: false,
  }),
  searched('two are taken for dead, one dies', 1, {
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 1,
    crashes: 1,
    suspicions: 2,
    everySize: false,
  }),
  searched('a peer releases what it has', 1, {
    items: 3,
    seeds: [[1, 2, 1]],
    grants: 1,
    releases: 1,
    crashes: 1,
    everySize: false,
  }),
  searched('three peers, one of which releases, one dies', 1, {
    peers: 3,
    items: 1,
    grants: 1,
    releases: 1,
    crashes: 1,
  }),
  searched('restart with the disk whole', 1, {
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 1,
    crashes: 1,
    restarts: 1,
    everySize: false,
  }),
  searched('restart without what nobody else has', 1, {
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 2,
    crashes: 1,
    restarts: 1,
    tail: 'undelivered',
  }),
  searched('restart without what others have', 1, {
    items: 2,
    seeds: [[0, 1, 1]],
    grants: 1,
    crashes: 1,
    restarts: 1,
    tail: 'any',
    losesReceived: true,
  }),
  searched('three peers, restart and death', 1, {
    peers: 3,
    items: 1,
    grants: 1,
    crashes: 2,
    restarts: 1,
    tail: 'any',
  }),
  searched('a granted feed forks between two', 1, {
    peers: 2,
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 2,
    forks: 1,
  }),
  searched('an item is granted twice by a fork', 1, {
    peers: 3,
    items: 1,
    grants: 1,
    forks: 1,
    jobEverywhere: true,
  }),
  searched('a fork and a death', 1, {
    peers: 2,
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 1,
    crashes: 1,
    forks: 1,
  }),
  searched('a fork and a restart', 1, {
    peers: 2,
    items: 1,
    grants: 1,
    crashes: 1,
    restarts: 1,
    tail: 'any',
    forks: 1,
  }),
]
