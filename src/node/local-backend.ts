import { randomBytes } from 'node:crypto'
import { toHex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'
import { pause } from '../base/pause.ts'
import type { BlobHash, JobId, JobSpec, PeerId } from '../scheduler/types.ts'
import { jobIdOf } from '../store/entry-codec.ts'
import { infoOfRecord, infoOfView } from './job-info.ts'
import { DETACH_COPIES, DETACH_TIMEOUT_MS, WATCH_INTERVAL_MS } from './limits.ts'
import { type Membership, type OpenOptions, openFolder } from './open-folder.ts'
import { Peer } from './peer.ts'
import { streamResults } from './results.ts'
import { infoOf } from './roster.ts'
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
  private resolveLeft: () => void = () => undefined
  /** Why the peer stopped by itself, if it did (ERR_MESH_DISK_FULL…). */
  failure: MeshError | undefined
  /** Resolves when the peer has stopped, whoever asked for it. */
  readonly left: Promise<void>

  constructor(peer: Peer, folder: Membership, embedded: boolean) {
    this.peer = peer
    this.folder = folder
    this.embedded = embedded
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
      strikes: peer.strikes.list(peer.transport.strikes()),
      warnings: peer.warnings,
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
      ...views.map((view) => infoOfView(this.peer, view)),
      ...stored.map((record) => infoOfRecord(record)),
    ].sort((a, b) => (a.submittedAt < b.submittedAt ? 1 : -1))
  }

  async job(id: string): Promise<JobInfo> {
    const view = this.peer.scheduler.job(id as JobId)
    if (view !== undefined) return infoOfView(this.peer, view)
    const jobs = await this.jobs()
    if (id === 'last') {
      const last = jobs.find((job) => job.author === this.peer.id) ?? jobs[0]
      if (last !== undefined) return last
      throw new MeshError(
        'ERR_MESH_JOB_UNKNOWN',
        'there is no job yet: submit one with `mesh submit`',
      )
    }
    const matches = id.length < 4 ? [] : jobs.filter((job) => job.id.startsWith(id.toLowerCase()))
    if (matches.length === 1) return matches[0]!
    if (matches.length > 1) {
      throw new MeshError(
        'ERR_MESH_JOB_AMBIGUOUS',
        `"${id}" fits ${matches.length} jobs (${matches
          .slice(0, 4)
          .map((j) => j.id.slice(0, 12))
          .join(', ')}…): give more characters`,
        { details: { matches: matches.map((job) => job.id) } },
      )
    }
    throw new MeshError(
      'ERR_MESH_JOB_UNKNOWN',
      id.length < 4
        ? `"${id}" is too short for a job id: give at least 4 characters, or "last"`
        : `no job "${id}" is known here: \`mesh jobs\` lists them`,
    )
  }

  async ticket(): Promise<string> {
    return encodeTicket({
      meshKey: this.folder.meshKey,
      addresses: this.peer.transport.addresses(),
    })
  }

  async putBlob(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }> {
    return this.peer.store.blobs.put(bytes)
  }

  async submit(request: JobRequest): Promise<SubmitReply> {
    const spec: JobSpec = {
      v: 1,
      task: request.task,
      input: request.input,
      options: request.options,
      nonce: toHex(randomBytes(16)),
    }
    const job = jobIdOf(spec)
    await this.peer.submit(job, spec, Date.now())
    if (request.detach !== true) return { job, heldBy: this.peer.acknowledged(job) }
    return { job, heldBy: await this.handOver(job, spec) }
  }

  async *watch(job: JobId, signal?: AbortSignal): AsyncGenerator<JobInfo> {
    const changes = this.peer.watch.subscribe(job, signal)
    try {
      for (;;) {
        const info = await this.job(job)
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

  results(job: JobId, options: ResultsOptions): AsyncIterable<ResultSpan> {
    const { scheduler, store, exchange, watch } = this.peer
    return streamResults({ scheduler, store, exchange, watch, self: this.peer.id }, job, options)
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

  /** Leaves a job's code and input with up to two other peers, and waits until they have its entries. */
  private async handOver(job: JobId, spec: JobSpec): Promise<string[]> {
    const { peer } = this
    const targets = peer.transport.connected().slice(0, DETACH_COPIES)
    const blobs = await peer.inputs.blobsOf(job, spec, peer.id)
    const held = await Promise.all(
      targets.map(async (target) => {
        for (const hash of blobs) if (!(await this.offer(target, hash))) return undefined
        return (await this.acknowledgedBy(job, target)) ? target : undefined
      }),
    )
    return held.filter((target) => target !== undefined)
  }

  private async offer(to: PeerId, hash: BlobHash): Promise<boolean> {
    const { blobs } = this.peer.store
    const sizeBytes = await blobs.size(hash)
    if (sizeBytes === undefined) return false
    try {
      return await this.peer.transport.offerBlob(to, hash, sizeBytes, blobs.read(hash))
    } catch {
      return false
    }
  }

  private async acknowledgedBy(job: JobId, target: PeerId): Promise<boolean> {
    void this.peer.replication.sendJob(target, job)
    const signal = AbortSignal.timeout(DETACH_TIMEOUT_MS)
    return this.until(() => this.peer.acknowledged(job).includes(target), signal)
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
    return this.until(() => this.peer.scheduler.job(job)?.state !== 'running', signal)
  }

  /** Waits for a job event that makes `condition` true; false when aborted. */
  private until(condition: () => boolean, signal?: AbortSignal): Promise<boolean> {
    if (condition()) return Promise.resolve(true)
    return new Promise((resolve) => {
      const settle = (value: boolean) => {
        unlisten()
        signal?.removeEventListener('abort', aborted)
        resolve(value)
      }
      const aborted = () => settle(false)
      const unlisten = this.peer.onJob(() => {
        if (condition()) settle(true)
      })
      signal?.addEventListener('abort', aborted)
      if (signal?.aborted) aborted()
    })
  }
}

const MAX_QUEUED_LINES = 10_000
const LOGS_TIMEOUT_MS = 3_000
