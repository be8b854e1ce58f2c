import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { defineKernel, joinMesh, type Mesh, perItem } from '../../src/index.ts'

const folders: string[] = []

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mesh-kernels-'))
  folders.push(dir)
  return dir
}

const WIDTH = 96
const HEIGHT = 64
const product = (seed: number, rows: number, columns: number): Float32Array =>
  Float32Array.from({ length: rows * columns }, (_, i) => ((i * seed) % 7) - 3)

/** Small whole numbers: f32 sums of them are exact in any order. */
const matrixProduct = defineKernel({
  name: 'matrix product',
  kernel(a, b) {
    let sum = 0
    for (let i = 0; i < 32; i++) {
      sum += a[this.thread.y][i] * b[i][this.thread.x]
    }
    return sum
  },
  output: [WIDTH, HEIGHT],
  args: [
    perItem({ data: product(5, HEIGHT, 32), size: [32, HEIGHT] }),
    { data: product(3, 32, WIDTH), size: [WIDTH, 32] },
  ],
})

function expected(): Float32Array {
  const a = product(5, HEIGHT, 32)
  const b = product(3, 32, WIDTH)
  return Float32Array.from({ length: WIDTH * HEIGHT }, (_, at) => {
    const x = at % WIDTH
    const y = (at - x) / WIDTH
    let sum = 0
    for (let i = 0; i < 32; i++) sum += a[y * 32 + i]! * b[i * WIDTH + x]!
    return sum
  })
}

describe('a kernel on two peers without a GPU', () => {
  const meshes: Mesh[] = []
  let mesh: Mesh

  beforeAll(async () => {
    const options = { mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] }
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
    for (const one of meshes) await one.stop()
    for (const dir of folders) await rm(dir, { recursive: true, force: true })
  })

  it('gives one array, in order, whoever computed which rows', async () => {
    const job = await mesh.submit(matrixProduct, undefined, { chunkSize: 4 })
    const { data, size, devices } = await job.array()
    expect(devices).toHaveLength(1)
    expect(size).toEqual([WIDTH, HEIGHT])
    expect(data).toEqual(expected())
    const info = await job.info()
    expect(info).toMatchObject({ state: 'finished', items: HEIGHT, failed: 0, output: size })
    const row = (await job.collect())[3]
    expect(row).toEqual(expected().subarray(3 * WIDTH, 4 * WIDTH))
  })

  it('takes a file, and other arguments than its own', async () => {
    const file = join(await folder(), 'scale.ts')
    await writeFile(
      file,
      `import { defineKernel } from 'meshwork'
      export default defineKernel({
        name: 'scale',
        kernel: function (a: number[], by: number) { return a[this.thread.x] * by },
        output: [5],
        args: [[1, 2, 3, 4, 5], 2],
      })`,
    )
    const own = await mesh.submit(file, undefined as never)
    expect((await own.array()).data).toEqual(new Float32Array([2, 4, 6, 8, 10]))
    expect(await own.collect()).toEqual([2, 4, 6, 8, 10])
    const other = await mesh.submit(file, undefined as never, { args: [[5, 4, 3, 2, 1], 3] })
    expect((await other.array()).data).toEqual(new Float32Array([15, 12, 9, 6, 3]))
  })

  it('says why a kernel cannot run, before it is sent', async () => {
    const bad = defineKernel({
      name: 'bad',
      kernel() {
        return Math.random()
      },
      output: [4],
    })
    await expect(mesh.submit(bad)).rejects.toMatchObject({ code: 'ERR_MESH_KERNEL_INVALID' })
  })
})
