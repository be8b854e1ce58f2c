import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { PNG } from 'pngjs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type ArrayFormat,
  arrayFormatOf,
  checkArrayFile,
  encodeArray,
  littleEndian,
  type PictureOptions,
  type SizedArray,
  writeArrayFile,
} from '../../../src/client/array-files.ts'
import { viridis } from '../../../src/client/colour-map.ts'
import { pngBytes } from '../../../src/client/png.ts'
import type { Size } from '../../../src/gpu/types.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'meshwork-array-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function bytesOf(
  array: SizedArray,
  format: ArrayFormat,
  options?: PictureOptions,
): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of encodeArray(array, format, options).bytes) pieces.push(piece)
  return Buffer.concat(pieces)
}

const textOf = async (array: SizedArray): Promise<string> =>
  (await bytesOf(array, 'csv')).toString()

function counted(size: Size): SizedArray {
  const elements = size.reduce((product, extent) => product * extent, 1)
  return { data: Float32Array.from({ length: elements }, (_, at) => at), size }
}

const array = (size: Size, ...values: number[]): SizedArray => ({
  data: Float32Array.from(values),
  size,
})

/** A pixel as [red, green, blue, alpha], by another PNG library. */
function pixels(png: Buffer): {
  width: number
  height: number
  at(x: number, y: number): number[]
} {
  const { width, height, data } = PNG.sync.read(png)
  return { width, height, at: (x, y) => [...data.subarray((y * width + x) * 4).subarray(0, 4)] }
}

const wrongOption = (message: RegExp) => ({
  code: 'ERR_MESH_OPTION_INVALID',
  message: expect.stringMatching(message),
})

describe('the format of a file', () => {
  it.each([
    ['a.png', 'png'],
    ['b.F32', 'f32'],
    ['dir.x/c.npy', 'npy'],
    ['d.e.csv', 'csv'],
  ])('%s is %s', (path, format) => expect(arrayFormatOf(path)).toBe(format))

  it.each([
    ['picture', /picture has no extension: .*\.png .*\.npy .*\.csv .*\.f32/],
    ['picture.jpg', /ends in \.jpg: .*\.png .*\.npy .*\.csv .*\.f32/],
    ['.png', /no extension/],
  ])('%s is refused, and the known ones are listed', (path, message) => {
    expect(() => arrayFormatOf(path)).toThrow(expect.objectContaining(wrongOption(message)))
  })
})

describe('.f32', () => {
  it('is the numbers, little-endian, x fastest', async () => {
    const bytes = await bytesOf(array([3, 1], 1, -2.5, Number.NaN), 'f32')
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    expect(bytes.length).toBe(12)
    expect([0, 4, 8].map((at) => view.getFloat32(at, true))).toEqual([1, -2.5, Number.NaN])
  })

  it('on a big-endian machine turns the bytes, of a copy', () => {
    const data = Float32Array.of(1, 2)
    const [bytes] = [...littleEndian(data, true)]
    expect(Buffer.from(bytes!).swap32()).toEqual(Buffer.from(data.buffer))
    expect([...data]).toEqual([1, 2])
  })

  it('is made in pieces that are views of the array', async () => {
    const { data, size } = counted([1024, 3000])
    const pieces = [...littleEndian(data)]
    expect(pieces.length).toBeGreaterThan(2)
    expect(pieces.every((piece) => piece.buffer === data.buffer)).toBe(true)
    expect(Buffer.concat(pieces).equals(await bytesOf({ data, size }, 'f32'))).toBe(true)
  })
})

describe('.npy', () => {
  it.each([
    [[5] as const, '(5,)'],
    [[3, 2] as const, '(2, 3)'],
    [[4, 3, 2] as const, '(2, 3, 4)'],
  ])('of %j has shape %s', async (size, shape) => {
    const given = counted(size)
    const bytes = await bytesOf(given, 'npy')
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from('\x93NUMPY\x01\x00', 'latin1'))
    const end = 10 + bytes.readUInt16LE(8)
    expect(end % 64).toBe(0)
    const header = bytes.subarray(10, end).toString('latin1')
    expect(header.trimEnd()).toBe(`{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`)
    expect(header.endsWith('\n')).toBe(true)
    expect(bytes.subarray(end)).toEqual(await bytesOf(given, 'f32'))
  })
})

describe('.csv', () => {
  it('has a line for each row along x', async () => {
    expect(await textOf(array([3, 2], 1, 2.5, -3, 0.1, 1e-7, 3.4e38))).toBe(
      '1,2.5,-3\n0.1,1e-7,3.4e+38\n',
    )
  })

  it('of one axis has a value a line; what is not finite is as NumPy reads it', async () => {
    const { NaN: nan, POSITIVE_INFINITY: inf } = Number
    expect(await textOf(array([5], nan, inf, -inf, -0, 16777216))).toBe(
      'nan\ninf\n-inf\n-0\n16777216\n',
    )
  })

  it('of three axes is refused', async () => {
    expect(() => encodeArray(counted([2, 2, 2]), 'csv')).toThrow(
      expect.objectContaining(wrongOption(/2 x 2 x 2 .* a table has two axes; write \.npy/)),
    )
  })

  it('reads back to the same f32, for any value', async () => {
    await fc.assert(
      fc.asyncProperty(fc.float32Array({ minLength: 1, maxLength: 50 }), async (data) => {
        const text = await textOf({ data, size: [data.length] })
        const values = text.trimEnd().split('\n').map(numberOf)
        expect(Float32Array.from(values)).toEqual(data)
      }),
    )
  })

  it('of many rows is made in pieces, none lost', async () => {
    const given = counted([100, 3000])
    const pieces = [...(encodeArray(given, 'csv').bytes as Iterable<Uint8Array>)]
    expect(pieces.length).toBeGreaterThan(1)
    const lines = Buffer.concat(pieces).toString().trimEnd().split('\n')
    expect(lines).toHaveLength(3000)
    expect(lines.join(',').split(',').map(Number)).toEqual([...given.data])
  })
})

function numberOf(text: string): number {
  if (text === 'nan') return Number.NaN
  if (text.endsWith('inf')) return text === 'inf' ? Infinity : -Infinity
  return Number(text)
}

describe('.png of one plane', () => {
  it('is viridis from the least value, top left, to the greatest', async () => {
    const encoded = encodeArray(array([2, 2], -1, 3, 1, 0), 'png')
    const picture = pixels(await bytesOf(array([2, 2], -1, 3, 1, 0), 'png'))
    expect([picture.width, picture.height]).toEqual([2, 2])
    const map = viridis(255)
    const color = (at: number) => [...map.subarray(at * 3, at * 3 + 3), 255]
    expect(picture.at(0, 0)).toEqual(color(0))
    expect(picture.at(1, 0)).toEqual(color(254))
    expect(picture.at(0, 1)).toEqual(color(127))
    expect(picture.at(1, 1)).toEqual(color(64))
    expect(encoded.scale).toEqual({ colors: 'viridis', range: [-1, 3], clipped: 0, missing: 0 })
  })

  it('in grey goes from black to white, with every level exact', async () => {
    const given = counted([16, 16])
    const picture = pixels(await bytesOf(given, 'png', { gray: true }))
    for (let level = 0; level < 256; level++) {
      expect(picture.at(level % 16, level >> 4)).toEqual([level, level, level, 255])
    }
    expect(encodeArray(given, 'png', { gray: true }).scale?.colors).toBe('gray')
  })

  it.each([true, false])(
    'shows NaN as nothing, infinities as the ends (gray: %s)',
    async (gray) => {
      const { NaN: nan, POSITIVE_INFINITY: inf } = Number
      const given = array([5, 1], nan, -inf, inf, 2, 4)
      const picture = pixels(await bytesOf(given, 'png', { gray }))
      expect(picture.at(0, 0)[3]).toBe(0)
      expect(picture.at(1, 0)).toEqual(picture.at(3, 0))
      expect(picture.at(2, 0)).toEqual(picture.at(4, 0))
      expect(picture.at(3, 0)[3]).toBe(255)
      expect(picture.at(3, 0)).not.toEqual(picture.at(4, 0))
      expect(encodeArray(given, 'png', { gray }).scale).toMatchObject({
        range: [2, 4],
        clipped: 2,
        missing: 1,
      })
    },
  )

  it('takes a range, and counts what is outside', async () => {
    const given = array([4, 1], -5, 0, 10, 11)
    const options = { gray: true, range: [0, 10] } as const
    const picture = pixels(await bytesOf(given, 'png', options))
    expect([0, 1, 2, 3].map((x) => picture.at(x, 0)[0])).toEqual([0, 0, 255, 255])
    expect(encodeArray(given, 'png', options).scale).toMatchObject({ range: [0, 10], clipped: 2 })
  })

  it.each([[[1, 1]], [[3, 2]], [[Number.NaN, 0]]])('refuses the range %j', (range) => {
    const options = { range: range as [number, number] }
    expect(() => encodeArray(counted([2, 2]), 'png', options)).toThrow(
      expect.objectContaining(wrongOption(/two numbers, the lower first/)),
    )
  })

  it('that is flat is in the middle; that is all NaN is clear, with no range', async () => {
    expect(pixels(await bytesOf(array([2, 1], 7, 7), 'png', { gray: true })).at(1, 0)[0]).toBe(127)
    const none = array([1, 1], Number.NaN)
    expect(pixels(await bytesOf(none, 'png')).at(0, 0)[3]).toBe(0)
    expect(encodeArray(none, 'png').scale?.range).toBeUndefined()
  })

  it('of [x, y, 1] is the same', async () => {
    const { data } = counted([3, 2])
    expect(await bytesOf({ data, size: [3, 2, 1] }, 'png')).toEqual(
      await bytesOf({ data, size: [3, 2] }, 'png'),
    )
  })

  it('of any size and content is what another decoder reads', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 40 }),
        fc.infiniteStream(fc.integer({ min: 0, max: 255 })),
        async (width, height, stream) => {
          const data = Float32Array.from([...stream.take(width * height)])
          const options = { gray: true, range: [0, 255] } as const
          const picture = pixels(await bytesOf({ data, size: [width, height] }, 'png', options))
          const read = Float32Array.from(data, (_, at) => {
            return picture.at(at % width, Math.floor(at / width))[0]!
          })
          expect(read).toEqual(data)
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('.png of colour planes', () => {
  it.each([
    ['0..1', [1, 0, 0.5, 0, 1, 0.2], [0, 1]],
    ['0..255', [255, 0, 127.6, 0, 255, 51], [0, 255]],
  ])('in %s', async (_, values, range) => {
    const given = array([2, 1, 3], ...values)
    const picture = pixels(await bytesOf(given, 'png'))
    expect(picture.at(0, 0)).toEqual([255, 128, 255, 255])
    expect(picture.at(1, 0)).toEqual([0, 0, 51, 255])
    const scale = { colors: 'rgb', range, clipped: 0, missing: 0 }
    expect(encodeArray(given, 'png').scale).toEqual(scale)
  })

  it('that overshoot 1 a little are not taken for 0..255', async () => {
    const given = array([1, 1, 3], 1.1, -0.1, 0.5)
    expect(pixels(await bytesOf(given, 'png')).at(0, 0)).toEqual([255, 0, 128, 255])
    expect(encodeArray(given, 'png').scale).toMatchObject({ range: [0, 1], clipped: 2 })
  })

  it('with a fourth have its transparency, and NaN anywhere clears the pixel', async () => {
    const four = array([2, 1, 4], 1, 1, 0, 0, 0, 0, 0.2, 1)
    const picture = pixels(await bytesOf(four, 'png'))
    expect([picture.at(0, 0), picture.at(1, 0)]).toEqual([
      [255, 0, 0, 51],
      [255, 0, 0, 255],
    ])
    const hole = array([2, 1, 3], 1, 1, 0, Number.NaN, 0, 0)
    const holed = pixels(await bytesOf(hole, 'png'))
    expect([holed.at(0, 0), holed.at(1, 0)[3]]).toEqual([[255, 0, 0, 255], 0])
    expect(encodeArray(hole, 'png').scale?.colors).toBe('rgba')
  })
})

describe('a picture that cannot be painted to its end', () => {
  it('ends with what painting threw', async () => {
    const paint = (y: number) => {
      if (y === 700) throw new RangeError('no more paint')
    }
    const bytes = pngBytes({ width: 900, height: 900, kind: 'gray', paint })
    const readAll = async () => {
      let length = 0
      for await (const piece of bytes) length += piece.length
      return length
    }
    await expect(readAll()).rejects.toThrow('no more paint')
  })
})

describe('what is no picture', () => {
  it.each([
    [[9] as const, /one axis; a picture has two: give the kernel an output \[width, height\]/],
    [[2, 2, 2] as const, /2 planes; a picture has 1, 3 .* or 4/],
    [[70_000, 1] as const, /65535 pixels at most/],
  ])('%j is refused before anything is computed', async (size, message) => {
    await expect(checkArrayFile(join(folder, 'x.png'), size)).rejects.toMatchObject(
      wrongOption(message),
    )
    await expect(checkArrayFile(join(folder, 'x.npy'), size)).resolves.toBe('npy')
  })

  it.each([[[]], [[2, 0]], [[1.5]], [[-1, -1]], [[1, 1, 1, 1]], [[Number.NaN]]])(
    'the size %j',
    async (size) => {
      const refused = wrongOption(/the size of an array is \[x\], \[x, y\] or \[x, y, z\]/)
      await expect(checkArrayFile(join(folder, 'x.npy'), size)).rejects.toMatchObject(refused)
      expect(() => encodeArray({ data: new Float32Array(1), size }, 'f32')).toThrow(
        expect.objectContaining(refused),
      )
    },
  )

  it('an array of another length than its size', () => {
    expect(() => encodeArray({ data: new Float32Array(5), size: [2, 2] }, 'f32')).toThrow(
      expect.objectContaining(wrongOption(/2 x 2 has 4 elements, but 5 are given/)),
    )
  })
})

describe('a file', () => {
  it('is written whole, larger than a batch, and reported', async () => {
    const path = join(folder, 'out.png')
    const given = counted([700, 900])
    const written = await writeArrayFile(path, given)
    expect(written).toEqual({
      path,
      format: 'png',
      sizeBytes: statSync(path).size,
      scale: { colors: 'viridis', range: [0, 629_999], clipped: 0, missing: 0 },
    })
    expect(readFileSync(path).equals(await bytesOf(given, 'png'))).toBe(true)
    expect(pixels(readFileSync(path)).at(699, 899)).toEqual([...viridis(255).subarray(-3), 255])
    expect(readdirSync(folder)).toEqual(['out.png'])
  })

  it('replaces an old one, through a link and with its mode', async () => {
    const path = join(folder, 'old.f32')
    writeFileSync(path, 'something longer than four bytes')
    chmodSync(path, 0o600)
    symlinkSync('old.f32', join(folder, 'link.f32'))
    await writeArrayFile(join(folder, 'link.f32'), array([1], 1))
    expect(readFileSync(path)).toEqual(Buffer.from(Float32Array.of(1).buffer))
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder).sort()).toEqual(['link.f32', 'old.f32'])
  })

  it('that fails half-way leaves the old one, and nothing beside it', async () => {
    const path = join(folder, 'kept.f32')
    writeFileSync(path, 'old')
    const data = new Float32Array(2 ** 21)
    let pieces = 0
    data.subarray = () => {
      if (++pieces > 1) throw new RangeError('gone')
      return new Float32Array(1)
    }
    await expect(writeArrayFile(path, { data, size: [2 ** 21] })).rejects.toThrow('gone')
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(folder)).toEqual(['kept.f32'])
  })

  it.skipIf(process.platform !== 'linux')('on a full disk says so', async () => {
    symlinkSync('/dev/full', join(folder, 'full.npy'))
    await expect(writeArrayFile(join(folder, 'full.npy'), counted([2]))).rejects.toMatchObject({
      code: 'ERR_MESH_DISK_FULL',
      message: expect.stringMatching(/full\.npy is full: free some space/),
    })
  })

  it.each(['nowhere/x.png', '.'])('in a place that cannot be: %s', async (name) => {
    const path = join(folder, name === '.' ? 'dir.png' : name)
    if (name === '.') mkdirSync(path)
    await expect(checkArrayFile(path, [2, 2])).rejects.toMatchObject(
      wrongOption(/cannot be written: (there is no folder|it is a folder)/),
    )
    await expect(writeArrayFile(path, counted([2, 2]))).rejects.toMatchObject(
      wrongOption(/cannot be written/),
    )
  })
})

describe('viridis', () => {
  const map = viridis(256)
  const at = (index: number) => [...map.subarray(index * 3, index * 3 + 3)]

  it.each([
    [0, [68, 1, 84]],
    [64, [59, 82, 139]],
    [128, [33, 145, 140]],
    [191, [94, 201, 98]],
    [255, [253, 231, 37]],
  ])('colour %i is within 5 of the table', (index, expected) => {
    for (const [channel, value] of at(index).entries()) {
      expect(Math.abs(value - expected[channel]!)).toBeLessThanOrEqual(5)
    }
  })

  it('gets brighter with every step of 4, evenly', () => {
    const lightness = Array.from({ length: 64 }, (_, step) => lightnessOf(at(step * 4)))
    const steps = lightness.slice(1).map((value, step) => value - lightness[step]!)
    expect(Math.min(...steps)).toBeGreaterThan(0.4)
    expect(Math.max(...steps)).toBeLessThan(2.5)
  })
})

/** CIE L* of an sRGB colour. */
function lightnessOf(color: readonly number[]): number {
  const [red, green, blue] = color.map((value) => {
    const share = value / 255
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
  return luminance > 0.008856 ? 116 * Math.cbrt(luminance) - 16 : 903.3 * luminance
}
