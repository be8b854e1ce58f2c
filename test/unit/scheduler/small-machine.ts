/** A machine of the small mesh: a real scheduler, a disk that outlives it, and workers that take their time. */
import { Scheduler } from '../../../src/scheduler/scheduler.ts'
import type {
  BlobHash,
  Entry,
  EntryHash,
  PeerFacts,
  PeerId,
  ResultRef,
  SchedulerEffect,
  SchedulerEvent,
  SessionId,
} from '../../../src/scheduler/types.ts'
import { simHash, simSeal } from '../../sim/seal.ts'
import { factsOf, JOB } from './builders.ts'
import type { SmallMesh } from './small-mesh.ts'

type Effect<T extends SchedulerEffect['type']> = Extract<SchedulerEffect, { type: T }>

interface Running {
  readonly lo: number
  readonly hi: number
  readonly startedAt: number
  readonly speculative: boolean
  aborted: boolean
}

/** Milliseconds that placing a result takes at most. */
const PLACING_MS = 40
const SLOWNESS = 10

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
    mesh.at(mesh.now + mesh.random.int(PLACING_MS), () => {
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
