import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import {
  BACKOFF_JOBS,
  BACKOFF_MAX_MS,
  BACKOFF_MIN_MS,
  DRY_MS,
  MAX_ASKS_PER_SLOT,
  MAX_LIFELINES_SENT,
  MIN_ASKS,
  MIN_GRANT_MS,
  PREFETCH_MS,
  PREFETCH_RTTS,
  STEAL_TIMEOUT_MS,
  STEAL_TRIES,
} from './limits.ts'
import {
  deadItems,
  noteEmpty,
  noteProgress,
  noteStalled,
  reclaimDead,
  reclaimGone,
} from './reclaim.ts'
import { NOBODY } from './rules.ts'
import { powerFor } from './seeds.ts'
import { noteSlow, speculate } from './speculate.ts'
import { pickWeighted } from './steal.ts'
import { priorityOf } from './turns.ts'
import type { PeerFacts, PeerId, SchedulerEvent } from './types.ts'

/** Of ten asks, nine go where the fold says that work is left; the tenth anywhere, since the fold may be behind. */
const TRUST_IN_FOLD = 0.9
/** Weight of a peer that the fold knows no work of, where others have some. */
const UNKNOWN_WEIGHT = 1e-6

/** Items a second of this whole peer, for a job. */
export function rateOf(core: Core, run: JobRun): number | undefined {
  const perMs = run.rate.perMs
  return perMs === undefined ? undefined : perMs * Math.max(1, core.self.slots) * 1000
}

/** The same as far as the job's rate limit lets it. */
function allowedRate(core: Core, run: JobRun): number | undefined {
  const rate = rateOf(core, run)
  const limit = run.bucket?.rate
  return limit === undefined || limit === 0 ? rate : Math.min(rate ?? limit * 1000, limit * 1000)
}

/**
 * Asks for work where slots are idle, or will be within a round trip: what has a higher priority than all that is left here at any
 * time. One STEAL a job is on its way at a time, and not more than a few in all.
 */
export function seekWork(core: Core): void {
  if (!core.willing || core.active.length === 0) return
  const nearMs = PREFETCH_RTTS * core.rttMs + PREFETCH_MS
  const work = localWork(core, nearMs)
  if (work === undefined) return
  const wanting: JobRun[] = []
  for (const run of core.active) {
    if (run.thief.asked !== undefined || !core.runnable(run)) continue
    const waitMs = work.waitMs(priorityOf(run))
    if (waitMs > nearMs || lastsByRate(core, run, nearMs)) continue
    if (isLooking(core, run, waitMs) && !reclaimGone(core, run)) wanting.push(run)
  }
  if (wanting.length > 1) inTurn(core, wanting)
  let room = Math.max(MIN_ASKS, MAX_ASKS_PER_SLOT * core.self.slots) - work.asking
  for (const run of wanting) {
    if (!othersHave(core, run)) reclaimDead(core, run)
    else if (room > 0) {
      ask(core, run)
      if (run.thief.asked !== undefined) room -= 1
    }
  }
}

/** Not backing off, or not any more. */
function isLooking(core: Core, run: JobRun, waitMs: number): boolean {
  const { thief } = run
  const over = thief.refreshed || (thief.backingOff === 'ahead' && waitMs === 0)
  if (over && thief.backingOff !== 'no') endBackoff(core, run)
  thief.refreshed = false
  return thief.backingOff === 'no'
}

/** Higher priorities first, and of the others another one each time. */
function inTurn(core: Core, runs: JobRun[]): void {
  core.seekTurn = (core.seekTurn + 1) % runs.length
  runs.push(...runs.splice(0, core.seekTurn))
  runs.sort((a, b) => priorityOf(b) - priorityOf(a))
}

/** What is left here lasts, at the job's rate; a free slot may still help a peer that is slower than its part of the rate. */
function lastsByRate(core: Core, run: JobRun, nearMs: number): boolean {
  const perMs = run.bucket?.rate ?? 0
  return perMs > 0 && core.freeSlots === 0 && run.left / perMs > nearMs
}

interface LocalWork {
  /** STEALs on their way. */
  readonly asking: number
  /** How long the work here of that priority and above lasts; 0 when a slot is idle. */
  waitMs(priority: number): number
}

/** Undefined: it lasts longer than `nearMs` for every priority there is. */
function localWork(core: Core, nearMs: number): LocalWork | undefined {
  const alike = core.priorities.size === 1 && core.freeSlots === 0
  let totalMs = 0
  const lasts = new Map<number, number>()
  const waiting = new Map<number, number>()
  let asking = 0
  for (const run of core.active) {
    if (run.thief.asked !== undefined) asking += 1
    // What waits for its rate leaves the slots to others.
    const todo = run.bucket === undefined ? run.todo.size : 0
    if ((todo === 0 && run.chunks.size === 0) || !core.runnable(run)) continue
    const priority = priorityOf(run)
    if (todo > 0) waiting.set(priority, (waiting.get(priority) ?? 0) + todo)
    const ms = lastsMs(core, run, todo)
    lasts.set(priority, (lasts.get(priority) ?? 0) + ms)
    totalMs += ms
    // With a thousand jobs a few say enough.
    if (alike && totalMs > nearMs) return undefined
  }
  const from = (counts: ReadonlyMap<number, number>, priority: number): number => {
    let sum = 0
    for (const [each, count] of counts) if (each >= priority) sum += count
    return sum
  }
  return {
    asking,
    waitMs: (priority) =>
      core.freeSlots > 0 && from(waiting, priority) === 0 ? 0 : from(lasts, priority),
  }
}

function lastsMs(core: Core, run: JobRun, todo: number): number {
  const { perMs } = run.rate
  if (perMs === undefined) return todo > 0 ? Number.POSITIVE_INFINITY : 0
  return (todo + run.left - run.todo.size) / (perMs * core.self.slots)
}

/** Items that are neither final, nor this session's, nor nobody's, nor of the dead. */
function othersHave(core: Core, run: JobRun): boolean {
  const { fold } = run
  const open = fold.items - fold.final.size
  const own = fold.openItems(core.self.session) + fold.openItems(NOBODY)
  return open > own && open > own + deadItems(core, run)
}

function ask(core: Core, run: JobRun): void {
  const { thief } = run
  // It will be done before an answer to a STEAL could be started on.
  if (!thief.waived && thief.empties === 0 && run.othersMs(MIN_GRANT_MS) !== undefined) {
    thief.waived = true
    thief.backingOff = 'idle'
    core.arm('idle', run, core.now + BACKOFF_MIN_MS)
    return
  }
  const victim = pickVictim(core, run)
  if (victim === undefined || run.thief.empties >= STEAL_TRIES) {
    giveUp(core, run)
    return
  }
  run.thief.asked = { victim, nonce: core.number(), sentAt: core.now, retried: false }
  send(core, run)
}

function send(core: Core, run: JobRun): void {
  const { victim, nonce } = run.thief.asked!
  core.emit({
    type: 'sendSteal',
    to: victim,
    job: run.job,
    nonce,
    rate: allowedRate(core, run),
    idle: core.freeSlots,
  })
  core.arm('steal', run, core.now + STEAL_TIMEOUT_MS)
}

export function stealAnswered(
  core: Core,
  event: Extract<SchedulerEvent, { type: 'stealAnswered' }>,
): void {
  const run = core.jobs.get(event.job)
  if (run === undefined) return
  const { thief } = run
  const { asked } = thief
  if (asked === undefined || asked.victim !== event.from || asked.nonce !== event.nonce) return
  if (!asked.retried) core.rttMs += (core.now - asked.sentAt - core.rttMs) / 4
  endAsk(core, run)
  const session = core.current.get(event.from)
  if (session !== undefined && (event.granted || event.running.length > 0)) {
    noteProgress(core, run, session)
    noteSlow(core, run, session, event.running)
  } else if (session !== undefined) noteEmpty(run, session)
  if (event.granted) {
    thief.empties = 0
    run.idleSince = undefined
  } else cameEmpty(core, run, event.from, DRY_MS)
}

/** The same nonce once more, then another victim. */
export function stealTimedOut(core: Core, run: JobRun): void {
  const { asked } = run.thief
  if (asked === undefined) return
  if (!asked.retried && core.peers.has(asked.victim)) {
    run.thief.asked = { ...asked, retried: true }
    send(core, run)
    return
  }
  endAsk(core, run)
  const session = core.current.get(asked.victim)
  if (session !== undefined) noteEmpty(run, session)
  cameEmpty(core, run, asked.victim, 2 * STEAL_TIMEOUT_MS)
}

export function victimGone(core: Core, run: JobRun, peer: PeerId): void {
  run.lifelines.delete(peer)
  run.thief.dry.delete(peer)
  if (run.thief.asked?.victim === peer) endAsk(core, run)
}

function cameEmpty(core: Core, run: JobRun, victim: PeerId, dryMs: number): void {
  run.thief.empties += 1
  if (core.peers.has(victim)) run.thief.dry.set(victim, core.now + dryMs)
}

function endAsk(core: Core, run: JobRun): void {
  run.thief.asked = undefined
  core.disarm('steal', run)
}

/** Nobody has work to give: leave word with a few, if a slot is idle, and wait, longer each time. */
function giveUp(core: Core, run: JobRun): void {
  const { thief } = run
  const idle = core.freeSlots
  thief.empties = 0
  if (idle > 0) noteStalled(core, run)
  if (reclaimDead(core, run) || speculate(core, run)) return
  thief.backingOff = idle > 0 ? 'idle' : 'ahead'
  core.arm('idle', run, core.now + (idle > 0 ? thief.backoffMs : BACKOFF_MIN_MS))
  if (idle === 0) return
  // With many jobs each is asked for less often.
  const mostMs = BACKOFF_MAX_MS * Math.max(1, core.active.length / BACKOFF_JOBS)
  thief.backoffMs = Math.min(mostMs, 2 * thief.backoffMs)
  const peers = [...core.peers.values()]
  const weights = weightsOf(run, peers)
  for (let n = 0; n < MAX_LIFELINES_SENT && n < peers.length; n += 1) {
    const i = pickWeighted(weights, core.config.random())
    if (i === undefined) return
    weights[i] = 0
    const to = peers[i]!.peer
    core.emit({ type: 'sendLifeline', to, job: run.job, rate: allowedRate(core, run), idle })
  }
}

export function endBackoff(core: Core, run: JobRun): void {
  run.thief.backingOff = 'no'
  core.disarm('idle', run)
}

/** A peer with much left for its strength, as far as the fold knows, which is some seconds behind; squared, so that the richest is likely. Not one that just said that it has nothing. */
function pickVictim(core: Core, run: JobRun): PeerId | undefined {
  const peers: PeerFacts[] = []
  for (const facts of core.peers.values()) {
    const dryUntil = run.thief.dry.get(facts.peer)
    if (dryUntil === undefined || dryUntil <= core.now) peers.push(facts)
  }
  if (peers.length === 0) return undefined
  const { random } = core.config
  const i =
    random() < TRUST_IN_FOLD
      ? pickWeighted(weightsOf(run, peers), random())
      : Math.floor(random() * peers.length)
  return i === undefined ? undefined : peers[i]!.peer
}

function weightsOf(run: JobRun, peers: readonly PeerFacts[]): number[] {
  return peers.map(
    (facts) =>
      (run.fold.openItems(facts.session) / Math.max(0.1, powerFor(facts, run.fold.spec))) ** 2 +
      UNKNOWN_WEIGHT,
  )
}
