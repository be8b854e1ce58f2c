import { crc32c } from './crc32c.ts'

/**
 * LevelDB's log format (leveldb/doc/log_format.md), in which its write-ahead logs and its manifest are: blocks of 32 KiB, records
 * cut into fragments, each `crc32c (4, masked), length (2), type (1), data`, little-endian.
 */
const BLOCK = 32_768
const HEADER = 7
const FULL = 1
const FIRST = 2
const LAST = 4

export interface LogContents {
  readonly records: Buffer[]
  /**
   * What was found behind the last whole record: `none`, `tail` (a write that was under way when its process or the machine ended),
   * or `middle`: something that is not whole, and good records after it.
   */
  readonly damage: 'none' | 'tail' | 'middle'
}

/** The records of a log up to the first that is not whole; without `keep` they are only looked at. */
export function readLevelLog(bytes: Buffer, keep = true): LogContents {
  const records: Buffer[] = []
  let parts: Buffer[] = []
  let open = false
  let at = 0
  for (;;) {
    if (BLOCK - (at % BLOCK) < HEADER) at += BLOCK - (at % BLOCK)
    if (at >= bytes.length) break
    const fragment = readFragment(bytes, at)
    if (fragment === undefined) {
      return { records, damage: isZero(bytes, at) || !hasMore(bytes, at) ? 'tail' : 'middle' }
    }
    const { type, end } = fragment
    const begins = type === FULL || type === FIRST
    // A writer that was cut off in a record begins a new file: two beginnings in a row, or an end without one, are damage.
    if (begins === open) return { records, damage: 'middle' }
    if (keep) {
      parts.push(bytes.subarray(at + HEADER, end))
      if (type === FULL || type === LAST) records.push(Buffer.concat(parts.splice(0)))
    }
    open = type !== FULL && type !== LAST
    at = end
  }
  if (open) parts = []
  return { records, damage: open ? 'tail' : 'none' }
}

/** The fragment at `at`; undefined when it is cut short or was changed. */
function readFragment(bytes: Buffer, at: number): { type: number; end: number } | undefined {
  if (at + HEADER > bytes.length) return undefined
  const end = at + HEADER + bytes.readUInt16LE(at + 4)
  const type = bytes[at + 6]!
  if (type < FULL || type > LAST) return undefined
  if (end > bytes.length || end > at - (at % BLOCK) + BLOCK) return undefined
  const crc = crc32c(bytes, at + 6, end)
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
  return masked === bytes.readUInt32LE(at) ? { type, end } : undefined
}

/** Whether anything whole comes after the fragment at `at`, which is not: right behind it, or at the start of a later block. */
function hasMore(bytes: Buffer, at: number): boolean {
  if (at + HEADER > bytes.length) return false
  const next = at + HEADER + bytes.readUInt16LE(at + 4)
  if (next < bytes.length && readFragment(bytes, next) !== undefined) return true
  for (let block = at - (at % BLOCK) + BLOCK; block < bytes.length; block += BLOCK) {
    if (readFragment(bytes, block) !== undefined) return true
  }
  return false
}

function isZero(bytes: Buffer, from: number): boolean {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}
