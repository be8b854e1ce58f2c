import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import convolution, { edges } from '../../examples/kernels/convolution.ts'
import mandelbrot from '../../examples/kernels/mandelbrot.ts'
import { columnWaves, product, rowWaves } from '../../examples/kernels/matmul.ts'
import monteCarlo, { FUTURES, MARKET } from '../../examples/kernels/monte-carlo.ts'
import { discs, step } from '../../examples/kernels/n-body.ts'
import { photograph } from '../../examples/kernels/photograph.ts'
import { defineKernel, joinMesh, type Kernel, type Mesh } from '../../src/index.ts'
import {
  convolvedAt,
  mandelbrotAt,
  nextBodyAt,
  priceByChance,
  productAt,
} from '../helpers/kernel-references.ts'
import { SWIFTSHADER, useSwiftShader } from '../unit/gpu/swiftshader.ts'

vi.mock('meshwork', () => import('../../src/gpu/define-kernel.ts'))
vi.hoisted(() => {
  process.env.MATMUL_SIZE = '64'
})

type Reference = (x: number, y: number) => number

const BODIES = 512
const N = 256

function market(x: number, y: number): number {
  const strike = MARKET.lowestStrike + x * MARKET.strikeStep
  const years = MARKET.shortestYears + y * MARKET.yearsStep
  return priceByChance(MARKET, strike, years, FUTURES / 4, y * 128 + x).price
}

function examples(): { kernel: Kernel; reference: Reference; stride: number }[] {
  const { left, top, step: apart } = mandelbrot.constants
  const bodies = discs(BODIES)
  const moved = step(bodies)
  const { mass, time, soft } = moved.constants
  const forces = { mass: mass!, time: time!, soft: soft! }
  const [a, b, photo, filter] = [rowWaves(N), columnWaves(N), photograph(), edges(1.4)]
  return [
    {
      kernel: mandelbrot,
      reference: (x, y) => mandelbrotAt(left!, top!, apart!, x, y),
      stride: 509,
    },
    { kernel: product(N), reference: (x, y) => productAt(a, b, y, x), stride: 101 },
    { kernel: moved, reference: (x, y) => nextBodyAt(bodies, forces, y)[x]!, stride: 31 },
    { kernel: convolution, reference: (x, y) => convolvedAt(photo, filter, x, y), stride: 53 },
    { kernel: monteCarlo, reference: market, stride: 379 },
  ]
}

/** A peer whose software adapter poses as a GPU, one that computes on its CPU, and a submitter. */
describe.skipIf(SWIFTSHADER === undefined)('a mixed mesh (needs SwiftShader from npm)', () => {
  const meshes: Mesh[] = []
  const folders: string[] = []
  let undo: () => void = () => undefined
  let mesh: Mesh

  beforeAll(async () => {
    undo = useSwiftShader(SWIFTSHADER!)
    const join1 = async (name: string, cores: number, gpu: string | undefined, ticket?: string) => {
      const dataDir = await mkdtemp(join(tmpdir(), 'mesh-mixed-'))
      folders.push(dataDir)
      const one = await joinMesh({
        ...{ dataDir, name, cores, mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] },
        gpu: gpu === undefined ? { mode: 'off' } : { mode: 'require', device: gpu },
        ...(ticket === undefined ? {} : { ticket }),
      })
      meshes.unshift(one)
      return one
    }
    const graphic = await join1('graphic', 1, 'swiftshader')
    const ticket = await graphic.ticket()
    await join1('plain', 1, undefined, ticket)
    mesh = await join1('submitter', 0, undefined, ticket)
    for (;;) {
      const peers = await mesh.peers()
      const known = peers.filter(({ connected }) => connected).length === 3
      if (known && peers.some(({ gpu }) => gpu !== null)) break
    }
  })

  afterAll(async () => {
    for (const one of meshes) await one.stop()
    undo()
    for (const folder of folders) await rm(folder, { recursive: true, force: true })
  })

  it('shows which peer has one, and how fast it is', async () => {
    const [gpu] = (await mesh.peers()).flatMap(({ gpu }) => (gpu === null ? [] : [gpu]))
    expect(gpu).toMatchObject({ state: 'software' })
    expect(gpu!.name).toMatch(/swiftshader/i)
    expect(gpu!.gflops).toBeGreaterThan(0)
  })

  it.each(examples())('finishes $kernel.name with a correct result', async (example) => {
    const { kernel, reference, stride } = example
    const job = await mesh.submit(kernel)
    const { data, size, devices } = await job.array()
    const [width] = size as [number]
    const { absolute = 0, relative = 0, cells = 0 } = kernel.tolerance
    let [outside, places] = [0, 0]
    for (let at = 0; at < data.length; at += stride) {
      const expected = reference(at % width, Math.floor(at / width))
      places += 1
      if (!(Math.abs(data[at]! - expected) <= absolute + relative * Math.abs(expected))) outside++
    }
    expect(places).toBeGreaterThan(30)
    expect(outside / places).toBeLessThanOrEqual(cells)
    expect(devices.length).toBeGreaterThan(0)
    expect(await job.info()).toMatchObject({ state: 'finished', failed: 0, waitsFor: null })
  })

  it('a long kernel is computed by both, and says so', async () => {
    const long = defineKernel({
      name: 'long',
      kernel() {
        let sum = 0
        for (let i = 0; i < 20000; i++) sum = sum * 0.5 + this.thread.x
        return sum
      },
      output: [64, 512],
      loopMaxIterations: 20_000,
    })
    const job = await mesh.submit(long)
    const { data, devices } = await job.array()
    expect(devices).toHaveLength(2)
    expect(data[5]).toBe(10)
    expect((await job.info()).peers).toHaveLength(2)
  })

  it('what requires a GPU is computed by the one that has it alone', async () => {
    const kernel = defineKernel({
      name: 'gpu only',
      kernel() {
        return this.thread.x
      },
      output: [1000],
      requires: 'gpu',
    })
    const job = await mesh.submit(kernel)
    const { data, devices } = await job.array()
    expect(data[999]).toBe(999)
    expect(devices).toHaveLength(1)
    expect(devices[0]).toMatch(/swiftshader/i)
    expect((await job.info()).peers.map(({ name }) => name)).toEqual(['graphic'])
  })
})
