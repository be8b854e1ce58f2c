/**
 * Kernels on a GPU. gpu.js translates and compiles them; their arrays are ours: shared ones stay on the device by hash, slices are
 * written into a buffer per kernel, so that nothing is copied on the way and another slice compiles nothing.
 */

import { MeshError } from '../../base/errors.ts'
import { elementsOf } from '../../base/extents.ts'
import { MAX_KERNEL_BYTES, MAX_KERNELS } from '../limits.ts'
import type { Box } from '../rewrite.ts'
import { fillArray } from './array-file.ts'
import { DeviceArrays, DeviceBuffer } from './device-arrays.ts'
import { checkDeviceLimits } from './device-limits.ts'
import {
  type ArrayArgument,
  arrayArguments,
  ELEMENT_BYTES,
  type Engine,
  type LaunchPlan,
  notCompiled,
  notRun,
  outOfMemory,
  type Plan,
  type Prepared,
  sizeOfSlice,
  sliceOf,
} from './engine.ts'
import {
  arrayOfSize,
  type BufferHandle,
  bufferHandle,
  type DeviceContext,
  type GpuJs,
  type GpuKernelFunction,
  startGpuJs,
} from './gpujs.ts'
import { Kept } from './kept.ts'

export class WebgpuEngine implements Engine {
  readonly backend = 'webgpu'
  readonly deviceClass: string
  private readonly context: DeviceContext
  /** The device's memory is this machine's. */
  private readonly software: boolean
  private readonly gpu = startGpuJs('webgpu')
  private readonly arrays: DeviceArrays
  private readonly kernels = new Kept<DeviceKernel>(MAX_KERNEL_BYTES, MAX_KERNELS)

  constructor(context: DeviceContext, deviceClass: string, software: boolean) {
    this.context = context
    this.deviceClass = deviceClass
    this.software = software
    this.arrays = new DeviceArrays(context)
  }

  get residentBytes(): number {
    return this.software ? this.arrays.bytes + this.kernels.bytes : 0
  }

  forget(): void {
    this.kernels.clear()
    this.arrays.clear()
  }

  async prepare(launch: LaunchPlan): Promise<Prepared> {
    const { plan, boxes, files } = launch
    checkDeviceLimits(plan, boxes, this.context.device.limits)
    const shared = arrayArguments(plan).filter((arg) => !arg.perItem)
    const uploaded = await this.upload(plan, shared, files)
    let kernel = this.kernels.get(plan.key)
    const isWarm = kernel !== undefined && uploaded === 0
    if (kernel === undefined) {
      this.kernels.makeRoom(0, new Set())
      kernel = new DeviceKernel(this.context, this.gpu, plan, boxes[0]!)
      const compiling = kernel
      try {
        await this.guarded(plan, () => compiling.compile())
      } catch (error) {
        compiling.destroy()
        throw error
      }
      this.kernels.add(plan.key, kernel)
    }
    const ready = kernel
    const run = async (box: Box): Promise<Uint8Array> => {
      this.kernels.makeRoom(0, new Set([plan.key]))
      try {
        return await this.guarded(plan, () => ready.run(plan, box, this.arrays, files))
      } catch (error) {
        // Its buffers may be those that could not be made.
        this.kernels.drop(plan.key)
        throw error
      }
    }
    return { isWarm, run }
  }

  private async upload(
    plan: Plan,
    shared: readonly ArrayArgument[],
    files: Readonly<Record<string, string>>,
  ): Promise<number> {
    try {
      return await this.guarded(plan, async () => this.arrays.ensure(shared, files))
    } catch (error) {
      // Which of them hold what they should is not known.
      this.arrays.drop(shared)
      throw error
    }
  }

  /** Dawn tells of most errors only to those who listen; what was computed after one is zeros. */
  private async guarded<T>(plan: Plan, action: () => Promise<T>): Promise<T> {
    const { device } = this.context
    device.pushErrorScope('internal')
    device.pushErrorScope('validation')
    device.pushErrorScope('out-of-memory')
    let result: { value: T } | { error: unknown }
    try {
      result = { value: await action() }
    } catch (error) {
      result = { error }
    }
    const memory = await device.popErrorScope()
    const validation = await device.popErrorScope()
    const internal = await device.popErrorScope()
    if (memory !== null) throw outOfMemory(plan, memory)
    if ('error' in result) throw notRun(plan, result.error)
    const silent = validation ?? internal
    if (silent !== null) throw notRun(plan, new Error(silent.message))
    return result.value
  }
}

class DeviceKernel {
  private readonly context: DeviceContext
  private readonly plan: Plan
  private readonly compiled: GpuKernelFunction
  /** Buffers for the slices of perItem arrays, by argument. */
  private readonly slices = new Map<string, DeviceBuffer>()
  private outputBytes = 0

  constructor(context: DeviceContext, gpu: GpuJs, plan: Plan, first: Box) {
    this.context = context
    this.plan = plan
    try {
      this.compiled = gpu.createKernel(plan.source, {
        ...plan.settings,
        output: [...first.extent],
        dynamicOutput: true,
        dynamicArguments: true,
      })
    } catch (error) {
      throw notCompiled(plan, error)
    }
  }

  /** Its output is there twice: where it is computed, and where it is read. */
  get bytes(): number {
    let sum = 2 * this.outputBytes
    for (const { bytes } of this.slices.values()) sum += bytes
    return sum
  }

  async compile(): Promise<void> {
    const { kernel } = this.compiled
    try {
      await kernel.build(
        ...this.plan.args.map((arg) => (arg.kind === 'array' ? arrayOfSize(arg.size) : 0)),
      )
    } catch (error) {
      throw notCompiled(this.plan, error)
    }
    if (kernel.componentCount !== 1) throw notCompiled(this.plan, 'it must return one number')
    if (kernel.constructor.mode !== 'webgpu') {
      throw new MeshError('ERR_MESH_INTERNAL', 'gpu.js compiled no compute shader')
    }
  }

  async run(
    plan: Plan,
    box: Box,
    arrays: DeviceArrays,
    files: Readonly<Record<string, string>>,
  ): Promise<Uint8Array> {
    const args = plan.args.map((arg) => {
      if (arg.kind === 'number') return arg.value
      if (arg.kind === 'offset') return box.offset[arg.axis]!
      if (arg.perItem) return this.upload(arg, box, files[arg.hash])
      return bufferHandle(this.context, arrays.get(arg.hash).buffer, arg.size)
    })
    this.compiled.setOutput(box.extent)
    const bytes = elementsOf(box.extent) * ELEMENT_BYTES
    this.outputBytes = Math.max(this.outputBytes, bytes)
    return new Uint8Array(bufferOf(await this.compiled(...args), bytes))
  }

  destroy(): void {
    this.compiled.destroy()
    for (const slice of this.slices.values()) slice.destroy()
    this.slices.clear()
  }

  /** The box's slice of a perItem array, on the device. */
  private upload(arg: ArrayArgument, box: Box, path: string | undefined): BufferHandle {
    const { at, bytes } = sliceOf(arg, box)
    const slice = new Uint8Array(bytes)
    fillArray(arg.name, path, elementsOf(arg.size) * ELEMENT_BYTES, at, slice)
    const { device } = this.context
    let target = this.slices.get(arg.name)
    if (target === undefined || target.bytes < bytes) {
      target?.destroy()
      target = new DeviceBuffer(device, bytes)
      this.slices.set(arg.name, target)
    }
    device.queue.writeBuffer(target.buffer, 0, slice)
    return bufferHandle(this.context, target.buffer, sizeOfSlice(arg, box.extent.at(-1)!))
  }
}

/** gpu.js gives rows that are views of one buffer, in order: the buffer itself is the output. */
function bufferOf(rows: unknown, bytes: number): ArrayBuffer {
  let row = rows
  while (Array.isArray(row)) row = row[0]
  const buffer = row instanceof Float32Array ? row.buffer : undefined
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== bytes) {
    throw new MeshError('ERR_MESH_INTERNAL', 'gpu.js gave an output of another size')
  }
  return buffer
}
