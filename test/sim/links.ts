import type { Partition } from './faults.ts'
import type { Host } from './host.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

/** Up to so many peers everyone is connected to everyone. */
export const FULL_MESH = 256
/** Connections of one peer in a larger mesh; of others it hears by gossip. */
const MAX_LINKS = 64
/** A dead connection is noticed after so long when nobody answers. */
const SILENCE_MS = [5_000, 20_000] as const
/** A stopped process is dropped by its neighbours after so long: its window is full. */
const PATIENCE_MS = [10_000, 60_000] as const
const REDIAL_MS = [700, 1_300] as const
const MAX_REDIAL_MS = 5_000

/** Who is connected to whom: dials, refusals, connections that die. */
export class Links {
  private readonly world: World
  private readonly neighbours = new Map<Host, Set<Host>>()
  private readonly dialling = new Set<number>()

  constructor(world: World) {
    this.world = world
  }

  /** Everyone in a small mesh; else some at random, so that each has about MAX_LINKS. */
  add(host: Host, small: boolean): void {
    const known = [...this.neighbours.keys()]
    const mine = new Set<Host>()
    this.neighbours.set(host, mine)
    const chosen = small ? known : this.world.prng.sample(known, MAX_LINKS / 2)
    for (const other of chosen) {
      mine.add(other)
      this.neighbours.get(other)!.add(host)
    }
  }

  started({ host }: Process): void {
    for (const other of this.neighbours.get(host)!) this.dial(host, other)
  }

  /** Until they are connected, or one of them is gone for good. */
  private dial(a: Host, b: Host, attempt = 0): void {
    const { clock, prng, hosts, network } = this.world
    const key = Math.min(a.index, b.index) * hosts.length + Math.max(a.index, b.index)
    if (this.dialling.has(key)) return
    this.dialling.add(key)
    const wait = Math.min(MAX_REDIAL_MS, attempt * prng.between(...REDIAL_MS))
    clock.after(wait + network.latency(1), () => {
      this.dialling.delete(key)
      const present = (a.expected || a.process) && (b.expected || b.process)
      if (present && !this.tryDial(a, b)) this.dial(a, b, attempt + 1)
    })
  }

  /** True: connected, or nobody dials any more. */
  private tryDial(a: Host, b: Host): boolean {
    const [p, q] = [a.process, b.process]
    if (p === undefined && q === undefined) return true
    if (!this.world.network.joins(a, b)) return false
    if (p === undefined || q === undefined) {
      this.refused(p ?? q!, p === undefined ? a : b)
      return false
    }
    if (p.stopped || q.stopped || p.leaving || q.leaving) return false
    if (p.links.get(q.id) === q && q.links.get(p.id) === p) return true
    this.connect(p, q)
    return true
  }

  /** The host answers that nobody listens: whatever was thought of its process, it is gone. */
  private refused(dialler: Process, host: Host): void {
    if (!host.powered || dialler.stopped) return
    dialler.run('io', () => dialler.handle({ type: 'peerGone', peer: host.id, refused: true }))
  }

  private connect(p: Process, q: Process): void {
    const { clock, network } = this.world
    network.count('dial', 4)
    const greet = (one: Process, far: Process): void => {
      clock.after(network.latency(1), () =>
        one.run('io', () => {
          if (far.alive) one.connected(far)
          else this.dial(one.host, far.host)
        }),
      )
    }
    greet(p, q)
    greet(q, p)
  }

  private close(at: Process, far: Process, refused: boolean): void {
    at.run('io', () => {
      if (at.links.get(far.id) !== far) return
      at.disconnected(far, refused)
      if (far.host.expected) this.dial(at.host, far.host, 1)
    })
  }

  /** One closes its connection to the other. */
  part(one: Process, far: Process): void {
    this.close(one, far, false)
    this.close(far, one, false)
  }

  /** kill -9: the kernel resets its connections. A power cut: nobody says anything. */
  died(dead: Process, power: boolean): void {
    const { clock, network, prng } = this.world
    for (const { process } of this.neighbours.get(dead.host)!) {
      if (process === undefined || process.links.get(dead.id) !== dead) continue
      const silent = power || !network.joins(dead.host, process.host)
      clock.after(silent ? prng.between(...SILENCE_MS) : network.latency(2), () =>
        this.close(process, dead, !silent && dead.host.process === undefined),
      )
    }
  }

  /** SIGSTOP: the connections stand, until the others lose patience. */
  stopped(process: Process): void {
    const { clock, prng } = this.world
    for (const far of process.links.values()) {
      clock.after(prng.between(...PATIENCE_MS), () => {
        if (!process.stopped || !process.alive || !far.alive) return
        this.part(far, process)
      })
    }
  }

  /** Connections across a split die one end after the other, if it lasts. */
  split(partition: Partition): void {
    const { clock, network, prng, hosts } = this.world
    for (const i of partition.from) {
      for (const j of partition.to) {
        const [p, q] = [hosts[i]?.process, hosts[j]?.process]
        if (p === undefined || q === undefined) continue
        for (const [one, far] of [[p, q] as const, [q, p] as const]) {
          clock.after(prng.between(...SILENCE_MS), () => {
            if (!network.joins(one.host, far.host)) this.close(one, far, false)
          })
        }
      }
    }
  }
}
