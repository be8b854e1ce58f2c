/** Checks of JSON that comes over the control socket: what is wrong is named. */
import { MeshError } from '../../base/errors.ts'
import type { BlobHash } from '../../scheduler/types.ts'

export type Fields = Record<string, unknown>

/** Whose fault a wrong value is: a program's, or its user's. */
export type Fault = 'ERR_MESH_PROTOCOL' | 'ERR_MESH_OPTION_INVALID'

export function fields(name: string, value: unknown, known: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(name, 'an object')
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw wrong(`${name}.${key}`, `one of ${known.join(', ')}`)
  }
  return value as Fields
}

export function hash(name: string, value: unknown): BlobHash {
  if (typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)) return value as BlobHash
  throw wrong(name, 'a SHA-256 as 64 lower-case hex characters')
}

export function whole(
  name: string,
  value: unknown,
  min: number,
  code: Fault = 'ERR_MESH_PROTOCOL',
): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min) return value
  throw wrong(name, min < 0 ? 'a whole number' : `a whole number from ${min} up`, code)
}

export function wrong(name: string, right: string, code: Fault = 'ERR_MESH_PROTOCOL'): MeshError {
  return new MeshError(code, `${name} is wrong: it must be ${right}`, { details: { field: name } })
}
