/**
 * Kernels in the mesh's GPU process against gpu.js alone in this one, launch by launch in turn, at poolSize 1.
 * `node dist/bench/gpu.js` on the CPU; `node dist/bench/gpu.js webgpu [DEVICE]` on a GPU.
 */

import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { itemsOf } from '../src/base/extents.ts'
import { bootWebgpu } from '../src/gpu/boot.ts'
import { createKernelProcess } from '../src/gpu/process.ts'
import type { Backend, KernelSpec, Launch, Size } from '../src/gpu/types.ts'
import { startGpuJs } from '../src/gpu/worker/gpujs.ts'

const ROUNDS = 31
const WARM_UP = 3

interface Subject {
  readonly name: string
  readonly source: string
  readonly output: Size
  readonly arrays: readonly { readonly data: Float32Array; readonly size: Size }[]
  readonly count: number
}

const noise = (count: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898) * 2)

function subjects(backend: Backend): Subject[] {
  // A launch takes 100 ms and more: a GPU gets more to do.
  const bodies = backend === 'webasm' ? 3072 : 65_536
  const side = backend === 'webasm' ? 512 : 2048
  return [
    {
      name: `n-body ${bodies}`,
      source: `function (bodies, n) {
        const axis = this.thread.x;
        const me = this.thread.y;
        let sum = 0;
        for (let i = 0; i < n; i++) {
          const dx = bodies[i][0] - bodies[me][0];
          const dy = bodies[i][1] - bodies[me][1];
          const dz = bodies[i][2] - bodies[me][2];
          const d = dx * dx + dy * dy + dz * dz + 0.01;
          sum += (bodies[i][axis] - bodies[me][axis]) / (d * Math.sqrt(d));
        }
        return sum;
      }`,
      output: [4, bodies],
      arrays: [{ data: noise(4 * bodies), size: [4, bodies] }],
      count: bodies,
    },
    {
      name: `matmul ${side}`,
      source: `function (a, b, n) {
        let sum = 0;
        for (let i = 0; i < n; i++) {
          sum += a[this.thread.y][i] * b[i][this.thread.x];
        }
        return sum;
      }`,
      output: [side, side],
      arrays: [
        { data: noise(side * side), size: [side, side] },
        { data: noise(side * side).reverse(), size: [side, side] },
      ],
      count: side,
    },
  ]
}

/** As a user of gpu.js would call it. */
function alone(backend: Backend, subject: Subject): () => Promise<Float32Array> {
  const { input } = createRequire(import.meta.url)('gpu.js') as {
    input(data: Float32Array, size: number[]): unknown
  }
  const { source, output, arrays, count } = subject
  const kernel = startGpuJs(backend).createKernel(source, {
    output,
    constants: {},
    argumentTypes: [...arrays.map(() => 'Input' as const), 'Float'],
    loopMaxIterations: count,
    precision: 'single',
    onRequestFallback: () => {
      throw new Error('gpu.js fell back to plain JavaScript')
    },
  })
  const args = [...arrays.map(({ data, size }) => input(data, [...size])), count]
  return async () => {
    const rows = (await kernel(...args)) as Float32Array[]
    return new Float32Array(rows[0]!.buffer)
  }
}

function launchOf(subject: Subject, folder: string): Launch {
  const files: Record<string, string> = {}
  const args: KernelSpec['args'][number][] = subject.arrays.map(({ data, size }) => {
    const bytes = new Uint8Array(data.buffer)
    const hash = createHash('sha256').update(bytes).digest('hex')
    files[hash] = join(folder, hash)
    writeFileSync(files[hash], bytes)
    return { kind: 'array', hash, size, perItem: false }
  })
  args.push({ kind: 'number', value: subject.count })
  const { name, source, output, count } = subject
  const spec: KernelSpec = {
    ...{ v: 1, name, source, output, constants: {}, args, loopMaxIterations: count },
    tolerance: {},
    requiresGpu: false,
  }
  return { spec, key: name, lo: 0, hi: itemsOf(output), files }
}

async function timed(action: () => Promise<unknown>): Promise<number> {
  const from = performance.now()
  await action()
  return performance.now() - from
}

const median = (times: readonly number[]): number =>
  [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)]!

async function main(): Promise<void> {
  const backend: Backend = process.argv[2] === 'webgpu' ? 'webgpu' : 'webasm'
  const device = process.argv[3]
  if (backend === 'webgpu') {
    const boot = await bootWebgpu(device)
    if (!boot.ok) throw new Error(`no GPU: ${boot.why.kind}`)
    console.log(boot.found.deviceClass)
  }
  const folder = mkdtempSync(join(tmpdir(), 'mesh-bench-'))
  const kernels = createKernelProcess({ backend, device })
  try {
    for (const subject of subjects(backend)) {
      const plain = alone(backend, subject)
      const launch = launchOf(subject, folder)
      const first = await kernels.launch(launch)
      const expected = await plain()
      const same = Buffer.compare(first.bytes, new Uint8Array(expected.buffer)) === 0
      const times: { plain: number[]; mesh: number[] } = { plain: [], mesh: [] }
      for (let i = -WARM_UP; i < ROUNDS; i++) {
        const [a, b] = [await timed(plain), await timed(() => kernels.launch(launch))]
        if (i < 0) continue
        times.plain.push(a)
        times.mesh.push(b)
      }
      const rate = (of: (list: readonly number[]) => number): string => {
        const [a, b] = [of(times.plain), of(times.mesh)]
        return `gpu.js alone ${a.toFixed(1)} ms, in the mesh's process ${b.toFixed(1)} ms, ${((100 * a) / b).toFixed(1)} % of its rate`
      }
      const firstMs = (first.preparedMs + first.elapsedMs).toFixed(0)
      console.log(
        `${subject.name} (${same ? 'the same bits' : 'other bits'}; first launch ${firstMs} ms)\n  median: ${rate(median)}\n  best:   ${rate((list) => Math.min(...list))}`,
      )
    }
  } finally {
    await kernels.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

await main()
