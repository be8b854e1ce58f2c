import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isMeshError } from '../base/errors.ts'
import { openFileBlobs } from './blobs.ts'
import { errorCode, isDiskFull, writeError } from './fs-errors.ts'
import { KeyValueStore, type StoreOptions } from './key-value-store.ts'
import { inspectLevel } from './level-inspect.ts'
import { type LevelOptions, openLevel } from './level-key-value.ts'
import {
  type DueRepair,
  duePath,
  dueRepairText,
  readDueRepair,
  repairLevel,
} from './level-repair.ts'
import { MAX_CHECKED_BYTES } from './limits.ts'
import { createVerifier } from './signatures.ts'
import type { BlobStore, Store, StoreRepair } from './types.ts'

export interface OpenStoreOptions extends StoreOptions, LevelOptions {
  /** The peer's data folder; the database is in its `db`, blobs are in its `blobs`. */
  readonly dir: string
}

type Options = OpenStoreOptions & { readonly verify: NonNullable<OpenStoreOptions['verify']> }

/**
 * Opens a peer's durable state, and repairs it first if it is damaged (`repair` of the store tells). The caller holds the folder's
 * lock (folder-lock.ts). ERR_MESH_FOLDER_LOCKED, ERR_MESH_FOLDER_READ_ONLY, ERR_MESH_DISK_FULL, ERR_MESH_UNSUPPORTED;
 * ERR_MESH_STORE_DAMAGED when nothing can be saved.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { dir } = options
  const full: Options = { ...options, verify: options.verify ?? createVerifier() }
  try {
    await mkdir(join(dir, 'db'), { recursive: true, mode: 0o700 })
    const blobs = await openFileBlobs(dir)
    const due = (await readDueRepair(dir)) ?? (await look(dir))
    if (due !== undefined) return await openRepaired(full, blobs, due)
    try {
      return await openWhole(full, blobs, await lostDatabase(dir, blobs))
    } catch (error) {
      if (!isMeshError(error, 'ERR_MESH_STORE_DAMAGED')) throw error
      return await openRepaired(full, blobs, { reason: String(error.details.what) })
    }
  } catch (error) {
    throw writeError(dir, error)
  }
}

async function openRepaired(options: Options, blobs: BlobStore, due: DueRepair): Promise<Store> {
  return openWhole(options, blobs, await repairLevel(due, options))
}

async function openWhole(
  options: Options,
  blobs: BlobStore,
  repair: StoreRepair | undefined,
): Promise<Store> {
  const { dir } = options
  let noted = false
  const onDamaged = (what: string): void => {
    options.onDamaged?.(what)
    if (!noted) noteDamage(dir, what)
    noted = true
  }
  const onClosed = (): void => rmSync(openMark(dir), { force: true })
  const kv = await openLevel(join(dir, 'db'), { ...options, onDamaged, onClosed })
  writeMark(openMark(dir), '')
  const store = new KeyValueStore(dir, kv, blobs, { ...options, repair, onDamaged })
  try {
    await store.load()
    return store
  } catch (error) {
    await store.close().catch(() => {})
    throw error
  }
}

async function look(dir: string): Promise<DueRepair | undefined> {
  try {
    const unclean = existsSync(openMark(dir))
    const found = await inspectLevel(join(dir, 'db'), unclean ? Infinity : MAX_CHECKED_BYTES)
    if (found.state !== 'damaged') return undefined
    return { reason: found.reason, indexOnly: found.indexOnly }
  } catch (error) {
    // A sector that cannot be read; the repair takes what can.
    if (errorCode(error) !== 'EIO') throw error
    return { reason: `a file of it cannot be read: ${String(error)}` }
  }
}

/** A folder with blobs has had a database. */
async function lostDatabase(dir: string, blobs: BlobStore): Promise<StoreRepair | undefined> {
  if (existsSync(join(dir, 'db', 'CURRENT'))) return undefined
  for await (const _ of blobs.list()) {
    const reason = 'the database is gone, though there are blobs'
    return { reason, copy: '', entriesKept: 0, entriesDropped: 0, jobs: [] }
  }
  return undefined
}

/** There while the database is open: who finds it knows that the last process on it did not end well. */
function openMark(dir: string): string {
  return join(dir, 'db.open')
}

/** At once, since the process may end of it: the next start repairs. */
function noteDamage(dir: string, reason: string): void {
  writeMark(duePath(dir), dueRepairText({ reason }))
}

/** On a full disk there may be no room for it: then the next start knows less, and finds damage when it reads it. */
function writeMark(path: string, text: string): void {
  try {
    writeFileSync(path, text, { mode: 0o600 })
  } catch (error) {
    if (!isDiskFull(error)) throw error
  }
}
