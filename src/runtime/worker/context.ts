import { format } from 'node:util'
import { MeshError } from '../../base/errors.ts'
import { ITEM_PROGRESS_MS } from '../limits.ts'
import type { TaskContext, TaskGpu } from '../task.ts'
import type { Console } from './console.ts'
import { FRAME } from './frames.ts'
import type { GpuCalls } from './gpu-calls.ts'
import { report } from './reporter.ts'

/** The item that a worker runs: what the contexts of all its tasks share. */
export class RunningItem {
  /** Its number in the job. */
  number = -1
  /** On performance.now(); Infinity: no limit. */
  deadline = Number.POSITIVE_INFINITY
  /** The deadline is the soft limit's: nobody kills the worker for it. */
  isSoft = false
  /** The item passed its limit and its signal was aborted for that. */
  timedOut = false
  private controller: AbortController | undefined
  private progressAt = Number.NEGATIVE_INFINITY

  /** A task that never yields can still ask: the deadline is looked at here too. */
  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    if (performance.now() >= this.deadline) this.timeOut()
    return this.controller.signal
  }

  /** Aborts the signal at the item's limit. */
  timeOut(): void {
    if (this.timedOut) return
    this.timedOut = true
    this.abort(
      this.isSoft
        ? new MeshError('ERR_MESH_SOFT_TIME_LIMIT', 'the item passed its soft time limit')
        : new MeshError('ERR_MESH_TIME_LIMIT', 'the item passed its time limit'),
    )
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

  tellProgress(fraction: number): void {
    const now = performance.now()
    if (now - this.progressAt < ITEM_PROGRESS_MS && fraction < 1) return
    this.progressAt = now
    const bounded = Math.min(1, Math.max(0, Number(fraction) || 0))
    report(FRAME.itemProgress, { item: this.number, fraction: bounded })
  }
}

/** What the contexts of all tasks of a worker have in common. */
export interface Surroundings {
  readonly args: unknown
  readonly peer: { readonly id: string; readonly name: string }
  readonly console: Console
  readonly calls: GpuCalls
  readonly running: RunningItem
}

/** The `ctx` of one task of a worker: one object, its fields set before each item. */
export class WorkerContext implements TaskContext<unknown> {
  attempt = 1
  index = -1
  state: unknown = undefined
  readonly args: unknown
  readonly peer: { readonly id: string; readonly name: string }
  readonly gpu: TaskGpu
  readonly log: (...parts: unknown[]) => void
  readonly progress: (fraction: number) => void
  private readonly running: RunningItem

  constructor({ args, peer, console, calls, running }: Surroundings) {
    this.args = args
    this.peer = peer
    this.running = running
    this.gpu = Object.freeze({
      run: (...call: Parameters<TaskGpu['run']>) => calls.run(running.signal, ...call),
    })
    this.log = (...parts) => console.line('log', format(...parts))
    this.progress = (fraction) => running.tellProgress(fraction)
  }

  get signal(): AbortSignal {
    return this.running.signal
  }
}
