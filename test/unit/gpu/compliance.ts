/** What every back end must do, run over each by a test file of its own. */

import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isMeshError, type MeshErrorCode } from '../../../src/base/errors.ts'
import { itemsOf } from '../../../src/base/extents.ts'
import { createKernelProcess, type KernelProcessOptions } from '../../../src/gpu/process.ts'
import type { KernelProcess, KernelSpec, Launch, Launched } from '../../../src/gpu/types.ts'
import { bytesOf, CASES, type Case, type Given, hashOf, RUNAWAY, specOf } from './kernels.ts'

const MiB = 1024 * 1024
const LAUNCHES = process.env.CI === undefined ? 1000 : 300

/** A folder of arrays, and launches over them. */
export class Bench {
  readonly folder = mkdtempSync(join(tmpdir(), 'mesh-gpu-'))
  private readonly keys = new WeakMap<KernelSpec, string>()

  launch(
    { spec, arrays }: { spec: KernelSpec; arrays: readonly Float32Array[] },
    lo = 0,
    hi = itemsOf(spec.output),
  ): Launch {
    let key = this.keys.get(spec)
    if (key === undefined) {
      key = randomUUID()
      this.keys.set(spec, key)
      for (const data of arrays) writeFileSync(this.pathOf(data), bytesOf(data))
    }
    const files = Object.fromEntries(arrays.map((data) => [hashOf(data), this.pathOf(data)]))
    return { spec, key, lo, hi, files }
  }

  given(given: Given): Launch {
    return this.launch(specOf(given))
  }

  pathOf(data: Float32Array): string {
    return join(this.folder, hashOf(data))
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export function floats(bytes: Uint8Array): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

export async function codeOf(launch: Promise<Launched>): Promise<MeshErrorCode | 'ran'> {
  try {
    await launch
    return 'ran'
  } catch (error) {
    if (isMeshError(error)) return error.code
    throw error
  }
}

/** `tolerance`: of what is not exact on every device, the share of elements that may differ by more than 1e-3 of the reference. */
export function complianceOf(
  options: KernelProcessOptions,
  expected: { readonly deviceClass: RegExp; readonly tolerance: number },
): void {
  let bench: Bench
  let gpu: KernelProcess
  beforeAll(() => {
    bench = new Bench()
    gpu = createKernelProcess(options)
  })
  afterAll(async () => {
    await gpu.close()
    bench.remove()
  })

  describe.each(CASES.map((each) => [each.spec.name, each] as const))('%s', (_, each) => {
    it('computes what the reference does', async () => {
      const launched = await gpu.launch(bench.launch(each))
      expect(launched.backend).toBe(options.backend)
      expect(launched.deviceClass).toMatch(expected.deviceClass)
      expect(launched.preparedMs).toBeGreaterThan(0)
      compare(floats(launched.bytes), each, expected.tolerance)
    })

    it('computes every slice to the bit as the whole, and compiles nothing for it', async () => {
      const items = itemsOf(each.spec.output)
      const whole = await gpu.launch(bench.launch(each))
      const cuts = fc.array(fc.integer({ min: 1, max: items - 1 }), { maxLength: 5 })
      await fc.assert(
        fc.asyncProperty(cuts, async (list) => {
          const bounds = [...new Set([0, ...list.sort((a, b) => a - b), items])]
          const parts: Uint8Array[] = []
          for (let i = 1; i < bounds.length; i++) {
            const part = await gpu.launch(bench.launch(each, bounds[i - 1], bounds[i]))
            expect(part.preparedMs).toBe(0)
            parts.push(part.bytes)
          }
          expect(Buffer.compare(Buffer.concat(parts), whole.bytes)).toBe(0)
        }),
        { numRuns: 12 },
      )
    })
  })

  describe('refuses', () => {
    const source = 'function (a) { return a[this.thread.x]; }'
    const data = Float32Array.of(1, 2, 3, 4)
    const given: Given = {
      name: 'copy',
      kernel: source,
      output: [4],
      args: [{ data, size: [4] }],
    }

    it('a source that is no kernel, whoever sent it', async () => {
      const hostile = 'function (a) { return process.exit(3); }'
      const launch = bench.given({ ...given, name: 'hostile', kernel: hostile })
      expect(await codeOf(gpu.launch(launch))).toBe('ERR_MESH_KERNEL_INVALID')
    })

    it('items that it does not have', async () => {
      const launch = bench.given(given)
      for (const [lo, hi] of [
        [0, 5],
        [-1, 2],
        [3, 3],
        [2, 1],
        [0.5, 2],
        [0, Number.NaN],
      ]) {
        const wrong = { ...launch, lo: lo!, hi: hi! }
        expect(await codeOf(gpu.launch(wrong))).toBe('ERR_MESH_KERNEL_INVALID')
      }
    })

    it('a file that is not there, or not as long as the array', async () => {
      const launch = bench.given(given)
      const fresh = (files: Launch['files']): Launch => ({ ...launch, key: randomUUID(), files })
      const other = specOf({ ...given, args: [{ data: Float32Array.of(5, 6), size: [4] }] })
      const short = bench.launch(other)
      expect(await codeOf(gpu.launch(short))).toBe('ERR_MESH_KERNEL_INVALID')
      const { spec } = specOf({
        ...given,
        args: [{ data: Float32Array.of(7, 8, 9, 1), size: [4] }],
      })
      expect(await codeOf(gpu.launch({ ...fresh({}), spec }))).toBe('ERR_MESH_KERNEL_FAILED')
      const hash = hashOf(Float32Array.of(7, 8, 9, 1))
      const gone = { [hash]: join(bench.folder, 'gone') }
      expect(await codeOf(gpu.launch({ ...fresh(gone), spec }))).toBe('ERR_MESH_KERNEL_FAILED')
    })

    it('more output than one launch may have', async () => {
      const launch = bench.given({
        name: 'wide',
        kernel: 'function () { return this.thread.x; }',
        output: [4096, 4097],
      })
      expect(await codeOf(gpu.launch(launch))).toBe('ERR_MESH_KERNEL_INVALID')
    })

    it('and goes on in the same process', async () => {
      const { pid } = gpu
      const { bytes } = await gpu.launch(bench.given(given))
      expect([...floats(bytes)]).toEqual([1, 2, 3, 4])
      expect(gpu.pid).toBe(pid)
      expect(pid).toBeDefined()
    })
  })

  it('brings an array that all launches share once', async () => {
    const data = Float32Array.from({ length: 4096 }, (_, i) => i)
    const launch = bench.given({
      name: 'shared',
      kernel: 'function (a) { return a[this.thread.x] * 2; }',
      output: [4096],
      args: [{ data, size: [4096] }],
    })
    await gpu.launch({ ...launch, hi: 10 })
    rmSync(bench.pathOf(data))
    const { bytes, preparedMs } = await gpu.launch({ ...launch, lo: 4000 })
    expect(preparedMs).toBe(0)
    expect(floats(bytes)[95]).toBe(2 * 4095)
  })

  it.skipIf(process.platform !== 'linux')(
    'does not grow, launch after launch and kernel after kernel',
    async () => {
      const data = Float32Array.from({ length: 65_536 }, (_, i) => i)
      const args: Given['args'] = [{ data, size: [65_536], perItem: true }]
      const kernel = 'function (a) { return a[this.thread.x] * 2; }'
      const launch = bench.given({ name: 'many', kernel, output: [65_536], args })
      const rssBytes = (): number => {
        const status = readFileSync(`/proc/${gpu.pid}/status`, 'latin1')
        return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(status)![1])
      }
      const { pid } = await gpu.launch(launch).then(() => gpu)
      const sizes: number[] = []
      for (let i = 0; i < LAUNCHES; i++) {
        const lo = (i * 7919) % 40_000
        await gpu.launch({ ...launch, lo, hi: lo + 1 + ((i * 31) % 25_000) })
        sizes.push(rssBytes())
      }
      const half = sizes.slice(0, LAUNCHES / 2)
      expect(sizes.at(-1)! - Math.max(...half)).toBeLessThan(24 * MiB)
      const kernels: number[] = []
      for (let i = 0; i < 100; i++) {
        const name = `kernel-${i}`
        const own = `function (a) { return a[this.thread.x] * ${i + 2}; }`
        await gpu.launch(bench.given({ name, kernel: own, output: [65_536], args }))
        kernels.push(rssBytes())
      }
      // Some 32 of them are kept.
      expect(kernels.at(-1)! - Math.max(...kernels.slice(0, 60))).toBeLessThan(24 * MiB)
      expect(gpu.pid).toBe(pid)
    },
  )

  it('ends what overruns its time, and runs the next launch', async () => {
    const [first] = CASES
    await gpu.launch(bench.launch(first!))
    const { pid } = gpu
    const from = performance.now()
    const runaway = gpu.launch(bench.given(RUNAWAY), { timeLimitMs: 200 })
    const next = gpu.launch(bench.launch(first!))
    expect(await codeOf(runaway)).toBe('ERR_MESH_TIME_LIMIT')
    expect(performance.now() - from).toBeLessThan(5000)
    compare(floats((await next).bytes), first!, expected.tolerance)
    expect(gpu.pid).not.toBe(pid)
  })

  it('loses the launch that ran when its process is killed, and no other', async () => {
    const [first] = CASES
    await gpu.launch(bench.launch(first!))
    const lost = gpu.launch(bench.given(RUNAWAY))
    const next = gpu.launch(bench.launch(first!))
    process.kill(gpu.pid!, 'SIGKILL')
    expect(await codeOf(lost)).toBe('ERR_MESH_WORKER_DIED')
    compare(floats((await next).bytes), first!, expected.tolerance)
  })

  it('stops a launch that is aborted, running or waiting, and no other', async () => {
    const [first] = CASES
    const abort = new AbortController()
    const { signal } = abort
    await gpu.launch(bench.launch(first!))
    const running = gpu.launch(bench.given(RUNAWAY), { signal })
    const waiting = gpu.launch(bench.launch(first!), { signal })
    const next = gpu.launch(bench.launch(first!))
    abort.abort()
    expect(await codeOf(running)).toBe('ERR_MESH_STOPPED')
    expect(await codeOf(waiting)).toBe('ERR_MESH_STOPPED')
    expect(await codeOf(gpu.launch(bench.launch(first!), { signal }))).toBe('ERR_MESH_STOPPED')
    compare(floats((await next).bytes), first!, expected.tolerance)
  })
}

function compare(got: Float32Array, each: Case, tolerance: number): void {
  const reference = each.reference()
  expect(got.length).toBe(reference.length)
  let wrong = 0
  got.forEach((value, i) => {
    const want = reference[i]!
    const allowed = each.exact || tolerance === 0 ? 0 : 1e-3 * Math.abs(want)
    if (!(Math.abs(value - want) <= allowed)) wrong++
  })
  expect(wrong / got.length).toBeLessThanOrEqual(each.exact ? 0 : tolerance)
}
