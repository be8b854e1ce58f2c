import { describe, expect, test } from 'vitest'
import { arrayFileLine } from '../../../cli/lib/picture.ts'
import type { ArrayFileWritten } from '../../../src/client/array-files.ts'
import type { Size } from '../../../src/gpu/types.ts'

const scale = { colors: 'viridis', range: [0, 8.010965], clipped: 0, missing: 0 } as const
const picture = { path: 'out.png', format: 'png', sizeBytes: 372_206 } as const

describe('what is said of an array file', () => {
  test.each<[ArrayFileWritten, Size, string]>([
    [
      { ...picture, scale },
      [2048, 2048],
      'out.png: 2048 x 2048, viridis from 0 (dark) to 8.011 (bright), 363 KiB',
    ],
    [
      { ...picture, scale: { ...scale, colors: 'rgb', range: [0, 255] } },
      [20, 10, 3],
      'out.png: 20 x 10 x 3, rgb from 0 (dark) to 255 (bright), 363 KiB',
    ],
    [
      { ...picture, scale: { ...scale, range: [-1e-9, 1.5e9], clipped: 1, missing: 2000 } },
      [9, 9],
      'out.png: 9 x 9, viridis from -1e-9 (dark) to 1500000000 (bright); 1 value outside is shown as the ends; 2 000 NaNs are transparent, 363 KiB',
    ],
    [
      { ...picture, scale: { ...scale, range: [2.5, 2.5] } },
      [9, 9],
      'out.png: 9 x 9, viridis, all values are 2.5, 363 KiB',
    ],
    [
      { ...picture, scale: { ...scale, range: undefined, missing: 81 } },
      [9, 9],
      'out.png: 9 x 9, nothing to see: no value is a number, 363 KiB',
    ],
    [
      { path: 'a/b.npy', format: 'npy', sizeBytes: 4128 },
      [1000],
      'a/b.npy: 1 000 values, for NumPy (np.load), 4.03 KiB',
    ],
    [{ path: 'b.csv', format: 'csv', sizeBytes: 2 }, [1], 'b.csv: 1 value, as text, 2 B'],
    [
      { path: 'b.f32', format: 'f32', sizeBytes: 16 },
      [2, 2],
      'b.f32: 2 x 2, as bare little-endian f32, x fastest, 16 B',
    ],
  ])('%j of %j', (written, size, line) => expect(arrayFileLine(written, size)).toBe(line))
})
