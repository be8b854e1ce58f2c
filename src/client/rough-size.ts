/** Children of a container that are looked at; the rest is taken to be like them. */
const SAMPLE = 64
const MAX_DEPTH = 6

/**
 * About how many bytes a value takes when it is sent: cheap, and never far too low for large values. It decides when a piece is
 * full; the encoding itself tells the truth.
 */
export function roughBytes(value: unknown, depth = 0): number {
  switch (typeof value) {
    case 'number':
    case 'bigint':
      return 9
    case 'string':
      return value.length + 5
    case 'object':
      return value === null ? 1 : roughObject(value, depth)
    default:
      return 1
  }
}

function roughObject(value: object, depth: number): number {
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength + 8
  if (depth >= MAX_DEPTH) return 32
  if (Array.isArray(value)) return 5 + sample(value, value.length, depth)
  if (value instanceof Map) return 8 + sample(pairs(value), value.size, depth)
  if (value instanceof Set) return 8 + sample(value, value.size, depth)
  let bytes = 5
  let seen = 0
  for (const key in value) {
    bytes += key.length + 2 + roughBytes((value as Record<string, unknown>)[key], depth + 1)
    seen += 1
    if (seen === SAMPLE) return (bytes * Object.keys(value).length) / SAMPLE
  }
  return bytes
}

function sample(children: Iterable<unknown>, count: number, depth: number): number {
  let bytes = 0
  let seen = 0
  for (const child of children) {
    bytes += roughBytes(child, depth + 1)
    seen += 1
    if (seen === SAMPLE) return (bytes * count) / SAMPLE
  }
  return bytes
}

function* pairs(map: Map<unknown, unknown>): Generator<unknown> {
  for (const [key, value] of map) yield [key, value]
}
