/** The arrays of kernel calls, as files by hash in a folder of this peer's own: where the process that computes reads them. */
import { webcrypto } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex } from '../base/bytes.ts'
import { MeshError } from '../base/errors.ts'

interface Kept {
  readonly path: Promise<string>
  /** Workers and calls that need it. */
  users: number
}

export class CallArrays {
  private folder: Promise<string> | undefined
  private readonly kept = new Map<string, Kept>()
  /** What is written or removed now. */
  private readonly busy = new Set<Promise<unknown>>()
  /** A hash that comes again while its file is removed gets another file. */
  private files = 0

  /** Arrays that are there now. */
  get size(): number {
    return this.kept.size
  }

  /** Keeps `bytes` for one more user. Resolves when they need not be in memory any more; rejects with ERR_MESH_PROTOCOL for another hash than theirs. */
  async keep(hash: string, bytes: Uint8Array): Promise<void> {
    const known = this.kept.get(hash)
    if (known !== undefined) {
      known.users += 1
      return
    }
    const path = this.write(hash, bytes)
    this.kept.set(hash, { path, users: 1 })
    try {
      await path
    } catch (error) {
      // A full disk is told to the calls that need the array.
      if (error instanceof MeshError && error.code === 'ERR_MESH_PROTOCOL') throw error
    }
  }

  /** One more user of an array that is kept: until release(). */
  retain(hash: string): void {
    this.kept.get(hash)!.users += 1
  }

  release(hash: string): void {
    const kept = this.kept.get(hash)!
    kept.users -= 1
    if (kept.users > 0) return
    this.kept.delete(hash)
    this.during(kept.path.then((path) => rm(path, { force: true })))
  }

  /** Where it lies. @throws (rejects with) ERR_MESH_KERNEL_FAILED when it could not be written */
  async path(hash: string): Promise<string> {
    return await this.kept.get(hash)!.path
  }

  /** Removes the folder. Nobody keeps anything any more. */
  async close(): Promise<void> {
    await Promise.allSettled(this.busy)
    const folder = await this.folder?.catch(() => undefined)
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  }

  private write(hash: string, bytes: Uint8Array): Promise<string> {
    this.files += 1
    const name = `${hash}-${this.files}`
    const written = this.writeChecked(hash, bytes, name)
    this.during(written)
    return written
  }

  private async writeChecked(hash: string, bytes: Uint8Array, name: string): Promise<string> {
    // Off this thread: 64 MiB take a tenth of a second.
    const digest = await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)
    if (toHex(new Uint8Array(digest)) !== hash) {
      throw new MeshError('ERR_MESH_PROTOCOL', 'an array of a kernel call has another hash')
    }
    try {
      const path = join(await this.ownFolder(), name)
      await writeFile(path, bytes, { mode: 0o600 })
      return path
    } catch (error) {
      throw new MeshError(
        'ERR_MESH_KERNEL_FAILED',
        `an array of the kernel call cannot be written on this peer: ${(error as Error).message}`,
        { cause: error },
      )
    }
  }

  private ownFolder(): Promise<string> {
    if (this.folder === undefined) {
      this.folder = mkdtemp(join(tmpdir(), 'mesh-calls-'))
      this.folder.catch(() => {
        this.folder = undefined
      })
    }
    return this.folder
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
