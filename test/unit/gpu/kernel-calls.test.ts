import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../../src/base/bytes.ts'
import { MeshError } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { defineKernel } from '../../../src/gpu/define-kernel.ts'
import { KernelCalls } from '../../../src/gpu/kernel-calls.ts'
import { encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import { kernelSpec } from '../../../src/gpu/kernel-spec.ts'
import type { Launch, Launched } from '../../../src/gpu/types.ts'
import {
  MAX_GPU_ARRAY_BYTES,
  MAX_GPU_CALLS,
  MAX_GPU_HELD_ARRAYS,
  MAX_GPU_HELD_BYTES,
  MAX_GPU_SPEC_BYTES,
} from '../../../src/runtime/limits.ts'
import type { WorkerCalls } from '../../../src/runtime/types.ts'
import { FRAME } from '../../../src/runtime/worker/frames.ts'
import {
  gpuHash,
  gpuId,
  readGpuFailed,
  readGpuId,
  readGpuResult,
} from '../../../src/runtime/worker/gpu-frames.ts'

interface Sent {
  readonly type: number
  readonly payload: Buffer
}
interface Running {
  readonly launch: Launch
  readonly signal: AbortSignal
  readonly answer: (values: readonly number[]) => void
  readonly fail: (error: unknown) => void
}

const double = defineKernel({
  name: 'double',
  kernel: function double(a, by) {
    return a[this.thread.x] * by
  },
  output: 2,
})
const f32 = (...values: number[]): Float32Array => Float32Array.from(values)
const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer)

let folder: string
let calls: KernelCalls
let worker: WorkerCalls
let sent: Sent[]
let running: Running[]
let onLaunch: () => void
let onSent: () => void

/** A worker that takes what it is told at once. */
function connect(to: Sent[] = sent): WorkerCalls {
  return calls.serve(async (type, parts) => {
    to.push({ type, payload: Buffer.concat(parts) })
    onSent()
  })
}

beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'mesh-kernel-calls-')), 'calls')
  sent = []
  running = []
  onLaunch = () => {}
  onSent = () => {}
  calls = new KernelCalls({
    folder,
    log: silentLogger,
    launch: (launch, { signal }) =>
      new Promise<Launched>((resolve, reject) => {
        const answer = (values: readonly number[]): void =>
          resolve({
            bytes: bytesOf(f32(...values)),
            backend: 'webasm',
            deviceClass: 'test',
            preparedMs: 0,
            elapsedMs: 1,
          })
        signal.addEventListener('abort', () => reject(new MeshError('ERR_MESH_STOPPED', 'stop')))
        running.push({ launch, signal, answer, fail: reject })
        onLaunch()
      }),
  })
  worker = connect()
})
afterEach(async () => {
  await calls.close()
  await rm(dirname(folder), { recursive: true })
})

function report(type: number, ...parts: Uint8Array[]): Promise<void> | undefined {
  return worker.onReport(type, Buffer.concat(parts))
}
const array = (data: Float32Array): Promise<void> | undefined =>
  report(FRAME.gpuArray, gpuHash(sha256Hex(bytesOf(data))), bytesOf(data))
const specOf = (data: Float32Array, by = 2): Uint8Array =>
  encodeKernelSpec(kernelSpec(double, [data, by]).spec)
const call = (id: number, data: Float32Array, by = 2): void => {
  expect(report(FRAME.gpuCall, gpuId(id), specOf(data, by))).toBeUndefined()
}
async function launched(count: number): Promise<Running> {
  while (running.length < count) {
    await new Promise<void>((resolve) => {
      onLaunch = resolve
    })
  }
  return running[count - 1]!
}
async function answers(count: number): Promise<Sent[]> {
  while (sent.length < count) {
    await new Promise<void>((resolve) => {
      onSent = resolve
    })
  }
  return sent
}
const breach = expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' })

describe('kernel calls of a worker', () => {
  it('are launched over all items, with their arrays as files, and answered', async () => {
    const data = f32(3, 4)
    await array(data)
    call(7, data)
    const { launch, answer } = await launched(1)
    const hash = sha256Hex(bytesOf(data))
    expect(launch).toMatchObject({ lo: 0, hi: 2, key: sha256Hex(specOf(data)) })
    expect(launch.spec).toEqual(kernelSpec(double, [data, 2]).spec)
    expect(Object.keys(launch.files)).toEqual([hash])
    expect(new Uint8Array(await readFile(launch.files[hash]!))).toEqual(bytesOf(data))
    answer([6, 8])
    const [result] = await answers(1)
    expect(result!.type).toBe(FRAME.gpuResult)
    expect(readGpuId(result!.payload)).toBe(7)
    expect(readGpuResult(result!.payload)).toEqual(f32(6, 8))
  })

  it('run one after another, and those of two workers at once', async () => {
    const data = f32(1, 2)
    const other: Sent[] = []
    const second = connect(other)
    await array(data)
    call(1, data)
    call(2, data)
    await second.onReport(
      FRAME.gpuArray,
      Buffer.concat([gpuHash(sha256Hex(bytesOf(data))), bytesOf(data)]),
    )
    second.onReport(FRAME.gpuCall, Buffer.concat([gpuId(1), specOf(data, 5)]))
    const foreign = await launched(2)
    expect(running).toHaveLength(2)
    // One file for both.
    expect(calls.arrays.size).toBe(1)
    running[0]!.answer([1, 1])
    ;(await launched(3)).answer([2, 2])
    expect((await answers(2)).map(({ payload }) => readGpuId(payload))).toEqual([1, 2])
    expect(other).toEqual([])
    foreign.answer([9, 9])
  })

  it('wait for their arrays, which may come in the same moment', async () => {
    const data = f32(5, 6)
    const kept = array(data)
    call(1, data)
    const { launch } = await launched(1)
    await kept
    expect(existsSync(Object.values(launch.files)[0]!)).toBe(true)
  })

  it('fail with what the process said, for the worker to tell its task', async () => {
    const data = f32(1, 2)
    await array(data)
    call(3, data)
    const { fail } = await launched(1)
    fail(new MeshError('ERR_MESH_KERNEL_INVALID', 'the kernel "double", 1:2: no'))
    const [failed] = await answers(1)
    expect(failed!.type).toBe(FRAME.gpuFailed)
    expect(readGpuId(failed!.payload)).toBe(3)
    const error = readGpuFailed(failed!.payload)
    expect(error).toMatchObject({
      code: 'ERR_MESH_KERNEL_INVALID',
      message: 'the kernel "double", 1:2: no',
    })
    // The next one is not held up.
    call(4, data)
    ;(await launched(2)).answer([2, 4])
    expect(readGpuId((await answers(2))[1]!.payload)).toBe(4)
  })

  it('are tried again when their process dies, once', async () => {
    const data = f32(1, 2)
    const died = new MeshError('ERR_MESH_WORKER_DIED', 'the GPU process died')
    await array(data)
    call(1, data)
    ;(await launched(1)).fail(died)
    ;(await launched(2)).answer([2, 4])
    expect((await answers(1))[0]!.type).toBe(FRAME.gpuResult)
    call(2, data)
    ;(await launched(3)).fail(died)
    ;(await launched(4)).fail(died)
    expect(readGpuFailed((await answers(2))[1]!.payload).code).toBe('ERR_MESH_WORKER_DIED')
    expect(running).toHaveLength(4)
  })

  it('end without an answer when the worker cancels them, running or waiting', async () => {
    const data = f32(1, 2)
    await array(data)
    for (const id of [1, 2, 3]) call(id, data)
    const { signal } = await launched(1)
    report(FRAME.gpuCancel, gpuId(2))
    report(FRAME.gpuCancel, gpuId(1))
    report(FRAME.gpuCancel, gpuId(99))
    expect(signal.aborted).toBe(true)
    ;(await launched(2)).answer([3, 3])
    expect((await answers(1)).map(({ payload }) => readGpuId(payload))).toEqual([3])
    expect(running).toHaveLength(2)
  })

  it('are dropped when the worker ends, and its arrays with them', async () => {
    const data = f32(1, 2)
    await array(data)
    call(1, data)
    call(2, data)
    const { signal, launch } = await launched(1)
    worker.close()
    worker.close()
    expect(signal.aborted).toBe(true)
    expect(report(FRAME.gpuCall, gpuId(3), specOf(data))).toBeUndefined()
    await calls.close()
    expect(sent).toEqual([])
    expect(running).toHaveLength(1)
    expect(calls.arrays.size).toBe(0)
    expect(existsSync(dirname(Object.values(launch.files)[0]!))).toBe(false)
  })
})

describe('the arrays of kernel calls', () => {
  it('stay until they are forgotten and no call needs them', async () => {
    const data = f32(1, 2)
    const hash = gpuHash(sha256Hex(bytesOf(data)))
    await array(data)
    await array(data)
    call(1, data)
    const { launch, answer } = await launched(1)
    const [path] = Object.values(launch.files)
    report(FRAME.gpuForget, hash)
    expect(existsSync(path!)).toBe(true)
    expect(calls.arrays.size).toBe(1)
    answer([2, 4])
    await answers(1)
    // A second one, and it ends: by then the first has let go.
    const other = f32(9, 9)
    await array(other)
    call(2, other)
    ;(await launched(2)).answer([0, 0])
    await answers(2)
    expect(calls.arrays.size).toBe(1)
    report(FRAME.gpuForget, gpuHash(sha256Hex(bytesOf(other))))
    await calls.arrays.close()
    expect(existsSync(path!)).toBe(false)
  })

  it('can come again while their file is removed', async () => {
    const data = f32(8, 9)
    const hash = gpuHash(sha256Hex(bytesOf(data)))
    for (let i = 0; i < 20; i++) {
      await array(data)
      report(FRAME.gpuForget, hash)
    }
    await array(data)
    call(1, data)
    const { launch } = await launched(1)
    const [path] = Object.values(launch.files)
    expect(new Uint8Array(await readFile(path!))).toEqual(bytesOf(data))
    await expect.poll(async () => (await readdir(dirname(path!))).length).toBe(1)
  })

  it('of a peer that was killed go when it starts again', async () => {
    await calls.close()
    await mkdir(folder)
    await writeFile(join(folder, 'left'), 'behind')
    calls = new KernelCalls({ folder, log: silentLogger, launch: () => Promise.reject() })
    worker = connect()
    await array(f32(1, 2))
    expect(await readdir(folder)).toEqual([expect.stringMatching(/^[0-9a-f]{64}-1$/)])
  })

  it('of another hash than theirs are a breach, and no harm to who sends the right ones', async () => {
    const data = f32(1, 2)
    const wrong = report(FRAME.gpuArray, gpuHash(sha256Hex(bytesOf(data))), bytesOf(f32(6, 6)))
    const liar = worker
    worker = connect()
    const right = array(data)
    await expect(wrong).rejects.toEqual(breach)
    liar.close()
    await right
    call(1, data)
    const { launch } = await launched(1)
    const [path] = Object.values(launch.files)
    expect(new Uint8Array(await readFile(path!))).toEqual(bytesOf(data))
  })

  it('that cannot be written fail the calls that need them, and nothing else', async () => {
    const data = f32(1, 2)
    // In the place of the folder is a file.
    await calls.arrays.close()
    await writeFile(folder, '')
    await array(data)
    call(1, data)
    const [failed] = await answers(1)
    expect(readGpuFailed(failed!.payload)).toMatchObject({
      code: 'ERR_MESH_KERNEL_FAILED',
      message: expect.stringContaining('cannot be written'),
    })
    await rm(folder)
    report(FRAME.gpuForget, gpuHash(sha256Hex(bytesOf(data))))
    await array(data)
    call(2, data)
    ;(await launched(1)).answer([2, 4])
    expect((await answers(2))[1]!.type).toBe(FRAME.gpuResult)
  })
})

describe('a worker that lies', () => {
  const data = f32(1, 2)
  const nothing = new Uint8Array()

  it.each<[string, number, Uint8Array]>([
    ['an unknown report', 99, nothing],
    ['an array without a hash', FRAME.gpuArray, new Uint8Array(31)],
    ['an empty array', FRAME.gpuArray, new Uint8Array(32)],
    ['half a number', FRAME.gpuArray, new Uint8Array(34)],
    ['an array over the limit', FRAME.gpuArray, new Uint8Array(36 + MAX_GPU_ARRAY_BYTES)],
    ['half a hash', FRAME.gpuForget, new Uint8Array(16)],
    ['a hash that it never sent', FRAME.gpuForget, new Uint8Array(32)],
    ['a call without an id', FRAME.gpuCall, new Uint8Array(3)],
    ['a call without a kernel', FRAME.gpuCall, gpuId(1)],
    ['a kernel that is none', FRAME.gpuCall, new Uint8Array(100).fill(0x81)],
    ['a kernel over the limit', FRAME.gpuCall, new Uint8Array(5 + MAX_GPU_SPEC_BYTES)],
    ['an array that it did not send', FRAME.gpuCall, Buffer.concat([gpuId(1), specOf(data)])],
    ['half an id to cancel', FRAME.gpuCancel, new Uint8Array(2)],
  ])('with %s is refused', (_, type, payload) => {
    expect(() => report(type, payload)).toThrow(breach)
    expect(running).toEqual([])
  })

  it('with the array of another worker is refused', async () => {
    await array(data)
    worker = connect()
    expect(() => call(1, data)).toThrow(breach)
  })

  it('with one id twice, or more calls than a peer takes, is refused', async () => {
    await array(data)
    call(0, data)
    expect(() => call(0, data)).toThrow(breach)
    for (let id = 1; id < MAX_GPU_CALLS; id++) call(id, data)
    expect(() => call(MAX_GPU_CALLS, data)).toThrow(breach)
  })

  it('with more arrays than a peer keeps is refused, in bytes and in number', async () => {
    for (let i = 0; i < MAX_GPU_HELD_ARRAYS; i++) await array(f32(i))
    expect(() => array(f32(-1))).toThrow(breach)
    worker = connect()
    // 64 MiB each, not written: only their size counts here.
    const large = Buffer.alloc(32 + MAX_GPU_ARRAY_BYTES)
    const waiting: Promise<void>[] = []
    for (let i = 0; i < MAX_GPU_HELD_BYTES / MAX_GPU_ARRAY_BYTES; i++) {
      large[0] = i
      waiting.push(worker.onReport(FRAME.gpuArray, large)!.catch(() => {}))
    }
    expect(() => array(f32(-1))).toThrow(breach)
    await Promise.all(waiting)
  })
})
