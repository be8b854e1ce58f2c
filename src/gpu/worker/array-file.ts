/** Reads a kernel's arrays from the files that hold them, straight to where they are needed. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { MeshError } from '../../base/errors.ts'

/** One read of the system: Linux gives no more than 2 GiB at once. */
const MAX_READ_BYTES = 64 * 1024 * 1024

/**
 * Fills `target` with the file's bytes from `at` on; the file has `totalBytes`.
 * @throws ERR_MESH_KERNEL_FAILED when it cannot be read, ERR_MESH_KERNEL_INVALID when it has another size
 */
export function fillArray(
  name: string,
  path: string | undefined,
  totalBytes: number,
  at: number,
  target: Uint8Array,
): void {
  if (path === undefined) {
    throw new MeshError('ERR_MESH_KERNEL_FAILED', `the array ${name} is not on this machine`)
  }
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const { size } = fstatSync(file)
    if (size !== totalBytes) {
      throw new MeshError(
        'ERR_MESH_KERNEL_INVALID',
        `the array ${name} has ${size} bytes, but its size makes ${totalBytes}`,
      )
    }
    let done = 0
    while (done < target.length) {
      const wanted = Math.min(MAX_READ_BYTES, target.length - done)
      const got = readSync(file, target, done, wanted, at + done)
      if (got === 0) throw new Error('it ended too soon')
      done += got
    }
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw new MeshError(
      'ERR_MESH_KERNEL_FAILED',
      `the array ${name} cannot be read: ${(error as Error).message}`,
      { cause: error },
    )
  } finally {
    if (file !== undefined) closeSync(file)
  }
}
