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
    `the disk that holds ${path} is full: free some space and start the peer again`,
    { cause, details: { path } },
  )
}

const START_ANEW =
  'Move that folder away, keep it if the results in it matter, and start again: ' +
  'jobs that other peers hold come back from them.'

/** `advice` says what to do about it. */
export function damaged(
  path: string,
  what: string,
  cause?: unknown,
  advice: string = START_ANEW,
): MeshError {
  return new MeshError('ERR_MESH_STORE_DAMAGED', `${path} is damaged: ${what}. ${advice}`, {
    cause,
    details: { path },
  })
}

/** What a failed write means to the user; other errors pass as they are. */
export function writeError(path: string, error: unknown): unknown {
  return isDiskFull(error) ? diskFull(path, error) : error
}
