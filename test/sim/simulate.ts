import type { DoneSpan, JobId } from '../../src/scheduler/types.ts'
import type { SimPeer } from './sim-peer.ts'
import { type SimOptions, World } from './world.ts'

/** A job that is not done after so many times the ideal is stuck. */
const STUCK_FACTOR = 20
/** After the submitter has everything, the last gossip reaches all within this, ms of virtual time. */
const SETTLE_MS = 60_000

export interface SimReport {
  readonly seed: number
  readonly peers: number
  readonly items: number
  /** Submit until the submitter knows that all is done, over the ideal. */
  readonly ratio: number
  readonly makespanSeconds: number
  readonly ranTwice: number
  readonly chunks: number
  readonly entriesPerChunk: number
  readonly messagesPerChunk: number
  readonly entries: Readonly<Record<string, number>>
  readonly steals: number
  readonly asked: number
  readonly lifelines: number
  /** Real time of one handle() call, ms. */
  readonly handleMeanMs: number
  readonly handleMaxMs: number
  readonly wallSeconds: number
  /** What went wrong; empty when every check held. */
  readonly problems: readonly string[]
}

/** Runs one job over a mesh in virtual time, to its end, and checks what must hold. */
export function simulate(options: Partial<SimOptions>): SimReport {
  const started = performance.now()
  const world = new World(options)
  world.connectAll()
  const author = world.peers[0]!
  const job = world.submit(author)
  const slowest = Math.min(...world.peers.map(({ speed }) => speed))
  // With few items one of them on the slowest slot may take longer than anything else.
  const limit = world.idealMs * STUCK_FACTOR + SETTLE_MS + world.workload.totalMs / slowest
  while (author.finishedAt.get(job) === undefined && world.clock.now < limit) {
    if (!world.clock.step()) break
  }
  const makespanMs = author.finishedAt.get(job) ?? Number.POSITIVE_INFINITY
  const messages = world.network.messages
  settle(world, job)
  return report(world, job, makespanMs, messages, (performance.now() - started) / 1000)
}

function settle(world: World, job: JobId): void {
  const until = world.clock.now + SETTLE_MS
  const waiting = (): boolean =>
    world.peers.some((peer) => peer.live && peer.finishedAt.get(job) === undefined)
  while (world.clock.now < until && waiting()) if (!world.clock.step()) return
  // Entries still on their way.
  const rest = world.clock.now + 5_000
  while (world.clock.now < rest && world.clock.step());
}

function report(
  world: World,
  job: JobId,
  makespanMs: number,
  messages: number,
  wallSeconds: number,
): SimReport {
  const { seed, peers, items } = world.options
  const author = world.peers[0]!
  const view = author.scheduler.job(job)!
  let ranTwice = 0
  for (const count of world.runs) if (count > 1) ranTwice += 1
  const handled = world.peers.reduce((sum, peer) => sum + peer.handled, 0)
  const handleMs = world.peers.reduce((sum, peer) => sum + peer.handleTotalMs, 0)
  return {
    seed,
    peers,
    items,
    ratio: makespanMs / world.idealMs,
    makespanSeconds: makespanMs / 1000,
    ranTwice,
    chunks: view.chunks,
    entriesPerChunk: view.entries / view.chunks,
    messagesPerChunk: messages / view.chunks,
    entries: world.entries,
    steals: world.steals.granted,
    asked: world.steals.asked,
    lifelines: world.steals.lifelines,
    handleMeanMs: handleMs / handled,
    handleMaxMs: Math.max(...world.peers.map((peer) => peer.handleMaxMs)),
    wallSeconds,
    problems: check(world, job),
  }
}

function check(world: World, job: JobId): string[] {
  const problems: string[] = []
  const live = world.peers.filter((peer) => peer.live)
  const missed = world.runs.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0)
  if (missed > 0) problems.push(`${missed} items never ran`)
  const reference = [...live[0]!.scheduler.doneSpans(job)]
  for (const peer of live) {
    const name = peer.id.slice(0, 8)
    if (peer.breaches.length > 0) problems.push(`${name} saw a breach: ${peer.breaches[0]}`)
    const view = peer.scheduler.job(job)
    if (view?.state !== 'finished') {
      problems.push(`${name} is at ${view?.state}, ${view?.done} of ${view?.items}`)
    }
    const spans = [...peer.scheduler.doneSpans(job)]
    if (!sameFold(spans, reference, world.options.items)) {
      problems.push(`${name} folds to something else, or leaves a gap`)
    }
    if (world.options.checkViews) problems.push(...checkViews(peer, live[0]!, job))
  }
  return problems
}

/** Same spans, in order and without a gap. */
function sameFold(a: readonly DoneSpan[], b: readonly DoneSpan[], items: number): boolean {
  let at = 0
  const same = a.every((span, i) => {
    const other = b[i]
    const gapless = span.lo === at
    at = span.hi
    return gapless && other?.lo === span.lo && other.hi === span.hi && other.hash === span.hash
  })
  return same && a.length === b.length && at === items
}

function checkViews(peer: SimPeer, reference: SimPeer, job: JobId): string[] {
  const problems: string[] = []
  const name = peer.id.slice(0, 8)
  const byLo = (a: { lo: number }, b: { lo: number }): number => a.lo - b.lo
  const dones = JSON.stringify([...peer.dones.values()].sort(byLo))
  if (dones !== JSON.stringify([...peer.scheduler.doneSpans(job)])) {
    problems.push(`${name}: the done view differs from the fold`)
  }
  const owners = (of: SimPeer): string => JSON.stringify([...of.owners.values()].sort(byLo))
  if (owners(peer) !== owners(reference)) problems.push(`${name}: the owner view differs`)
  return problems
}
