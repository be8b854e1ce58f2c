import { MeshError } from '../base/errors.ts'
import { MAX_JSON_DEPTH } from './limits.ts'

export { type LineOptions, readLines, readNdjson, type TextSource } from './lines.ts'

/**
 * A value as one line of JSON, without the line end. What JSON lacks is written so that nothing is lost silently:
 * `undefined`, NaN and the infinities → `null` · bytes (ArrayBuffer, typed arrays) → base64 of their bytes · BigInt → decimal string ·
 * Date → ISO 8601 (an invalid one `null`) · Map → object when all its keys are strings, else a list of [key, value] · Set → list ·
 * RegExp → its source as a string · Error → { name, message }. Nested values too.
 * @throws ERR_MESH_VALUE_UNSENDABLE for a value that holds itself, a function or a symbol, or nests deeper than 500
 */
export function toJsonLine(value: unknown): string {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value) ? String(value === 0 ? 0 : value) : 'null'
    case 'string':
      return JSON.stringify(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'undefined':
      return 'null'
    default:
      return write(value, [])
  }
}

/** `ancestors` are the containers around the value, outermost first. */
function write(value: unknown, ancestors: object[]): string {
  switch (typeof value) {
    case 'object':
      return value === null ? 'null' : writeObject(value, ancestors)
    case 'bigint':
      return `"${value}"`
    case 'function':
    case 'symbol':
      throw unsendable(`it holds a ${typeof value}`)
    default:
      return toJsonLine(value)
  }
}

function writeObject(value: object, ancestors: object[]): string {
  if (ArrayBuffer.isView(value)) {
    return base64(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  }
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
    return base64(new Uint8Array(value))
  }
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? 'null' : `"${value.toISOString()}"`
  }
  if (value instanceof RegExp) return JSON.stringify(String(value))
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return toJsonLine(value.valueOf())
  }
  if (value instanceof Error) {
    return JSON.stringify({ name: value.name, message: value.message })
  }
  if (ancestors.includes(value)) throw unsendable('it holds itself')
  if (ancestors.length >= MAX_JSON_DEPTH) {
    throw unsendable(`it nests deeper than ${MAX_JSON_DEPTH}`)
  }
  ancestors.push(value)
  const text = writeContainer(value, ancestors)
  ancestors.pop()
  return text
}

function writeContainer(value: object, ancestors: object[]): string {
  // Array.from, not map: holes are null too.
  if (Array.isArray(value)) return list(Array.from(value as unknown[]), ancestors)
  if (value instanceof Set) return list([...value], ancestors)
  if (value instanceof Map) {
    const pairs = [...value] as [unknown, unknown][]
    if (pairs.every(([key]) => typeof key === 'string')) {
      return fields(pairs as [string, unknown][], ancestors)
    }
    return list(pairs, ancestors)
  }
  let text = ''
  for (const key of Object.keys(value)) {
    const field = write((value as Record<string, unknown>)[key], ancestors)
    text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${field}`
  }
  return `{${text}}`
}

function list(values: unknown[], ancestors: object[]): string {
  return `[${values.map((value) => write(value, ancestors)).join(',')}]`
}

function fields(pairs: [string, unknown][], ancestors: object[]): string {
  const texts = pairs.map(([key, value]) => `${JSON.stringify(key)}:${write(value, ancestors)}`)
  return `{${texts.join(',')}}`
}

function base64(bytes: Uint8Array): string {
  return `"${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')}"`
}

function unsendable(why: string): MeshError {
  return new MeshError('ERR_MESH_VALUE_UNSENDABLE', `the value cannot be written as JSON: ${why}`)
}
