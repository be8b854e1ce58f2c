import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import { MAX_GRANT_RANGES, MAX_RELEASE_PUSHES, RELEASE_RANK_MS } from './limits.ts'
import { rendezvousRank } from './rendezvous.ts'
import { NOBODY } from './rules.ts'
import type {
  EntryHash,
  GrantedRange,
  OwnerSpan,
  PeerId,
  ReclaimedRange,
  SessionId,
} from './types.ts'
import { parts } from './victim.ts'

/** A process that starts again reclaims at once what its predecessors held: no other will run it. */
export function reclaimOwn(core: Core, run: JobRun): void {
  if (core.stopping || run.ended || !openOfAny(run, core.predecessors)) return
  reclaim(core, run, (span) => core.predecessors.has(span.owner))
}

/**
 * Takes ranges that a leaving peer RELEASEd, when it is this peer's turn: rank r of the live peers that lend slots, by rendezvous
 * hash with the RELEASE, waits r seconds.
 */
export function reclaimReleased(core: Core, run: JobRun): void {
  if (run.fold.openItems(NOBODY) === 0) {
    run.releasedSince.clear()
    core.disarm('release', run)
    return
  }
  if (core.stopping || run.ended || core.self.slots <= 0) return
  const due = new Set<EntryHash>()
  const known = new Map<EntryHash, number>()
  let next = Number.POSITIVE_INFINITY
  for (const span of run.fold.owners) {
    if (span.owner !== NOBODY || known.has(span.hash)) continue
    const since = run.releasedSince.get(span.hash) ?? core.now
    known.set(span.hash, since)
    const at = since + RELEASE_RANK_MS * rankFor(core, run, span.hash)
    if (at <= core.now) due.add(span.hash)
    else next = Math.min(next, at)
  }
  run.releasedSince.clear()
  for (const [hash, since] of known) run.releasedSince.set(hash, since)
  if (next < Number.POSITIVE_INFINITY) core.arm('release', run, next)
  if (due.size > 0) reclaim(core, run, (span) => due.has(span.hash))
}

function rankFor(core: Core, run: JobRun, release: EntryHash): number {
  const leaver = run.fold.entry(release)?.author
  const eligible: PeerId[] = []
  for (const facts of core.peers.values()) {
    if (facts.slots > 0 && facts.peer !== leaver) eligible.push(facts.peer)
  }
  return rendezvousRank(release, core.self.peer, eligible)
}

function openOfAny(run: JobRun, sessions: Iterable<SessionId>): boolean {
  for (const session of sessions) if (run.fold.openItems(session) > 0) return true
  return false
}

function reclaim(core: Core, run: JobRun, wanted: (span: OwnerSpan) => boolean): void {
  const ranges: ReclaimedRange[] = []
  for (const span of run.fold.owners) {
    if (!wanted(span)) continue
    for (const { lo, hi } of run.fold.final.missing(span.lo, span.hi)) {
      ranges.push({ lo, hi, parent: span.hash, epoch: span.epoch + 1 })
    }
  }
  if (ranges.length === 0) return
  for (let i = 0; i < ranges.length; i += MAX_GRANT_RANGES) {
    core.append(run, { type: 'reclaim', ranges: ranges.slice(i, i + MAX_GRANT_RANGES) })
  }
  core.pushToAuthor(run)
  core.publish(run)
}

/** This peer stops: what it has not started is nobody's from now on, and the others are told at once. */
export function releaseAll(core: Core, run: JobRun): void {
  if (run.ended || run.todo.size === 0) return
  const ranges: GrantedRange[] = []
  for (const { lo, hi } of run.todo.ranges()) ranges.push(...parts(run, lo, hi))
  for (let i = 0; i < ranges.length; i += MAX_GRANT_RANGES) {
    core.append(run, { type: 'release', ranges: ranges.slice(i, i + MAX_GRANT_RANGES) })
  }
  core.pushToAuthor(run)
  let told = 0
  for (const peer of core.peers.keys()) {
    if (peer === run.author) continue
    if ((told += 1) > MAX_RELEASE_PUSHES) break
    core.emit({ type: 'push', to: peer, job: run.job })
  }
  core.publish(run)
}
