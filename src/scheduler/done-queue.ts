import type { Core } from './core.ts'
import { isAwaited, tellDependants } from './dependants.ts'
import type { JobRun } from './job-run.ts'
import { DONE_HOLD_MS, DONE_TARGET, DONE_TICK_MS, inlineLimit, MAX_DONE_RANGES } from './limits.ts'
import type { DoneRange } from './types.ts'

/** A finished range whose result is on its keeper: its DONE is written at once, or shortly together with the next one's. */
export function resultReady(core: Core, run: JobRun, range: DoneRange): void {
  const bytes = inlineBytes(range)
  if (run.readyBytes + bytes > inlineLimit(run.fold.items) || run.ready.length >= MAX_DONE_RANGES) {
    flushDone(core, run)
  }
  const last = run.ready.at(-1)
  const merged =
    last === undefined || tellsApart(run, last, range) ? undefined : mergeInline(last, range)
  if (merged === undefined) run.ready.push(range)
  else run.ready[run.ready.length - 1] = merged
  run.readyBytes += bytes
  run.ownChunks += range.chunks
  const holdMs = core.stopping ? 0 : holdFor(core, run, range)
  if (holdMs > 0) core.armOnce('done', run, core.now + holdMs)
  else flushDone(core, run)
}

/** The last result that this peer has of a job never waits. */
export function flushIfLast(core: Core, run: JobRun): void {
  if (run.ready.length > 0 && run.idle) flushDone(core, run)
}

export function flushDone(core: Core, run: JobRun): void {
  core.disarm('done', run)
  const { final } = run.fold
  // Someone else's DONE (after a reclaim) may have come first.
  const ranges = run.ready.filter(({ lo, hi }) => final.countIn(lo, hi) < hi - lo)
  const all = run.ready
  run.ready = []
  run.readyBytes = 0
  if (ranges.length > 0 && !run.ended) {
    ranges.sort((a, b) => a.lo - b.lo)
    core.append(run, { type: 'done', ranges })
    core.pushToAuthor(run)
    tellDependants(core, run, ranges)
    // An author that hears of this by gossip alone should not wait for the last of it.
    if (run.idle && run.author !== undefined && !core.isLive(run.author)) core.publish(run)
  }
  for (const { lo, hi } of all) run.giveBack(lo, hi)
}

/**
 * How long a DONE may wait for company. Its values are on their keeper already; what waits is only the word of it. Waiting pays
 * for the entries that are not DONEs: over a run the log shall hold at most one entry a chunk.
 */
function holdFor(core: Core, run: JobRun, range: DoneRange): number {
  if (run.idle) return 0
  // A free slot here may go on with what this makes ready.
  if (isAwaited(run, range)) return run.todo.size < core.freeSlots ? 0 : DONE_TICK_MS
  if (run.seq + 1 > DONE_TARGET * run.ownChunks) return DONE_HOLD_MS
  return core.self.slots > 1 ? DONE_TICK_MS : 0
}

/** How many items of a node failed is counted by ranges. */
function tellsApart({ gate }: JobRun, a: DoneRange, b: DoneRange): boolean {
  if (gate === undefined || a.failed + b.failed === 0) return false
  return gate.nodeOf(a.lo) !== gate.nodeOf(b.hi - 1)
}

function inlineBytes(range: DoneRange): number {
  return range.result.kind === 'inline' ? range.result.bytes.length : 0
}

/** Values are concatenations of segments, so neighbours with inline values become one range. */
function mergeInline(a: DoneRange, b: DoneRange): DoneRange | undefined {
  if (a.result.kind !== 'inline' || b.result.kind !== 'inline') return undefined
  if (a.hi !== b.lo || a.parent !== b.parent) return undefined
  const bytes = new Uint8Array(a.result.bytes.length + b.result.bytes.length)
  bytes.set(a.result.bytes)
  bytes.set(b.result.bytes, a.result.bytes.length)
  return {
    lo: a.lo,
    hi: b.hi,
    parent: a.parent,
    failed: a.failed + b.failed,
    elapsedMs: a.elapsedMs + b.elapsedMs,
    chunks: a.chunks + b.chunks,
    result: { kind: 'inline', bytes },
  }
}
