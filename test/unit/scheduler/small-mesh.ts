/**
 * Two to four real schedulers in virtual time, wired by hand: messages take any time or are lost with their connection, peers crash,
 * restart, stop and fall silent. Small on purpose: for property tests of the invariants (the large one is test/sim).
 */
import { Scheduler } from '../../../src/scheduler/scheduler.ts'
import type {
  BlobHash,
  Entry,
  EntryHash,
  JobOptions,
  PeerFacts,
  PeerId,
  ResultRef,
  SchedulerEffect,
  SchedulerEvent,
  SessionId,
} from '../../../src/scheduler/types.ts'
import { simHash, simSeal } from '../../sim/seal.ts'
import { Random } from '../fuzz/random.ts'
import { factsOf, JOB, specOf } from './builders.ts'

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

interface Running {
  readonly lo: number
  readonly hi: number
  readonly startedAt: number
  readonly speculative: boolean
  aborted: boolean
}

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
const SLOWNESS = 30
const SETTLE_MS = 300_000

/** A machine: its disk outlives its processes. */
export class Machine {
  readonly name: string
  readonly mesh: SmallMesh
  readonly disk = new Map<EntryHash, Entry>()
  readonly blobs = new Set<BlobHash>()
  facts: PeerFacts
  scheduler: Scheduler | undefined
  /** Stopped (SIGSTOP) until then. */
  pausedUntil = 0
  readonly running = new Map<number, Running>()
  readonly placed = new Map<number, ResultRef>()
  readonly timers = new Map<string, number>()
  /** Keepers that gave a receipt, by blob. */
  readonly receipts = new Map<BlobHash, readonly PeerId[]>()
  private readonly sessions: SessionId[] = []
  private doneBefore = 0

  constructor(name: string, mesh: SmallMesh) {
    this.name = name
    this.mesh = mesh
    this.facts = factsOf(name)
  }

  get state(): string | undefined {
    return this.scheduler?.job(JOB)?.state
  }

  /** Milliseconds that an item takes here. */
  get itemMs(): number {
    const { itemMs, slow } = this.mesh.options
    return slow === this.name ? SLOWNESS * itemMs : itemMs
  }

  /** down -> up: a new session each time. */
  start(): void {
    const number = this.sessions.length + 1
    const session = simHash(`session ${this.name} ${number}`).slice(0, 32) as SessionId
    this.facts = { ...this.facts, session, sessionNumber: number }
    this.scheduler = new Scheduler({
      self: this.facts,
      seal: simSeal,
      random: () => this.mesh.random.int(1_000) / 1_000,
      predecessors: [...this.sessions],
      expectsPeers: number > 1,
    })
    this.sessions.push(session)
    this.doneBefore = 0
    const entries = [...this.disk.values()]
    if (entries.length > 0) this.on({ type: 'jobLoaded', entries })
  }

  /** up -> down. */
  crash(): void {
    for (const chunk of [...this.running.values()]) this.ran(chunk, this.progress(chunk))
    this.scheduler = undefined
    this.running.clear()
    this.placed.clear()
    this.timers.clear()
    if (!this.mesh.options.losesTail) return
    const lost = [...this.disk.keys()].slice(-this.mesh.random.int(4))
    if (lost.length < this.disk.size) for (const hash of lost) this.disk.delete(hash)
  }

  on(event: SchedulerEvent): void {
    const { scheduler } = this
    if (scheduler === undefined) return
    if (event.type === 'entriesReceived') {
      for (const entry of event.entries) this.disk.set(entry.hash, entry)
    }
    for (const effect of scheduler.handle(event, this.mesh.now)) this.perform(effect)
    this.check(scheduler)
  }

  /** I2 as seen from outside: without LOST and FORK what is done stays done. */
  private check(scheduler: Scheduler): void {
    const done = scheduler.job(JOB)?.done ?? 0
    if (done < this.doneBefore && !this.mesh.lost)
      this.mesh.problem(`${this.name}: ${this.doneBefore} done, now ${done}`)
    this.doneBefore = done
  }

  private progress({ lo, hi, startedAt }: Running): number {
    return Math.min(hi, lo + Math.floor((this.mesh.now - startedAt) / this.itemMs))
  }

  private ran({ lo, speculative }: Running, reached: number): void {
    for (let i = lo; i < reached; i++) {
      const counts = speculative ? this.mesh.copies : this.mesh.runs
      counts[i]! += 1
    }
  }

  // ------------------------------------------------------------ effects

  private perform(effect: SchedulerEffect): void {
    const { mesh } = this
    switch (effect.type) {
      case 'append':
        this.append(effect.entry)
        return
      case 'push':
        mesh.sync(this, effect.to)
        return
      case 'publish':
        for (const peer of mesh.machines) {
          if (peer !== this && mesh.random.int(10) < 8) mesh.sync(this, peer.facts.peer)
        }
        return
      case 'resync':
        for (const peer of mesh.machines) if (peer !== this) mesh.syncBoth(this, peer)
        return
      case 'sendSteal':
        mesh.send(this, effect.to, (from, session) => ({
          ...effect,
          type: 'stealRequested',
          from,
          session,
        }))
        return
      case 'answerSteal':
        this.answer(effect)
        return
      case 'sendLifeline':
        mesh.send(this, effect.to, (from, session) => ({
          ...effect,
          type: 'lifelineReceived',
          from,
          session,
        }))
        return
      case 'sendHeartbeat': {
        const { last } = effect
        for (const to of effect.to)
          mesh.send(this, to, (from) => ({ type: 'heartbeat', from, last }))
        return
      }
      case 'sendSuspicion': {
        const { peer, session } = effect
        const told = { type: 'suspected', peer, session } as const
        for (const to of effect.to) mesh.send(this, to, (from) => ({ ...told, from }))
        return
      }
      case 'startChunk':
        this.startChunk(effect)
        return
      case 'abortChunk': {
        const chunk = this.running.get(effect.chunk)
        if (chunk !== undefined) chunk.aborted = true
        mesh.at(mesh.now + 1, () => this.endChunk(effect.chunk, this.facts.session))
        return
      }
      case 'placeResult':
        this.place(effect)
        return
      case 'setTimer':
        this.setTimer(effect.timer, effect.at)
        return
      case 'clearTimer':
        this.timers.delete(effect.timer)
        return
      case 'breach':
        mesh.problem(`${this.name} accuses: ${effect.reason}`)
        return
      default:
    }
  }

  /** I3, I9: what is written follows what was written; a DONE names what was placed before it. */
  private append(entry: Entry): void {
    const { mesh } = this
    const feed = mesh.feedOf(entry.session)
    const last = feed.at(-1)
    if (entry.session !== this.facts.session)
      mesh.problem('I9: wrote into the feed of another session')
    if (entry.seq !== feed.length + 1 || (last !== undefined && entry.prev !== last.hash)) {
      mesh.problem(`I9: entry ${entry.seq} after ${feed.length} entries`)
    }
    feed.push(entry)
    this.disk.set(entry.hash, entry)
    if (entry.body.type !== 'done') return
    for (const { result } of entry.body.ranges) {
      if (result.kind === 'inline') continue
      const receipts = this.receipts.get(result.hash)
      if (receipts === undefined) mesh.problem('I3: a DONE before its result was placed')
      else if (receipts.join() !== result.keepers.join())
        mesh.problem('I3: other keepers than receipts')
    }
  }

  private answer(effect: Effect<'answerSteal'>): void {
    const { mesh } = this
    const { to, job, nonce, granted, running } = effect
    const thief = mesh.machines.find(({ facts }) => facts.peer === to)
    const feed = mesh.feedOf(this.facts.session)
    const written = feed.some(
      ({ body }) => body.type === 'grant' && body.to === thief?.facts.session,
    )
    if (granted && !written) mesh.problem('I3: a grant was answered before it was written')
    mesh.sync(this, to)
    mesh.send(this, to, (from) => ({ type: 'stealAnswered', from, job, nonce, granted, running }))
  }

  private startChunk({ chunk, lo, hi, budgetMs, speculative }: Effect<'startChunk'>): void {
    const { mesh } = this
    const started = { lo, hi, startedAt: mesh.now, speculative, aborted: false }
    this.running.set(chunk, started)
    const { itemMs } = this
    const most = Math.max(itemMs, Math.ceil(budgetMs / itemMs) * itemMs)
    const { session } = this.facts
    mesh.at(mesh.now + Math.min((hi - lo) * itemMs, most), () => this.endChunk(chunk, session))
  }

  private endChunk(chunk: number, session: SessionId): void {
    const running = this.running.get(chunk)
    if (running === undefined || this.facts.session !== session) return
    // A stopped process goes on where it was.
    if (this.pausedUntil > this.mesh.now) {
      this.mesh.at(this.pausedUntil + 1, () => this.endChunk(chunk, session))
      return
    }
    this.running.delete(chunk)
    const reached = this.progress(running)
    this.ran(running, reached)
    const elapsedMs = this.mesh.now - running.startedAt
    const large = this.mesh.random.oneIn(3)
    const outputBytes = large ? 5_000 : 8
    const more = large ? {} : { inline: new Uint8Array(8) }
    this.on({ type: 'chunkEnded', chunk, reached, failed: 0, elapsedMs, outputBytes, ...more })
  }

  private place({ chunk, keepers }: Effect<'placeResult'>): void {
    const { mesh } = this
    const { session } = this.facts
    const hash = simHash(`blob ${session} ${chunk}`) as BlobHash
    mesh.at(mesh.now + mesh.random.int(DELAY_MS), () => {
      if (this.scheduler === undefined || this.facts.session !== session) return
      const live = keepers
        .map((id) => mesh.machines.find(({ facts }) => facts.peer === id))
        .filter((it) => it !== undefined && (it === this || mesh.linked(this, it)))
        .filter(() => mesh.random.int(10) < 9) as Machine[]
      const kept = live.length > 0 ? live : [this]
      for (const keeper of kept) keeper.blobs.add(hash)
      const named = kept.map(({ facts }) => facts.peer)
      this.receipts.set(hash, named)
      const result = { kind: 'blob', hash, sizeBytes: 5_000, keepers: named } as const
      this.on({ type: 'chunkPlaced', chunk, result })
    })
  }

  private setTimer(timer: string, at: number): void {
    const { mesh } = this
    const { session } = this.facts
    this.timers.set(timer, at)
    const fire = () => {
      if (this.facts.session !== session || this.timers.get(timer) !== at) return
      if (this.pausedUntil > mesh.now) {
        mesh.at(this.pausedUntil + 1, fire)
        return
      }
      this.timers.delete(timer)
      this.on({ type: 'timerFired', timer })
    }
    mesh.at(at, fire)
  }
}

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
    const blobs = spans.filter(({ result }) => result.kind === 'blob')
    if (blobs.length === 0) return
    const { lo, hi, hash, result } = this.random.pick(blobs)
    if (result.kind === 'blob')
      for (const { blobs: held } of this.machines) held.delete(result.hash)
    this.lost = true
    machine.on({ type: 'resultLost', job: JOB, lo, hi, done: hash })
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
