/** gpu.js by itself, on WebAssembly: a rewritten source over one slice. */
import { createRequire } from 'node:module'
import type { Size } from '../../../src/gpu/types.ts'
import type { Given } from './run-source.ts'

interface Compiled {
  (...args: unknown[]): unknown
  readonly kernel: { readonly constructor: { readonly mode: string } }
  destroy(): void
}
interface Library {
  readonly GPU: new (options: {
    mode: 'webasm'
  }) => {
    createKernel(source: string, settings: object): Compiled
  }
  readonly input: (data: Float32Array, size: number[]) => unknown
}

const { GPU, input } = createRequire(import.meta.url)('gpu.js') as Library
const gpu = new GPU({ mode: 'webasm' })

/** Offsets are the last arguments, as many as the output has dimensions. */
export function onWebasm(
  constants: Record<string, number>,
  loopMaxIterations = 0,
): (source: string) => (extent: Size, args: readonly Given[]) => number[] {
  return (source) => (extent, args) => {
    const offsets = args.length - extent.length
    const kernel = gpu.createKernel(source, {
      output: [...extent],
      constants,
      argumentTypes: args.map((arg, i) =>
        typeof arg !== 'number' ? 'Input' : i < offsets ? 'Float' : 'Integer',
      ),
      loopMaxIterations,
      precision: 'single',
      onRequestFallback: () => {
        throw new Error('gpu.js asked to run it as JavaScript')
      },
    })
    try {
      const result = kernel(
        ...args.map((arg) =>
          typeof arg === 'number' ? arg : input(new Float32Array(arg.data), [...arg.size]),
        ),
      )
      if (kernel.kernel.constructor.mode !== 'webasm') throw new Error('it ran elsewhere')
      return flat(result)
    } finally {
      kernel.destroy()
    }
  }
}

function flat(value: unknown): number[] {
  return typeof value === 'number' ? [value] : Array.from(value as ArrayLike<unknown>).flatMap(flat)
}
