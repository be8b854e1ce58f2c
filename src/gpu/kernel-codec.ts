/**
 * A kernel as the blob that a job names: canonical CBOR, an array of version, name, source, output, constants (pairs in the order of their
 * names), args ([0, number] or [1, hash, size, perItem]), loopMaxIterations, tolerance ([absolute, relative, cells], null where
 * not stated) and requiresGpu. One kernel has one encoding, so that its hash is its name.
 */
import { decode, encode } from 'cborg'
import { fromHex, toHex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'
import { isWhole, kernelFault } from './kernel-fields.ts'
import { MAX_ARGS, MAX_CONSTANTS, MAX_SOURCE_CHARS, MAX_SPEC_BYTES } from './kernel-limits.ts'
import type { KernelArg, KernelSpec, Size, Tolerance } from './types.ts'

export function encodeKernelSpec(spec: KernelSpec): Uint8Array {
  const { absolute = null, relative = null, cells = null } = spec.tolerance
  return encode([
    spec.v,
    spec.name,
    spec.source,
    [...spec.output],
    Object.entries(spec.constants).sort(byName),
    spec.args.map((arg) =>
      arg.kind === 'number' ? [0, arg.value] : [1, fromHex(arg.hash), [...arg.size], arg.perItem],
    ),
    spec.loopMaxIterations,
    [absolute, relative, cells],
    spec.requiresGpu,
  ])
}

/**
 * A kernel that came from another peer. Every field is bounded here; its source is not looked at (checkKernelSource does).
 * @throws ERR_MESH_PROTOCOL
 */
export function decodeKernelSpec(bytes: Uint8Array): KernelSpec {
  if (bytes.byteLength > MAX_SPEC_BYTES) {
    throw refused(`it has ${bytes.byteLength} bytes, more than ${MAX_SPEC_BYTES}`)
  }
  let row: unknown
  try {
    row = decode(bytes, { strict: true, allowIndefinite: false, allowUndefined: false })
  } catch (cause) {
    throw refused('it is not canonical CBOR', cause)
  }
  const spec = readSpec(listOf(row, 9, 9, 'it'))
  const fault = kernelFault(spec)
  if (fault !== undefined) throw refused(fault)
  // The decoder takes 1.0 for 1, and fields in any order.
  if (Buffer.compare(encodeKernelSpec(spec), bytes) !== 0) throw refused('it is not canonical CBOR')
  return spec
}

function readSpec(row: readonly unknown[]): KernelSpec {
  const [v, name, source, output, constants, args, loopMaxIterations, tolerance, requiresGpu] = row
  if (v !== 1) throw refused('its version is not 1')
  if (typeof name !== 'string') throw refused('its name is not a string')
  if (typeof source !== 'string' || source.length > MAX_SOURCE_CHARS) {
    throw refused(`its source is not a string of at most ${MAX_SOURCE_CHARS} characters`)
  }
  if (typeof requiresGpu !== 'boolean') throw refused('it does not say whether it requires a GPU')
  return {
    v,
    name,
    source,
    output: readSize(output),
    constants: readConstants(constants),
    args: listOf(args, 0, MAX_ARGS, 'args').map(readArg),
    loopMaxIterations: loopMaxIterations as number,
    tolerance: readTolerance(tolerance),
    requiresGpu,
  }
}

/** kernelFault() looks at what is in it. */
function readSize(value: unknown): Size {
  return listOf(value, 1, 3, 'a size') as unknown as Size
}

function readConstants(value: unknown): Record<string, number> {
  const pairs = listOf(value, 0, MAX_CONSTANTS, 'constants').map((pair) => {
    const [name, number] = listOf(pair, 2, 2, 'a constant')
    if (typeof name !== 'string') throw refused('a constant has no name')
    return [name, number as number] as const
  })
  return Object.fromEntries(pairs)
}

function readArg(value: unknown): KernelArg {
  const row = listOf(value, 2, 4, 'an argument')
  if (row[0] === 0 && row.length === 2) return { kind: 'number', value: row[1] as number }
  const [kind, hash, size, perItem] = row
  if (kind !== 1 || row.length !== 4) throw refused('an argument is neither number nor array')
  if (!(hash instanceof Uint8Array) || hash.byteLength !== 32) {
    throw refused('an array has no 32-byte hash')
  }
  if (typeof perItem !== 'boolean') throw refused('an array does not say whether it is perItem')
  return { kind: 'array', hash: toHex(hash), size: readSize(size), perItem }
}

function readTolerance(value: unknown): Tolerance {
  const [absolute, relative, cells] = listOf(value, 3, 3, 'tolerance') as (number | null)[]
  return {
    ...(absolute == null ? {} : { absolute }),
    ...(relative == null ? {} : { relative }),
    ...(cells == null ? {} : { cells }),
  }
}

function listOf(value: unknown, min: number, max: number, what: string): readonly unknown[] {
  if (!Array.isArray(value) || !isWhole(value.length, min, max)) {
    throw refused(`${what} is not a list of ${min === max ? min : `${min} to ${max}`}`)
  }
  return value
}

function byName([a]: readonly [string, number], [b]: readonly [string, number]): number {
  return a < b ? -1 : 1
}

function refused(why: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `the kernel is damaged: ${why}`, { cause })
}
