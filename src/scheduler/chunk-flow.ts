import { planChunk } from './chunks.ts'
import type { Core } from './core.ts'
import { flushIfLast, resultReady } from './done-queue.ts'
import type { Chunk, JobRun } from './job-run.ts'
import { EMPTY_CHUNK_RETRY_MS, MAX_PLACING_BYTES, MAX_PLACING_PER_SLOT } from './limits.ts'
import type { PeerId, ResultRef, SchedulerEvent } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

/** Gives every free slot a chunk, the jobs in turn, unless too much output waits for its keepers. */
export function fillSlots(core: Core): void {
  while (!core.stopping && core.freeSlots > 0 && !keepersLag(core)) {
    const run = nextRunnable(core)
    if (run === undefined) return
    startChunk(core, run)
  }
}

function keepersLag(core: Core): boolean {
  return (
    core.placing >= MAX_PLACING_PER_SLOT * core.self.slots || core.placingBytes >= MAX_PLACING_BYTES
  )
}

function nextRunnable(core: Core): JobRun | undefined {
  const { active } = core
  for (let i = 0; i < active.length; i += 1) {
    const at = (core.turn + i) % active.length
    const run = active[at]!
    if (run.todo.size > 0 && run.runnable(core.now)) {
      core.turn = at + 1
      return run
    }
  }
  return undefined
}

function startChunk(core: Core, run: JobRun): void {
  const first = run.todo.first()!
  const owner = run.fold.owners.at(first.lo)!
  const { hi, budgetMs } = planChunk({
    lo: first.lo,
    end: Math.min(first.hi, owner.hi),
    left: run.todo.size,
    slots: core.self.slots,
    perMs: run.rate.perMs,
    contended: core.active.some(
      (other) => other !== run && other.todo.size > 0 && other.runnable(core.now),
    ),
    chunkSize: run.fold.spec?.options.chunkSize,
  })
  const chunk: Chunk = {
    id: core.number(),
    lo: first.lo,
    hi,
    parent: owner.hash,
    startedAt: core.now,
    budgetMs,
    state: 'running',
    reached: first.lo,
    failed: 0,
    elapsedMs: 0,
    outputBytes: 0,
    aborted: false,
  }
  run.handOut(chunk.lo, chunk.hi)
  run.chunks.set(chunk.id, chunk)
  core.chunkJobs.set(chunk.id, run)
  core.running += 1
  core.emit({ type: 'startChunk', chunk: chunk.id, job: run.job, lo: chunk.lo, hi, budgetMs })
}

export function chunkProgressed(core: Core, event: Event<'chunkProgressed'>): void {
  const chunk = core.chunkJobs.get(event.chunk)?.chunks.get(event.chunk)
  if (chunk?.state !== 'running') return
  if (event.reached > chunk.reached) chunk.reached = Math.min(event.reached, chunk.hi)
}

/** running -> placing, or with its values inline -> its DONE is ready. */
export function chunkEnded(core: Core, event: Event<'chunkEnded'>): void {
  const run = core.chunkJobs.get(event.chunk)
  const chunk = run?.chunks.get(event.chunk)
  if (run === undefined || chunk?.state !== 'running') return
  core.running -= 1
  chunk.reached = Math.max(chunk.lo, Math.min(event.reached, chunk.hi))
  chunk.failed = event.failed
  chunk.elapsedMs = event.elapsedMs
  chunk.outputBytes = event.outputBytes
  if (chunk.reached < chunk.hi) run.giveBack(chunk.reached, chunk.hi)
  if (chunk.reached === chunk.lo) {
    drop(core, run, chunk)
    if (!chunk.aborted) block(core, run, EMPTY_CHUNK_RETRY_MS)
    flushIfLast(core, run)
    return
  }
  run.rate.add(chunk.reached - chunk.lo, event.elapsedMs)
  if (run.ended) {
    if (event.inline === undefined) core.emit({ type: 'abortChunk', chunk: chunk.id })
    drop(core, run, chunk)
    run.giveBack(chunk.lo, chunk.reached)
  } else if (event.inline !== undefined) {
    report(core, run, chunk, { kind: 'inline', bytes: event.inline })
  } else {
    chunk.state = 'placing'
    core.placing += 1
    core.placingBytes += chunk.outputBytes
    core.emit({ type: 'placeResult', chunk: chunk.id, job: run.job, keeper: keeperOf(core, run) })
  }
}

/** placing -> its DONE is ready. */
export function chunkPlaced(core: Core, event: Event<'chunkPlaced'>): void {
  const run = core.chunkJobs.get(event.chunk)
  const chunk = run?.chunks.get(event.chunk)
  if (run === undefined || chunk?.state !== 'placing') return
  if (run.ended) {
    drop(core, run, chunk)
    run.giveBack(chunk.lo, chunk.reached)
  } else {
    report(core, run, chunk, event.result)
  }
}

/** running or placing -> not done after all. */
export function chunkReturned(core: Core, event: Event<'chunkReturned'>): void {
  const run = core.chunkJobs.get(event.chunk)
  const chunk = run?.chunks.get(event.chunk)
  if (run === undefined || chunk === undefined) return
  if (chunk.state === 'running') core.running -= 1
  const hi = chunk.state === 'running' ? chunk.hi : chunk.reached
  drop(core, run, chunk)
  run.giveBack(chunk.lo, hi)
  block(core, run, Math.max(0, event.retryMs))
  flushIfLast(core, run)
}

/** Chunks whose items all became final elsewhere, or whose job is over, are stopped. */
export function abortOvertaken(core: Core, run: JobRun): void {
  run.overtaken = false
  for (const chunk of run.chunks.values()) {
    if (chunk.state !== 'running' || chunk.aborted) continue
    const open = chunk.hi - chunk.lo - run.fold.final.countIn(chunk.lo, chunk.hi)
    if (open > 0 && !run.ended) continue
    chunk.aborted = true
    core.emit({ type: 'abortChunk', chunk: chunk.id })
  }
}

function report(core: Core, run: JobRun, chunk: Chunk, result: ResultRef): void {
  drop(core, run, chunk)
  resultReady(core, run, {
    lo: chunk.lo,
    hi: chunk.reached,
    parent: chunk.parent,
    failed: chunk.failed,
    elapsedMs: Math.max(0, Math.round(chunk.elapsedMs)),
    chunks: 1,
    result,
  })
}

function drop(core: Core, run: JobRun, chunk: Chunk): void {
  if (chunk.state === 'placing') {
    core.placing -= 1
    core.placingBytes -= chunk.outputBytes
  }
  run.chunks.delete(chunk.id)
  core.chunkJobs.delete(chunk.id)
}

function block(core: Core, run: JobRun, ms: number): void {
  run.blockedUntil = Math.max(run.blockedUntil, core.now + ms)
  core.arm('retry', run, run.blockedUntil)
}

/** Results go to who asked for them while it is there, else they stay here. */
function keeperOf(core: Core, run: JobRun): PeerId {
  const author = run.author
  return author !== undefined && core.peers.has(author) ? author : core.self.peer
}
