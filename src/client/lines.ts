import { MeshError } from '../base/errors.ts'
import { flatten } from './iterate.ts'
import { MAX_LINE_BYTES } from './limits.ts'

export interface LineOptions {
  /** What the lines come from, for messages: a file's name, or 'standard input'. */
  readonly name?: string
  /** Bytes that one line may have; default 16 MiB. */
  readonly maxLineBytes?: number
}

/** Text as it is read: pieces of any size, cut anywhere. */
export type TextSource = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string>

/** Lines that arrived together; `first` is the number of the first of them, counted from 1. */
interface LineBatch {
  readonly first: number
  readonly lines: readonly string[]
}

const NEWLINE = 0x0a
const BOM = '\uFEFF'

/**
 * The lines of UTF-8 text without their ends (LF or CR LF); a byte order mark at the start is dropped, blank lines are lines, and
 * text after the last line end is a line too.
 * @throws ERR_MESH_INPUT_INVALID with `details.line` when a line is too long or not UTF-8
 */
export function readLines(
  source: TextSource,
  options: LineOptions = {},
): AsyncIterableIterator<string> {
  return flatten(
    lineBatches(source, options),
    (batch) => batch.lines.length,
    (batch, i) => batch.lines[i]!,
  )
}

/**
 * The values of NDJSON text: one JSON value a line; blank lines are skipped.
 * @throws ERR_MESH_INPUT_INVALID with `details.line` when a line is not JSON, too long or not UTF-8
 */
export function readNdjson(
  source: TextSource,
  options: LineOptions = {},
): AsyncIterableIterator<unknown> {
  return flatten(
    valueBatches(source, options),
    (values) => values.length,
    (values, i) => values[i],
  )
}

async function* valueBatches(source: TextSource, options: LineOptions): AsyncGenerator<unknown[]> {
  for await (const { first, lines } of lineBatches(source, options)) {
    const values: unknown[] = []
    let failed: MeshError | undefined
    for (let i = 0; i < lines.length; i++) {
      const line = lines[i]!
      if (isBlank(line)) continue
      try {
        values.push(JSON.parse(line))
      } catch (cause) {
        failed = notJson(first + i, line, options, cause)
        break
      }
    }
    if (values.length > 0) yield values
    if (failed !== undefined) throw failed
  }
}

async function* lineBatches(source: TextSource, options: LineOptions): AsyncGenerator<LineBatch> {
  const maxBytes = options.maxLineBytes ?? MAX_LINE_BYTES
  let number = 1
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  const take = (block: Uint8Array): LineBatch => {
    const batch = { first: number, lines: splitBlock(block, number, maxBytes, options) }
    number += batch.lines.length
    return batch
  }
  for await (const chunk of source) {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : asBytes(chunk, options)
    const cut = bytes.lastIndexOf(NEWLINE) + 1
    if (cut > 0) {
      const block = pending.length === 0 ? bytes : Buffer.concat([...pending, bytes])
      pending = []
      const end = pendingBytes + cut
      pendingBytes = 0
      yield take(block.subarray(0, end))
      if (end < block.byteLength) pending.push(block.subarray(end))
      pendingBytes = block.byteLength - end
    } else if (bytes.byteLength > 0) {
      pending.push(bytes)
      pendingBytes += bytes.byteLength
    }
    if (pendingBytes > maxBytes + 2) throw tooLong(number, maxBytes, options)
  }
  if (pendingBytes > 0) yield take(Buffer.concat(pending))
}

/** The lines of a block that ends with a line end (or with the text). */
function splitBlock(
  block: Uint8Array,
  first: number,
  maxBytes: number,
  options: LineOptions,
): string[] {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(block)
  } catch (cause) {
    throw notUtf8(block, first, options, cause)
  }
  if (first === 1 && text.startsWith(BOM)) text = text.slice(1)
  const lines = text.split('\n')
  if (lines.at(-1) === '') lines.pop()
  const hasCr = text.includes('\r')
  for (let i = 0; i < lines.length; i++) {
    if (hasCr && lines[i]!.endsWith('\r')) lines[i] = lines[i]!.slice(0, -1)
    // A character is at most 3 bytes for each UTF-16 unit: only then is it worth to count.
    const line = lines[i]!
    if (line.length * 3 > maxBytes && Buffer.byteLength(line) > maxBytes) {
      throw tooLong(first + i, maxBytes, options)
    }
  }
  return lines
}

function isBlank(line: string): boolean {
  return line.length === 0 || /^\s*$/.test(line)
}

function asBytes(chunk: unknown, options: LineOptions): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk
  throw new MeshError(
    'ERR_MESH_INPUT_INVALID',
    `${options.name ?? 'the input'} must give text or bytes, not ${typeof chunk}`,
  )
}

function notUtf8(
  block: Uint8Array,
  first: number,
  options: LineOptions,
  cause: unknown,
): MeshError {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let line = first
  let start = 0
  while (start < block.byteLength) {
    const found = block.indexOf(NEWLINE, start)
    const end = found === -1 ? block.byteLength : found + 1
    try {
      decoder.decode(block.subarray(start, end))
    } catch {
      break
    }
    line += 1
    start = end
  }
  return invalidLine(line, 'is not UTF-8 text', options, cause)
}

function notJson(line: number, text: string, options: LineOptions, cause: unknown): MeshError {
  const why = cause instanceof Error ? cause.message : String(cause)
  const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text
  // V8 quotes the text in some of its messages already.
  const excerpt = why.includes(shown) ? '' : `: ${shown}`
  return invalidLine(line, `is not JSON (${why})${excerpt}`, options, cause)
}

function tooLong(line: number, maxBytes: number, options: LineOptions): MeshError {
  return invalidLine(
    line,
    `has more than ${maxBytes} bytes, the most that one item may have`,
    options,
  )
}

function invalidLine(line: number, what: string, options: LineOptions, cause?: unknown): MeshError {
  const of = options.name === undefined ? '' : ` of ${options.name}`
  return new MeshError('ERR_MESH_INPUT_INVALID', `line ${line}${of} ${what}`, {
    cause,
    details: { line, ...(options.name !== undefined && { name: options.name }) },
  })
}
