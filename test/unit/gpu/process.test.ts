import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { nodeFlags } from '../../../src/gpu/launch.ts'
import { MAX_KERNELS, MAX_QUEUED_LAUNCHES, START_ATTEMPTS } from '../../../src/gpu/limits.ts'
import { createKernelProcess, type KernelProcessOptions } from '../../../src/gpu/process.ts'
import type { KernelProcess, Launch } from '../../../src/gpu/types.ts'
import { isAlive } from '../runtime/harness.ts'
import { Bench, codeOf, floats } from './compliance.ts'
import { type Given, RUNAWAY } from './kernels.ts'

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

function setUp(options: Partial<KernelProcessOptions> = {}): { gpu: KernelProcess; bench: Bench } {
  const gpu = createKernelProcess({ backend: 'webasm', ...options })
  const bench = new Bench()
  cleanUps.push(
    () => bench.remove(),
    () => gpu.close(),
  )
  return { gpu, bench }
}

const times = (factor: number): Given => ({
  name: `times-${factor}`,
  kernel: `function () { return this.thread.x * ${factor}; }`,
  output: [5],
})

async function valuesOf(gpu: KernelProcess, launch: Launch): Promise<number[]> {
  return [...floats((await gpu.launch(launch)).bytes)]
}

describe('the GPU process', () => {
  it('starts with the first launch, keeps what it compiled, and ends with close()', async () => {
    const { gpu, bench } = setUp()
    expect(gpu.pid).toBeUndefined()
    const launch = bench.given(times(3))
    const first = await gpu.launch(launch)
    expect([...floats(first.bytes)]).toEqual([0, 3, 6, 9, 12])
    expect(first.preparedMs).toBeGreaterThan(0)
    const { pid } = gpu
    expect((await gpu.launch(launch)).preparedMs).toBe(0)
    expect(gpu.pid).toBe(pid)
    await gpu.close()
    expect(gpu.pid).toBeUndefined()
    expect(isAlive(pid!)).toBe(false)
    expect(await codeOf(gpu.launch(launch))).toBe('ERR_MESH_STOPPED')
  })

  it('rejects what runs and what waits when it is closed', async () => {
    const { gpu, bench } = setUp()
    await gpu.launch(bench.given(times(2)))
    const { pid } = gpu
    const running = codeOf(gpu.launch(bench.given(RUNAWAY)))
    const waiting = codeOf(gpu.launch(bench.given(times(3))))
    await gpu.close()
    expect(await running).toBe('ERR_MESH_STOPPED')
    expect(await waiting).toBe('ERR_MESH_STOPPED')
    expect(isAlive(pid!)).toBe(false)
  })

  it('refuses launches beyond the most that may wait', async () => {
    const { gpu, bench } = setUp()
    const launch = bench.given(times(2))
    const running = codeOf(gpu.launch(bench.given(RUNAWAY)))
    const waiting = Array.from({ length: MAX_QUEUED_LAUNCHES }, () => codeOf(gpu.launch(launch)))
    expect(await codeOf(gpu.launch(launch))).toBe('ERR_MESH_KERNEL_FAILED')
    await gpu.close()
    expect(await running).toBe('ERR_MESH_STOPPED')
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['ERR_MESH_STOPPED']))
  })

  it('compiles again what was not used for longest', async () => {
    const { gpu, bench } = setUp()
    const all = Array.from({ length: MAX_KERNELS + 2 }, (_, i) => bench.given(times(i + 1)))
    for (const launch of all) expect((await gpu.launch(launch)).preparedMs).toBeGreaterThan(0)
    expect((await gpu.launch(all.at(-1)!)).preparedMs).toBe(0)
    expect((await gpu.launch(all[0]!)).preparedMs).toBeGreaterThan(0)
  })

  it('is replaced when it holds too much memory', async () => {
    const { gpu, bench } = setUp({ recycleBytes: -1 })
    const launch = bench.given(times(2))
    expect(await valuesOf(gpu, launch)).toEqual([0, 2, 4, 6, 8])
    expect(gpu.pid).toBeUndefined()
    expect(await valuesOf(gpu, launch)).toEqual([0, 2, 4, 6, 8])
  })

  it('ends when nobody needs it, and is there again', async () => {
    const { gpu, bench } = setUp({ idleMs: 1 })
    const launch = bench.given(times(2))
    await gpu.launch(launch)
    await vi.waitFor(() => expect(gpu.pid).toBeUndefined())
    expect(await valuesOf(gpu, launch)).toEqual([0, 2, 4, 6, 8])
  })

  it('runs a kernel whose arrays grow past what it had room for', async () => {
    const { gpu, bench } = setUp()
    const rows = 30
    const inner = 512 * 1024
    const data = new Float32Array(rows * inner).map((_, i) => (i % inner === 7 ? i / inner : 0))
    const launch = bench.given({
      name: 'wide-rows',
      kernel: 'function (a, b) { return a[this.thread.x][7] + b[this.thread.x][7]; }',
      output: [rows],
      // 4 MiB an item: 15 of them fit into the room of a kernel that was compiled for few.
      args: [
        { data, size: [inner, rows], perItem: true },
        { data, size: [inner, rows], perItem: true },
      ],
    })
    const few = await gpu.launch({ ...launch, lo: 20, hi: 22 })
    expect(floats(few.bytes)[1]).toBeCloseTo(2 * (21 + 7 / inner), 4)
    const all = await gpu.launch(launch)
    expect(all.preparedMs).toBeGreaterThan(0)
    expect(Buffer.compare(all.bytes.subarray(80, 88), few.bytes)).toBe(0)
    const some = await gpu.launch({ ...launch, lo: 5, hi: 28 })
    expect(some.preparedMs).toBe(0)
    expect(Buffer.compare(some.bytes, all.bytes.subarray(20, 112))).toBe(0)
  })

  it('says why there is no GPU, and does not start a process for each launch then', async () => {
    const { gpu, bench } = setUp({ backend: 'webgpu', device: 'a device that nobody has' })
    const launch = bench.given(times(2))
    await expect(gpu.launch(launch)).rejects.toMatchObject({
      code: 'ERR_MESH_KERNEL_FAILED',
      message: expect.stringMatching(/^this machine's GPU cannot be used: no /),
      details: { notStarted: true },
    })
    const again = gpu.launch(launch)
    expect(gpu.pid).toBeUndefined()
    expect(await codeOf(again)).toBe('ERR_MESH_KERNEL_FAILED')
  })

  it('costs no launch when it dies before it has one, until it does so again and again', async () => {
    const { gpu, bench } = setUp()
    const launch = bench.given(times(2))
    const first = gpu.launch(launch)
    process.kill(gpu.pid!, 'SIGKILL')
    const { bytes } = await first
    expect([...floats(bytes)]).toEqual([0, 2, 4, 6, 8])
    process.kill(gpu.pid!, 'SIGKILL')
    await vi.waitFor(() => expect(gpu.pid).toBeUndefined())
    const second = codeOf(gpu.launch(launch))
    const killed = new Set<number>()
    // Each as soon as it is there: it takes longer to be ready than that.
    const killer = setInterval(() => {
      const { pid } = gpu
      if (pid === undefined || killed.has(pid)) return
      killed.add(pid)
      process.kill(pid, 'SIGKILL')
    }, 1)
    cleanUps.push(() => clearInterval(killer))
    expect(await second).toBe('ERR_MESH_KERNEL_FAILED')
    expect(killed.size).toBe(START_ATTEMPTS)
  })

  it.skipIf(process.platform !== 'linux')(
    'sees no secret, and makes no code of strings',
    async () => {
      process.env.MESH_TEST_SECRET = 'told to nobody'
      cleanUps.push(() => delete process.env.MESH_TEST_SECRET)
      const { gpu, bench } = setUp()
      await gpu.launch(bench.given(times(2)))
      const read = (what: string): string[] =>
        readFileSync(`/proc/${gpu.pid}/${what}`, 'latin1').split('\0')
      expect(read('environ').some((line) => line.startsWith('MESH_TEST_SECRET'))).toBe(false)
      expect(read('environ').some((line) => line.startsWith('PATH='))).toBe(true)
      expect(read('cmdline')).toContain('--disallow-code-generation-from-strings')
    },
  )

  it('asks Node for what each version has to make it safer', () => {
    expect(nodeFlags('webasm', '20.19.0')).not.toContain('--permission')
    expect(nodeFlags('webasm', '24.0.0')).toContain('--permission')
    expect(nodeFlags('webasm', '24.0.0')).not.toContain('--allow-addons')
    expect(nodeFlags('webgpu', '24.0.0')).toContain('--allow-addons')
    expect(nodeFlags('webasm', '20.19.0')).toContain('--no-addons')
    for (const backend of ['webasm', 'webgpu'] as const) {
      expect(nodeFlags(backend)).toContain('--disallow-code-generation-from-strings')
    }
  })

  it.skipIf(process.platform === 'win32')('dies with its peer, even by kill -9', async () => {
    const { bench } = setUp()
    const entry = fileURLToPath(new URL('../../../dist/src/gpu/process.js', import.meta.url))
    const program = `
      import { createKernelProcess } from ${JSON.stringify(entry)}
      const gpu = createKernelProcess({ backend: 'webasm' })
      await gpu.launch(${JSON.stringify(bench.given(times(2)))})
      gpu.launch(${JSON.stringify(bench.given(RUNAWAY))})
      console.log(gpu.pid)`
    const peer = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    cleanUps.push(() => peer.kill('SIGKILL'))
    const [line] = (await once(peer.stdout, 'data')) as [Buffer]
    const pid = Number(line.toString())
    expect(isAlive(pid)).toBe(true)
    peer.kill('SIGKILL')
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), { timeout: 10_000 })
  })
})
