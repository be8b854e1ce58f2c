import { join } from 'node:path'
import { openFileBlobs } from './blobs.ts'
import { KeyValueStore, type StoreOptions } from './key-value-store.ts'
import { type LevelOptions, openLevel } from './level-key-value.ts'
import type { Store } from './types.ts'

export interface OpenStoreOptions extends StoreOptions, LevelOptions {
  /** The peer's data folder; the database is in its `db`, blobs are in its `blobs`. */
  readonly dir: string
}

/**
 * Opens a peer's durable state. The caller holds the folder's lock (folder-lock.ts).
 * ERR_MESH_FOLDER_LOCKED, ERR_MESH_STORE_DAMAGED, ERR_MESH_DISK_FULL.
 */
export async function openStore(options: OpenStoreOptions): Promise<Store> {
  const { dir } = options
  const blobs = await openFileBlobs(dir)
  const kv = await openLevel(join(dir, 'db'), options)
  const store = new KeyValueStore(dir, kv, blobs, options)
  try {
    await store.load()
    return store
  } catch (error) {
    await store.close().catch(() => {})
    throw error
  }
}
