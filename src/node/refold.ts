import { type FoldListener, JobFold, type ReadFork } from '../scheduler/fold.ts'
import type { JobId, ViewChange } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'

const deaf: FoldListener = {
  ownerChanged: () => undefined,
  finalChanged: () => undefined,
  rebuilt: () => undefined,
  breach: () => undefined,
  forked: () => undefined,
}

/**
 * Makes the views (and, where it is gone, the record) of jobs anew from their entries, after a damaged store was repaired. A job whose
 * JOB entry was lost keeps its entries: it comes to life when another peer sends it.
 */
export async function refold(
  store: Store,
  jobs: readonly JobId[],
  readFork: ReadFork,
): Promise<void> {
  if (jobs.length === 0) return
  const recorded = new Map((await store.jobs()).map((record) => [record.job, record]))
  for (const job of jobs) {
    const fold = new JobFold(job, deaf, readFork)
    for await (const entry of store.entries(job)) fold.add(entry)
    store.stageView(fold.takeChange() ?? emptyView(job))
    const { jobEntry, state, items } = fold
    if (jobEntry === undefined) continue
    const ended = state === 'finished' || state === 'cancelled' ? state : 'running'
    const before = recorded.get(job)
    const { spec, at } = jobEntry.body
    store.stageJob({
      job,
      state: ended,
      updatedAt: before?.updatedAt ?? Date.now(),
      summary: {
        items,
        done: fold.final.size,
        failed: fold.failed,
        submittedAt: at,
        author: jobEntry.author,
        spec,
        ...(before?.summary.finishedAt !== undefined &&
          ended !== 'running' && { finishedAt: before.summary.finishedAt }),
      },
    })
  }
  await store.flush({ sync: true })
}

function emptyView(job: JobId): ViewChange {
  return { job, ownersRemoved: [], ownersPut: [], doneRemoved: [], donePut: [] }
}
