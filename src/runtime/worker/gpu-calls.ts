/** ctx.gpu.run() in a worker: calls are checked and written down here, and computed where the peer says (src/gpu/kernel-calls.ts). */
import { MeshError } from '../../base/errors.ts'
import type { Kernel, KernelDefinition, KernelInput } from '../../gpu/define-kernel.ts'
import {
  MAX_GPU_ARRAY_BYTES,
  MAX_GPU_CALLS,
  MAX_GPU_HELD_ARRAYS,
  MAX_GPU_HELD_BYTES,
} from '../limits.ts'
import { describe, type KernelCallOptions } from '../task.ts'
import { FRAME } from './frames.ts'
import { gpuHash, gpuId, readGpuFailed, readGpuId, readGpuResult } from './gpu-frames.ts'

type Report = (type: number, parts: readonly Uint8Array[]) => void
type Result = Float32Array<ArrayBuffer>
// biome-ignore lint/suspicious/noExplicitAny: the constants of a kernel are its own affair
type AnyKernel = Kernel | KernelDefinition<any>

interface Call {
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
  /** Its promise is settled, and its signal no longer listened to. */
  over: boolean
  /** What it was given is on the peer: nothing of it may be forgotten. */
  arrays: readonly string[]
  leave: () => void
}

interface WrittenCall {
  readonly spec: Uint8Array
  readonly arrays: ReadonlyMap<string, Uint8Array>
}

const MiB = 2 ** 20
const OPTIONS = ['output', 'constants']

export class GpuCalls {
  private readonly report: Report
  /** On the peer, by id. */
  private readonly sent = new Map<number, Call>()
  private lastId = 0
  /** Arrays that the peer keeps for us, in the order of their last use: hash → bytes. */
  private readonly held = new Map<string, number>()
  private heldBytes = 0
  /** Each call is sent after the one before. */
  private turn: Promise<void> = Promise.resolve()
  private onRoom: () => void = () => {}
  /** What hears of an item's end before its time. */
  private readonly listeners = new WeakMap<AbortSignal, Set<() => void>>()

  constructor(report: Report) {
    this.report = report
  }

  run(
    signal: AbortSignal,
    kernel: AnyKernel,
    args?: readonly KernelInput[],
    options?: KernelCallOptions,
  ): Promise<Result> {
    // Where the task called it: the answer comes later, from nowhere.
    const caller: { stack?: string } = {}
    Error.captureStackTrace(caller, this.run)
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      const call: Call = {
        resolve,
        reject: (error) => reject(withStack(error, caller.stack)),
        over: false,
        arrays: [],
        leave: this.listen(signal, () => settle(call, () => reject(signal.reason))),
      }
      const sending = this.turn.then(() => this.send(call, kernel, args, options))
      this.turn = sending.catch((error: unknown) => settle(call, () => call.reject(error)))
    })
  }

  /** One listener for all calls of an item: Node warns of more than ten. Returns what ends it. */
  private listen(signal: AbortSignal, onAbort: () => void): () => void {
    let listeners = this.listeners.get(signal)
    if (listeners === undefined) {
      listeners = new Set()
      this.listeners.set(signal, listeners)
      signal.addEventListener('abort', tellAll(listeners), { once: true })
    }
    listeners.add(onAbort)
    return () => this.listeners.get(signal)?.delete(onAbort)
  }

  /** gpuResult or gpuFailed. */
  onAnswer(type: number, payload: Buffer): void {
    const id = readGpuId(payload)
    const call = this.sent.get(id)
    if (call === undefined) return
    this.forgetCall(id)
    if (type === FRAME.gpuFailed) this.letGo(call.arrays)
    settle(call, () => {
      if (type === FRAME.gpuResult) call.resolve(readGpuResult(payload))
      else call.reject(readGpuFailed(payload))
    })
  }

  private async send(
    call: Call,
    kernel: AnyKernel,
    args: readonly KernelInput[] | undefined,
    options: KernelCallOptions | undefined,
  ): Promise<void> {
    while (!call.over && this.sent.size >= MAX_GPU_CALLS) await this.room()
    if (call.over) return
    const { spec, arrays } = await write(kernel, args, options)
    while (!call.over && !this.makeRoom(arrays)) await this.room()
    if (call.over) return
    for (const [hash, bytes] of arrays) this.hold(hash, bytes)
    const id = this.nextId()
    call.arrays = [...arrays.keys()]
    const { leave } = call
    call.leave = () => {
      leave()
      // Settled, and not by an answer: nobody waits for it any more.
      if (!this.sent.has(id)) return
      this.forgetCall(id)
      this.report(FRAME.gpuCancel, [gpuId(id)])
    }
    this.sent.set(id, call)
    this.report(FRAME.gpuCall, [gpuId(id), spec])
  }

  private nextId(): number {
    this.lastId = (this.lastId + 1) >>> 0
    return this.lastId
  }

  /** Resolves when a call has ended. */
  private room(): Promise<void> {
    return new Promise((resolve) => {
      this.onRoom = resolve
    })
  }

  private forgetCall(id: number): void {
    this.sent.delete(id)
    this.onRoom()
  }

  /** Lets go of the arrays that were not used longest, until these fit; false while calls on their way need too many. */
  private makeRoom(arrays: WrittenCall['arrays']): boolean {
    const needed = new Set(arrays.keys())
    for (const call of this.sent.values()) for (const hash of call.arrays) needed.add(hash)
    let bytes = this.heldBytes
    let count = this.held.size
    for (const [hash, array] of arrays) {
      if (this.held.has(hash)) continue
      bytes += array.length
      count += 1
    }
    const goes: string[] = []
    for (const [hash, size] of this.held) {
      if (bytes <= MAX_GPU_HELD_BYTES && count <= MAX_GPU_HELD_ARRAYS) break
      if (needed.has(hash)) continue
      goes.push(hash)
      bytes -= size
      count -= 1
    }
    if (bytes > MAX_GPU_HELD_BYTES || count > MAX_GPU_HELD_ARRAYS) return false
    for (const hash of goes) this.drop(hash)
    return true
  }

  /** A call has failed, perhaps since the peer could not keep these: the next one that needs them sends them again. */
  private letGo(hashes: readonly string[]): void {
    const needed = new Set([...this.sent.values()].flatMap(({ arrays }) => arrays))
    for (const hash of hashes) if (this.held.has(hash) && !needed.has(hash)) this.drop(hash)
  }

  private drop(hash: string): void {
    this.heldBytes -= this.held.get(hash)!
    this.held.delete(hash)
    this.report(FRAME.gpuForget, [gpuHash(hash)])
  }

  private hold(hash: string, bytes: Uint8Array): void {
    if (this.held.delete(hash)) {
      this.held.set(hash, bytes.length)
      return
    }
    this.held.set(hash, bytes.length)
    this.heldBytes += bytes.length
    this.report(FRAME.gpuArray, [gpuHash(hash), bytes])
  }
}

function tellAll(listeners: ReadonlySet<() => void>): () => void {
  return () => {
    for (const listener of listeners) listener()
  }
}

function settle(call: Call, how: () => void): void {
  if (call.over) return
  call.over = true
  call.leave()
  how()
}

/** What knows kernels: with its parser it takes a worker longer to load than all the rest of it, and most tasks call none. */
export async function loadKernels() {
  const [define, spec, codec] = await Promise.all([
    import('../../gpu/define-kernel.ts'),
    import('../../gpu/kernel-spec.ts'),
    import('../../gpu/kernel-codec.ts'),
  ])
  return { ...define, ...spec, ...codec }
}

/** The kernel as it travels, and its arrays. @throws ERR_MESH_TASK_INVALID, ERR_MESH_KERNEL_INVALID, ERR_MESH_TOO_LARGE */
async function write(
  kernel: AnyKernel,
  args: readonly KernelInput[] | undefined,
  options: KernelCallOptions = {},
): Promise<WrittenCall> {
  const { defineKernel, isKernel, kernelSpec, encodeKernelSpec } = await loadKernels()
  const defined = isKernel(kernel) ? kernel : defineKernel(kernel)
  const made = withOptions(defined, options)
  if (args !== undefined && !Array.isArray(args)) {
    throw invalid(`args of the kernel "${made.name}" must be a list, not ${describe(args)}`)
  }
  const { spec, arrays } = kernelSpec(made, args)
  checkSizes(made, arrays)
  return { spec: encodeKernelSpec(spec), arrays }
}

function withOptions(kernel: Kernel, options: KernelCallOptions): Kernel {
  const of = `ctx.gpu.run() of the kernel "${kernel.name}"`
  if (typeof options !== 'object' || options === null) {
    throw invalid(`the options of ${of} must be { output, constants }, not ${describe(options)}`)
  }
  const unknown = Object.keys(options).find((key) => !OPTIONS.includes(key))
  if (unknown !== undefined)
    throw invalid(`${of} has the options output and constants, not "${unknown}"`)
  const { output = kernel.output, constants = {} } = options
  return {
    ...kernel,
    output: typeof output === 'number' ? [output] : output,
    constants: { ...kernel.constants, ...constants },
  }
}

function checkSizes({ name, output }: Kernel, arrays: WrittenCall['arrays']): void {
  const outputBytes = output.reduce((product, extent) => product * extent, 4)
  if (outputBytes > MAX_GPU_ARRAY_BYTES) {
    throw tooLarge(`the output of the kernel "${name}"`, outputBytes, MAX_GPU_ARRAY_BYTES)
  }
  let sum = 0
  for (const { length } of arrays.values()) {
    if (length > MAX_GPU_ARRAY_BYTES) {
      throw tooLarge(`an array of the kernel "${name}"`, length, MAX_GPU_ARRAY_BYTES)
    }
    sum += length
  }
  if (sum > MAX_GPU_HELD_BYTES) {
    throw tooLarge(`the arrays of the kernel "${name}" together`, sum, MAX_GPU_HELD_BYTES)
  }
}

function tooLarge(what: string, sizeBytes: number, limit: number): MeshError {
  return new MeshError(
    'ERR_MESH_TOO_LARGE',
    `${what}: ${(sizeBytes / MiB).toFixed(1)} MiB, and ctx.gpu.run() takes ${limit / MiB}: call it for parts, or submit the kernel as a job`,
    { details: { sizeBytes, limit } },
  )
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_MESH_TASK_INVALID', message)
}

/** The error, as if it had been thrown where the task called run(). */
function withStack(error: unknown, caller: string | undefined): unknown {
  if (!(error instanceof MeshError) || caller === undefined) return error
  const frames = caller.split('\n').filter((line) => /^\s+at /.test(line))
  error.stack = [`${error.name}: ${error.message}`, ...frames].join('\n')
  return error
}
