import type { Core } from './core.ts'
import { readyOwners } from './dependants.ts'
import type { JobRun } from './job-run.ts'
import {
  MAX_GRANT_RANGES,
  MAX_RECLAIM_RANK,
  MAX_RELEASE_PUSHES,
  OWN_FIRST_MS,
  RECLAIM_AFTER_MS,
  RECLAIM_LOOK_MS,
  RECLAIM_PIECES,
  RECLAIM_RANK_MIN_MS,
  RECLAIM_RANK_MS,
  RELEASE_RANK_MS,
  SEED_ACK_MS,
  STALL_ANSWERS,
  STALL_LEASE_FACTOR,
} from './limits.ts'
import { rendezvousRank } from './rendezvous.ts'
import { MAX_EPOCH, NOBODY } from './rules.ts'
import { powerFor } from './seeds.ts'
import type {
  EntryHash,
  GrantedRange,
  OwnerSpan,
  PeerId,
  Range,
  ReclaimedRange,
  SessionId,
} from './types.ts'
import { parts } from './victim.ts'

// ---------------------------------------------------------------- this peer's own earlier sessions

/**
 * A process that starts again reclaims what its predecessors held: no other will run it. Where other peers are about they are heard
 * first, since they may have taken it meanwhile.
 */
export function reclaimOwn(core: Core, run: JobRun): void {
  if (core.stopping || !core.lending || run.ended || !openOfAny(run, core.predecessors)) return
  if (isCatchingUp(core, run)) return
  reclaimAll(core, run, (span) => core.predecessors.has(span.owner))
}

/** Items are nobody's, or of an earlier session of this peer: it is looked at again with each event. */
export function hasLeftovers(core: Core, run: JobRun): boolean {
  return run.fold.openItems(NOBODY) > 0 || openOfAny(run, core.predecessors)
}

/** Others may have taken, and finished, what the store of this peer says is its own. */
function isCatchingUp(core: Core, run: JobRun): boolean {
  if (core.now >= run.catchUpUntil) return false
  core.arm('release', run, run.catchUpUntil)
  return true
}

// ---------------------------------------------------------------- ranges that were released

/**
 * Takes ranges that a leaving peer RELEASEd, when it is this peer's turn: rank r of the live peers that lend slots, by rendezvous
 * hash with the RELEASE, waits r seconds.
 */
export function reclaimReleased(core: Core, run: JobRun): void {
  if (run.fold.openItems(NOBODY) === 0) {
    run.releasedSince.clear()
    if (core.now >= run.catchUpUntil) core.disarm('release', run)
    return
  }
  if (core.now < run.unfitUntil) core.arm('release', run, run.unfitUntil)
  if (!core.willing || !core.fits(run) || run.ended || isCatchingUp(core, run)) return
  const due = new Set<EntryHash>()
  const known = new Map<EntryHash, number>()
  let next = Number.POSITIVE_INFINITY
  for (const span of run.fold.owners) {
    if (span.owner !== NOBODY || known.has(span.hash)) continue
    const since = run.releasedSince.get(span.hash) ?? core.now
    known.set(span.hash, since)
    const leaver = run.fold.entry(span.hash)?.author
    const at = since + RELEASE_RANK_MS * rankFor(core, run, span.hash, leaver)
    if (at <= core.now) due.add(span.hash)
    else next = Math.min(next, at)
  }
  run.releasedSince.clear()
  for (const [hash, since] of known) run.releasedSince.set(hash, since)
  if (next < Number.POSITIVE_INFINITY) core.arm('release', run, next)
  if (due.size > 0) reclaimAll(core, run, (span) => due.has(span.hash))
}

/** Place of this peer among the live ones that lend slots. */
function rankFor(core: Core, run: JobRun, key: string, except?: PeerId): number {
  const eligible: PeerId[] = []
  for (const facts of core.peers.values()) {
    if (powerFor(facts, run.fold.spec) > 0 && facts.peer !== except) eligible.push(facts.peer)
  }
  return rendezvousRank(key, core.self.peer, eligible)
}

// ---------------------------------------------------------------- ranges of the dead

/** Items that sessions hold whose lease is over. */
export function deadItems(core: Core, run: JobRun): number {
  let items = 0
  const { openOf } = run.fold
  if (core.ended.size <= openOf.size) {
    for (const session of core.ended) items += openOf.get(session) ?? 0
  } else {
    for (const [session, open] of openOf) if (core.ended.has(session)) items += open
  }
  for (const session of run.stalled.keys()) {
    if (!core.ended.has(session)) items += openOf.get(session) ?? 0
  }
  return items
}

interface DuePiece {
  readonly span: OwnerSpan
  readonly lo: number
  readonly hi: number
}

/**
 * Nothing is left to start or to steal: takes from the dead what it is this peer's turn to take, at most its share by speed. What a
 * dead session held falls into pieces with fixed bounds; rank r for a piece waits r seconds. True when something was taken.
 */
export function reclaimDead(core: Core, run: JobRun): boolean {
  if (!core.willing || !core.fits(run) || run.ended) return false
  const dead = deadItems(core, run)
  if (dead === 0) return false
  run.idleSince ??= core.now
  if (core.now < run.lookAt) return false
  const found = duePieces(core, run)
  if (found.due.length > 0) return takePieces(core, run, found.due, shareOf(core, run, dead))
  run.lookAt = Math.min(found.next, core.now + RECLAIM_LOOK_MS)
  if (found.next < Number.POSITIVE_INFINITY) core.arm('reclaim', run, found.next)
  return false
}

/** Little is left here: what certainly nobody comes back for, and this peer is the first to take, goes before stealing. */
export function reclaimGone(core: Core, run: JobRun): boolean {
  if (!core.willing || !core.fits(run) || run.ended) return false
  if (core.now < core.listenUntil) return false
  if (core.now < run.goneLookAt) return false
  const dead = deadItems(core, run)
  if (dead === 0) return false
  const due: DuePiece[] = []
  for (const span of run.fold.owners) {
    const lease = core.leases.get(span.owner)
    if (lease?.ended === undefined || lease.ended === 'silent') continue
    if (lease.ended === 'restarted' && lease.peer !== undefined && core.isLive(lease.peer)) continue
    if (core.now < knownBy(core, lease.endedAt) || isFinal(run, span.lo, span.hi)) continue
    for (const { lo, hi, index } of piecesOf(run, span)) {
      if (isFinal(run, lo, hi)) continue
      if (rankFor(core, run, `${span.hash}${index}`, lease.peer) === 0) due.push({ span, lo, hi })
    }
  }
  if (due.length === 0) run.goneLookAt = core.now + RECLAIM_LOOK_MS
  return due.length > 0 && takePieces(core, run, due, shareOf(core, run, dead))
}

function takePieces(core: Core, run: JobRun, due: readonly DuePiece[], share: number): boolean {
  const ranges: ReclaimedRange[] = []
  let items = 0
  for (const { span, lo, hi } of due) {
    if (items >= share || ranges.length >= MAX_GRANT_RANGES) break
    items += openRanges(run, span, lo, hi, ranges)
  }
  writeReclaim(core, run, ranges)
  return ranges.length > 0
}

/** This peer's part of `items`, by slots × speed among the live. */
function shareOf(core: Core, run: JobRun, items: number): number {
  const { spec } = run.fold
  const own = powerFor(core.self, spec)
  let all = own
  for (const facts of core.peers.values()) all += powerFor(facts, spec)
  return Math.max(1, Math.ceil((items * own) / all))
}

function duePieces(core: Core, run: JobRun): { due: DuePiece[]; next: number } {
  const due: DuePiece[] = []
  let next = Number.POSITIVE_INFINITY
  for (const span of run.fold.owners) {
    const since = deadSince(core, run, span.owner)
    if (since === undefined) continue
    if (isFinal(run, span.lo, span.hi)) continue
    for (const piece of piecesOf(run, span)) {
      if (isFinal(run, piece.lo, piece.hi)) continue
      const at = turnFor(core, run, span, piece.index, since)
      if (at <= core.now) due.push({ span, lo: piece.lo, hi: piece.hi })
      else next = Math.min(next, at)
    }
  }
  return { due, next }
}

/** What a session that is dead since then wrote last has been asked for, and is here. */
function knownBy(core: Core, since: number): number {
  return since + Math.max(RECLAIM_AFTER_MS, 2 * core.rttMs)
}

function isFinal(run: JobRun, lo: number, hi: number): boolean {
  return run.fold.final.countIn(lo, hi) === hi - lo
}

/** Since when a session's ranges may be taken; undefined: not at all. */
function deadSince(core: Core, run: JobRun, session: SessionId): number | undefined {
  if (session === NOBODY || session === core.self.session) return undefined
  if (core.ended.has(session)) return core.leases.get(session)?.endedAt ?? core.now
  return run.stalled.get(session)
}

/**
 * When it is this peer's turn for a piece. Ranks count from when it had nothing else to do: at the end of a job all are idle at
 * once, and each begins with the pieces for which it is first.
 */
function turnFor(core: Core, run: JobRun, span: OwnerSpan, index: number, since: number): number {
  const lease = core.leases.get(span.owner)
  const rank = rankFor(core, run, `${span.hash}${index}`, lease?.peer)
  // A peer that has started again takes its own.
  const own = lease?.ended === 'restarted' && lease.peer !== undefined && core.isLive(lease.peer)
  const rankMs = Math.min(RECLAIM_RANK_MS, Math.max(RECLAIM_RANK_MIN_MS, 4 * core.rttMs))
  const waitMs = rankMs * Math.min(MAX_RECLAIM_RANK, rank) + (own ? OWN_FIRST_MS : 0)
  return Math.max(knownBy(core, since), run.idleSince ?? core.now, core.listenUntil) + waitMs
}

/** A span cut at bounds that all peers agree on: those of the claim that made it, in RECLAIM_PIECES. */
function* piecesOf(run: JobRun, span: OwnerSpan): Iterable<Range & { readonly index: number }> {
  const claim = run.fold.claimAt(span.hash, span.lo)
  const length = claim === undefined ? span.hi - span.lo : claim.hi - claim.lo
  const { grain } = run
  let size = grain
  while (size * RECLAIM_PIECES < length) size *= 2
  for (let index = Math.floor(span.lo / size); index * size < span.hi; index += 1) {
    const lo = Math.max(span.lo, index * size)
    yield { lo, hi: Math.min(span.hi, (index + 1) * size), index }
  }
}

/**
 * A session that is alive, holds items, and for several leases' time has neither written an entry of this job nor told of a running
 * chunk when asked: whatever it does, nobody waits for it.
 */
export function noteStalled(core: Core, run: JobRun): void {
  const limitMs = STALL_LEASE_FACTOR * core.leaseMs
  // On what waits for other items nobody can work.
  const able = run.isGraph ? readyOwners(run) : undefined
  for (const [session, open] of run.fold.openOf) {
    if (open === 0 || session === core.self.session || session === NOBODY) continue
    const since = able?.has(session) === false ? undefined : run.progressAt.get(session)
    if (since === undefined) run.progressAt.set(session, core.now)
    else if (core.now - since > limitMs && core.now >= core.listenUntil) {
      const empty = run.emptyAnswers.get(session) ?? 0
      if (empty >= STALL_ANSWERS && !run.stalled.has(session)) run.stalled.set(session, core.now)
    }
  }
}

/** It works after all. */
export function noteProgress(core: Core, run: JobRun, session: SessionId): void {
  run.progressAt.set(session, core.now)
  run.emptyAnswers.delete(session)
  run.stalled.delete(session)
}

/** Asked for work, it had none to give, and none that it runs; or it did not answer. */
export function noteEmpty(run: JobRun, session: SessionId): void {
  run.emptyAnswers.set(session, (run.emptyAnswers.get(session) ?? 0) + 1)
}

// ---------------------------------------------------------------- seeds that never got their JOB

/** The author hears from every seed within a second, or sends the JOB again, or takes the seed's items back. */
export function remindSeeds(core: Core, run: JobRun): void {
  const silent = [...run.unacked].filter((session) => run.fold.openItems(session) > 0)
  if (silent.length === 0 || run.ended) return
  const connected = new Map([...core.peers.values()].map((facts) => [facts.session, facts.peer]))
  const back = new Set<SessionId>()
  for (const session of silent) {
    const peer = connected.get(session)
    if (peer === undefined || run.seedsReminded) back.add(session)
    else core.emit({ type: 'push', to: peer, job: run.job })
  }
  for (const session of back) run.unacked.delete(session)
  reclaimAll(core, run, (span) => back.has(span.owner))
  if (run.seedsReminded || back.size === silent.length) return
  run.seedsReminded = true
  core.arm('seeds', run, core.now + 2 * SEED_ACK_MS)
}

// ---------------------------------------------------------------- writing

function openOfAny(run: JobRun, sessions: Iterable<SessionId>): boolean {
  for (const session of sessions) if (run.fold.openItems(session) > 0) return true
  return false
}

function reclaimAll(core: Core, run: JobRun, wanted: (span: OwnerSpan) => boolean): void {
  const ranges: ReclaimedRange[] = []
  for (const span of run.fold.owners) {
    if (wanted(span)) openRanges(run, span, span.lo, span.hi, ranges)
  }
  writeReclaim(core, run, ranges)
}

/**
 * Adds what is open of [lo, hi) of a span; returns how many items that is. Where the span is not rooted the RECLAIM names what is, epoch
 * after epoch until it wins.
 */
function openRanges(
  run: JobRun,
  span: OwnerSpan,
  lo: number,
  hi: number,
  ranges: ReclaimedRange[],
): number {
  let items = 0
  for (const open of run.fold.final.missing(lo, hi)) {
    for (const parent of run.fold.rootedOwners(span, open.lo, open.hi)) {
      if (parent.epoch >= MAX_EPOCH) continue
      items += parent.hi - parent.lo
      const last = ranges.at(-1)
      const epoch = parent.epoch + 1
      if (last?.hi === parent.lo && last.parent === parent.hash && last.epoch === epoch) {
        ranges[ranges.length - 1] = { ...last, hi: parent.hi }
      } else ranges.push({ lo: parent.lo, hi: parent.hi, parent: parent.hash, epoch })
    }
  }
  return items
}

function writeReclaim(core: Core, run: JobRun, ranges: readonly ReclaimedRange[]): void {
  if (ranges.length === 0) return
  for (let i = 0; i < ranges.length; i += MAX_GRANT_RANGES) {
    core.append(run, { type: 'reclaim', ranges: ranges.slice(i, i + MAX_GRANT_RANGES) })
  }
  core.pushToAuthor(run)
  core.publish(run)
}

/** This peer stops, or takes no work for now: what it has not started is nobody's from now on, and the others are told at once. */
export function releaseAll(core: Core, run: JobRun): void {
  if (run.ended) return
  run.endDelays(0, run.fold.items)
  if (run.held === 0) return
  const ranges: GrantedRange[] = []
  for (const { lo, hi } of run.unstarted()) ranges.push(...parts(run, lo, hi))
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
