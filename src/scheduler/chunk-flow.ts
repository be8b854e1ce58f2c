import { planChunk } from './chunks.ts'
import type { Core } from './core.ts'
import { announce, cautiousSize, giveUp } from './deaths.ts'
import { flushIfLast, resultReady } from './done-queue.ts'
import type { Chunk, JobRun } from './job-run.ts'
import {
  DEFAULT_REPLICAS,
  EMPTY_CHUNK_RETRY_MS,
  MAX_PLACING_BYTES,
  MAX_PLACING_PER_SLOT,
  START_EPOCH,
} from './limits.ts'
import { rendezvousOrder } from './rendezvous.ts'
import type { EntryHash, PeerId, Range, ResultRef, SchedulerEvent } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

/** Gives every free slot a chunk, the jobs in turn, unless too much output waits for its keepers. */
export function fillSlots(core: Core): void {
  while (!core.stopping && core.freeSlots > 0) {
    const run = nextRunnable(core)
    if (run === undefined) return
    startNext(core, run)
  }
}

/** The keepers of this job's results are behind. Other jobs go on, as far as they have none waiting. */
function keepersLag(core: Core, run: JobRun): boolean {
  const much =
    core.placing >= MAX_PLACING_PER_SLOT * core.self.slots || core.placingBytes >= MAX_PLACING_BYTES
  return much && [...run.chunks.values()].some(({ state }) => state === 'placing')
}

function nextRunnable(core: Core): JobRun | undefined {
  const { active } = core
  for (let i = 0; i < active.length; i += 1) {
    const at = (core.turn + i) % active.length
    const run = active[at]!
    if (run.todo.size > 0 && core.runnable(run) && !keepersLag(core, run)) {
      core.turn = at + 1
      return run
    }
  }
  return undefined
}

function startNext(core: Core, run: JobRun): void {
  const first = run.todo.first()!
  const owner = run.fold.owners.at(first.lo)!
  const most = cautiousSize(core, run, owner, first.lo)
  if (most === undefined) {
    giveUp(core, run, first.lo)
    return
  }
  const plan = planChunk({
    lo: first.lo,
    end: Math.min(first.hi, owner.hi),
    left: run.todo.size,
    slots: core.self.slots,
    perMs: run.rate.perMs,
    contended: core.active.some(
      (other) => other !== run && other.todo.size > 0 && core.runnable(other),
    ),
    chunkSize: run.fold.spec?.options.chunkSize,
    launches: run.fold.spec?.task.kind === 'kernel',
  })
  const { lo } = first
  const { budgetMs } = plan
  const hi = Math.min(plan.hi, lo + most)
  const afterWrite = owner.epoch >= START_EPOCH
  if (afterWrite) announce(core, run, owner, lo, hi)
  launch(core, run, { lo, hi, parent: owner.hash, budgetMs, afterWrite, speculative: false })
}

export interface Launch extends Range {
  readonly parent: EntryHash
  readonly budgetMs: number
  readonly afterWrite: boolean
  readonly speculative: boolean
}

/** A free slot gets a chunk. */
export function launch(core: Core, run: JobRun, what: Launch): void {
  const { lo, hi, parent, budgetMs, afterWrite, speculative } = what
  const chunk: Chunk = {
    id: core.number(),
    lo,
    hi,
    parent,
    startedAt: core.now,
    budgetMs,
    state: 'running',
    reached: lo,
    failed: 0,
    elapsedMs: 0,
    outputBytes: 0,
    aborted: false,
    speculative,
    movedAt: core.now,
  }
  run.handOut(lo, hi)
  run.chunks.set(chunk.id, chunk)
  core.chunkJobs.set(chunk.id, run)
  core.running += 1
  const { job } = run
  core.emit({ type: 'startChunk', chunk: chunk.id, job, lo, hi, budgetMs, afterWrite, speculative })
}

export function chunkProgressed(core: Core, event: Event<'chunkProgressed'>): void {
  const chunk = core.chunkJobs.get(event.chunk)?.chunks.get(event.chunk)
  if (chunk?.state !== 'running') return
  if (event.reached <= chunk.reached) return
  chunk.reached = Math.min(event.reached, chunk.hi)
  chunk.movedAt = core.now
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
    core.emit({ type: 'placeResult', chunk: chunk.id, job: run.job, keepers: keepersOf(core, run) })
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
  const { lost } = event
  if (lost !== undefined && !run.ended && lost.hi > chunk.lo) {
    const { code, message } = lost
    const ranges = [{ lo: chunk.lo, hi: Math.min(hi, lost.hi), code, message }]
    core.append(run, { type: 'fail', ranges })
    core.pushToAuthor(run)
  }
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

/** Results go to who asked for them while it is there; the other copies are here, and with the job's first live peers by rendezvous. */
function keepersOf(core: Core, run: JobRun): PeerId[] {
  const replicas = run.fold.spec?.options.replicas ?? DEFAULT_REPLICAS
  const { author } = run
  const keepers = new Set<PeerId>()
  if (author !== undefined && core.isLive(author)) keepers.add(author)
  if (keepers.size < replicas) keepers.add(core.self.peer)
  if (keepers.size < replicas) {
    for (const peer of rendezvousOrder(run.job, core.peers.keys())) {
      if (keepers.size >= replicas) break
      keepers.add(peer)
    }
  }
  return [...keepers]
}
