import { MeshError } from '../base/errors.ts'
import type { Plan } from '../scheduler/plan.ts'
import type { Scheduler } from '../scheduler/scheduler.ts'
import type { Entry, JobId, JobSpec, JobView, PeerId, SchedulerEvent } from '../scheduler/types.ts'
import { readForkProof } from '../store/fork-proof.ts'
import { createVerifier } from '../store/signatures.ts'
import type { Store } from '../store/types.ts'
import type { Inputs } from './inputs.ts'
import type { JobWatch } from './job-watch.ts'
import {
  JUST_HEARD_MS,
  MAX_FINISHED_JOBS_IN_MEMORY,
  MAX_INTRODUCTIONS,
  OLD_JOB_MS,
} from './limits.ts'
import type { LogExchange } from './log-exchange.ts'
import { refold } from './refold.ts'
import { takeUpAgain } from './reopen.ts'
import type { Replication } from './replication.ts'
import type { Upkeep } from './upkeep.ts'

export type JobListener = (event: 'arrived' | 'changed' | 'finished', job: JobId) => void

export interface PeerJobsParts {
  readonly self: PeerId
  readonly store: Store
  readonly scheduler: Scheduler
  readonly replication: Replication
  readonly inputs: Inputs
  readonly watch: JobWatch
  readonly logExchange: LogExchange
  readonly upkeep: Upkeep
  readonly dispatch: (event: SchedulerEvent) => void
  readonly connected: () => readonly PeerId[]
  readonly acknowledge: (to: PeerId, job: JobId) => void
  readonly writeFailed: (error: unknown) => void
  /** Monotonic ms. */
  readonly now: () => number
}

/** The jobs of one peer, from the word of them to their place in the store: what the scheduler says of them becomes records, and is told. */
export class PeerJobs {
  private readonly parts: PeerJobsParts
  private readonly acks = new Map<JobId, Set<PeerId>>()
  private readonly listeners = new Set<JobListener>()
  /** Finished jobs in memory, oldest first, with the wall time of their end where it is known. */
  private readonly finished = new Map<JobId, number | undefined>()
  /** When jobs of others were first heard of. */
  private readonly arrivedAt = new Map<JobId, number>()
  /** Read at start, to be taken up once the transport stands. */
  private readonly waiting: Entry[][] = []

  constructor(parts: PeerJobsParts) {
    this.parts = parts
  }

  on(listener: JobListener): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Jobs that are not over; those that pause are among them. */
  get running(): JobId[] {
    return this.parts.scheduler.jobs().flatMap((view) => (isOver(view) ? [] : [view.job]))
  }

  /** Wall time of the job's end as seen here, ms since the epoch. */
  finishedAt(job: JobId): number | undefined {
    return this.finished.get(job)
  }

  /** Peers that said they have the job's entries. */
  acknowledgedBy(job: JobId): PeerId[] {
    return [...(this.acks.get(job) ?? [])]
  }

  // ------------------------------------------------------------ start

  /** Reads what is unfinished; what a repair lost the views of is folded anew. */
  async read(): Promise<void> {
    const { store, replication } = this.parts
    const verify = createVerifier()
    await refold(store, store.repair?.jobs ?? [], (a, b) => readForkProof(a, b, verify))
    for (const record of await store.jobs()) {
      if (record.state !== 'running') {
        replication.forget(record.job)
        continue
      }
      const entries: Entry[] = []
      for await (const entry of store.entries(record.job)) entries.push(entry)
      if (entries.length === 0) continue
      replication.hold(record.job)
      this.arrivedAt.set(record.job, Number.NEGATIVE_INFINITY)
      this.waiting.push(entries)
    }
  }

  /** Only when the transport stands: the first chunk of a job taken up again may ask other peers for its input. */
  takeUpAll(): void {
    for (const entries of this.waiting.splice(0)) {
      this.parts.dispatch({ type: 'jobLoaded', entries })
      this.parts.replication.loaded(entries[0]!.job)
    }
  }

  /** Takes an ended job into memory again, so that a LOST can reopen it. */
  async takeUp(job: JobId): Promise<void> {
    const { store, scheduler, replication, dispatch } = this.parts
    const record = await store.job(job)
    if (record === undefined || scheduler.job(job) !== undefined) return
    this.finished.set(job, record.summary.finishedAt)
    await takeUpAgain({ store, scheduler, replication, dispatch }, job)
    if (scheduler.job(job) === undefined) this.finished.delete(job)
  }

  // ------------------------------------------------------------ what happens to a job

  /** Resolves when it is written; with no other peer, synced to the disk. ERR_MESH_DISK_FULL. */
  async submit(job: JobId, spec: JobSpec, at: number, plan?: Plan): Promise<void> {
    const { store, dispatch, connected } = this.parts
    if (store.isCollected(job)) {
      throw new MeshError(
        'ERR_MESH_INTERNAL',
        'this job was collected: it cannot be submitted again',
      )
    }
    dispatch({ type: 'submitted', job, spec, at, ...(plan !== undefined && { plan }) })
    this.parts.upkeep.keys.note(job, spec)
    this.record(job, 'running')
    await store.flush({ sync: connected().length === 0 })
    this.tell('arrived', job)
  }

  arrived(job: JobId, author: PeerId, from: PeerId | undefined): void {
    const { scheduler, store, replication, self, now } = this.parts
    const view = scheduler.job(job)
    if (view === undefined) return
    this.arrivedAt.set(job, now())
    this.parts.upkeep.keys.note(job, view.spec)
    if (!isOver(view)) this.record(job, 'running')
    if (author !== self) {
      const acknowledge = () => this.parts.acknowledge(author, job)
      store.flush().then(acknowledge, (error: unknown) => this.parts.writeFailed(error))
    }
    if (from !== undefined) replication.sendHeads(from, job, true)
    this.tell('arrived', job)
  }

  changed(job: JobId): void {
    const view = this.parts.scheduler.job(job)
    if (view === undefined) return
    if (!isOver(view) && this.finished.delete(job)) this.record(job, 'running')
    if (view.state === 'cancelled' && !this.finished.has(job)) {
      this.ended(job)
      return
    }
    this.parts.watch.jobChanged(view)
    this.tell('changed', job)
  }

  ended(job: JobId): void {
    const { scheduler, watch, logExchange, upkeep } = this.parts
    const view = scheduler.job(job)
    if (view === undefined) return
    // Of a job taken up again from the store the time is known.
    if (!this.finished.has(job)) this.finished.set(job, this.endOf(view))
    this.record(job, view.state === 'cancelled' ? 'cancelled' : 'finished')
    watch.jobChanged(view)
    logExchange.jobEnded(job)
    upkeep.jobEnded(job)
    this.tellNeighbours(job, view.author)
    this.tell('finished', job)
    for (const [oldest] of this.finished) {
      if (this.finished.size <= MAX_FINISHED_JOBS_IN_MEMORY) break
      this.forget(oldest)
    }
  }

  /** It stays in the store, and leaves memory. */
  forget(job: JobId): void {
    const { scheduler, replication, inputs, watch } = this.parts
    scheduler.forget(job)
    replication.forget(job)
    inputs.forget(job)
    watch.forget(job)
    this.acks.delete(job)
    this.finished.delete(job)
    this.arrivedAt.delete(job)
  }

  acknowledged(from: PeerId, job: JobId): void {
    if (this.parts.scheduler.job(job)?.author !== this.parts.self) return
    let acks = this.acks.get(job)
    if (acks === undefined) this.acks.set(job, (acks = new Set()))
    acks.add(from)
    this.tell('changed', job)
  }

  /** Somebody was lost: every running job may go on differently. */
  allChanged(): void {
    for (const job of this.running) this.tell('changed', job)
  }

  // ------------------------------------------------------------ helpers

  private tell(event: Parameters<JobListener>[0], job: JobId): void {
    for (const listener of this.listeners) listener(event, job)
  }

  /** The author's peers hear of the end directly, since gossip may be lost and the author may leave at once. */
  private tellNeighbours(job: JobId, author: PeerId): void {
    const { self, replication, connected } = this.parts
    if (author !== self) return
    for (const peer of connected().slice(0, MAX_INTRODUCTIONS)) void replication.push(peer, job)
  }

  /** Of a job that was over long before this peer heard of it, nobody here can say when it ended. */
  private endOf({ job, author, submittedAt }: JobView): number | undefined {
    const { self, now } = this.parts
    const wall = Date.now()
    const here = now()
    const justHeard = author !== self && here - (this.arrivedAt.get(job) ?? here) < JUST_HEARD_MS
    return justHeard && wall - submittedAt > OLD_JOB_MS ? undefined : wall
  }

  private record(job: JobId, state: 'running' | 'finished' | 'cancelled'): void {
    const view = this.parts.scheduler.job(job)
    if (view === undefined) return
    const { items, done, failed, submittedAt, author, spec, cancellation } = view
    const finishedAt = this.finished.get(job)
    this.parts.store.stageJob({
      job,
      state,
      updatedAt: Date.now(),
      summary: {
        items,
        done,
        failed,
        submittedAt,
        author,
        spec,
        ...(state !== 'running' && finishedAt !== undefined && { finishedAt }),
        ...(state === 'cancelled' && cancellation !== undefined && { cancellation }),
      },
    })
    this.parts.store.flush().catch((error) => this.parts.writeFailed(error))
  }
}

function isOver({ state }: JobView): boolean {
  return state === 'finished' || state === 'cancelled'
}
