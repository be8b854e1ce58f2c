import { isMeshError, MeshError } from '../../src/base/errors.ts'

/** Options that the command calls otherwise than by their name with hyphens. */
const OTHERWISE: Readonly<Record<string, string>> = { startAt: '--at', startIn: '--in' }

/** Words that are options alone; the others (`memory`, `key`) are so at the beginning of a message. */
const OPTION =
  /^(priority|memory|key|requires|expires|args|replicas)\b|(?<!-)\b(startAt|startIn|timeLimit|softTimeLimit|jobTimeLimit|rateLimit|maxFailures|maxItemsPerWorker|chunkSize|backoff(?!\.)|retries)\b/g

/** An error of the library about options, as the command line writes them: 'softTimeLimit must be …' -> '--soft-time-limit must be …'. */
export function inFlags(error: unknown): unknown {
  if (!isMeshError(error, 'ERR_MESH_OPTION_INVALID')) return error
  const { code, message, details } = error
  return new MeshError(code, message.replace(OPTION, flagOf), { cause: error, details })
}

function flagOf(option: string): string {
  return (
    OTHERWISE[option] ?? `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  )
}
