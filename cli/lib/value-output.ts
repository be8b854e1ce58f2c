import type { MeshBackend } from '../../src/node/types.ts'
import { EXIT } from './exit-codes.ts'
import { SINK_BLOCK_LINES } from './limits.ts'
import { closeSink, type LineOutputOptions, openLineOutput } from './line-output.ts'
import { printJson } from './output.ts'
import type { ResultBatch } from './result-lines.ts'
import type { Output } from './run.ts'
import { openFileSink, openStdoutSink } from './sink.ts'
import { endDocument, tellEnd } from './telling.ts'

/**
 * The value of a composition. A list of items is written as they come, one a line; what is made of items otherwise is held, and written
 * at the end: a list with a line for each of its elements, another value as one line. With --json it is `value` in the document.
 * @throws ERR_MESH_OPTION_INVALID when --out cannot be written, ERR_MESH_INPUT_LOST when how it is made cannot be read
 */
export async function openValueOutput(
  options: LineOutputOptions,
  backend: MeshBackend,
): Promise<Output> {
  const { context, library, follow, teller, aside } = options
  const made = await library.outputOf(backend, follow.job.id)
  const expected = made.size
  if (made.isList) return await openLineOutput({ ...options, expected })
  const toFile = follow.out !== undefined && follow.out !== '-'
  const sink = toFile
    ? await openFileSink(follow.out, '--out')
    : openStdoutSink(context, context.stdout.isTTY === true ? aside : undefined)
  const values: unknown[] = []
  const seen = new Uint8Array(expected)
  let present = 0
  /** A list has null in the place of what is not there; of one value nothing is left then. */
  const valueNow = (): unknown => {
    const value = made.build(values)
    return Array.isArray(value) || (present === expected && teller.count === 0) ? value : undefined
  }
  const writeLines = async (): Promise<void> => {
    const value = valueNow()
    if (value === undefined && (present < expected || teller.count > 0)) return
    const lines: readonly unknown[] = Array.isArray(value) ? value : [value]
    for (let from = 0; from < lines.length; from += SINK_BLOCK_LINES) {
      const block = lines.slice(from, from + SINK_BLOCK_LINES)
      await sink.write(block.map((it) => `${library.formatValue(it)}\n`).join(''))
    }
    await sink.flush()
  }
  return {
    expected,
    open: async () => {},
    async write({ lo, values: some, failures }: ResultBatch) {
      // Results may be read a second time, from another peer.
      const fresh = failures.filter(({ index }) => seen[index] === 0)
      for (const [i, value] of some.entries()) {
        values[lo + i] = value
        present += 1 - seen[lo + i]!
        seen[lo + i] = 1
      }
      for (const failure of fresh) await teller.tell(failure)
    },
    flush: async () => {},
    get present() {
      return present
    },
    fail: async (error) => {
      throw error
    },
    async finish(run, end) {
      if (end.code === EXIT.pipeClosed) return end.code
      if (toFile || !follow.json) await writeLines()
      if (follow.json) {
        const value = JSON.parse(library.formatValue(valueNow())) as unknown
        const where = toFile ? { out: follow.out } : { value }
        printJson(context, { job: follow.job.id, ...where, ...endDocument(run, end) })
      } else await tellEnd(run, end, 'what is made of the others is null')
      return end.code
    },
    close: () => closeSink(sink),
  }
}
