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

/** The bounds that CI searches: together some three million states. */
export const CASES: readonly Case[] = [
  searched('grants of every size, nobody fails', 25_000, {
    peers: 3,
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 2,
  }),
  searched('grants back and forth, nobody fails', 25_000, {
    peers: 2,
    items: 4,
    seeds: [[3, 4, 1]],
    grants: 3,
  }),
  searched('one of three dies', 500_000, {
    peers: 3,
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 1,
    crashes: 1,
    everySize: false,
  }),
  searched('two of three die', 100_000, {
    peers: 3,
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 1,
    crashes: 2,
  }),
  searched('a live peer is taken for dead', 45_000, {
    peers: 3,
    items: 2,
    seeds: [[0, 1, 1]],
    grants: 1,
    suspicions: 1,
    everySize: false,
  }),
  searched('two are taken for dead', 1, {
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 1,
    suspicions: 2,
    everySize: false,
  }),
  searched('a peer releases what it has', 60_000, {
    items: 3,
    seeds: [[1, 2, 1]],
    grants: 1,
    releases: 1,
    crashes: 1,
    everySize: false,
  }),
  searched('three peers, one of which releases, one dies', 150_000, {
    peers: 3,
    items: 1,
    grants: 1,
    releases: 1,
    crashes: 1,
  }),
  searched('restart with the disk whole', 180_000, {
    items: 3,
    seeds: [[1, 3, 1]],
    grants: 1,
    crashes: 1,
    restarts: 1,
    everySize: false,
  }),
  searched('restart without what nobody else has', 240_000, {
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 2,
    crashes: 1,
    restarts: 1,
    tail: 'undelivered',
  }),
  searched('restart without what others have', 70_000, {
    items: 2,
    seeds: [[0, 1, 1]],
    grants: 1,
    crashes: 1,
    restarts: 1,
    tail: 'any',
    losesReceived: true,
  }),
  searched('three peers, restart and death', 370_000, {
    peers: 3,
    items: 1,
    grants: 1,
    crashes: 2,
    restarts: 1,
    tail: 'any',
  }),
  searched('a granted feed forks between two', 20_000, {
    peers: 2,
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 2,
    forks: 1,
  }),
  searched('an item is granted twice by a fork, one dies', 350_000, {
    peers: 3,
    items: 1,
    grants: 1,
    crashes: 1,
    forks: 1,
    jobEverywhere: true,
  }),
  searched('a fork and a death', 10_000, {
    peers: 2,
    items: 2,
    seeds: [[1, 2, 1]],
    grants: 1,
    crashes: 1,
    forks: 1,
  }),
  searched('a fork and a restart', 40_000, {
    peers: 2,
    items: 1,
    grants: 1,
    crashes: 1,
    restarts: 1,
    tail: 'any',
    forks: 1,
  }),
]

/** Worlds too large to search: random ways through them. */
export const WALKS: readonly (Case & { readonly walks: number })[] = [
  {
    ...searched('four peers, everything but forks', 0, {
      peers: 4,
      items: 5,
      seeds: [
        [1, 3, 1],
        [3, 4, 2],
      ],
      grants: 4,
      releases: 2,
      crashes: 3,
      restarts: 2,
      suspicions: 3,
      tail: 'any',
      losesReceived: true,
    }),
    walks: 100,
  },
  {
    ...searched('three peers, everything', 0, {
      peers: 3,
      items: 4,
      seeds: [[1, 3, 1]],
      grants: 4,
      releases: 1,
      crashes: 2,
      restarts: 1,
      suspicions: 2,
      forks: 1,
      tail: 'any',
      losesReceived: true,
    }),
    walks: 200,
  },
  {
    ...searched('four peers and one item: grants along a forked chain', 0, {
      peers: 4,
      items: 1,
      grants: 4,
      crashes: 1,
      suspicions: 1,
      forks: 2,
    }),
    walks: 500,
  },
]
