import { createReadStream } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it, onTestFinished } from 'vitest'
import { z } from 'zod'
import { MeshError } from '../../../src/base/errors.ts'
import { Mesh } from '../../../src/client/mesh.ts'
import type { JobInfo } from '../../../src/node/types.ts'
import { map } from '../../../src/runtime/compose.ts'
import { defineTask } from '../../../src/runtime/task.ts'
import type { FakeOptions } from '../../helpers/fake-backend.ts'
import { controlRig, directRig, PATIENCE } from '../control/rig.ts'

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = []
  for await (const element of source) out.push(element)
  return out
}

async function temporary(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mesh-client-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

const square = defineTask({ name: 'square', run: (x: number) => x * x })
const oddOnly = defineTask({
  name: 'odd',
  run(x: number) {
    if (x % 2 === 0) throw new RangeError(`${x} is even`)
    return x
  },
})
const squares = (n: number) => Array.from({ length: n }, (_, i) => i * i)

describe.each([
  ['in this process', directRig],
  ['over the control socket', controlRig],
])('a mesh %s', (_, createRig) => {
  async function open(options: FakeOptions = {}) {
    const rig = await createRig(options)
    onTestFinished(() => rig[Symbol.asyncDispose]())
    return { rig, mesh: new Mesh(rig.backend) }
  }

  it('runs a task over a range, in order however the results arrive', async () => {
    const { mesh } = await open({ arrival: 'backward' })
    const job = await mesh.submit(square, { range: [0, 1234] })
    expect(job.items).toBe(1234)
    expect(await job.collect()).toEqual(squares(1234))
    const ordered = await all(job.ordered())
    expect(ordered).toEqual(squares(1234).map((value, index) => ({ index, value })))
    const arrived = (await all(job)).map((result) => result.index)
    expect(arrived[0]).toBe(1200)
    expect(arrived.toSorted((a, b) => a - b)).toEqual(ordered.map((result) => result.index))
  })

  it('never gives an item twice, though spans overlap', async () => {
    const { mesh } = await open({ overlap: true, arrival: 'backward', spanItems: 7 })
    const job = await mesh.submit(square, { range: [-10, 90] })
    const indexes = (await all(job)).map((result) => result.index).sort((a, b) => a - b)
    expect(indexes).toEqual(Array.from({ length: 100 }, (_, i) => i))
    expect((await job.collect()).slice(0, 3)).toEqual([100, 81, 64])
  })

  it('maps a bare function over items of any kind', async () => {
    const { mesh } = await open()
    const items = [1n, new Date(5), new Map([[1, 2]]), undefined, Number.NaN, new Uint8Array([9])]
    expect(await mesh.map((item: unknown) => [item], items)).toEqual(items.map((item) => [item]))
    expect(await mesh.map(async (x: number) => x + 1, new Set([1, 2, 3]))).toEqual([2, 3, 4])
  })

  it('takes items as they come, and lines', async () => {
    const { mesh } = await open()
    async function* words() {
      for (const word of ['ab', 'c', '']) yield word
    }
    const length = (word: string) => word.length
    expect(await mesh.map(length, words())).toEqual([2, 1, 0])
    const collect = async (lines: Parameters<typeof mesh.submit<string, number>>[1]) =>
      (await mesh.submit(length, lines)).collect()
    expect(await collect({ items: words() })).toEqual([2, 1, 0])
    expect(await collect({ lines: ['a', 'bcd'] })).toEqual([1, 3])
    expect(await collect({ lines: words() })).toEqual([2, 1, 0])
    const file = join(await temporary(), 'words.txt')
    await writeFile(file, '\uFEFFfirst\r\nsecond\n\nlast')
    expect(await collect({ lines: file })).toEqual([5, 6, 0, 4])
    expect(await collect({ lines: pathToFileURL(file) })).toEqual([5, 6, 0, 4])
    expect(await collect({ lines: createReadStream(file, { highWaterMark: 4 }) })).toEqual([
      5, 6, 0, 4,
    ])
    const text = createReadStream(file, { encoding: 'utf8', highWaterMark: 4 })
    expect(await collect({ lines: text })).toEqual([5, 6, 0, 4])
    async function* bytes() {
      yield Buffer.from('ab\nc')
      yield Buffer.from('d\n')
    }
    expect(await collect({ lines: bytes() })).toEqual([2, 2])
  })

  it('finishes a job without items, with no results', async () => {
    const { mesh } = await open()
    for (const input of [[], { items: [] }, { range: [5, 5] as const }, { lines: [] }]) {
      const job = await mesh.submit((x: never) => x, input)
      expect(await job.collect()).toEqual([])
      expect(await all(job)).toEqual([])
      expect(await job.wait()).toMatchObject({ state: 'finished', items: 0 })
    }
  })

  it('passes args and options', async () => {
    const { rig, mesh } = await open()
    const args = { by: 3n, list: [1, 2] }
    const options = {
      args,
      chunkSize: 5,
      timeLimit: 1.5,
      memory: 256,
      retries: 2,
      maxItemsPerWorker: 9,
    }
    const scaled = defineTask({
      name: 'scaled',
      run: (x: number, ctx) => BigInt(x) * (ctx.args as { by: bigint }).by,
    })
    const job = await mesh.submit(scaled, { items: [1, 2] }, options)
    expect(await job.collect()).toEqual([3n, 6n])
    expect(rig.fake.requests[0]!.options).toEqual({
      args: expect.stringMatching(/^[0-9a-f]+$/),
      chunkSize: 5,
      timeLimitMs: 1500,
      memoryBytes: 256 * 2 ** 20,
      retries: 2,
      maxItemsPerWorker: 9,
    })
  })

  it('collect rejects with both lists when items failed', async () => {
    const { mesh } = await open({ spanItems: 3 })
    const error = await mesh.map(oddOnly, [1, 2, 3, 4, 5]).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(MeshError)
    expect(error).toMatchObject({
      code: 'ERR_MESH_ITEMS_FAILED',
      message: '2 of 5 items failed; item 1: RangeError: 2 is even',
      details: {
        failed: 2,
        values: [1, undefined, 3, undefined, 5],
        failures: [
          {
            index: 1,
            code: 'ERR_MESH_ITEM_THREW',
            name: 'RangeError',
            message: '2 is even',
            stack: expect.any(String),
            attempts: 1,
          },
          { index: 3, name: 'RangeError', message: '4 is even' },
        ],
      },
    })
  })

  it('iteration gives the good items, then throws; or gives the failures', async () => {
    const { mesh } = await open({ spanItems: 3, overlap: true })
    const job = await mesh.submit(oddOnly, { range: [1, 6] })
    const good: unknown[] = []
    const iterate = async () => {
      for await (const { index, value } of job.ordered()) good.push([index, value])
    }
    await expect(iterate()).rejects.toMatchObject({
      code: 'ERR_MESH_ITEMS_FAILED',
      details: { failed: 2, failures: [{ index: 1 }, { index: 3 }] },
    })
    expect(good).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ])
    const both = await all(job.results({ failures: 'yield', order: 'item' }))
    expect(both.map((it) => (it.error === undefined ? it.value : it.error.message))).toEqual([
      1,
      '2 is even',
      3,
      '4 is even',
      5,
    ])
    expect((await job.failures()).map((failure) => failure.index)).toEqual([1, 3])
    expect((await job.wait()).failed).toBe(2)
  })

  it('tells how it goes, until it ends', async () => {
    const { rig, mesh } = await open({ held: true })
    const seen: JobInfo[] = []
    const options = { onProgress: (info: JobInfo) => void seen.push(info) }
    const job = await mesh.submit(square, { range: [0, 250] }, options)
    await expect.poll(() => seen.length, PATIENCE).toBe(1)
    const stop = job.onProgress(() => expect.fail('told after it was stopped'))
    stop()
    rig.fake.release()
    expect(await job.wait()).toMatchObject({ state: 'finished', done: 250 })
    await expect.poll(() => seen.at(-1)!.state, PATIENCE).toBe('finished')
    expect(seen[0]).toMatchObject({ done: 0, state: 'running' })
    expect(await all(job.watch())).toMatchObject([{ state: 'finished', done: 250 }])
    const late: JobInfo[] = []
    job.onProgress((info) => late.push(info))
    await expect.poll(() => late.at(-1)?.state, PATIENCE).toBe('finished')
    await expect.poll(() => rig.fake.readers, PATIENCE).toBe(0)
  })

  it('streams what a task logs', async () => {
    const { mesh } = await open()
    const chatty = defineTask({ name: 'chatty', run: (x: number, ctx) => ctx.log('got', x) })
    const job = await mesh.submit(chatty, { range: [3, 5] })
    const lines = await all(job.logs({ follow: true }))
    expect(lines.map((line) => [line.item, line.text])).toEqual([
      [0, 'got 3'],
      [1, 'got 4'],
    ])
  })

  it('finds a job again, and reads what is there without waiting', async () => {
    const { rig, mesh } = await open({ held: true })
    const { id } = await mesh.submit(square, { range: [0, 20] })
    const job = await mesh.job<number>(id.slice(0, 8))
    expect(job.id).toBe(id)
    expect((await mesh.job('last')).id).toBe(id)
    expect(await all(job.results({ wait: false }))).toEqual([])
    rig.fake.release()
    expect(await job.collect()).toEqual(squares(20))
    expect((await mesh.jobs()).map((info) => info.id)).toEqual([id])
    await expect(mesh.job('ffff')).rejects.toMatchObject({ code: 'ERR_MESH_JOB_UNKNOWN' })
  })

  it('says who holds a detached job', async () => {
    const { mesh } = await open()
    const job = await mesh.submit(square, { range: [0, 2] }, { detach: true })
    expect(job.heldBy).toEqual(['cd'.repeat(32)])
  })

  it('gives up reading, waiting and submitting when the signal aborts', async () => {
    const { rig, mesh } = await open({ held: true })
    const abort = new AbortController()
    const job = await mesh.submit(square, { range: [0, 20] }, { signal: abort.signal })
    const own = new AbortController()
    const reads = [
      job.collect(),
      job.wait(),
      all(job),
      all(job.results({ failures: 'yield' })),
      job.failures({ signal: own.signal }),
    ]
    const settled = Promise.allSettled(reads)
    const reason = new Error('enough')
    abort.abort(reason)
    for (const result of await settled) expect(result).toEqual({ status: 'rejected', reason })
    await expect.poll(() => rig.fake.readers, PATIENCE).toBe(0)
    const late = mesh.submit(square, { range: [0, 20] }, { signal: abort.signal })
    await expect(late).rejects.toBe(reason)
    const stop = new AbortController()
    async function* endless() {
      for (let n = 0; ; n++) {
        if (n === 200_000) stop.abort(reason)
        yield n
      }
    }
    const spooling = mesh.submit(square, endless(), { signal: stop.signal })
    await expect(spooling).rejects.toBe(reason)
    expect(rig.fake.requests).toHaveLength(1)
  })

  it('cancel takes ids and a reason, and says so', async () => {
    const { rig, mesh } = await open({ held: true })
    const job = await mesh.submit(square, { range: [0, 20] })
    const wrong = [[undefined], [job], [[job]], [job.id, 'why'], [job.id, { reason: 5 }]]
    for (const args of wrong) {
      const cancelled = mesh.cancel(...(args as [string]))
      await expect(cancelled).rejects.toMatchObject({ code: 'ERR_MESH_OPTION_INVALID' })
    }
    expect((await job.info()).state).toBe('running')
    expect(await mesh.cancel(job.id, { reason: 'why' })).toEqual([job.id])
    await rig.fake.close()
  })

  it('tells what stands in the place of a task or of items', async () => {
    const { rig, mesh } = await open()
    const call = square.s(2)
    const run = mesh.run.bind(mesh) as (...args: unknown[]) => Promise<unknown>
    const refused = async (message: RegExp, ...args: unknown[]) =>
      await expect(run(...args)).rejects.toMatchObject({ message: expect.stringMatching(message) })
    await refused(/there is nothing to run/)
    await refused(/group\(\[…\]\) runs the compositions/, [call, call])
    await refused(/brings its own items/, call, [1, 2])
    await refused(/brings its own items/, call, { range: [0, 2] })
    await refused(/chain\(composition, task\)/, map(square, call as never))
    await refused(/in a chain the task alone/, map(square, undefined as never))
    await refused(/a job is an argument/, square.s((await mesh.submit(square, [1])) as never))
    expect(rig.fake.requests).toHaveLength(1)
  })

  it('a cancelled job has no result, a stopped peer no end', async () => {
    const { rig, mesh } = await open({ held: true })
    const cancelled = await mesh.submit(square, { range: [0, 20] })
    const collected = cancelled.collect()
    collected.catch(() => undefined)
    await rig.fake.cancel([cancelled.id])
    await expect(collected).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_CANCELLED',
      details: { missing: 20 },
    })
    expect(await cancelled.wait()).toMatchObject({ state: 'cancelled' })
    const running = await mesh.submit(square, { range: [0, 20] })
    const reads = Promise.allSettled([running.collect(), running.wait(), all(running)])
    await rig.fake.close()
    for (const result of await reads) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_MESH_STOPPED' } })
    }
  })

  it('refuses items that its schema refuses, naming the first, before anything runs', async () => {
    const { rig, mesh } = await open()
    const strict = defineTask({
      name: 'strict',
      input: z.object({ id: z.number().int() }),
      run: (item: { id: number }) => item.id,
    })
    const good = Array.from({ length: 9000 }, (_, id) => ({ id }))
    expect(await mesh.map(strict, good)).toHaveLength(9000)
    const bad = [...good, { id: 1.5 }, { id: 'x' } as never]
    await expect(mesh.map(strict, bad)).rejects.toMatchObject({
      code: 'ERR_MESH_ITEM_REFUSED',
      message: expect.stringMatching(/^the task's input schema refuses item 9000: id: /),
      details: { index: 9000, issues: [expect.any(String)] },
    })
    await expect(mesh.submit(strict, { range: [5, 7] } as never)).rejects.toMatchObject({
      code: 'ERR_MESH_ITEM_REFUSED',
      details: { index: 0 },
    })
    expect(rig.fake.requests).toHaveLength(1)
  })

  it('names the item that cannot be sent', async () => {
    const { mesh } = await open()
    const items: unknown[] = Array.from({ length: 200_000 }, (_, i) => i)
    items[150_001] = { callback: () => 1 }
    await expect(mesh.map((x: unknown) => x, items)).rejects.toMatchObject({
      code: 'ERR_MESH_VALUE_UNSENDABLE',
      message: expect.stringMatching(/^item 150001 cannot be sent: .*function/),
      details: { index: 150_001 },
    })
  })

  it('refuses what is no task', async () => {
    const { mesh } = await open()
    await expect(mesh.submit({ run: 1 } as never, [])).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
    })
    await expect(mesh.submit('./no/such/task.ts', [])).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_NOT_FOUND',
    })
    await expect(mesh.submit('file://%zz', [])).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_NOT_FOUND',
    })
  })

  it('is of no use once it is stopped', async () => {
    const { mesh } = await open()
    expect(await mesh.ticket()).toBe('mesh1fake')
    expect((await mesh.peers())[0]!.self).toBe(true)
    expect((await mesh.status()).mesh).toBe('fake')
    await mesh[Symbol.asyncDispose]()
    await mesh.stop()
    const stopped = { code: 'ERR_MESH_STOPPED' }
    await expect(mesh.status()).rejects.toMatchObject(stopped)
    await expect(mesh.submit(square, [1])).rejects.toMatchObject(stopped)
  })
})

describe('a task file', () => {
  it('is bundled, with what it imports, and stacks point to its lines', async () => {
    await using rig = await directRig()
    const mesh = new Mesh(rig.backend)
    const dir = await temporary()
    await writeFile(join(dir, 'limit.ts'), 'export const limit: number = 3\n')
    const file = join(dir, 'task.ts')
    await writeFile(
      file,
      [
        `import { defineTask } from 'meshwork'`,
        `import { limit } from './limit.ts'`,
        `export default defineTask({`,
        `  name: 'capped',`,
        `  run(x: number) {`,
        `    if (x > limit) throw new Error('over')`,
        `    return -x`,
        `  },`,
        `})`,
      ].join('\n'),
    )
    expect(await mesh.map(file, [1, 2, 3])).toEqual([-1, -2, -3])
    expect(await mesh.map(pathToFileURL(file), [1])).toEqual([-1])
    expect(rig.fake.requests[0]!.task.name).toBe('capped')
    const job = await mesh.submit(file, [5])
    const [failure] = await job.failures()
    expect(failure!.stack).toMatch(/task\.ts:6:2\d/)
    const again = await mesh.job(job.id)
    expect((await again.failures())[0]!.stack).toBe(failure!.stack)
  })
})
