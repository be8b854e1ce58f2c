/** The worker processes of one peer: who runs what, who is kept warm, who is replaced. */
import { sha256Hex } from '../base/bytes.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { ChunkRun, type Workers } from './chunk-run.ts'
import { guardInspector } from './launch.ts'
import {
  BROKEN_BUNDLE_MS,
  DEFAULT_MEMORY_BYTES,
  IDLE_MS,
  idleLimit,
  LOAD_TIMEOUT_MS,
  MAX_BROKEN_BUNDLES,
  MAX_TASKS_PER_WORKER,
  NODE_OVERHEAD_BYTES,
  RECYCLE_AT,
} from './limits.ts'
import type {
  ChunkHooks,
  ChunkRequest,
  RunningChunkHandle,
  Runtime,
  RuntimeStats,
  ServeWorker,
} from './types.ts'
import { type ErrorFrame, type TaskRef, taskKey } from './worker/frames.ts'
import { WorkerProcess } from './worker-process.ts'

export interface RuntimeOptions {
  /** Chunks that may run at a time. */
  readonly slots: number
  readonly logger?: Logger
  /** An idle worker ends after this many ms. */
  readonly idleMs?: number
  readonly loadTimeoutMs?: number
  /** Workers run below normal priority, so that the peer itself and the machine's user go first; default true. */
  readonly nice?: boolean
  /** Serves the kernel calls of tasks (ctx.gpu.run). */
  readonly serveGpu?: ServeWorker
}

/** Replacing a worker that grew must cost little of its life: it lives at least so many times what its start took. */
const LIFE_PER_STARTUP = 10

type WarmRequest = Pick<ChunkRequest, 'bundle' | 'job' | 'memoryBytes' | 'args' | 'peer' | 'node'>

interface Idle {
  readonly key: string
  readonly worker: WorkerProcess
  readonly timer: NodeJS.Timeout
}

/** Starts nothing yet: worker processes come with the first chunk. */
export function createRuntime(options: RuntimeOptions): Runtime {
  guardInspector()
  return new WorkerPool(options)
}

class WorkerPool implements Runtime, Workers {
  readonly slots: number
  private readonly options: RuntimeOptions
  private readonly log: Logger
  /** Least recently used first. */
  private idle: Idle[] = []
  private readonly workers = new Set<WorkerProcess>()
  private readonly running = new Set<ChunkRun>()
  private readonly brokenBundles = new Map<string, { error: ErrorFrame; until: number }>()
  private started = 0
  private recycled = 0
  private died = 0
  private closed = false

  constructor(options: RuntimeOptions) {
    this.options = options
    this.slots = options.slots
    this.log = options.logger ?? silentLogger
  }

  run(request: ChunkRequest, hooks: ChunkHooks): RunningChunkHandle {
    const chunk = new ChunkRun(this, request, hooks)
    if (this.closed) {
      chunk.stop()
      return chunk
    }
    this.running.add(chunk)
    const end = (): void => {
      this.running.delete(chunk)
    }
    chunk.done.then(end, end)
    chunk.start()
    return chunk
  }

  warm(request: WarmRequest): void {
    if (!this.closed) this.prestart(request)
  }

  stats(): RuntimeStats {
    return {
      slots: this.slots,
      busy: this.running.size,
      workers: this.workers.size,
      started: this.started,
      recycled: this.recycled,
      died: this.died,
    }
  }

  async close(): Promise<void> {
    this.closed = true
    for (const chunk of this.running) chunk.stop()
    for (const { timer } of this.idle) clearTimeout(timer)
    this.idle = []
    const workers = [...this.workers]
    for (const worker of workers) worker.kill('retired')
    await Promise.all(workers.map((worker) => worker.ended))
  }

  // ------------------------------------------------------------ for a chunk

  acquire(request: WarmRequest): WorkerProcess {
    const key = keyOf(request)
    const tasks = tasksOf(request)
    const has = ({ tasks: loaded }: WorkerProcess): boolean =>
      tasks.every((task) => loaded.has(taskKey(task)))
    // One that loads was given what it loads for another chunk, and is only good for one of the same tasks.
    const fits = this.takeIdle(
      key,
      (worker) => has(worker) && (!worker.isLoading || worker.tasks.size === tasks.length),
    )
    if (fits !== undefined) return fits
    const room = MAX_TASKS_PER_WORKER - tasks.length
    const other = this.takeIdle(key, ({ isLoading, tasks: { size } }) => !isLoading && size <= room)
    if (other === undefined) return this.spawn(request)
    other.load({ tasks: tasks.filter((task) => !other.tasks.has(taskKey(task))) })
    return other
  }

  /** The most recently used one that is fit. */
  private takeIdle(
    key: string,
    isFit: (worker: WorkerProcess) => boolean,
  ): WorkerProcess | undefined {
    for (let i = this.idle.length - 1; i >= 0; i--) {
      const { key: itsKey, worker, timer } = this.idle[i]!
      if (itsKey !== key || (!worker.exited && !isFit(worker))) continue
      clearTimeout(timer)
      this.idle.splice(i, 1)
      if (!worker.exited) return worker
    }
    return undefined
  }

  release(worker: WorkerProcess, request: ChunkRequest): void {
    if (worker.exited || this.closed) return
    if (this.allowance(worker, request) <= 0 || this.outgrown(worker)) {
      this.recycled += 1
      this.retire(worker)
      return
    }
    this.keep(keyOf(request), worker)
  }

  discard(worker: WorkerProcess): void {
    worker.kill('retired')
  }

  allowance(worker: WorkerProcess, request: ChunkRequest): number {
    return (request.maxItemsPerWorker ?? Number.POSITIVE_INFINITY) - worker.served
  }

  prestart(request: WarmRequest): void {
    const key = keyOf(request)
    if (this.idle.some((entry) => entry.key === key)) return
    this.keep(key, this.spawn(request))
  }

  broken(request: WarmRequest): ErrorFrame | undefined {
    const key = brokenKeyOf(request)
    const known = this.brokenBundles.get(key)
    if (known === undefined) return undefined
    if (performance.now() < known.until) return known.error
    this.brokenBundles.delete(key)
    return undefined
  }

  setBroken(request: WarmRequest, error: ErrorFrame): void {
    if (this.brokenBundles.size >= MAX_BROKEN_BUNDLES) {
      this.brokenBundles.delete(this.brokenBundles.keys().next().value!)
    }
    this.brokenBundles.set(brokenKeyOf(request), {
      error,
      until: performance.now() + BROKEN_BUNDLE_MS,
    })
  }

  // ------------------------------------------------------------ workers

  private spawn(request: WarmRequest): WorkerProcess {
    const worker = new WorkerProcess({
      memoryBytes: request.memoryBytes ?? DEFAULT_MEMORY_BYTES,
      loadTimeoutMs: this.options.loadTimeoutMs ?? LOAD_TIMEOUT_MS,
      ...(this.options.nice === undefined ? {} : { nice: this.options.nice }),
      log: this.log,
      serveGpu: this.options.serveGpu,
    })
    this.workers.add(worker)
    this.started += 1
    void worker.ended.then(() => {
      this.workers.delete(worker)
      this.forget(worker)
      if (!worker.wasRetired) this.died += 1
    })
    worker.init({
      tasks: tasksOf(request),
      args: request.args,
      peer: request.peer,
      checkOnly: false,
    })
    return worker
  }

  private keep(key: string, worker: WorkerProcess): void {
    const timer = setTimeout(() => {
      this.forget(worker)
      this.retire(worker)
    }, this.options.idleMs ?? IDLE_MS)
    timer.unref()
    this.idle.push({ key, worker, timer })
    if (this.idle.length > idleLimit(this.slots)) {
      const oldest = this.idle.shift()!
      clearTimeout(oldest.timer)
      this.retire(oldest.worker)
    }
  }

  private forget(worker: WorkerProcess): void {
    const at = this.idle.findIndex((entry) => entry.worker === worker)
    if (at === -1) return
    clearTimeout(this.idle[at]!.timer)
    this.idle.splice(at, 1)
  }

  private retire(worker: WorkerProcess): void {
    worker.kill('retired')
  }

  private outgrown(worker: WorkerProcess): boolean {
    if (worker.rssBytes < RECYCLE_AT * (worker.memoryBytes + NODE_OVERHEAD_BYTES)) return false
    return performance.now() - worker.startedAt >= LIFE_PER_STARTUP * worker.startupMs
  }
}

/** The tasks that a chunk needs, each once. */
function tasksOf({ bundle, node }: WarmRequest): TaskRef[] {
  if (node === undefined) return [{ bundle }]
  const refs = new Map<string, TaskRef>()
  for (const step of [...node.steps, ...(node.combine === undefined ? [] : [node.combine.step])]) {
    const { bundle: its, pick } = step
    refs.set(taskKey(step), pick === undefined ? { bundle: its } : { bundle: its, pick })
  }
  return [...refs.values()]
}

/**
 * One worker serves one set of tasks, or one family; setup() sees the args, and the cap is the process's, so they are part of the key.
 */
function keyOf(request: WarmRequest): string {
  const family = request.node?.family
  return family === undefined ? brokenKeyOf(request) : `family ${family} ${capAndArgs(request)}`
}

function brokenKeyOf(request: WarmRequest): string {
  const tasks = tasksOf(request).map(taskKey).sort()
  return `${tasks.join(',')} ${capAndArgs(request)}`
}

function capAndArgs({ args, memoryBytes }: WarmRequest): string {
  return `${memoryBytes ?? ''} ${args === undefined ? '' : sha256Hex(args)}`
}
