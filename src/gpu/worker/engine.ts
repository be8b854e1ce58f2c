/** What the two back ends have in common: a kernel made ready for launches, box by box. */
import { MeshError } from '../../base/errors.ts'
import type { Box } from '../rewrite.ts'
import type { Backend, Size } from '../types.ts'
import type { KernelSettings } from './gpujs.ts'

/** An array argument. `inner`: elements per step along its outermost axis. */
export interface ArrayArgument {
  readonly kind: 'array'
  readonly name: string
  readonly hash: string
  readonly size: Size
  readonly perItem: boolean
  readonly inner: number
}
export interface NumberArgument {
  readonly kind: 'number'
  readonly name: string
  readonly value: number
}
/** Where a box begins along one axis: appended to a kernel's own arguments. */
export interface OffsetArgument {
  readonly kind: 'offset'
  readonly name: string
  readonly axis: number
}
export type PlanArgument = ArrayArgument | NumberArgument | OffsetArgument

/** A kernel, checked and rewritten: what a back end compiles. */
export interface Plan {
  /** One compiled kernel is kept for it: for all kernels that differ in numbers and in what arrays hold alone. */
  readonly key: string
  readonly name: string
  readonly source: string
  /** For an engine that places a launch by itself: see RewrittenKernel. */
  readonly wholeSource: string
  readonly output: Size
  readonly args: readonly PlanArgument[]
  readonly settings: Omit<KernelSettings, 'output'>
}

export interface LaunchPlan {
  readonly plan: Plan
  readonly boxes: readonly Box[]
  readonly files: Readonly<Record<string, string>>
}

export interface Engine {
  readonly backend: Backend
  readonly deviceClass: string
  /** This machine's memory that what it keeps may take. */
  readonly residentBytes: number
  /** Compiles and uploads what is not there yet. @throws ERR_MESH_KERNEL_INVALID, ERR_MESH_KERNEL_FAILED */
  prepare(launch: LaunchPlan): Promise<Prepared>
  /** Gives back all that it keeps. */
  forget(): void
}

export interface Prepared {
  /** Nothing had to be compiled or uploaded. */
  readonly isWarm: boolean
  /** Computes one box: its elements, f32 little-endian. They are valid until the next run. */
  run(box: Box): Promise<Uint8Array>
}

export const ELEMENT_BYTES = 4

export function arrayArguments(plan: Plan): ArrayArgument[] {
  return plan.args.filter((arg) => arg.kind === 'array')
}

/** The bytes of `array` that a box needs, as a place in its file. */
export function sliceOf(array: ArrayArgument, box: Box): { at: number; bytes: number } {
  const step = array.inner * ELEMENT_BYTES
  const outermost = box.offset.length - 1
  return { at: box.offset[outermost]! * step, bytes: box.extent[outermost]! * step }
}

/** The size of `array` when it holds `count` steps along its outermost axis. */
export function sizeOfSlice(array: ArrayArgument, count: number): number[] {
  return [...array.size.slice(0, -1), count]
}

/** gpu.js asks for this when it wants to run a kernel as JavaScript: never for a kernel from another peer. */
export function refuseFallback(): never {
  throw new MeshError(
    'ERR_MESH_KERNEL_INVALID',
    'the kernel holds something that runs on neither a GPU nor WebAssembly',
  )
}

/** What gpu.js says of a kernel that it cannot compile, as one line for its author. */
export function notCompiled(plan: Plan, error: unknown): MeshError {
  if (error instanceof MeshError) return error
  const text = error instanceof Error ? error.message : String(error)
  if (error instanceof RangeError && /memory|allocat/i.test(text)) return outOfMemory(plan, error)
  return new MeshError(
    'ERR_MESH_KERNEL_INVALID',
    `the kernel ${plan.name} does not compile: ${firstLines(text)}`,
    { cause: error },
  )
}

/** What went wrong while a kernel ran. */
export function notRun(plan: Plan, error: unknown): MeshError {
  if (error instanceof MeshError) return error
  const text = error instanceof Error ? error.message : String(error)
  return new MeshError(
    'ERR_MESH_KERNEL_FAILED',
    `the kernel ${plan.name} failed: ${firstLines(text)}`,
    { cause: error },
  )
}

export function outOfMemory(plan: Plan, cause?: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_KERNEL_FAILED',
    `not enough memory for the kernel ${plan.name}: smaller arrays, or fewer items a launch`,
    { cause, details: { outOfMemory: true } },
  )
}

export function isOutOfMemory(error: unknown): boolean {
  return error instanceof MeshError && error.details.outOfMemory === true
}

/** Up to the generated program, which says nothing to the author of the kernel. */
function firstLines(text: string): string {
  const cut = text.split('\n--- generated')[0]!.trim()
  return cut.split('\n').slice(0, 3).join(' ')
}
