import { MeshError } from '../base/errors.ts'
import { metaKey } from './keys.ts'

/** Version of keys.ts and records.ts. */
export const SCHEMA = 1
export const SCHEMA_KEY = metaKey('\0schema')

/** ERR_MESH_UNSUPPORTED for a database of another version; undefined: none is noted. */
export function checkSchema(dir: string, value: Buffer | undefined): void {
  if (value === undefined || value[0] === SCHEMA) return
  throw new MeshError(
    'ERR_MESH_UNSUPPORTED',
    `${dir} has store format ${value[0]}, this version of Meshwork reads ${SCHEMA}: ` +
      'use the version that wrote it, or another folder',
  )
}
