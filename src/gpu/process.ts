/** The process that runs kernels, as a peer uses it: started when first needed, killed when a launch overruns, and there again for the next. */
import { isMeshError, MeshError } from '../base/errors.ts'
import { type Logger, silentLogger } from '../base/logger.ts'
import { encodeKernelSpec } from './kernel-codec.ts'
import { launchKernelProcess } from './launch.ts'
import {
  ABORT_GRACE_MS,
  BOOT_LIMIT_MS,
  BROKEN_MS,
  IDLE_MS,
  LAUNCH_LIMIT_MS,
  MAX_QUEUED_LAUNCHES,
  PREPARE_LIMIT_MS,
  RECYCLE_BYTES,
  START_ATTEMPTS,
} from './limits.ts'
import { lengthFault } from './output-length.ts'
import { GpuChild } from './process-child.ts'
import type { Backend, KernelProcess, KernelSpec, Launch, Launched } from './types.ts'
import type { DoneMessage, LaunchMessage } from './worker/messages.ts'

export interface KernelProcessOptions {
  readonly backend: Backend
  /** An adapter's name, a part of it, or `backend:name`; only for webgpu, whose fastest adapter is taken without it. */
  readonly device?: string | undefined
  readonly log?: Logger
  /** For tests: limits.ts has what holds otherwise. */
  readonly recycleBytes?: number
  readonly idleMs?: number
}

/** What a timer takes: longer ones fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

interface LaunchOptions {
  readonly timeLimitMs?: number
  readonly signal?: AbortSignal
}

interface Waiting {
  readonly id: number
  readonly launch: Launch
  readonly timeLimitMs: number
  readonly resolve: (launched: Launched) => void
  readonly reject: (error: unknown) => void
  /** The process has it. */
  sent: boolean
  /** Its promise is settled. */
  over: boolean
  /** Stops listening to its signal. */
  leave: () => void
}

/** Never throws and starts nothing until the first launch; `close` it, since its process keeps this one alive. */
export function createKernelProcess(options: KernelProcessOptions): KernelProcess {
  return new QueuedProcess(options)
}

class QueuedProcess implements KernelProcess {
  readonly backend: Backend
  private readonly options: KernelProcessOptions
  private readonly log: Logger
  private readonly queue: Waiting[] = []
  private readonly specs = new WeakMap<KernelSpec, Uint8Array>()
  private running: Waiting | undefined
  private child: GpuChild | undefined
  /** Processes that have not ended yet. */
  private readonly ending = new Set<Promise<void>>()
  /** In a row. */
  private failedStarts = 0
  private broken: { readonly error: MeshError; readonly untilMs: number } | undefined
  private idleTimer: NodeJS.Timeout | undefined
  private closed = false
  private lastId = 0

  constructor(options: KernelProcessOptions) {
    this.backend = options.backend
    this.options = options
    this.log = (options.log ?? silentLogger).child('gpu')
  }

  get pid(): number | undefined {
    return this.child?.alive === true ? this.child.pid : undefined
  }

  launch(launch: Launch, options: LaunchOptions = {}): Promise<Launched> {
    return new Promise((resolve, reject) => {
      const { signal, timeLimitMs = LAUNCH_LIMIT_MS } = options
      if (this.closed || signal?.aborted === true) throw stopped(signal?.reason)
      if (this.queue.length >= MAX_QUEUED_LAUNCHES) {
        throw new MeshError(
          'ERR_MESH_KERNEL_FAILED',
          `${MAX_QUEUED_LAUNCHES} launches wait for the GPU process already`,
        )
      }
      this.lastId++
      const onAbort = (): void => this.abort(waiting)
      const waiting: Waiting = {
        id: this.lastId,
        launch,
        timeLimitMs: Math.min(timeLimitMs, MAX_TIMER_MS),
        resolve,
        reject,
        sent: false,
        over: false,
        leave: () => signal?.removeEventListener('abort', onAbort),
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.queue.push(waiting)
      this.next()
    })
  }

  async close(): Promise<void> {
    this.closed = true
    clearTimeout(this.idleTimer)
    for (const waiting of this.queue.splice(0)) settle(waiting, stopped())
    if (this.running !== undefined) settle(this.running, stopped())
    this.end(stopped())
    await Promise.all(this.ending)
  }

  private next(): void {
    if (this.running !== undefined || this.closed) return
    const waiting = this.queue.shift()
    clearTimeout(this.idleTimer)
    if (waiting === undefined) {
      const { idleMs = IDLE_MS } = this.options
      this.idleTimer = setTimeout(() => this.end(stopped()), idleMs)
      this.idleTimer.unref()
      return
    }
    this.running = waiting
    void this.run(waiting).finally(() => {
      this.running = undefined
      this.next()
    })
  }

  /** Never rejects. */
  private async run(waiting: Waiting): Promise<void> {
    try {
      const from = performance.now()
      const isWarm = this.child?.isReady === true
      const { child, deviceClass } = await this.readyChild()
      if (waiting.over) return
      const startMs = isWarm ? 0 : performance.now() - from
      const done = await this.timed(child, waiting)
      const { elapsedMs, bytes } = done
      const fault = lengthFault(bytes, waiting.launch)
      if (fault !== undefined) {
        child.kill(fault)
        throw fault
      }
      const preparedMs = startMs + done.preparedMs
      const { backend } = this
      settle(waiting, undefined, { bytes, backend, deviceClass, preparedMs, elapsedMs })
      this.recycleIfFull(child)
    } catch (error) {
      settle(waiting, error)
    }
  }

  private async timed(child: GpuChild, waiting: Waiting): Promise<DoneMessage> {
    const { timeLimitMs } = waiting
    const over = (what: string, limitMs: number): NodeJS.Timeout =>
      setTimeout(() => {
        const { name } = waiting.launch.spec
        const text = `${what} the kernel ${name} took longer than ${limitMs / 1000} s and was killed`
        child.kill(new MeshError('ERR_MESH_TIME_LIMIT', text))
      }, limitMs)
    let timer = over('compiling', PREPARE_LIMIT_MS)
    waiting.sent = true
    let hasBegun = false
    try {
      return await child.launch(this.messageOf(waiting), () => {
        hasBegun = true
        clearTimeout(timer)
        timer = over('a launch of', timeLimitMs)
      })
    } catch (error) {
      throw hasBegun || !isMeshError(error) ? error : beforeStart(error)
    } finally {
      clearTimeout(timer)
    }
  }

  private messageOf({ id, launch }: Waiting): LaunchMessage {
    const { key, lo, hi, files } = launch
    let spec = this.specs.get(launch.spec)
    if (spec === undefined) {
      spec = encodeKernelSpec(launch.spec)
      this.specs.set(launch.spec, spec)
    }
    return { id, key, spec, lo, hi, files }
  }

  /** A process that dies before it has a launch costs none. @throws ERR_MESH_KERNEL_FAILED when none can be started */
  private async readyChild(): Promise<{ child: GpuChild; deviceClass: string }> {
    for (;;) {
      const child = this.ensureChild()
      try {
        const { deviceClass } = await child.ready
        this.failedStarts = 0
        return { child, deviceClass }
      } catch (error) {
        if (this.closed || isMeshError(error, 'ERR_MESH_STOPPED')) throw error
        if (this.broken !== undefined) throw this.broken.error
        if (!isMeshError(error, 'ERR_MESH_WORKER_DIED')) throw error
      }
    }
  }

  /** @throws ERR_MESH_KERNEL_FAILED when none could be started a moment ago */
  private ensureChild(): GpuChild {
    if (this.child?.alive === true) return this.child
    if (this.broken !== undefined) {
      if (performance.now() < this.broken.untilMs) throw this.broken.error
      this.broken = undefined
    }
    const { backend, device } = this.options
    const child = new GpuChild(launchKernelProcess({ backend, device }), this.log)
    this.child = child
    const slow = new MeshError(
      'ERR_MESH_WORKER_DIED',
      `the GPU process was not ready after ${BOOT_LIMIT_MS / 1000} s and was killed`,
    )
    const timer = setTimeout(() => child.kill(slow), BOOT_LIMIT_MS)
    const ended = child.ended.then(() => {
      this.ending.delete(ended)
    })
    this.ending.add(ended)
    child.ready.then(
      () => clearTimeout(timer),
      (error: MeshError) => {
        clearTimeout(timer)
        if (error.code === 'ERR_MESH_STOPPED') return
        this.log.warn('the GPU process did not start', { error: error.message })
        this.failedStarts++
        const isDead = error.code === 'ERR_MESH_WORKER_DIED'
        if (isDead && error !== slow && this.failedStarts < START_ATTEMPTS) return
        // Of a launch that never ran nobody should think that it kills processes.
        const told = isDead ? new MeshError('ERR_MESH_KERNEL_FAILED', error.message) : error
        this.broken = { error: beforeStart(told), untilMs: performance.now() + BROKEN_MS }
      },
    )
    return child
  }

  private abort(waiting: Waiting): void {
    const at = this.queue.indexOf(waiting)
    if (at >= 0) this.queue.splice(at, 1)
    settle(waiting, stopped())
    // A process that only starts is of use to the next.
    if (this.running !== waiting || !waiting.sent) return
    const { child } = this
    // Perhaps it ends by itself in a moment.
    setTimeout(() => {
      if (this.running === waiting) child?.kill(stopped())
    }, ABORT_GRACE_MS).unref()
  }

  private recycleIfFull({ grownBytes }: GpuChild): void {
    const { recycleBytes = RECYCLE_BYTES } = this.options
    if (grownBytes <= recycleBytes) return
    this.log.info('the GPU process is replaced: it holds too much memory', { grownBytes })
    this.end(stopped())
  }

  private end(reason: MeshError): void {
    this.child?.kill(reason)
    this.child = undefined
  }
}

/** What went wrong before anything was computed: no item of the launch is to blame. */
function beforeStart(error: MeshError): MeshError {
  const { code, message } = error
  return new MeshError(code, message, { cause: error, details: { notStarted: true } })
}

function settle(waiting: Waiting, error: unknown, launched?: Launched): void {
  if (waiting.over) return
  waiting.over = true
  waiting.leave()
  if (launched === undefined) waiting.reject(error)
  else waiting.resolve(launched)
}

function stopped(cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_STOPPED', 'the launch was stopped', { cause })
}
