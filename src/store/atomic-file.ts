import { randomBytes } from 'node:crypto'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { damaged, errorCode, isMissing, writeError } from './fs-errors.ts'

/** Replaces a file, all or nothing, on the disk when it resolves; only its owner may read it. ERR_MESH_DISK_FULL. */
export async function writeFileAtomic(path: string, data: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(data)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw writeError(path, error)
  }
}

/** A new name is on the disk when its folder is. */
async function syncFolder(folder: string): Promise<void> {
  // Windows opens no folders; it writes names through.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** A small JSON file; undefined when there is none. ERR_MESH_STORE_DAMAGED, with `advice`, when `read` finds it is not what it should be. */
export async function readJsonFile<T>(
  path: string,
  advice: string,
  read: (value: Record<string, unknown>) => T | undefined,
): Promise<T | undefined> {
  let source: string
  try {
    source = await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw damaged(path, `it cannot be read (${errorCode(error) ?? String(error)})`, error, advice)
  }
  const value = parseObject(source)
  const result = value && read(value)
  if (result === undefined)
    throw damaged(path, 'it is not what was written there', undefined, advice)
  return result
}

/** The object in a JSON text, or undefined. */
export function parseObject(source: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(source)
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
