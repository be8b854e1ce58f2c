/**
 * Kernels on the CPU, as WebAssembly. gpu.js compiles a module for one size of output and one of each array, and copies every argument at
 * every call. Here its module is compiled once, for as many items as fit in ROOM_BYTES, and driven directly: shared arrays are read once
 * into the module's memory and stay there. Where the room is for all of the output, a launch computes its own cells in their place;
 * else the first cells of the room (an output's outermost extent bounds nothing in the module), and the kernel adds where it begins, which
 * costs some loops 6 % under V8. Either way another slice compiles nothing.
 */

import { MeshError } from '../../base/errors.ts'
import { elementsOf, rowOf } from '../../base/extents.ts'
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
  type CellRange,
  type GpuJs,
  type GpuKernelFunction,
  startGpuJs,
  type WasmModuleEntry,
} from './gpujs.ts'
import { Kept } from './kept.ts'

/** A tile of the output: as wide as a line of a cache (a multiple of 4), and so high that fetching what its columns need costs little. */
const TILE_CELLS = 16
const TILE_ROWS = 64

export class WebasmEngine implements Engine {
  readonly backend = 'webasm'
  /** Sums and products are f32 by the book on every CPU; sin and its like are V8's own, which has changed them between versions. */
  readonly deviceClass = `webasm v8-${process.versions.v8.split('.').slice(0, 2).join('.')}`
  private readonly gpu = startGpuJs('webasm')
  private readonly kernels = new Kept<WasmKernel>(MAX_RESIDENT_BYTES, MAX_KERNELS)
  private readonly roomBytes: number

  /** `roomBytes`: smaller in tests. */
  constructor(roomBytes = ROOM_BYTES) {
    this.roomBytes = roomBytes
  }

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
      const room = roomFor(plan, needed, this.roomBytes)
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
function roomFor(plan: Plan, needed: number, roomBytes: number): number {
  const perStep = bytesFor(plan, 1) - bytesFor(plan, 0)
  const room = Math.min(plan.output.at(-1)!, Math.max(needed, Math.floor(roomBytes / perStep)))
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
  /** There is room for all items: each has its place. */
  private readonly isWhole: boolean
  /** Hashes of the shared arrays that it holds, by argument. */
  private readonly held = new Map<string, string>()
  private readonly compiled: GpuKernelFunction
  private readonly entry: WasmModuleEntry

  constructor(gpu: GpuJs, plan: Plan, room: number) {
    this.room = room
    this.isWhole = room === plan.output.at(-1)
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
    const { entry, isWhole } = this
    for (const arg of plan.args) {
      if (arg.kind === 'offset' && !isWhole) {
        entry.i32[this.slot(arg.name)] = box.offset[arg.axis]!
      }
      if (arg.kind !== 'array' || !arg.perItem) continue
      const { at, bytes } = sliceOf(arg, box)
      const total = elementsOf(arg.size) * ELEMENT_BYTES
      fillArray(arg.name, files[arg.hash], total, at, this.region(arg, bytes, isWhole ? at : 0))
    }
    const first = isWhole ? box.firstItem * rowOf(plan.output) : 0
    const cells = elementsOf(box.extent)
    try {
      this.compute(first, cells, box.extent[0]!)
    } catch (error) {
      throw notRun(plan, error)
    }
    const at = entry.layout.outputOffset + first * ELEMENT_BYTES
    return new Uint8Array(entry.memory.buffer, at, cells * ELEMENT_BYTES)
  }

  /**
   * Rows of `width` cells each, from the cell `first` on. Wide ones tile by tile: what the cells of a column share (a column of a matrix)
   * and what those of a row share is then in the cache when the next one asks for it.
   */
  private compute(first: number, cells: number, width: number): void {
    const { run, runSimd } = this.entry
    const from = (base: number, range: CellRange): CellRange =>
      base === 0 ? range : (lo, hi, seed) => range(base + lo, base + hi, seed)
    const { dispatchSpans } = this.compiled.kernel.constructor
    const rows = cells / width
    if (rows === 1 || width <= TILE_CELLS) {
      dispatchSpans!(from(first, run), runSimd && from(first, runSimd), cells, width, 0)
      return
    }
    // As dispatchSpans does: four at a time, and what is left over at the end of a row one by one.
    const quads = runSimd === null ? 0 : width - (width % 4)
    for (let top = 0; top < rows; top += TILE_ROWS) {
      const bottom = Math.min(rows, top + TILE_ROWS)
      for (let left = 0; left < width; left += TILE_CELLS) {
        const right = Math.min(width, left + TILE_CELLS)
        const middle = Math.max(left, Math.min(right, quads))
        for (let row = top; row < bottom; row++) {
          const base = first + row * width
          if (middle > left) runSimd!(base + left, base + middle, 0)
          if (right > middle) run(base + middle, base + right, 0)
        }
      }
    }
  }

  destroy(): void {
    this.compiled.destroy()
  }

  private slot(name: string): number {
    return this.entry.layout.scalars[name]!.offset / ELEMENT_BYTES
  }

  private region(arg: ArrayArgument, bytes: number, at = 0): Uint8Array {
    const { memory, layout } = this.entry
    return new Uint8Array(memory.buffer, layout.arrays[arg.name]!.offset + at, bytes)
  }
}

/** @throws ERR_MESH_KERNEL_INVALID; ERR_MESH_KERNEL_FAILED when there is no memory for it */
function compile(gpu: GpuJs, plan: Plan, room: number): GpuKernelFunction {
  const output = [...plan.output.slice(0, -1), room]
  let compiled: GpuKernelFunction | undefined
  try {
    const source = room === plan.output.at(-1) ? plan.wholeSource : plan.source
    compiled = gpu.createKernel(source, { ...plan.settings, output })
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
