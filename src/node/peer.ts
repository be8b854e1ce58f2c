import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMeshError, MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { pause } from '../base/pause.ts'
import { ChosenGpu } from '../gpu/chosen-gpu.ts'
import { KernelCalls } from '../gpu/kernel-calls.ts'
import { KernelRunner } from '../gpu/kernel-runner.ts'
import { createRuntime } from '../runtime/pool.ts'
import type { Runtime } from '../runtime/types.ts'
import type { Plan } from '../scheduler/plan.ts'
import { Scheduler } from '../scheduler/scheduler.ts'
import type {
  JobId,
  JobSpec,
  PeerFacts,
  PeerId,
  SchedulerEffect,
  SessionId,
} from '../scheduler/types.ts'
import { seal } from '../store/entry-codec.ts'
import { readForkProof } from '../store/fork-proof.ts'
import type { Identity } from '../store/identity.ts'
import { createVerifier } from '../store/signatures.ts'
import type { Run, Store } from '../store/types.ts'
import { Advertiser } from './advertiser.ts'
import { BlobExchange } from './blob-exchange.ts'
import { ChunkRunner } from './chunk-runner.ts'
import { Engine } from './engine.ts'
import { gpuFactsOf, kernelSpeedOf } from './gpu-facts.ts'
import { Inputs } from './inputs.ts'
import { JobWatch } from './job-watch.ts'
import {
  ADVERT_INTERVAL_MS,
  ANTI_ENTROPY_INTERVAL_MS,
  CLOCK_INTERVAL_MS,
  CLOCK_PATIENCE_MS,
  MAX_CLOCKS_TOLD,
  MAX_WARNINGS,
  NEWS_INTERVAL_MS,
  STEAL_ANSWER_MS,
  STOP_GRACE_MS,
} from './limits.ts'
import { LogExchange } from './log-exchange.ts'
import { LogRings } from './log-rings.ts'
import { MeshClock } from './mesh-clock.ts'
import { PeerJobs } from './peer-jobs.ts'
import { Plans } from './plans.ts'
import { Replication } from './replication.ts'
import { DISK_LABEL, EMBEDDED_LABEL, machineFacts, Roster } from './roster.ts'
import { Router } from './router.ts'
import { measureSpeed } from './speed.ts'
import { Strikes } from './strikes.ts'
import { createTransport, type Libp2pTransportOptions } from './transport/libp2p-transport.ts'
import type { Transport, TransportEvents } from './transport/types.ts'
import { Upkeep, type UpkeepConfig } from './upkeep.ts'
import { encodeMessage, encodeRuns } from './wire/encode.ts'
import { MAX_GOSSIP_BYTES } from './wire/limits.ts'
import type { WireMessage } from './wire/messages.ts'

/** The event loop is looked at 20 times a second: more often, the looking shows in an idle peer's CPU. */
const LOOP_DELAY_RESOLUTION_MS = 50

export interface PeerConfig {
  readonly identity: Identity
  readonly store: Store
  readonly meshKey: Uint8Array
  /** Earlier sessions of this peer on its folder: what they held, this one reclaims. */
  readonly predecessors: readonly SessionId[]
  /** How long a peer may be silent before others take what it held, ms. */
  readonly leaseMs?: number
  readonly name: string
  readonly version: string
  /** Worker slots lent; 0 lends nothing. */
  readonly slots: number
  /** What jobs may require of this peer. */
  readonly labels?: Readonly<Record<string, string>>
  readonly listen: readonly string[]
  /** What others are told in place of `listen`: behind a forwarded port. */
  readonly announce?: readonly string[]
  readonly bootstrap: readonly string[]
  readonly mdns: boolean
  /** Where kernels run; default: where `auto` finds a GPU, else on the CPU. */
  readonly gpu?: ChosenGpu
  /** Where the arrays of kernel calls lie while they run: emptied at the start. */
  readonly callsDir: string
  readonly log: Logger
  /** What this machine's clock says, ms since 1970; another one in tests. */
  readonly wallClock?: () => number
  /** What it keeps, and for how long. */
  readonly upkeep?: UpkeepConfig
  /** The peer cannot go on, and should be stopped. */
  readonly onFailure: (error: MeshError) => void
}

/** One live peer: the scheduler, the store, the workers and the mesh, wired together. Nothing is computed in this process. */
export class Peer {
  readonly id: PeerId
  readonly config: PeerConfig
  readonly store: Store
  readonly scheduler: Scheduler
  readonly engine: Engine
  readonly roster: Roster
  readonly watch: JobWatch
  readonly logs = new LogRings()
  readonly exchange: BlobExchange
  readonly inputs: Inputs
  readonly runtime: Runtime
  readonly gpu: ChosenGpu
  readonly kernels: KernelRunner
  private readonly calls: KernelCalls
  readonly replication: Replication
  readonly logExchange: LogExchange
  readonly advertiser: Advertiser
  readonly strikes: Strikes
  readonly upkeep: Upkeep
  readonly jobs: PeerJobs
  readonly clock: MeshClock
  readonly startedAt = performance.now()
  readonly warnings: string[] = []
  private readonly plans: Plans
  private readonly chunks: ChunkRunner
  private readonly router: Router
  private readonly log: Logger
  private readonly facts: PeerFacts
  private readonly wallClock: () => number
  private readonly timers: NodeJS.Timeout[] = []
  private readonly newsListeners = new Set<() => void>()
  private readonly loopDelay = monitorEventLoopDelay({ resolution: LOOP_DELAY_RESOLUTION_MS })
  private transportOrNone: Transport | undefined
  private stopping: Promise<void> | undefined
  private failure: MeshError | undefined

  constructor(config: PeerConfig) {
    this.config = config
    this.id = config.identity.peer
    this.wallClock = config.wallClock ?? Date.now
    this.log = config.log.child('peer')
    this.store = config.store
    const { session, sessionNumber } = config.identity
    const machine = machineFacts()
    this.facts = {
      peer: this.id,
      session,
      sessionNumber,
      slots: config.slots,
      speed: Math.round(measureSpeed() * 1000) / 1000,
      cores: machine.cores,
      memoryBytes: machine.memoryBytes,
      labels: config.labels ?? {},
    }
    const verify = createVerifier()
    this.scheduler = new Scheduler({
      self: this.facts,
      seal,
      random: Math.random,
      predecessors: config.predecessors,
      expectsPeers: config.bootstrap.length > 0,
      ...(config.leaseMs === undefined ? {} : { leaseMs: config.leaseMs }),
      readFork: (first, second) => readForkProof(first, second, verify),
    })
    this.engine = new Engine(this.scheduler, this.store)
    const now = () => this.engine.now()
    this.strikes = new Strikes(this.log)
    this.roster = new Roster(now, (peer) => this.scheduler.liveness(peer))
    this.watch = new JobWatch(now)
    this.exchange = new BlobExchange(
      this.store.blobs,
      () => this.transport,
      config.log.child('blobs'),
    )
    this.inputs = new Inputs(this.store.blobs, this.exchange, this.scheduler)
    this.gpu = config.gpu ?? new ChosenGpu({ mode: 'auto' }, config.log)
    this.kernels = new KernelRunner({ gpu: () => this.gpu.device(), log: config.log })
    this.calls = new KernelCalls({
      launch: (launch, options) => this.kernels.launch(launch, options),
      folder: config.callsDir,
      log: config.log.child('gpu'),
    })
    this.runtime = createRuntime({
      slots: config.slots,
      logger: config.log.child('runtime'),
      serveGpu: this.calls.serve,
    })
    const dispatch = this.engine.dispatch.bind(this.engine)
    this.upkeep = new Upkeep({
      self: this.id,
      config: config.upkeep ?? {},
      expectsPeers: config.bootstrap.length > 0,
      store: this.store,
      scheduler: this.scheduler,
      exchange: this.exchange,
      inputs: this.inputs,
      roster: this.roster,
      transport: () => this.transportOrNone,
      sendJob: (to, job) => this.replication.sendJob(to, job),
      send: (to, message) => this.send(to, message),
      dispatch,
      letGo: (job) => this.jobs.forget(job),
      advertise: () => this.advertiser.publish(),
      now,
      log: config.log,
    })
    this.clock = new MeshClock({
      now,
      wallClock: this.wallClock,
      live: (peer) => this.upkeep.presence.live(peer),
      changed: (offsetMs) => dispatch({ type: 'clockSet', offsetMs }),
    })
    this.plans = new Plans({
      blobs: this.store.blobs,
      exchange: this.exchange,
      scheduler: this.scheduler,
      dispatch,
      missing: this.upkeep.missing,
      log: config.log.child('plans'),
    })
    this.chunks = new ChunkRunner({
      runtime: this.runtime,
      kernels: this.kernels,
      inputs: this.inputs,
      exchange: this.exchange,
      blobs: this.store.blobs,
      logs: this.logs,
      scheduler: this.scheduler,
      transport: () => this.transport,
      peer: { id: this.id, name: config.name },
      dispatch,
      log: config.log.child('chunks'),
      warn: (message) => this.warn(message),
      missing: this.upkeep.missing,
      tooFew: () => this.upkeep.keepers.tooFew(),
      diskFull: () => void this.upkeep.disk.wroteInVain(),
    })
    this.replication = new Replication({
      store: this.store,
      scheduler: this.scheduler,
      self: { author: this.id, session },
      dispatch,
      send: (to, message) => this.send(to, message),
      gossip: (topic, runs) => this.gossip(topic, runs),
      newerLog: (from) =>
        this.warn(
          `peer ${this.roster.name(from)} writes a newer log format: update this machine to take part in its jobs`,
        ),
      connected: () => this.transportOrNone?.connected() ?? [],
      strike: (peer, reason) => this.strikes.add(peer, reason),
      jobArrived: (job, author, from) => this.jobs.arrived(job, author, from),
      reopen: (job) => void this.jobs.takeUp(job).catch((error) => this.writeFailed(error)),
      log: config.log.child('replication'),
    })
    this.logExchange = new LogExchange({
      rings: this.logs,
      send: (to, message) => this.send(to, message),
      connected: () => this.transport.connected(),
      isRunning: (job) => this.scheduler.job(job)?.state === 'running',
    })
    this.advertiser = new Advertiser({
      facts: this.facts,
      name: config.name,
      version: config.version,
      addresses: () => this.transportOrNone?.addresses() ?? [],
      busySlots: () => this.runtime.stats().busy,
      itemsDone: () =>
        this.scheduler.jobs().reduce((sum, view) => sum + (view.doneBy.get(this.id) ?? 0), 0),
      sign: config.identity.sign,
      publish: (advert) => this.transportOrNone?.publish('adverts', advert),
      now,
      lends: () => !this.upkeep.disk.short,
      gpu: () => gpuFactsOf(this.gpu),
      labels: () => ({
        // The first ones stay where an advert has no room for all.
        ...(this.upkeep.disk.short && { [DISK_LABEL]: 'full' }),
        ...(config.upkeep?.embedded === true && { [EMBEDDED_LABEL]: '1' }),
        ...config.labels,
      }),
    })
    this.jobs = new PeerJobs({
      self: this.id,
      store: this.store,
      scheduler: this.scheduler,
      replication: this.replication,
      inputs: this.inputs,
      watch: this.watch,
      logExchange: this.logExchange,
      upkeep: this.upkeep,
      dispatch,
      connected: () => this.transportOrNone?.connected() ?? [],
      acknowledge: (to, job) => void this.send(to, { kind: 'jobAck', job, held: true }),
      writeFailed: (error) => this.writeFailed(error),
      now,
    })
    this.router = new Router({
      self: this.id,
      version: config.version,
      warn: (message) => this.warn(message),
      scheduler: this.scheduler,
      replication: this.replication,
      logExchange: this.logExchange,
      finder: this.upkeep.finder,
      roster: this.roster,
      transport: () => this.transportOrNone,
      dispatch,
      send: (to, message) => this.send(to, message),
      acknowledged: (job, by) => this.jobs.acknowledged(by, job),
      clock: (from, ms) => this.clock.heard(from, ms),
      strike: (peer, reason) => this.strikes.add(peer, reason),
      log: config.log.child('router'),
    })
  }

  get transport(): Transport {
    if (this.transportOrNone === undefined) {
      throw new MeshError('ERR_MESH_STOPPED', 'this peer is not running')
    }
    return this.transportOrNone
  }

  get loopDelayMs(): { p50: number; p99: number; max: number } {
    const ms = (ns: number) =>
      Math.max(0, Math.round((ns / 1e6 - LOOP_DELAY_RESOLUTION_MS) * 10) / 10)
    const { loopDelay } = this
    return {
      p50: ms(loopDelay.percentile(50)),
      p99: ms(loopDelay.percentile(99)),
      max: ms(loopDelay.max),
    }
  }

  async start(): Promise<void> {
    this.attach()
    await this.jobs.read()
    await this.upkeep.start()
    const options: Libp2pTransportOptions = {
      privateKey: this.config.identity.seed,
      meshKey: this.config.meshKey,
      listen: this.config.listen,
      announce: this.config.announce ?? [],
      bootstrap: this.config.bootstrap,
      mdns: this.config.mdns,
      events: this.transportEvents(),
      logger: this.config.log.child('transport'),
    }
    this.transportOrNone = await createTransport(options)
    this.loopDelay.enable()
    this.every(ADVERT_INTERVAL_MS, () => this.advertiser.publish())
    this.every(ANTI_ENTROPY_INTERVAL_MS, () => this.antiEntropy())
    this.every(NEWS_INTERVAL_MS, () => this.tellNews())
    this.every(CLOCK_INTERVAL_MS, () => this.tellClock())
    void this.firstClock()
    this.jobs.takeUpAll()
    if (this.config.slots > 0) this.lookForGpu()
  }

  /** A peer whose own clock may be wrong hears those of others before it starts what was to start at some time. */
  private async firstClock(): Promise<void> {
    if (this.config.bootstrap.length > 0) {
      await this.upkeep.firstContact()
      await pause(CLOCK_PATIENCE_MS)
    }
    this.clock.look()
  }

  private tellClock(): void {
    this.clock.look()
    const others = [...this.transport.connected()]
    for (let told = 0; told < MAX_CLOCKS_TOLD && others.length > 0; told += 1) {
      const [peer] = others.splice(Math.floor(Math.random() * others.length), 1)
      this.send(peer!, { kind: 'clock', ms: this.wallClock() })
    }
  }

  /** In the background: a peer is there for other work meanwhile. */
  private lookForGpu(): void {
    void this.gpu.look().then(() => {
      const facts = gpuFactsOf(this.gpu)
      const { unused } = this.gpu
      if (unused !== undefined) this.warn(`no GPU is used here: ${unused}`)
      if (facts === null || this.transportOrNone === undefined) return
      this.engine.dispatch({ type: 'gpuFound', kernelSpeed: kernelSpeedOf(facts) })
      this.advertiser.publish()
    })
  }

  /** Takes a job in; resolves when it is written (with no other peer: synced to disk). ERR_MESH_STOPPED, ERR_MESH_DISK_FULL. */
  async submit(job: JobId, spec: JobSpec, at: number, plan?: Plan): Promise<void> {
    if (this.stopping !== undefined)
      throw new MeshError('ERR_MESH_STOPPED', 'this peer is stopping')
    if (this.failure !== undefined) throw this.failure
    await this.jobs.submit(job, spec, at, plan)
  }

  /** Hands its ranges on, says so, and stops; what is running gets a moment to end. */
  stop(): Promise<void> {
    this.stopping ??= this.shutDown()
    return this.stopping
  }

  // ------------------------------------------------------------ start and stop

  /** Each step is done whatever became of the one before: a full disk must not keep a peer from letting go. */
  private async shutDown(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer)
    this.gpu.close()
    this.plans.close()
    this.advertiser.close()
    const failures: unknown[] = []
    const step = async (work: () => unknown) => {
      try {
        await work()
      } catch (error) {
        failures.push(error)
      }
    }
    if (this.transportOrNone !== undefined) {
      await step(() => this.handOver())
      await step(() => this.upkeep.handOn())
    }
    this.watch.closeAll()
    await step(() => this.runtime.close())
    await step(() => this.kernels.close())
    await step(() => this.calls.close())
    await step(() => this.transportOrNone?.stop())
    await step(() => this.upkeep.close())
    this.engine.close()
    this.loopDelay.disable()
    await step(() => this.store.flush({ sync: true }))
    await step(() => this.store.close())
    for (const error of failures) this.log.error('while stopping', { error: String(error) })
  }

  /** What this peer holds goes to others: finished items as results, the rest as RELEASE. */
  private async handOver(): Promise<void> {
    const leaving = this.advertiser.leaving()
    for (const peer of this.transport.connected())
      this.send(peer, { kind: 'advert', bytes: leaving })
    this.engine.dispatch({ type: 'stopping' })
    await this.chunks.abortAll(STOP_GRACE_MS)
    await this.engine.settled()
    await this.chunks.idle(STOP_GRACE_MS)
    this.chunks.returnAll()
    const until = this.engine.now() + STEAL_ANSWER_MS
    while (this.scheduler.awaitsAnswer() && this.engine.now() < until) await pause(20)
    await this.engine.settled()
    await this.replication.settled()
  }

  private every(ms: number, work: () => void): void {
    const guarded = () => {
      try {
        work()
      } catch (error) {
        this.log.error('periodic work failed', { error: String(error) })
      }
    }
    this.timers.push(setInterval(guarded, ms))
  }

  // ------------------------------------------------------------ the scheduler's effects

  private attach(): void {
    this.engine.attach({
      push: (to, job) => void this.replication.push(to, job),
      publish: (job) => void this.replication.publish(job).catch((e) => this.writeFailed(e)),
      sendSteal: (effect) => this.sendSteal(effect),
      answerSteal: ({ to, job, nonce, granted, running }) =>
        void this.replication.answerSteal(to, { job, nonce, granted, running }),
      sendLifeline: ({ to, job, rate, idle }) => {
        const { session } = this.facts
        this.send(to, { kind: 'lifeline', job, session, rate, idle })
      },
      startChunk: (effect) => this.chunks.start(effect),
      sendHeartbeat: ({ to, last }) => {
        for (const peer of to) this.send(peer, { kind: 'heartbeat', last })
      },
      sendSuspicion: ({ to, peer, session }) => {
        for (const other of to) this.send(other, { kind: 'suspect', peer, session })
      },
      resync: ({ job, with: peers }) => {
        for (const peer of peers) this.replication.sendHeads(peer, job, true)
      },
      leaseEnded: (effect) => this.leaseEnded(effect),
      abortChunk: (chunk) => this.chunks.abort(chunk),
      placeResult: (effect) => this.chunks.place(effect),
      loadPlan: (effect) => this.plans.load(effect),
      viewChanged: (change) => this.watch.viewChanged(change),
      jobChanged: (job) => this.jobs.changed(job),
      jobFinished: (job) => this.jobs.ended(job),
      breach: ({ peer, reason }) => this.strikes.add(peer, reason),
      writeFailed: (error) => this.writeFailed(error),
    })
  }

  private sendSteal(effect: Extract<SchedulerEffect, { type: 'sendSteal' }>): void {
    const { to, job, nonce, rate, idle } = effect
    const victim = this.roster.facts(to)
    const head =
      victim === undefined
        ? 0
        : (this.store.head(job, { author: to, session: victim.session })?.seq ?? 0)
    this.send(to, { kind: 'steal', job, session: this.facts.session, nonce, rate, idle, head })
  }

  private leaseEnded(effect: Extract<SchedulerEffect, { type: 'leaseEnded' }>): void {
    const { peer, restarted } = effect
    this.log.info('lease ended', { peer: peer.slice(0, 8), restarted })
    this.upkeep.leaseEnded(effect)
    this.jobs.allChanged()
  }

  private warn(message: string): void {
    if (!this.warnings.includes(message) && this.warnings.length < MAX_WARNINGS) {
      this.warnings.push(message)
    }
  }

  /** The store does not take writes: this peer says so and lets go, since it could keep no promise. */
  private writeFailed(error: unknown): void {
    if (this.failure !== undefined) return
    this.failure = isMeshError(error)
      ? error
      : new MeshError('ERR_MESH_INTERNAL', `the store cannot be written: ${String(error)}`, {
          cause: error,
        })
    this.log.error('the store cannot be written: this peer stops', { error: String(error) })
    this.warn(this.failure.message)
    this.config.onFailure(this.failure)
  }

  /** Told now and then while other peers are there, and soon after one came. */
  onNews(listener: () => void): void {
    this.newsListeners.add(listener)
  }

  private tellNews(): void {
    if (this.transport.connected().length === 0) return
    for (const listener of this.newsListeners) listener()
  }

  private antiEntropy(): void {
    const peers = this.transport.connected()
    if (peers.length === 0) return
    for (const job of this.jobs.running) {
      const peer = peers[Math.floor(Math.random() * peers.length)]!
      this.replication.sendHeads(peer, job, true)
    }
  }

  // ------------------------------------------------------------ the mesh

  private transportEvents(): TransportEvents {
    return {
      onPeerConnected: (peer) => this.peerConnected(peer),
      onPeerDisconnected: (peer, refused) => this.peerDisconnected(peer, refused),
      onMessage: (from, bytes) => this.router.onMessage(from, bytes),
      onGossip: (topic, bytes, via) => this.router.onGossip(topic, bytes, via),
      onBlobRequested: async (_from, hash) => {
        const sizeBytes = await this.store.blobs.size(hash)
        if (sizeBytes === undefined) return undefined
        return { sizeBytes, source: this.store.blobs.read(hash) }
      },
      onBlobOffered: (_from, hash, sizeBytes, source) =>
        this.exchange.take(hash, sizeBytes, source),
    }
  }

  private peerConnected(peer: PeerId): void {
    this.log.debug('peer connected', { peer: peer.slice(0, 8) })
    this.upkeep.peerConnected(peer)
    // Before the jobs: one of them may be there to start at some time.
    this.send(peer, { kind: 'clock', ms: this.wallClock() })
    this.send(peer, {
      kind: 'hello',
      version: this.config.version,
      advert: this.advertiser.signed(),
      jobs: this.jobs.running.slice(0, 1024),
    })
  }

  private peerDisconnected(peer: PeerId, refused: boolean): void {
    this.log.debug('peer disconnected', { peer: peer.slice(0, 8), refused })
    this.replication.peerGone(peer)
    this.logExchange.peerGone(peer)
    this.upkeep.peerDisconnected(peer)
    this.clock.gone(peer)
    this.engine.dispatch({ type: 'peerGone', peer, refused })
  }

  private send(to: PeerId, message: WireMessage): boolean {
    return this.transportOrNone?.send(to, encodeMessage(message)) ?? false
  }

  private gossip(topic: 'jobs' | 'entries', runs: Run[]): void {
    const bytes = encodeRuns(runs)
    if (bytes.byteLength <= MAX_GOSSIP_BYTES) this.transportOrNone?.publish(topic, bytes)
  }
}
