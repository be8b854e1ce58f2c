/** A kernel made ready to travel: its spec, and the bytes of its arrays by hash. */

import { sha256Hex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'
import { elementsOf } from '../base/extents.ts'
import { isPerItem, type Kernel, type KernelInput, type Numbers } from './define-kernel.ts'
import { kernelFault, sizeFault } from './kernel-fields.ts'
import { MAX_ARRAY_ELEMENTS } from './kernel-limits.ts'
import { checkKernelSource } from './kernel-source.ts'
import type { KernelArg, KernelSpec, Size } from './types.ts'

/**
 * What travels of `kernel`, given `args`. The bytes (f32, little-endian) of a Float32Array are the array's own: write them away before it
 * changes.
 * @throws ERR_MESH_TASK_INVALID for an argument that is no number and no array of equal rows; ERR_MESH_KERNEL_INVALID for a
 * source that would not run the same everywhere, with line and column.
 */
export function kernelSpec(
  kernel: Kernel,
  args: readonly KernelInput[] = kernel.args,
): { readonly spec: KernelSpec; readonly arrays: ReadonlyMap<string, Uint8Array> } {
  const { name, source, output, constants, loopMaxIterations, tolerance, requires } = kernel
  checkMade(kernel, args)
  const arrays = new Map<string, Uint8Array>()
  const spec: KernelSpec = {
    v: 1,
    name,
    source,
    output,
    constants,
    args: args.map((input, i) => readInput(input, `args[${i}] of the kernel "${name}"`, arrays)),
    loopMaxIterations,
    tolerance,
    requiresGpu: requires === 'gpu',
  }
  const fault = kernelFault(spec)
  if (fault !== undefined) throw invalid(`the kernel "${name}": ${fault}`)
  checkKernelSource(source, spec)
  return { spec, arrays }
}

/** A copy of a kernel has its brand, and may lack what defineKernel would have checked; types are gone by now. */
function checkMade({ name, source, constants }: Partial<Kernel>, args: unknown): void {
  const fields = [
    ['source', typeof source === 'string'],
    ['constants', typeof constants === 'object' && constants !== null],
    ['args', Array.isArray(args)],
  ] as const
  const missing = fields.find(([, isThere]) => !isThere)
  if (missing === undefined) return
  throw invalid(
    `the kernel ${JSON.stringify(name)} has no ${missing[0]}: a kernel is what defineKernel({ name, kernel: function (a, b) { … }, output }) returns, as it is`,
  )
}

function readInput(input: KernelInput, of: string, arrays: Map<string, Uint8Array>): KernelArg {
  if (typeof input === 'number') return { kind: 'number', value: input }
  const perItem = isPerItem(input)
  const { data, size } = readArray(perItem ? input.array : input, of)
  const fault = sizeFault(`the size of ${of}`, size, MAX_ARRAY_ELEMENTS)
  if (fault !== undefined) throw invalid(fault)
  const bytes = littleEndian(toF32(data, of))
  const hash = sha256Hex(bytes)
  arrays.set(hash, bytes)
  return { kind: 'array', hash, size, perItem }
}

/** Numbers one after another, or lists of rows with them, and their extents. */
function readArray(input: unknown, of: string): { data: Numbers | Numbers[]; size: Size } {
  if (isNumbers(input)) return { data: input, size: [input.length] }
  if (typeof input === 'object' && input !== null && 'data' in input && 'size' in input) {
    return readSized(input.data, input.size, of)
  }
  if (!Array.isArray(input)) {
    throw invalid(`${of} must be a number or an array of numbers, but is ${typeof input}`)
  }
  const rows = input as unknown[]
  if (rows.every(isNumbers)) {
    return { data: rows, size: [sameLength(rows, of), rows.length] }
  }
  if (!rows.every((plane) => Array.isArray(plane) && plane.every(isNumbers))) {
    throw invalid(
      `${of} must hold numbers alone, or rows of them, or lists of rows: typed arrays, or lists of numbers`,
    )
  }
  const planes = rows as Numbers[][]
  const height = sameLength(planes, of)
  const all = planes.flat() as Numbers[]
  return { data: all, size: [sameLength(all, of), height, planes.length] }
}

function readSized(data: unknown, size: unknown, of: string): { data: Numbers; size: Size } {
  if (!isNumbers(data)) throw invalid(`data of ${of} must be a typed array or a list of numbers`)
  const fault = sizeFault(`size of ${of}`, size, MAX_ARRAY_ELEMENTS)
  if (fault !== undefined) throw invalid(fault)
  const extents = [...(size as number[])] as unknown as Size
  const elements = elementsOf(extents)
  if (elements !== data.length) {
    throw invalid(
      `${of} has ${data.length} numbers, but its size [${extents.join(', ')}] is ${elements}`,
    )
  }
  return { data, size: extents }
}

function sameLength(rows: readonly { readonly length: number }[], of: string): number {
  const length = rows[0]?.length ?? 0
  const other = rows.findIndex((row) => row.length !== length)
  if (other === -1) return length
  throw invalid(
    `the rows of ${of} must have one length, but row 0 has ${length} and row ${other} has ${rows[other]!.length}`,
  )
}

/** Not empty lists: they could be of numbers or of rows, and no kernel has an empty array. */
function isNumbers(value: unknown): value is Numbers {
  if (Array.isArray(value)) return value.length > 0 && typeof value[0] === 'number'
  if (!ArrayBuffer.isView(value) || value instanceof DataView) return false
  return !(value instanceof BigInt64Array) && !(value instanceof BigUint64Array)
}

function toF32(data: Numbers | readonly Numbers[], of: string): Float32Array {
  if (data instanceof Float32Array) return data
  const rows = (isNumbers(data) ? [data] : data) as readonly Numbers[]
  const f32 = new Float32Array(rows.reduce((sum, row) => sum + row.length, 0))
  let at = 0
  for (const row of rows) {
    if (Array.isArray(row)) {
      const other = row.findIndex((one) => typeof one !== 'number')
      if (other !== -1) throw invalid(`${of} holds ${typeof row[other]} among its numbers`)
    }
    f32.set(row, at)
    at += row.length
  }
  return f32
}

const IS_LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

function littleEndian(f32: Float32Array): Uint8Array {
  const bytes = new Uint8Array(f32.buffer, f32.byteOffset, f32.byteLength)
  return IS_LITTLE_ENDIAN ? bytes : new Uint8Array(Buffer.from(bytes).swap32())
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_MESH_TASK_INVALID', message)
}
