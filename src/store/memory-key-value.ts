import { MeshError } from '../base/errors.ts'
import type { Change, KeyValue, Row } from './key-value.ts'
import type { KeyRange } from './keys.ts'
import { ITERATOR_ROWS } from './limits.ts'

/** Keys as strings of one character a byte: they compare as the bytes do. */
const text = (key: Buffer): string => key.toString('latin1')

/** A KeyValue that is gone when the process is. Iteration sorts the keys anew after an insertion: for tests and small stores. */
export function createMemoryKeyValue(): KeyValue {
  const map = new Map<string, Buffer>()
  let sorted: string[] | undefined = []
  let closed = false

  const open = (): void => {
    if (closed) throw new MeshError('ERR_MESH_STOPPED', 'the store is closed')
  }
  const within = (range: KeyRange): string[] => {
    open()
    sorted ??= [...map.keys()].sort((a, b) => (a < b ? -1 : 1))
    return sorted.slice(lowerBound(sorted, text(range.gte)), lowerBound(sorted, text(range.lt)))
  }
  const apply = ({ key, value }: Change): void => {
    const name = text(key)
    if (value === undefined) {
      if (map.delete(name)) sorted = undefined
    } else {
      if (!map.has(name)) sorted = undefined
      map.set(name, Buffer.from(value))
    }
  }
  const row = (name: string): Row => [Buffer.from(name, 'latin1'), map.get(name)!]

  return {
    getSync: (key) => {
      open()
      return map.get(text(key))
    },
    write: async (changes) => {
      open()
      for (const change of changes) apply(change)
    },
    rows: async function* (range) {
      const rows = within(range).map(row)
      for (let i = 0; i < rows.length; i += ITERATOR_ROWS) {
        yield rows.slice(i, i + ITERATOR_ROWS)
        open()
      }
    },
    last: async (range) => {
      const name = within(range).at(-1)
      return name === undefined ? undefined : row(name)
    },
    clear: async (range) => {
      for (const name of within(range)) map.delete(name)
      sorted = undefined
    },
    close: async () => {
      closed = true
      map.clear()
    },
  }
}

/** Index of the first name >= `name`. */
function lowerBound(sorted: readonly string[], name: string): number {
  let lo = 0
  let hi = sorted.length
  while (lo < hi) {
    const mid = (lo + hi) >>> 1
    if (sorted[mid]! < name) lo = mid + 1
    else hi = mid
  }
  return lo
}
