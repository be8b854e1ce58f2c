/**
 * Runs the items of one chunk, one after another. A synchronous task never leaves `step()`; the clock is looked at between all
 * items, and everything else happens only when it has moved on by a millisecond.
 *
 * Marks tell the peer which item to blame for a death. Slow items are announced one by one (`exact`); fast ones by a mark every
 * few milliseconds, and after a death the peer runs those few again one by one (`careful`).
 */
import {
  FAST_ITEMS_TO_RELAX,
  FLUSH_MS,
  MARK_MS,
  MAX_WAIT_IN_WORKER_MS,
  MAX_WAITED_IN_CHUNK_MS,
  SLOW_ITEM_MS,
  YIELD_MS,
} from '../limits.ts'
import type { ItemError } from '../types.ts'
import { waitAfter } from './backoff.ts'
import type { RunningItem } from './context.ts'
import { Failed, InputLost } from './failed.ts'
import type { EndedFrame, RunFrame } from './frames.ts'
import { explainThrown } from './item-error.ts'
import { Output } from './output.ts'
import { reportMark } from './reporter.ts'
import { isThenable, type Work } from './work.ts'

type Ended = EndedFrame['ended']
type Step = 'stop' | 'yield' | 'wait' | PromiseLike<unknown>

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class ChunkLoop {
  /** The item that runs, or is next. */
  at: number
  readonly output: Output
  private readonly frame: RunFrame
  private readonly work: Work
  private readonly running: RunningItem
  /** Of one item, ms: the soft one where there is one. */
  private readonly limitMs: number | undefined
  private ended: Ended = 'range'
  /** Why no other item begins, or none yet. */
  private halt: 'aborted' | 'inputLost' | 'retry' | 'wait' | undefined
  private retry: EndedFrame['retry']
  private waitMs = 0
  private waitedMs = 0
  private endWait = (): void => {}
  private exact = true
  private fastItems = 0
  private tries = 0
  private attempt = 1
  private clock = Date.now()
  private readonly startedAt = performance.now()
  private now = this.startedAt
  private flushedAt = this.startedAt
  private markedAt = this.startedAt
  private yieldedAt = this.startedAt
  private waitingFor = -1
  private watch: NodeJS.Timeout | undefined
  private lostInput: string | undefined

  constructor(frame: RunFrame, work: Work, running: RunningItem) {
    this.frame = frame
    this.work = work
    this.running = running
    const { softTimeLimitMs: soft, timeLimitMs: hard } = frame
    running.isSoft = soft !== undefined && (hard === undefined || soft < hard)
    this.limitMs = running.isSoft ? soft : hard
    this.at = frame.lo
    this.output = new Output(frame.run, frame.lo)
  }

  async run(): Promise<Omit<EndedFrame, 'rssBytes'>> {
    let step = this.step()
    while (step !== 'stop') {
      if (step === 'yield') {
        await nextTurn()
        this.yieldedAt = performance.now()
      } else if (step === 'wait') {
        await this.wait()
      } else {
        await this.settle(step)
      }
      step = this.step()
    }
    clearTimeout(this.watch)
    this.flush()
    this.running.deadline = Number.POSITIVE_INFINITY
    return {
      run: this.frame.run,
      reached: this.at,
      failed: this.output.failed,
      elapsedMs: performance.now() - this.startedAt,
      ended: this.ended,
      ...(this.lostInput === undefined ? {} : { message: this.lostInput }),
      ...(this.retry === undefined || this.ended !== 'retry' ? {} : { retry: this.retry }),
    }
  }

  /** Stop before the next item; the signal of the one that runs aborts. */
  abort(reason: unknown): void {
    this.halt = 'aborted'
    this.work.stop()
    this.running.abort(reason)
    this.endWait()
  }

  /** Runs items until one must be awaited, the event loop is due, or the chunk ends. */
  private step(): Step {
    const { work, frame } = this
    while (this.at < frame.hi) {
      if (this.halt !== undefined) return this.halt === 'wait' ? 'wait' : this.stop(this.halt)
      const clock = Date.now()
      if (clock !== this.clock) {
        this.clock = clock
        if (this.look()) return 'stop'
        if (this.now - this.yieldedAt >= YIELD_MS) return 'yield'
      } else if (this.exact && !frame.careful && ++this.fastItems > FAST_ITEMS_TO_RELAX) {
        this.relax()
      }
      if (this.output.sentBytes >= frame.outputBytes) return this.stopBetween('output')
      // The first mark of a run also tells the peer that this worker listens.
      if (this.exact) this.mark()
      this.begin()
      let value: unknown
      try {
        value = work.compute(this.at)
      } catch (error) {
        this.fail(error)
        continue
      }
      if (isThenable(value)) return value
      this.accept(value)
    }
    return this.stop('range')
  }

  private begin(): void {
    const { running, frame, limitMs } = this
    running.number = this.at
    this.attempt = this.tries + 1
    if (frame.attempts.length > 0) this.attempt += this.attemptsBefore()
    this.work.begin(this.at, this.attempt, this.attempt > frame.retries)
    if (limitMs !== undefined) running.deadline = performance.now() + limitMs
  }

  private attemptsBefore(): number {
    return this.frame.attempts.find(([item]) => item === this.at)?.[1] ?? 0
  }

  /** Once a millisecond at most: true when the chunk has run long enough. */
  private look(): boolean {
    const { frame } = this
    const now = performance.now()
    if (now - this.now >= SLOW_ITEM_MS) {
      this.exact = true
      this.fastItems = 0
    }
    this.now = now
    if (now - this.startedAt >= frame.budgetMs && this.at > frame.lo) {
      this.stopBetween('time')
      return true
    }
    if (now - this.flushedAt >= FLUSH_MS) this.flush()
    if (!this.exact && now - this.markedAt >= MARK_MS) this.mark()
    return false
  }

  /** exact -> window: several items in a row were fast. */
  private relax(): void {
    this.exact = false
    this.mark()
  }

  private mark(): void {
    this.markedAt = this.now
    reportMark(this.frame.run, this.at, this.exact)
  }

  /** An item that is being tried again goes on counting in the next chunk. */
  private stopBetween(ended: 'time' | 'output'): 'stop' {
    if (this.tries === 0) return this.stop(ended)
    this.retry = { delayMs: 0, attempt: this.attempt + 1 }
    return this.stop('retry')
  }

  private stop(ended: Ended): 'stop' {
    this.ended = ended
    return 'stop'
  }

  private accept(value: unknown): void {
    const full = this.output.add(value)
    this.next(full)
  }

  private next(full: boolean): void {
    this.at += 1
    this.tries = 0
    this.running.renew()
    if (full || this.frame.careful) this.flush()
  }

  private flush(): void {
    this.flushedAt = performance.now()
    this.output.flush()
  }

  /** The running item threw: again, or failed for good. An aborted one is left unfinished. */
  private fail(thrown: unknown): void {
    if (this.halt === 'aborted') return
    const { running, frame, attempt } = this
    if (thrown instanceof InputLost) {
      this.lostInput = thrown.message
      this.halt = 'inputLost'
      return
    }
    if (thrown instanceof Failed) {
      this.giveUp(thrown.error)
      return
    }
    if (running.isSoft && performance.now() >= running.deadline) running.timeOut()
    if (attempt <= frame.retries && this.work.mayRetry(thrown)) this.tryAgain()
    else {
      const passed = { isSoft: running.isSoft, ms: this.limitMs! }
      const limit = running.timedOut ? passed : undefined
      this.giveUp(explainThrown(thrown, limit, frame.memoryBytes))
    }
  }

  private giveUp(error: Omit<ItemError, 'index' | 'attempts'>): void {
    this.next(this.output.addFailure({ ...error, index: this.at, attempts: this.attempt }))
  }

  /** At once, after a short wait here, or after a longer one in another chunk. */
  private tryAgain(): void {
    const { frame, attempt } = this
    this.running.renew()
    const waitMs =
      frame.backoff === undefined ? 0 : waitAfter(frame.backoff, attempt, Math.random())
    const longest = Math.min(MAX_WAIT_IN_WORKER_MS, frame.timeLimitMs ?? Number.POSITIVE_INFINITY)
    if (waitMs > longest || this.waitedMs + waitMs > MAX_WAITED_IN_CHUNK_MS) {
      this.halt = 'retry'
      this.retry = { delayMs: waitMs, attempt: attempt + 1 }
      return
    }
    this.tries += 1
    if (waitMs === 0) return
    this.halt = 'wait'
    this.waitMs = waitMs
  }

  /** Nothing that is finished is held back meanwhile. */
  private async wait(): Promise<void> {
    this.flush()
    // The wait is no part of the item's time: it begins with a mark, and so does the next try.
    this.exact = true
    this.fastItems = 0
    this.mark()
    this.waitedMs += this.waitMs
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.waitMs)
      this.endWait = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.endWait = () => {}
    if (this.halt === 'wait') this.halt = undefined
    this.yieldedAt = performance.now()
  }

  private async settle(promise: PromiseLike<unknown>): Promise<void> {
    this.waitingFor = this.at
    // At most one timer every MARK_MS, not one an item: a fast asynchronous task must not pay for it.
    this.watch ??= setTimeout(this.watchItem, MARK_MS, this.at)
    try {
      this.accept(await promise)
    } catch (error) {
      this.fail(error)
    }
    this.waitingFor = -1
  }

  /** An item is being awaited for some time: say which, hand over what is finished, and abort it at its limit. */
  private watchItem = (item: number): void => {
    this.watch = undefined
    if (this.waitingFor === -1) return
    this.now = performance.now()
    if (this.waitingFor !== item) {
      this.watch = setTimeout(this.watchItem, MARK_MS, this.waitingFor)
      return
    }
    if (!this.exact) {
      this.exact = true
      this.fastItems = 0
      this.mark()
    }
    this.flush()
    const left = this.running.deadline - this.now
    if (left <= 0) this.running.timeOut()
    else if (left !== Number.POSITIVE_INFINITY) {
      this.watch = setTimeout(this.watchItem, Math.min(left + 1, 2 ** 30), item)
    }
  }
}
