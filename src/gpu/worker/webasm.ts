/**
 * Kernels on the CPU, as WebAssembly. gpu.js compiles a module for one size of output and one of each array, and copies every argument at
 * every call. Here its module is compiled once, for as many items as fit in ROOM_BYTES, and driven directly: shared arrays are read once
 * into the module's memory and stay there, and a launch computes the first cells of the room (an output's outermost extent
 * bounds nothing in the module), so that another slice compiles nothing.
 */

import { MeshError } from '../../base/errors.ts'
import { elementsOf } from '../../base/extents.ts'
import { MAX_KERNEL_BYTES, MAX_KERNELS, MAX_RESIDENT_BYTES, ROOM_BYTES } from '../limits.ts'
import type { Box } from '../rewrite.ts'
import { fillArray } from './array-file.ts'
import {
  type ArrayArgument,
  ELEMENT_BYTES,
  type Engine,
  type LaunchPlan,
  notCompiled,
  notRun,
  type Plan,
  type Prepared,
  sizeOfSlice,
  sliceOf,
} from './engine.ts'
import {
  arrayOfSize,
  type GpuJs,
  type GpuKernelFunction,
  startGpuJs,
  type WasmModuleEntry,
} from './gpujs.ts'
import { Kept } from './kept.ts'

export class WebasmEngine implements Engine {
  readonly backend = 'webasm'
  /** Sums and products are f32 by the book on every CPU; sin and its like are V8's own, which has changed them between versions. */
  readonly deviceClass = `webasm v8-${process.versions.v8.split('.').slice(0, 2).join('.')}`
  private readonly gpu = startGpuJs('webasm')
  private readonly kernels = new Kept<WasmKernel>(MAX_RESIDENT_BYTES, MAX_KERNELS)

  get residentBytes(): number {
    return this.kernels.bytes
  }

  forget(): void {
    this.kernels.clear()
  }

  async prepare(launch: LaunchPlan): Promise<Prepared> {
    const { plan, boxes, files } = launch
    const needed = Math.max(...boxes.map((box) => box.extent.at(-1)!))
    let kernel = this.kernels.get(plan.key)
    const isCompiled = kernel !== undefined && kernel.room >= needed
    if (kernel === undefined || !isCompiled) {
      this.kernels.drop(plan.key)
      const room = roomFor(plan, needed)
      this.kernels.makeRoom(bytesFor(plan, room), new Set())
      kernel = new WasmKernel(this.gpu, plan, room)
      this.kernels.add(plan.key, kernel)
    }
    const ready = kernel
    const uploaded = ready.load(plan, files)
    const isWarm = isCompiled && uploaded === 0
    return { isWarm, run: async (box) => ready.run(plan, box, files) }
  }
}

/** Steps along the outermost axis that a kernel gets room for. @throws ERR_MESH_KERNEL_INVALID */
function roomFor(plan: Plan, needed: number): number {
  const perStep = bytesFor(plan, 1) - bytesFor(plan, 0)
  const room = Math.min(plan.output.at(-1)!, Math.max(needed, Math.floor(ROOM_BYTES / perStep)))
  const bytes = bytesFor(plan, room)
  if (bytes > MAX_KERNEL_BYTES) {
    throw new MeshError(
      'ERR_MESH_KERNEL_INVALID',
      `the arrays and the output of the kernel ${plan.name} need ${bytes} bytes at once, more than the ${MAX_KERNEL_BYTES} that a kernel may have: make its arrays smaller, or perItem`,
    )
  }
  return room
}

/** What a kernel with room for `steps` along its outermost axis holds. */
function bytesFor(plan: Plan, steps: number): number {
  let elements = elementsOf(plan.output.slice(0, -1)) * steps
  for (const arg of plan.args) {
    if (arg.kind === 'array') elements += arg.perItem ? arg.inner * steps : elementsOf(arg.size)
  }
  return elements * ELEMENT_BYTES
}

class WasmKernel {
  readonly room: number
  readonly bytes: number
  /** Hashes of the shared arrays that it holds, by argument. */
  private readonly held = new Map<string, string>()
  private readonly compiled: GpuKernelFunction
  private readonly entry: WasmModuleEntry

  constructor(gpu: GpuJs, plan: Plan, room: number) {
    this.room = room
    this.compiled = compile(gpu, plan, room)
    try {
      this.entry = entryOf(this.compiled, plan)
      this.bytes = this.entry.memory.buffer.byteLength
    } catch (error) {
      this.compiled.destroy()
      throw error
    }
  }

  /** Numbers, and those shared arrays that are not there yet; says how many that were. */
  load(plan: Plan, files: Readonly<Record<string, string>>): number {
    let uploaded = 0
    for (const arg of plan.args) {
      if (arg.kind === 'number') this.entry.f32[this.slot(arg.name)] = arg.value
      if (arg.kind !== 'array' || arg.perItem || this.held.get(arg.name) === arg.hash) continue
      const bytes = elementsOf(arg.size) * ELEMENT_BYTES
      // Half an array is none.
      this.held.delete(arg.name)
      fillArray(arg.name, files[arg.hash], bytes, 0, this.region(arg, bytes))
      this.held.set(arg.name, arg.hash)
      uploaded++
    }
    return uploaded
  }

  run(plan: Plan, box: Box, files: Readonly<Record<string, string>>): Uint8Array {
    const { entry } = this
    for (const arg of plan.args) {
      if (arg.kind === 'offset') entry.i32[this.slot(arg.name)] = box.offset[arg.axis]!
      if (arg.kind !== 'array' || !arg.perItem) continue
      const { at, bytes } = sliceOf(arg, box)
      const total = elementsOf(arg.size) * ELEMENT_BYTES
      fillArray(arg.name, files[arg.hash], total, at, this.region(arg, bytes))
    }
    const cells = elementsOf(box.extent)
    try {
      const { dispatchSpans } = this.compiled.kernel.constructor
      dispatchSpans!(entry.run, entry.runSimd, cells, box.extent[0]!, 0)
    } catch (error) {
      throw notRun(plan, error)
    }
    return new Uint8Array(entry.memory.buffer, entry.layout.outputOffset, cells * ELEMENT_BYTES)
  }

  destroy(): void {
    this.compiled.destroy()
  }

  private slot(name: string): number {
    return this.entry.layout.scalars[name]!.offset / ELEMENT_BYTES
  }

  private region(arg: ArrayArgument, bytes: number): Uint8Array {
    const { memory, layout } = this.entry
    return new Uint8Array(memory.buffer, layout.arrays[arg.name]!.offset, bytes)
  }
}

/** @throws ERR_MESH_KERNEL_INVALID; ERR_MESH_KERNEL_FAILED when there is no memory for it */
function compile(gpu: GpuJs, plan: Plan, room: number): GpuKernelFunction {
  const output = [...plan.output.slice(0, -1), room]
  let compiled: GpuKernelFunction | undefined
  try {
    compiled = gpu.createKernel(plan.source, { ...plan.settings, output })
    const stands = plan.args.map((arg) => {
      if (arg.kind !== 'array') return 0
      return arrayOfSize(arg.perItem ? sizeOfSlice(arg, room) : arg.size)
    })
    compiled.kernel.build(...stands)
    return compiled
  } catch (error) {
    compiled?.destroy()
    throw notCompiled(plan, error)
  }
}

/** The compiled module, if gpu.js is what we know and did what we asked for. */
function entryOf(compiled: GpuKernelFunction, plan: Plan): WasmModuleEntry {
  const { kernel } = compiled
  if (kernel.componentCount !== 1) throw notCompiled(plan, 'it must return one number')
  const entry = kernel._active
  const known =
    kernel.constructor.mode === 'webasm' &&
    typeof kernel.constructor.dispatchSpans === 'function' &&
    entry?.memory instanceof WebAssembly.Memory
  if (!known) throw new MeshError('ERR_MESH_INTERNAL', 'gpu.js compiled no WebAssembly module')
  return entry
}
