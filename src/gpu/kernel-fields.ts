/** What the fields of a kernel may be: the same rules where a user states them and where they come from another peer. */
import {
  MAX_ARGS,
  MAX_ARRAY_ELEMENTS,
  MAX_AXIS,
  MAX_CONSTANTS,
  MAX_F32,
  MAX_KERNEL_NAME,
  MAX_LOOP_ITERATIONS,
  MAX_OUTPUT_ELEMENTS,
} from './kernel-limits.ts'
import { constantNameFault } from './kernel-words.ts'
import type { KernelArg, KernelSpec, Size } from './types.ts'

/** Why these fields make no kernel, naming the field and what is right; undefined when they do. The source is not looked at. */
export function kernelFault(spec: Omit<KernelSpec, 'v' | 'source'>): string | undefined {
  return (
    nameFault(spec.name) ??
    outputFault(spec.output) ??
    constantsFault(spec.constants) ??
    argsFault(spec.args, spec.output) ??
    loopFault(spec.loopMaxIterations) ??
    toleranceFault(spec.tolerance)
  )
}

export function nameFault(name: unknown): string | undefined {
  if (typeof name !== 'string' || name.length === 0 || name.length > MAX_KERNEL_NAME) {
    return `name must be a string of 1 to ${MAX_KERNEL_NAME} characters`
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return /[\x00-\x1f\x7f]/.test(name) ? 'name must not hold control characters' : undefined
}

export function outputFault(output: unknown): string | undefined {
  return sizeFault('output', output, MAX_OUTPUT_ELEMENTS)
}

/** A size is [x], [x, y] or [x, y, z]. */
export function sizeFault(field: string, size: unknown, maxElements: number): string | undefined {
  if (!Array.isArray(size) || size.length < 1 || size.length > 3) {
    return `${field} must be [x], [x, y] or [x, y, z]`
  }
  let elements = 1
  for (const extent of size as unknown[]) {
    if (!isWhole(extent, 1, MAX_AXIS)) return extentFault(field, extent)
    elements *= extent
  }
  if (elements <= maxElements) return undefined
  return `${field} has ${elements} elements, more than ${maxElements}: make several jobs of it`
}

function extentFault(field: string, extent: unknown): string {
  const right = `each extent of ${field} must be a whole number from 1 to ${MAX_AXIS}`
  return typeof extent === 'number' && extent > MAX_AXIS
    ? `${right}, and ${extent} is above: f32 indices would not be exact there; use more dimensions`
    : `${right}, not ${typeof extent === 'number' ? extent : describeExtent(extent)}`
}

function describeExtent(extent: unknown): string {
  return extent === undefined || extent === null ? String(extent) : `a ${typeof extent}`
}

export function constantsFault(constants: Readonly<Record<string, unknown>>): string | undefined {
  const entries = Object.entries(constants)
  if (entries.length > MAX_CONSTANTS) {
    return `constants has ${entries.length} entries, more than ${MAX_CONSTANTS}: pass an array`
  }
  for (const [name, value] of entries) {
    const fault = constantNameFault(name)
    if (fault !== undefined) return `constants: ${fault}`
    if (!isF32(value)) {
      return `constants.${name} must be a number up to 3.4e38, the largest f32; pass arrays as args`
    }
  }
  return undefined
}

export function argsFault(args: readonly KernelArg[], output: Size): string | undefined {
  if (args.length > MAX_ARGS) {
    return `args has ${args.length} entries, more than ${MAX_ARGS}: join arrays into one`
  }
  for (const [i, arg] of args.entries()) {
    const fault = argFault(`args[${i}]`, arg, output)
    if (fault !== undefined) return fault
  }
  return undefined
}

function argFault(field: string, arg: KernelArg, output: Size): string | undefined {
  if (arg.kind === 'number') {
    return isF32(arg.value)
      ? undefined
      : `${field} must be a finite number up to 3.4e38, the largest f32`
  }
  const fault = sizeFault(`the size of ${field}`, arg.size, MAX_ARRAY_ELEMENTS)
  if (fault !== undefined) return fault
  if (!/^[0-9a-f]{64}$/.test(arg.hash)) return `${field} has no SHA-256 of its bytes`
  if (arg.perItem && arg.size.at(-1) !== output.at(-1)) {
    const axis = 'xyz'[output.length - 1]
    return `${field} is perItem, so that its outermost extent must be that of the output along ${axis}, ${output.at(-1)}, but is ${arg.size.at(-1)}`
  }
  return undefined
}

export function loopFault(most: unknown): string | undefined {
  if (isWhole(most, 0, MAX_LOOP_ITERATIONS)) return undefined
  return `loopMaxIterations must be a whole number up to ${MAX_LOOP_ITERATIONS}`
}

export function toleranceFault(tolerance: unknown): string | undefined {
  if (typeof tolerance !== 'object' || tolerance === null) {
    return 'tolerance must be { absolute, relative, cells }, each of them optional'
  }
  for (const [name, value] of Object.entries(tolerance)) {
    if (name !== 'absolute' && name !== 'relative' && name !== 'cells') {
      return `tolerance has absolute, relative and cells, not "${name}"`
    }
    const most = name === 'absolute' ? MAX_F32 : 1
    if (typeof value !== 'number' || !(value >= 0 && value <= most)) {
      return `tolerance.${name} must be a number from 0 to ${name === 'absolute' ? '3.4e38' : 1}`
    }
  }
  return undefined
}

function isF32(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= MAX_F32
}

export function isWhole(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
}
