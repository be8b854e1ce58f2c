import { createHash } from 'node:crypto'
import { realpathSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { MAX_SOCKET_PATH_BYTES } from './limits.ts'

/**
 * Where the peer that runs on a data folder listens for commands: `control.sock` in the folder, or, where that path is too long for a
 * Unix socket, a short one in `meshwork-<uid>` of the system's temporary folder; on Windows a named pipe.
 */
export function socketPathFor(dataDir: string): string {
  const folder = realFolder(resolve(dataDir))
  if (process.platform === 'win32') return `\\\\.\\pipe\\meshwork-${nameOf(folder.toLowerCase())}`
  const inside = join(folder, 'control.sock')
  if (Buffer.byteLength(inside) <= MAX_SOCKET_PATH_BYTES) return inside
  const short = join(tmpdir(), `meshwork-${userInfo().uid}`, `${nameOf(folder)}.sock`)
  if (Buffer.byteLength(short) <= MAX_SOCKET_PATH_BYTES) return short
  return join('/tmp', `meshwork-${userInfo().uid}`, `${nameOf(folder)}.sock`)
}

/** True for a path outside the data folder, whose own folder must be made and guarded. */
export function isShared(path: string, dataDir: string): boolean {
  return dirname(path) !== realFolder(resolve(dataDir))
}

/** One name for a folder, whichever links lead to it, also before it is made. */
function realFolder(folder: string): string {
  try {
    return realpathSync(folder)
  } catch {
    const parent = dirname(folder)
    return parent === folder ? folder : join(realFolder(parent), basename(folder))
  }
}

function nameOf(folder: string): string {
  return createHash('sha256').update(folder).digest('hex').slice(0, 16)
}
