import { maskedCrc } from './crc32c.ts'

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
  const { records, end, stopped } = scan(bytes, 0, keep)
  if (stopped === 'end') return { records, damage: 'none' }
  if (stopped === 'inside') return { records, damage: 'tail' }
  if (stopped === 'order') return { records, damage: 'middle' }
  const tail = isZero(bytes, end) || nextWhole(bytes, end) === undefined
  return { records, damage: tail ? 'tail' : 'middle' }
}

interface Scan {
  readonly records: Buffer[]
  readonly end: number
  /** At the end of the bytes, between two records or inside of one; at a fragment that is damaged, or does not belong there. */
  readonly stopped: 'end' | 'inside' | 'damage' | 'order'
}

function scan(bytes: Buffer, from: number, keep: boolean): Scan {
  const records: Buffer[] = []
  const parts: Buffer[] = []
  let open = false
  let at = from
  for (;;) {
    if (BLOCK - (at % BLOCK) < HEADER) at += BLOCK - (at % BLOCK)
    if (at >= bytes.length) return { records, end: at, stopped: open ? 'inside' : 'end' }
    const fragment = readFragment(bytes, at)
    if (fragment === undefined) return { records, end: at, stopped: 'damage' }
    const { type, end } = fragment
    const begins = isBeginning(bytes, at)
    // A writer that was cut off in a record begins a new file: two beginnings in a row, or an end without one, are damage.
    if (begins === open) return { records, end: at, stopped: 'order' }
    if (keep) {
      parts.push(bytes.subarray(at + HEADER, end))
      if (type === FULL || type === LAST) records.push(Buffer.concat(parts.splice(0)))
    }
    open = type !== FULL && type !== LAST
    at = end
  }
}

/** The fragment at `at`; undefined when it is cut short or was changed. */
function readFragment(bytes: Buffer, at: number): { type: number; end: number } | undefined {
  if (at + HEADER > bytes.length) return undefined
  const end = at + HEADER + bytes.readUInt16LE(at + 4)
  const type = bytes[at + 6]!
  if (type < FULL || type > LAST) return undefined
  if (end > bytes.length || end > at - (at % BLOCK) + BLOCK) return undefined
  return maskedCrc(bytes, at + 6, end) === bytes.readUInt32LE(at) ? { type, end } : undefined
}

/** All whole records of a damaged log, in order. */
export function salvageLog(bytes: Buffer): Buffer[] {
  const records: Buffer[] = []
  for (let next: number | undefined = 0; next !== undefined; ) {
    const { records: found, end, stopped } = scan(bytes, next, true)
    records.push(...found)
    next = stopped === 'order' && isBeginning(bytes, end) ? end : nextWhole(bytes, end)
  }
  return records
}

function isBeginning(bytes: Buffer, at: number): boolean {
  const type = bytes[at + 6]
  return type === FULL || type === FIRST
}

/** Where something whole comes after the fragment at `at`, which is not: right behind it, or at the start of a later block. */
function nextWhole(bytes: Buffer, at: number): number | undefined {
  if (at + HEADER > bytes.length) return undefined
  const next = at + HEADER + bytes.readUInt16LE(at + 4)
  if (next < bytes.length && readFragment(bytes, next) !== undefined) return next
  for (let block = at - (at % BLOCK) + BLOCK; block < bytes.length; block += BLOCK) {
    if (readFragment(bytes, block) !== undefined) return block
  }
  return undefined
}

function isZero(bytes: Buffer, from: number): boolean {
  for (let i = from; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}
