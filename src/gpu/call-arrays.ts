/** The arrays of kernel calls, as files in the peer's own folder: where the process that computes reads them. */
import { webcrypto } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'

export interface CallArray {
  readonly hash: string
  readonly sizeBytes: number
  /** Rejects with ERR_MESH_PROTOCOL when its bytes have another hash, ERR_MESH_KERNEL_FAILED when they cannot be written. */
  readonly path: Promise<string>
  /** Workers and calls that need it. */
  users: number
}

export class CallArrays {
  private readonly folder: string
  private readonly all = new Set<CallArray>()
  /** By hash: written, and their bytes have it. What is only on its way is no one else's, since a task may lie about its own. */
  private readonly shared = new Map<string, CallArray>()
  /** What is written or removed now. */
  private readonly busy = new Set<Promise<unknown>>()
  private written = 0
  /** The folder is there and empty: a peer that was killed leaves its arrays behind. */
  private readonly ready: Promise<void>

  /** `folder`: of one peer alone; made when first needed, emptied now, and removed at the end. */
  constructor(folder: string) {
    this.folder = folder
    this.ready = rm(folder, { recursive: true, force: true })
    this.during(this.ready)
  }

  /** Arrays that are kept. */
  get size(): number {
    return this.all.size
  }

  /** For one user more: release() it. An array that another worker has sent is not written again. */
  keep(hash: string, bytes: Uint8Array): CallArray {
    const known = this.shared.get(hash)
    if (known !== undefined) {
      known.users += 1
      return known
    }
    this.written += 1
    const path = this.write(hash, bytes, `${hash}-${this.written}`)
    const array: CallArray = { hash, sizeBytes: bytes.length, path, users: 1 }
    this.all.add(array)
    this.during(
      path.then(() => {
        if (array.users > 0 && !this.shared.has(hash)) this.shared.set(hash, array)
      }),
    )
    return array
  }

  release(array: CallArray): void {
    array.users -= 1
    if (array.users > 0) return
    this.all.delete(array)
    if (this.shared.get(array.hash) === array) this.shared.delete(array.hash)
    this.during(array.path.then((path) => rm(path, { force: true })))
  }

  /** Removes the folder, once nobody writes there any more. */
  async close(): Promise<void> {
    await Promise.all(this.busy)
    // What cannot be removed is tried again at the next start.
    await rm(this.folder, { recursive: true, force: true }).catch(() => {})
  }

  private async write(hash: string, bytes: Uint8Array, name: string): Promise<string> {
    // Off this thread: 64 MiB take a tenth of a second.
    const digest = await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)
    if (toHex(new Uint8Array(digest)) !== hash) {
      throw new MeshError('ERR_MESH_PROTOCOL', 'an array of a kernel call has another hash')
    }
    try {
      return await this.put(name, bytes)
    } catch (error) {
      throw new MeshError(
        'ERR_MESH_KERNEL_FAILED',
        `an array of the kernel call cannot be written on this peer: ${(error as Error).message}`,
        { cause: error },
      )
    }
  }

  private async put(name: string, bytes: Uint8Array): Promise<string> {
    // What cannot be emptied can be written to, perhaps.
    await this.ready.catch(() => {})
    await mkdir(this.folder, { recursive: true, mode: 0o700 })
    const path = join(this.folder, name)
    try {
      await writeFile(path, bytes, { mode: 0o600 })
      return path
    } catch (error) {
      // Half a file fills the disk that is full.
      await rm(path, { force: true })
      throw error
    }
  }

  private during(work: Promise<unknown>): void {
    const ended = work
      .catch(() => {})
      .finally(() => {
        this.busy.delete(ended)
      })
    this.busy.add(ended)
  }
}
