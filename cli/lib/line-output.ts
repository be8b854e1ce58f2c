import { isMeshError } from '../../src/base/errors.ts'
import type { Context } from './context.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { asMeshError, errorDocument } from './failure.ts'
import type { FailureTeller } from './failures.ts'
import type { Library } from './library.ts'
import { writeLines } from './result-lines.ts'
import type { FollowOptions, Output } from './run.ts'
import { openFileSink, openStdoutSink, type Sink } from './sink.ts'
import { endDocument, tellEnd } from './telling.ts'

export interface LineOutputOptions {
  readonly context: Context
  readonly library: Library
  readonly follow: FollowOptions
  readonly teller: FailureTeller
  /** Lets a progress bar make way. */
  readonly aside: (write: () => void) => void
  /** Lines that there are in the end; absent: one for each item of the job. */
  readonly expected?: number
}

/**
 * Results as lines, to --out or stdout, as they come: what is in memory is one span of them, whatever the job's size.
 * @throws ERR_MESH_OPTION_INVALID when --out cannot be written
 */
export async function openLineOutput(options: LineOutputOptions): Promise<Output> {
  const { context, library, follow, teller, aside } = options
  const toFile = follow.out !== undefined && follow.out !== '-'
  const sink = toFile
    ? await openFileSink(follow.out, '--out')
    : openStdoutSink(context, context.stdout.isTTY === true ? aside : undefined)
  const document = follow.json ? jsonDocument(context, sink, follow, toFile) : undefined
  const writer = writeLines({
    sink,
    format: library.formatValue,
    layout: follow.json && !toFile ? 'array' : 'ndjson',
    onFailure: (failure) => teller.tell(failure),
  })
  return {
    open: async () => document?.open(),
    write: (batch) => writer.write(batch),
    flush: () => sink.flush(),
    ...(options.expected === undefined ? {} : { expected: options.expected }),
    get present() {
      return writer.present
    },
    async fail(error) {
      // A document that has begun must end, with the error inside it.
      if (document === undefined || toFile) throw error
      return await document.fail(error)
    },
    async finish(run, end) {
      if (document !== undefined && end.code !== EXIT.pipeClosed) {
        await document.close(endDocument(run, end))
      } else {
        await tellEnd(run, end, "the others' lines, up to the last of them, are null")
      }
      return end.code
    },
    close: () => closeSink(sink),
  }
}

interface JsonDocument {
  open(): Promise<void>
  fail(error: unknown): Promise<number>
  close(rest: Record<string, unknown>): Promise<void>
}

/** The document of --json, streamed: { job, results?, state, items, done, failed, … }. */
function jsonDocument(
  context: Context,
  outSink: Sink,
  { job, out }: FollowOptions,
  toFile: boolean,
): JsonDocument {
  const sink = toFile ? openStdoutSink(context) : outSink
  return {
    async open() {
      if (!toFile) await sink.write(`{"job":${JSON.stringify(job.id)},"results":[`)
    },
    async fail(error) {
      const known = asMeshError(error)
      await sink.write(`],"error":${JSON.stringify(errorDocument(known))}}\n`)
      await sink.flush()
      return exitCodeOf(known.code)
    },
    async close(rest) {
      const text = JSON.stringify(toFile ? { job: job.id, out, ...rest } : rest)
      await sink.write(toFile ? `${text}\n` : `],${text.slice(1)}\n`)
      await sink.flush()
    },
  }
}

/** A closed pipe has been told by its exit code; a full disk has not. @throws ERR_MESH_DISK_FULL, ERR_MESH_OPTION_INVALID */
export async function closeSink(sink: Sink): Promise<void> {
  try {
    await sink.close()
  } catch (error) {
    if (isMeshError(error)) throw error
  }
}
