/**
 * Kernels over the mesh without a GPU: two `mesh join --cores 1` processes and a submitter that lends nothing, against gpu.js alone in one
 * process, both with one thread and no GPU. `node dist/bench/kernels.js [--rounds 3]`; run it on a quiet machine with two cores.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startGpuJs } from '../src/gpu/worker/gpujs.ts'
import { defineKernel, joinMesh, type Kernel, type Mesh } from '../src/index.ts'
import { median, type PeerProcess, startPeer } from './lib/processes.ts'

const BODIES = 36_864
const SIDE = 1536

const noise = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + seed) * 2)

/** What each body is pulled by, along three axes. */
const nBody = defineKernel({
  name: 'n-body',
  kernel(bodies) {
    const me = this.thread.y
    let sum = 0
    for (let i = 0; i < this.constants.n; i++) {
      const dx = bodies[i][0] - bodies[me][0]
      const dy = bodies[i][1] - bodies[me][1]
      const dz = bodies[i][2] - bodies[me][2]
      const d = dx * dx + dy * dy + dz * dz + 0.01
      sum += (bodies[i][this.thread.x] - bodies[me][this.thread.x]) / (d * Math.sqrt(d))
    }
    return sum
  },
  output: [3, BODIES],
  constants: { n: BODIES },
  args: [{ data: noise(3 * BODIES, 0), size: [3, BODIES] }],
  loopMaxIterations: BODIES,
})

const matrixProduct = defineKernel({
  name: 'matrix product',
  kernel(a, b) {
    let sum = 0
    for (let i = 0; i < this.constants.n; i++) sum += a[this.thread.y][i] * b[i][this.thread.x]
    return sum
  },
  output: [SIDE, SIDE],
  constants: { n: SIDE },
  args: [
    { data: noise(SIDE * SIDE, 1), size: [SIDE, SIDE] },
    { data: noise(SIDE * SIDE, 2), size: [SIDE, SIDE] },
  ],
  loopMaxIterations: SIDE,
})

const KERNELS = { 'n-body': nBody, 'matrix product': matrixProduct } as const
type Name = keyof typeof KERNELS

interface Sized {
  readonly data: Float32Array
  readonly size: readonly number[]
}

/** As a user of gpu.js would call it; its second call, which compiles nothing. */
async function alone(kernel: Kernel): Promise<{ ms: number; sum: number }> {
  const { input } = createRequire(import.meta.url)('gpu.js') as {
    input(data: Float32Array, size: number[]): unknown
  }
  const run = startGpuJs('webasm').createKernel(kernel.source, {
    output: kernel.output,
    constants: kernel.constants,
    argumentTypes: kernel.args.map(() => 'Input' as const),
    loopMaxIterations: kernel.loopMaxIterations,
    precision: 'single',
    onRequestFallback: () => {
      throw new Error('gpu.js fell back to plain JavaScript')
    },
  })
  const args = (kernel.args as readonly Sized[]).map(({ data, size }) => input(data, [...size]))
  await run(...args)
  const from = performance.now()
  const rows = (await run(...args)) as Float32Array[]
  const ms = performance.now() - from
  return { ms, sum: checksum(rows) }
}

function checksum(rows: readonly Float32Array[]): number {
  let sum = 0
  for (const row of rows) for (const value of row) sum += value
  return sum
}

async function inProcess(name: Name): Promise<{ ms: number; sum: number }> {
  const child = fork(fileURLToPath(import.meta.url), ['--alone', name])
  const [answer] = (await once(child, 'message')) as [{ ms: number; sum: number }]
  await once(child, 'exit')
  return answer
}

async function overMesh(mesh: Mesh, kernel: Kernel): Promise<{ ms: number; sum: number }> {
  const from = performance.now()
  const job = await mesh.submit(kernel)
  const { data } = await job.array()
  return { ms: performance.now() - from, sum: checksum([data]) }
}

async function main(rounds: number): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'mesh-bench-kernels-'))
  const peers: PeerProcess[] = []
  let mesh: Mesh | undefined
  try {
    const one = await startPeer({ cores: 1 })
    peers.push(one)
    peers.push(await startPeer({ cores: 1, ticket: one.ticket }))
    mesh = await joinMesh({
      ...{ dataDir: join(dir, 'submitter'), ticket: one.ticket, cores: 0, mdns: false },
      listen: ['/ip4/127.0.0.1/tcp/0'],
    })
    while ((await mesh.peers()).filter(({ connected }) => connected).length < 3);
    for (const [name, kernel] of Object.entries(KERNELS) as [Name, Kernel][]) {
      const ratios: number[] = []
      // The processes start and compile, as those of the other side did before they were measured.
      await overMesh(mesh, kernel)
      for (let round = 0; round < rounds; round += 1) {
        const plain = await inProcess(name)
        const meshed = await overMesh(mesh, kernel)
        if (plain.sum !== meshed.sum) throw new Error(`${plain.sum} is not ${meshed.sum}`)
        ratios.push(plain.ms / meshed.ms)
        const [a, b] = [plain.ms, meshed.ms].map((ms) => (ms / 1000).toFixed(2))
        console.log(`  ${name}: ${a} s alone, ${b} s on two peers, ${ratios.at(-1)!.toFixed(2)} x`)
      }
      console.log(`${name}: ${median(ratios).toFixed(2)} x (target 1.8)`)
    }
  } finally {
    await mesh?.stop()
    for (const peer of peers) await peer.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, alone: { type: 'string' } },
})
if (values.alone !== undefined) {
  const answer = await alone(KERNELS[values.alone as Name])
  process.send!(answer)
  process.disconnect()
} else await main(Number(values.rounds))
