/** The kernels of examples/kernels as a user runs them: a picture of each, by the command on two peers, and n-body from code. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PNG } from 'pngjs'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { edges } from '../../examples/kernels/convolution.ts'
import mandelbrot from '../../examples/kernels/mandelbrot.ts'
import { columnWaves, rowWaves } from '../../examples/kernels/matmul.ts'
import { FUTURES, MARKET } from '../../examples/kernels/monte-carlo.ts'
import { crowd, discs, step } from '../../examples/kernels/n-body.ts'
import { photograph } from '../../examples/kernels/photograph.ts'
import { viridis } from '../../src/client/colour-map.ts'
import {
  convolvedAt,
  mandelbrotAt,
  nextBodyAt,
  priceByChance,
  productAt,
} from '../helpers/kernel-references.ts'
import { LOOPBACK, MESH, ROOT, Scene } from './lib/processes.ts'

vi.mock('meshwork', () => import('../../src/gpu/define-kernel.ts'))
// For the processes that are started too.
vi.hoisted(() => Object.assign(process.env, { MATMUL_SIZE: '128', BODIES: '200', STEPS: '6' }))

type Reference = (x: number, y: number) => number

let scene: Scene
let ticket: string
beforeAll(async () => {
  scene = new Scene()
  const first = await scene.join('first')
  ticket = first.ticket
  await scene.join('second', ticket)
})
afterAll(() => scene.end())

interface Told {
  readonly numbers: { readonly least: number; readonly greatest: number; readonly nan: number }
  readonly output: readonly number[]
  readonly failed: number
}

async function submit(example: string): Promise<Told & { readonly png: PNG }> {
  const out = scene.path(`${example}.png`)
  const file = join(ROOT, 'examples', 'kernels', `${example}.ts`)
  const mesh = ['--ticket', ticket, '--data', scene.path('third'), '--cores', '0', '--no-mdns']
  const run = await scene.node(MESH, ['submit', file, '--out', out, '--json', ...mesh])
  expect(run.code, run.stderr + run.stdout).toBe(0)
  return { ...(JSON.parse(run.stdout) as Told), png: PNG.sync.read(readFileSync(out)) }
}

/** The pixel's places in the colour map: two neighbours may have one colour. */
function levels(): (png: PNG, x: number, y: number) => readonly number[] {
  const map = viridis(255)
  const places = new Map<string, number[]>()
  for (let level = 0; level < 255; level++) {
    const color = [...map.subarray(3 * level, 3 * level + 3)].join()
    places.set(color, [...(places.get(color) ?? []), level])
  }
  return (png, x, y) => {
    const at = (y * png.width + x) * 4
    return places.get([...png.data.subarray(at, at + 3)].join()) ?? []
  }
}

function market(x: number, y: number): number {
  const strike = MARKET.lowestStrike + x * MARKET.strikeStep
  const years = MARKET.shortestYears + y * MARKET.yearsStep
  return priceByChance(MARKET, strike, years, FUTURES / 4, y * 128 + x).price
}

describe('mesh submit examples/kernels/… --out picture.png, from a third folder to two joined peers', () => {
  const { left, top, step: apart } = mandelbrot.constants
  const [a, b, photo, filter] = [rowWaves(128), columnWaves(128), photograph(), edges(1.4)]
  it.each<[string, readonly number[], number, Reference]>([
    ['mandelbrot', [2048, 2048], 4099, (x, y) => mandelbrotAt(left!, top!, apart!, x, y)],
    ['matmul', [128, 128], 11, (x, y) => productAt(a, b, y, x)],
    ['convolution', [512, 242], 97, (x, y) => convolvedAt(photo, filter, x, y)],
    ['monte-carlo', [128, 96], 379, market],
  ])('%s: the picture shows what a plain loop computes', async (name, size, stride, reference) => {
    const { png, output, numbers, failed } = await submit(name)
    expect([png.width, png.height]).toEqual(size)
    expect(output).toEqual(size)
    expect({ failed, nan: numbers.nan }).toEqual({ failed: 0, nan: 0 })
    const levelAt = levels()
    const { least, greatest } = numbers
    let [off, places] = [0, 0]
    for (let at = 0; at < png.width * png.height; at += stride) {
      const [x, y] = [at % png.width, Math.floor(at / png.width)]
      const expected = (254 * (reference(x, y) - least)) / (greatest - least)
      places++
      // Half a level is lost by rounding; on the edge of the set another device may be elsewhere.
      if (!levelAt(png, x, y).some((level) => Math.abs(level - expected) <= 0.6)) off++
    }
    expect(places).toBeGreaterThan(30)
    expect(off / places).toBeLessThanOrEqual(name === 'mandelbrot' ? 0.02 : 0)
  })
})

describe('node dist/examples/kernels/run.js', () => {
  it('hands the result of each step to the next, and shows where the bodies are', async () => {
    const file = join(ROOT, 'dist', 'examples', 'kernels', 'run.js')
    const args = ['--data', scene.path('alone'), '--cores', '1', ...LOOPBACK]
    const run = await scene.node(file, args)
    expect(run.code, run.stderr).toBe(0)
    const png = PNG.sync.read(readFileSync(run.stdout.trim()))
    let state = discs(200)
    const { mass, time, soft } = step(state).constants as Record<'mass' | 'time' | 'soft', number>
    for (let done = 0; done < 6; done++) {
      const before = state
      state = Float32Array.from(
        Array.from({ length: 200 }, (_, body) =>
          nextBodyAt(before, { mass, time, soft }, body),
        ).flat(),
      )
    }
    const { data, size } = crowd(state, 256)
    const levelAt = levels()
    expect([png.width, png.height]).toEqual(size)
    const seen = Array.from(data, (_, at) => {
      return !levelAt(png, at % 256, Math.floor(at / 256)).includes(0)
    })
    const differing = seen.filter((is, at) => is !== data[at]! > 0).length
    expect(seen.filter((is) => is).length).toBeGreaterThan(100)
    // A body on the border of a cell may be on its other side on another device.
    expect(differing).toBeLessThanOrEqual(2)
  })
})
