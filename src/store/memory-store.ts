import { createFileBlobs } from './blobs.ts'
import { KeyValueStore, type StoreOptions } from './key-value-store.ts'
import { createMemoryBlobs } from './memory-blobs.ts'
import { createMemoryKeyValue } from './memory-key-value.ts'
import type { Store } from './types.ts'

export interface MemoryStoreOptions extends StoreOptions {
  /** Keep blobs as files in this folder, for workers that read them; without it they are in memory and have no path. */
  readonly dir?: string | undefined
}

/** A Store that is gone with the process: for tests, simulations, and peers that keep nothing. */
export function createMemoryStore(options: MemoryStoreOptions): Store {
  const { dir } = options
  const blobs = dir === undefined ? createMemoryBlobs() : createFileBlobs(dir)
  return new KeyValueStore(dir ?? '', createMemoryKeyValue(), blobs, options)
}
