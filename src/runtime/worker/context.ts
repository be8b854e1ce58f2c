import { format } from 'node:util'
import { MeshError } from '../../base/errors.ts'
import { ITEM_PROGRESS_MS } from '../limits.ts'
import type { TaskContext, TaskGpu } from '../task.ts'
import type { Console } from './console.ts'
import { FRAME } from './frames.ts'
import type { GpuCalls } from './gpu-calls.ts'
import { report } from './reporter.ts'

/** The `ctx` of a worker: one object, its fields set before each item. */
export class WorkerContext implements TaskContext<unknown> {
  attempt = 1
  index = -1
  state: unknown = undefined
  readonly args: unknown
  readonly peer: { readonly id: string; readonly name: string }
  readonly gpu: TaskGpu
  /** Of the running item, on performance.now(); Infinity: no limit. */
  deadline = Number.POSITIVE_INFINITY
  /** The item passed its limit and its signal was aborted for that. */
  timedOut = false
  private controller: AbortController | undefined
  private progressAt = Number.NEGATIVE_INFINITY
  private readonly console: Console

  constructor(
    args: unknown,
    peer: { readonly id: string; readonly name: string },
    con: Console,
    calls: GpuCalls,
  ) {
    this.args = args
    this.peer = peer
    this.gpu = Object.freeze({
      run: (...call: Parameters<TaskGpu['run']>) => calls.run(this.signal, ...call),
    })
    this.console = con
  }

  /** A task that never yields can still ask: the deadline is looked at here too. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    if (performance.now() >= this.deadline) this.timeOut()
    return this.controller.signal
  }

  log = (...parts: unknown[]): void => {
    this.console.line('log', format(...parts))
  }

  progress = (fraction: number): void => {
    const now = performance.now()
    if (now - this.progressAt < ITEM_PROGRESS_MS && fraction < 1) return
    this.progressAt = now
    const bounded = Math.min(1, Math.max(0, Number(fraction) || 0))
    report(FRAME.itemProgress, { item: this.index, fraction: bounded })
  }

  /** Aborts the signal of the running item at its limit. */
  timeOut(): void {
    if (this.timedOut) return
    this.timedOut = true
    this.abort(new MeshError('ERR_MESH_TIME_LIMIT', 'the item passed its time limit'))
  }

  abort(reason: unknown): void {
    this.controller ??= new AbortController()
    this.controller.abort(reason)
  }

  /** Between two items: the next one gets a signal of its own, without the listeners of this one. */
  renew(): void {
    this.timedOut = false
    this.controller = undefined
  }
}
