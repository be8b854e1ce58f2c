/** Files of input, kept, and their segments, decoded as they are needed: the next chunk often goes on in the same one. */
import { readFileSync, statSync } from 'node:fs'
import {
  MAX_INPUT_CACHE_BYTES,
  MAX_INPUT_FILES_CACHED,
  MAX_PIECE_BYTES,
  MAX_SEGMENTS_DECODED,
} from '../limits.ts'
import { decodeSegments, rowsOf, type SegmentSpan, scanSegments } from '../segment.ts'
import { failedInput } from './failed.ts'

/** Stands where an object was: who had it may have changed it, so the next one gets a copy of its own. */
export const TAKEN: unique symbol = Symbol('taken')

/** Values of a file from lo on; Failed in the place of one that failed. */
export interface Window {
  readonly lo: number
  readonly hi: number
  values: unknown[]
}

/** Oldest first. */
const decoded: { readonly file: InputFile; readonly at: number }[] = []

/** Elements are numbered from 0. */
export class InputFile {
  readonly count: number
  readonly sizeBytes: number
  private readonly bytes: Uint8Array
  private readonly spans: readonly SegmentSpan[]
  private readonly windows: (Window | undefined)[] = []

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.sizeBytes = bytes.length
    this.spans = [...scanSegments(bytes, 0)]
    this.count = this.spans.at(-1)?.hi ?? 0
  }

  /** The segment that holds the element. */
  windowAt(element: number): Window {
    if (this.spans.length === 0) throw new Error('it is empty')
    let low = 0
    let high = this.spans.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.spans[middle]!.lo <= element) low = middle
      else high = middle - 1
    }
    const known = this.windows[low]
    if (known !== undefined) return known
    const { lo, hi } = this.spans[low]!
    const window: Window = { lo, hi, values: this.decode(low) }
    this.windows[low] = window
    decoded.push({ file: this, at: low })
    if (decoded.length > MAX_SEGMENTS_DECODED) {
      const { file, at } = decoded.shift()!
      file.windows[at] = undefined
    }
    return window
  }

  /** Its values anew, where some were taken. */
  refresh(window: Window): void {
    const at = this.spans.findIndex(({ lo }) => lo === window.lo)
    window.values = this.decode(at)
  }

  private decode(at: number): unknown[] {
    const { start, end } = this.spans[at]!
    const [segment] = decodeSegments(this.bytes.subarray(start, end), 0)
    const { values, failures, f32, hi } = segment!
    if (f32 !== undefined) return rowsOf(f32.numbers, hi)
    for (const failure of failures) values[failure.index] = failedInput(failure)
    return values
  }
}

/** Least recently used first. */
const files = new Map<string, InputFile>()
let cachedBytes = 0

/** @throws when it cannot be read or is no concatenation of segments. */
export function openInputFile(path: string): InputFile {
  let file = files.get(path)
  if (file !== undefined) {
    files.delete(path)
    files.set(path, file)
    return file
  }
  const sizeBytes = statSync(path).size
  if (sizeBytes > MAX_PIECE_BYTES) throw new Error(`the file ${path} is ${sizeBytes} bytes`)
  file = new InputFile(readFileSync(path))
  files.set(path, file)
  cachedBytes += file.sizeBytes
  for (const [oldest, { sizeBytes }] of files) {
    const fits = cachedBytes <= MAX_INPUT_CACHE_BYTES && files.size <= MAX_INPUT_FILES_CACHED
    // The one before is kept as well: items of two files may take turns.
    if (fits || files.size <= 2) break
    files.delete(oldest)
    cachedBytes -= sizeBytes
  }
  return file
}
