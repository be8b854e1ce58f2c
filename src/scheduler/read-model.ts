import type { Core } from './core.ts'
import { startsAt } from './job-clock.ts'
import type { JobRun } from './job-run.ts'
import { deadItems } from './reclaim.ts'
import { powerFor } from './seeds.ts'
import { rateOf } from './thief.ts'
import type { JobView } from './types.ts'

/** What the rest of the peer sees of a job; undefined while its JOB is not known. */
export function viewOf(core: Core, run: JobRun): JobView | undefined {
  const { fold } = run
  const { jobEntry } = fold
  if (jobEntry === undefined) return undefined
  return {
    job: run.job,
    spec: jobEntry.body.spec,
    author: jobEntry.author,
    submittedAt: jobEntry.body.at,
    state: fold.state,
    items: fold.items,
    done: fold.final.size,
    failed: fold.failed,
    mine: run.held,
    runningHere: run.runningChunks(core.now),
    entries: fold.entryCount,
    chunks: fold.chunks,
    grants: fold.grants,
    reclaims: fold.reclaims,
    orphaned: deadItems(core, run),
    rate: rateOf(core, run),
    doneBy: fold.doneBy,
    ...(jobEntry.body.spec.options.requires === undefined ? {} : { eligible: eligible(core, run) }),
    ...(fold.state === 'cancelled' ? { cancellation: fold.cancellation } : {}),
    ...(startsAt(run) === undefined ? {} : { startsAt: startsAt(run) }),
    ...(run.gate === undefined ? {} : { plan: run.gate.plan }),
  }
}

function eligible(core: Core, { fold }: JobRun): number {
  let count = powerFor(core.self, fold.spec) > 0 ? 1 : 0
  for (const facts of core.peers.values()) if (powerFor(facts, fold.spec) > 0) count += 1
  return count
}
