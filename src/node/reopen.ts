import type { Entry, JobId, SchedulerCore, SchedulerEvent } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import type { Replication } from './replication.ts'

export interface ReopenParts {
  readonly store: Store
  readonly scheduler: SchedulerCore
  readonly replication: Pick<Replication, 'hold' | 'loaded'>
  readonly dispatch: (event: SchedulerEvent) => void
}

/**
 * Takes a job that is only in the store into memory again, so that a LOST can reopen it. What came for it since it ended is in its log,
 * but not in its views: they are written anew from the fold.
 */
export async function takeUpAgain(parts: ReopenParts, job: JobId): Promise<void> {
  const { store, scheduler, replication, dispatch } = parts
  if (scheduler.job(job) !== undefined) return
  replication.hold(job)
  const entries: Entry[] = []
  try {
    for await (const entry of store.entries(job)) entries.push(entry)
    if (entries.length > 0) dispatch({ type: 'jobLoaded', entries })
  } finally {
    replication.loaded(job)
  }
  await rewriteDoneViews(parts, job)
}

/** Makes the store's view of what is done equal to the fold's. */
export async function rewriteDoneViews(
  { store, scheduler }: Pick<ReopenParts, 'store' | 'scheduler'>,
  job: JobId,
): Promise<void> {
  const stale = new Set<number>()
  for await (const { lo } of store.doneSpans(job)) stale.add(lo)
  const donePut = [...scheduler.doneSpans(job)]
  for (const { lo } of donePut) stale.delete(lo)
  const change = { job, ownersRemoved: [], ownersPut: [], doneRemoved: [...stale], donePut }
  store.stageView(change)
}
