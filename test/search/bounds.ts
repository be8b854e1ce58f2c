import type { PeerId, SessionId } from '../../src/scheduler/types.ts'

/** Bugs planted in what peers do (the names say what a peer with the bug does). */
export type ActionBug =
  /** The granter goes on to start what it granted. */
  | 'keepsGranted'
  /** RECLAIM carries its parent's epoch, not one more. */
  | 'sameEpoch'
  /** RECLAIM names one parent for more items than that parent covers. */
  | 'overreaches'
  /** A peer that starts again goes on writing the feed of before (I9). */
  | 'continuesFeed'
  /** GRANT leaves before it is written, and its write is lost (I3). */
  | 'sendsUnwritten'
  /** A peer that starts again runs what its predecessor held, without a RECLAIM. */
  | 'silentTakeover'
  /** Nobody reclaims what a dead session owns. */
  | 'neverReclaims'
  /** Nobody reclaims what was released. */
  | 'forgetsReleased'
  /** Nobody reclaims from a live session that does not think that it owns what others say it does. */
  | 'namesUnrooted'
  /** A RECLAIM takes one epoch more than it may. */
  | 'leapsEpoch'

/** Bugs planted in how entries are folded. */
export type FoldBug =
  /** DONE makes nothing final. */
  | 'doneIgnored'
  /** DONE counts only while its author owns the items. */
  | 'doneOfOwnerOnly'
  /** The owner is who was named last, not the greatest (epoch, hop, hash). */
  | 'lastWritten'
  /** RECLAIM is taken with any epoch. */
  | 'anyEpoch'

/** What the searched world consists of and how often what may happen in it. Deliveries, runs and due RECLAIMs are not bounded. */
export interface Bounds {
  readonly peers: number
  readonly items: number
  /** Of the JOB, which peer 0 writes: [lo, hi, peer]; what is not named is peer 0's. */
  readonly seeds: readonly (readonly [lo: number, hi: number, peer: number])[]
  readonly grants: number
  readonly releases: number
  readonly crashes: number
  /** How many of the crashes a peer may come back from, as a new session. */
  readonly restarts: number
  /** RECLAIMs of what a live session owns. */
  readonly suspicions: number
  /** Times that a peer writes two entries with one seq. */
  readonly forks: number
  /** What a crash takes from the disk: nothing, entries of its own that nobody else has, or any last ones of its own. */
  readonly tail: 'kept' | 'undelivered' | 'any'
  /** A crash may also take all that came from others. */
  readonly losesReceived: boolean
  /** true: chunks, grants and RECLAIMs of every size; false: of the smallest and the largest. */
  readonly everySize: boolean
  /** Everyone has the JOB from the start. */
  readonly jobEverywhere: boolean
  /** Another salt orders the hashes, so ties, in another way. */
  readonly salt: string
  readonly actionBugs: readonly ActionBug[]
  readonly foldBugs: readonly FoldBug[]
  /** The search stops there and says so. */
  readonly maxStates: number
}

export const DEFAULT_BOUNDS: Bounds = {
  peers: 2,
  items: 2,
  seeds: [],
  grants: 0,
  releases: 0,
  crashes: 0,
  restarts: 0,
  suspicions: 0,
  forks: 0,
  tail: 'kept',
  losesReceived: false,
  everySize: true,
  jobEverywhere: false,
  salt: 'search',
  actionBugs: [],
  foldBugs: [],
  maxStates: 4_000_000,
}

/** Sessions are numbered peer by peer: session n of peer p is p * perPeer + n. */
export class Layout {
  readonly peers: number
  readonly perPeer: number
  readonly sessions: number

  constructor(bounds: Bounds) {
    this.peers = bounds.peers
    this.perPeer = 1 + bounds.restarts
    this.sessions = this.peers * this.perPeer
  }

  session(peer: number, number: number): number {
    return peer * this.perPeer + number
  }

  peerOf(session: number): number {
    return Math.floor(session / this.perPeer)
  }

  peerId(peer: number): PeerId {
    return peerName(peer) as PeerId
  }

  /** Index of the peer with that id. */
  peerIndex(id: PeerId): number {
    return id.charCodeAt(0) - 65
  }

  sessionId(session: number): SessionId {
    const number = session % this.perPeer
    return `${peerName(this.peerOf(session))}${number === 0 ? '' : number + 1}` as SessionId
  }

  /** Index of the session with that id; -1: nobody's. */
  sessionIndex(id: SessionId): number {
    if (id === '') return -1
    const number = id.length === 1 ? 0 : Number(id.slice(1)) - 1
    return this.session(id.charCodeAt(0) - 65, number)
  }
}

export function peerName(peer: number): string {
  return String.fromCharCode(65 + peer)
}
