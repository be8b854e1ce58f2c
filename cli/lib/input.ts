import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { MeshError } from '../../src/base/errors.ts'
import type { Context } from './context.ts'
import { SNIFF_BYTES } from './limits.ts'
import { parseRange } from './options.ts'

/** Where the items come from, as the command line says it. */
export type InputSource =
  | { readonly kind: 'range'; readonly range: [start: number, end: number] }
  | { readonly kind: 'ndjson' | 'lines' | 'detect'; readonly from: string }

export interface InputFlags {
  readonly range?: string
  readonly items?: string
  readonly lines?: string
}

/**
 * One of --range, --items, --lines and `-`; undefined when there is none, as for a kernel. `from` is a path, or '-' for standard input.
 * @throws ERR_MESH_OPTION_INVALID, ERR_MESH_RANGE_INVALID
 */
export function chooseInput(
  flags: InputFlags,
  positional: string | undefined,
): InputSource | undefined {
  if (positional !== undefined && positional !== '-') {
    throw wrong(
      `'${positional}' is not expected here: items come from --range A..B, --items FILE, --lines FILE or - (a pipe)`,
    )
  }
  const given = [
    flags.range === undefined ? [] : ['--range'],
    flags.items === undefined ? [] : ['--items'],
    flags.lines === undefined ? [] : ['--lines'],
    positional === undefined ? [] : ['-'],
  ].flat()
  if (given.length === 0) return undefined
  if (given.length > 1)
    throw wrong(`items come from one place only: ${given.join(' or ')}, not both`)
  if (flags.range !== undefined) return { kind: 'range', range: parseRange(flags.range) }
  if (flags.items !== undefined) return { kind: 'ndjson', from: flags.items }
  if (flags.lines !== undefined) return { kind: 'lines', from: flags.lines }
  return { kind: 'detect', from: '-' }
}

/** A task needs items. */
export function noItems(): MeshError {
  return wrong('no items: give one of --range A..B, --items FILE, --lines FILE or - (a pipe)')
}

/** A kernel's items are the elements of its output. */
export function itemsOfKernel(kernel: string, source: InputSource): MeshError {
  const flags = { range: '--range', ndjson: '--items', lines: '--lines', detect: '- (a pipe)' }
  return wrong(
    `${flags[source.kind]} is not for a kernel: the output of "${kernel}" says how many elements there are to compute; leave it out`,
  )
}

/** @throws ERR_MESH_INPUT_NOT_FOUND */
export async function checkInput(source: InputSource | undefined): Promise<void> {
  if (source === undefined || source.kind === 'range' || source.from === '-') return
  const option = source.kind === 'ndjson' ? '--items' : '--lines'
  const details = { option, path: source.from }
  const facts = await stat(source.from).catch((cause: unknown) => {
    throw new MeshError(
      'ERR_MESH_INPUT_NOT_FOUND',
      `${option} ${source.from} cannot be read: ${(cause as Error).message}`,
      { cause, details },
    )
  })
  if (facts.isDirectory()) {
    throw new MeshError(
      'ERR_MESH_INPUT_NOT_FOUND',
      `${option} ${source.from} is a folder, not a file`,
      {
        details,
      },
    )
  }
}

/** The bytes of the source and how to read them; of a pipe without a flag, by its first line. */
export async function openInput(
  source: Exclude<InputSource, { kind: 'range' }>,
  context: Context,
): Promise<{ kind: 'ndjson' | 'lines'; bytes: AsyncIterable<Uint8Array> }> {
  const bytes = (
    source.from === '-' ? context.stdin : createReadStream(source.from)
  ) as AsyncIterable<Uint8Array>
  if (source.kind !== 'detect') return { kind: source.kind, bytes }
  return await sniff(bytes)
}

/** Reads up to the first line that is not blank, and gives back the same bytes from the beginning. */
export async function sniff(
  source: AsyncIterable<Uint8Array | string>,
): Promise<{ kind: 'ndjson' | 'lines'; bytes: AsyncIterable<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]()
  const read: Uint8Array[] = []
  let size = 0
  let line: string | undefined
  while (line === undefined && size < SNIFF_BYTES) {
    const next = await iterator.next()
    if (next.done === true) {
      line = firstLine(Buffer.concat(read).toString('utf8'), true)
      break
    }
    read.push(Buffer.from(next.value as Uint8Array))
    size += read.at(-1)!.byteLength
    line = firstLine(Buffer.concat(read).toString('utf8'), false)
  }
  async function* replay(): AsyncGenerator<Uint8Array> {
    try {
      yield* read.splice(0)
      for (;;) {
        const next = await iterator.next()
        if (next.done === true) return
        yield Buffer.from(next.value as Uint8Array)
      }
    } finally {
      await iterator.return?.()
    }
  }
  return { kind: looksLikeNdjson(line ?? '') ? 'ndjson' : 'lines', bytes: replay() }
}

/** The first line that is not blank; undefined while it may go on. */
function firstLine(text: string, ended: boolean): string | undefined {
  const lines = text.replace(/^\ufeff/, '').split('\n')
  const whole = ended ? lines : lines.slice(0, -1)
  return whole.find((line) => line.trim() !== '')
}

/**
 * A line is NDJSON when it is a JSON object, array, number or string in quotes. Words that JSON happens to know (true, false,
 * null) are lines: a list of words may begin with one.
 */
export function looksLikeNdjson(line: string): boolean {
  try {
    const value: unknown = JSON.parse(line)
    return (
      typeof value === 'number' ||
      typeof value === 'string' ||
      (typeof value === 'object' && value !== null)
    )
  } catch {
    return false
  }
}

function wrong(message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message)
}
