/** What computes the items of a run: one task, or the steps of a composition's node (node-work.ts). */
import { decodeValue } from '../segment.ts'
import type { Task } from '../task.ts'
import type { ChunkStep } from '../types.ts'
import type { WorkerContext } from './context.ts'
import { Failed } from './failed.ts'
import type { Items } from './items.ts'

/** A task that is loaded, and its context. */
export interface Callable {
  readonly task: Pick<Task, 'run' | 'retryOn'>
  readonly ctx: WorkerContext
}

export interface Work {
  /** Before each try of an item. `last`: there is no other one after it. */
  begin(item: number, attempt: number, last: boolean): void
  /** The item's value, or a promise of it. @throws what the task throws, Failed, InputLost */
  compute(item: number): unknown
  /** Whether the task that threw this in compute() wants to be tried again. */
  mayRetry(thrown: unknown): boolean
  /** The run is aborted: nothing more of the item that is awaited is begun. */
  stop(): void
}

/** A task with what is bound to it. */
export class Step implements Callable {
  readonly task: Callable['task']
  readonly ctx: WorkerContext
  /** run() gets the value as it is. */
  readonly isPlain: boolean
  private readonly bound: readonly unknown[]
  private readonly isImmutable: boolean
  private readonly unreadable: unknown

  constructor({ task, ctx }: Callable, step?: Pick<ChunkStep, 'bound' | 'immutable'>) {
    this.task = task
    this.ctx = ctx
    this.isImmutable = step?.immutable === true
    let bound: unknown = []
    try {
      if (step?.bound !== undefined) bound = decodeValue(step.bound)
      if (!Array.isArray(bound)) throw new TypeError('the bound arguments of a step are no list')
    } catch (error) {
      this.unreadable = error
    }
    this.bound = Array.isArray(bound) ? bound : []
    this.isPlain = !this.isImmutable && this.bound.length === 0 && this.unreadable === undefined
  }

  /** The item of run() for a value that comes in (src/scheduler/plan.ts, Step). */
  argument(value: unknown): unknown {
    if (this.unreadable !== undefined) throw this.unreadable
    const { bound } = this
    if (!this.isImmutable) return bound.length === 0 ? value : [value, ...bound]
    return bound.length > 1 ? [...bound] : bound[0]
  }
}

/** Asks a task's retryOn; one that throws says no. */
export function wantsRetry({ task, ctx }: Callable, thrown: unknown): boolean {
  if (task.retryOn === undefined) return true
  try {
    return Boolean(task.retryOn(thrown))
  } catch (error) {
    ctx.log('retryOn threw, so that the item is not tried again:', error)
    return false
  }
}

export class TaskWork implements Work {
  private readonly step: Step
  private readonly items: Items
  /** Of the node's first item; 0 for a plain job. */
  private readonly lo: number

  constructor(step: Step, items: Items, lo: number) {
    this.step = step
    this.items = items
    this.lo = lo
  }

  begin(item: number, attempt: number): void {
    const { ctx } = this.step
    ctx.index = item - this.lo
    ctx.attempt = attempt
  }

  compute(item: number): unknown {
    const value = this.items.get(item - this.lo)
    if (value instanceof Failed) throw value
    const { step } = this
    return step.task.run(step.isPlain ? value : step.argument(value), step.ctx)
  }

  mayRetry(thrown: unknown): boolean {
    return wantsRetry(this.step, thrown)
  }

  stop(): void {}
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as Partial<PromiseLike<unknown>>).then === 'function'
  )
}
