import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import { KernelRunner } from '../../../src/gpu/kernel-runner.ts'
import type { KernelProcess, KernelSpec, Launch, Launched } from '../../../src/gpu/types.ts'
import { decodeSegments, rowsOf } from '../../../src/runtime/segment.ts'

const ROWS = 1000
const WIDTH = 8
const spec: KernelSpec = {
  v: 1,
  name: 'rows',
  source: 'function () { return this.thread.y }',
  output: [WIDTH, ROWS],
  constants: {},
  args: [],
  loopMaxIterations: 1000,
  tolerance: {},
  requiresGpu: false,
}

/** Gives each row its number; a row takes `rowMs`. */
class Fake implements KernelProcess {
  readonly backend = 'webasm' as const
  readonly pid = undefined
  readonly launches: (readonly [number, number])[] = []
  rowMs = 1
  fail: (launch: Launch) => MeshError | undefined = () => undefined
  closed = 0

  async launch(launch: Launch, options: { signal?: AbortSignal } = {}): Promise<Launched> {
    const { lo, hi } = launch
    this.launches.push([lo, hi])
    const error = this.fail(launch)
    if (error !== undefined) throw error
    // Long enough for another chunk to come in between.
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve))
    options.signal?.throwIfAborted()
    const data = Float32Array.from(
      { length: (hi - lo) * WIDTH },
      (_, i) => lo + Math.floor(i / WIDTH),
    )
    const first = this.launches.length === 1
    return {
      bytes: new Uint8Array(data.buffer),
      backend: 'webasm',
      deviceClass: 'webasm',
      preparedMs: first ? 5_000 : 0,
      elapsedMs: (hi - lo) * this.rowMs,
    }
  }

  async close(): Promise<void> {
    this.closed += 1
  }
}

let dir: string
let bundle: { hash: string; path: string }
let made: Fake[]

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'mesh-kernel-runner-'))
  const bytes = encodeKernelSpec(spec)
  bundle = { hash: createHash('sha256').update(bytes).digest('hex'), path: join(dir, 'kernel') }
  await writeFile(bundle.path, bytes)
})
afterAll(async () => {
  await rm(dir, { recursive: true, force: true })
})
beforeEach(() => {
  made = []
})

function runner(gpu = false, prepare: (fake: Fake) => void = () => undefined): KernelRunner {
  return new KernelRunner({
    gpu: async () => (gpu ? {} : undefined),
    log: silentLogger,
    createProcess: () => {
      const fake = new Fake()
      prepare(fake)
      made.push(fake)
      return fake
    },
  })
}

async function run(from: KernelRunner, lo: number, hi: number, budgetMs = 250) {
  const rows: unknown[] = []
  let failed = 0
  const handle = from.run(
    { bundle, lo, hi, budgetMs, files: {}, timeLimitMs: undefined, task: spec },
    {
      onOutput: (segment) => {
        for (const { lo, hi, values, f32, failures } of decodeSegments(segment.bytes, segment.lo)) {
          rows.push(...(f32 === undefined ? values : rowsOf(f32.numbers, hi - lo)))
          failed += failures.length
        }
        expect(segment.lo + 0).toBe(lo + rows.length - (segment.hi - segment.lo))
      },
      onProgress: () => undefined,
      onLog: () => undefined,
    },
  )
  return { outcome: await handle.done, rows, failed }
}

describe('a chunk of a kernel', () => {
  it('ends when its time is up, and tells how far it came; the compilation does not count', async () => {
    const { outcome, rows } = await run(runner(), 0, ROWS)
    expect(outcome.ended).toBe('time')
    expect(outcome.reached).toBe(rows.length)
    expect(rows[7]).toEqual(new Float32Array(WIDTH).fill(7))
    expect(made[0]!.launches[0]).toEqual([0, 512])
  })

  it('is one launch once the kernel’s rate is known', async () => {
    const kernels = runner()
    await run(kernels, 0, 600)
    const { outcome } = await run(kernels, 600, ROWS, 300)
    expect(made[0]!.launches.at(-1)).toEqual([600, 900])
    expect(outcome).toMatchObject({ reached: 900, ended: 'time', failed: 0 })
  })

  it('with a fixed size runs to its end', async () => {
    const { outcome, rows } = await run(runner(), 3, 700, Number.POSITIVE_INFINITY)
    expect(outcome).toMatchObject({ reached: 700, ended: 'range' })
    expect(rows).toHaveLength(697)
  })

  it('shares the process of a GPU; without one each that runs at once has its own', async () => {
    const shared = runner(true)
    await Promise.all([run(shared, 0, 10), run(shared, 10, 20), run(shared, 20, 30)])
    expect(made).toHaveLength(1)
    made = []
    const apart = runner()
    // Its specification is read first: the two that follow begin at once.
    await run(apart, 30, 40)
    await Promise.all([run(apart, 0, 10), run(apart, 10, 20)])
    await run(apart, 20, 30)
    expect(made).toHaveLength(2)
    await apart.close()
    expect(made.map(({ closed }) => closed)).toEqual([1, 1])
  })

  it('goes on when its process dies in a launch: the launch is tried again, with less', async () => {
    let deaths = 2
    const kernels = runner(false, (fake) => {
      fake.fail = () =>
        deaths-- > 0 ? new MeshError('ERR_MESH_WORKER_DIED', 'killed by SIGKILL') : undefined
    })
    const { outcome, failed } = await run(kernels, 0, 100, Number.POSITIVE_INFINITY)
    expect(outcome).toMatchObject({ reached: 100, failed: 0 })
    expect(failed).toBe(0)
    expect(made[0]!.launches.slice(0, 3)).toEqual([
      [0, 100],
      [0, 6],
      [0, 1],
    ])
  })

  it('blames no item for what was before the first was computed', async () => {
    const why = new MeshError('ERR_MESH_KERNEL_FAILED', 'no device', {
      details: { notStarted: true },
    })
    const kernels = runner(false, (fake) => {
      fake.fail = () => why
    })
    for (const rows of [1, 5, ROWS]) {
      await expect(run(kernels, 0, rows)).rejects.toMatchObject({
        code: 'ERR_MESH_KERNEL_FAILED',
        message: expect.stringMatching(/^no launch of the kernel "rows" succeeds here: no device$/),
      })
    }
  })

  it('fails the items that end it three times, and no others', async () => {
    const kernels = runner(false, (fake) => {
      fake.fail = ({ lo, hi }) =>
        lo <= 5 && 5 < hi ? new MeshError('ERR_MESH_TIME_LIMIT', 'too slow') : undefined
    })
    const { outcome, rows, failed } = await run(kernels, 0, 200, Number.POSITIVE_INFINITY)
    expect(outcome.reached).toBe(200)
    expect(rows).toHaveLength(200)
    expect(failed).toBe(1)
    expect(rows[199]).toEqual(new Float32Array(WIDTH).fill(199))
    expect(outcome.failed).toBe(failed)
  })

  it('rejects with what is wrong with the kernel itself, and with items that it has not', async () => {
    const kernels = runner(false, (fake) => {
      fake.fail = () => new MeshError('ERR_MESH_KERNEL_INVALID', 'no such thing')
    })
    await expect(run(kernels, 0, 10)).rejects.toMatchObject({ code: 'ERR_MESH_KERNEL_INVALID' })
    const garbage = { hash: '0'.repeat(64), path: join(dir, 'garbage') }
    await writeFile(garbage.path, Buffer.from([1, 2, 3]))
    const hooks = { onOutput: () => {}, onProgress: () => {}, onLog: () => {} }
    const chunk = { lo: 0, hi: 1, budgetMs: 250, files: {}, timeLimitMs: undefined, task: spec }
    await expect(kernels.run({ ...chunk, bundle: garbage }, hooks).done).rejects.toMatchObject({
      code: 'ERR_MESH_KERNEL_INVALID',
    })
    await expect(run(kernels, 0, ROWS + 1)).rejects.toMatchObject({
      message: expect.stringContaining('1000 items'),
    })
  })

  it('that is aborted keeps what it has', async () => {
    const kernels = runner()
    await run(kernels, 0, 20)
    const handle = kernels.run(
      {
        bundle,
        lo: 0,
        hi: ROWS,
        budgetMs: Infinity,
        files: {},
        timeLimitMs: undefined,
        task: spec,
      },
      { onOutput: () => handle.abort(), onProgress: () => undefined, onLog: () => undefined },
    )
    expect(await handle.done).toMatchObject({ ended: 'aborted' })
  })
})
