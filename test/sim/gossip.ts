import type { FeedRun } from './feeds.ts'
import { FULL_VIEW_PEERS } from './past.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

/** Meshes up to this size: every delivery on its own. Larger ones: each peer looks at what is new twice a second. */
const SMALL_MESH = 64
const TICK_MS = 500
/** gossipsub's default degree. */
const DEGREE = 6
/** What a peer missed it hears of by its neighbours' lists (IHAVE), about so much later. */
const REPAIR_MS = [1_000, 2_000] as const
/** Third peers that are tried as a way round a partition. */
const DETOURS = 3

interface Published {
  readonly at: number
  readonly from: Process
  /** Absent: an advert. */
  readonly run: FeedRun | undefined
}

/** Publish to everyone, in about log_6(n) hops; who is cut off misses it. */
export class Gossip {
  private readonly world: World
  private readonly log: Published[] = []
  readonly hops: number
  private readonly small: boolean

  constructor(world: World, peers: number) {
    this.world = world
    this.hops = Math.max(1, Math.ceil(Math.log(peers) / Math.log(DEGREE)))
    this.small = peers <= SMALL_MESH
  }

  publish(from: Process, run: FeedRun): void {
    const { past } = this.world
    if (past !== undefined) {
      this.world.network.count('gossip', this.world.hosts.length - 1)
      past.publish(run)
      return
    }
    this.spread({ at: this.world.clock.now, from, run })
  }

  advertise(from: Process): void {
    if (this.world.hosts.length > FULL_VIEW_PEERS) {
      this.world.network.count('gossip', this.world.hosts.length - 1)
      return
    }
    this.spread({ at: this.world.clock.now, from, run: undefined })
  }

  /** A process listens: what was published before is lost to it. */
  listen(to: Process): void {
    if (this.small) return
    let next = this.log.length
    let missed: Published[] = []
    const { clock, network, prng } = this.world
    const lag = network.latency(this.hops)
    const look = (): void => {
      if (!to.alive) return
      const runs: FeedRun[] = []
      const heard: Published[] = []
      const late = missed
      missed = []
      for (const item of late) this.take(item, to, runs, heard)
      for (; next < this.log.length && this.log[next]!.at + lag <= clock.now; next += 1) {
        const item = this.log[next]!
        if (item.from === to || (item.run === undefined && to.links.has(item.from.id))) continue
        network.count('gossip')
        if (prng.chance(network.faults.loss)) missed.push(item)
        else this.take(item, to, runs, heard)
      }
      if (runs.length + heard.length > 0) {
        to.run('io', () => {
          for (const { from } of heard) to.handle({ type: 'peerHeard', facts: from.facts })
          if (runs.length > 0) to.replica.receive(runs, undefined)
        })
      }
      clock.after(TICK_MS, look)
    }
    clock.after(TICK_MS * prng.next(), look)
  }

  private take(item: Published, to: Process, runs: FeedRun[], heard: Published[]): void {
    if (this.wayFrom(item.from, to) === undefined) return
    if (item.run === undefined) heard.push(item)
    else runs.push(item.run)
  }

  private spread(item: Published): void {
    if (!this.small) {
      this.log.push(item)
      return
    }
    for (const { process } of this.world.hosts) {
      if (process !== undefined && process !== item.from) this.deliver(item, process)
    }
  }

  private deliver({ from, run }: Published, to: Process): void {
    if (run === undefined && to.links.has(from.id)) return
    const { clock, network, prng } = this.world
    network.count('gossip')
    const hops = this.wayFrom(from, to)
    if (hops === undefined) return
    let repair = 0
    if (prng.chance(network.faults.loss)) {
      if (prng.chance(network.faults.loss)) return
      repair = prng.between(...REPAIR_MS)
    }
    const copies = prng.chance(network.faults.duplication) ? 2 : 1
    for (let i = 0; i < copies; i += 1) {
      clock.after(network.latency(hops) + repair, () =>
        to.run('io', () => {
          if (run === undefined) to.handle({ type: 'peerHeard', facts: from.facts })
          else to.replica.receive([run], from)
        }),
      )
    }
  }

  /** Hops from one to the other, round a partition if there is a way. */
  private wayFrom(from: Process, to: Process): number | undefined {
    const { network, prng, hosts } = this.world
    if (network.joins(from.host, to.host)) return this.hops
    for (let i = 0; i < DETOURS; i += 1) {
      const third = prng.pick(hosts)
      if (third === undefined || !third.awake) continue
      if (network.joins(from.host, third) && network.joins(third, to.host)) return this.hops + 1
    }
    return undefined
  }
}
