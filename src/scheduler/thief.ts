import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import {
  BACKOFF_MAX_MS,
  BACKOFF_MIN_MS,
  DRY_MS,
  MAX_LIFELINES_SENT,
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

/** Asks for work where slots are idle, or will be within a round trip. One STEAL a job is on its way at a time. */
export function seekWork(core: Core): void {
  if (!core.willing || core.active.length === 0) return
  const waitMs = localWorkMs(core)
  for (const run of core.active) {
    const { thief } = run
    if (thief.asked !== undefined || !core.runnable(run)) continue
    if (waitMs > PREFETCH_RTTS * core.rttMs + PREFETCH_MS) continue
    const over = thief.refreshed || (thief.backingOff === 'ahead' && waitMs === 0)
    if (over && thief.backingOff !== 'no') endBackoff(core, run)
    thief.refreshed = false
    if (thief.backingOff !== 'no' || reclaimGone(core, run)) continue
    if (othersHave(core, run)) ask(core, run)
    else reclaimDead(core, run)
  }
}

/** How long the work here lasts; 0 when a slot is idle. */
function localWorkMs(core: Core): number {
  let total = 0
  let waiting = 0
  for (const run of core.active) {
    if (!core.runnable(run)) continue
    const { left } = run
    waiting += run.todo.size
    if (left === 0) continue
    const { perMs } = run.rate
    if (perMs === undefined) total += run.todo.size > 0 ? Number.POSITIVE_INFINITY : 0
    else total += left / (perMs * core.self.slots)
  }
  return waiting === 0 && core.freeSlots > 0 ? 0 : total
}

/** Items that are neither final, nor this session's, nor nobody's, nor of the dead. */
function othersHave(core: Core, run: JobRun): boolean {
  const { fold } = run
  const open = fold.items - fold.final.size
  const own = fold.openItems(core.self.session) + fold.openItems(NOBODY)
  return open > own && open > own + deadItems(core, run)
}

function ask(core: Core, run: JobRun): void {
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
    rate: rateOf(core, run),
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
  thief.backoffMs = Math.min(BACKOFF_MAX_MS, 2 * thief.backoffMs)
  const peers = [...core.peers.values()]
  const weights = weightsOf(run, peers)
  for (let n = 0; n < MAX_LIFELINES_SENT && n < peers.length; n += 1) {
    const i = pickWeighted(weights, core.config.random())
    if (i === undefined) return
    weights[i] = 0
    const to = peers[i]!.peer
    core.emit({ type: 'sendLifeline', to, job: run.job, rate: rateOf(core, run), idle })
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
      (run.fold.openItems(facts.session) / Math.max(0.1, powerFor(facts, run.fold.spec?.task))) **
        2 +
      UNKNOWN_WEIGHT,
  )
}
