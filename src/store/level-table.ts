import { maskedCrc } from './crc32c.ts'
import type { Change, Row } from './key-value.ts'
import { unsnap } from './snappy.ts'
import { orUndefined, VarReader } from './var-reader.ts'

/**
 * LevelDB's tables (leveldb/doc/table_format.md): blocks, each with its compression and checksum behind it, an index of them, and a
 * footer. LevelDB checks none of these checksums when it reads or merges, and ends the process when it finds keys out of order.
 */
const FOOTER = 48
const MAGIC = Buffer.from('57fb808b247547db', 'hex')
const TRAILER = 5
const PUT = 1

interface Handle {
  readonly offset: number
  readonly size: number
}

/** Whether all of a table is as it was written. */
export function isWholeTable(bytes: Buffer): boolean {
  const footer = readFooter(bytes)
  if (footer === undefined) return false
  for (const list of [footer.index, footer.meta]) {
    const handles = readHandles(bytes, list)
    if (handles === undefined) return false
    for (const handle of handles) if (!isWholeBlock(bytes, handle)) return false
  }
  return true
}

/** What the good blocks of a table hold: the newest value of each key in it, deleted ones left out. */
export function* salvageTable(bytes: Buffer): Iterable<Row> {
  const footer = readFooter(bytes)
  const handles = footer && readHandles(bytes, footer.index)
  let last: Buffer | undefined
  for (const handle of handles ?? []) {
    for (const [key, value] of readBlock(bytes, handle) ?? []) {
      // Behind the key stand its sequence number and what was done; the newest comes first.
      if (key.length < 8) continue
      const name = key.subarray(0, key.length - 8)
      if (last !== undefined && name.equals(last)) continue
      last = name
      if (key[key.length - 8] === PUT) yield [name, value]
    }
  }
}

/** The changes of a batch as it stands in a log: `sequence (8), count (4), changes`. undefined when it is none. */
export function readBatch(record: Buffer): Change[] | undefined {
  return orUndefined(() => {
    const changes: Change[] = []
    const reader = new VarReader(record, 12)
    while (!reader.ended) {
      const type = reader.take(1)[0]!
      const key = reader.slice()
      changes.push(type === PUT ? { key, value: reader.slice() } : { key })
    }
    return changes
  })
}

function readFooter(bytes: Buffer): { meta: Handle; index: Handle } | undefined {
  if (bytes.length < FOOTER || !bytes.subarray(-8).equals(MAGIC)) return undefined
  return orUndefined(() => {
    const reader = new VarReader(bytes, bytes.length - FOOTER)
    return { meta: readHandle(reader), index: readHandle(reader) }
  })
}

function readHandle(reader: VarReader): Handle {
  return { offset: reader.number(), size: reader.number() }
}

/** The blocks that an index names; undefined when the index itself is damaged. */
function readHandles(bytes: Buffer, index: Handle): Handle[] | undefined {
  const rows = readBlock(bytes, index)
  return rows && orUndefined(() => rows.map(([, value]) => readHandle(new VarReader(value))))
}

function isWholeBlock(bytes: Buffer, { offset, size }: Handle): boolean {
  const end = offset + size
  if (end + TRAILER > bytes.length) return false
  return maskedCrc(bytes, offset, end + 1) === bytes.readUInt32LE(end + 1)
}

/** The rows of a block; undefined when it is damaged. */
function readBlock(bytes: Buffer, handle: Handle): Row[] | undefined {
  if (!isWholeBlock(bytes, handle)) return undefined
  const { offset, size } = handle
  return orUndefined(() => {
    const raw = bytes.subarray(offset, offset + size)
    return readRows(bytes[offset + size] === 1 ? unsnap(raw) : raw)
  })
}

/** `shared, own, length of the value, own part of the key, value` each; then where keys stand whole, and how many of those. */
function readRows(block: Buffer): Row[] {
  const restarts = block.readUInt32LE(block.length - 4)
  const end = block.length - 4 - 4 * restarts
  if (end < 0) throw new RangeError('cut short')
  const reader = new VarReader(block)
  const rows: Row[] = []
  let key: Buffer = Buffer.alloc(0)
  while (reader.at < end) {
    const shared = reader.number()
    const own = reader.number()
    const length = reader.number()
    key = Buffer.concat([key.subarray(0, shared), reader.take(own)])
    rows.push([key, reader.take(length)])
  }
  return rows
}
