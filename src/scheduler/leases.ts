import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import {
  FAR_LEASE_FACTOR,
  HEARTBEAT_MS,
  LATE_TIMER_MS,
  MAX_LEASES,
  MAX_WATCHERS,
  ORPHAN_LEASE_FACTOR,
  RESYNC_PEERS,
  SUSPICION_MS,
} from './limits.ts'
import { hash32 } from './rendezvous.ts'
import { NOBODY } from './rules.ts'
import { endBackoff, victimGone } from './thief.ts'
import type { Liveness, PeerFacts, PeerId, SchedulerEvent, SessionId } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

/**
 * Why a lease is over. `silent` and `gone` (its port refuses) end when it is heard of again, `orphaned` (it hands on what nobody can
 * trace) when that is cleared up; `restarted` (a newer session of its peer lives) and `distrusted` (it broke a rule) are for good.
 */
export type LeaseEnd = 'silent' | 'gone' | 'orphaned' | 'restarted' | 'distrusted'

/** What this peer knows of the life of one session (docs/protocol.md, "Leases"). */
export interface Lease {
  readonly session: SessionId
  /** Undefined: only the log speaks of it. */
  peer: PeerId | undefined
  facts: PeerFacts | undefined
  connected: boolean
  /** It reports to this peer: its silence says something. */
  watched: boolean
  heardAt: number
  /** Another peer says that it is dead: it has a moment to show that it is not. */
  suspectedAt: number | undefined
  ended: LeaseEnd | undefined
  endedAt: number
}

// ---------------------------------------------------------------- signs of life

/** A live connection stands, and its advert is known. False: an older session of a peer of which a newer one is known. */
export function noteConnected(core: Core, facts: PeerFacts): boolean {
  const lease = leaseOf(core, facts)
  if (lease === undefined) return false
  if (!lease.connected) ranksChange(core)
  lease.connected = true
  revive(core, lease)
  return true
}

/** Heard of, but not from. */
export function peerHeard(core: Core, { facts }: Event<'peerHeard'>): void {
  const lease = leaseOf(core, facts)
  if (lease !== undefined) revive(core, lease)
}

/** Who comes before whom is different now: those who wait for their turn begin anew. */
function ranksChange(core: Core): void {
  for (const run of core.active) {
    run.idleSince = undefined
    run.lookAt = run.goneLookAt = 0
  }
}

/** Any message of a connected peer. */
export function noteLife(core: Core, peer: PeerId): void {
  const lease = currentLease(core, peer)
  if (lease !== undefined) revive(core, lease)
}

export function heartbeat(core: Core, { from, last }: Event<'heartbeat'>): void {
  const lease = currentLease(core, from)
  if (lease === undefined) return
  lease.watched = !last
  revive(core, lease)
}

/** live -> live, or ended (but for good) -> live. */
function revive(core: Core, lease: Lease): void {
  lease.heardAt = core.now
  lease.suspectedAt = undefined
  if (lease.ended === 'silent' || lease.ended === 'gone') {
    lease.ended = undefined
    core.ended.delete(lease.session)
  }
  const { facts } = lease
  if (facts !== undefined && lease.connected && lease.ended === undefined) {
    core.peers.set(facts.peer, facts)
  }
}

/** The lease of the session that the facts name; a newer session of a peer ends the one before. */
function leaseOf(core: Core, facts: PeerFacts): Lease | undefined {
  const before = currentLease(core, facts.peer)
  if (before?.facts !== undefined && before.session !== facts.session) {
    if (facts.sessionNumber < before.facts.sessionNumber) return undefined
    before.connected = false
    endLease(core, before, 'restarted')
  }
  core.current.set(facts.peer, facts.session)
  const lease = core.leases.get(facts.session) ?? newLease(core, facts.session, facts.peer)
  lease.peer = facts.peer
  lease.facts = facts
  return lease
}

function currentLease(core: Core, peer: PeerId): Lease | undefined {
  const session = core.current.get(peer)
  return session === undefined ? undefined : core.leases.get(session)
}

function newLease(core: Core, session: SessionId, peer: PeerId | undefined): Lease {
  const lease: Lease = {
    session,
    peer,
    facts: undefined,
    connected: false,
    watched: false,
    heardAt: core.now,
    suspectedAt: undefined,
    ended: undefined,
    endedAt: 0,
  }
  core.leases.set(session, lease)
  armLease(core, core.now + core.leaseMs)
  return lease
}

/** Sessions that own or START something and that nobody has spoken of get a lease too: they may have died before this peer came. */
export function adoptOwners(core: Core, run: JobRun): void {
  for (const session of [...run.fold.openOf.keys(), ...run.fold.starters()]) {
    if (session === core.self.session || session === NOBODY) continue
    if (!core.leases.has(session) && !core.predecessors.has(session))
      newLease(core, session, undefined)
  }
}

// ---------------------------------------------------------------- ends

/** The connection closed; `refused`: so does its port. */
export function disconnected(core: Core, { peer, refused }: Event<'peerGone'>): void {
  core.peers.delete(peer)
  core.reportsTo.delete(peer)
  for (const run of core.jobs.values()) victimGone(core, run, peer)
  const lease = currentLease(core, peer)
  if (lease === undefined) return
  lease.connected = false
  if (refused) endLease(core, lease, 'gone')
  else if (lease.ended === undefined) armLease(core, endOf(core, lease))
}

/** Another peer has given it up. Believed, unless it was heard of here within its lease. */
export function suspected(core: Core, { from, peer, session }: Event<'suspected'>): void {
  if (session === core.self.session) {
    // Not so: everyone is told, but not more often than a heartbeat.
    if (core.now - core.refutedAt < HEARTBEAT_MS) return
    core.refutedAt = core.now
    core.emit({ type: 'sendHeartbeat', to: [...core.peers.keys()], last: false })
    for (const other of core.peers.keys()) core.reportsTo.add(other)
    return
  }
  const lease = core.leases.get(session)
  if (lease === undefined || lease.peer !== peer || lease.ended !== undefined) return
  const trustedMs = lease.watched ? core.leaseMs : 2 * HEARTBEAT_MS
  if (core.now - lease.heardAt < trustedMs || core.now < core.listenUntil) return
  if (lease.suspectedAt !== undefined) return
  lease.suspectedAt = core.now
  armLease(core, endOf(core, lease))
  spread(core, lease, from)
}

/** live -> ended: what the session holds may be RECLAIMed, and nothing is asked of it any more. */
export function endLease(core: Core, lease: Lease, why: LeaseEnd): void {
  const forGood = why === 'restarted' || why === 'distrusted'
  if (lease.ended !== undefined && !forGood) return
  const already = lease.ended !== undefined
  lease.ended = why
  if (already) return
  lease.endedAt = core.now
  ranksChange(core)
  const { peer, session } = lease
  core.ended.add(session)
  if (peer !== undefined && core.peers.get(peer)?.session === session) {
    core.peers.delete(peer)
    for (const run of core.jobs.values()) victimGone(core, run, peer)
  }
  for (const run of core.active) {
    if (run.fold.openItems(session) === 0) continue
    core.emit({ type: 'resync', job: run.job, with: whoMayKnow(core, run) })
    if (run.thief.backingOff !== 'no') endBackoff(core, run)
    core.touched.add(run)
  }
  if (peer !== undefined) {
    core.emit({ type: 'leaseEnded', peer, session, restarted: why === 'restarted' })
  }
}

/** The job's author has what was pushed to it; of the others a few, by chance. */
function whoMayKnow(core: Core, run: JobRun): PeerId[] {
  const chosen = new Set<PeerId>()
  const { author } = run
  if (author !== undefined && core.peers.has(author)) chosen.add(author)
  const others = [...core.peers.keys()]
  for (let n = 0; n < RESYNC_PEERS && others.length > 0; n += 1) {
    chosen.add(others.splice(Math.floor(core.config.random() * others.length), 1)[0]!)
  }
  return [...chosen]
}

/** A session broke a rule of the log: what it holds is taken from it, and it is asked for nothing. */
export function distrust(core: Core, session: SessionId, peer: PeerId | undefined): void {
  if (session === core.self.session) return
  endLease(core, core.leases.get(session) ?? newLease(core, session, peer), 'distrusted')
}

function spread(core: Core, lease: Lease, from: PeerId | undefined): void {
  const { peer, session } = lease
  if (peer === undefined) return
  const to = [...core.peers.keys()].filter((other) => other !== from)
  if (to.length > 0) core.emit({ type: 'sendSuspicion', to, peer, session })
}

// ---------------------------------------------------------------- timers

/**
 * A timer that fires late says that this process slept or was stopped: its silence is no one else's. All leases are moved by it, and
 * nobody is declared dead until the others had time to be heard.
 */
export function noteLateness(core: Core, lateMs: number): void {
  if (lateMs < LATE_TIMER_MS) return
  core.listenUntil = core.now + Math.min(core.leaseMs, HEARTBEAT_MS + LATE_TIMER_MS)
  const later = (at: number): number => Math.min(core.now, at + lateMs)
  for (const lease of core.leases.values()) {
    lease.heardAt = later(lease.heardAt)
    if (lease.suspectedAt !== undefined) lease.suspectedAt = later(lease.suspectedAt)
  }
  for (const { orphanedSince, progressAt } of core.active) {
    for (const [session, at] of orphanedSince) orphanedSince.set(session, later(at))
    for (const [session, at] of progressAt) progressAt.set(session, later(at))
  }
}

/** Tells those that watch this peer that it lives. */
export function beat(core: Core): void {
  core.armAlone('beat', core.now + HEARTBEAT_MS)
  const watchers = chooseWatchers(core)
  if (watchers.size > 0) core.emit({ type: 'sendHeartbeat', to: [...watchers], last: false })
  const dropped = [...core.reportsTo].filter((peer) => !watchers.has(peer) && core.peers.has(peer))
  if (dropped.length > 0) core.emit({ type: 'sendHeartbeat', to: dropped, last: true })
  core.reportsTo = watchers
}

/** Everyone in a small mesh; else so many that each peer hears about ten a second (docs/protocol.md, "Leases"). */
function chooseWatchers(core: Core): Set<PeerId> {
  const peers = [...core.peers.keys()]
  if (peers.length <= MAX_WATCHERS) return new Set(peers)
  const ranked = peers.map((peer) => ({ peer, rank: hash32(core.self.session + peer) }))
  ranked.sort((a, b) => b.rank - a.rank)
  return new Set(ranked.slice(0, MAX_WATCHERS).map(({ peer }) => peer))
}

/** Ends the leases that ran out, and sees when the next one may. */
export function checkLeases(core: Core): void {
  for (const run of core.active) {
    adoptOwners(core, run)
    checkOrphans(core, run)
  }
  for (const lease of core.leases.values()) {
    if (lease.ended !== undefined || core.now < endOf(core, lease)) continue
    endLease(core, lease, 'silent')
    if (lease.watched && core.peers.size > MAX_WATCHERS) spread(core, lease, undefined)
  }
  forgetLeases(core)
  let next = core.now + core.leaseMs
  for (const lease of core.leases.values()) {
    if (lease.ended === undefined) next = Math.min(next, endOf(core, lease))
  }
  armLease(core, next)
}

/** What is handed on out of an entry that nobody can show, for several leases' time, does not count for its author. */
function checkOrphans(core: Core, run: JobRun): void {
  const orphans = new Set(run.fold.orphanSessions())
  for (const session of run.orphanedSince.keys()) {
    if (orphans.has(session)) continue
    run.orphanedSince.delete(session)
    const lease = core.leases.get(session)
    if (lease?.ended !== 'orphaned') continue
    lease.ended = undefined
    core.ended.delete(session)
    revive(core, lease)
  }
  for (const session of orphans) {
    if (session === core.self.session) continue
    const since = run.orphanedSince.get(session)
    if (since === undefined) run.orphanedSince.set(session, core.now)
    else if (core.now - since > ORPHAN_LEASE_FACTOR * core.leaseMs) {
      const lease = core.leases.get(session)
      if (lease !== undefined && lease.ended === undefined) endLease(core, lease, 'orphaned')
    }
  }
}

/** When the lease runs out if nothing is heard until then. */
function endOf(core: Core, lease: Lease): number {
  const small = core.peers.size <= MAX_WATCHERS
  const { connected, watched, heardAt, suspectedAt } = lease
  if (suspectedAt !== undefined) return Math.max(suspectedAt + SUSPICION_MS, core.listenUntil)
  // Others watch it, and will say so; or its connection closes.
  if (connected && !watched && !small) return Number.POSITIVE_INFINITY
  const near = watched || small || lease.peer === undefined
  const end = heardAt + (near ? core.leaseMs : FAR_LEASE_FACTOR * core.leaseMs)
  return Math.max(end, core.listenUntil)
}

/** The leases are looked at then, or earlier. */
function armLease(core: Core, at: number): void {
  const due = core.dueAt('lease')
  if (due !== undefined && due <= at) return
  if (at < Number.POSITIVE_INFINITY) core.armAlone('lease', Math.max(at, core.now + 1))
}

function forgetLeases(core: Core): void {
  if (core.leases.size <= MAX_LEASES) return
  for (const [session, lease] of core.leases) {
    if (lease.connected || core.active.some((run) => run.fold.openItems(session) > 0)) continue
    core.leases.delete(session)
    core.ended.delete(session)
    if (lease.peer !== undefined && core.current.get(lease.peer) === session) {
      core.current.delete(lease.peer)
    }
    if (core.leases.size <= MAX_LEASES) return
  }
}

// ---------------------------------------------------------------- reads

export function livenessOf(core: Core, peer: PeerId): Liveness {
  const lease = currentLease(core, peer)
  if (lease === undefined) return { state: 'unknown', silentMs: 0 }
  const silentMs = Math.max(0, core.now - lease.heardAt)
  return { state: lease.ended === undefined ? 'live' : 'lost', silentMs }
}
