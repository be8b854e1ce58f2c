import { existsSync, readdirSync } from 'node:fs'
import { mkdir, open, readdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { MeshError } from '../base/errors.ts'
import { damaged, diskFull, errorCode, isDiskFull } from './fs-errors.ts'
import type { KeyValue, Row } from './key-value.ts'
import { ITERATOR_BYTES, ITERATOR_ROWS, WRITE_BUFFER_BYTES } from './limits.ts'

/** LevelDB folders open in this process: a second open here fails, and its failure would drop the first one's lock. */
const openFolders = new Set<string>()

export interface LevelOptions {
  readonly writeBufferBytes?: number
}

/** A LevelDB folder as a KeyValue. ERR_MESH_FOLDER_LOCKED, ERR_MESH_STORE_DAMAGED, ERR_MESH_DISK_FULL. */
export async function openLevel(folder: string, options: LevelOptions = {}): Promise<KeyValue> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const name = await realpath(folder)
  if (openFolders.has(name)) throw locked(folder)
  openFolders.add(name)
  try {
    checkComplete(folder)
    const db = new Level<Buffer, Buffer>(folder, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      writeBufferSize: options.writeBufferBytes ?? WRITE_BUFFER_BYTES,
    })
    await db.open()
    return wrap(db, folder, () => openFolders.delete(name))
  } catch (error) {
    openFolders.delete(name)
    throw openError(folder, error)
  }
}

/**
 * LevelDB that finds tables but no CURRENT starts an empty database over them, and whoever asks later finds most of it gone. A
 * folder that was used has its CURRENT.
 */
function checkComplete(folder: string): void {
  if (existsSync(join(folder, 'CURRENT'))) return
  const used = readdirSync(folder).some((file) => /^MANIFEST-|\.(ldb|sst)$/.test(file))
  if (used) throw damaged(folder, 'its file CURRENT is missing')
}

function openError(folder: string, error: unknown): unknown {
  const cause = (error as { cause?: unknown }).cause ?? error
  if (errorCode(cause) === 'LEVEL_LOCKED') return locked(folder, error)
  if (isDiskFull(error)) return diskFull(folder, error)
  if (errorCode(error)?.startsWith('LEVEL_') === true) {
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

function wrap(db: Level<Buffer, Buffer>, folder: string, closed: () => void): KeyValue {
  const failed = (error: unknown): unknown => {
    const code = errorCode(error)
    if (code === 'LEVEL_DATABASE_NOT_OPEN' || code === 'LEVEL_ITERATOR_NOT_OPEN') {
      return new MeshError('ERR_MESH_STOPPED', 'the store is closed', { cause: error })
    }
    if (code === 'LEVEL_CORRUPTION') return damaged(folder, String(error), error)
    return isDiskFull(error) ? diskFull(folder, error) : error
  }
  const guarded = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw failed(error)
    }
  }
  return {
    getSync: (key) => {
      try {
        return db.getSync(key)
      } catch (error) {
        throw failed(error)
      }
    },
    write: (changes, sync) =>
      guarded(async () => {
        // A chained batch copies straight into LevelDB: 4-8 times as fast as an array.
        const batch = db.batch()
        for (const { key, value } of changes) {
          if (value === undefined) batch.del(key)
          else batch.put(key, value as Buffer)
        }
        // The option is LevelDB's own; the types that Level shares with browsers do not know it.
        await batch.write({ sync } as Parameters<typeof batch.write>[0])
      }),
    sync: () => guarded(() => syncLogs(folder)),
    rows: async function* ({ gte, lt }) {
      const iterator = db.iterator({ gte, lt, highWaterMarkBytes: ITERATOR_BYTES })
      try {
        for (;;) {
          const rows = await guarded(() => iterator.nextv(ITERATOR_ROWS))
          if (rows.length === 0) return
          yield rows as readonly Row[]
        }
      } finally {
        await iterator.close()
      }
    },
    last: ({ gte, lt }) =>
      guarded(async () => {
        const rows = await db.iterator({ gte, lt, reverse: true, limit: 1 }).all()
        return rows[0] as Row | undefined
      }),
    clear: ({ gte, lt }) => guarded(() => db.clear({ gte, lt })),
    close: async () => {
      await db.close()
      closed()
    },
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
