/**
 * Kernels over the mesh without a GPU: two `mesh join --cores 1` processes and a submitter that lends nothing, against gpu.js alone in one
 * process and against two such processes with half the output each: what the machine itself has to give. All with one thread each, no
 * GPU, and compiled before they are measured. `node dist/bench/kernels.js [--rounds 3] [--only 'n-body']`; run it on a quiet machine with two cores.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pause } from '../src/base/pause.ts'
import { startGpuJs } from '../src/gpu/worker/gpujs.ts'
import { defineKernel, joinMesh, type Kernel, type Mesh } from '../src/index.ts'
import { median, type PeerProcess, startPeer } from './lib/processes.ts'

/** So large that one process takes some 20 s: what a job takes to begin and to end shows little then. */
const BODIES = 36_864
const SIDE = 2560

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

interface Timed {
  readonly ms: number
  readonly sum: number
}

/** As a user of gpu.js would call it, for the first `1 / parts` of the output; a process of its own, whose second call is measured. */
async function serveAlone(kernel: Kernel, parts: number): Promise<void> {
  const { input } = createRequire(import.meta.url)('gpu.js') as {
    input(data: Float32Array, size: number[]): unknown
  }
  const [x, y] = kernel.output as readonly [number, number]
  const run = startGpuJs('webasm').createKernel(kernel.source, {
    output: [x, y / parts],
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
  process.once('message', async () => {
    process.send!(checksum((await run(...args)) as Float32Array[]))
    process.disconnect()
  })
  process.send!('ready')
}

function checksum(rows: readonly Float32Array[]): number {
  let sum = 0
  for (const row of rows) for (const value of row) sum += value
  return sum
}

/** So many processes of gpu.js at once, each with its part of the output; the sum is the first one's. */
async function bare(name: Name, parts: number): Promise<Timed> {
  const children = Array.from({ length: parts }, () =>
    fork(fileURLToPath(import.meta.url), ['--alone', name, '--parts', String(parts)]),
  )
  await Promise.all(children.map((child) => once(child, 'message')))
  const from = performance.now()
  const answers = children.map((child) => once(child, 'message'))
  for (const child of children) child.send('go')
  const sums = (await Promise.all(answers)).map(([sum]) => sum as number)
  const ms = performance.now() - from
  await Promise.all(children.map((child) => child.exitCode ?? once(child, 'exit')))
  return { ms, sum: sums[0]! }
}

async function overMesh(mesh: Mesh, kernel: Kernel): Promise<Timed> {
  const from = performance.now()
  const job = await mesh.submit(kernel)
  const { data } = await job.array()
  return { ms: performance.now() - from, sum: checksum([data]) }
}

async function compare(mesh: Mesh, name: Name, kernel: Kernel, rounds: number): Promise<void> {
  const ratios: { mesh: number[]; pair: number[] } = { mesh: [], pair: [] }
  // The processes start and compile, as those of the other sides do before they are measured.
  await overMesh(mesh, kernel)
  for (let round = 0; round < rounds; round += 1) {
    const alone = await bare(name, 1)
    const meshed = await overMesh(mesh, kernel)
    const pair = await bare(name, 2)
    if (alone.sum !== meshed.sum) throw new Error(`${alone.sum} is not ${meshed.sum}`)
    ratios.mesh.push(alone.ms / meshed.ms)
    ratios.pair.push(alone.ms / pair.ms)
    const [a, b, c] = [alone, meshed, pair].map(({ ms }) => (ms / 1000).toFixed(2))
    console.log(
      `  ${name}: ${a} s alone, ${b} s on two peers (${ratios.mesh.at(-1)!.toFixed(2)} x), ${c} s in two bare processes (${ratios.pair.at(-1)!.toFixed(2)} x)`,
    )
  }
  console.log(
    `${name}: ${median(ratios.mesh).toFixed(2)} x (target 1.8); two bare processes ${median(ratios.pair).toFixed(2)} x`,
  )
}

async function main(rounds: number, only: string | undefined): Promise<void> {
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
    while ((await mesh.peers()).filter(({ connected }) => connected).length < 3) await pause(20)
    for (const [name, kernel] of Object.entries(KERNELS) as [Name, Kernel][]) {
      if (only === undefined || only === name) await compare(mesh, name, kernel, rounds)
    }
  } finally {
    await mesh?.stop()
    for (const peer of peers) await peer.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    only: { type: 'string' },
    alone: { type: 'string' },
    parts: { type: 'string', default: '1' },
  },
})
if (values.alone !== undefined) {
  await serveAlone(KERNELS[values.alone as Name], Number(values.parts))
} else await main(Number(values.rounds), values.only)
