import { JobFold } from '../../src/scheduler/fold.ts'
import { claimsOf } from '../../src/scheduler/rules.ts'
import {
  type Entry,
  type EntryBody,
  type EntryHash,
  type JobId,
  type OwnerSpan,
  type PeerFacts,
  type PeerId,
  type Range,
  type SchedulerEffect,
  type SchedulerEvent,
  type SessionId,
  ZERO_HASH,
} from '../../src/scheduler/types.ts'
import type { Byzantine, Mischief } from './faults.ts'
import type { Prng } from './prng.ts'
import { type Brain, DEAF, type Process } from './process.ts'
import { simHash, simSeal } from './seal.ts'

const BEAT_MS = 1_000
/** What it runs without owning it, items at most. */
const MAX_STOLEN_ITEMS = 20
/** Honest results that it declares lost: each costs a run of its items again, so not for ever. */
const MAX_LOST = 2

interface Known {
  readonly fold: JobFold
  readonly entries: Entry[]
  seq: number
  head: EntryHash
}

/**
 * A peer that breaks the protocol in any way but one: the results that it claims are of items that it ran. It knows what the others
 * tell it, answers as a live peer does, and does a wrong deed now and then.
 */
export class ByzantineBrain implements Brain {
  private readonly process: Process
  private readonly plan: Byzantine
  private readonly prng: Prng
  private readonly peers = new Map<PeerId, PeerFacts>()
  private readonly jobs = new Map<JobId, Known>()
  private readonly deeds: Readonly<Record<Mischief, (job: JobId, known: Known) => void>>
  private effects: SchedulerEffect[] = []
  private now = 0
  private started = false
  private lost = 0

  constructor(process: Process, plan: Byzantine, prng: Prng) {
    this.process = process
    this.plan = plan
    this.prng = prng
    this.deeds = {
      forger: (job, known) => this.forge(job, known),
      hoarder: (job, known) => this.hoard(job, known),
      forker: (job, known) => this.fork(job, known),
      replayer: (job, known) => this.replay(job, known),
      scribbler: (job) => this.scribble(job),
    }
  }

  isRunning(job: JobId): boolean {
    return this.jobs.get(job)?.fold.state === 'running'
  }

  handle(event: SchedulerEvent, now: number): SchedulerEffect[] {
    this.now = now
    if (!this.started) {
      this.started = true
      this.setTimer('beat', BEAT_MS)
      this.setTimer('deed', this.plan.everyMs)
    }
    this.take(event)
    const { effects } = this
    this.effects = []
    return effects
  }

  private take(event: SchedulerEvent): void {
    switch (event.type) {
      case 'peerSeen':
        this.peers.set(event.facts.peer, event.facts)
        return
      case 'peerGone':
        this.peers.delete(event.peer)
        return
      case 'entriesReceived':
      case 'jobLoaded':
        for (const entry of event.entries) this.learn(entry)
        return
      case 'stealRequested': {
        const { from: to, job, nonce } = event
        // Sometimes it says that it granted, without an entry.
        const granted = this.prng.chance(0.2)
        this.effects.push({ type: 'answerSteal', to, job, nonce, granted, running: [] })
        return
      }
      case 'timerFired':
        this.tick(event.timer)
        return
      default:
    }
  }

  private tick(timer: string): void {
    if (timer === 'beat') {
      this.setTimer('beat', BEAT_MS)
      this.effects.push({ type: 'sendHeartbeat', to: [...this.peers.keys()], last: false })
      return
    }
    this.setTimer('deed', this.plan.everyMs * (0.5 + this.prng.next()))
    const kind = this.prng.pick(this.plan.kinds)
    for (const [job, known] of this.jobs) {
      if (kind !== undefined && known.fold.state === 'running') this.deeds[kind](job, known)
    }
  }

  private setTimer(timer: string, ms: number): void {
    this.effects.push({ type: 'setTimer', timer, at: this.now + ms })
  }

  private learn(entry: Entry): void {
    let known = this.jobs.get(entry.job)
    if (known === undefined) {
      known = { fold: new JobFold(entry.job, DEAF), entries: [], seq: 0, head: ZERO_HASH }
      this.jobs.set(entry.job, known)
    }
    if (known.fold.add(entry)) known.entries.push(entry)
    known.fold.takeChange()
  }

  // ------------------------------------------------------------ deeds

  private write(job: JobId, known: Known, body: EntryBody): Entry {
    const entry = this.seal(job, known, body)
    known.seq = entry.seq
    known.head = entry.hash
    known.fold.add(entry)
    known.entries.push(entry)
    known.fold.takeChange()
    this.effects.push({ type: 'append', entry })
    return entry
  }

  private seal(job: JobId, known: Known, body: EntryBody): Entry {
    const { session } = this.process.facts
    const header = { author: this.process.id, session, job, seq: known.seq + 1, prev: known.head }
    return simSeal(header, body)
  }

  private tellAll(job: JobId): void {
    for (const to of this.peers.keys()) this.effects.push({ type: 'push', to, job })
    this.effects.push({ type: 'publish', job })
  }

  private forge(job: JobId, known: Known): void {
    const body = this.forgery(known)
    if (body === undefined) return
    this.write(job, known, body)
    this.tellAll(job)
  }

  private forgery(known: Known): EntryBody | undefined {
    const { prng } = this
    if (known.fold.spec?.options.controllers !== undefined && prng.chance(0.3)) {
      return prng.chance(0.5) ? { type: 'pause' } : { type: 'cancel', reason: 'I say so' }
    }
    const claim = this.someClaim(known)
    if (claim === undefined) return undefined
    const invented = prng.chance(0.3)
    const parent = invented ? (simHash(`${prng.next()}`) as EntryHash) : claim.parent
    const { lo, hi, hop } = claim
    const to = this.someSession()
    switch (prng.int(9)) {
      case 0:
        return { type: 'grant', to, ranges: [{ lo, hi, parent, epoch: claim.epoch, hop: hop + 1 }] }
      case 1:
        return { type: 'grant', to, ranges: [{ lo, hi, parent, epoch: 1e9, hop: 1e6 }] }
      case 2:
        return { type: 'reclaim', ranges: [{ lo, hi, parent, epoch: claim.epoch + 1e6 }] }
      case 3:
        return { type: 'release', ranges: [{ lo, hi, parent, epoch: claim.epoch, hop: hop + 1 }] }
      case 4:
        return this.stolenWork(claim, parent)
      case 5:
        return { type: 'grant', to, ranges: [{ lo: hi, hi: lo, parent, epoch: 0, hop: 1 }] }
      case 6: {
        const items = known.fold.items + 5
        return { type: 'reclaim', ranges: [{ lo: 0, hi: items, parent, epoch: claim.epoch + 1 }] }
      }
      case 7:
        return this.falseLoss(known) ?? { type: 'start', ranges: [{ lo, hi, parent }] }
      default: {
        const text = new TextEncoder().encode(`${to}|1|${parent}`)
        return { type: 'fork', first: text, second: text }
      }
    }
  }

  /** Runs what it does not own, and says so. */
  private stolenWork(range: Range, parent: EntryHash): EntryBody {
    const { lo } = range
    const hi = Math.min(range.hi, lo + 1 + this.prng.int(MAX_STOLEN_ITEMS))
    const { truth, clock } = this.process.world
    truth.ran(this.process.id, { lo, reached: hi, begun: hi, copy: true, at: clock.now })
    const result = { kind: 'inline', bytes: new Uint8Array(hi - lo) } as const
    return {
      type: 'done',
      ranges: [{ lo, hi, parent, failed: 0, elapsedMs: 1, chunks: 1, result }],
    }
  }

  private falseLoss({ fold }: Known): EntryBody | undefined {
    if (this.lost >= MAX_LOST) return undefined
    const span = this.prng.pick([...fold.dones])
    if (span === undefined) return undefined
    this.lost += 1
    return { type: 'lost', ranges: [{ lo: span.lo, hi: span.hi, done: span.hash }] }
  }

  /** Takes what a live peer holds, by the rules, and never runs it. */
  private hoard(job: JobId, known: Known): void {
    const span = this.prng.pick(this.foreignSpans(known))
    if (span !== undefined) {
      const open = known.fold.final.missing(span.lo, span.hi)
      const ranges = open.slice(0, 64).map(({ lo, hi }) => ({
        lo,
        hi,
        parent: span.hash,
        epoch: span.epoch + 1,
      }))
      this.write(job, known, { type: 'reclaim', ranges })
      this.tellAll(job)
    }
    for (const to of this.peers.keys()) {
      const nonce = this.prng.int(1e9)
      this.effects.push({ type: 'sendSteal', to, job, nonce, rate: 1e6, idle: 64 })
      this.effects.push({ type: 'sendLifeline', to, job, rate: 1e6, idle: 64 })
    }
  }

  /** Grants its own range to one, and tells the other half that it granted it to another; or two DONEs likewise. Once. */
  private fork(job: JobId, known: Known): void {
    const { process } = this
    const feed = process.ownFeed(job)
    if (feed.twin !== undefined) {
      this.forge(job, known)
      return
    }
    const own = [...known.fold.owners].find(({ owner }) => owner === process.facts.session)
    if (own === undefined) {
      this.hoard(job, known)
      return
    }
    const [a, b] = this.prng.chance(0.5)
      ? [this.doubleGrant(own), this.doubleGrant(own)]
      : [this.stolenWork(own, own.hash), this.stolenWork(own, ZERO_HASH)]
    const twin = process.world.book.fork(feed, known.seq)
    const second = this.seal(job, known, b)
    const first = this.write(job, known, a)
    if (first.hash === second.hash) return
    twin.entries.push(second)
    const sides = [...this.peers.keys()].map((peer) => [peer, this.prng.chance(0.5)] as const)
    process.world.clock.after(1, () => {
      for (const [peer, odd] of sides) {
        process.replica.sendRuns(peer, [{ feed: odd ? twin : feed, from: 0, upTo: first.seq }])
      }
    })
  }

  private doubleGrant(own: OwnerSpan): EntryBody {
    const to = this.someSession()
    const { lo, hi, hash: parent, epoch, hop } = own
    return { type: 'grant', to, ranges: [{ lo, hi, parent, epoch, hop: hop + 1 }] }
  }

  private replay(job: JobId, { entries }: Known): void {
    const { prng, process } = this
    const to = prng.pick([...this.peers.keys()])
    const facts = prng.pick([...this.peers.values()])
    if (to === undefined || facts === undefined) return
    const { peer, session } = facts
    const nonce = prng.int(50)
    this.effects.push({ type: 'sendSuspicion', to: [...this.peers.keys()], peer, session })
    this.effects.push({ type: 'sendHeartbeat', to: [to], last: prng.chance(0.5) })
    const granted = prng.chance(0.5)
    this.effects.push({
      type: 'answerSteal',
      to,
      job,
      nonce,
      granted,
      running: [{ lo: 0, hi: 9, ageMs: 1e7 }],
    })
    this.effects.push({ type: 'sendSteal', to, job, nonce, rate: 1, idle: 1 })
    const from = process.id
    const old = prng.pick(entries)
    if (old === undefined) return
    const feed = process.world.book.of(old.author, old.session, job)
    const upTo = Math.min(old.seq, process.host.held(feed))
    process.world.clock.after(1, () => {
      process.send(to, 'jobAck', (far) => far.handle({ type: 'jobAcknowledged', job, from }))
      if (upTo > 0) process.replica.sendRuns(to, [{ feed: process.host.side(feed), from: 0, upTo }])
    })
  }

  private scribble(_job: JobId): void {
    const { process } = this
    const to = this.prng.pick([...this.peers.keys()])
    if (to === undefined) return
    process.world.clock.after(1, () =>
      process.send(to, 'entries', (far) => far.replica.refuse(process)),
    )
  }

  // ------------------------------------------------------------ what it picks from

  private someClaim(known: Known): (OwnerSpan & { parent: EntryHash }) | undefined {
    const { fold, entries } = known
    if (this.prng.chance(0.5)) {
      const span = this.prng.pick(this.foreignSpans(known))
      if (span !== undefined) return { ...span, parent: span.hash }
    }
    const entry = this.prng.pick(entries)
    const claim = entry === undefined ? undefined : this.prng.pick(claimsOf(entry, fold.items))
    if (entry === undefined || claim === undefined || claim.lo >= claim.hi) return undefined
    return { ...claim, hash: entry.hash, parent: entry.hash }
  }

  private foreignSpans({ fold }: Known): OwnerSpan[] {
    const { session } = this.process.facts
    return [...fold.owners].filter(
      ({ owner, lo, hi }) => owner !== session && fold.final.countIn(lo, hi) < hi - lo,
    )
  }

  private someSession(): SessionId {
    return this.prng.pick([...this.peers.values()])?.session ?? this.process.facts.session
  }
}
