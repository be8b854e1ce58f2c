import type { Core } from './core.ts'
import { tellDependants } from './dependants.ts'
import { flushIfLast, resultReady } from './done-queue.ts'
import type { Chunk, JobRun } from './job-run.ts'
import { DEFAULT_REPLICAS, EMPTY_CHUNK_RETRY_MS, MAX_RETRY_MS } from './limits.ts'
import { rendezvousOrder } from './rendezvous.ts'
import type { EntryHash, PeerId, Range, ResultRef, SchedulerEvent } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

export interface Launch extends Range {
  readonly parent: EntryHash
  readonly budgetMs: number
  readonly afterWrite: boolean
  readonly speculative: boolean
  /** Which try of its one item; 1 for the first, and for several items. */
  readonly attempt: number
}

/** A free slot gets a chunk. */
export function launch(core: Core, run: JobRun, what: Launch): void {
  const { lo, hi, parent, budgetMs, afterWrite, speculative, attempt } = what
  const { perMs } = run.meterAt(lo)
  const workMs = perMs === undefined ? budgetMs : Math.min(budgetMs, (hi - lo) / perMs)
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
    chargedMs: Number.isFinite(workMs) ? workMs : 0,
  }
  run.handOut(lo, hi)
  run.bucket?.take(hi - lo)
  run.turn.servedAt = core.now
  core.turns.charge(run, chunk.chargedMs, core.now)
  run.chunks.set(chunk.id, chunk)
  core.chunkJobs.set(chunk.id, run)
  core.running += 1
  const { job } = run
  core.emit({
    type: 'startChunk',
    chunk: chunk.id,
    job,
    lo,
    hi,
    budgetMs,
    afterWrite,
    speculative,
    attempt,
    ...nodeOf(run, lo),
  })
}

/** Of a composition: the node of an item, as startChunk tells it. */
function nodeOf(run: JobRun, item: number): { node?: number; nodeLo?: number } {
  const node = run.gate?.nodeOf(item)
  return node === undefined ? {} : { node, nodeLo: run.gate!.itemsOf(node).lo }
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
  slotFreed(core, run, chunk)
  chunk.reached = Math.max(chunk.lo, Math.min(event.reached, chunk.hi))
  chunk.failed = event.failed
  chunk.elapsedMs = event.elapsedMs
  chunk.outputBytes = event.outputBytes
  run.bucket?.giveBack(chunk.hi - chunk.reached - (event.retry === undefined ? 0 : 1))
  if (chunk.reached < chunk.hi) comeBack(core, run, chunk, event.retry)
  if (chunk.reached === chunk.lo) {
    drop(core, run, chunk)
    if (!chunk.aborted && event.retry === undefined) block(core, run, EMPTY_CHUNK_RETRY_MS)
    flushIfLast(core, run)
    return
  }
  run.noteRate(chunk.lo, chunk.reached - chunk.lo, event.elapsedMs)
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
    core.emit({
      type: 'placeResult',
      chunk: chunk.id,
      job: run.job,
      keepers: keepersOf(core, run, chunk),
    })
  }
}

/** The items that a chunk did not finish are to be started again, or wait for their next try. */
function comeBack(
  core: Core,
  run: JobRun,
  { reached, hi, speculative, aborted }: Chunk,
  retry: Event<'chunkEnded'>['retry'],
): void {
  const isOurs = run.fold.owners.at(reached)?.owner === core.self.session
  const isOpen = !run.ended && !run.fold.final.has(reached)
  if (retry === undefined || speculative || aborted || !isOurs || !isOpen) {
    run.giveBack(reached, hi)
    return
  }
  run.giveBack(reached + 1, hi)
  const waitMs = Math.min(MAX_RETRY_MS, Math.max(0, retry.delayMs))
  run.delay(reached, core.now + waitMs, Math.max(1, retry.attempt))
  awaitRetry(core, run)
}

/** Looks again when the next item is to be tried again. */
export function awaitRetry(core: Core, run: JobRun): void {
  const at = run.delayed.nextAt
  if (at !== undefined && at > core.now) core.arm('again', run, at)
}

/** What its job was charged for the slot's time is put right. */
function slotFreed(core: Core, run: JobRun, chunk: Chunk): void {
  core.running -= 1
  core.turns.charge(run, core.now - chunk.startedAt - chunk.chargedMs, core.now)
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
  if (chunk.state === 'running') {
    slotFreed(core, run, chunk)
    run.bucket?.giveBack(chunk.hi - chunk.lo)
  }
  const hi = chunk.state === 'running' ? chunk.hi : chunk.reached
  drop(core, run, chunk)
  const { lost } = event
  if (lost !== undefined && !run.ended && lost.hi > chunk.lo) {
    const { code, message } = lost
    const ranges = [{ lo: chunk.lo, hi: Math.min(hi, lost.hi), code, message }]
    core.append(run, { type: 'fail', ranges })
    core.pushToAuthor(run)
    tellDependants(core, run, ranges)
  }
  run.giveBack(chunk.lo, hi)
  const retryMs = Math.max(0, event.retryMs)
  if (run.gate === undefined) block(core, run, retryMs)
  else {
    // Other items have other inputs; but all may lack the same thing, so there is no hot loop.
    run.park(chunk.lo, hi, core.now + retryMs)
    block(core, run, Math.min(retryMs, EMPTY_CHUNK_RETRY_MS))
  }
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
function keepersOf(core: Core, run: JobRun, { lo, reached }: Chunk): PeerId[] {
  const replicas = run.fold.spec?.options.replicas ?? DEFAULT_REPLICAS
  const { author } = run
  if (run.gate !== undefined && run.gate.output.countIn(lo, reached) === 0) {
    return inBetween(core, run, lo, replicas)
  }
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

/** What only other items need stays where it was made, and with others that compute: its submitter does not ask for it. */
function inBetween(core: Core, run: JobRun, item: number, replicas: number): PeerId[] {
  const { author } = run
  const others = [...core.peers.values()].filter(({ slots, peer }) => slots > 0 && peer !== author)
  const key = `${run.job}${run.gate?.nodeOf(item)}`
  const order = rendezvousOrder(
    key,
    others.map(({ peer }) => peer),
  )
  const keepers = [core.self.peer, ...order].slice(0, replicas)
  const alone = keepers.length < replicas && author !== undefined && author !== core.self.peer
  return alone && core.isLive(author) ? [...keepers, author] : keepers
}
