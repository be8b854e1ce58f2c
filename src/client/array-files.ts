/** One array of numbers as a file that people and programs open: a picture, NumPy's format, text, or bare numbers. */

import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { endianness } from 'node:os'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { MeshError } from '../base/errors.ts'
import { elementsOf } from '../base/extents.ts'
import { shortestF32 } from '../base/f32-text.ts'
import {
  checkPictureSize,
  type PictureOptions,
  type PictureScale,
  pictureOf,
} from './array-picture.ts'
import { ELEMENTS_PER_WRITE } from './limits.ts'
import { pngBytes } from './png.ts'

export type { PictureOptions, PictureScale } from './array-picture.ts'

/** An array as kernels make it: extents [x], [x, y] or [x, y, z], x runs fastest. */
export interface SizedArray {
  readonly data: Float32Array
  readonly size: readonly number[]
}

/**
 * `f32`: bare numbers, 4 bytes each, little-endian, x fastest. `npy`: NumPy's format 1.0, shape (z, y, x). `csv`: a line for each row along x.
 * `png`: a picture, see pictureOf.
 */
export type ArrayFormat = 'f32' | 'npy' | 'csv' | 'png'

export interface ArrayFileWritten {
  readonly path: string
  readonly format: ArrayFormat
  readonly sizeBytes: number
  /** For a picture: how values became colours. */
  readonly scale?: PictureScale
}

type Pieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

const FORMATS: readonly ArrayFormat[] = ['png', 'npy', 'csv', 'f32']

/**
 * The format that a file's name asks for, by its extension.
 * @throws ERR_MESH_OPTION_INVALID for any other extension; the message lists those that there are
 */
export function arrayFormatOf(path: string): ArrayFormat {
  const extension = extname(path).slice(1).toLowerCase()
  const format = FORMATS.find((known) => known === extension)
  if (format !== undefined) return format
  const has = extension === '' ? 'has no extension' : `ends in .${extension}`
  throw new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `${path} ${has}: an array is written as .png (a picture), .npy (NumPy), .csv (text) or .f32 (bare little-endian numbers)`,
    { details: { path, known: [...FORMATS] } },
  )
}

/**
 * Whether an array of this size can be written there, without touching the file: told before a job runs rather than after.
 * @throws ERR_MESH_OPTION_INVALID
 */
export async function checkArrayFile(path: string, size: readonly number[]): Promise<ArrayFormat> {
  const format = arrayFormatOf(path)
  checkSize(size)
  if (format === 'png') checkPictureSize(size)
  if (format === 'csv') checkTableSize(size)
  const found = await stat(path).catch(() => undefined)
  if (found?.isDirectory()) throw cannotWrite(path, new Error('it is a folder'))
  const folder = dirname(resolve(path))
  const around = await stat(folder).catch(() => undefined)
  if (!around?.isDirectory()) throw cannotWrite(path, new Error(`there is no folder ${folder}`))
  return format
}

/**
 * Writes the array in the format of the file's extension. A file that is there is replaced when the new one is complete.
 * @throws ERR_MESH_OPTION_INVALID (extension, size, a path that cannot be written), ERR_MESH_DISK_FULL
 */
export async function writeArrayFile(
  path: string,
  array: SizedArray,
  options: PictureOptions = {},
): Promise<ArrayFileWritten> {
  const format = await checkArrayFile(path, array.size)
  const { bytes, scale } = encodeArray(array, format, options)
  const sizeBytes = await replaceFile(path, bytes)
  return { path, format, sizeBytes, ...(scale !== undefined && { scale }) }
}

/**
 * The array's bytes in a format, in pieces that are made as they are asked for.
 * @throws ERR_MESH_OPTION_INVALID when an array of this size has no such form, or `data` has another length
 */
export function encodeArray(
  array: SizedArray,
  format: ArrayFormat,
  options: PictureOptions = {},
): {
  readonly bytes: Pieces
  readonly scale?: PictureScale
} {
  const { data, size } = array
  checkSize(size)
  const elements = elementsOf(size)
  if (data.length !== elements) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `an array of ${size.join(' x ')} has ${elements} elements, but ${data.length} are given`,
      { details: { size: [...size], elements: data.length } },
    )
  }
  switch (format) {
    case 'f32':
      return { bytes: littleEndian(data) }
    case 'npy':
      return { bytes: npy(data, size) }
    case 'csv':
      checkTableSize(size)
      return { bytes: csv(data, size) }
    case 'png': {
      checkRange(options.range)
      const { picture, scale } = pictureOf(data, size, options)
      return { bytes: pngBytes(picture), scale }
    }
  }
}

function checkSize(size: readonly number[]): void {
  const whole = size.every((extent) => Number.isSafeInteger(extent) && extent > 0)
  if (whole && size.length >= 1 && size.length <= 3) return
  throw new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `the size of an array is [x], [x, y] or [x, y, z], whole numbers from 1 up, not [${size.join(', ')}]`,
    { details: { size: [...size] } },
  )
}

function checkRange(range: PictureOptions['range']): void {
  if (range === undefined) return
  const [low, high] = range
  if (Number.isFinite(low) && Number.isFinite(high) && low < high) return
  throw new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `the range of a picture is two numbers, the lower first, not [${low}, ${high}]`,
    { details: { option: 'range' } },
  )
}

// ---------------------------------------------------------------- formats

/** `bigEndianHost` is for tests: what this machine is, else. */
export function* littleEndian(
  data: Float32Array,
  bigEndianHost: boolean = endianness() === 'BE',
): Generator<Uint8Array> {
  for (let at = 0; at < data.length; at += ELEMENTS_PER_WRITE) {
    const part = data.subarray(at, at + ELEMENTS_PER_WRITE)
    const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength)
    yield bigEndianHost ? Buffer.from(bytes).swap32() : bytes
  }
}

const NPY_MAGIC = Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0)
const NPY_ALIGNMENT = 64

/** NumPy's format 1.0 (NEP 1): magic, length of the header, a Python dictionary padded to 64 bytes, the data in C order. */
function* npy(data: Float32Array, size: readonly number[]): Generator<Uint8Array> {
  // C order names the slowest axis first; a tuple of one has a comma.
  const shape = `(${[...size].reverse().join(', ')}${size.length === 1 ? ',' : ''})`
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`
  const before = NPY_MAGIC.length + 2
  const total = Math.ceil((before + text.length + 1) / NPY_ALIGNMENT) * NPY_ALIGNMENT
  const header = Buffer.alloc(total, ' ')
  header.set(NPY_MAGIC, 0)
  header.writeUInt16LE(total - before, NPY_MAGIC.length)
  header.write(text, before, 'latin1')
  header.write('\n', total - 1, 'latin1')
  yield header
  yield* littleEndian(data)
}

function checkTableSize(size: readonly number[]): void {
  if (size.length < 3) return
  throw new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `an array of ${size.join(' x ')} cannot be written as .csv: a table has two axes; write .npy or .f32`,
    { details: { size: [...size] } },
  )
}

/** [x]: a value a line; [x, y]: line y holds its x values. Non-finite values are what NumPy and R read: nan, inf, -inf. */
function* csv(data: Float32Array, size: readonly number[]): Generator<Uint8Array> {
  const [width = 1] = size
  const columns = size.length === 1 ? 1 : width
  let lines: string[] = []
  let gathered = 0
  for (let at = 0; at < data.length; at += columns) {
    lines.push(Array.from(data.subarray(at, at + columns), cell).join(','))
    gathered += columns
    if (gathered < ELEMENTS_PER_WRITE / 8) continue
    yield Buffer.from(`${lines.join('\n')}\n`)
    lines = []
    gathered = 0
  }
  if (lines.length > 0) yield Buffer.from(`${lines.join('\n')}\n`)
}

/** As NumPy and R read it. */
function cell(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  return shortestF32(value)
}

// ---------------------------------------------------------------- files

/** Half a picture opens in nothing: the new file takes the old one's place when it is complete. A pipe or device is written as it is. */
async function replaceFile(path: string, pieces: Pieces): Promise<number> {
  try {
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && !found.isFile()) return await writePieces(path, pieces)
    // The file itself, not a link to it, and with its old mode.
    const target = found === undefined ? resolve(path) : await realpath(path)
    const part = join(dirname(target), `.${basename(target)}.${process.pid}.part`)
    try {
      const sizeBytes = await writePieces(part, pieces, found?.mode)
      await rename(part, target)
      return sizeBytes
    } catch (error) {
      await rm(part, { force: true })
      throw error
    }
  } catch (error) {
    throw writeError(path, error)
  }
}

async function writePieces(path: string, pieces: Pieces, mode = 0o666): Promise<number> {
  const file: FileHandle = await open(path, 'w', mode)
  let sizeBytes = 0
  try {
    for await (const piece of pieces) {
      await file.writeFile(piece)
      sizeBytes += piece.length
    }
  } finally {
    await file.close()
  }
  return sizeBytes
}

function writeError(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    const message = `the disk that holds ${path} is full: free some space, or write elsewhere`
    return new MeshError('ERR_MESH_DISK_FULL', message, { cause: error, details: { path } })
  }
  return typeof code === 'string' && /^E[A-Z]+$/.test(code) ? cannotWrite(path, error) : error
}

function cannotWrite(path: string, cause: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `${path} cannot be written: ${(cause as Error).message}`,
    { cause, details: { path } },
  )
}
