import type { JobId, JobState } from '../../src/scheduler/types.ts'
import { check, sameFold } from './checks.ts'
import { scheduleControls } from './control.ts'
import { type Faults, NO_FAULTS } from './faults.ts'
import { watchKeepers } from './keepers.ts'
import type { Process } from './process.ts'
import { schedule } from './schedule.ts'
import { TRIES } from './workers.ts'
import { type SimOptions, World } from './world.ts'

/** A job that is not done after so many times the ideal, and so many leases, since all is well is stuck. */
const STUCK_FACTOR = 20
const STUCK_LEASES = 12
const STUCK_MS = 60_000
/** What is on its way when the last peer knows the end has arrived by then. */
const DRAIN_MS = 3_000
/** A small scenario has some ten thousand events; with so many its peers keep each other busy. */
const MAX_EVENTS = 3_000_000
/** After the end peers meet until all hold the same; what that brings up may run again. */
const MAX_MEETINGS = 6

export interface SimReport {
  readonly seed: number
  readonly peers: number
  readonly items: number
  /** Slot-time that was there until the submitter (or, without it, anyone) knew the end, over the work. */
  readonly ratio: number
  /** The same until every item had been run. */
  readonly ranRatio: number
  readonly makespanSeconds: number
  /** Items run to their end more than once. */
  readonly ranTwice: number
  /** Worker time over the work, less 1; and the part of it that died with its process. */
  readonly wasted: number
  readonly died: number
  readonly chunks: number
  readonly entriesPerChunk: number
  readonly messagesPerChunk: number
  readonly entries: Readonly<Record<string, number>>
  readonly messages: Readonly<Record<string, number>>
  /** Heartbeats, per peer and second. */
  readonly heartbeats: number
  /** Runs whose signature a peer checks, and entries that it takes in, per second. */
  readonly verified: number
  readonly taken: number
  readonly leasesEnded: number
  readonly leasesWrongly: number
  readonly handled: number
  readonly virtualSeconds: number
  readonly wallSeconds: number
  /** Of the watched item. */
  readonly story: readonly string[]
  /** Of a job with a rate limit: when its items were begun, in order. */
  readonly begunAt: readonly number[]
  /** Of the first peer. */
  readonly state: JobState | undefined
  readonly cancelled: string | undefined
  /** What went wrong; empty when every check held. */
  readonly problems: readonly string[]
}

/** Runs one job over a mesh in virtual time, to its end, and checks what must hold. */
export function simulate(options: Partial<SimOptions>, faults: Faults = NO_FAULTS): SimReport {
  const started = performance.now()
  const world = new World(options, faults)
  schedule(world, faults)
  const job = world.submit(world.hosts[0]!)
  scheduleControls(world, job, faults.controls)
  watchKeepers(world, job)
  const { leaseMs, submitMs } = world.options
  const slowest = Math.min(...world.hosts.map(({ facts }) => facts.speed))
  // With few items one of them on the slowest slot may take longer than anything else.
  const patience =
    world.idealMs * STUCK_FACTOR +
    leaseMs * STUCK_LEASES +
    STUCK_MS +
    2 * (world.options.throwEvery === undefined ? 1 : TRIES) * (world.workload.dearest / slowest)
  const limit = Math.max(submitMs, faults.healMs) + patience
  let makespan: number | undefined
  const ended = (): boolean => {
    makespan ??= endSeen(world, job)
    return makespan !== undefined && world.clock.now >= faults.healMs && allEnded(world, job)
  }
  runUntil(world, limit, ended)
  const messages = { ...world.network.sent }
  const seconds = (world.clock.now - submitMs) / 1000
  if (allEnded(world, job)) meet(world, job, world.clock.now + patience)
  check(world, job)
  const seen = makespan ?? Number.POSITIVE_INFINITY
  return report(world, job, { seen, messages, seconds, started })
}

function runUntil(world: World, limit: number, done: () => boolean): void {
  // Looking at every peer after each event would cost more than the event.
  for (let look = 0; world.clock.now < limit; look += 1) {
    if (look % 64 === 0 && done()) return
    if (world.options.checked && look > MAX_EVENTS) {
      world.truth.problem(`${MAX_EVENTS} events, and no end`)
      return
    }
    if (!world.clock.step()) return
  }
}

/** When the submitter, or if it is gone the first that stayed, saw the end. */
function endSeen(world: World, job: JobId): number | undefined {
  const author = world.hosts[0]!
  if (author.expected && author.process === undefined) return undefined
  const cancelledAt = (process: Process): number | undefined =>
    isOver(process, job) ? world.clock.now : undefined
  if (author.process !== undefined) {
    return author.process.finishedAt.get(job) ?? cancelledAt(author.process)
  }
  for (const process of world.honest()) {
    const at = process.finishedAt.get(job) ?? cancelledAt(process)
    if (at !== undefined) return at
  }
  return undefined
}

function allEnded(world: World, job: JobId): boolean {
  return world.hosts.every(({ process, honest, expected }) => {
    if (process === undefined) return !expected
    // Who came when it was over need not have heard of it.
    if (!honest || (!process.jobs.has(job) && process.host.expected)) return true
    return isOver(process, job)
  })
}

function isOver({ brain }: Process, job: JobId): boolean {
  const state = brain.scheduler?.job(job)?.state
  return state === 'finished' || state === 'cancelled'
}

/** All peers that are there exchange what they have, until one set of entries is everywhere. */
function meet(world: World, job: JobId, limit: number): void {
  for (let i = 0; i < MAX_MEETINGS; i += 1) {
    const until = world.clock.now + DRAIN_MS
    while (world.clock.now < until && world.clock.step());
    const live = world.honest()
    if (world.past !== undefined) {
      for (const { replica } of live) replica.publish(job)
      world.past.settle()
    } else if (world.options.checked) {
      for (const one of live) for (const other of live) if (one !== other) one.replica.meet(other)
    } else {
      const hub = live[0]!
      for (const other of live) if (other !== hub) hub.replica.meet(other)
      for (const other of live) if (other !== hub) other.replica.meet(hub)
    }
    runUntil(world, limit, () => allEnded(world, job))
    if (world.past !== undefined || (allEnded(world, job) && isAgreed(world, job))) return
  }
}

function isAgreed(world: World, job: JobId): boolean {
  const [first, ...others] = world.honest()
  const spans = [...(first?.brain.scheduler?.doneSpans(job) ?? [])]
  return others.every(({ brain }) => sameFold([...(brain.scheduler?.doneSpans(job) ?? [])], spans))
}

function report(
  world: World,
  job: JobId,
  at: { seen: number; messages: Record<string, number>; seconds: number; started: number },
): SimReport {
  const { options, truth, workload } = world
  const { seed, items, submitMs } = options
  const view = world.honest()[0]?.brain.scheduler?.job(job)
  const chunks = Math.max(1, view?.chunks ?? 1)
  const total = (counts: Readonly<Record<string, number>>): number =>
    Object.values(counts).reduce((sum, count) => sum + count, 0)
  let ranTwice = 0
  for (const count of truth.runs) if (count > 1) ranTwice += 1
  const processes = world.hosts.flatMap(({ process }) => (process === undefined ? [] : [process]))
  const perSecond = (sum: number): number => sum / Math.max(1, processes.length) / at.seconds
  return {
    seed,
    peers: options.peers,
    items,
    ratio: world.capacityUntil(Math.min(at.seen, world.clock.now)) / workload.totalMs,
    ranRatio:
      world.capacityUntil(Math.min(truth.ranAllAt ?? at.seen, at.seen, world.clock.now)) /
      workload.totalMs,
    makespanSeconds: (at.seen - submitMs) / 1000,
    ranTwice,
    wasted: truth.spent / workload.totalMs - 1,
    died: truth.died / workload.totalMs,
    chunks,
    entriesPerChunk: total(truth.entries) / chunks,
    messagesPerChunk: total(at.messages) / chunks,
    entries: truth.entries,
    messages: at.messages,
    heartbeats: perSecond(at.messages.heartbeat ?? 0),
    verified:
      perSecond(processes.reduce((sum, { replica }) => sum + replica.verified, 0)) +
      (world.past?.published ?? 0) / at.seconds,
    taken: perSecond(processes.reduce((sum, { replica }) => sum + replica.taken, 0)),
    leasesEnded: world.leases.ended,
    leasesWrongly: world.leases.wrongly,
    handled: processes.reduce((sum, { handled }) => sum + handled, 0),
    virtualSeconds: world.clock.now / 1000,
    wallSeconds: (performance.now() - at.started) / 1000,
    story: world.story,
    begunAt: [...truth.begunAt].sort((a, b) => a - b),
    state: view?.state,
    cancelled: view?.cancellation?.reason,
    problems: truth.problems,
  }
}
