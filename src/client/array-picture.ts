/** What an array of numbers looks like: colours for one plane, and red, green, blue (and alpha) for three (four). */
import { MeshError } from '../base/errors.ts'
import { viridis } from './colour-map.ts'
import { MAX_PICTURE_SIDE } from './limits.ts'
import type { PngPicture } from './png.ts'

export interface PictureOptions {
  /** One plane in shades of grey, black to white; default: viridis. No effect on colour planes. */
  readonly gray?: boolean
  /** The values that become the darkest and the brightest; default: see pictureOf. Values outside are shown as the nearer end. */
  readonly range?: readonly [low: number, high: number]
}

/** How the values became colours; what a legend would say. */
export interface PictureScale {
  readonly colors: 'viridis' | 'gray' | 'rgb' | 'rgba'
  /** The values that are darkest and brightest; undefined when there is no finite value. */
  readonly range: readonly [low: number, high: number] | undefined
  /** Finite values outside of the range, and infinities. */
  readonly clipped: number
  /** NaN: transparent pixels (of a plane, the pixel). */
  readonly missing: number
}

interface Painted {
  readonly picture: PngPicture
  readonly scale: PictureScale
}

/**
 * Colour planes hold 0..1 or 0..255. A kernel may overshoot 1 (sharpening, highlights), while a picture in 0..255 whose brightest
 * sample is not above this would be black to the eye.
 */
const BRIGHTEST_OF_ONE = 8

/** @throws ERR_MESH_OPTION_INVALID when an array of this size is no picture */
export function checkPictureSize(size: readonly number[]): void {
  const [width = 0, height, planes] = size
  if (height === undefined) {
    throw notPicture(
      size,
      `it has one axis; a picture has two: give the kernel an output [width, height], or write .npy, .csv or .f32`,
    )
  }
  if (planes !== undefined && planes !== 1 && planes !== 3 && planes !== 4) {
    throw notPicture(
      size,
      `it has ${planes} planes; a picture has 1, 3 (red, green, blue) or 4 (and alpha): write .npy or .f32`,
    )
  }
  if (Math.max(width, height) > MAX_PICTURE_SIDE) {
    throw notPicture(
      size,
      `a side may have ${MAX_PICTURE_SIDE} pixels at most, few viewers open more: write .npy or .f32`,
    )
  }
}

/**
 * The picture of an array [width, height], or of planes [width, height, 1 | 3 | 4]; y = 0 is the top row. One plane is scaled from its
 * least to its greatest value; three and four hold 0..1, or 0..255 when there is a value over 8.
 * @throws ERR_MESH_OPTION_INVALID when it has another size
 */
export function pictureOf(
  data: Float32Array,
  size: readonly number[],
  options: PictureOptions,
): Painted {
  checkPictureSize(size)
  const [width = 0, height = 1, planes = 1] = size
  const facts = factsOf(data, options.range)
  if (planes !== 1) return paintPlanes(data, [width, height, planes], facts, options.range)
  const range = options.range ?? facts.extent
  return options.gray === true
    ? paintGray(data, [width, height], facts, range)
    : paintViridis(data, [width, height], facts, range)
}

interface Facts {
  /** Least and greatest finite value. */
  readonly extent: readonly [number, number] | undefined
  readonly infinite: number
  readonly missing: number
  /** Finite values outside of the range that was asked for. */
  readonly outside: number
}

function factsOf(data: Float32Array, range: readonly [number, number] | undefined): Facts {
  const [low, high] = range ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]
  let least = Number.POSITIVE_INFINITY
  let greatest = Number.NEGATIVE_INFINITY
  let infinite = 0
  let missing = 0
  let outside = 0
  for (let at = 0; at < data.length; at++) {
    const value = data[at]!
    if (Number.isNaN(value)) missing++
    else if (value === Number.POSITIVE_INFINITY || value === Number.NEGATIVE_INFINITY) infinite++
    else {
      if (value < least) least = value
      if (value > greatest) greatest = value
      if (value < low || value > high) outside++
    }
  }
  const extent = least <= greatest ? ([least, greatest] as const) : undefined
  return { extent, infinite, missing, outside }
}

/** From a value to 0..top, both ends included; a flat array is in the middle. NaN gives NaN. */
function scaler(range: readonly [number, number] | undefined, top: number): (v: number) => number {
  const [low, high] = range ?? [0, 0]
  const width = high - low
  if (!(width > 0)) {
    return (value) => {
      if (Number.isNaN(value)) return value
      return value === low ? top >> 1 : value < low ? 0 : top
    }
  }
  return (value) => {
    if (value <= low) return 0
    if (value >= high) return top
    return Math.round(((value - low) / width) * top)
  }
}

function paintViridis(
  data: Float32Array,
  [width, height]: readonly [number, number],
  facts: Facts,
  range: readonly [number, number] | undefined,
): Painted {
  // Index 0 is for what is missing, the other 255 are the map.
  const colors = new Uint8Array(256 * 3)
  colors.set(viridis(255), 3)
  const level = scaler(range, 254)
  const paint = (y: number, row: Uint8Array): void => {
    for (let x = 0; x < width; x++) {
      const at = level(data[y * width + x]!)
      row[x] = Number.isNaN(at) ? 0 : 1 + at
    }
  }
  const palette = facts.missing === 0 ? { colors } : { colors, clear: 0 }
  return {
    picture: { width, height, kind: 'palette', palette, paint },
    scale: scaleOf('viridis', range, facts, facts.outside),
  }
}

function paintGray(
  data: Float32Array,
  [width, height]: readonly [number, number],
  facts: Facts,
  range: readonly [number, number] | undefined,
): Painted {
  const clear = facts.missing > 0
  const level = scaler(range, 255)
  const paint = (y: number, row: Uint8Array): void => {
    for (let x = 0; x < width; x++) {
      const at = level(data[y * width + x]!)
      if (clear) {
        row[2 * x] = at
        row[2 * x + 1] = Number.isNaN(at) ? 0 : 255
      } else row[x] = at
    }
  }
  return {
    picture: { width, height, kind: clear ? 'gray-alpha' : 'gray', paint },
    scale: scaleOf('gray', range, facts, facts.outside),
  }
}

function paintPlanes(
  data: Float32Array,
  [width, height, planes]: readonly [number, number, number],
  facts: Facts,
  asked: readonly [number, number] | undefined,
): Painted {
  const bytes = (facts.extent?.[1] ?? 0) > BRIGHTEST_OF_ONE
  const range = asked ?? ([0, bytes ? 255 : 1] as const)
  const outside = asked === undefined ? factsOf(data, range).outside : facts.outside
  const alpha = planes === 4 || facts.missing > 0
  const samples = alpha ? 4 : 3
  const level = scaler(range, 255)
  const plane = width * height
  const paint = (y: number, row: Uint8Array): void => {
    for (let x = 0; x < width; x++) {
      let missing = false
      for (let sample = 0; sample < samples; sample++) {
        const at = sample < planes ? level(data[sample * plane + y * width + x]!) : 255
        missing ||= Number.isNaN(at)
        row[x * samples + sample] = at
      }
      if (missing) row.fill(0, x * samples, (x + 1) * samples)
    }
  }
  return {
    picture: { width, height, kind: alpha ? 'rgba' : 'rgb', paint },
    scale: scaleOf(alpha ? 'rgba' : 'rgb', range, facts, outside),
  }
}

function scaleOf(
  colors: PictureScale['colors'],
  range: PictureScale['range'],
  facts: Facts,
  outside: number,
): PictureScale {
  return { colors, range, clipped: outside + facts.infinite, missing: facts.missing }
}

function notPicture(size: readonly number[], why: string): MeshError {
  return new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `an array of ${size.join(' x ')} cannot be written as a .png picture: ${why}`,
    { details: { size: [...size] } },
  )
}
