/**
 * Runs the items of one chunk, one after another. A synchronous task never leaves `step()`; the clock is looked at between all
 * items, and everything else happens only when it has moved on by a millisecond.
 *
 * Marks tell the peer which item to blame for a death. Slow items are announced one by one (`exact`); fast ones by a mark every
 * few milliseconds, and after a death the peer runs those few again one by one (`careful`).
 */
import { FAST_ITEMS_TO_RELAX, FLUSH_MS, MARK_MS, SLOW_ITEM_MS, YIELD_MS } from '../limits.ts'
import type { Task } from '../task.ts'
import type { ItemError } from '../types.ts'
import type { WorkerContext } from './context.ts'
import type { EndedFrame, RunFrame } from './frames.ts'
import { isOutOfMemory, toErrorFrame } from './item-error.ts'
import type { Items } from './items.ts'
import { Output } from './output.ts'
import { reportMark } from './reporter.ts'

type Ended = EndedFrame['ended']
type Step = 'stop' | 'yield' | PromiseLike<unknown>

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class ChunkLoop {
  /** The item that runs, or is next. */
  at: number
  readonly output: Output
  private readonly frame: RunFrame
  private readonly task: Pick<Task, 'run'>
  private readonly ctx: WorkerContext
  private readonly items: Items
  private ended: Ended = 'range'
  private aborted = false
  private exact = true
  private fastItems = 0
  private tries = 0
  private clock = Date.now()
  private readonly startedAt = performance.now()
  private now = this.startedAt
  private flushedAt = this.startedAt
  private markedAt = this.startedAt
  private yieldedAt = this.startedAt
  private waitingFor = -1
  private watch: NodeJS.Timeout | undefined
  private lostInput: string | undefined

  constructor(frame: RunFrame, task: Pick<Task, 'run'>, ctx: WorkerContext, items: Items) {
    this.frame = frame
    this.task = task
    this.ctx = ctx
    this.items = items
    this.at = frame.lo
    this.output = new Output(frame.run, frame.lo)
  }

  async run(): Promise<Omit<EndedFrame, 'rssBytes'>> {
    let step = this.step()
    while (step !== 'stop') {
      if (step === 'yield') {
        await nextTurn()
        this.yieldedAt = performance.now()
      } else {
        await this.settle(step)
      }
      step = this.step()
    }
    clearTimeout(this.watch)
    this.flush()
    this.ctx.deadline = Number.POSITIVE_INFINITY
    return {
      run: this.frame.run,
      reached: this.at,
      failed: this.output.failed,
      elapsedMs: performance.now() - this.startedAt,
      ended: this.ended,
      ...(this.lostInput === undefined ? {} : { message: this.lostInput }),
    }
  }

  /** Stop before the next item; the signal of the one that runs aborts. */
  abort(reason: unknown): void {
    this.aborted = true
    this.ctx.abort(reason)
  }

  /** Runs items until one must be awaited, the event loop is due, or the chunk ends. */
  private step(): Step {
    const { task, ctx, items, frame } = this
    while (this.at < frame.hi) {
      const clock = Date.now()
      if (clock !== this.clock) {
        this.clock = clock
        if (this.look()) return 'stop'
        if (this.now - this.yieldedAt >= YIELD_MS) return 'yield'
      } else if (this.exact && !frame.careful && ++this.fastItems > FAST_ITEMS_TO_RELAX) {
        this.relax()
      }
      if (this.aborted) return this.stop('aborted')
      if (this.output.sentBytes >= frame.outputBytes) return this.stop('output')
      // The first mark of a run also tells the peer that this worker listens.
      if (this.exact) this.mark()
      let item: unknown
      try {
        item = items.get(this.at)
      } catch (error) {
        this.lostInput = error instanceof Error ? error.message : String(error)
        return this.stop('inputLost')
      }
      this.begin()
      let value: unknown
      try {
        value = task.run(item, ctx)
      } catch (error) {
        this.fail(error)
        continue
      }
      if (value !== null && typeof value === 'object' && isThenable(value)) return value
      this.accept(value)
    }
    return this.stop('range')
  }

  private begin(): void {
    const { ctx, frame } = this
    ctx.index = this.at
    ctx.attempt = this.tries + 1
    if (frame.attempts.length > 0) ctx.attempt += this.attemptsBefore()
    if (frame.timeLimitMs !== undefined) ctx.deadline = performance.now() + frame.timeLimitMs
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
      this.stop('time')
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
    this.ctx.renew()
    if (full || this.frame.careful) this.flush()
  }

  private flush(): void {
    this.flushedAt = performance.now()
    this.output.flush()
  }

  /** The running item threw: again, or failed for good. An aborted one is left unfinished. */
  private fail(thrown: unknown): void {
    if (this.aborted) return
    const { ctx, frame } = this
    const { attempt, timedOut } = ctx
    if (attempt <= frame.retries) {
      this.tries += 1
      ctx.renew()
      return
    }
    const error: ItemError = {
      ...this.explain(thrown, timedOut),
      index: this.at,
      attempts: attempt,
    }
    this.next(this.output.addFailure(error))
  }

  private explain(thrown: unknown, timedOut: boolean): Omit<ItemError, 'index' | 'attempts'> {
    const error = toErrorFrame(thrown)
    if (timedOut) {
      return {
        ...error,
        code: 'ERR_MESH_TIME_LIMIT',
        name: 'MeshError',
        message: `the item ran longer than its limit of ${this.frame.timeLimitMs! / 1000} s (--time-limit) and stopped with: ${error.message}`,
      }
    }
    if (!isOutOfMemory(thrown)) return error
    const capMiB = Math.round(this.frame.memoryBytes / 2 ** 20)
    return {
      ...error,
      code: 'ERR_MESH_MEMORY_LIMIT',
      name: 'MeshError',
      message: `the task needed more memory than its cap of ${capMiB} MB; --memory sets the cap (${error.message})`,
    }
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
    const left = this.ctx.deadline - this.now
    if (left <= 0) this.ctx.timeOut()
    else if (left !== Number.POSITIVE_INFINITY) {
      this.watch = setTimeout(this.watchItem, Math.min(left + 1, 2 ** 30), item)
    }
  }
}

function isThenable(value: object): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>>).then === 'function'
}
