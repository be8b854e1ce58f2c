/**
 * One chunk from the peer's side, over as many workers as it takes. A *leg* is what one worker runs in one go; a leg ends at its
 * range's end, by time, by output, or by the worker's death, after which the next leg goes on in another worker.
 *
 * Blame: a worker's last words or an exact mark name the item. Otherwise some item of the last few milliseconds is to blame, and
 * the next leg is *careful*: one mark and one hand-over per item, so that a second death is exact.
 */
import { MeshError, type MeshErrorCode } from '../base/errors.ts'
import { Blame, OUTSIDE_DEATHS } from './blame.ts'
import { explainDeath } from './death.ts'
import {
  ABORT_GRACE_MS,
  ANSWER_TIMEOUT_MS,
  CAREFUL_MS,
  CHUNK_OUTPUT_BYTES,
  FAILURES_PER_SEGMENT,
  HARD_LIMIT_SLACK_MS,
  TIME_LIMIT_GRACE_MS,
} from './limits.ts'
import { encodeSegment, scanSegments } from './segment.ts'
import type { ChunkHooks, ChunkOutcome, ChunkRequest, RunningChunkHandle } from './types.ts'
import type { EndedFrame, ErrorFrame, LogFrame } from './worker/frames.ts'
import type { Death, RunEvents, WorkerProcess } from './worker-process.ts'

/** Items up to here at most this often. */
const PROGRESS_MS = 5

/** What a chunk wants of the pool. */
export interface Workers {
  /** A worker with the bundle loaded or loading, its init sent. */
  acquire(request: ChunkRequest): WorkerProcess
  release(worker: WorkerProcess, request: ChunkRequest): void
  /** The worker is dead or must go. */
  discard(worker: WorkerProcess): void
  /** Items this worker may still run; the replacement of one that runs its last is started now. */
  allowance(worker: WorkerProcess, request: ChunkRequest): number
  prestart(request: ChunkRequest): void
  /** Why the bundle cannot be loaded, if it was tried lately. */
  broken(request: ChunkRequest): ErrorFrame | undefined
  setBroken(request: ChunkRequest, error: ErrorFrame): void
}

interface Leg {
  readonly run: number
  readonly lo: number
  readonly hi: number
  readonly careful: boolean
  readonly startedAt: number
  mark: number
  exact: boolean
  markedAt: number
  /** The worker has shown that it listens. */
  answered: boolean
}

let nextRun = 1

export class ChunkRun implements RunningChunkHandle, RunEvents {
  readonly done: Promise<ChunkOutcome>
  private readonly workers: Workers
  private readonly request: ChunkRequest
  private readonly hooks: ChunkHooks
  private resolve: (outcome: ChunkOutcome) => void = () => {}
  private reject: (error: Error) => void = () => {}
  private settled = false
  /** Items before it are finished and handed over. */
  private reached: number
  private failed = 0
  private outputBytes = 0
  private elapsedMs = 0
  private worker: WorkerProcess | undefined
  private leg: Leg | undefined
  private aborted = false
  private abortTimer: NodeJS.Timeout | undefined
  private answerTimer: NodeJS.Timeout | undefined
  private limitTimer: NodeJS.Timeout | undefined
  private readonly blame: Blame
  private loadDeaths = 0
  private progressed: number
  private progressedAt = Number.NEGATIVE_INFINITY

  constructor(workers: Workers, request: ChunkRequest, hooks: ChunkHooks) {
    this.workers = workers
    this.request = request
    this.hooks = hooks
    this.reached = request.lo
    this.blame = new Blame(request)
    this.progressed = request.lo
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
  }

  start(): void {
    void this.nextLeg()
  }

  abort(graceMs = 0): void {
    if (this.settled || this.aborted) return
    this.aborted = true
    const { worker } = this
    // Between two legs, or while a bundle loads, nothing of ours runs.
    if (this.leg === undefined || worker === undefined) {
      this.finish('aborted')
      return
    }
    worker.abort()
    this.abortTimer = setTimeout(() => worker.kill('aborted'), Math.max(graceMs, ABORT_GRACE_MS))
  }

  /** The runtime closes. */
  stop(): void {
    if (this.settled) return
    this.aborted = true
    this.fail(new MeshError('ERR_MESH_STOPPED', 'the runtime was closed'))
  }

  // ------------------------------------------------------------ legs

  private async nextLeg(): Promise<void> {
    this.leg = undefined
    if (this.settled) return
    this.handOverDoomed()
    const { request } = this
    if (this.aborted) return this.finish('aborted')
    if (this.reached >= request.hi) return this.finish('range')
    if (this.reached > request.lo && this.elapsedMs >= request.budgetMs) return this.finish('time')
    if (this.outputBytes >= CHUNK_OUTPUT_BYTES) return this.finish('output')
    const known = this.workers.broken(request)
    if (known !== undefined) return this.failAll(known)
    try {
      const worker = this.workers.acquire(request)
      this.worker = worker
      const loaded = await worker.loaded
      if (this.settled || this.aborted) return this.giveBack(worker)
      if (loaded.ok) this.startLeg(worker)
      else if ('error' in loaded) this.onLoadFailed(worker, loaded.error)
      else this.onLoadDeath(worker, loaded.death)
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
    }
  }

  /** Aborted while the bundle loaded: the worker stays warm for the next chunk. */
  private giveBack(worker: WorkerProcess): void {
    this.worker = undefined
    this.workers.release(worker, this.request)
  }

  private startLeg(worker: WorkerProcess): void {
    const { request } = this
    for (const line of worker.takeEarlyLines()) this.onLog(line)
    const careful = this.blame.isCareful(this.reached)
    const allowance = this.workers.allowance(worker, request)
    const last = Math.min(request.hi, this.reached + allowance)
    if (last < request.hi) this.workers.prestart(request)
    const hi = this.blame.limit(this.reached, last)
    const now = performance.now()
    const leg: Leg = {
      run: nextRun++,
      lo: this.reached,
      hi,
      careful,
      startedAt: now,
      mark: this.reached,
      exact: true,
      markedAt: now,
      answered: false,
    }
    this.leg = leg
    const budgetLeft = Math.max(0, request.budgetMs - this.elapsedMs)
    worker.run(
      {
        run: leg.run,
        lo: this.reached,
        hi,
        budgetMs: careful ? Math.min(budgetLeft, CAREFUL_MS) : budgetLeft,
        outputBytes: Math.max(1, CHUNK_OUTPUT_BYTES - this.outputBytes),
        input: request.input,
        task: request.node === undefined ? { bundle: request.bundle } : undefined,
        node: request.node,
        retries: request.retries,
        backoff: request.backoff,
        softTimeLimitMs: request.softTimeLimitMs,
        timeLimitMs: request.timeLimitMs,
        memoryBytes: worker.memoryBytes,
        careful,
        attempts: this.blame.attemptsIn(this.reached, hi),
      },
      this,
    )
    if (request.timeLimitMs !== undefined) this.watchLimit(leg, worker)
    this.watchAnswer(leg, worker)
  }

  /** A task can close the pipe that its worker listens on: the next run would wait for ever. */
  private watchAnswer(leg: Leg, worker: WorkerProcess): void {
    clearTimeout(this.answerTimer)
    this.answerTimer = setTimeout(() => {
      setImmediate(() => {
        if (this.leg === leg && !leg.answered) worker.kill('deaf')
      })
    }, ANSWER_TIMEOUT_MS)
  }

  private watchLimit(leg: Leg, worker: WorkerProcess): void {
    const limitMs = this.request.timeLimitMs!
    const isWarned = (this.request.softTimeLimitMs ?? Number.POSITIVE_INFINITY) < limitMs
    const limit = limitMs + (isWarned ? HARD_LIMIT_SLACK_MS : TIME_LIMIT_GRACE_MS)
    const left = leg.markedAt + limit - performance.now()
    this.limitTimer = setTimeout(
      () => {
        // Marks that came while this process was busy are read first.
        setImmediate(() => {
          if (this.leg !== leg) return
          if (performance.now() - leg.markedAt < limit) this.watchLimit(leg, worker)
          else worker.kill('timeLimit')
        })
      },
      Math.max(1, Math.min(left, 2 ** 30)),
    )
  }

  private endLeg(elapsedMs: number): void {
    clearTimeout(this.limitTimer)
    clearTimeout(this.answerTimer)
    this.elapsedMs += elapsedMs
    this.leg = undefined
  }

  // ------------------------------------------------------------ what a worker reports

  onOutput(run: number, lo: number, hi: number, failed: number, bytes: Uint8Array): void {
    const { leg } = this
    if (leg === undefined || run !== leg.run) return
    let end = lo
    for (const span of scanSegments(bytes, lo)) end = span.hi
    if (lo !== this.reached || end !== hi || hi > leg.hi || failed > hi - lo) {
      throw new MeshError('ERR_MESH_PROTOCOL', 'a worker handed over items that it was not given')
    }
    this.handOver(lo, hi, failed, bytes)
  }

  onMark(run: number, item: number, exact: boolean): void {
    const { leg } = this
    if (leg === undefined || run !== leg.run || item < leg.mark || item >= leg.hi) return
    leg.answered = true
    leg.mark = item
    leg.exact = exact
    leg.markedAt = performance.now()
    this.progress(item, leg.markedAt)
  }

  onEnded(frame: EndedFrame): void {
    const { leg, worker } = this
    if (leg === undefined || worker === undefined || frame.run !== leg.run) return
    if (frame.reached !== this.reached) {
      throw new MeshError('ERR_MESH_PROTOCOL', 'a worker ended a run without all its output')
    }
    const retry = this.retryOf(frame)
    worker.events = undefined
    worker.served += this.reached - leg.lo
    this.worker = undefined
    // What a worker says of time is what the task's own code may have bent.
    const atMost = performance.now() - leg.startedAt
    this.endLeg(frame.elapsedMs >= 0 && frame.elapsedMs <= atMost ? frame.elapsedMs : atMost)
    this.workers.release(worker, this.request)
    if (frame.ended === 'inputLost') {
      this.fail(
        new MeshError('ERR_MESH_INPUT_LOST', `the input cannot be read: ${frame.message ?? ''}`),
      )
      return
    }
    if (retry !== undefined && !this.aborted) this.finish('retry', retry)
    else void this.nextLeg()
  }

  /** When the item that ended a run is tried again: at most what the job's backoff allows. */
  private retryOf({ ended, retry }: EndedFrame): ChunkOutcome['retry'] {
    if (ended !== 'retry') return undefined
    const { backoff, retries } = this.request
    if (retries === 0 || retry === undefined || this.reached >= this.request.hi) {
      throw new MeshError('ERR_MESH_PROTOCOL', 'a worker ended a run for a retry that is none')
    }
    return {
      delayMs: Math.min(retry.delayMs, backoff?.maxMs ?? 0),
      attempt: Math.min(retry.attempt, retries + 1),
    }
  }

  onLog(line: LogFrame): void {
    this.hooks.onLog(line)
  }

  onItemProgress(item: number, fraction: number): void {
    this.hooks.onItemProgress?.(item, fraction)
  }

  onDeath(death: Death): void {
    const { leg, worker } = this
    if (worker !== undefined) this.workers.discard(worker)
    this.worker = undefined
    if (leg === undefined) return
    this.endLeg(performance.now() - leg.startedAt)
    if (this.aborted) {
      this.finish('aborted')
      return
    }
    this.blame.onDeath(death, leg, this.reached)
    void this.nextLeg()
  }

  // ------------------------------------------------------------ the bundle does not load

  private onLoadFailed(worker: WorkerProcess, error: ErrorFrame): void {
    this.worker = undefined
    this.workers.discard(worker)
    if (error.code.startsWith('ERR_MESH_TASK_')) {
      this.fail(new MeshError(error.code as MeshErrorCode, error.message))
      return
    }
    const told = { ...error, message: `the task cannot be loaded: ${error.message}` }
    this.workers.setBroken(this.request, told)
    this.failAll(told)
  }

  private onLoadDeath(worker: WorkerProcess, death: Death): void {
    this.worker = undefined
    this.workers.discard(worker)
    const { error, outside } = explainDeath(death, undefined)
    if (outside && ++this.loadDeaths <= OUTSIDE_DEATHS) {
      void this.nextLeg()
      return
    }
    const told = { ...error, message: `the task cannot be loaded: ${error.message}` }
    this.workers.setBroken(this.request, told)
    this.failAll(told)
  }

  /** Every item left fails for one reason, as many as a chunk's output holds. */
  private failAll(error: ErrorFrame): void {
    const { hi } = this.request
    const { stack: _, ...brief } = error
    while (this.reached < hi && this.outputBytes < CHUNK_OUTPUT_BYTES) {
      const count = Math.min(FAILURES_PER_SEGMENT, hi - this.reached)
      const failures = Array.from({ length: count }, (_, index) => ({
        ...(index === 0 ? error : brief),
        index,
        attempts: 1,
      }))
      const bytes = encodeSegment(new Array(count).fill(null), failures)
      this.handOver(this.reached, this.reached + count, count, bytes)
    }
    this.finish(this.reached < hi ? 'output' : 'range')
  }

  // ------------------------------------------------------------ output and end

  private handOverDoomed(): void {
    for (;;) {
      const error = this.blame.takeDoomed(this.reached)
      if (error === undefined) return
      const bytes = encodeSegment([null], [{ ...error, index: 0 }])
      this.handOver(this.reached, this.reached + 1, 1, bytes)
    }
  }

  private handOver(lo: number, hi: number, failed: number, bytes: Uint8Array): void {
    this.reached = hi
    this.failed += failed
    this.outputBytes += bytes.length
    this.hooks.onOutput({ lo, hi, failed, bytes })
    this.progress(hi, performance.now())
  }

  private progress(reached: number, now: number): void {
    if (reached <= this.progressed || now - this.progressedAt < PROGRESS_MS) return
    this.progressed = reached
    this.progressedAt = now
    this.hooks.onProgress(reached)
  }

  private finish(ended: ChunkOutcome['ended'], retry?: ChunkOutcome['retry']): void {
    if (this.settled) return
    this.settle()
    const { reached, failed, elapsedMs } = this
    const outcome = { reached, failed, elapsedMs, ended }
    this.resolve(retry === undefined ? outcome : { ...outcome, retry })
  }

  private fail(error: Error): void {
    if (this.settled) return
    this.settle()
    this.reject(error)
  }

  private settle(): void {
    this.settled = true
    clearTimeout(this.abortTimer)
    clearTimeout(this.limitTimer)
    clearTimeout(this.answerTimer)
  }
}
