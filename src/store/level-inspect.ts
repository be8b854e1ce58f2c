import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isMissing } from './fs-errors.ts'
import { readLevelLog } from './level-log.ts'
import { isWholeTable } from './level-table.ts'
import { orUndefined, VarReader } from './var-reader.ts'

/** What a LevelDB folder looks like before anybody opens it. */
export type LevelState =
  | { readonly state: 'empty' }
  | { readonly state: 'whole' }
  /** `indexOnly`: what is wrong are the files that say which tables count; all tables may be there. */
  | { readonly state: 'damaged'; readonly reason: string; readonly indexOnly: boolean }

/** What the manifest says: which files hold the database. */
interface Manifest {
  /** Size in bytes of each live table, by number. */
  readonly tables: ReadonlyMap<number, number>
  /** Logs from this number on are not in tables yet; 0 before there was one. */
  readonly logNumber: number
}

const TABLE_FILE = /^(\d+)\.(?:ldb|sst)$/
const LOG_FILE = /^(\d+)\.log$/

/**
 * Looks for damage that LevelDB does not tell: it takes a manifest that ends early, or a log with a bad record in the middle, for
 * all there is, and deletes the tables that it then knows nothing of.
 *
 * A manifest that lost its end names a log that is no longer there (each table made of a log is noted together with the next log's
 * number, and only then the log is deleted), or tables that were merged into others. So what the manifest names must be there.
 * A log may end in half a record: what was under way when the machine went down.
 *
 * Tables are read whole and their checksums compared as long as they have at most `tableBytes` together: LevelDB does not, and ends
 * the process when it merges a damaged one.
 */
export async function inspectLevel(folder: string, tableBytes = Infinity): Promise<LevelState> {
  const names = await readdir(folder)
  const tables = numbersOf(names, TABLE_FILE)
  const logs = numbersOf(names, LOG_FILE)
  const current = await readIfThere(join(folder, 'CURRENT'))
  if (current === undefined) {
    // A first open that was cut off may leave a manifest; nothing else.
    return tables.size + logs.size === 0
      ? { state: 'empty' }
      : broken('its file CURRENT is missing', true)
  }
  const name = /^(MANIFEST-\d+)\n$/.exec(current.toString('latin1'))?.[1]
  if (name === undefined) return broken('its file CURRENT is not what was written', true)
  const bytes = await readIfThere(join(folder, name))
  if (bytes === undefined) return broken(`its file ${name} is missing`, true)
  const manifest = readManifest(bytes)
  if (manifest === undefined) return broken(`its file ${name} is damaged`, true)
  return (
    (await checkTables(folder, manifest, tables)) ??
    (await checkLogs(folder, manifest, logs)) ??
    (await checkContents(folder, manifest, tables, tableBytes)) ?? { state: 'whole' }
  )
}

function broken(reason: string, indexOnly = false): LevelState {
  return { state: 'damaged', reason, indexOnly }
}

async function checkTables(
  folder: string,
  { tables }: Manifest,
  present: ReadonlyMap<number, string>,
): Promise<LevelState | undefined> {
  for (const [number, size] of tables) {
    const name = present.get(number)
    if (name === undefined) return broken(`table ${number} is missing`)
    const { size: is } = await stat(join(folder, name))
    if (is !== size) return broken(`table ${number} has ${is} bytes where ${size} were written`)
  }
  return undefined
}

async function checkContents(
  folder: string,
  { tables }: Manifest,
  present: ReadonlyMap<number, string>,
  most: number,
): Promise<LevelState | undefined> {
  let total = 0
  for (const size of tables.values()) total += size
  if (total > most) return undefined
  for (const number of tables.keys()) {
    if (isWholeTable(await readFile(join(folder, present.get(number)!)))) continue
    return broken(`table ${number} was changed`)
  }
  return undefined
}

async function checkLogs(
  folder: string,
  { logNumber }: Manifest,
  present: ReadonlyMap<number, string>,
): Promise<LevelState | undefined> {
  if (logNumber > 0 && !present.has(logNumber)) return broken(`log ${logNumber} is missing`)
  const needed = [...present].filter(([number]) => number >= logNumber).sort(([a], [b]) => a - b)
  for (const [i, [number, name]] of needed.entries()) {
    const { damage } = readLevelLog(await readFile(join(folder, name)), false)
    const last = i === needed.length - 1
    if (damage === 'middle' || (damage === 'tail' && !last)) {
      return broken(`log ${number} has lost a part from its middle`)
    }
  }
  return undefined
}

/** undefined when it holds nothing that LevelDB wrote. */
function readManifest(bytes: Buffer): Manifest | undefined {
  const { records, damage } = readLevelLog(bytes)
  if (damage === 'middle' || records.length === 0) return undefined
  const tables = new Map<number, number>()
  let logNumber = 0
  for (const record of records) {
    const edit = readEdit(record)
    if (edit === undefined) return undefined
    for (const number of edit.removed) tables.delete(number)
    for (const [number, size] of edit.added) tables.set(number, size)
    logNumber = edit.logNumber ?? logNumber
  }
  return { tables, logNumber }
}

interface Edit {
  logNumber?: number
  readonly removed: number[]
  readonly added: [number: number, size: number][]
}

/** A VersionEdit (leveldb/db/version_edit.cc): fields, each a tag and what belongs to it. */
function readEdit(record: Buffer): Edit | undefined {
  const edit: Edit = { removed: [], added: [] }
  const reader = new VarReader(record)
  const number = (): number => reader.number()
  const skipBytes = (): void => void reader.slice()
  const fields: Record<number, () => void> = {
    1: skipBytes, // comparator
    2: () => void (edit.logNumber = number()),
    3: number, // next file number
    4: number, // last sequence
    5: () => {
      number() // level
      skipBytes() // compaction pointer
    },
    6: () => {
      number() // level
      edit.removed.push(number())
    },
    7: () => {
      number() // level
      edit.added.push([number(), number()])
      skipBytes() // smallest key
      skipBytes() // largest key
    },
    9: number, // previous log
  }
  return orUndefined(() => {
    while (!reader.ended) {
      const field = fields[number()]
      if (field === undefined) return undefined
      field()
    }
    return edit
  })
}

function numbersOf(names: readonly string[], pattern: RegExp): Map<number, string> {
  const numbers = new Map<number, string>()
  for (const name of names) {
    const match = pattern.exec(name)
    if (match !== null) numbers.set(Number(match[1]), name)
  }
  return numbers
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}
