/**
 * The items of a composition's node: elements go through steps and, with `combine`, into one value, from left to right. What is
 * synchronous runs in one loop, without a promise for each element; that loop is left where a promise must be awaited, or where the
 * event loop is due, and goes on from there.
 */
import { ELEMENTS_PER_LOOK, SLOW_ITEM_MS, YIELD_MS } from '../limits.ts'
import type { ChunkNode } from '../types.ts'
import { Failed, InputLost } from './failed.ts'
import type { Items } from './items.ts'
import { isThenable, type Step, type Work, wantsRetry } from './work.ts'

const NOTHING: unique symbol = Symbol('nothing')
/** In the place of the number of a step. */
const FETCH = -1
const COMBINE = -2

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class NodeWork implements Work {
  private readonly node: ChunkNode
  private readonly steps: readonly Step[]
  private readonly combine: Step | undefined
  private readonly items: Items
  /** Elements are combined as they are. */
  private readonly isPlain: boolean
  private isLast = true
  private stopped = false
  // The item that runs: the element, the step that is next (or throws), its value, and what the elements before came to.
  private at = 0
  private hi = 0
  private step = FETCH
  private value: unknown
  private sum: unknown = NOTHING
  private untilLook = 1
  private lookedAt = performance.now()
  private yieldedAt = this.lookedAt

  constructor(node: ChunkNode, steps: readonly Step[], combine: Step | undefined, items: Items) {
    this.node = node
    this.steps = steps
    this.combine = combine
    this.items = items
    this.isPlain = steps.length === 0 && combine?.isPlain === true
  }

  begin(item: number, attempt: number, last: boolean): void {
    this.isLast = last
    const index = item - this.node.lo
    for (let i = 0; i < this.steps.length; i++) setItem(this.steps[i]!, index, attempt)
    if (this.combine !== undefined) setItem(this.combine, index, attempt)
  }

  compute(item: number): unknown {
    const index = item - this.node.lo
    const { combine } = this.node
    this.at = combine === undefined ? index : index * combine.grain
    this.hi = combine === undefined ? index + 1 : Math.min(this.at + combine.grain, combine.total)
    this.step = FETCH
    this.sum = NOTHING
    const wait = this.go()
    return wait === undefined ? this.end() : this.drive(wait)
  }

  mayRetry(thrown: unknown): boolean {
    const thrower = this.step === COMBINE ? this.combine : this.steps[this.step]
    return thrower === undefined || wantsRetry(thrower, thrown)
  }

  stop(): void {
    this.stopped = true
  }

  private async drive(first: PromiseLike<unknown>): Promise<unknown> {
    let wait: PromiseLike<unknown> | undefined = first
    while (wait !== undefined) {
      try {
        const settled = await wait
        if (this.stopped) throw new Error('the chunk was aborted')
        this.resume(settled)
      } catch (error) {
        this.leaveOut(error)
      }
      wait = this.go()
    }
    return this.end()
  }

  /** Runs on to the item's end, or to what must be awaited. */
  private go(): PromiseLike<unknown> | undefined {
    for (;;) {
      try {
        return this.isPlain ? this.fold() : this.advance()
      } catch (error) {
        this.leaveOut(error)
      }
    }
  }

  private advance(): PromiseLike<unknown> | undefined {
    const { steps, items, combine, hi } = this
    const count = steps.length
    let { at, step, value, sum } = this
    try {
      for (;;) {
        if (step === FETCH) {
          if (at >= hi) return undefined
          value = items.get(at)
          if (value instanceof Failed) throw value
          step = 0
        }
        while (step < count) {
          const { task, ctx, isPlain } = steps[step]!
          value = task.run(isPlain ? value : steps[step]!.argument(value), ctx)
          if (isThenable(value)) return value
          step += 1
        }
        if (sum === NOTHING) sum = value
        else {
          step = COMBINE
          const pair = [sum, value]
          const { task, ctx, isPlain } = combine!
          value = task.run(isPlain ? pair : combine!.argument(pair), ctx)
          if (isThenable(value)) return value
          sum = value
        }
        at += 1
        step = FETCH
        if (--this.untilLook <= 0 && at < hi && this.isTurnDue()) return nextTurn()
      }
    } finally {
      this.at = at
      this.step = step
      this.value = value
      this.sum = sum
    }
  }

  /** advance() without steps. A loop as short as this one is compiled together with the task's function. */
  private fold(): PromiseLike<unknown> | undefined {
    const { items, hi } = this
    const { task, ctx } = this.combine!
    let { at, sum, untilLook } = this
    let step = FETCH
    try {
      while (at < hi) {
        const value = items.get(at)
        if (value instanceof Failed) throw value
        let next = value
        if (sum !== NOTHING) {
          step = COMBINE
          next = task.run([sum, value], ctx)
          if (isThenable(next)) return next
          step = FETCH
        }
        sum = next
        at += 1
        if (--untilLook > 0 || at >= hi) continue
        if (this.isTurnDue()) return nextTurn()
        untilLook = this.untilLook
      }
      return undefined
    } finally {
      this.at = at
      this.step = step
      this.sum = sum
      this.untilLook = untilLook
    }
  }

  /** What advance() waited for has come. */
  private resume(settled: unknown): void {
    if (this.step === FETCH) return
    if (this.step === COMBINE) {
      this.sum = settled
      this.at += 1
      this.step = FETCH
      return
    }
    this.value = settled
    this.step += 1
  }

  /** An element failed. It is left out where the node allows that and trying the item again would not help; else thrown on. */
  private leaveOut(thrown: unknown): void {
    const { allowFailures, combine } = this.node
    if (!allowFailures || combine === undefined || this.step === COMBINE) throw thrown
    if (thrown instanceof InputLost || this.stopped) throw thrown
    const ctx = this.combine!.ctx
    if (!(thrown instanceof Failed)) {
      if (ctx.signal.aborted) throw thrown
      if (!this.isLast && this.mayRetry(thrown)) throw thrown
    }
    this.at += 1
    this.step = FETCH
  }

  private end(): unknown {
    if (this.sum !== NOTHING) return this.sum
    throw new Failed('ERR_MESH_NOTHING_LEFT', 'MeshError', 'all of its inputs failed')
  }

  /** Looks at the clock after many fast elements, or after each slow one. */
  private isTurnDue(): boolean {
    const now = performance.now()
    this.untilLook = now - this.lookedAt > SLOW_ITEM_MS ? 1 : ELEMENTS_PER_LOOK
    this.lookedAt = now
    if (now - this.yieldedAt < YIELD_MS) return false
    this.yieldedAt = now
    return true
  }
}

function setItem({ ctx }: Step, index: number, attempt: number): void {
  ctx.index = index
  ctx.attempt = attempt
}
