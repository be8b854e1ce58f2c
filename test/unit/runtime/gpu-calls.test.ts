import { getEventListeners } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import { sha256Hex, toHex } from '../../../src/base/bytes.ts'
import { defineKernel, type KernelInput } from '../../../src/gpu/define-kernel.ts'
import { decodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import {
  MAX_GPU_ARRAY_BYTES,
  MAX_GPU_CALLS,
  MAX_GPU_HELD_ARRAYS,
  MAX_GPU_HELD_BYTES,
} from '../../../src/runtime/limits.ts'
import { FRAME } from '../../../src/runtime/worker/frames.ts'
import { GpuCalls } from '../../../src/runtime/worker/gpu-calls.ts'
import {
  gpuFailure,
  gpuId,
  readGpuCall,
  readGpuId,
} from '../../../src/runtime/worker/gpu-frames.ts'

interface Reported {
  readonly type: number
  readonly payload: Buffer
}

const scale = defineKernel({
  name: 'scale',
  kernel: function scale(a, by) {
    return a[this.thread.x] * by
  },
  output: 2,
})
const bytesOf = (data: Float32Array): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

let reported: Reported[]
let onReport: () => void
let calls: GpuCalls
let stop: AbortController

beforeEach(() => {
  reported = []
  onReport = () => {}
  stop = new AbortController()
  calls = new GpuCalls((type, parts) => {
    // Large arrays are what is large: their hash and size are enough to look at.
    reported.push({ type, payload: Buffer.concat(parts.map((part) => part.subarray(0, 1 << 16))) })
    onReport()
  })
})

const run = (...args: KernelInput[]): Promise<Float32Array> => calls.run(stop.signal, scale, args)
const ofType = (type: number): Reported[] => reported.filter((it) => it.type === type)
async function until(type: number, count: number): Promise<Reported[]> {
  while (ofType(type).length < count) {
    await new Promise<void>((resolve) => {
      onReport = resolve
    })
  }
  return ofType(type)
}
function answer(id: number, ...values: number[]): void {
  const bytes = bytesOf(Float32Array.from(values))
  calls.onAnswer(FRAME.gpuResult, Buffer.concat([gpuId(id), bytes]))
}
const callIds = (): number[] => ofType(FRAME.gpuCall).map(({ payload }) => readGpuId(payload))

describe('ctx.gpu.run() in a worker', () => {
  it('writes the kernel down with its arrays, and resolves with the answer', async () => {
    const data = Float32Array.of(3, 4)
    const result = run(data, 2)
    const [call] = await until(FRAME.gpuCall, 1)
    expect(reported.map(({ type }) => type)).toEqual([FRAME.gpuArray, FRAME.gpuCall])
    const hash = sha256Hex(bytesOf(data))
    expect(toHex(reported[0]!.payload)).toBe(hash + toHex(bytesOf(data)))
    const { id, spec } = readGpuCall(call!.payload)
    expect(decodeKernelSpec(spec)).toMatchObject({
      name: 'scale',
      output: [2],
      args: [
        { kind: 'array', hash, size: [2] },
        { kind: 'number', value: 2 },
      ],
    })
    answer(id, 6, 8)
    expect(await result).toEqual(Float32Array.of(6, 8))
    // Late, or twice: nobody waits for it.
    answer(id, 1, 1)
  })

  it('takes what defineKernel would be given, and output and constants in place of its own', async () => {
    const definition = {
      name: 'inline',
      kernel(this: { thread: { x: number }; constants: { k: number; l: number } }) {
        return this.thread.x * this.constants.k + this.constants.l
      },
      output: 1,
      constants: { k: 2, l: 3 },
    } as const
    void calls.run(stop.signal, definition, [], { output: [4, 3], constants: { l: 9 } })
    const [call] = await until(FRAME.gpuCall, 1)
    expect(decodeKernelSpec(readGpuCall(call!.payload).spec)).toMatchObject({
      output: [4, 3],
      constants: { k: 2, l: 9 },
      args: [],
    })
  })

  it('sends an array once', async () => {
    const data = Float32Array.of(1, 2)
    void run(data, 1)
    void run(Float32Array.of(1, 2), 2)
    void run([1, 2], 3)
    await until(FRAME.gpuCall, 3)
    expect(ofType(FRAME.gpuArray)).toHaveLength(1)
    data[0] = 7
    void run(data, 1)
    await until(FRAME.gpuCall, 4)
    expect(ofType(FRAME.gpuArray)).toHaveLength(2)
  })

  it('lets go of the arrays that were not used longest, and sends them again when needed', async () => {
    const array = (i: number): Float32Array => Float32Array.of(i, i)
    for (let i = 0; i < MAX_GPU_HELD_ARRAYS; i++) {
      const result = run(array(i), 1)
      const sent = await until(FRAME.gpuCall, i + 1)
      answer(readGpuId(sent[i]!.payload), 0, 0)
      await result
    }
    expect(ofType(FRAME.gpuForget)).toEqual([])
    // Used again, so that the second is the oldest.
    void run(array(0), 2)
    void run(array(-1), 1)
    await until(FRAME.gpuCall, MAX_GPU_HELD_ARRAYS + 2)
    const forgotten = ofType(FRAME.gpuForget).map(({ payload }) => toHex(payload))
    expect(forgotten).toEqual([sha256Hex(bytesOf(array(1)))])
    void run(array(1), 1)
    await until(FRAME.gpuCall, MAX_GPU_HELD_ARRAYS + 3)
    expect(ofType(FRAME.gpuArray)).toHaveLength(MAX_GPU_HELD_ARRAYS + 2)
  })

  it('keeps what a call on its way needs: the next one waits for its end', async () => {
    const large = (i: number): KernelInput => ({
      data: new Float32Array(MAX_GPU_ARRAY_BYTES / 4).fill(i, 0, 1),
      size: [4096, 4096],
    })
    const kernel = defineKernel({
      name: 'large',
      kernel: function large(a) {
        return a[0][this.thread.x]
      },
      output: 1,
    })
    const most = MAX_GPU_HELD_BYTES / MAX_GPU_ARRAY_BYTES
    const results: Promise<Float32Array>[] = []
    for (let i = 0; i <= most; i++) results.push(calls.run(stop.signal, kernel, [large(i)]))
    await until(FRAME.gpuArray, most)
    expect(ofType(FRAME.gpuForget)).toEqual([])
    answer(callIds()[1]!, 5)
    await results[1]
    await until(FRAME.gpuCall, most + 1)
    expect(ofType(FRAME.gpuForget)).toHaveLength(1)
    expect(toHex(ofType(FRAME.gpuForget)[0]!.payload)).toBe(
      toHex(ofType(FRAME.gpuArray)[1]!.payload.subarray(0, 32)),
    )
  })

  it('has a number of calls on their way; the others wait for one to end', async () => {
    const results = Array.from({ length: MAX_GPU_CALLS + 2 }, () => run([1, 2], 1))
    await until(FRAME.gpuCall, MAX_GPU_CALLS)
    for (let ended = 1; ended <= 2; ended++) {
      expect(ofType(FRAME.gpuCall)).toHaveLength(MAX_GPU_CALLS + ended - 1)
      answer(callIds()[ended]!, ended, 0)
      expect((await results[ended])![0]).toBe(ended)
      await until(FRAME.gpuCall, MAX_GPU_CALLS + ended)
    }
  })

  it('rejects with the reason of its signal, and tells the peer', async () => {
    const result = run([1, 2], 1)
    const waiting = Array.from({ length: MAX_GPU_CALLS }, () => run([1, 2], 1))
    await until(FRAME.gpuCall, MAX_GPU_CALLS)
    // Node warns of more than ten.
    expect(getEventListeners(stop.signal, 'abort')).toHaveLength(1)
    const reason = new Error('over')
    stop.abort(reason)
    for (const each of [result, ...waiting]) await expect(each).rejects.toBe(reason)
    // Those that were never sent need not be cancelled.
    const cancelled = ofType(FRAME.gpuCancel).map(({ payload }) => readGpuId(payload))
    expect(cancelled).toEqual(callIds())
    expect(cancelled).toHaveLength(MAX_GPU_CALLS)
    await expect(run([1, 2], 1)).rejects.toBe(reason)
    stop = new AbortController()
    const next = run([1, 2], 1)
    const sent = await until(FRAME.gpuCall, MAX_GPU_CALLS + 1)
    answer(readGpuId(sent.at(-1)!.payload), 1, 2)
    expect(await next).toEqual(Float32Array.of(1, 2))
  })

  it('rejects with what the peer says, as if thrown where it was called', async () => {
    async function theTask(): Promise<Float32Array> {
      return await run([1, 2], 1)
    }
    const result = theTask()
    const [call] = await until(FRAME.gpuCall, 1)
    const failure = gpuFailure({ code: 'ERR_MESH_KERNEL_FAILED', message: 'no memory' })
    const id = gpuId(readGpuId(call!.payload))
    calls.onAnswer(FRAME.gpuFailed, Buffer.concat([id, failure]))
    const error = await result.catch((thrown: unknown) => thrown as Error)
    expect(error).toMatchObject({ code: 'ERR_MESH_KERNEL_FAILED', message: 'no memory' })
    expect((error as Error).stack).toMatch(/^MeshError: no memory\n.*\n.*theTask/)
  })

  it.each<[string, string, RegExp, () => Promise<unknown>]>([
    [
      'a source',
      'ERR_MESH_KERNEL_INVALID',
      /"random", 2:\d+: Math\.random/,
      () => {
        const kernel = defineKernel({
          name: 'random',
          // biome-ignore format: the line counts
          kernel: function random() {
          return Math.random()
        },
          output: 1,
        })
        return calls.run(stop.signal, kernel)
      },
    ],
    ['no arguments', 'ERR_MESH_KERNEL_INVALID', /takes 2 arguments/, () => run()],
    ['an argument', 'ERR_MESH_TASK_INVALID', /args\[0\]/, () => run('a' as never, 1)],
    ['rows of two lengths', 'ERR_MESH_TASK_INVALID', /one length/, () => run([[1, 2], [1]], 1)],
    [
      'args',
      'ERR_MESH_TASK_INVALID',
      /must be a list/,
      () => calls.run(stop.signal, scale, 3 as never),
    ],
    [
      'a kernel',
      'ERR_MESH_TASK_INVALID',
      /defineKernel takes/,
      () => calls.run(stop.signal, 3 as never),
    ],
    [
      'an option',
      'ERR_MESH_TASK_INVALID',
      /not "size"/,
      () => calls.run(stop.signal, scale, [[1, 2], 1], { size: 3 } as never),
    ],
    [
      'an output',
      'ERR_MESH_TASK_INVALID',
      /output/,
      () => calls.run(stop.signal, scale, [[1, 2], 1], { output: [0] }),
    ],
    [
      'a large output',
      'ERR_MESH_TOO_LARGE',
      /output.*64\.0 MiB.*takes 64/,
      () =>
        calls.run(stop.signal, scale, [[1, 2], 1], {
          output: [4096, 4097],
        }),
    ],
  ])('rejects %s that is wrong, and goes on', async (_, code, message, wrong) => {
    await expect(wrong()).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
    expect(reported).toEqual([])
    void run([1, 2], 1)
    await until(FRAME.gpuCall, 1)
  })
})
