/**
 * Two to four real schedulers in virtual time, wired by hand: messages take any time or are lost with their connection, peers crash,
 * restart, stop and fall silent. Small on purpose: for property tests of the invariants (the large one is test/sim).
 */
import type {
  Entry,
  JobOptions,
  PeerId,
  SchedulerEvent,
  SessionId,
} from '../../../src/scheduler/types.ts'
import { Random } from '../fuzz/random.ts'
import { JOB, specOf } from './builders.ts'
import { Machine } from './small-machine.ts'

export interface MeshOptions {
  readonly seed: string
  readonly peers: number
  readonly items: number
  /** Milliseconds that an item takes. */
  readonly itemMs: number
  readonly options?: JobOptions
  /** This machine is far slower than it says. */
  readonly slow?: string | undefined
  /** A crash loses what the peer wrote last, as a power cut does. */
  readonly losesTail?: boolean
}

/** What must never be seen, wherever it is seen. */
export type Problem = string

const DELAY_MS = 40
/** The slowest job of these tests takes ten minutes on the slowest machine. */
const SETTLE_MS = 2_000_000

export class SmallMesh {
  readonly options: MeshOptions
  readonly random: Random
  readonly machines: readonly Machine[]
  /** Runs of each item: by who owned it, and copies. */
  readonly runs: number[]
  readonly copies: number[]
  readonly problems: Problem[] = []
  /** Results were lost: what is done may be taken back. */
  lost = false
  now = 0
  private readonly queue: { at: number; order: number; run: () => void }[] = []
  private readonly feeds = new Map<SessionId, Entry[]>()
  private readonly cuts = new Set<string>()
  /** What was sent over a link before it broke does not arrive. */
  private readonly eras = new Map<string, number>()
  private readonly lastArrival = new Map<string, number>()
  private order = 0

  constructor(options: MeshOptions) {
    this.options = options
    this.random = new Random(options.seed)
    this.runs = new Array<number>(options.items).fill(0)
    this.copies = new Array<number>(options.items).fill(0)
    this.machines = ['a', 'b', 'c', 'd']
      .slice(0, options.peers)
      .map((name) => new Machine(name, this))
    for (const machine of this.machines) machine.start()
    for (const machine of this.machines) this.connect(machine)
  }

  submit(): void {
    const spec = specOf(this.options.items, this.options.options)
    this.machines[0]!.on({ type: 'submitted', job: JOB, spec, at: 0 })
  }

  problem(what: Problem): void {
    this.problems.push(`${this.now} ms: ${what}`)
  }

  feedOf(session: SessionId): Entry[] {
    let feed = this.feeds.get(session)
    if (feed === undefined) this.feeds.set(session, (feed = []))
    return feed
  }

  everyEntry(): Entry[] {
    return [...this.feeds.values()].flat()
  }

  // ------------------------------------------------------------ time

  at(at: number, run: () => void): void {
    this.queue.push({ at: Math.max(at, this.now), order: this.order++, run })
  }

  /** Lets everything happen that is due within `ms`; false when nothing is left to happen. */
  pass(ms: number): void {
    const until = this.now + ms
    for (;;) {
      let next = -1
      for (let i = 0; i < this.queue.length; i++) {
        const due = this.queue[i]!
        const first = this.queue[next]
        if (due.at > until) continue
        if (
          first === undefined ||
          due.at < first.at ||
          (due.at === first.at && due.order < first.order)
        ) {
          next = i
        }
      }
      if (next < 0) break
      const [event] = this.queue.splice(next, 1)
      this.now = event!.at
      event!.run()
    }
    this.now = until
  }

  /** Until every peer that is up says that the job is finished; false: it takes far too long. */
  settle(): boolean {
    for (let waited = 0; waited < SETTLE_MS; waited += 500) {
      const up = this.machines.filter(({ scheduler }) => scheduler !== undefined)
      if (up.every(({ state }) => state === 'finished')) return true
      this.pass(500)
    }
    return false
  }

  // ------------------------------------------------------------ links

  linked(a: Machine, b: Machine): boolean {
    return a.scheduler !== undefined && b.scheduler !== undefined && !this.cuts.has(linkOf(a, b))
  }

  cut(a: Machine, b: Machine): void {
    if (!this.linked(a, b)) return
    this.cuts.add(linkOf(a, b))
    this.drop(a, b)
    a.on({ type: 'peerGone', peer: b.facts.peer, refused: false })
    b.on({ type: 'peerGone', peer: a.facts.peer, refused: false })
  }

  heal(a: Machine, b: Machine): void {
    if (!this.cuts.delete(linkOf(a, b)) || !this.linked(a, b)) return
    this.meet(a, b)
  }

  crash(machine: Machine): void {
    if (machine.scheduler === undefined) return
    machine.crash()
    for (const other of this.machines) {
      if (other === machine) continue
      this.drop(machine, other)
      if (this.cuts.has(linkOf(machine, other))) continue
      const refused = this.random.oneIn(2)
      this.at(this.now + 5, () => other.on({ type: 'peerGone', peer: machine.facts.peer, refused }))
    }
  }

  /** Ctrl-C: it hands over, and is gone a moment later. */
  leave(machine: Machine): void {
    machine.on({ type: 'stopping' })
    const { session } = machine.facts
    this.at(this.now + 500, () => {
      if (machine.facts.session === session) this.crash(machine)
    })
  }

  /** All copies of some result are gone, and `machine` finds out. */
  lose(machine: Machine): void {
    const spans = [...(machine.scheduler?.doneSpans(JOB) ?? [])]
    const blobs = spans.flatMap(({ result }) => (result.kind === 'blob' ? [result.hash] : []))
    if (blobs.length === 0) return
    const lost = this.random.pick(blobs)
    for (const { blobs: held } of this.machines) held.delete(lost)
    this.findLosses(machine)
  }

  /** What `machine` takes for done though nobody has its values is LOST; false: there is none. */
  findLosses(machine: Machine): boolean {
    let found = false
    for (const { lo, hi, hash, result } of [...(machine.scheduler?.doneSpans(JOB) ?? [])]) {
      if (result.kind === 'inline') continue
      if (this.machines.some(({ blobs }) => blobs.has(result.hash))) continue
      found = true
      this.lost = true
      machine.on({ type: 'resultLost', job: JOB, lo, hi, done: hash })
    }
    return found
  }

  restart(machine: Machine): void {
    if (machine.scheduler !== undefined) return
    this.at(this.now + 10, () => {
      if (machine.scheduler !== undefined) return
      machine.pausedUntil = 0
      machine.start()
      this.connect(machine)
    })
  }

  private connect(machine: Machine): void {
    for (const other of this.machines) {
      if (other !== machine && this.linked(machine, other)) this.meet(machine, other)
    }
  }

  private meet(a: Machine, b: Machine): void {
    a.on({ type: 'peerSeen', facts: b.facts })
    b.on({ type: 'peerSeen', facts: a.facts })
    this.syncBoth(a, b)
  }

  private drop(a: Machine, b: Machine): void {
    const link = linkOf(a, b)
    this.eras.set(link, (this.eras.get(link) ?? 0) + 1)
  }

  /** A message over the direct link: in order, unless the link breaks before it is there. */
  send(
    from: Machine,
    to: PeerId,
    make: (from: PeerId, session: SessionId) => SchedulerEvent,
  ): void {
    const other = this.machines.find(({ facts }) => facts.peer === to)
    if (other === undefined || other === from || !this.linked(from, other)) return
    const link = linkOf(from, other)
    const era = this.eras.get(link)
    const event = make(from.facts.peer, from.facts.session)
    const arrive = () => {
      if (this.eras.get(link) !== era) return
      if (other.pausedUntil > this.now) this.at(other.pausedUntil + 2, arrive)
      else other.on(event)
    }
    const way = from.name + other.name
    const at = Math.max(this.lastArrival.get(way) ?? 0, this.now + 1 + this.random.int(DELAY_MS))
    this.lastArrival.set(way, at)
    this.at(at, arrive)
  }

  /** What `to` lacks of the feeds that `from` has on its disk. */
  sync(from: Machine, to: PeerId): void {
    const entries = [...from.disk.values()]
    const other = this.machines.find(({ facts }) => facts.peer === to)
    if (other === undefined) return
    const missing = entries.filter(({ hash }) => !other.disk.has(hash))
    if (missing.length === 0) return
    this.send(from, to, (sender) => ({ type: 'entriesReceived', entries: missing, from: sender }))
  }

  syncBoth(a: Machine, b: Machine): void {
    this.sync(a, b.facts.peer)
    this.sync(b, a.facts.peer)
  }
}

function linkOf(a: Machine, b: Machine): string {
  return [a.name, b.name].sort().join('-')
}
