import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isMeshError, joinMesh, type Mesh } from '../../src/index.ts'
import { kernelProcesses } from '../helpers/kernel-processes.ts'
import { SWIFTSHADER, useSwiftShader } from '../unit/gpu/swiftshader.ts'

const LOOPBACK = { mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] }
const N = 48
const STEPS = 4_000_000
/** Small whole numbers: f32 sums of them are exact in any order. */
const matrix = (at: number): number => ((at * 5) % 7) - 3
const vector = (item: number, at: number): number => ((at + 1) * (item + 3)) % 11

const TASK = `
import { defineKernel, defineTask, perItem } from 'meshwork'

const n = ${N}
const matrix = Float32Array.from({ length: n * n }, (_, at) => ((at * 5) % 7) - 3)

const times = defineKernel({
  name: 'matrix times vector',
  kernel: function (m: number[][], v: number[]) {
    let sum = 0
    for (let i = 0; i < this.constants.n; i++) {
      sum += m[this.thread.x][i] * v[i]
    }
    return sum
  },
  output: n,
  constants: { n },
})
const spin = defineKernel({
  name: 'spin',
  kernel: function (seed: number, rounds: number) {
    let x = seed
    for (let i = 0; i < rounds; i++) {
      for (let j = 0; j < this.constants.steps; j++) {
        x = (x * 3 + 1) % 1024
      }
    }
    return x
  },
  output: 1,
  constants: { steps: ${STEPS} },
  loopMaxIterations: 16000000,
})

export default defineTask({
  name: 'steps',
  async run(item: number, ctx) {
    const m = perItem({ data: matrix, size: [n, n] })
    const product = (of: number) =>
      ctx.gpu.run(times, [m, Float32Array.from({ length: n }, (_, at) => ((at + 1) * (of + 3)) % 11)])
    switch (ctx.args?.mode) {
      case 'eight': {
        const all = await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map((k) => product(item + k)))
        return all.map((each) => [...each])
      }
      case 'spin': {
        const warm = [...(await product(item))]
        if (item !== 1) return warm
        ctx.log('spinning')
        return [...(await ctx.gpu.run(spin, [item, ctx.args.rounds]))]
      }
      default:
        return [...(await product(item))]
    }
  },
})
`

const expected = (item: number): number[] =>
  Array.from({ length: N }, (_, x) => {
    let sum = 0
    for (let i = 0; i < N; i++) sum += matrix(x * N + i) * vector(item, i)
    return sum
  })

/** What the kernel gives: the numbers go round, since 3 has an inverse modulo 1024. */
function spun(seed: number, rounds: number): number {
  const round: number[] = []
  for (let x = seed; round.length === 0 || x !== seed; x = (x * 3 + 1) % 1024) round.push(x)
  return round[(rounds * STEPS) % round.length]!
}

describe('a task that calls kernels on peers without a GPU', () => {
  const folders: string[] = []
  const meshes: Mesh[] = []
  let mesh: Mesh
  let file: string

  const folder = async (): Promise<string> => {
    const dir = await mkdtemp(join(tmpdir(), 'mesh-ctx-gpu-'))
    folders.push(dir)
    return dir
  }

  beforeAll(async () => {
    file = join(await folder(), 'steps.ts')
    await writeFile(file, TASK)
    const options = { ...LOOPBACK, gpu: { mode: 'off' as const } }
    const one = await joinMesh({ ...options, dataDir: await folder(), cores: 1, name: 'one' })
    const ticket = await one.ticket()
    const two = { ...options, dataDir: await folder(), cores: 1, name: 'two', ticket }
    mesh = await joinMesh({ ...options, dataDir: await folder(), cores: 0, name: 'sub', ticket })
    meshes.push(mesh, await joinMesh(two), one)
    while ((await mesh.peers()).filter(({ connected }) => connected).length < 3) {
      // peers() waits for nothing: without this no connection would ever be made.
      await new Promise((resolve) => setImmediate(resolve))
    }
  })

  afterAll(async () => {
    for (const each of meshes) await each.stop()
    const left = folders.filter((dir) => existsSync(join(dir, 'calls')))
    for (const dir of folders) await rm(dir, { recursive: true, force: true })
    expect(kernelProcesses()).toEqual([])
    expect(left).toEqual([])
  })

  it('gets a matrix times a vector for each item', async () => {
    const job = await mesh.submit<number, number[]>(file, { range: [0, 24] }, { chunkSize: 2 })
    expect(await job.collect()).toEqual(Array.from({ length: 24 }, (_, i) => expected(i)))
  })

  it('may call eight at once', async () => {
    const job = await mesh.submit<number, number[][]>(
      file,
      { range: [0, 4] },
      { chunkSize: 1, args: { mode: 'eight' } },
    )
    const values = await job.collect()
    values.forEach((all, item) => {
      expect(all).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((k) => expected(item + k)))
    })
  })

  it('may be a function alone', async () => {
    const values = await mesh.map(
      async (n: number, ctx) => [
        ...(await ctx.gpu.run(
          {
            name: 'square',
            kernel: function square(a) {
              return a[this.thread.x] * a[this.thread.x]
            },
            output: 2,
          },
          [[n, n + 1]],
        )),
      ],
      [1, 2, 3],
    )
    expect(values).toEqual([
      [1, 4],
      [4, 9],
      [9, 16],
    ])
  })

  it('hears what is wrong with a kernel, with line and column, and may go on', async () => {
    const values = await mesh.map(
      async (_: number, ctx) => {
        try {
          await ctx.gpu.run({
            name: 'random',
            kernel: function random() {
              return Math.random()
            },
            output: 1,
          })
          return 'it ran'
        } catch (error) {
          const { code, message } = error as Error & { code: string }
          return [code, message]
        }
      },
      [1],
    )
    expect(values[0]).toEqual([
      'ERR_MESH_KERNEL_INVALID',
      expect.stringMatching(/^the kernel "random", \d+:\d+: Math\.random/),
    ])
  })

  it('hears that it runs where no GPU is, when its kernel requires one', async () => {
    const outcome = await mesh
      .map(
        (_: number, ctx) =>
          ctx.gpu.run({
            name: 'picky',
            kernel: function picky() {
              return 1
            },
            output: 1,
            requires: 'gpu',
          }),
        [1],
      )
      .catch((error: unknown) => error)
    expect(isMeshError(outcome, 'ERR_MESH_ITEMS_FAILED')).toBe(true)
    if (!isMeshError(outcome)) return
    expect(outcome.details.failures).toMatchObject([
      { message: expect.stringContaining('requires a GPU') },
    ])
  })

  it('is stopped by its time limit in a call, alone', async () => {
    const job = await mesh.submit<number, number[]>(
      file,
      { range: [0, 3] },
      { chunkSize: 3, timeLimit: 4, args: { mode: 'spin', rounds: 15_000_000 } },
    )
    expect(await job.wait()).toMatchObject({ state: 'finished', failed: 1 })
    expect(await job.failures()).toMatchObject([{ index: 1, code: 'ERR_MESH_TIME_LIMIT' }])
    const good: unknown[] = []
    for await (const it of job.results({ failures: 'yield' })) if ('value' in it) good.push(it)
    expect(good).toEqual(
      expect.arrayContaining([0, 2].map((index) => ({ index, value: expected(index) }))),
    )
    expect(good).toHaveLength(2)
  })

  it('does not notice that the process which computes was killed in a call: it is made again', async () => {
    const rounds = 25
    const job = await mesh.submit<number, number[]>(
      file,
      { range: [0, 4] },
      { chunkSize: 2, args: { mode: 'spin', rounds } },
    )
    for await (const { text } of job.logs({ follow: true })) if (text === 'spinning') break
    const killed = kernelProcesses()
    expect(killed.length).toBeGreaterThan(0)
    for (const pid of killed) process.kill(pid, 'SIGKILL')
    expect(await job.collect()).toEqual([expected(0), [spun(1, rounds)], expected(2), expected(3)])
    // Those that were killed are not what computed it.
    for (const pid of kernelProcesses()) expect(killed).not.toContain(pid)
    expect(kernelProcesses().length).toBeGreaterThan(0)
  })
})

describe.runIf(SWIFTSHADER !== undefined)('a task that calls kernels on a peer with a GPU', () => {
  let restore = (): void => {}
  let dir: string
  let mesh: Mesh | undefined

  beforeAll(async () => {
    restore = useSwiftShader(SWIFTSHADER!)
    dir = await mkdtemp(join(tmpdir(), 'mesh-ctx-gpu-'))
    await writeFile(join(dir, 'steps.ts'), TASK)
    const gpu = { mode: 'require' as const, device: 'SwiftShader' }
    mesh = await joinMesh({ ...LOOPBACK, gpu, dataDir: join(dir, 'data'), cores: 2 })
  })

  afterAll(async () => {
    await mesh?.stop()
    restore()
    await rm(dir, { recursive: true, force: true })
    expect(kernelProcesses('webgpu')).toEqual([])
  })

  it('computes there, for all its workers in one process', async () => {
    const job = await mesh!.submit<number, number[][]>(
      join(dir, 'steps.ts'),
      { range: [0, 6] },
      { chunkSize: 1, args: { mode: 'eight' } },
    )
    const values = await job.collect()
    values.forEach((all, item) => {
      expect(all).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((k) => expected(item + k)))
    })
    expect(values).toHaveLength(6)
    expect(kernelProcesses('webgpu')).toHaveLength(1)
    expect(kernelProcesses('webasm')).toEqual([])
  })

  it('may require it', async () => {
    const values = await mesh!.map(
      async (n: number, ctx) => {
        const kernel = {
          name: 'picky',
          kernel: function picky(this: { thread: { x: number } }, by: number) {
            return this.thread.x * by
          },
          output: 3,
          requires: 'gpu',
        } as const
        return [...(await ctx.gpu.run(kernel, [n]))]
      },
      [1, 2],
    )
    expect(values).toEqual([
      [0, 1, 2],
      [0, 2, 4],
    ])
  })
})
