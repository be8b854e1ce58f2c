import { MeshError } from '../base/errors.ts'
import { pause } from '../base/pause.ts'
import type { Plan } from '../scheduler/plan.ts'
import type { BlobHash, JobId, JobSpec, PeerId } from '../scheduler/types.ts'
import { graphOf } from '../store/plan-codec.ts'
import type { StoredJob } from '../store/types.ts'
import { untilJob } from './hand-over.ts'
import { cancelJobs, pauseOrResume } from './job-control.ts'
import { countCopies, infoOfRecord, infoOfView, upkeepStatus } from './job-info.ts'
import { type Found, lookUpJob } from './job-lookup.ts'
import type { HandOn } from './keepers.ts'
import { WATCH_INTERVAL_MS } from './limits.ts'
import { type Membership, type OpenOptions, openFolder } from './open-folder.ts'
import { Peer } from './peer.ts'
import { planOfTask } from './plans.ts'
import { findLost, type ResultsParts, streamResults } from './results.ts'
import { infoOf } from './roster.ts'
import { Submissions } from './submissions.ts'
import type {
  JobInfo,
  JobRequest,
  LogLine,
  MeshBackend,
  MeshStatus,
  PeerInfo,
  ResultSpan,
  ResultsOptions,
  SubmitReply,
} from './types.ts'
import { encodeTicket } from './wire/ticket.ts'

export type { OpenOptions as LocalOptions } from './open-folder.ts'

/**
 * Starts a peer in this process on a data folder, and gives its face.
 * @throws ERR_MESH_FOLDER_LOCKED, ERR_MESH_TICKET_DAMAGED, ERR_MESH_TICKET_MISMATCH, ERR_MESH_TICKET_REFUSED, ERR_MESH_UNREACHABLE,
 * ERR_MESH_PORT_IN_USE, ERR_MESH_ADDRESS_INVALID, ERR_MESH_STORE_DAMAGED, ERR_MESH_OPTION_INVALID
 */
export async function openLocalBackend(options: OpenOptions): Promise<LocalBackend> {
  const folder = await openFolder(options)
  const peer = new Peer(folder.config)
  try {
    await peer.start()
    await folder.reach(peer)
    const backend = new LocalBackend(peer, folder, options.embedded ?? false)
    await folder.serve(backend)
    return backend
  } catch (error) {
    await peer.stop().catch(() => undefined)
    await folder.release()
    throw error
  }
}

/** The face of a peer in this process. */
export class LocalBackend implements MeshBackend {
  readonly peer: Peer
  private readonly folder: Membership
  private readonly embedded: boolean
  private closing: Promise<void> | undefined
  private readonly submissions: Submissions
  private resolveLeft: () => void = () => undefined
  /** Why the peer stopped by itself, if it did (ERR_MESH_DISK_FULL…). */
  failure: MeshError | undefined
  /** Resolves when the peer has stopped, whoever asked for it. */
  readonly left: Promise<void>

  constructor(peer: Peer, folder: Membership, embedded: boolean) {
    this.peer = peer
    this.folder = folder
    this.embedded = embedded
    this.submissions = new Submissions(peer)
    this.left = new Promise((resolve) => {
      this.resolveLeft = resolve
    })
    folder.onFailure = (error) => {
      this.failure = error
      this.close().catch(() => undefined)
    }
  }

  async status(): Promise<MeshStatus> {
    const { peer } = this
    const jobs = await this.jobs()
    const stats = peer.runtime.stats()
    return {
      version: peer.config.version,
      peer: this.selfInfo(),
      mesh: this.folder.meshId,
      dataDir: this.folder.dataDir,
      addresses: peer.transport.addresses(),
      peers: peer.transport.connected().length,
      jobs: {
        running: jobs.filter((job) => job.state === 'running').length,
        finished: jobs.filter((job) => job.state === 'finished').length,
      },
      uptimeSeconds: Math.round((performance.now() - peer.startedAt) / 1000),
      pid: process.pid,
      embedded: this.embedded,
      loopDelayMs: peer.loopDelayMs,
      workers: {
        busy: stats.busy,
        alive: stats.workers,
        started: stats.started,
        recycled: stats.recycled,
        died: stats.died,
      },
      clockAheadMs: peer.clock.aheadMs(),
      strikes: peer.strikes.list(peer.transport.strikes()),
      ...upkeepStatus(peer),
    }
  }

  async peers(): Promise<PeerInfo[]> {
    const others = this.peer.roster.list((id) => this.peer.transport.connection(id))
    return [this.selfInfo(), ...others.sort((a, b) => a.name.localeCompare(b.name))]
  }

  async jobs(): Promise<JobInfo[]> {
    const views = this.peer.scheduler.jobs()
    const inMemory = new Set(views.map((view) => view.job))
    const stored = (await this.peer.store.jobs()).filter((record) => !inMemory.has(record.job))
    return [
      ...views.map((view) => infoOfView(this.peer, view, { nodes: false })),
      ...stored.map((record) => infoOfRecord(this.peer, record)),
    ].sort((a, b) => (a.submittedAt < b.submittedAt ? 1 : -1))
  }

  async job(id: string): Promise<JobInfo> {
    const found = await lookUpJob(this.peer, id)
    const copies = await countCopies(this.peer, found.job)
    const { task } = await this.specOf(found)
    return { ...(await this.infoOf(found)), copies, task }
  }

  private async infoOf({ job, record }: Found): Promise<JobInfo> {
    const view = this.peer.scheduler.job(job)
    if (view !== undefined) return infoOfView(this.peer, view)
    return infoOfRecord(this.peer, record ?? (await this.recordOf(job)))
  }

  private async specOf({ job, record }: Found): Promise<JobSpec> {
    const view = this.peer.scheduler.job(job)
    return view?.spec ?? (record ?? (await this.recordOf(job))).summary.spec
  }

  private async recordOf(job: JobId): Promise<StoredJob> {
    const stored = await this.peer.store.job(job)
    if (stored !== undefined) return stored
    throw new MeshError('ERR_MESH_JOB_UNKNOWN', `job ${job.slice(0, 8)} was just collected`)
  }

  async ticket(): Promise<string> {
    return encodeTicket({
      meshKey: this.folder.meshKey,
      addresses: this.peer.transport.addresses(),
    })
  }

  async putBlob(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }> {
    const { disk, retention } = this.peer.upkeep
    await disk.assertRoom(bytes.byteLength)
    const put = await this.peer.store.blobs.put(bytes)
    retention.pin(put.hash)
    return put
  }

  async readBlob(hash: BlobHash): Promise<Uint8Array> {
    const { exchange, store, upkeep } = this.peer
    await upkeep.disk.assertRoom()
    await exchange.ensure(hash, [])
    upkeep.retention.pin(hash)
    return store.blobs.get(hash)
  }

  async plan(job: JobId): Promise<Plan> {
    const { exchange, store } = this.peer
    const task = graphOf((await this.specOf(await lookUpJob(this.peer, job))).task)
    return planOfTask(store.blobs, task, (hash) => exchange.ensure(hash, []))
  }

  submit(request: JobRequest): Promise<SubmitReply> {
    return this.submissions.submit(request)
  }

  async *watch(job: JobId, signal?: AbortSignal): AsyncGenerator<JobInfo> {
    const found = await lookUpJob(this.peer, job)
    const changes = this.peer.watch.subscribe(job, signal)
    try {
      for (;;) {
        const info = await this.infoOf(found)
        yield info
        if (info.state === 'finished' || info.state === 'cancelled') return
        const told = performance.now()
        if (!(await changes.next())) return
        const waitMs = told + WATCH_INTERVAL_MS - performance.now()
        if (waitMs > 0 && this.peer.scheduler.job(job)?.state === 'running') {
          await this.pauseUnlessFinished(job, waitMs, signal)
        }
      }
    } finally {
      changes.close()
    }
  }

  async *results(id: JobId, options: ResultsOptions): AsyncGenerator<ResultSpan> {
    const { peer } = this
    const { job } = await lookUpJob(peer, id)
    const { scheduler, store, exchange, watch } = peer
    const { presence } = peer.upkeep
    const name = (other: PeerId) => peer.roster.name(other)
    const parts = { scheduler, store, exchange, watch, self: peer.id, presence, name }
    if (options.recompute === true) await this.runLostAgain(job, parts, options)
    yield* streamResults(parts, job, options)
  }

  /** What no connected peer has is declared LOST, which opens the job again. */
  private async runLostAgain(
    job: JobId,
    parts: ResultsParts,
    { signal, ranges }: ResultsOptions,
  ): Promise<void> {
    let lost = await findLost(parts, job, signal, ranges)
    if (lost.length === 0) return
    // Of a peer that has just started, the keepers may be on their way.
    await this.peer.upkeep.settled()
    lost = await findLost(parts, job, signal, ranges)
    await this.peer.jobs.takeUp(job)
    for (const range of lost) this.peer.engine.dispatch({ type: 'resultLost', job, ...range })
  }

  async *logs(
    job: JobId,
    options: { follow: boolean; signal?: AbortSignal },
  ): AsyncGenerator<LogLine> {
    const { logs, logExchange } = this.peer
    const queue: LogLine[] = [...logs.lines(job)]
    let ended = false
    let wake: () => void = () => undefined
    const add = (lines: readonly LogLine[]) => {
      queue.push(...lines)
      if (queue.length > MAX_QUEUED_LINES) queue.splice(0, queue.length - MAX_QUEUED_LINES)
      wake()
    }
    const end = () => {
      ended = true
      wake()
    }
    const unask = logExchange.ask(job, options.follow, add, end)
    const unfollow = options.follow ? logs.follow(job, (line) => add([line])) : () => undefined
    options.signal?.addEventListener('abort', end)
    const timer = options.follow ? undefined : setTimeout(end, LOGS_TIMEOUT_MS)
    try {
      for (;;) {
        while (queue.length > 0) yield queue.shift()!
        if (ended || options.signal?.aborted) return
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', end)
      unask()
      unfollow()
    }
  }

  async forget(id: string): Promise<JobId> {
    const { job } = await lookUpJob(this.peer, id)
    await this.peer.upkeep.retention.forget([job])
    return job
  }

  cancel(ids: readonly string[] | 'all', reason: string): Promise<JobId[]> {
    return cancelJobs(this.peer, ids, reason)
  }

  pause(id: string): Promise<JobId> {
    return pauseOrResume(this.peer, 'paused', id)
  }

  resume(id: string): Promise<JobId> {
    return pauseOrResume(this.peer, 'resumed', id)
  }

  /** Told how much is left to hand on, while this peer leaves. Returns what ends the telling. */
  readonly onHandOn = (tell: (progress: HandOn) => void): (() => void) =>
    this.peer.upkeep.onHandOn(tell)

  leave(): Promise<void> {
    return this.close()
  }

  close(): Promise<void> {
    this.closing ??= this.shutDown()
    return this.closing
  }

  private async shutDown(): Promise<void> {
    try {
      await this.folder.closeServer()
      await this.peer.stop()
    } finally {
      await this.folder.release()
      this.resolveLeft()
    }
  }

  private selfInfo(): PeerInfo {
    return infoOf(this.peer.advertiser.advert(), { self: true, link: undefined, lastSeenMs: 0 })
  }

  private async pauseUnlessFinished(job: JobId, ms: number, signal?: AbortSignal): Promise<void> {
    const over = new AbortController()
    const either = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal])
    try {
      await Promise.race([pause(ms, either), this.finished(job, either)])
    } finally {
      over.abort()
    }
  }

  private finished(job: JobId, signal?: AbortSignal): Promise<boolean> {
    return untilJob(this.peer, () => this.peer.scheduler.job(job)?.state !== 'running', signal)
  }
}

const MAX_QUEUED_LINES = 10_000
const LOGS_TIMEOUT_MS = 3_000
