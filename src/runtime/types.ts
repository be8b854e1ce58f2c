/** The contract between a peer and the processes that run its chunks. */

import type { StandardSchema } from './task.ts'

/** As the job log has it (src/scheduler/types.ts). */
export interface Backoff {
  readonly delayMs: number
  readonly factorPercent: number
  readonly maxMs: number
  readonly jitterPercent: number
}

export interface ItemError {
  /** Item number within the job. */
  readonly index: number
  /**
   * ERR_MESH_ITEM_THREW, ERR_MESH_TIME_LIMIT, ERR_MESH_SOFT_TIME_LIMIT, ERR_MESH_MEMORY_LIMIT, ERR_MESH_WORKER_DIED,
   * ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE, ERR_MESH_NOTHING_LEFT, or that of the input that failed.
   */
  readonly code: string
  readonly name: string
  readonly message: string
  /** As the worker saw it: positions in the bundle. The submitter maps it with the source map, which never travels. */
  readonly stack?: string
  readonly attempts: number
}

/** Where the worker finds the items of a chunk. Item `i` of a range has the value `start + i`. */
export type ChunkInput =
  | { readonly kind: 'range'; readonly start: number }
  /** Files on this machine, each a segment (src/runtime/segment.ts) of `count` items from item `first` on. */
  /** All items of the job in one segment, as hex. */
  | { readonly kind: 'inline'; readonly segment: string }
  | {
      readonly kind: 'pieces'
      readonly pieces: readonly {
        readonly path: string
        readonly first: number
        readonly count: number
      }[]
    }
  /** Of a composition: elements out of other items' results, by the number that they have in the node. */
  | { readonly kind: 'parts'; readonly parts: readonly ElementPart[] }

/** Elements first..first+count-1: those after the first `skip` of encoded segments, in a file on this machine or here. What failed there is a failed input here. */
export interface ElementPart {
  readonly first: number
  readonly count: number
  readonly skip: number
  readonly path?: string
  readonly bytes?: Uint8Array
}

/** A task of a composition, and what is bound to it (src/scheduler/plan.ts, Step). */
export interface ChunkStep {
  readonly bundle: { readonly hash: string; readonly path: string }
  /** Of the tasks that the bundle defines, the one with this name; absent: its default export. */
  readonly pick?: string
  readonly bound?: Uint8Array
  readonly immutable?: boolean
}

/** What the items of a composition's node are computed by, in the place of the one task of `bundle`. */
export interface ChunkNode {
  /** The node's first item: item i of the job is its item i - lo. The input's elements are numbered from there too. */
  readonly lo: number
  /** Nodes of one family (a composition's tasks) share workers, which load the tasks of each as they come. */
  readonly family?: string
  readonly steps: readonly ChunkStep[]
  /** An item is elements i × grain and up of `total`, each through `steps`, then combined from left to right. */
  readonly combine?: { readonly step: ChunkStep; readonly grain: number; readonly total: number }
  /** Failed elements of a `combine` are left out. */
  readonly allowFailures: boolean
}

export interface ChunkRequest {
  readonly job: string
  readonly bundle: { readonly hash: string; readonly path: string }
  readonly lo: number
  readonly hi: number
  /** The worker stops between items after this long; Infinity: runs all (a fixed chunk size). */
  readonly budgetMs: number
  readonly input: ChunkInput
  /** msgpack of the job's args, or undefined. */
  readonly args: Uint8Array | undefined
  readonly retries: number
  /** Waits between tries; absent: at once. Long ones end the chunk (ChunkOutcome.retry). */
  readonly backoff?: Backoff | undefined
  /** Which try of item `lo` this is, from 1; default 1. */
  readonly attempt?: number
  /** Of a composition; `bundle` is then that of its first step, or of `combine`. */
  readonly node?: ChunkNode | undefined
  /** Aborts the item's signal; timeLimitMs kills. */
  readonly softTimeLimitMs?: number | undefined
  readonly timeLimitMs: number | undefined
  readonly memoryBytes: number | undefined
  readonly maxItemsPerWorker: number | undefined
  readonly peer: { readonly id: string; readonly name: string }
}

export interface ChunkHooks {
  /** Encoded segments, in item order, gapless from lo: items [lo, hi) with `failed` failures among them. */
  onOutput(segment: {
    readonly lo: number
    readonly hi: number
    readonly failed: number
    readonly bytes: Uint8Array
  }): void
  /** Items up to `reached` (exclusive) are finished; at most every 5 ms. */
  onProgress(reached: number): void
  onLog(line: {
    readonly stream: 'stdout' | 'stderr' | 'log'
    readonly text: string
    readonly item?: number
  }): void
  /** ctx.progress(fraction) of the item that runs. */
  onItemProgress?(item: number, fraction: number): void
}

export interface ChunkOutcome {
  /** Items lo..reached-1 are finished and all their output was handed to onOutput. */
  readonly reached: number
  readonly failed: number
  readonly elapsedMs: number
  readonly ended: 'range' | 'time' | 'output' | 'aborted' | 'retry'
  /** Item `reached` threw and waits for its next try: the chunk ended before it. */
  readonly retry?: { readonly delayMs: number; readonly attempt: number }
}

export interface RunningChunkHandle {
  /**
   * Resolves always, except with ERR_MESH_TASK_* when the bundle cannot be loaded (its top level or setup() throws: then every
   * item of the chunk is finished as failed instead) or ERR_MESH_STOPPED. A worker's death is handled inside: the item to blame
   * is tried again or becomes a failure in the output, its neighbours run on in a new worker.
   */
  readonly done: Promise<ChunkOutcome>
  /** Stop as soon as possible: SIGKILL if the item does not end within `graceMs` (default 0). done resolves with 'aborted'. */
  abort(graceMs?: number): void
}

/** Serves what the tasks of one worker process ask of its peer: kernel calls (worker/gpu-frames.ts). */
export interface WorkerCalls {
  /**
   * A report of the types gpuArray to gpuCancel. Until a promise that it returns is settled, nothing more is read from the worker.
   * @throws (or rejects with) ERR_MESH_PROTOCOL: the worker is killed
   */
  onReport(type: number, payload: Buffer): Promise<void> | undefined
  /** The worker has ended: what it asked for is dropped. */
  close(): void
}
/** Called for each worker process. `send` resolves when the worker has taken the command, or is gone. */
export type ServeWorker = (
  send: (type: number, parts: readonly Uint8Array[]) => Promise<void>,
) => WorkerCalls

export interface RuntimeStats {
  readonly slots: number
  readonly busy: number
  readonly workers: number
  readonly started: number
  readonly recycled: number
  readonly died: number
}

export interface Runtime {
  readonly slots: number
  /** At most `slots` at a time; the caller keeps to it. */
  run(request: ChunkRequest, hooks: ChunkHooks): RunningChunkHandle
  /** Start a worker for this bundle ahead of its first chunk. */
  warm?(
    request: Pick<ChunkRequest, 'bundle' | 'job' | 'memoryBytes' | 'args' | 'peer' | 'node'>,
  ): void
  stats(): RuntimeStats
  close(): Promise<void>
}

/** A task made ready to travel (bundle.ts). */
export interface TaskBundle {
  /** The task's name. */
  readonly name: string
  /** The module, as peers get it. */
  readonly code: Uint8Array
  /** SHA-256 of `code`, hex. */
  readonly hash: string
  /** Its source map (JSON), for mapStack: stays with the submitter. '' when the code is the user's own text. */
  readonly map: string
  readonly hasSchema: boolean
  /** The task's input schema, if it has one. Of a task file it lives in another process: createItemChecker is the fast way to use it. */
  readonly inputSchema?: StandardSchema
}
