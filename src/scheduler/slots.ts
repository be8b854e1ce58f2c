import { awaitRetry, launch } from './chunk-flow.ts'
import { planChunk } from './chunks.ts'
import type { Core } from './core.ts'
import { announce, cautiousSize, giveUp } from './deaths.ts'
import type { JobRun } from './job-run.ts'
import {
  MAX_DELAYED_ITEMS,
  MAX_PLACING_BYTES,
  MAX_PLACING_PER_SLOT,
  START_EPOCH,
} from './limits.ts'
import { awaitTokens, mayStart } from './rate.ts'
import type { OwnerSpan, Range } from './types.ts'

/** Gives every free slot a chunk, the jobs in turn (turns.ts), unless too much output waits for its keepers. */
export function fillSlots(core: Core): void {
  while (!core.stopping && core.freeSlots > 0) {
    const pick = core.turns.pick(core.active, core.now, (run) => canStart(core, run))
    if (pick === undefined) break
    if (pick.run.delayed.isDue(core.now)) startAgain(core, pick.run)
    else startNext(core, pick.run, pick.contended)
  }
}

/** Something of the job may start in a free slot now. */
function canStart(core: Core, run: JobRun): boolean {
  const { todo, delayed } = run
  if (todo.size === 0 && delayed.size === 0) return false
  const some = delayed.size < MAX_DELAYED_ITEMS && todo.size > 0
  if (!some && !delayed.isDue(core.now)) return false
  if (!core.runnable(run) || keepersLag(core, run)) return false
  if (mayStart(core, run)) return true
  awaitTokens(core, run)
  return false
}

/** The keepers of this job's results are behind. Other jobs go on, as far as they have none waiting. */
function keepersLag(core: Core, run: JobRun): boolean {
  const much =
    core.placing >= MAX_PLACING_PER_SLOT * core.self.slots || core.placingBytes >= MAX_PLACING_BYTES
  return much && [...run.chunks.values()].some(({ state }) => state === 'placing')
}

function startNext(core: Core, run: JobRun, contended: boolean): void {
  const first = run.todo.first()!
  const { lo } = first
  const owner = run.fold.owners.at(lo)!
  const most = cautiousSize(core, run, owner, lo)
  if (most === undefined) {
    giveUp(core, run, lo)
    return
  }
  // Of a composition a chunk stays in its node, and sizes count from the node's first item.
  const node = run.gate?.nodeOf(lo)
  const items = node === undefined ? undefined : run.gate?.itemsOf(node)
  const base = items?.lo ?? 0
  const plan = planChunk({
    lo: lo - base,
    end: Math.min(first.hi, owner.hi, items?.hi ?? owner.hi) - base,
    left: run.todo.size,
    slots: core.self.slots,
    perMs: run.meterAt(lo).perMs,
    guessed: run.meterAt(lo).isGuess,
    contended,
    chunkSize: run.chunkSizeAt(lo),
    launches: run.fold.spec?.task.kind === 'kernel',
  })
  const hi = Math.min(base + plan.hi, lo + most, lo + allowed(core, run, lo, plan.budgetMs))
  start(core, run, owner, { lo, hi }, plan.budgetMs, 1)
}

/** delayed -> running, alone: an item that threw is tried again. */
function startAgain(core: Core, run: JobRun): void {
  const { item, attempt } = run.delayed.takeDue(core.now)!
  awaitRetry(core, run)
  const range = { lo: item, hi: item + 1 }
  const owner = run.fold.owners.at(item)
  const isOurs = owner?.owner === core.self.session && !run.fold.final.has(item)
  if (!isOurs || !run.mayRun(range.lo, range.hi)) {
    run.giveBack(range.lo, range.hi)
    return
  }
  if (cautiousSize(core, run, owner, item) === undefined) {
    giveUp(core, run, item)
    run.giveBack(range.lo, range.hi)
    return
  }
  start(core, run, owner, range, Number.POSITIVE_INFINITY, attempt)
}

function start(
  core: Core,
  run: JobRun,
  owner: OwnerSpan,
  { lo, hi }: Range,
  budgetMs: number,
  attempt: number,
): void {
  const afterWrite = owner.epoch >= START_EPOCH
  if (afterWrite) announce(core, run, owner, lo, hi)
  const parent = owner.hash
  launch(core, run, { lo, hi, parent, budgetMs, afterWrite, speculative: false, attempt })
}

/** How many items a rate limit allows in one chunk: no more than a slot runs in its time, so that the others have some too. */
function allowed(core: Core, run: JobRun, lo: number, budgetMs: number): number {
  const { bucket } = run
  if (bucket === undefined) return Number.POSITIVE_INFINITY
  // A fixed chunk has been waited for.
  if (run.chunkSizeAt(lo) !== undefined) return Number.POSITIVE_INFINITY
  const { perMs } = run.meterAt(lo)
  const each =
    perMs === undefined ? Math.floor(bucket.whole / core.freeSlots) : Math.ceil(perMs * budgetMs)
  return Math.max(1, Math.min(bucket.whole, each))
}
