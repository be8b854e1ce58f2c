import { MeshError } from '../base/errors.ts'
import type { JobId } from '../scheduler/types.ts'
import type { FeedBook } from './feed-book.ts'
import type { GroupCommit } from './group-commit.ts'
import type { Change, KeyValue } from './key-value.ts'
import { jobKey, jobRange, PREFIX } from './keys.ts'
import { Tombstones } from './tombstones.ts'

export interface JobRemovalParts {
  readonly kv: KeyValue
  readonly book: FeedBook
  readonly commit: GroupCommit
  /** Stages changes into the next batch. */
  readonly stage: (changes: readonly Change[]) => void
}

/** What a deleted job leaves in the database until its keys are cleared. */
const JOB_KINDS = [
  PREFIX.entry,
  PREFIX.head,
  PREFIX.fork,
  PREFIX.feeds,
  PREFIX.owner,
  PREFIX.done,
  PREFIX.views,
  PREFIX.waiting,
] as const

/**
 * Takes jobs out of the store, with a tombstone or without. One batch says that a job is being deleted (and has its tombstone); then
 * its keys are cleared, and then the mark goes. A process that ends in between goes on with it at its next start.
 */
export class JobRemoval {
  readonly tombstones = new Tombstones()
  private readonly parts: JobRemovalParts
  private readonly deleting = new Map<JobId, Promise<void>>()

  constructor(parts: JobRemovalParts) {
    this.parts = parts
  }

  /** Whether nothing of the job is to be written. */
  isGone(job: JobId): boolean {
    return this.deleting.has(job) || this.tombstones.has(job)
  }

  async delete(job: JobId): Promise<void> {
    await (this.deleting.get(job) ?? this.remove(job, false))
  }

  async collect(job: JobId): Promise<void> {
    for (;;) {
      const deleting = this.deleting.get(job)
      if (deleting === undefined) break
      await deleting
    }
    if (!this.tombstones.has(job)) await this.remove(job, true)
  }

  async age(elapsedMs: number, maxAgeMs: number): Promise<void> {
    const changes = this.tombstones.age(elapsedMs, maxAgeMs)
    if (changes.length === 0) return
    this.parts.stage(changes)
    await this.parts.commit.flush()
  }

  /** Clears what is left of a job that was marked. */
  async clear(job: JobId): Promise<void> {
    const { kv, commit, stage } = this.parts
    for (const prefix of JOB_KINDS) await commit.retried(() => kv.clear(jobRange(prefix, job)))
    stage([{ key: jobKey(PREFIX.deleted, job) }])
    await commit.flush()
  }

  private remove(job: JobId, tombstone: boolean): Promise<void> {
    const { book } = this.parts
    book.block(job)
    const removed = this.removeBlocked(job, tombstone).finally(() => {
      this.deleting.delete(job)
      book.unblock(job)
    })
    this.deleting.set(job, removed)
    return removed
  }

  private async removeBlocked(job: JobId, tombstone: boolean): Promise<void> {
    const { book, commit, stage } = this.parts
    await commit.flush()
    book.forget(job)
    stage([
      ...(tombstone ? this.tombstones.add(job) : []),
      { key: jobKey(PREFIX.deleted, job), value: Buffer.alloc(0) },
      { key: jobKey(PREFIX.job, job) },
    ])
    await commit.flush({ sync: true })
    await this.clear(job)
  }
}

export function collected(job: JobId): MeshError {
  return new MeshError(
    'ERR_MESH_JOB_COLLECTED',
    `job ${job.slice(0, 8)} has ended and was collected here: submit the work as a new job`,
    { details: { job } },
  )
}
