/** What a user writes: `export default defineKernel({ name, kernel: function (a, b) { … }, output, args })`. */
import { MeshError } from '../base/errors.ts'
import {
  constantsFault,
  loopFault,
  nameFault,
  outputFault,
  toleranceFault,
} from './kernel-fields.ts'
import { MAX_ARGS, MAX_SOURCE_CHARS } from './kernel-limits.ts'
import { textOfKernel } from './kernel-text.ts'
import type { Size, Tolerance } from './types.ts'

/** The brand is in the global registry, so that the copy of this module inside a worker recognises its kernels too. */
export const KERNEL_BRAND: unique symbol = Symbol.for('meshwork.kernel') as never
const PER_ITEM: unique symbol = Symbol.for('meshwork.perItem') as never

/** Typed arrays that become f32. */
export type Numbers =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | readonly number[]

/** Flat numbers, x running fastest, with their extents. */
export interface SizedNumbers {
  readonly data: Numbers
  readonly size: Size
}

/** An array of 1, 2 or 3 dimensions, read as a[x], a[y][x] or a[z][y][x]; it becomes f32. */
export type KernelArray =
  | Numbers
  | readonly Numbers[]
  | readonly (readonly Numbers[])[]
  | SizedNumbers

export interface PerItem {
  readonly [PER_ITEM]: true
  readonly array: KernelArray
}

/** What a kernel can be given for one parameter. */
export type KernelInput = number | KernelArray | PerItem

/** What `this` is in a kernel. */
export interface KernelThis<Constants> {
  /** Which element of the whole output is computed, from 0. */
  readonly thread: { readonly x: number; readonly y: number; readonly z: number }
  /** Extents of the whole output. */
  readonly output: { readonly x: number; readonly y: number; readonly z: number }
  readonly constants: Constants
}

export interface KernelDefinition<Constants extends Readonly<Record<string, number>>> {
  /** Shown in lists and logs; 1 to 128 characters. */
  readonly name: string
  /**
   * Computes one element of the output, which this.thread names, and returns it. Its text travels, so that it sees its arguments, `this` and
   * Math alone; docs/library.md says what it may hold. Numbers are f32.
   */
  // biome-ignore lint/suspicious/noExplicitAny: arguments are numbers, or arrays indexed as deep as they were given
  kernel(this: KernelThis<Constants>, ...args: any[]): number
  /** Extent of the result: a number of elements, [x], [x, y] or [x, y, z]; x runs fastest. Each up to 2^24, all 2^28 elements. */
  readonly output: number | Size
  /** Numbers that are part of the program, as this.constants.NAME: what bounds a loop belongs here. */
  readonly constants?: Constants
  /** One for each parameter. May be left out for a kernel that ctx.gpu.run() is given with its arguments. */
  readonly args?: readonly KernelInput[]
  /** Most iterations of one loop, up to 2^24; needed where the head of a loop does not tell, as it ends there without a word. */
  readonly loopMaxIterations?: number
  /** When two results agree that different devices computed; default: when they are equal. */
  readonly tolerance?: Tolerance
  /** 'gpu' keeps the kernel off peers that have none. */
  readonly requires?: 'gpu'
}

export interface Kernel {
  readonly name: string
  /** `function (a, b) { … }`, checked by kernelSpec(). */
  readonly source: string
  readonly output: Size
  readonly constants: Readonly<Record<string, number>>
  readonly args: readonly KernelInput[]
  /** 0: not stated. */
  readonly loopMaxIterations: number
  readonly tolerance: Tolerance
  readonly requires?: 'gpu'
  readonly [KERNEL_BRAND]: true
}

const FIELDS = [
  'name',
  'kernel',
  'output',
  'constants',
  'args',
  'loopMaxIterations',
  'tolerance',
  'requires',
]

/**
 * Makes a kernel. The result is frozen and may be passed to `submit`, be the default export of a file, or be run by ctx.gpu.run().
 * The text of `kernel` is checked when it is used, by kernelSpec().
 * @throws ERR_MESH_TASK_INVALID naming the field that is wrong and what it should be.
 */
export function defineKernel<const Constants extends Readonly<Record<string, number>>>(
  definition: KernelDefinition<Constants>,
): Kernel {
  if (typeof definition !== 'object' || definition === null) {
    throw invalid('defineKernel takes an object { name, kernel: function (a, b) { … }, output }')
  }
  const { name, kernel, constants = {}, args = [], tolerance = {}, requires } = definition
  refuseIf(nameFault(name), 'the kernel')
  const of = `the kernel "${name}"`
  const unknown = Object.keys(definition).find((key) => !FIELDS.includes(key))
  if (unknown !== undefined) {
    throw invalid(
      `${of} has a field "${unknown}" that no kernel has; there are ${FIELDS.join(', ')}`,
    )
  }
  if (typeof kernel !== 'function') {
    throw invalid(`kernel of ${of} must be a function: write \`kernel: function (a, b) { … }\``)
  }
  const text = textOfKernel(kernel)
  if ('fault' in text) throw invalid(`kernel of ${of} ${text.fault}`)
  if (text.source.length > MAX_SOURCE_CHARS) {
    throw invalid(
      `kernel of ${of} has ${text.source.length} characters, more than ${MAX_SOURCE_CHARS}`,
    )
  }
  const output = typeof definition.output === 'number' ? [definition.output] : definition.output
  refuseIf(outputFault(output), of)
  if (typeof constants !== 'object' || constants === null || Array.isArray(constants)) {
    throw invalid(`constants of ${of} must be an object of numbers: { n: 512 }`)
  }
  refuseIf(constantsFault(constants as Readonly<Record<string, unknown>>), of)
  if (!Array.isArray(args) || args.length > MAX_ARGS) {
    throw invalid(`args of ${of} must be a list of at most ${MAX_ARGS}, one for each parameter`)
  }
  const { loopMaxIterations } = definition
  if (loopMaxIterations === 0) throw invalid(`loopMaxIterations of ${of} must be at least 1`)
  refuseIf(loopFault(loopMaxIterations ?? 0), of)
  refuseIf(toleranceFault(tolerance), of)
  if (requires !== undefined && requires !== 'gpu') {
    throw invalid(`requires of ${of} must be 'gpu', or be left out`)
  }
  return Object.freeze({
    name,
    source: text.source,
    output: Object.freeze([...(output as Size)]) as unknown as Size,
    constants: Object.freeze({ ...constants }),
    args: Object.freeze([...args]),
    loopMaxIterations: loopMaxIterations ?? 0,
    tolerance: Object.freeze({ ...tolerance }),
    ...(requires === undefined ? {} : { requires }),
    [KERNEL_BRAND]: true as const,
  })
}

/** True for what defineKernel returned, here or in another copy of this package. */
export function isKernel(value: unknown): value is Kernel {
  return typeof value === 'object' && value !== null && (value as Kernel)[KERNEL_BRAND] === true
}

/**
 * An array argument of which each launch needs its own part alone: its outermost axis is the output's outermost, and the kernel reads it at
 * this.thread.x of a 1-D output, .y of a 2-D, .z of a 3-D one.
 */
export function perItem(array: KernelArray): PerItem {
  return Object.freeze({ [PER_ITEM]: true as const, array })
}

export function isPerItem(value: unknown): value is PerItem {
  return typeof value === 'object' && value !== null && (value as PerItem)[PER_ITEM] === true
}

function refuseIf(fault: string | undefined, of: string): void {
  if (fault !== undefined) throw invalid(`${of}: ${fault}`)
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_MESH_TASK_INVALID', message)
}
