/**
 * gpu.js, typed: what we use of it and nothing else. Its own typings lack most of this. `_active`, `dispatchSpans` and the buffer handle
 * are not public, so its version is pinned, and `compile` of each back end looks whether they are what they were.
 */
import { createRequire } from 'node:module'

export type ArgumentType = 'Array' | 'Input' | 'Float' | 'Integer'

export interface KernelSettings {
  readonly output: readonly number[]
  readonly constants: Readonly<Record<string, number>>
  readonly argumentTypes: readonly ArgumentType[]
  readonly loopMaxIterations: number
  readonly precision: 'single'
  readonly dynamicOutput?: boolean
  readonly dynamicArguments?: boolean
  readonly onRequestFallback: () => never
}

/** Where a compiled WebAssembly kernel keeps an argument, in bytes of its memory. */
interface Place {
  readonly offset: number
}
export interface WasmModuleEntry {
  readonly layout: {
    readonly arrays: Readonly<Record<string, Place>>
    readonly scalars: Readonly<Record<string, Place>>
    readonly outputOffset: number
  }
  readonly cells: number
  readonly memory: WebAssembly.Memory
  readonly f32: Float32Array
  readonly i32: Int32Array
  readonly run: CellRange
  readonly runSimd: CellRange | null
}
/** Computes the cells [from, to) of the output. */
export type CellRange = (from: number, to: number, seed: number) => void

export interface RawKernel {
  readonly constructor: { readonly mode: string; dispatchSpans?: DispatchSpans }
  readonly componentCount: number
  /** webasm only. */
  readonly _active?: WasmModuleEntry | null
  build(...args: unknown[]): unknown
}
/** Takes four cells at a time where it can, and never across the end of a row. */
type DispatchSpans = (
  run: CellRange,
  runSimd: CellRange | null,
  cells: number,
  sizeX: number,
  seed: number,
) => string

export interface GpuKernelFunction {
  (...args: unknown[]): Promise<unknown>
  readonly kernel: RawKernel
  setOutput(output: readonly number[]): void
  destroy(): void
}

export interface GpuJs {
  createKernel(source: string, settings: KernelSettings): GpuKernelFunction
}

/** An array on the device that a kernel takes in the place of an array. */
export interface BufferHandle {
  output: readonly number[]
  readonly buffer: GPUBuffer
}
export interface DeviceContext {
  readonly adapter: GPUAdapter
  readonly device: GPUDevice
  readonly isLost: boolean
}
interface HandleOptions {
  readonly buffer: GPUBuffer
  readonly output: readonly number[]
  readonly componentCount: 1
  readonly context: DeviceContext
  readonly kernel: null
}

const require = createRequire(import.meta.url)

interface InputValue {
  size: readonly number[]
}
interface Library {
  readonly GPU: new (options: { mode: 'webgpu' | 'webasm' }) => GpuJs
  readonly Input: new (value: Float32Array, size: number[]) => InputValue
}

/** Loads gpu.js, some 60 ms: only the processes that compile kernels do. */
export function startGpuJs(mode: 'webgpu' | 'webasm'): GpuJs {
  const { GPU } = require('gpu.js') as Library
  return new GPU({ mode })
}

/** Why gpu.js cannot be loaded; undefined when it can. */
export function gpuJsFault(): string | undefined {
  try {
    require('gpu.js')
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Stands for an array of this size while a kernel is compiled; it holds no elements. */
export function arrayOfSize(size: readonly number[]): unknown {
  const { Input } = require('gpu.js') as Library
  const stand = new Input(new Float32Array(1), [1])
  stand.size = [...size]
  return stand
}

/** The device that all kernels share; made at the first call from navigator.gpu, which boot.ts installs. */
export async function acquireDevice(): Promise<DeviceContext> {
  const { WebGPUContext } = require('gpu.js/src/backend/web-gpu/context.js') as {
    WebGPUContext: { acquire(): Promise<DeviceContext> }
  }
  return await WebGPUContext.acquire()
}

export function bufferHandle(
  context: DeviceContext,
  buffer: GPUBuffer,
  size: readonly number[],
): BufferHandle {
  const { WebGPUBufferResult } = require('gpu.js/src/backend/web-gpu/buffer-result.js') as {
    WebGPUBufferResult: new (options: HandleOptions) => BufferHandle
  }
  return new WebGPUBufferResult({ buffer, output: size, componentCount: 1, context, kernel: null })
}
