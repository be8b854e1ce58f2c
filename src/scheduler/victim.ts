import type { Core } from './core.ts'
import type { JobRun, Lifeline } from './job-run.ts'
import {
  CHUNK_CONTENDED_MS,
  LIFELINE_TTL_MS,
  MAX_GRANT_RANGES,
  MAX_HOPS_AHEAD,
  MAX_LIFELINES_HELD,
  MAX_NONCES,
  MAX_RUNNING_LISTED,
  THIEF_BUSY_MS,
} from './limits.ts'
import { rateLimit } from './rate.ts'
import { MAX_HOP } from './rules.ts'
import { powerFor } from './seeds.ts'
import { stealShare } from './steal.ts'
import type { GrantedRange, PeerId, RunningChunk, SchedulerEvent, SessionId } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

/** What a thief says of itself. */
interface Thief {
  readonly peer: PeerId
  readonly session: SessionId
  readonly rate: number | undefined
  readonly idle: number
}

/** Grants a share of the tail, or says that there is none. The same nonce again gets the same answer: the first was lost. */
export function stealRequested(core: Core, event: Event<'stealRequested'>): void {
  const { from, session, job, nonce } = event
  const run = core.jobs.get(job)
  if (from === core.self.peer || session === core.self.session) return
  if (run === undefined) {
    core.emit({ type: 'answerSteal', to: from, job, nonce, granted: false, running: [] })
    return
  }
  let last = run.nonces.get(session)
  if (last === undefined || last.nonce !== nonce) {
    run.lifelines.delete(from)
    // What it lacks here it may have.
    if (run.todo.size === 0) run.unpark()
    last = {
      nonce,
      granted: grantShare(core, run, { peer: from, session, rate: event.rate, idle: event.idle }),
    }
    remember(run, session, last)
  }
  const running = last.granted ? [] : offered(core, run)
  core.emit({
    type: 'answerSteal',
    to: from,
    job,
    nonce,
    granted: last.granted,
    running,
  })
}

/** What runs here: of a chunk with a time, the item at hand (the rest comes back when that is done), else all that is left of it. */
function offered(core: Core, run: JobRun): RunningChunk[] {
  const list: RunningChunk[] = []
  for (const chunk of run.chunks.values()) {
    if (list.length >= MAX_RUNNING_LISTED) break
    const { state, reached, hi, startedAt, movedAt, speculative } = chunk
    if (speculative) continue
    // Its output is on its way: work all the same, and nothing to copy.
    if (state === 'placing') list.push({ lo: chunk.lo, hi: reached, ageMs: 0 })
    if (state !== 'running' || reached >= hi) continue
    const whole = run.chunkSizeAt(reached) !== undefined
    list.push({
      lo: reached,
      hi: whole ? hi : reached + 1,
      ageMs: Math.round(core.now - (whole ? startedAt : movedAt)),
    })
  }
  if (list.length === 0) {
    const waits = waitingItem(core, run)
    if (waits !== undefined) list.push({ lo: waits, hi: waits + 1, ageMs: 0 })
  }
  return list
}

/** Nothing of it runs here, and that is as it should be: an item that waits for its next try, for the job's rate, or for its turn. */
function waitingItem(core: Core, run: JobRun): number | undefined {
  const next = run.todo.first()
  if (!core.runnable(run)) return undefined
  const waits = run.bucket !== undefined || core.freeSlots === 0
  return waits && next !== undefined ? next.lo : run.delayed.first
}

/** An idle peer leaves word; it is served now or when there is something. */
export function lifelineReceived(core: Core, event: Event<'lifelineReceived'>): void {
  const run = core.jobs.get(event.job)
  if (run === undefined || event.from === core.self.peer) return
  const { session, rate, idle } = event
  run.lifelines.delete(event.from)
  if (run.lifelines.size >= MAX_LIFELINES_HELD) {
    for (const oldest of run.lifelines.keys()) {
      run.lifelines.delete(oldest)
      break
    }
  }
  if (!run.ended) core.asked.add(run)
  run.lifelines.set(event.from, { session, rate, idle, until: core.now + LIFELINE_TTL_MS })
}

/** Pushes work to the peers that left word, while there are two items or more that nobody started. */
export function serveLifelines(core: Core): void {
  for (const run of core.asked) {
    for (const [peer, line] of [...run.lifelines]) serve(core, run, peer, line)
    if (run.lifelines.size === 0) core.asked.delete(run)
  }
}

function serve(core: Core, run: JobRun, peer: PeerId, line: Lifeline): void {
  if (line.until < core.now || !core.peers.has(peer)) {
    run.lifelines.delete(peer)
    return
  }
  // Items of a composition come one by one, and may be long.
  if (run.todo.size < (run.gate !== undefined && core.freeSlots === 0 ? 1 : 2)) return
  if (!grantShare(core, run, { peer, ...line })) return
  run.lifelines.delete(peer)
  core.emit({ type: 'push', to: peer, job: run.job })
}

function remember(
  run: JobRun,
  session: SessionId,
  answer: { nonce: number; granted: boolean },
): void {
  run.nonces.delete(session)
  run.nonces.set(session, answer)
  if (run.nonces.size <= MAX_NONCES) return
  for (const oldest of run.nonces.keys()) {
    run.nonces.delete(oldest)
    return
  }
}

function grantShare(core: Core, run: JobRun, thief: Thief): boolean {
  if (core.stopping || run.ended || run.todo.size === 0) return false
  if (core.ended.has(thief.session)) return false
  const { grain } = run
  const facts = core.peers.get(thief.peer)
  // It lends nothing any more (it is leaving), or lacks what the job requires.
  if (facts !== undefined && powerFor(facts, run.fold.spec) === 0) return false
  if (thief.idle === 0 && tailHop(run) >= MAX_HOPS_AHEAD) return false
  const { self } = core
  const perMs = run.rate.perMs ?? run.glimpse(core.now)
  // Of a composition a thief's pace was that of other tasks, perhaps.
  const rate = run.gate === undefined ? thief.rate : undefined
  const thiefRate =
    rate !== undefined && Number.isFinite(rate) && rate > 0 ? rate / 1000 / grain : undefined
  const victimRate = perMs === undefined ? undefined : victimPerMs(core, run, perMs) / grain
  const { spec } = run.fold
  let others = 0
  for (const peer of core.peers.values()) {
    if (powerFor(peer, spec) > 0 && peer.peer !== thief.peer) others += 1
  }
  const grains = stealShare({
    left: Math.ceil(toShare(core, run, thief) / grain),
    victimRate,
    thiefRate,
    victimPower: powerFor(self, spec),
    thiefPower: facts === undefined ? 1 : powerFor(facts, spec),
    thiefSlots: facts?.slots ?? 1,
    delayMs: core.rttMs / 2 + (thief.idle > 0 ? 0 : core.rttMs + THIEF_BUSY_MS),
    waitMs: slotFreeMs(core, run),
    otherThieves: others,
  })
  const ranges = grains > 0 ? tailOf(run, grains) : []
  if (ranges.length === 0) return false
  core.append(run, { type: 'grant', to: thief.session, ranges })
  if (run.author !== thief.peer) core.pushToAuthor(run)
  return true
}

/** Items a millisecond of this peer, as far as other jobs of its kind and a rate limit leave it. */
function victimPerMs(core: Core, run: JobRun, perMs: number): number {
  const all = (perMs * core.self.slots) / Math.max(1, core.turns.waiting)
  const limit = run.bucket?.rate ?? 0
  return limit > 0 ? Math.min(all, limit) : all
}

/**
 * Items that a thief may have a part of. Of a job with a rate limit it is all but the next chunk, for which the tokens are gathered,
 * when the thief has none left; else what this peer, at its own speed, is not through with when the mesh could be: its part of the
 * rate is more than it can use.
 */
function toShare(core: Core, run: JobRun, { session }: Thief): number {
  const { fold, todo, bucket } = run
  const limit = rateLimit(run)
  const { perMs } = run.rate
  if (limit === undefined || bucket === undefined) return todo.size
  if (fold.openItems(session) === 0) return Math.max(0, todo.size - run.grain)
  if (perMs === undefined) return 0
  const lastsMs = (fold.items - fold.final.size) / limit
  const most = (perMs * core.self.slots) / Math.max(1, core.turns.waiting)
  return Math.max(0, Math.floor(todo.size - most * lastsMs))
}

/** How often the last item here was handed on. */
function tailHop(run: JobRun): number {
  for (const { hi } of run.todo.rangesBackwards()) return run.fold.owners.at(hi - 1)?.hop ?? 0
  return 0
}

/** When a slot here is expected to be free: at the end of a chunk's time, or of its item when items take longer. */
function slotFreeMs(core: Core, run: JobRun): number {
  if (core.freeSlots > 0 && core.runnable(run)) return 0
  let soonest = Number.POSITIVE_INFINITY
  for (const [id, other] of core.chunkJobs) {
    const chunk = other.chunks.get(id)
    if (chunk?.state !== 'running') continue
    const perMs = other.meterAt(chunk.lo).perMs
    const lasts = Math.max(chunk.budgetMs, perMs === undefined ? 0 : 1 / perMs)
    soonest = Math.min(soonest, Math.max(0, chunk.startedAt + lasts - core.now))
  }
  const before = Math.max(0, core.turns.waiting - 1) / Math.max(1, core.self.slots)
  return (soonest === Number.POSITIVE_INFINITY ? 0 : soonest) + before * CHUNK_CONTENDED_MS
}

/** So many grains from the end of what is not started, one range per piece and parent entry. */
export function tailOf(run: JobRun, grains: number): GrantedRange[] {
  const { grain } = run
  const ranges: GrantedRange[] = []
  let left = grains
  for (const range of run.todo.rangesBackwards()) {
    if (left <= 0 || ranges.length >= MAX_GRANT_RANGES) break
    const from = Math.max(range.lo, (Math.ceil(range.hi / grain) - left) * grain)
    left -= Math.ceil(range.hi / grain) - Math.floor(from / grain)
    for (const owned of parts(run, from, range.hi).reverse()) {
      if (ranges.length < MAX_GRANT_RANGES) ranges.push(owned)
    }
  }
  return ranges.reverse()
}

/** [lo, hi) cut at the bounds of owner spans, as ranges to grant or release. */
export function parts(run: JobRun, lo: number, hi: number): GrantedRange[] {
  const cut: GrantedRange[] = []
  for (const span of run.fold.owners.overlapping(lo, hi)) {
    if (span.hop >= MAX_HOP) continue
    cut.push({
      lo: Math.max(lo, span.lo),
      hi: Math.min(hi, span.hi),
      parent: span.hash,
      epoch: span.epoch,
      hop: span.hop + 1,
    })
  }
  return cut
}
