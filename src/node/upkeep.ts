import type { Logger } from '../base/logger.ts'
import { pause } from '../base/pause.ts'
import type { Scheduler } from '../scheduler/scheduler.ts'
import type { JobId, JobSpec, PeerId, SchedulerEffect, SchedulerEvent } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import { Custody } from './custody.ts'
import { DiskGuard, type DiskSpace } from './disk-guard.ts'
import { MissingInputs } from './input-loss.ts'
import type { Inputs } from './inputs.ts'
import { JobFinder } from './job-finder.ts'
import { KeyBook } from './job-keys.ts'
import { type HandOn, Keepers } from './keepers.ts'
import { FIRST_CONTACT_MS, KEEPER_PATIENCE_MS } from './limits.ts'
import { Presence } from './presence.ts'
import { type KeepRules, Retention } from './retention.ts'
import { DISK_LABEL, EMBEDDED_LABEL, type Roster } from './roster.ts'
import type { Transport } from './transport/types.ts'
import { DEFAULT_TIMES, type UpkeepTimes } from './upkeep-times.ts'
import type { WireMessage } from './wire/messages.ts'

/** What the user sets of how long, and of how much, this peer keeps. */
export interface UpkeepConfig {
  readonly keep?: KeepRules
  /** Free space that is left alone, bytes. */
  readonly minFreeBytes?: number
  /** A peer that ends with its command: it keeps nothing for others, and hands on only what it worked on. */
  readonly embedded?: boolean
  /** Shorter in tests. */
  readonly times?: Partial<UpkeepTimes>
  readonly space?: (dir: string) => Promise<DiskSpace>
  /** Where the store, which is opened before, says that it waits for room on the disk. */
  readonly stall?: StallSignal
}

export interface StallSignal {
  stalled: boolean
  changed: (stalled: boolean) => void
}

export interface UpkeepParts {
  readonly self: PeerId
  readonly config: UpkeepConfig
  /** Other members are known from before. */
  readonly expectsPeers: boolean
  readonly store: Store
  readonly scheduler: Scheduler
  readonly exchange: BlobExchange
  readonly inputs: Inputs
  readonly roster: Roster
  /** Undefined before the start and after the stop. */
  readonly transport: () => Transport | undefined
  readonly sendJob: (to: PeerId, job: JobId) => Promise<void>
  readonly send: (to: PeerId, message: WireMessage) => boolean
  readonly dispatch: (event: SchedulerEvent) => void
  /** Takes an ended job out of memory. */
  readonly letGo: (job: JobId) => void
  /** What others are told of this peer changed. */
  readonly advertise: () => void
  readonly now: () => number
  readonly log: Logger
}

/** Everything that keeps a peer's promises while nobody looks: copies of results and input, the age of finished jobs, the disk. */
export class Upkeep {
  readonly presence: Presence
  readonly keepers: Keepers
  readonly custody: Custody
  readonly retention: Retention
  readonly disk: DiskGuard
  readonly missing: MissingInputs
  readonly finder: JobFinder
  readonly keys: KeyBook
  /** How the handing on goes; undefined while this peer stays. */
  handingOn: HandOn | undefined
  private readonly parts: UpkeepParts
  private readonly times: UpkeepTimes
  private readonly handOnListeners = new Set<(progress: HandOn) => void>()
  private shortPass: Promise<unknown> | undefined
  private readonly contact = new AbortController()
  private readonly startedAt: number
  private closed = false

  constructor(parts: UpkeepParts) {
    this.parts = parts
    const { self, config, store, scheduler, exchange, inputs, now, log } = parts
    this.times = { ...DEFAULT_TIMES, ...config.times }
    this.startedAt = now()
    const connected = () => parts.transport()?.connected() ?? []
    const isRunning = (job: JobId) => {
      const state = scheduler.job(job)?.state
      return state === 'running' || state === 'paused'
    }
    this.presence = new Presence({
      self,
      scheduler,
      connected,
      name: (peer) => parts.roster.name(peer),
      hasLeft: (peer) => parts.roster.hasLeft(peer),
      now,
    })
    const { presence, times } = this
    this.keepers = new Keepers({
      self,
      store,
      exchange,
      presence,
      transport: () => parts.transport() ?? noTransport,
      sendJob: parts.sendJob,
      readiness: (peer) => this.readiness(peer),
      isNeeded: (job, lo, hi) => scheduler.isNeeded(job, lo, hi),
      isRunning,
      dispatch: parts.dispatch,
      times,
      now,
      log: log.child('keepers'),
    })
    this.custody = new Custody({
      self,
      scheduler,
      inputs,
      exchange,
      presence,
      keeps: (peer) => this.readiness(peer) === 2,
      times,
      now,
      log: log.child('custody'),
    })
    this.disk = new DiskGuard({
      dir: store.dir,
      minFreeBytes: config.minFreeBytes,
      changed: (short) => this.diskChanged(short),
      times,
      log: log.child('disk'),
      ...(config.space !== undefined && { space: config.space }),
    })
    this.retention = new Retention({
      store,
      keep: config.keep ?? {},
      diskBytes: () => this.disk.space?.totalBytes,
      diskShort: () => this.disk.short,
      isRunning,
      inputsOf: (spec) => inputs.localBlobsOf(spec),
      letGo: (job) => {
        this.keys.drop(job)
        parts.letGo(job)
      },
      drop: (hash) => exchange.drop(hash),
      times,
      now,
      wallClock: () => Date.now(),
      log: log.child('retention'),
    })
    this.keys = new KeyBook(store)
    this.missing = new MissingInputs({ self, presence, times, now })
    this.finder = new JobFinder({
      connected,
      send: parts.send,
      knownLike: (prefix, limit) => this.knownLike(prefix, limit),
      ofNonce: (nonce) => this.keys.jobsOf(nonce),
    })
    exchange.onWanted = (hash) => this.retention.touch(hash)
    exchange.mayTake = () => !this.disk.short
  }

  /** Before the transport: what the peer may take in is known then. */
  async start(): Promise<void> {
    const { stall } = this.parts.config
    if (stall !== undefined) {
      stall.changed = (stalled) => this.disk.storeStalled(stalled)
      if (stall.stalled) this.disk.storeStalled(true)
    }
    await this.disk.start()
    await this.retention.start()
    this.keepers.start()
    this.custody.start()
  }

  /** Resolves when some other peer is or was connected; of one that runs for a while, at once. */
  async firstContact(): Promise<void> {
    const leftMs = this.startedAt + FIRST_CONTACT_MS - this.parts.now()
    if (!this.parts.expectsPeers || leftMs <= 0 || this.contact.signal.aborted) return
    await pause(leftMs, this.contact.signal)
  }

  /** The same for all that were known before: those that live have had time to connect. */
  async settled(): Promise<void> {
    await this.firstContact()
    const leftMs = this.startedAt + KEEPER_PATIENCE_MS - this.parts.now()
    if (this.parts.expectsPeers && leftMs > 0) await pause(leftMs)
  }

  peerConnected(peer: PeerId): void {
    this.contact.abort()
    this.keepers.peerJoined(peer)
  }

  peerDisconnected(peer: PeerId): void {
    this.finder.peerGone(peer)
    // One that says good-bye is not waited for.
    if (this.parts.roster.hasLeft(peer)) this.keepers.leaseEnded(peer)
  }

  leaseEnded(effect: Extract<SchedulerEffect, { type: 'leaseEnded' }>): void {
    // Who said good-bye is not lost.
    if (!this.parts.roster.hasLeft(effect.peer)) this.presence.leaseEnded(effect)
    if (!effect.restarted) this.keepers.leaseEnded(effect.peer)
  }

  jobEnded(job: JobId): void {
    this.missing.forget(job)
    const view = this.parts.scheduler.job(job)
    if (view !== undefined) this.retention.jobEnded(job, view.spec)
  }

  /** A job was submitted here: its input and code are named by it now. */
  async submitted(spec: JobSpec): Promise<void> {
    this.retention.unpin(await this.parts.inputs.localBlobsOf(spec))
  }

  /** Hands on results that only this peer holds. */
  async handOn(): Promise<void> {
    const { config, scheduler } = this.parts
    const jobs = scheduler.jobs().map(({ job }) => job)
    const tell = (progress: HandOn) => {
      this.handingOn = progress
      for (const listener of this.handOnListeners) listener(progress)
    }
    // What is on its way to others in this moment shall not come here any more.
    this.parts.exchange.mayTake = () => false
    await this.keepers.handOn(tell, config.embedded === true ? new Set(jobs) : undefined)
  }

  /** Told how many bytes are left to hand on, while this peer leaves. */
  onHandOn(listener: (progress: HandOn) => void): () => void {
    this.handOnListeners.add(listener)
    return () => this.handOnListeners.delete(listener)
  }

  /** After the transport has stopped, before the store is closed. */
  async close(): Promise<void> {
    this.closed = true
    this.keepers.close()
    this.custody.close()
    this.disk.close()
    await this.shortPass
    await this.retention.close()
  }

  warnings(): string[] {
    const warning = this.disk.warning()
    return warning === undefined ? [] : [warning]
  }

  /** 2: lends and has room, 1: only submits (it may be gone soon), 0: takes nothing. */
  private readiness(peer: PeerId): 0 | 1 | 2 {
    const { self, config, roster } = this.parts
    if (peer === self) {
      if (this.disk.short) return 0
      return config.embedded === true ? 1 : 2
    }
    const advert = roster.get(peer)
    if (advert === undefined || roster.hasLeft(peer) || DISK_LABEL in advert.labels) return 0
    return advert.slots > 0 && !(EMBEDDED_LABEL in advert.labels) ? 2 : 1
  }

  private diskChanged(short: boolean): void {
    if (this.closed) return
    this.parts.dispatch({ type: 'lending', on: !short })
    this.parts.advertise()
    if (short) this.makeRoom()
  }

  /** Collects what is due and sweeps what nobody names, twice: the first finds what the second may delete. */
  private makeRoom(): void {
    this.shortPass ??= (async () => {
      for (let pass = 0; pass < 2 && this.disk.short && !this.closed; pass += 1) {
        await this.retention.tick()
        await pause(1)
      }
      await this.disk.check()
    })().finally(() => {
      this.shortPass = undefined
    })
  }

  private async knownLike(prefix: string, limit: number): Promise<JobId[]> {
    const found: JobId[] = []
    for (const { job } of await this.parts.store.jobs()) {
      if (job.startsWith(prefix)) found.push(job)
      if (found.length >= limit) break
    }
    return found
  }
}

const noTransport = {
  offerBlob: async () => false,
}
