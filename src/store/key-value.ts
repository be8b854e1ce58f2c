import type { KeyRange } from './keys.ts'

/** A change: put, or delete when there is no value. */
export interface Change {
  readonly key: Buffer
  readonly value?: Uint8Array
}

export type Row = readonly [key: Buffer, value: Buffer]

/**
 * An ordered map of bytes to bytes: what the store needs of LevelDB, and what a memory store gives as well. Keys are compared byte
 * by byte. Errors are MeshErrors (ERR_MESH_DISK_FULL, ERR_MESH_STORE_DAMAGED, ERR_MESH_STOPPED after close).
 */
export interface KeyValue {
  getSync(key: Buffer): Buffer | undefined
  /** All changes or none; with `sync`, on the disk when it resolves. */
  write(changes: readonly Change[], sync: boolean): Promise<void>
  /** Brings to the disk what was written before, without holding up the next write as a synced write does; optional. */
  sync?(): Promise<void>
  /** Rows in key order, as they were when the iteration began, some hundred at a time. */
  rows(range: KeyRange): AsyncIterable<readonly Row[]>
  /** The last row of a range. */
  last(range: KeyRange): Promise<Row | undefined>
  clear(range: KeyRange): Promise<void>
  /**
   * After a write that failed for want of room: makes the database fit for writing again, or throws ERR_MESH_DISK_FULL as long as
   * there is no room for it and `bytes` more. Reads go on meanwhile, but for a moment. What write, sync or clear did not finish is to
   * be done again. Absent where nothing can be full.
   */
  recover?(bytes: number): Promise<void>
  close(): Promise<void>
}
