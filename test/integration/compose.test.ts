import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  chain,
  chord,
  chunks,
  connectMesh,
  defineTask,
  group,
  isMeshError,
  type Job,
  joinMesh,
  type Mesh,
  type MeshError,
  map,
  reduce,
  signature,
  starmap,
} from '../../src/index.ts'
import { fails, inner, text, times } from '../fixtures/compose-tasks.ts'
import { DirectEvaluator, json } from '../unit/compose/direct.ts'
import { Maker, randomOf } from '../unit/compose/maker.ts'

const LOOPBACK = ['/ip4/127.0.0.1/tcp/0']
const folders: string[] = []

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'mesh-compose-'))
  folders.push(dir)
  return dir
}

const square = defineTask({ name: 'square', run: (x: number) => x * x })
const sum = defineTask({
  name: 'sum',
  run: (values: number[]) => values.reduce((total, value) => total + value, 0),
})
const add = defineTask({ name: 'add', run: ([a, b]: [number, number]) => a + b })
const picky = defineTask({
  name: 'picky',
  run(x: number) {
    if (x % 4 === 3) throw new RangeError(`${x} is refused`)
    return x
  },
})

async function errorOf(promise: Promise<unknown>): Promise<MeshError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!isMeshError(error)) throw new Error(`no MeshError but ${String(error)}`)
  return error
}

describe('compositions on two lending peers and a submitter', () => {
  let one: Mesh
  let two: Mesh
  let mesh: Mesh
  let dataDir: string

  beforeAll(async () => {
    const options = { mdns: false, listen: LOOPBACK, gpu: { mode: 'off' } } as const
    one = await joinMesh({ ...options, dataDir: await folder(), cores: 1, name: 'one' })
    const ticket = await one.ticket()
    two = await joinMesh({ ...options, dataDir: await folder(), cores: 1, name: 'two', ticket })
    dataDir = await folder()
    mesh = await joinMesh({ ...options, dataDir, cores: 0, name: 'sub', ticket })
  })

  afterAll(async () => {
    await mesh?.stop()
    await two?.stop()
    await one?.stop()
    for (const dir of folders) await rm(dir, { recursive: true, force: true })
  })

  it('calls, groups, maps, chunks, chains', async () => {
    expect(await mesh.run(add.s(1, 2))).toBe(3)
    expect(await mesh.run(group(square.s(3), add.s(square.s(2), 1), square.s(4)))).toEqual([
      9, 5, 16,
    ])
    expect(await mesh.run(map(square, { range: [0, 5] }))).toEqual([0, 1, 4, 9, 16])
    expect(await mesh.run(map(add.s(10), [1, 2]))).toEqual([11, 12])
    expect(await mesh.run(chunks(square, [1, 2, 3], 2))).toEqual([[1, 4], [9]])
    expect(await mesh.run(chain(map(square, [1, 2, 3]), add.s(1), square))).toEqual([4, 25, 100])
    const collected = chain(map(square, [1, 2, 3]), sum.s().set({ collect: true }), add.s(5))
    expect(await mesh.run(collected)).toBe(19)
    expect(await mesh.run(chain(square.s(2), group(square, add.s(1), add.si(1, 1))))).toEqual([
      16, 5, 2,
    ])
    expect(await mesh.run(group([]))).toEqual([])
  })

  it('functions get their arguments one by one, and travel by their text', async () => {
    const minus = signature((a: number, b: number) => a - b, 9, square.s(2))
    expect(await mesh.run(minus)).toBe(5)
    expect(await mesh.run(starmap((a: number, b: number) => a - b, [[3, 1]]))).toEqual([2])
    const texts = map((x: number, ctx) => `${x} of ${ctx.args.name}`, [1])
    expect(await mesh.run(texts, { args: { name: 'n' } })).toEqual(['1 of n'])
    const longest = reduce(
      map((x: number) => 'x'.repeat(x), [3, 7, 2]),
      (a: string, b: string) => (a.length >= b.length ? a : b),
    )
    expect(await mesh.run(longest)).toBe('x'.repeat(7))
  })

  it('reduces a million items, of which only the sum moves', async () => {
    const total = reduce(
      map((x: number) => x, { range: [0, 1_000_000] }),
      add,
    )
    const job = await mesh.submit(total)
    expect(await job.collect()).toBe(499_999_500_000)
    expect(job.items).toBeLessThan(66_000)
  })

  it('reads large sources in pieces', async () => {
    const words = Array.from({ length: 30_000 }, (_, i) => ({ word: `word-${i}` }))
    const lengths = map((it: { word: string }) => it.word.length, words)
    const expected = words.reduce((n, { word }) => n + word.length, 0)
    expect(await mesh.run(chord(lengths, sum))).toBe(expected)
    const calls = Array.from({ length: 3_000 }, (_, i) => square.s(i))
    expect(await mesh.run(chord([...calls, add.s(1, 2)], sum))).toBe(
      (2_999 * 3_000 * 5_999) / 6 + 3,
    )
  })

  it('the same object is computed once', async () => {
    const drawn = signature(() => Math.random())
    const [a, b] = await mesh.run(
      group(
        drawn,
        signature((x: number) => x, drawn),
      ),
    )
    expect(a).toBe(b)
  })

  it('tells what failed first, by task and item', async () => {
    const error = await errorOf(mesh.run(chord(map(picky, { range: [0, 8] }), sum)))
    expect(error.code).toBe('ERR_MESH_ITEMS_FAILED')
    expect(error.message).toContain('picky, item 3: RangeError: 3 is refused')
    expect(error.details.failures).toMatchObject([
      { task: 'picky', item: 3, index: 3, message: '3 is refused' },
      { task: 'picky', item: 7, index: 7, message: '7 is refused' },
    ])
    const [failure] = error.details.failures as { stack: string }[]
    expect(failure!.stack).toContain('RangeError')
    const part = await errorOf(mesh.run(group(square.s(2), picky.s(3))))
    expect(part.details.value).toEqual([4, undefined])
    const allowed = chord(map(picky, { range: [0, 8] }), sum, { allowFailures: true })
    expect(await mesh.run(allowed)).toBe(0 + 1 + 2 + 4 + 5 + 6)
    const mixed = chord([picky.s(3), square.s(3)], sum, { allowFailures: true })
    expect(await mesh.run(mixed)).toBe(9)
    expect(await mesh.run(reduce(map(picky, [1, 3, 5]), add, { allowFailures: true }))).toBe(6)
    const some = await mesh.submit(reduce(map(picky, [1, 3, 5, 7]), add, { allowFailures: true }))
    expect(await some.failures()).toMatchObject([
      { index: 1, task: 'picky', item: 1, name: 'RangeError' },
      { index: 3, task: 'picky', item: 3, name: 'RangeError' },
    ])
    const nothing = reduce(map(picky, [3, 7]), add, { allowFailures: true })
    expect((await errorOf(mesh.run(nothing))).message).toContain('picky, item 0: RangeError')
    const twice = picky.s(2)
    expect(await mesh.run(chain(group(twice, twice), add.s(1)))).toEqual([3, 3])
  })

  it('tasks of one module share a bundle, and its imports come along', async () => {
    expect(await mesh.run(chain(map(times, [1, 2]), text))).toEqual(['n7', 'n14'])
    const [job] = await mesh.jobs()
    const info = await mesh.job(job!.id)
    expect(await info.collect()).toEqual(['n7', 'n14'])
    const failed = await errorOf(mesh.run(chord([times.s(1), fails.s(2)], text)))
    const [failure] = failed.details.failures as { task: string; stack: string }[]
    expect(failure!.task).toBe('fails')
    expect(failure!.stack).toMatch(/compose-tasks\.ts:13:\d+/)
    const error = await errorOf(mesh.run(inner().s(1)))
    expect(error.code).toBe('ERR_MESH_TASK_INVALID')
    expect(error.message).toContain('does not define the task "inner" at its top level')
  })

  it('checks arguments against schemas before anything is sent', async () => {
    const strict = defineTask({
      name: 'strict',
      input: z.number().int(),
      run: (x: number) => x,
    })
    const before = (await mesh.jobs()).length
    for (const wrong of [map(strict, [1, 2.5]), group(strict.s(1), strict.s(0.5))]) {
      const error = await errorOf(mesh.submit(wrong))
      expect(error.code).toBe('ERR_MESH_ITEM_REFUSED')
      expect(error.message).toContain('"strict"')
    }
    expect((await mesh.jobs()).length).toBe(before)
    expect(await mesh.run(map(strict, { range: [0, 3] }))).toEqual([0, 1, 2])
  })

  it('options of one call hold for it alone', async () => {
    const flaky = defineTask({
      name: 'flaky',
      run(x: number, ctx) {
        if (ctx.attempt < 3) throw new Error('again')
        return x + ctx.attempt
      },
    })
    const retried = chain(square.s(2), flaky.s().set({ retries: 3 }))
    expect(await mesh.run(retried)).toBe(7)
    const error = await errorOf(mesh.run(group(flaky.s(1), flaky.s(2).set({ retries: 3 }))))
    expect(error.details.failures).toMatchObject([{ task: 'flaky', index: 0 }])
  })

  it('a job by its id alone gives the same value, here and over the control socket', async () => {
    const tree = group(map(square, [1, 2]), chord([square.s(3), square.s(4)], sum), square.s(9))
    const job = await mesh.submit(tree)
    const value = [[1, 4], 25, 81]
    expect(await job.collect()).toEqual(value)
    const again = await mesh.job<unknown, unknown>(job.id)
    expect(await again.collect()).toEqual(value)
    const other = await two.job<unknown, unknown>(job.id)
    expect(await other.collect()).toEqual(value)
    const attached = await connectMesh({ dataDir })
    try {
      expect(await (await attached.job<unknown, unknown>(job.id)).collect()).toEqual(value)
      expect(await attached.run(tree)).toEqual(value)
    } finally {
      await attached.stop()
    }
    const items: [number, unknown][] = []
    for await (const { index, value } of again.ordered()) items.push([index, value])
    expect(items.map(([index]) => index)).toEqual([0, 1, 2, 3])
    expect(items.map(([, it]) => it).toSorted()).toEqual([1, 25, 4, 81])
    const info = await job.info()
    expect(info.name).toBe('group(square, chord, square)')
    expect(info.nodes!.reduce((n, { items }) => n + items, 0)).toBe(info.items)
  })

  it('types of values follow from those of tasks', async () => {
    const a: number = await mesh.run(chord([square.s(1)], sum))
    const b: [number, number[]] = await mesh.run(group(square.s(1), map(square, [2])))
    const c: number[] = await mesh.run(chain(map(square, [2]), add.s(1)))
    const d: Job<unknown, number> = await mesh.submit(reduce(map(square, [1, 2]), add))
    expect([a, b, c, await d.collect()]).toEqual([1, [1, [4]], [5], 5])
    // @ts-expect-error a text is no number
    expect(square.s('x').kind).toBe('signature')
  })

  it('kernels are refused, with the way to use them', async () => {
    const kernel = { name: 'k', [Symbol.for('meshwork.kernel')]: true }
    expect(() => map(kernel as never, [1])).toThrow('ctx.gpu.run')
  })

  it('a DAG of a thousand calls, layer upon layer', async () => {
    let layer = Array.from({ length: 20 }, (_, i) => add.s(i, 1))
    let expected = Array.from({ length: 20 }, (_, i) => i + 1)
    for (let made = 20; made < 1_000; made += 20) {
      const [calls, values] = [layer, expected]
      layer = calls.map((call, i) => add.s(call, calls[(i + 1) % 20]!))
      expected = values.map((value, i) => value + values[(i + 1) % 20]!)
    }
    const total = expected.reduce((n, value) => n + value, 0)
    expect(await mesh.run(sum.s(layer))).toBe(total)
  })

  it('random compositions give what they mean', async () => {
    const seed = Math.floor(Math.random() * 2 ** 30) + 1
    const next = randomOf(seed)
    for (let round = 0; round < 15; round++) {
      const made = new Maker(next).any(4)
      let expected: unknown
      try {
        expected = json(new DirectEvaluator().of(made), false)
      } catch {
        const error = await errorOf(mesh.run(made))
        expect(error.code, `seed ${seed}, round ${round}`).toBe('ERR_MESH_ITEMS_FAILED')
        const [first] = error.details.failures as { message: string }[]
        // What failed itself, and not what failed with it; or a reduce of which nothing is left.
        expect(first!.message, `seed ${seed}, round ${round}`).toMatch(/^(no [fgh]\(|all of its)/)
        continue
      }
      expect(await mesh.run(made), `seed ${seed}, round ${round}`).toEqual(expected)
    }
  })
})
