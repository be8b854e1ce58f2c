import { launch } from './chunk-flow.ts'
import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import {
  MAX_COPIES,
  MAX_SLOW_CHUNKS,
  SPECULATE_FACTOR,
  SPECULATE_MIN_MS,
  SPECULATE_UNKNOWN_MS,
} from './limits.ts'
import { rateLimit } from './rate.ts'
import { rendezvousRank } from './rendezvous.ts'
import { type RunningChunk, type SessionId, ZERO_HASH } from './types.ts'

/** A victim without work to give tells what it is running: kept, since it may be worth a copy. */
export function noteSlow(
  core: Core,
  run: JobRun,
  session: SessionId,
  running: readonly RunningChunk[],
): void {
  const { thief, fold } = run
  thief.slow = thief.slow.filter((chunk) => chunk.session !== session)
  for (const { lo, hi, ageMs } of running) {
    // Age 0: it is work, but none to copy (its output is on its way, it waits for its next try, or for a rate limit).
    if (!(lo >= 0 && lo < hi && hi <= fold.items) || !(ageMs > 0)) continue
    thief.slow.push({ lo, hi, session, startedAt: core.now - ageMs })
  }
  if (thief.slow.length > MAX_SLOW_CHUNKS) thief.slow.splice(0, thief.slow.length - MAX_SLOW_CHUNKS)
}

/**
 * An idle slot with nothing to start or to steal copies what another peer is slow at (Dean & Ghemawat's backup tasks): the chunk that
 * has run longest beyond what it would take here. Whoever is done first counts; the other one is aborted.
 */
export function speculate(core: Core, run: JobRun): boolean {
  const { thief, fold } = run
  if (!core.willing || core.freeSlots === 0 || !core.runnable(run)) return false
  // A copy is a start that a rate limit does not allow for.
  if (rateLimit(run) !== undefined) return false
  let best: { lo: number; hi: number; over: number } | undefined
  for (const { lo, hi, startedAt, session } of thief.slow) {
    if (core.ended.has(session) || fold.final.countIn(lo, hi) > 0) continue
    if (!run.speculates(lo) || !run.mayRun(lo, hi)) continue
    if (run.busy.missing(lo, hi).length === 0) continue
    const ageMs = core.now - startedAt
    const { perMs } = run.meterAt(lo)
    const hereMs = perMs === undefined ? SPECULATE_UNKNOWN_MS : (hi - lo) / perMs
    const needMs = Math.max(SPECULATE_MIN_MS, SPECULATE_FACTOR * hereMs) * patience(core, run, lo)
    if (ageMs < needMs) continue
    if (best === undefined || ageMs / needMs > best.over) best = { lo, hi, over: ageMs / needMs }
  }
  if (best === undefined) return false
  const { lo, hi } = best
  thief.slow = thief.slow.filter((chunk) => chunk.lo !== lo || chunk.hi !== hi)
  launch(core, run, {
    lo,
    hi,
    parent: ZERO_HASH,
    budgetMs: Number.POSITIVE_INFINITY,
    speculative: true,
    attempt: 1,
    afterWrite: false,
  })
  return true
}

/** A few copies do: of the live peers those whose turn comes later wait longer. */
function patience(core: Core, run: JobRun, lo: number): number {
  const rank = rendezvousRank(`${run.job}${lo}`, core.self.peer, core.peers.keys())
  return 1 + Math.floor(rank / MAX_COPIES) / 4
}
