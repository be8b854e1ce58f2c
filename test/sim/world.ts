import type {
  Entry,
  JobId,
  JobSpec,
  PeerFacts,
  PeerId,
  SessionId,
} from '../../src/scheduler/types.ts'
import { Clock } from './clock.ts'
import { Network, type NetworkFaults, WIDE_AREA } from './network.ts'
import { Prng } from './prng.ts'
import { simHash } from './seal.ts'
import { SimPeer } from './sim-peer.ts'
import { type CostShape, Workload } from './workload.ts'

export interface SimOptions {
  readonly seed: number
  readonly peers: number
  readonly items: number
  /** Seconds the job takes when all slots work all the time. */
  readonly idealSeconds: number
  /** p95/p5 of the log-normal speeds. */
  readonly spread: number
  readonly slots: number
  /** Slots of the submitter. */
  readonly authorSlots: number
  readonly faults: NetworkFaults
  readonly shape: CostShape
  /** σ of the logarithm of advertised over real speed: a short spin is no benchmark. */
  readonly advertError: number
  readonly chunkSize: number | undefined
  /** Keep a replica of every peer's views and compare it with the fold at the end. */
  readonly checkViews: boolean
}

export const DEFAULTS: SimOptions = {
  seed: 1,
  peers: 20,
  items: 20_000,
  idealSeconds: 60,
  spread: 10,
  slots: 1,
  authorSlots: 1,
  faults: WIDE_AREA,
  shape: 'noisy',
  advertError: 0.2,
  chunkSize: undefined,
  checkViews: true,
}

/** What a stopping peer has sent, and the receipts for its last results, have arrived by then. */
const LEAVE_MS = 3_000

/** Peers, network, clock and the truth about what ran. */
export class World {
  readonly options: SimOptions
  readonly prng: Prng
  readonly clock = new Clock()
  readonly network: Network
  readonly workload: Workload
  readonly peers: SimPeer[] = []
  readonly steals = { asked: 0, granted: 0, lifelines: 0 }
  /** How often each item was run to its end. */
  readonly runs: Uint8Array
  readonly entries: Record<string, number> = {}
  readonly gossipHops: number
  private readonly byId = new Map<PeerId, SimPeer>()
  private readonly feeds = new Map<string, Entry[]>()

  constructor(options: Partial<SimOptions>) {
    this.options = { ...DEFAULTS, ...options }
    const { seed, peers, items, shape, spread, faults, idealSeconds } = this.options
    this.prng = new Prng(seed * 7919 + 13)
    this.network = new Network(this.clock, this.prng, faults)
    this.workload = new Workload(items, shape, this.prng)
    this.runs = new Uint8Array(items)
    // Gossip reaches everyone in about log_6(n) hops: gossipsub's default degree.
    this.gossipHops = Math.max(1, Math.ceil(Math.log(peers) / Math.log(6)))
    const sigma = Math.log(spread) / (2 * 1.645)
    let power = 0
    for (let i = 0; i < peers; i += 1) power += this.addPeer(i, sigma)
    this.workload.scale(idealSeconds * 1000 * power)
  }

  get idealMs(): number {
    let power = 0
    for (const peer of this.peers) power += peer.speed * peer.facts.slots
    return this.workload.totalMs / power
  }

  peer(id: PeerId): SimPeer | undefined {
    return this.byId.get(id)
  }

  others(id: PeerId): SimPeer[] {
    return this.peers.filter((peer) => peer.id !== id)
  }

  feed(key: string): Entry[] {
    let entries = this.feeds.get(key)
    if (entries === undefined) this.feeds.set(key, (entries = []))
    return entries
  }

  everyEntry(): Entry[] {
    return [...this.feeds.values()].flat()
  }

  appended(entry: Entry): void {
    const { type } = entry.body
    this.entries[type] = (this.entries[type] ?? 0) + 1
  }

  executed(lo: number, hi: number): void {
    for (let i = lo; i < hi; i += 1) this.runs[i]! += 1
  }

  /** Everyone sees everyone. */
  connectAll(): void {
    for (const a of this.peers) for (const b of this.others(a.id)) this.see(a, b)
  }

  see(a: SimPeer, b: SimPeer): void {
    a.handle({ type: 'peerSeen', facts: b.facts })
  }

  /** Stops cleanly: hands over, lets what it sent arrive, and is gone. */
  leave(peer: SimPeer): void {
    peer.stop()
    this.clock.after(LEAVE_MS, () => {
      peer.live = false
      for (const other of this.others(peer.id)) {
        if (other.live) other.handle({ type: 'peerGone', peer: peer.id })
      }
    })
  }

  submit(author: SimPeer): JobId {
    const { seed, items, chunkSize } = this.options
    const spec: JobSpec = {
      v: 1,
      task: {
        kind: 'module',
        name: 'sim',
        bundle: simHash('bundle') as JobSpec['task']['bundle'],
        bundleBytes: 1,
      },
      input: { kind: 'range', start: 0, count: items },
      options: chunkSize === undefined ? {} : { chunkSize },
      nonce: simHash(`nonce ${seed}`),
    }
    const job = simHash(JSON.stringify(spec)) as JobId
    author.handle({ type: 'submitted', job, spec, at: 0 })
    return job
  }

  private addPeer(i: number, sigma: number): number {
    const { seed, slots, authorSlots, advertError } = this.options
    const speed = this.prng.logNormal(sigma)
    const facts: PeerFacts = {
      peer: simHash(`peer ${seed} ${i}`) as PeerId,
      session: simHash(`session ${seed} ${i}`).slice(0, 32) as SessionId,
      sessionNumber: 1,
      slots: i === 0 ? authorSlots : slots,
      speed: speed * Math.exp(advertError * this.prng.gauss()),
    }
    const peer = new SimPeer(this, facts, speed)
    this.peers.push(peer)
    this.byId.set(facts.peer, peer)
    return speed * facts.slots
  }
}
