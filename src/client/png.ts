/** Writes PNG files (W3C PNG 3rd edition, §5 and §11) row by row: a picture of any size takes the memory of a few rows. */
import { pipeline, Readable } from 'node:stream'
import { crc32, createDeflate } from 'node:zlib'
import { PNG_BATCH_BYTES } from './limits.ts'

/** 8 bits a sample; `palette`: one byte a pixel, an index into up to 256 colours. */
export type PngKind = 'palette' | 'gray' | 'gray-alpha' | 'rgb' | 'rgba'

export interface PngPicture {
  readonly width: number
  readonly height: number
  readonly kind: PngKind
  /** For `palette`: its colours, 3 bytes each; `clear` is the index of a fully transparent one. */
  readonly palette?: { readonly colors: Uint8Array; readonly clear?: number }
  /** Fills `row` with the samples of row y, the top one first. Rows are asked for in order, once each. */
  readonly paint: (y: number, row: Uint8Array) => void
}

const COLOR_TYPE = { gray: 0, rgb: 2, palette: 3, 'gray-alpha': 4, rgba: 6 } as const
const SAMPLES = { gray: 1, rgb: 3, palette: 1, 'gray-alpha': 2, rgba: 4 } as const
const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
/** On smooth pictures with some noise 2.6 times as fast as the default (6), and 5 % larger. */
const DEFLATE_LEVEL = 4
const FILTER_NONE = 0
const FILTER_SUB = 1

/** The bytes of the PNG file, in pieces. */
export async function* pngBytes(picture: PngPicture): AsyncGenerator<Uint8Array> {
  const { width, height, kind, palette } = picture
  yield SIGNATURE
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  // Depth 8, colour type; deflate, adaptive filters, not interlaced.
  header.set([8, COLOR_TYPE[kind], 0, 0, 0], 8)
  yield chunk('IHDR', header)
  if (palette !== undefined) {
    yield chunk('PLTE', palette.colors)
    if (palette.clear !== undefined) yield chunk('tRNS', alphas(palette.clear))
  }
  const deflate = createDeflate({ level: DEFLATE_LEVEL, chunkSize: PNG_BATCH_BYTES })
  // What painting throws ends the deflater, and is thrown to the reader by it.
  pipeline(
    Readable.from(filteredRows(picture), { objectMode: true, highWaterMark: 1 }),
    deflate,
    () => {},
  )
  for await (const piece of deflate) yield chunk('IDAT', piece as Buffer)
  yield chunk('IEND', new Uint8Array())
}

/** Alpha of the palette's first colours; those that are not named are opaque. */
function alphas(clear: number): Uint8Array {
  const bytes = new Uint8Array(clear + 1).fill(255)
  bytes[clear] = 0
  return bytes
}

/** Rows, each behind the byte that names its filter, several in one buffer. */
function* filteredRows({ width, height, kind, paint }: PngPicture): Generator<Uint8Array> {
  const samples = SAMPLES[kind]
  const rowBytes = 1 + width * samples
  const rows = Math.max(1, Math.floor(PNG_BATCH_BYTES / rowBytes))
  const row = new Uint8Array(rowBytes - 1)
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top)
    // A new one each time: the deflater reads it after we go on.
    const batch = new Uint8Array(count * rowBytes)
    for (let at = 0; at < count; at++) {
      paint(top + at, row)
      filterInto(batch.subarray(at * rowBytes, (at + 1) * rowBytes), row, samples)
    }
    yield batch
  }
}

/**
 * The difference to the pixel on the left (filter Sub) where that is likely to deflate better, by the usual rule: the smaller sum of
 * absolute differences (PNG §12.7).
 */
function filterInto(target: Uint8Array, row: Uint8Array, samples: number): void {
  let plain = 0
  let differences = 0
  for (let at = 0; at < row.length; at++) {
    const value = row[at]!
    const difference = (at < samples ? value : value - row[at - samples]!) & 0xff
    target[at + 1] = difference
    plain += value < 128 ? value : 256 - value
    differences += difference < 128 ? difference : 256 - difference
  }
  target[0] = FILTER_SUB
  if (plain > differences) return
  target[0] = FILTER_NONE
  target.set(row, 1)
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafe(12 + data.length)
  bytes.writeUInt32BE(data.length, 0)
  bytes.write(type, 4, 'latin1')
  bytes.set(data, 8)
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length)
  return bytes
}
