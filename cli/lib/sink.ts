import { type FileHandle, open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { MeshError } from '../../src/base/errors.ts'
import type { Context } from './context.ts'
import { SINK_BUFFER_CHARS } from './limits.ts'

/** Where lines go. Each write waits for the one before: a slow reader slows the source, and memory stays bounded. */
export interface Sink {
  write(text: string): Promise<void>
  /** Everything written so far is with the operating system. */
  flush(): Promise<void>
  close(): Promise<void>
}

/** stdout as a sink; `around` lets a progress bar make way. A reader that went away rejects with EPIPE. */
export function openStdoutSink(
  context: Context,
  around: (write: () => void) => void = (write) => write(),
): Sink {
  const out = (text: string): Promise<void> =>
    new Promise((resolveWrite, reject) => {
      around(() => {
        context.stdout.write(text, (error) => (error ? reject(error) : resolveWrite()))
      })
    })
  return gathering(out, async () => {})
}

/**
 * A file as a sink, written in place from its beginning, so that `tail -f` can follow it.
 * @throws ERR_MESH_OPTION_INVALID when it cannot be written
 */
export async function openFileSink(path: string, option: string): Promise<Sink> {
  let file: FileHandle
  try {
    file = await open(path, 'w')
  } catch (cause) {
    throw cannotWrite(path, option, cause)
  }
  const out = async (text: string): Promise<void> => {
    try {
      await file.writeFile(text)
    } catch (cause) {
      throw writeFailed(path, option, cause)
    }
  }
  return gathering(out, async () => await file.close())
}

/** Takes what it is given and drops it. */
export const nowhere: Sink = { write: async () => {}, flush: async () => {}, close: async () => {} }

/**
 * Looks whether a file could be written without touching it, so that a wrong path is told before a job runs, and an
 * old file survives a submit that fails.
 * @throws ERR_MESH_OPTION_INVALID
 */
async function checkWritable(path: string, option: string): Promise<void> {
  const facts = await stat(path).catch(() => undefined)
  if (facts?.isDirectory()) throw cannotWrite(path, option, new Error('it is a folder'))
  if (facts !== undefined) return
  const folder = dirname(resolve(path))
  const around = await stat(folder).catch(() => undefined)
  if (!around?.isDirectory())
    throw cannotWrite(path, option, new Error(`there is no folder ${folder}`))
}

/** The reader of stdout went away, as `head` does when it has enough. */
export function isPipeClosed(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  return code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
}

/** Gathers small writes; what is written leaves in order, whoever calls flush in between. */
function gathering(out: (text: string) => Promise<void>, end: () => Promise<void>): Sink {
  let waiting = ''
  let last: Promise<void> = Promise.resolve()
  const flush = (): Promise<void> => {
    if (waiting !== '') {
      const text = waiting
      waiting = ''
      last = last.then(() => out(text))
      // Whoever awaits a later flush sees the failure; nobody may be awaiting this one yet.
      last.catch(() => {})
    }
    return last
  }
  return {
    async write(text) {
      waiting += text
      if (waiting.length >= SINK_BUFFER_CHARS) await flush()
    },
    flush,
    async close() {
      try {
        await flush()
      } finally {
        await end()
      }
    },
  }
}

/** Both files of a command, before it does anything. @throws ERR_MESH_OPTION_INVALID */
export async function checkOutputs(flags: {
  readonly out?: string
  readonly errors?: string
}): Promise<void> {
  const { out, errors } = flags
  if (out !== undefined && out !== '-') await checkWritable(out, '--out')
  if (errors !== undefined) await checkWritable(errors, '--errors')
  if (out !== undefined && errors !== undefined && resolve(out) === resolve(errors)) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `--out and --errors are both ${out}: results and errors need a file each`,
      { details: { option: '--errors', path: errors } },
    )
  }
}

function cannotWrite(path: string, option: string, cause: unknown): MeshError {
  const why = (cause as Error).message
  return new MeshError('ERR_MESH_OPTION_INVALID', `${option} ${path} cannot be written: ${why}`, {
    cause,
    details: { option, path },
  })
}

function writeFailed(path: string, option: string, cause: unknown): MeshError {
  const full = (cause as NodeJS.ErrnoException).code === 'ENOSPC'
  return new MeshError(
    full ? 'ERR_MESH_DISK_FULL' : 'ERR_MESH_OPTION_INVALID',
    `${option} ${path} cannot be written further: ${(cause as Error).message}`,
    { cause, details: { option, path } },
  )
}
