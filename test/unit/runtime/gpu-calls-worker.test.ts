/** ctx.gpu.run() in real workers, with a peer's side that the test plays. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import { decodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import type { ServeWorker } from '../../../src/runtime/types.ts'
import { FRAME } from '../../../src/runtime/worker/frames.ts'
import {
  gpuFailure,
  gpuId,
  readGpuArray,
  readGpuCall,
  readGpuId,
} from '../../../src/runtime/worker/gpu-frames.ts'
import { Harness, isAlive } from './harness.ts'

interface Called {
  readonly type: number
  readonly payload: Buffer
}

/** A peer that gives each element of the kernel's last array twice. */
class FakePeer {
  readonly reports: Called[] = []
  closed = 0
  /** Answers nothing, and holds reports of arrays up until it is released. */
  silent = false
  /** Fails so many calls, as a peer whose disk is full. */
  failing = 0
  hold: Promise<void> | undefined
  onReport: (report: Called) => void = () => {}
  private last = new Uint8Array()

  readonly serve: ServeWorker = (send) => ({
    onReport: (type, payload) => {
      this.reports.push({ type, payload })
      this.onReport({ type, payload })
      if (type === FRAME.gpuArray) {
        this.last = Uint8Array.from(readGpuArray(payload).bytes)
        return this.hold
      }
      if (type !== FRAME.gpuCall || this.silent) return undefined
      const { id, spec } = readGpuCall(payload)
      if (this.failing > 0) {
        this.failing -= 1
        const why = { code: 'ERR_MESH_KERNEL_FAILED', message: 'no space' } as const
        void send(FRAME.gpuFailed, [gpuId(id), gpuFailure(why)])
        return undefined
      }
      const [items] = decodeKernelSpec(spec).output
      const values = new Float32Array(this.last.buffer).map((value) => value * 2)
      void send(FRAME.gpuResult, [gpuId(id), new Uint8Array(values.slice(0, items).buffer)])
      return undefined
    },
    close: () => {
      this.closed += 1
    },
  })

  /** The next report of this type. */
  next(type: number): Promise<Buffer> {
    return new Promise((resolve) => {
      this.onReport = (report) => {
        if (report.type === type) resolve(report.payload)
      }
    })
  }
}

const KERNEL = '{ name: "k", kernel: function (a) { return a[this.thread.x] }, output: 2 }'

let peer: FakePeer
let harness: Harness
beforeEach(() => {
  peer = new FakePeer()
  harness = new Harness({ serveGpu: peer.serve })
})
afterEach(() => harness.close())

describe('a task that calls kernels', () => {
  it('gets what its peer computes, in setup() and for items', async () => {
    const fields = `
      async setup(ctx) { return (await ctx.gpu.run(${KERNEL}, [[20, 21]])).slice() },
      async run(x, ctx) {
        const out = await ctx.gpu.run(${KERNEL}, [[x, ctx.state[0]]])
        return [out instanceof Float32Array, ...out, Object.isFrozen(ctx.gpu)]
      }`
    const { values, failures } = await harness.run(fields, { hi: 3 })
    expect(failures).toEqual([])
    expect(values).toEqual([0, 1, 2].map((x) => [true, 2 * x, 80, true]))
    await harness.close()
    expect(peer.closed).toBe(1)
  })

  it('defines kernels with what it imports, when its bundle does', async () => {
    const bundle = harness.raw(`
      const { defineTask, defineKernel, perItem } = globalThis[Symbol.for("meshwork.runtime")]
      const kernel = defineKernel(${KERNEL})
      export default defineTask({
        name: 'both',
        run: async (x, ctx) => [...(await ctx.gpu.run(kernel, [perItem(Float32Array.of(x, 7))]))],
      })`)
    const { values } = await harness.run(bundle, { hi: 2 })
    expect(values).toEqual([
      [0, 14],
      [2, 14],
    ])
  })

  it('has its errors as ordinary rejections', async () => {
    const fields = `
      async run(x, ctx) {
        try {
          await ctx.gpu.run({ name: 'bad', kernel: function () {
            return Math.random()
          }, output: 1 })
        } catch (error) { return [error.name, error.code, error.message.slice(0, 30)] }
      }`
    const { values } = await harness.run(fields, { hi: 1 })
    expect(values[0]).toEqual([
      'MeshError',
      'ERR_MESH_KERNEL_INVALID',
      expect.stringMatching(/^the kernel "bad", 2:\d+: Math/),
    ])
  })

  it('is stopped by its time limit in a call, which is cancelled; its worker goes on', async () => {
    peer.silent = true
    const fields = `
      async run(x, ctx) {
        if (x === 0) await ctx.gpu.run(${KERNEL}, [[1, 2]])
        return process.pid
      }`
    const called = peer.next(FRAME.gpuCall)
    const { finished } = harness.start(fields, { hi: 2, timeLimitMs: 500 })
    const id = readGpuId(await called)
    const cancelled = peer.next(FRAME.gpuCancel)
    const { values, failures } = await finished
    expect(readGpuId(await cancelled)).toBe(id)
    expect(failures).toMatchObject([{ index: 0, code: 'ERR_MESH_TIME_LIMIT' }])
    expect(isAlive(values[1] as number)).toBe(true)
    expect(peer.closed).toBe(0)
  })

  it('is stopped in a call when its chunk is', async () => {
    peer.silent = true
    const called = peer.next(FRAME.gpuCall)
    const { handle, finished } = harness.start(`run: (x, ctx) => ctx.gpu.run(${KERNEL}, [[1, 2]])`)
    await called
    const cancelled = peer.next(FRAME.gpuCancel)
    handle.abort(10_000)
    expect((await finished).outcome).toMatchObject({ reached: 0, ended: 'aborted' })
    await cancelled
  })

  it('may die in a call: its peer hears of it, and its neighbours run', async () => {
    peer.silent = true
    const fields = `
      run(x, ctx) {
        if (x !== 1) return x
        ctx.gpu.run(${KERNEL}, [[1, 2]])
        setTimeout(() => process.exit(3), 20)
        return new Promise(() => {})
      }`
    const { values, failures } = await harness.run(fields, { hi: 3 })
    expect(values).toEqual([0, null, 2])
    expect(failures).toMatchObject([{ index: 1, code: 'ERR_MESH_WORKER_DIED' }])
    expect(peer.closed).toBe(1)
  })

  it('sends the arrays of a call that failed again: its peer may not have been able to keep them', async () => {
    peer.failing = 1
    const fields = `
      async run(x, ctx) {
        const calls = []
        for (let i = 0; i < 3; i++) {
          calls.push(await ctx.gpu.run(${KERNEL}, [[3, 4]]).then((out) => out[1], (e) => e.message))
        }
        return calls
      }`
    const { values } = await harness.run(fields, { hi: 1 })
    expect(values).toEqual([['no space', 8, 8]])
    const types = peer.reports.map(({ type }) => type)
    const { gpuArray, gpuCall, gpuForget } = FRAME
    expect(types).toEqual([gpuArray, gpuCall, gpuForget, gpuArray, gpuCall, gpuCall])
  })

  it('is read no further while its peer takes an array in', async () => {
    let release = (): void => {}
    peer.hold = new Promise((resolve) => {
      release = resolve
    })
    const fields = `
      async run(x, ctx) {
        const large = (of) => new Float32Array(1 << 18).fill(of)
        const run = (of) => ctx.gpu.run(${KERNEL}, [large(of)])
        return (await Promise.all([run(1), run(2)])).map((out) => out[0])
      }`
    const first = peer.next(FRAME.gpuArray)
    const { finished, line } = harness.start(`setup(ctx) { ctx.log('here') }, ${fields}`, { hi: 1 })
    await line('here')
    await first
    // A worker of its own, started, run and ended, while the first one is not read.
    const other = new Harness()
    await other.run('run: (x) => x', { hi: 1 })
    await other.close()
    expect(peer.reports.map(({ type }) => type)).not.toContain(FRAME.gpuForget)
    expect(peer.reports.filter(({ type }) => type === FRAME.gpuArray)).toHaveLength(1)
    release()
    expect((await finished).values).toEqual([[2, 4]])
  })
})

describe('a worker whose peer', () => {
  it.each<[string, () => Promise<void> | undefined]>([
    [
      'throws',
      () => {
        throw new MeshError('ERR_MESH_PROTOCOL', 'a lie')
      },
    ],
    ['rejects', () => Promise.reject(new MeshError('ERR_MESH_PROTOCOL', 'a lie'))],
  ])('%s at what it reports is killed', async (_, answer) => {
    const strict = new Harness({
      serveGpu: () => ({ onReport: answer, close: () => {} }),
    })
    const fields = `run: (x, ctx) => x === 1 ? ctx.gpu.run(${KERNEL}, [[1, 2]]) : x`
    const { values, failures } = await strict.run(fields, { hi: 3 })
    expect(values).toEqual([0, null, 2])
    expect(failures).toMatchObject([{ index: 1, code: 'ERR_MESH_WORKER_DIED' }])
    await strict.close()
  })
})
