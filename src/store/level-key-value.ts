import { open, readdir, realpath, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { isMeshError, MeshError } from '../base/errors.ts'
import {
  damaged,
  diskFull,
  errorCode,
  isCorruption,
  isDiskFull,
  isReadOnly,
  readOnly,
} from './fs-errors.ts'
import type { Change, KeyValue, Row } from './key-value.ts'
import type { KeyRange } from './keys.ts'
import {
  ITERATOR_BYTES,
  ITERATOR_ROWS,
  RECOVERY_SLACK_BYTES,
  WRITE_BUFFER_BYTES,
} from './limits.ts'

/** LevelDB folders open in this process: a second open here fails, and its failure would drop the first one's lock. */
const openFolders = new Set<string>()

export interface LevelOptions {
  readonly writeBufferBytes?: number
  /** It is closed. */
  readonly onClosed?: (() => void) | undefined
  /** Something of the database was found to be missing or changed. */
  readonly onDamaged?: ((what: string) => void) | undefined
}

type Database = Level<Buffer, Buffer>

/**
 * A LevelDB folder as a KeyValue. LevelDB opens a damaged one as far as it can and drops the rest: look first
 * (level-inspect.ts). ERR_MESH_FOLDER_LOCKED, ERR_MESH_STORE_DAMAGED, ERR_MESH_DISK_FULL, ERR_MESH_FOLDER_READ_ONLY.
 */
export async function openLevel(folder: string, options: LevelOptions = {}): Promise<KeyValue> {
  const name = await realpath(folder)
  if (openFolders.has(name)) throw locked(folder)
  openFolders.add(name)
  try {
    const db = await openDatabase(folder, options)
    return new LevelKeyValue(folder, options, db, () => {
      openFolders.delete(name)
      options.onClosed?.()
    })
  } catch (error) {
    openFolders.delete(name)
    throw openError(folder, error)
  }
}

async function openDatabase(folder: string, options: LevelOptions): Promise<Database> {
  const db: Database = new Level(folder, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    writeBufferSize: writeBuffer(options),
  })
  await db.open()
  return db
}

function openError(folder: string, error: unknown): unknown {
  const cause = (error as { cause?: unknown }).cause ?? error
  if (errorCode(cause) === 'LEVEL_LOCKED') return locked(folder, error)
  if (isDiskFull(error)) return diskFull(folder, error)
  if (isReadOnly(error)) return readOnly(folder, error)
  if (isCorruption(error)) {
    return damaged(folder, cause instanceof Error ? cause.message : String(cause), error)
  }
  return error
}

function locked(folder: string, cause?: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_FOLDER_LOCKED',
    `the database ${folder} is open already: only one peer can use a data folder at a time`,
    { cause, details: { path: folder } },
  )
}

/** An open LevelDB, which may have to be opened again in place. */
class LevelKeyValue implements KeyValue {
  private readonly folder: string
  private readonly options: LevelOptions
  private readonly onClosed: () => void
  private db: Database
  /** Counts how often the database was opened again: an iterator of an earlier one goes on in the next. */
  private generation = 0
  private reopening: Promise<void> | undefined
  /**
   * A write failed. LevelDB's log may end in half a record then, behind which nothing is found again, and LevelDB itself may refuse
   * to go on: nothing is written before it was opened again.
   */
  private broken: unknown
  private closed = false

  constructor(folder: string, options: LevelOptions, db: Database, onClosed: () => void) {
    this.folder = folder
    this.options = options
    this.db = db
    this.onClosed = onClosed
  }

  getSync(key: Buffer): Buffer | undefined {
    try {
      return this.db.getSync(key)
    } catch (error) {
      throw this.failed(error)
    }
  }

  write(changes: readonly Change[], sync: boolean): Promise<void> {
    return this.writing(async () => {
      // A chained batch copies straight into LevelDB: 4-8 times as fast as an array.
      const batch = this.db.batch()
      for (const { key, value } of changes) {
        if (value === undefined) batch.del(key)
        else batch.put(key, value as Buffer)
      }
      // The option is LevelDB's own; the types that Level shares with browsers do not know it.
      await batch.write({ sync } as Parameters<typeof batch.write>[0])
    })
  }

  sync(): Promise<void> {
    return this.writing(() => syncLogs(this.folder))
  }

  clear({ gte, lt }: KeyRange): Promise<void> {
    return this.writing(() => this.db.clear({ gte, lt }))
  }

  async *rows({ gte, lt }: KeyRange): AsyncIterable<readonly Row[]> {
    let after: Buffer | undefined
    for (;;) {
      await this.reopening?.catch(() => {})
      const { generation } = this
      const from = after === undefined ? { gte } : { gt: after }
      const iterator = this.db.iterator({ ...from, lt, highWaterMarkBytes: ITERATOR_BYTES })
      try {
        for (;;) {
          const rows = await iterator.nextv(ITERATOR_ROWS)
          if (rows.length === 0) return
          yield rows as readonly Row[]
          after = rows.at(-1)![0]
        }
      } catch (error) {
        if (this.closed || generation === this.generation) throw this.failed(error)
      } finally {
        await iterator.close()
      }
    }
  }

  async last({ gte, lt }: KeyRange): Promise<Row | undefined> {
    await this.reopening?.catch(() => {})
    try {
      const rows = await this.db.iterator({ gte, lt, reverse: true, limit: 1 }).all()
      return rows[0] as Row | undefined
    } catch (error) {
      throw this.failed(error)
    }
  }

  recover(bytes: number): Promise<void> {
    this.reopening ??= this.reopen(bytes).finally(() => {
      this.reopening = undefined
    })
    return this.reopening
  }

  async close(): Promise<void> {
    this.closed = true
    await this.reopening?.catch(() => {})
    await this.db.close()
    this.onClosed()
  }

  private async reopen(bytes: number): Promise<void> {
    try {
      await checkRoom(this.folder, bytes + 2 * writeBuffer(this.options) + RECOVERY_SLACK_BYTES)
      if (this.closed) throw stopped()
      this.generation++
      await this.db.close()
      this.db = await openDatabase(this.folder, this.options)
    } catch (error) {
      throw this.failed(error)
    }
    this.broken = undefined
  }

  private async writing(work: () => Promise<void>): Promise<void> {
    if (this.broken !== undefined) throw this.broken
    try {
      await work()
    } catch (error) {
      const failure = this.failed(error)
      if (!isMeshError(failure, 'ERR_MESH_STOPPED')) this.broken ??= failure
      throw failure
    }
  }

  private failed(error: unknown): unknown {
    const code = errorCode(error)
    if (code === 'LEVEL_DATABASE_NOT_OPEN' || code === 'LEVEL_ITERATOR_NOT_OPEN') {
      // Not open and not closed: there was no room to open it again.
      return this.closed || this.broken === undefined ? stopped(error) : this.broken
    }
    if (isCorruption(error)) {
      this.options.onDamaged?.(String(error))
      return damaged(this.folder, String(error), error)
    }
    return isDiskFull(error) ? diskFull(this.folder, error) : error
  }
}

function stopped(cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_STOPPED', 'the store is closed', { cause })
}

function writeBuffer(options: LevelOptions): number {
  return options.writeBufferBytes ?? WRITE_BUFFER_BYTES
}

/** ERR_MESH_DISK_FULL when the file system says that it has less than `bytes` free. */
async function checkRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize < bytes) {
    throw diskFull(folder, new Error(`${bavail * bsize} bytes are free, ${bytes} are needed`))
  }
}

/**
 * LevelDB's own sync is a write, and the next write waits for it (2-3 ms each here). Its log file can be synced beside it: a write
 * that has returned is in the file, and what is no longer in a log is in a table, which LevelDB itself syncs.
 */
async function syncLogs(folder: string): Promise<void> {
  const logs = (await readdir(folder)).filter((name) => name.endsWith('.log'))
  for (const name of logs) {
    try {
      const file = await open(join(folder, name), 'r+')
      try {
        await file.datasync()
      } finally {
        await file.close()
      }
    } catch (error) {
      // Compacted meanwhile.
      if (errorCode(error) !== 'ENOENT') throw error
    }
  }
}
