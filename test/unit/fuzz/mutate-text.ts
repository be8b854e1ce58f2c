/** Changes to JSON as a tree, and to plain text. */
import { mutateBytes } from './mutate.ts'
import type { Random } from './random.ts'

/** JSON texts that a reader may not expect in some place. */
const STRANGERS: readonly string[] = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-1',
  '1.5',
  '1e999',
  '-1e999',
  '9007199254740992',
  '9007199254740991',
  '""',
  '"\\ud800"',
  '"\\u0000"',
  '"__proto__"',
  `"${'a'.repeat(5_000)}"`,
  '[]',
  '{}',
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  '{"length":4294967295}',
  '{"toString":1,"valueOf":1,"toJSON":1}',
  '[[[[[[[[]]]]]]]]',
  `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
]
const STRANGE_KEYS = [
  '__proto__',
  'constructor',
  'toString',
  '',
  'length',
  '0',
  'then',
  'error',
  'end',
]

/** `value` as JSON text, with some of its parts replaced, left out or said twice. */
function scramble(value: unknown, random: Random, rate: number): string {
  if (random.oneIn(rate)) return random.pick(STRANGERS)
  if (Array.isArray(value)) {
    const parts = value.map((each) => scramble(each, random, rate))
    if (random.oneIn(rate)) parts.push(random.pick(STRANGERS))
    if (random.oneIn(rate)) parts.pop()
    return `[${parts.join(',')}]`
  }
  if (typeof value === 'object' && value !== null) {
    const parts = Object.entries(value).flatMap(([key, each]) => {
      if (random.oneIn(rate)) return []
      const part = `${JSON.stringify(key)}:${scramble(each, random, rate)}`
      return random.oneIn(rate)
        ? [part, `${JSON.stringify(key)}:${random.pick(STRANGERS)}`]
        : [part]
    })
    if (random.oneIn(rate)) {
      parts.push(`${JSON.stringify(random.pick(STRANGE_KEYS))}:${random.pick(STRANGERS)}`)
    }
    return `{${parts.join(',')}}`
  }
  return JSON.stringify(value) ?? 'null'
}

/** Changes to a JSON text; what is not JSON is changed as bytes. */
export function mutateJson(
  bytes: Uint8Array,
  random: Random,
  others: readonly Uint8Array[],
): Uint8Array {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    return new Uint8Array(Buffer.from(scramble(value, random, random.pick([2, 6, 20]))))
  } catch (error) {
    if (error instanceof SyntaxError) return mutateBytes(bytes, random, others)
    throw error
  }
}
