/** The peer's side of ctx.gpu.run(): takes the kernel calls of its workers, believes none of them, and has them computed. */

import { sha256Hex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import { itemsOf } from '../base/extents.ts'
import type { Logger } from '../base/logger.ts'
import { MAX_GPU_CALLS, MAX_GPU_HELD_ARRAYS, MAX_GPU_HELD_BYTES } from '../runtime/limits.ts'
import type { ServeWorker, WorkerCalls } from '../runtime/types.ts'
import { FRAME } from '../runtime/worker/frames.ts'
import {
  gpuFailure,
  gpuId,
  readGpuArray,
  readGpuCall,
  readGpuForget,
  readGpuId,
} from '../runtime/worker/gpu-frames.ts'
import { type CallArray, CallArrays } from './call-arrays.ts'
import { decodeKernelSpec } from './kernel-codec.ts'
import { CALL_TRIES } from './limits.ts'
import type { KernelSpec, Launch, Launched } from './types.ts'

export interface KernelCallsOptions {
  /** Computes one launch, wherever this peer computes. */
  readonly launch: (launch: Launch, options: { readonly signal: AbortSignal }) => Promise<Launched>
  /** Where the arrays of calls lie meanwhile: a folder of this peer alone, emptied at the start. */
  readonly folder: string
  readonly log: Logger
}

type Send = Parameters<ServeWorker>[0]

export class KernelCalls {
  readonly arrays: CallArrays
  private readonly options: KernelCallsOptions
  private readonly callers = new Set<WorkerCaller>()

  constructor(options: KernelCallsOptions) {
    this.options = options
    this.arrays = new CallArrays(options.folder)
  }

  readonly serve: ServeWorker = (send) => {
    const caller = new WorkerCaller(this.options, this.arrays, send, () => {
      this.callers.delete(caller)
    })
    this.callers.add(caller)
    return caller
  }

  /** Drops all calls, and removes their arrays. */
  async close(): Promise<void> {
    for (const caller of this.callers) caller.close()
    await this.arrays.close()
  }
}

interface Call {
  readonly id: number
  readonly spec: KernelSpec
  readonly key: string
  readonly arrays: readonly CallArray[]
  readonly stop: AbortController
}

/** One worker, as the one who calls. What it says is checked: a task's own code can write on its pipe. */
class WorkerCaller implements WorkerCalls {
  private readonly options: KernelCallsOptions
  private readonly arrays: CallArrays
  private readonly send: Send
  private readonly onClose: () => void
  private readonly calls = new Map<number, Call>()
  /** By hash. */
  private readonly held = new Map<string, CallArray>()
  private heldBytes = 0
  /** A worker has one slot: its calls run one after another. */
  private last: Promise<void> = Promise.resolve()
  private closed = false

  constructor(options: KernelCallsOptions, arrays: CallArrays, send: Send, onClose: () => void) {
    this.options = options
    this.arrays = arrays
    this.send = send
    this.onClose = onClose
  }

  onReport(type: number, payload: Buffer): Promise<void> | undefined {
    if (this.closed) return undefined
    switch (type) {
      case FRAME.gpuArray:
        return this.hold(payload)
      case FRAME.gpuForget:
        this.forget(readGpuForget(payload))
        return undefined
      case FRAME.gpuCall:
        this.call(payload)
        return undefined
      case FRAME.gpuCancel:
        this.cancel(readGpuId(payload))
        return undefined
      default:
        throw wrong(`a report of type ${type}`)
    }
  }

  /** It counts no more. */
  private cancel(id: number): void {
    this.calls.get(id)?.stop.abort()
    this.calls.delete(id)
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    for (const { stop } of this.calls.values()) stop.abort()
    for (const array of this.held.values()) this.arrays.release(array)
    this.held.clear()
    this.onClose()
  }

  private hold(payload: Buffer): Promise<void> | undefined {
    const { hash, bytes } = readGpuArray(payload)
    if (this.held.has(hash)) return undefined
    const full =
      this.heldBytes + bytes.length > MAX_GPU_HELD_BYTES || this.held.size >= MAX_GPU_HELD_ARRAYS
    if (full) throw wrong('more arrays than a peer keeps')
    const array = this.arrays.keep(hash, bytes)
    this.held.set(hash, array)
    this.heldBytes += array.sizeBytes
    // Until then its bytes are in memory. A full disk is told to the calls that need it.
    return array.path.then(ignore, (error: unknown) => {
      if (isMeshError(error, 'ERR_MESH_PROTOCOL')) throw error
    })
  }

  private forget(hash: string): void {
    const array = this.held.get(hash)
    if (array === undefined) throw wrong('an array that is not there is forgotten')
    this.held.delete(hash)
    this.heldBytes -= array.sizeBytes
    this.arrays.release(array)
  }

  private call(payload: Buffer): void {
    const { id, spec: bytes } = readGpuCall(payload)
    if (this.calls.has(id)) throw wrong('two calls of one id')
    if (this.calls.size >= MAX_GPU_CALLS) throw wrong('more calls than a peer takes')
    const spec = decodeKernelSpec(bytes)
    const arrays = this.arraysOf(spec)
    for (const array of arrays) array.users += 1
    const call: Call = { id, spec, key: sha256Hex(bytes), arrays, stop: new AbortController() }
    this.calls.set(id, call)
    this.last = this.last.then(() => this.answer(call))
  }

  private arraysOf(spec: KernelSpec): CallArray[] {
    const hashes = spec.args.flatMap((arg) => (arg.kind === 'array' ? [arg.hash] : []))
    return [...new Set(hashes)].map((hash) => {
      const array = this.held.get(hash)
      if (array === undefined) throw wrong('an array that was not sent')
      return array
    })
  }

  /** Never rejects. */
  private async answer(call: Call): Promise<void> {
    try {
      const launched = await this.compute(call)
      this.calls.delete(call.id)
      await this.send(FRAME.gpuResult, [gpuId(call.id), launched.bytes])
    } catch (error) {
      this.calls.delete(call.id)
      if (!call.stop.signal.aborted) await this.fail(call, error)
    } finally {
      for (const array of call.arrays) this.arrays.release(array)
    }
  }

  private async fail({ id, spec }: Call, error: unknown): Promise<void> {
    const known = isMeshError(error)
      ? error
      : new MeshError('ERR_MESH_INTERNAL', `the kernel "${spec.name}": ${String(error)}`)
    this.options.log.debug('a kernel call failed', { kernel: spec.name, error: known.message })
    const { code, message } = known
    await this.send(FRAME.gpuFailed, [gpuId(id), gpuFailure({ code, message })])
  }

  private async compute({ spec, key, arrays, stop }: Call): Promise<Launched> {
    const { signal } = stop
    const files: Record<string, string> = {}
    for (const { hash, path } of arrays) files[hash] = await path
    const launch: Launch = { spec, key, lo: 0, hi: itemsOf(spec.output), files }
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted()
      try {
        return await this.options.launch(launch, { signal })
      } catch (error) {
        // A neighbour's work may have ended the process, or the system.
        if (!isMeshError(error, 'ERR_MESH_WORKER_DIED') || tries >= CALL_TRIES) throw error
      }
    }
  }
}

function ignore(): void {}

function wrong(what: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `a worker's kernel call is wrong: ${what}`)
}
