/** Runs the chunks of kernel jobs, each as launches whose size follows what the device is seen to do. */

import { readFile } from 'node:fs/promises'
import { isMeshError, MeshError } from '../base/errors.ts'
import { elementsOf, itemsOf, rowOf } from '../base/extents.ts'
import type { Logger } from '../base/logger.ts'
import { encodeF32Segment, encodeSegment } from '../runtime/segment.ts'
import type { ChunkHooks, ChunkOutcome, RunningChunkHandle } from '../runtime/types.ts'
import { decodeKernelSpec } from './kernel-codec.ts'
import {
  ABORT_WAIT_MS,
  FIRST_LAUNCH_ELEMENTS,
  FIRST_TRIES,
  LAUNCH_GROWTH,
  LAUNCH_LIMIT_MS,
  LAUNCH_TARGET_MS,
  LAUNCH_TRIES,
  MAX_BARREN,
  MAX_KNOWN_KERNELS,
  MAX_LAUNCH_BYTES,
  MAX_LAUNCH_PLANES,
  MAX_LAUNCH_ROWS,
  RETRY_SHARE,
} from './limits.ts'
import { createKernelProcess } from './process.ts'
import type { KernelProcess, KernelSpec, Launch, Launched } from './types.ts'

export interface KernelChunk {
  /** The blob that holds the kernel's specification. */
  readonly bundle: { readonly hash: string; readonly path: string }
  readonly lo: number
  readonly hi: number
  /** No launch is begun after this long; Infinity: runs all. */
  readonly budgetMs: number
  /** Files on this machine that hold the arrays, by hash. */
  readonly files: Readonly<Record<string, string>>
  /** Milliseconds one item may take. */
  readonly timeLimitMs: number | undefined
  /** What the JOB says of the kernel. */
  readonly task: { readonly output: readonly number[]; readonly requiresGpu: boolean }
}

export interface KernelRunnerOptions {
  /** The device that kernels run on; undefined: the CPU, in one process for each chunk that runs at once. Asked when first needed. */
  readonly gpu: () => Promise<{ readonly device?: string | undefined } | undefined>
  readonly log: Logger
  /** For tests. */
  readonly createProcess?: typeof createKernelProcess
}

interface Known {
  readonly spec: KernelSpec
  /** Items of one launch at most. */
  readonly most: number
  /** Items per millisecond, of launches that had nothing to prepare; undefined before the first. */
  perMs: number | undefined
  /** Items of the largest launch so far. */
  largest: number
}

export class KernelRunner {
  private readonly options: KernelRunnerOptions
  private readonly create: typeof createKernelProcess
  private readonly known = new Map<string, Known>()
  private readonly free: KernelProcess[] = []
  private readonly all = new Set<KernelProcess>()
  private closed = false

  constructor(options: KernelRunnerOptions) {
    this.options = options
    this.create = options.createProcess ?? createKernelProcess
  }

  /** `done` rejects with ERR_MESH_KERNEL_* when the kernel cannot run here or anywhere, and with ERR_MESH_STOPPED. */
  run(chunk: KernelChunk, hooks: ChunkHooks): RunningChunkHandle {
    const stop = new AbortController()
    const over = { aborted: false }
    return {
      done: this.runChunk(chunk, hooks, over, stop.signal),
      abort: (graceMs = 0) => {
        over.aborted = true
        // A launch is short, and a process with its compiled kernels is worth keeping.
        setTimeout(() => stop.abort(), Math.max(graceMs, ABORT_WAIT_MS)).unref()
      },
    }
  }

  /**
   * One launch for a task that waits for it (ctx.gpu.run); what KernelProcess.launch throws, and ERR_MESH_NO_GPU for a kernel that requires
   * one on a peer without.
   */
  async launch(launch: Launch, options: { readonly signal: AbortSignal }): Promise<Launched> {
    const gpu = await this.options.gpu()
    if (gpu === undefined && launch.spec.requiresGpu) {
      throw new MeshError(
        'ERR_MESH_NO_GPU',
        `the kernel "${launch.spec.name}" requires a GPU, and this peer has none to compute on: submit it as a job of its own, which goes to peers that have one`,
      )
    }
    const process = this.borrow(gpu)
    try {
      return await process.launch(launch, options)
    } finally {
      if (gpu === undefined) this.free.push(process)
    }
  }

  async close(): Promise<void> {
    this.closed = true
    await Promise.all([...this.all].map((process) => process.close()))
  }

  private async runChunk(
    chunk: KernelChunk,
    hooks: ChunkHooks,
    over: { readonly aborted: boolean },
    signal: AbortSignal,
  ): Promise<ChunkOutcome> {
    const known = await this.knownOf(chunk)
    const gpu = await this.options.gpu()
    const process = this.borrow(gpu)
    const run = new ChunkLaunches(chunk, known, hooks, process, signal)
    try {
      while (run.reached < chunk.hi && !over.aborted) {
        if (run.elapsedMs >= chunk.budgetMs) return run.outcome('time')
        if (run.outputBytes >= MAX_LAUNCH_BYTES) return run.outcome('output')
        await run.next()
      }
      return run.outcome(over.aborted ? 'aborted' : 'range')
    } catch (error) {
      if (over.aborted && isMeshError(error, 'ERR_MESH_STOPPED')) return run.outcome('aborted')
      throw error
    } finally {
      if (gpu === undefined) this.free.push(process)
    }
  }

  private async knownOf({ bundle, lo, hi, task }: KernelChunk): Promise<Known> {
    let known = this.known.get(bundle.hash)
    if (known === undefined) {
      const spec = readSpec(await readFile(bundle.path))
      known = { spec, most: mostItems(spec), perMs: undefined, largest: 0 }
    }
    // What was used last goes last.
    this.known.delete(bundle.hash)
    this.known.set(bundle.hash, known)
    for (const oldest of this.known.keys()) {
      if (this.known.size <= MAX_KNOWN_KERNELS) break
      this.known.delete(oldest)
    }
    const { output, requiresGpu } = known.spec
    const items = itemsOf(output)
    const agrees = task.output.join() === output.join() && task.requiresGpu === requiresGpu
    if (hi <= items && agrees) return known
    throw new MeshError(
      'ERR_MESH_KERNEL_INVALID',
      `the job has items ${lo}..${hi} of an output ${task.output.join(' x ')}, but that of its kernel "${known.spec.name}" is ${output.join(' x ')}: ${items} items`,
    )
  }

  private borrow(gpu: { readonly device?: string | undefined } | undefined): KernelProcess {
    const { log } = this.options
    const [shared] = this.all
    if (gpu !== undefined && shared !== undefined) return shared
    const free = this.free.pop()
    if (free !== undefined) return free
    if (this.closed) throw new MeshError('ERR_MESH_STOPPED', 'the peer is stopping')
    const made = this.create({
      backend: gpu === undefined ? 'webasm' : 'webgpu',
      device: gpu?.device,
      log,
    })
    this.all.add(made)
    return made
  }
}

/** Items of one launch: what any WebGPU device counts along y and z, and what a launch may move. */
function mostItems({ output, args }: KernelSpec): number {
  let bytes = 4 * rowOf(output)
  for (const arg of args) {
    if (arg.kind !== 'array' || !arg.perItem) continue
    // Its outermost axis is the output's; in 3-D an item is one of the rows of a plane.
    bytes +=
      (4 * elementsOf(arg.size.slice(0, -1))) / (output[2] === undefined ? 1 : (output[1] ?? 1))
  }
  const [, y, z] = output
  const counted =
    y === undefined ? Infinity : z === undefined ? MAX_LAUNCH_ROWS : MAX_LAUNCH_PLANES * y
  return Math.max(1, Math.min(counted, Math.floor(MAX_LAUNCH_BYTES / bytes)))
}

/** Failures that one item may cause; the same codes tell of a machine that cannot compute at all. */
const NARROWED: ReadonlySet<string> = new Set([
  'ERR_MESH_WORKER_DIED',
  'ERR_MESH_TIME_LIMIT',
  'ERR_MESH_KERNEL_FAILED',
])

function cannotRun({ name }: KernelSpec, cause: MeshError): MeshError {
  return new MeshError(
    'ERR_MESH_KERNEL_FAILED',
    `no launch of the kernel "${name}" succeeds here: ${cause.message}`,
    { cause },
  )
}

/** What cannot be read will not get better on another peer. */
function readSpec(bytes: Uint8Array): KernelSpec {
  try {
    return decodeKernelSpec(bytes)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new MeshError('ERR_MESH_KERNEL_INVALID', `the kernel cannot be read: ${why}`, { cause })
  }
}

/** One chunk on its way. */
class ChunkLaunches {
  reached: number
  elapsedMs = 0
  outputBytes = 0
  private failed = 0
  /** Launches in a row that failed, and items in a row that were given up. */
  private tries = 0
  private barren = 0
  /** How far launches are narrowed down: RETRY_SHARE to this power. */
  private narrow = 0
  private readonly chunk: KernelChunk
  private readonly known: Known
  private readonly hooks: ChunkHooks
  private readonly process: KernelProcess
  private readonly signal: AbortSignal

  constructor(
    chunk: KernelChunk,
    known: Known,
    hooks: ChunkHooks,
    process: KernelProcess,
    signal: AbortSignal,
  ) {
    this.chunk = chunk
    this.known = known
    this.hooks = hooks
    this.process = process
    this.signal = signal
    this.reached = chunk.lo
  }

  outcome(ended: ChunkOutcome['ended']): ChunkOutcome {
    return { reached: this.reached, failed: this.failed, elapsedMs: this.elapsedMs, ended }
  }

  /** The next launch. One that ends its process, or reads where it must not, is narrowed down until the item to blame fails alone. */
  async next(): Promise<void> {
    const lo = this.reached
    const count = this.count()
    const startedAt = performance.now()
    try {
      const launched = await this.launch(lo, lo + count)
      this.tries = this.barren = 0
      this.narrow = Math.max(0, this.narrow - 1)
      this.learn(count, launched, performance.now() - startedAt)
      this.emit(lo + count, 0, encodeF32Segment(count, launched.bytes, launched.deviceClass))
    } catch (error) {
      if (!isMeshError(error) || !NARROWED.has(error.code)) throw error
      this.tries += 1
      this.narrow += 1
      // Nothing of it ever ran here, or nothing does any more: it is not these items.
      const never = this.known.largest === 0 && this.tries >= FIRST_TRIES
      if (never || this.barren >= MAX_BARREN) throw cannotRun(this.known.spec, error)
      if (count > 1 || this.tries < LAUNCH_TRIES) return
      // No process, or no room for the kernel itself.
      if (error.details.notStarted === true) throw cannotRun(this.known.spec, error)
      this.tries = 0
      this.barren += 1
      this.failItems(count, error)
    }
  }

  private launch(lo: number, hi: number): Promise<Launched> {
    const { bundle, files, timeLimitMs } = this.chunk
    const limit =
      timeLimitMs === undefined
        ? {}
        : { timeLimitMs: Math.min(LAUNCH_LIMIT_MS, timeLimitMs * (hi - lo)) }
    return this.process.launch(
      { spec: this.known.spec, key: bundle.hash, lo, hi, files },
      { signal: this.signal, ...limit },
    )
  }

  /** As many items as fit into the time that is left, by what was seen; few before anything was. */
  private count(): number {
    const { spec, most, perMs, largest } = this.known
    const { hi, budgetMs } = this.chunk
    const row = rowOf(spec.output)
    const leftMs = Math.min(LAUNCH_TARGET_MS, budgetMs - this.elapsedMs)
    const wanted =
      perMs === undefined
        ? Math.ceil(FIRST_LAUNCH_ELEMENTS / row)
        : Math.min(Math.floor(perMs * leftMs), largest * LAUNCH_GROWTH)
    const usual = Math.min(hi - this.reached, most, Math.max(1, wanted))
    return Math.max(1, Math.floor(usual * RETRY_SHARE ** this.narrow))
  }

  private learn(count: number, { elapsedMs, preparedMs }: Launched, wallMs: number): void {
    const { known } = this
    // Chunks that run at once share a device: each counts its wait for the others, but not for a compilation.
    this.elapsedMs +=
      known.perMs === undefined ? elapsedMs : Math.max(elapsedMs, wallMs - preparedMs)
    const perMs = count / Math.max(0.01, elapsedMs)
    known.perMs = known.perMs === undefined ? perMs : (known.perMs + perMs) / 2
    known.largest = Math.max(known.largest, count)
  }

  private emit(hi: number, failed: number, bytes: Uint8Array): void {
    const lo = this.reached
    this.reached = hi
    this.failed += failed
    this.outputBytes += bytes.byteLength
    this.hooks.onOutput({ lo, hi, failed, bytes })
    this.hooks.onProgress(hi)
  }

  private failItems(count: number, { code, name, message }: MeshError): void {
    const failures = Array.from({ length: count }, (_, index) => ({
      index,
      code,
      name,
      message,
      attempts: LAUNCH_TRIES,
    }))
    this.emit(this.reached + count, count, encodeSegment(new Array(count).fill(null), failures))
  }
}
