import { MeshError } from '../base/errors.ts'

/** The `code` of a Node.js or LevelDB error. */
export function errorCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  return typeof code === 'string' ? code : undefined
}

export function isMissing(error: unknown): boolean {
  return errorCode(error) === 'ENOENT'
}

/** A full disk, said by the file system or, in words, by LevelDB. */
export function isDiskFull(error: unknown): boolean {
  const code = errorCode(error)
  if (code === 'ENOSPC' || code === 'EDQUOT') return true
  const text = `${String(error)} ${String((error as { cause?: unknown } | undefined)?.cause ?? '')}`
  return /no space left on device|disk quota exceeded/i.test(text)
}

export function diskFull(path: string, cause: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_DISK_FULL',
    `the disk that holds ${path} is full: free some space`,
    { cause, details: { path } },
  )
}

/** A database whose files are not what LevelDB wrote: it says so, or looks for what is not there. */
export function isCorruption(error: unknown): boolean {
  for (const each of [error, (error as { cause?: unknown } | undefined)?.cause]) {
    if (errorCode(each) === 'LEVEL_CORRUPTION') return true
    // Some of its errors have no code.
    const wrong =
      /corruption:|IO error: .*: (invalid argument|input\/output error|no such file)|comparator/i
    if (wrong.test(String(each))) return true
  }
  return false
}

/** A folder that may not be written, said by the file system or, in words, by LevelDB. */
export function isReadOnly(error: unknown): boolean {
  const code = errorCode(error)
  if (code === 'EROFS' || code === 'EACCES' || code === 'EPERM') return true
  const text = `${String(error)} ${String((error as { cause?: unknown } | undefined)?.cause ?? '')}`
  return /read-only file system|permission denied|operation not permitted/i.test(text)
}

export function readOnly(path: string, cause: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_FOLDER_READ_ONLY',
    `${path} cannot be written: make the data folder writable for this user (it keeps the log and the results), or use another one with --data DIR`,
    { cause, details: { path } },
  )
}

const START_AGAIN =
  'Start the peer again: it keeps a copy, mends what it can, and pulls what is missing from other peers.'

/** `advice` says what to do about it. */
export function damaged(
  path: string,
  what: string,
  cause?: unknown,
  advice: string = START_AGAIN,
): MeshError {
  return new MeshError('ERR_MESH_STORE_DAMAGED', `${path} is damaged: ${what}. ${advice}`, {
    cause,
    details: { path, what },
  })
}

/** What a failed write means to the user; other errors pass as they are. */
export function writeError(path: string, error: unknown): unknown {
  if (isDiskFull(error)) return diskFull(path, error)
  const code = errorCode(error)
  return code === 'EROFS' || code === 'EACCES' || code === 'EPERM' ? readOnly(path, error) : error
}
