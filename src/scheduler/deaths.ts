import type { Core } from './core.ts'
import { tellDependants } from './dependants.ts'
import { flushDone } from './done-queue.ts'
import type { JobRun } from './job-run.ts'
import {
  CERTAIN_DEATH_MS,
  DEATH_SPLIT,
  MAX_DEATHS,
  MAX_GRANT_RANGES,
  START_EPOCH,
} from './limits.ts'
import type { EntryHash, OwnerSpan, Range, SessionId } from './types.ts'

/** What the STARTs say of the range that comes next: run so many items at most; undefined: the first item is given up. */
export function cautiousSize(
  core: Core,
  run: JobRun,
  owner: OwnerSpan,
  lo: number,
): number | undefined {
  if (owner.epoch < START_EPOCH) return Number.POSITIVE_INFINITY
  // Whoever is heard of lives, whatever others said of it.
  const starts = run.fold
    .deathsAt(lo)
    .filter(({ session }) => core.ended.has(session) || !core.leases.has(session))
  if (starts.length === 0) return Number.POSITIVE_INFINITY
  const smallest = Math.min(...starts.map((start) => start.hi - start.lo))
  const sessions = new Set(starts.map(({ session }) => session))
  const certain = starts.filter(({ session }) => isCertain(core, session))
  const alone = certain.some((start) => start.hi - start.lo === 1)
  if (alone && new Set(certain.map(({ session }) => session)).size >= MAX_DEATHS) return undefined
  return sessions.size === 1 ? Math.max(1, Math.ceil(smallest / DEATH_SPLIT)) : 1
}

/** Silence alone may be a split of the network: it must last. */
function isCertain(core: Core, session: SessionId): boolean {
  const lease = core.leases.get(session)
  if (lease?.ended === undefined) return false
  if (lease.ended === 'gone' || lease.ended === 'restarted') return true
  return core.now - lease.endedAt >= CERTAIN_DEATH_MS
}

/** An item that ended every session that ran it is given up: it must not end them all (docs/protocol.md, "Work"). */
export function giveUp(core: Core, run: JobRun, item: number): void {
  core.append(run, {
    type: 'fail',
    ranges: [
      {
        lo: item,
        hi: item + 1,
        code: 'ERR_MESH_WORKER_DIED',
        message: `given up: ${MAX_DEATHS} peers were lost while they ran this item`,
      },
    ],
  })
  core.pushToAuthor(run)
  tellDependants(core, run, [{ lo: item, hi: item + 1 }])
}

/**
 * Written before a chunk of a range runs whose owner was lost. It names all that this session runs of the job; what is finished is
 * said before, so that nothing but what runs is suspected if this session is lost too.
 */
export function announce(core: Core, run: JobRun, owner: OwnerSpan, lo: number, hi: number): void {
  flushDone(core, run)
  const ranges: (Range & { parent: EntryHash })[] = [{ lo, hi, parent: owner.hash }]
  for (const chunk of run.chunks.values()) {
    if (chunk.state !== 'running' || chunk.speculative || chunk.reached >= chunk.hi) continue
    ranges.push({ lo: chunk.reached, hi: chunk.hi, parent: chunk.parent })
  }
  ranges.sort((a, b) => a.lo - b.lo)
  core.append(run, { type: 'start', ranges: ranges.slice(0, MAX_GRANT_RANGES) })
  core.publish(run)
  core.pushToAuthor(run)
}
