import { JobFold, type MakeFold } from '../../src/scheduler/fold.ts'
import type { Plan } from '../../src/scheduler/plan.ts'
import { RangeSet } from '../../src/scheduler/range-set.ts'
import { Scheduler } from '../../src/scheduler/scheduler.ts'
import type {
  BlobHash,
  Entry,
  JobId,
  JobSpec,
  PeerFacts,
  PeerId,
  SchedulerEffect,
  SchedulerEvent,
  SessionId,
} from '../../src/scheduler/types.ts'
import { needsOfItems } from '../helpers/random-plan.ts'
import { ByzantineBrain } from './byzantine.ts'
import { Clock } from './clock.ts'
import { CLOCK_EVERY_MS, type ControlOptions, needsClock, tellClock } from './control.ts'
import { type Faults, NO_FAULTS } from './faults.ts'
import { FeedBook } from './feeds.ts'
import { readSimFork } from './fork.ts'
import { Gossip } from './gossip.ts'
import { Host } from './host.ts'
import { FULL_MESH, Links } from './links.ts'
import { Network } from './network.ts'
import { Past } from './past.ts'
import { Prng } from './prng.ts'
import { type Brain, Process } from './process.ts'
import { simHash, simSeal } from './seal.ts'
import { Truth } from './truth.ts'
import { type CostShape, Workload } from './workload.ts'

export interface SimOptions {
  readonly seed: number
  /** At the start; joins come on top. */
  readonly peers: number
  readonly items: number
  /** Seconds the job takes when all slots that are there at the start work all the time. */
  readonly idealSeconds: number
  /** p95/p5 of the log-normal speeds. */
  readonly spread: number
  readonly slots: number
  /** Slots of the submitter. */
  readonly authorSlots: number
  readonly shape: CostShape
  /** σ of the logarithm of advertised over real speed: a short spin is no benchmark. */
  readonly advertError: number
  readonly chunkSize: number | undefined
  readonly speculate: boolean
  readonly replicas: number
  readonly leaseMs: number
  /** Bytes of one item's value: a chunk of over 1024 bytes goes to its keepers as a blob. */
  readonly valueBytes: number
  /** Keep a copy of every peer's views, note who ran what, and check it all at the end: for small meshes. */
  readonly checked: boolean
  /** Workers say in the middle of a chunk how far they are. */
  readonly tellProgress: boolean
  /** What gossip told everyone is kept once: for meshes whose logs would not fit into one machine's memory so many times. */
  readonly shared: boolean
  /** Tell the story of this item: what ran it, and what was written of it. */
  readonly watch: number | undefined
  /** When the job is submitted, ms. */
  readonly submitMs: number
  /** The job's options of control. */
  readonly control: ControlOptions
  /** Honest peers alone may cancel, pause and resume it. */
  readonly guarded: boolean
  /** Every so many items one throws, on its first tries. */
  readonly throwEvery: number | undefined
  /** Every so many items one fails for good. */
  readonly failEvery: number | undefined
  /** The job is this composition; `items` are those of its nodes. */
  readonly plan?: Plan
  /** Until its plan is with another peer, at most. */
  readonly planMs: number
}

export const DEFAULTS: SimOptions = {
  seed: 1,
  peers: 20,
  items: 20_000,
  idealSeconds: 60,
  spread: 10,
  slots: 1,
  authorSlots: 1,
  shape: 'noisy',
  advertError: 0.2,
  chunkSize: undefined,
  speculate: true,
  replicas: 2,
  leaseMs: 10_000,
  valueBytes: 16,
  checked: true,
  tellProgress: true,
  shared: false,
  watch: undefined,
  submitMs: 2_000,
  planMs: 300,
  control: {},
  guarded: false,
  throwEvery: undefined,
  failEvery: undefined,
}

type NodeChunk = Pick<
  Extract<SchedulerEffect, { type: 'startChunk' }>,
  'lo' | 'hi' | 'node' | 'nodeLo'
>

/** Sessions that an item may end. */
const DEATHS = 3
/** As src/node: version vectors to one neighbour, adverts to all. */
const ANTI_ENTROPY_MS = 5_000
const ADVERT_MS = 15_000

/** Hosts, network, clock and the truth about what ran. */
export class World {
  readonly options: SimOptions
  readonly faults: Faults
  readonly prng: Prng
  readonly clock = new Clock()
  readonly network: Network
  readonly workload: Workload
  readonly truth: Truth
  readonly book = new FeedBook()
  readonly gossip: Gossip
  readonly links: Links
  readonly hosts: Host[] = []
  /** In a large mesh: what gossip told everyone. */
  past: Past | undefined
  /** Sessions that run a copy of what another runs. */
  readonly copiers = new Set<SessionId>()
  /** Leases that ended while the session was there, and all of them. */
  readonly leases = { ended: 0, wrongly: 0 }
  byzantineEntries = 0
  readonly story: string[] = []
  /** Peers that go for good at some time. */
  readonly doomed: ReadonlySet<number>
  /** Of a composition: what each item needs. */
  private readonly needs: readonly ReadonlySet<number>[] | undefined
  /** Slot-time that was really there since the job was submitted, ms of a slot of speed 1. */
  private readonly available: { readonly at: number; readonly power: number }[] = []
  private readonly byId = new Map<PeerId, Host>()
  private readonly small: boolean
  private readonly sessions = new Map<SessionId, Process>()

  constructor(options: Partial<SimOptions>, faults: Faults = NO_FAULTS) {
    this.options = { ...DEFAULTS, ...options }
    this.faults = faults
    const { seed, peers, items, shape, spread, idealSeconds, checked } = this.options
    this.prng = new Prng(seed * 7919 + 13)
    this.network = new Network(this.clock, this.prng, faults.network)
    this.workload = new Workload(items, shape, this.prng)
    this.truth = new Truth(this.workload, checked)
    const total = peers + faults.joins.length
    this.doomed = new Set([
      ...faults.crashes.flatMap(({ peer, restartMs }) => (restartMs === undefined ? [peer] : [])),
      ...faults.leaves.flatMap(({ peer, returnMs }) => (returnMs === undefined ? [peer] : [])),
    ])
    this.needs = this.options.plan === undefined ? undefined : needsOfItems(this.options.plan)
    this.small = total <= FULL_MESH
    this.gossip = new Gossip(this, total)
    this.links = new Links(this)
    const sigma = Math.log(spread) / (2 * 1.645)
    let power = 0
    for (let i = 0; i < total; i += 1) {
      const host = this.addHost(i, sigma)
      if (i < peers) power += host.facts.speed * host.facts.slots
    }
    this.workload.scale(idealSeconds * 1000 * Math.max(power, 0.1))
  }

  hostOf(id: PeerId): Host | undefined {
    return this.byId.get(id)
  }

  processOf(session: SessionId): Process | undefined {
    return this.sessions.get(session)
  }

  /** Processes that live and keep to the protocol. */
  honest(): Process[] {
    return this.hosts.flatMap(({ process, honest }) =>
      process !== undefined && honest ? [process] : [],
    )
  }

  /** A process starts on the host's folder. */
  start(host: Host): Process {
    const { folder, facts } = host
    folder.sessionNumber += 1
    // Two starts from one copy of a folder are two sessions all the same.
    const name = `session ${this.options.seed} ${host.index} ${this.sessions.size}`
    const session = simHash(name).slice(0, 32) as SessionId
    const predecessors = [...folder.sessions]
    folder.sessions.push(session)
    const peerFacts: PeerFacts = {
      peer: host.id,
      session,
      sessionNumber: folder.sessionNumber,
      slots: facts.slots,
      speed: facts.advertisedSpeed,
    }
    const process = new Process(this, host, peerFacts, (self) => this.brainFor(self, predecessors))
    host.process = process
    host.powered = true
    this.sessions.set(session, process)
    this.capacity(host, true)
    process.load()
    this.links.started(process)
    this.gossip.listen(process)
    if (needsClock(this.options.control)) {
      tellClock(this, process)
      this.every(process, CLOCK_EVERY_MS, false, () => tellClock(this, process))
    }
    this.every(process, ADVERT_MS, true, () => this.gossip.advertise(process))
    this.every(process, ANTI_ENTROPY_MS, false, () => process.replica.antiEntropy())
    return process
  }

  submit(author: Host): JobId {
    const { seed, items, chunkSize, speculate, replicas, plan } = this.options
    const spec: JobSpec = {
      v: 1,
      task: {
        kind: plan === undefined ? 'module' : 'graph',
        name: 'sim',
        bundle: simHash('bundle') as JobSpec['task']['bundle'],
        bundleBytes: 1,
      },
      input: { kind: 'range', start: 0, count: items },
      options: {
        ...this.options.control,
        ...(this.options.guarded ? { controllers: this.controllers() } : {}),
        replicas,
        speculate,
        ...(chunkSize === undefined ? {} : { chunkSize }),
      },
      nonce: simHash(`nonce ${seed}`),
    }
    const job = simHash(JSON.stringify(spec)) as JobId
    if (this.options.shared) this.share(job)
    const submitted: SchedulerEvent = {
      type: 'submitted',
      job,
      spec,
      at: 0,
      ...(plan === undefined ? {} : { plan }),
    }
    const submit = (): void => {
      const { process } = author
      // A stopped or dead peer takes no command.
      if (process === undefined || process.stopped) this.clock.after(100, submit)
      else process.run('io', () => process.handle(submitted))
    }
    this.clock.at(this.options.submitMs, submit)
    return job
  }

  private controllers(): PeerId[] {
    return this.hosts.filter(({ honest }) => honest).map(({ id }) => id)
  }

  get idealMs(): number {
    return this.options.idealSeconds * 1000
  }

  /** Somebody who is there, or comes back, has the blob. */
  isKept(hash: BlobHash): boolean {
    for (const id of this.truth.blobs.get(hash) ?? []) {
      const host = this.hostOf(id)
      if (host?.honest === true && (host.expected || host.process !== undefined)) return true
    }
    return false
  }

  private share(job: JobId): void {
    this.past = new Past(this, job, this.gossip.hops)
    for (const host of this.hosts) host.common = this.past.have
  }

  /** Whether the JOB may be gone from every disk that had it: never synced, or an old copy of the folder. */
  mayLoseJob(): boolean {
    return this.faults.crashes.some(
      ({ peer, power, folderAgeMs }) =>
        power || folderAgeMs > 0 || (peer === 0 && this.faults.writeMs > 0),
    )
  }

  /** The host's slots come or go. */
  capacity(host: Host, there: boolean): void {
    if (!host.honest) return
    const { slots, speed } = host.facts
    const before = this.available.at(-1)?.power ?? 0
    const power = before + (there ? slots * speed : -slots * speed)
    this.available.push({ at: this.clock.now, power })
  }

  /** What the slots that were there could have done until `until`. */
  capacityUntil(until: number): number {
    let sum = 0
    for (const [i, { at, power }] of this.available.entries()) {
      const end = Math.min(until, this.available[i + 1]?.at ?? until)
      sum += power * Math.max(0, end - Math.max(at, this.options.submitMs))
    }
    return sum
  }

  /** A line of the story of the watched item, when lo..hi-1 holds it. */
  tell(by: Process, text: string, lo: number, hi: number): void {
    const { watch } = this.options
    if (watch === undefined || watch < lo || watch >= hi) return
    this.story.push(`${this.clock.now.toFixed(1).padStart(9)} ${by.name}: ${text} ${lo}..${hi}`)
  }

  tellEntry(by: Process, { seq, hash, body }: Entry): void {
    if (this.options.watch === undefined || !('ranges' in body)) return
    for (const range of body.ranges) {
      const to = body.type === 'grant' ? ` to ${this.sessions.get(body.to)?.name}` : ''
      const parent = 'parent' in range ? ` out of ${range.parent.slice(0, 6)}` : ''
      const epoch = 'epoch' in range ? ` epoch ${range.epoch}` : ''
      const text = `writes ${hash.slice(0, 6)} (${seq}) ${body.type}${to}${parent}${epoch}`
      this.tell(by, text, range.lo, range.hi)
    }
  }

  /** FAIL is right only where so many sessions died after they had announced the item (docs/protocol.md, "Work"). */
  checkFail(by: Process, entry: Entry): void {
    if (entry.body.type !== 'fail' || !this.options.checked) return
    for (const { lo, hi } of entry.body.ranges) {
      for (let item = lo; item < hi; item += 1) {
        const dead = new Set<SessionId>()
        for (const { session, body } of this.book.entries(entry.job)) {
          if (body.type !== 'start' || this.sessions.get(session)?.alive === true) continue
          if (body.ranges.some((range) => range.lo <= item && item < range.hi)) dead.add(session)
        }
        if (dead.size >= DEATHS) this.truth.givenUp.add(item)
        else
          this.truth.problem(
            `${by.name} gives up item ${item}, on which ${dead.size} sessions died`,
          )
      }
    }
  }

  /** Of a composition: what a chunk's items need is final where it starts, and they are of one node. */
  checkReady(by: Process, job: JobId, { lo, hi, node, nodeLo }: NodeChunk): void {
    const { plan } = this.options
    const { scheduler } = by.brain
    if (plan === undefined || this.needs === undefined || scheduler === undefined) return
    const { count } = plan.nodes[node ?? -1] ?? { count: 0 }
    if (nodeLo === undefined || lo < nodeLo || hi > nodeLo + count) {
      this.truth.problem(`${by.name} starts ${lo}..${hi} as items of node ${node}`)
    }
    const failed = new RangeSet(scheduler.failures(job))
    for (let item = lo; item < hi; item += 1) {
      for (const need of this.needs[item]!) {
        if (scheduler.doneAt(job, need) !== undefined || failed.has(need)) continue
        this.truth.problem(`${by.name} starts item ${item}, which needs ${need}`)
      }
    }
  }

  /** Whoever looks: a lease ended there. */
  leaseEnded(by: Process, session: SessionId): void {
    this.leases.ended += 1
    const process = this.sessions.get(session)
    const item = this.options.watch
    if (item !== undefined) {
      this.tell(by, `lease ended of ${process?.name ?? session}; item`, item, item + 1)
    }
    if (process?.alive === true && by.host.honest && process.host.honest) this.leases.wrongly += 1
  }

  /** No honest peer is to be accused by another. */
  breach(by: Process, peer: PeerId, reason: string): void {
    const accused = this.hostOf(peer)
    if (!by.host.honest || accused?.honest !== true) return
    this.truth.problem(`${by.name} accuses honest peer ${accused.index}: ${reason}`)
  }

  private every(process: Process, ms: number, soon: boolean, work: () => void): void {
    const again = (wait: number): void =>
      this.clock.after(wait, () => {
        if (!process.alive) return
        process.run('timer', work)
        again(ms)
      })
    again(soon ? this.network.latency(1) : ms * this.prng.next())
  }

  private brainFor(process: Process, predecessors: readonly SessionId[]): Brain {
    const { byzantine } = process.host.facts
    const random = this.prng.fork().next
    if (byzantine !== undefined) return new ByzantineBrain(process, byzantine, this.prng.fork())
    // The job, and with it the shared past, comes later.
    const makeFold: MakeFold = (job, listener) =>
      this.past?.foldFor(process)(job, listener) ?? new JobFold(job, listener, readSimFork)
    const config = {
      self: process.facts,
      leaseMs: this.options.leaseMs,
      expectsPeers: this.hosts.length > 1,
      seal: simSeal,
      random,
      predecessors,
      readFork: readSimFork,
    }
    const scheduler = new Scheduler(config, makeFold)
    return {
      scheduler,
      handle: (event, now) => scheduler.handle(event, now),
      isRunning: (job) => scheduler.job(job)?.state === 'running',
    }
  }

  private addHost(i: number, sigma: number): Host {
    const { seed, slots, authorSlots, advertError } = this.options
    const { drift, byzantine } = this.faults
    const speed = this.prng.logNormal(sigma)
    const host = new Host({
      index: i,
      id: simHash(`peer ${seed} ${i}`) as PeerId,
      slots: i === 0 ? authorSlots : slots,
      speed,
      advertisedSpeed: speed * Math.exp(advertError * this.prng.gauss()),
      byzantine: byzantine.find(({ peer }) => peer === i),
      clockRate: 1 + drift * (2 * this.prng.next() - 1),
      clockOffset: drift === 0 ? 0 : 1e6 * this.prng.next(),
    })
    this.hosts.push(host)
    this.byId.set(host.id, host)
    this.links.add(host, this.small)
    return host
  }
}
