import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../base/errors.ts'
import type { Items, JobSource } from '../runtime/source.ts'
import { describe } from '../runtime/task.ts'
import { isAsyncIterable, isIterable } from './iterate.ts'
import { readLines, type TextSource } from './lines.ts'

export type { Items, JobSource } from '../runtime/source.ts'

/** The input as the spooler takes it. */
export type CheckedSource =
  | { readonly kind: 'range'; readonly start: number; readonly count: number }
  | { readonly kind: 'items'; readonly items: Items<unknown> }

const KINDS = '{ range: [from, to] }, { items: [...] }, { lines: … }, or an iterable of items'

/** @throws ERR_MESH_INPUT_INVALID, ERR_MESH_INPUT_NOT_FOUND, ERR_MESH_RANGE_INVALID */
export async function checkSource(source: JobSource): Promise<CheckedSource> {
  if (typeof source !== 'object' || source === null) {
    throw invalid(`the input must be ${KINDS}, not ${describe(source)}`)
  }
  if (isAsyncIterable(source) || isIterable(source)) return { kind: 'items', items: source }
  const given = (['range', 'items', 'lines'] as const).filter((key) => key in source)
  if (given.length !== 1) {
    throw invalid(
      given.length === 0
        ? `the input must be ${KINDS}; it has none of range, items, lines`
        : `the input must have one of range, items, lines; it has ${given.join(' and ')}`,
    )
  }
  if ('range' in source) return { kind: 'range', ...checkRange(source.range) }
  if ('items' in source) {
    const { items } = source
    if (typeof items !== 'string' && (isAsyncIterable(items) || isIterable(items))) {
      return { kind: 'items', items }
    }
    throw invalid(`items must be an array or another iterable, not ${describe(items)}`)
  }
  return { kind: 'items', items: await linesOf(source.lines) }
}

/** @throws ERR_MESH_RANGE_INVALID */
export function checkRange(range: unknown): { start: number; count: number } {
  const right = 'a range is [from, to]: whole numbers, from included and to not, like [0, 1000]'
  if (!Array.isArray(range) || range.length !== 2) {
    throw badRange(`${right}; it is ${describe(range)}`)
  }
  const [from, to] = range as [unknown, unknown]
  for (const end of [from, to]) {
    if (typeof end === 'number' && Number.isSafeInteger(end)) continue
    throw badRange(`${right}; ${describe(end)} is no whole number that is exact`)
  }
  if ((to as number) < (from as number)) {
    throw badRange(`the range [${from}, ${to}] is reversed: [${to}, ${from}] would be right`)
  }
  const count = (to as number) - (from as number)
  if (!Number.isSafeInteger(count)) throw badRange(`the range [${from}, ${to}] is too long`)
  return { start: from as number, count }
}

async function linesOf(lines: string | URL | Items<string | Uint8Array>): Promise<Items<unknown>> {
  if (typeof lines === 'string' || lines instanceof URL) return linesOfFile(lines)
  if (!isAsyncIterable(lines) && !isIterable(lines)) {
    throw invalid(
      `lines must be a path, a byte stream or an iterable of strings, not ${describe(lines)}`,
    )
  }
  if (lines instanceof Uint8Array) return readLines([lines])
  // A stream's pieces are cut anywhere, whether it gives bytes or text.
  if (lines instanceof Readable && !lines.readableObjectMode) return readLines(lines as TextSource)
  return isAsyncIterable(lines) ? linesOrText(lines) : checkLines(lines)
}

/** Bytes are text to be cut into lines; strings are a line each: the first element tells. */
async function* linesOrText(source: AsyncIterable<unknown>): AsyncGenerator<string> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done === true) return
  const all = {
    async *[Symbol.asyncIterator]() {
      let result: IteratorResult<unknown> = first
      try {
        while (result.done !== true) {
          yield result.value
          result = await iterator.next()
        }
      } finally {
        if (result.done !== true) await iterator.return?.()
      }
    },
  }
  if (first.value instanceof Uint8Array) {
    yield* readLines(all as AsyncIterable<Uint8Array>)
    return
  }
  let index = 0
  for await (const line of all) yield checkLine(line, index++)
}

function* checkLines(source: Iterable<unknown>): Generator<string> {
  let index = 0
  for (const line of source) yield checkLine(line, index++)
}

function checkLine(line: unknown, index: number): string {
  if (typeof line === 'string') return line
  throw invalid(`line ${index + 1} is ${describe(line)}, not a string`)
}

async function linesOfFile(path: string | URL): Promise<Items<string>> {
  const file = path instanceof URL ? fileURLToPath(path) : path
  await checkFile(file)
  // Opened when it is read, so that nothing stays open when the submission fails before.
  return {
    [Symbol.asyncIterator]: () =>
      readLines(createReadStream(file, { highWaterMark: 256 * 1024 }), { name: file }),
  }
}

/** @throws ERR_MESH_INPUT_NOT_FOUND when there is no file, or it cannot be read as one */
async function checkFile(path: string): Promise<void> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new MeshError(
      'ERR_MESH_INPUT_NOT_FOUND',
      `there is no input file ${path} (${cause.code})`,
      {
        cause,
        details: { path },
      },
    )
  })
  if (found.isDirectory()) {
    throw new MeshError('ERR_MESH_INPUT_NOT_FOUND', `${path} is a folder, not a file of lines`, {
      details: { path },
    })
  }
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_MESH_INPUT_INVALID', message)
}

function badRange(message: string): MeshError {
  return new MeshError('ERR_MESH_RANGE_INVALID', message)
}
