import type { Entry, JobId, PeerId } from '../../src/scheduler/types.ts'
import type { Feed, FeedRun } from './feeds.ts'
import { forkSide } from './fork.ts'
import type { Process } from './process.ts'

/** Neighbours that the author tells of the end. */
const END_PEERS = 64
/** What was written so recently is not on the disk's platters: a power cut takes it. */
const SYNC_MS = 20
/** Receipts of entries remembered for that. */
const MAX_RECENT = 64

/** Faults of a peer after which its connection is closed. */
const MAX_STRIKES = 5

/** A version vector: which side of each feed, up to which seq. */
type Heads = readonly FeedRun[]

/** How one process gets entries about, as src/node/replication.ts does: push, gossip, heads, pull, gaps. */
export class Replica {
  /** Runs whose signature this peer had to check, and entries in them. */
  verified = 0
  taken = 0
  private readonly process: Process
  /** How far this session's own feeds were sent to a peer, and gossiped. */
  private readonly sent = new Map<PeerId, Map<JobId, number>>()
  private readonly gossiped = new Map<JobId, number>()
  /** Own feeds, up to which seq they are written. */
  private readonly own = new Map<Feed, number>()
  private readonly strikes = new Map<PeerId, number>()
  private recent: { readonly feed: Feed; readonly had: number; readonly at: number }[] = []

  constructor(process: Process) {
    this.process = process
  }

  // ------------------------------------------------------------ the store

  appended(feed: Feed): void {
    if (!this.own.has(feed)) this.own.set(feed, 0)
    this.note(feed, feed.entries.length - 1)
  }

  staged(): Map<Feed, number> {
    return new Map([...this.own.keys()].map((feed) => [feed, feed.entries.length]))
  }

  written(staged?: ReadonlyMap<Feed, number>): void {
    for (const feed of this.own.keys()) this.own.set(feed, staged?.get(feed) ?? feed.entries.length)
  }

  /** What of the staged entries the process takes with it, and with the power what was not synced. */
  lose(power: boolean): void {
    const { host, world } = this.process
    for (const [feed, written] of this.own) host.folder.have.set(feed.index, written)
    if (!power) return
    for (const { feed, had, at } of this.recent.reverse()) {
      if (at < world.clock.now - SYNC_MS) continue
      host.folder.have.set(feed.index, Math.min(host.held(feed), had))
    }
  }

  private note(feed: Feed, had: number): void {
    const { world } = this.process
    if (!world.options.checked) return
    this.recent.push({ feed, had, at: world.clock.now })
    if (this.recent.length > 2 * MAX_RECENT) this.recent = this.recent.slice(-MAX_RECENT)
  }

  /** How much of a feed may be shown to others. */
  private shown(feed: Feed): number {
    return this.own.get(feed) ?? this.process.host.held(feed)
  }

  // ------------------------------------------------------------ out

  forgetPeer(peer: PeerId): void {
    this.sent.delete(peer)
  }

  peerHas(peer: PeerId, job: JobId, seq: number): void {
    const cursors = this.cursors(peer)
    if ((cursors.get(job) ?? 0) > seq) cursors.set(job, seq)
  }

  /** Up to where this peer has the far end's feed. */
  headOf(far: Process, job: JobId): number {
    return this.process.host.held(far.ownFeed(job))
  }

  nextRun(to: PeerId, job: JobId): FeedRun | undefined {
    const cursors = this.cursors(to)
    const run = this.runFrom(job, cursors.get(job) ?? 0)
    if (run !== undefined) cursors.set(job, run.upTo)
    return run
  }

  private runFrom(job: JobId, from: number): FeedRun | undefined {
    const { process } = this
    const trunk = process.ownFeed(job)
    const upTo = this.shown(trunk)
    return from < upTo ? { feed: trunk, from, upTo } : undefined
  }

  push(to: PeerId, job: JobId): void {
    if (!this.process.links.has(to)) return
    const run = this.nextRun(to, job)
    if (run !== undefined) this.sendRuns(to, [run])
  }

  sendRuns(to: PeerId, runs: readonly FeedRun[]): void {
    const { process } = this
    process.send(to, 'entries', (far) => far.replica.receive(runs, process))
  }

  publish(job: JobId): void {
    const run = this.runFrom(job, this.gossiped.get(job) ?? 0)
    if (run === undefined) return
    this.gossiped.set(job, run.upTo)
    this.process.world.gossip.publish(this.process, run)
  }

  tellEnd(job: JobId): void {
    const { process } = this
    if (!process.world.book.openings(job).some(({ author }) => author === process.id)) return
    for (const peer of [...process.links.keys()].slice(0, END_PEERS)) this.push(peer, job)
  }

  // ------------------------------------------------------------ version vectors

  greet(far: Process): void {
    const { process } = this
    const jobs = [...process.jobs].filter((job) => process.brain.isRunning(job))
    process.send(far.id, 'hello', () => {
      for (const job of jobs) {
        if (far.jobs.has(job)) far.replica.sendHeads(process.id, job, true)
        else far.replica.want(process, job)
      }
    })
  }

  /** Now and then: the version vector of each running job to one neighbour. */
  antiEntropy(): void {
    const { process } = this
    for (const job of process.jobs) {
      const peer = process.world.prng.pick([...process.links.keys()])
      if (peer === undefined || !process.brain.isRunning(job)) continue
      this.sendHeads(peer, job, true)
    }
  }

  resync(job: JobId, peers: readonly PeerId[]): void {
    for (const peer of peers) this.sendHeads(peer, job, true)
  }

  sendHeads(to: PeerId, job: JobId, reply: boolean): void {
    const { process } = this
    const heads = this.heads(job)
    process.send(to, 'heads', (far) => far.replica.compare(process, job, heads, reply))
  }

  heads(job: JobId): Heads {
    const { host, world } = this.process
    const heads: FeedRun[] = []
    for (const index of host.folder.have.keys()) {
      const trunk = world.book.all[index]!
      const upTo = this.shown(trunk)
      // What everybody has need not be compared.
      if (trunk.job === job && upTo > (host.common[index] ?? 0))
        heads.push({ feed: host.side(trunk), from: 0, upTo })
    }
    return heads
  }

  /** Where the other has more, or another side of a fork, it is pulled. */
  private compare(from: Process, job: JobId, theirs: Heads, reply: boolean): void {
    const { host } = this.process
    const wanted: FeedRun[] = []
    for (const { feed, upTo } of theirs) {
      const trunk = feed.trunk ?? feed
      const have = host.held(trunk)
      const fork = trunk.twin?.from
      if (fork !== undefined && host.folder.cuts.has(trunk)) {
        if (have < fork - 1) wanted.push({ feed, from: have, upTo: fork - 1 })
      } else if (fork !== undefined && have >= fork && upTo >= fork && feed !== host.side(trunk)) {
        wanted.push({ feed, from: fork - 1, upTo })
      } else if (upTo > have) wanted.push({ feed, from: have, upTo })
    }
    if (wanted.length > 0) this.pull(from, wanted)
    if (reply) this.sendHeads(from.id, job, false)
  }

  private pull(from: Process, wanted: readonly FeedRun[]): void {
    const { process } = this
    process.send(from.id, 'pull', (far) => far.replica.serve(process, wanted))
  }

  private serve(to: Process, wanted: readonly FeedRun[]): void {
    const { host } = this.process
    const runs: FeedRun[] = []
    for (const { feed, from } of wanted) {
      const trunk = feed.trunk ?? feed
      const upTo = this.shown(trunk)
      if (from < upTo) runs.push({ feed: host.side(trunk), from, upTo })
    }
    if (runs.length > 0) this.sendRuns(to.id, runs)
  }

  /** A job that is not known here. */
  private want(from: Process, job: JobId): void {
    const { process } = this
    const { past } = process.world
    if (past?.jobEntry !== undefined) {
      process.send(from.id, 'jobWanted', () => undefined)
      this.open(job, undefined)
      return
    }
    process.send(from.id, 'jobWanted', (far) => {
      const runs = far.replica.heads(job)
      if (runs.length > 0) far.replica.sendRuns(process.id, runs)
    })
  }

  /** Two peers meet, at once and without loss: at the end of a run, to see that one set of entries gives one fold. */
  meet(other: Process): void {
    for (const job of other.jobs) this.receive(other.replica.heads(job), other)
  }

  // ------------------------------------------------------------ in

  /** A run whose signature does not hold. */
  refuse(from: Process): void {
    const strikes = (this.strikes.get(from.id) ?? 0) + 1
    this.strikes.set(from.id, strikes % MAX_STRIKES)
    if (strikes === MAX_STRIKES) this.process.world.links.part(this.process, from)
  }

  /** Takes runs in; what is missing before them is pulled from `via`, or from any neighbour. */
  receive(runs: readonly FeedRun[], via: Process | undefined): void {
    const { process } = this
    const fresh: Entry[] = []
    const gaps: FeedRun[] = []
    for (const run of runs) this.takeRun(run, fresh, gaps)
    if (gaps.length > 0) {
      const from = via !== undefined && process.links.get(via.id) === via ? via : this.neighbour()
      if (from !== undefined) this.pull(from, gaps)
    }
    if (fresh.length > 0) this.takeIn(fresh, via)
  }

  private takeRun(run: FeedRun, fresh: Entry[], gaps: FeedRun[]): void {
    const { host } = this.process
    const trunk = run.feed.trunk ?? run.feed
    if (trunk.author === host.id && trunk.session === this.process.facts.session) return
    const have = host.held(trunk)
    const upTo = trunk.twin === undefined ? run.upTo : this.admit(trunk, run, have)
    if (upTo <= have) return
    if (run.from > have) {
      gaps.push({ feed: run.feed, from: have, upTo })
      return
    }
    this.verified += 1
    this.taken += upTo - have
    this.note(trunk, have)
    host.folder.have.set(trunk.index, upTo)
    const { entries } = run.feed
    for (let i = have; i < upTo; i += 1) fresh.push(entries[i]!)
  }

  /** Up to where a run of a forked feed may be taken; both sides seen: that is the proof, and the feed is cut. */
  private admit(trunk: Feed, run: FeedRun, have: number): number {
    const { host } = this.process
    const at = trunk.twin!.from
    const { branches, cuts } = host.folder
    if (cuts.has(trunk)) return Math.min(run.upTo, at - 1)
    if (run.upTo < at) return run.upTo
    if (have < at) {
      if (run.from <= have) branches.set(trunk, run.feed)
      return run.upTo
    }
    if (run.feed === host.side(trunk)) return run.upTo
    cuts.add(trunk)
    const first = forkSide(trunk, at)
    const second = forkSide(trunk.twin!.feed, at)
    if (this.process.jobs.has(trunk.job)) {
      this.process.handle({ type: 'forkFound', job: trunk.job, first, second })
    }
    return 0
  }

  /** Entries of a job whose JOB is not here wait for it on the disk. */
  private takeIn(fresh: readonly Entry[], via: Process | undefined): void {
    const { process } = this
    const byJob = new Map<JobId, Entry[]>()
    for (const entry of fresh) {
      const list = byJob.get(entry.job)
      if (list === undefined) byJob.set(entry.job, [entry])
      else list.push(entry)
    }
    for (const [job, entries] of byJob) {
      if (process.jobs.has(job)) {
        process.handle({ type: 'entriesReceived', entries, from: via?.id })
      } else if (entries.some(({ body }) => body.type === 'job')) {
        this.open(job, via)
      } else if (via !== undefined) {
        this.want(via, job)
      }
    }
  }

  private open(job: JobId, via: Process | undefined): void {
    const { process } = this
    process.jobs.add(job)
    const entries = this.allOf(job)
    process.handle({ type: 'entriesReceived', entries, from: via?.id })
    for (const { author } of process.world.book.openings(job)) {
      const from = process.id
      process.send(author, 'jobAck', (far) => far.handle({ type: 'jobAcknowledged', job, from }))
    }
    if (via !== undefined) this.sendHeads(via.id, job, true)
  }

  /** Everything held of a job, JOB first. */
  allOf(job: JobId): Entry[] {
    const { host, world } = this.process
    const entries: Entry[] = []
    for (const [index, upTo] of host.folder.have) {
      const trunk = world.book.all[index]!
      if (trunk.job !== job) continue
      const side = host.side(trunk).entries
      for (let i = 0; i < upTo; i += 1) entries.push(side[i]!)
    }
    const common = world.past?.jobEntry
    if (common !== undefined) entries.unshift(common)
    const opening = entries.findIndex(({ body }) => body.type === 'job')
    if (opening > 0) entries.unshift(...entries.splice(opening, 1))
    return entries
  }

  private neighbour(): Process | undefined {
    return this.process.world.prng.pick([...this.process.links.values()])
  }

  private cursors(peer: PeerId): Map<JobId, number> {
    let cursors = this.sent.get(peer)
    if (cursors === undefined) this.sent.set(peer, (cursors = new Map()))
    return cursors
  }
}
