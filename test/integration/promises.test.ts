/**
 * What users of other systems complain of, by the thread where they do, and what is promised here. docs/features.md, "Complaints elsewhere", has
 * the whole table.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { chain, chord, group, map } from '../../src/index.ts'
import { defineTask } from '../../src/runtime/task.ts'
import { atRest, doneOf, type Rig, stateOf, until, useRigs } from '../helpers/rigs.ts'

const { start, pair, folder } = useRigs()

/** A file into which tasks write what they began, a line each; tasks have its path as `ctx.args`. */
async function diary(): Promise<{ path: string; lines: () => Promise<string[]> }> {
  const path = join(await folder(), 'diary')
  const lines = async () =>
    (await readFile(path, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '')
  return { path, lines }
}

const square = defineTask({ name: 'square', run: (x: number) => x * x })
const sum = defineTask({
  name: 'sum',
  run: (values: number[]) => values.reduce((total, value) => total + value, 0),
})
const picky = defineTask({
  name: 'picky',
  run(x: number) {
    if (x % 4 === 3) throw new RangeError(`${x} is refused`)
    return x
  },
})
const slow = defineTask({
  name: 'slow',
  async run(x: number) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    return x
  },
})
/** Writes that it began, and computes for so many ms without ever letting go of its thread. */
const busy = defineTask({
  name: 'busy',
  run(ms: number, ctx) {
    process.getBuiltinModule('node:fs').appendFileSync(ctx.args as string, `${ctx.index}\n`)
    const end = performance.now() + ms
    while (performance.now() < end);
    return ms
  },
})
/** Ends its process at item 25, however often. */
const deadly = defineTask({
  name: 'deadly',
  run(x: number, ctx) {
    process.getBuiltinModule('node:fs').appendFileSync(ctx.args as string, `${x}\n`)
    if (x === 25) process.exit(1)
    return x
  },
})

const busyOf = (rig: Rig) => rig.backend.peer.runtime.stats().busy

describe('compositions', () => {
  it('celery#1881: the callback of a chord runs with what succeeded, or the chord says what failed', async () => {
    const { mesh } = await start()
    const header = map(picky, { range: [0, 8] })
    expect(await mesh.run(chord(header, sum, { allowFailures: true }))).toBe(0 + 1 + 2 + 4 + 5 + 6)
    await expect(mesh.run(chord(header, sum))).rejects.toMatchObject({
      code: 'ERR_MESH_ITEMS_FAILED',
      details: {
        failures: [
          { task: 'picky', item: 3 },
          { task: 'picky', item: 7 },
        ],
      },
    })
    // When nothing succeeded it runs too, with nothing.
    expect(await mesh.run(chord([picky.s(3)], sum, { allowFailures: true }))).toBe(0)
  })

  it('celery#6437: groups, chains and chords end, whatever their members throw', async () => {
    const { mesh } = await start()
    const throws = defineTask({
      name: 'throws',
      run(how: string) {
        if (how === 'nothing') throw undefined
        if (how === 'hostile') {
          const message = () => {
            throw new Error('no message')
          }
          throw Object.defineProperty(new Error(), 'message', { get: message })
        }
        if (how === 'exit') process.exit(3)
        if (how === 'unsendable') return () => 1
        throw Object.assign(new Error(how), { more: () => 1, circle: globalThis })
      },
    })
    const after = defineTask({ name: 'after', run: (x: unknown) => x })
    for (const how of ['error', 'nothing', 'hostile', 'exit', 'unsendable']) {
      const failing = throws.s(how)
      for (const composition of [
        group([failing, square.s(2)]),
        chain(failing, after, after),
        chord([square.s(2), failing], after),
        chain(group([failing, square.s(2)]), after.s().set({ collect: true })),
      ]) {
        await expect(mesh.run(composition), how).rejects.toMatchObject({
          code: 'ERR_MESH_ITEMS_FAILED',
          details: { failed: 1, failures: [{ task: expect.stringContaining('throws') }] },
        })
      }
    }
  })

  it('celery#4331: 100 000 tasks are one entry of the log, in a composition too', async () => {
    const a = await start()
    const job = await a.mesh.submit(square, { range: [0, 100_000] }, { startIn: 3_600 })
    expect((await job.info()).log.entries).toBe(1)
    const total = chord(map(square, { range: [0, 100_000] }), sum)
    const composed = await a.mesh.submit(total, { startIn: 3_600 })
    expect((await composed.info()).log.entries).toBe(1)
    // What is done is told in ranges, too.
    const numbers = await a.mesh.submit(square, { range: [0, 100_000] })
    await numbers.wait()
    expect((await numbers.info()).log.entries).toBeLessThan(200)
  })

  it('celery#4547: cancelling ends the rest of a group, and nothing of it starts after', async () => {
    const { path, lines } = await diary()
    const [a, b] = await pair()
    const members = Array.from({ length: 400 }, () => busy.s(20))
    const job = await a.mesh.submit(chord(members, sum), { args: path })
    await until('both work on it', async () => doneOf(b, job.id) > 4 && busyOf(b) > 0)
    expect(await job.cancel('not needed')).toBe(true)
    await until('b hears', async () => (await stateOf(b, job.id)) === 'cancelled')
    await until('both are idle', () => atRest(a) && atRest(b))
    const begun = (await lines()).length
    expect(begun).toBeLessThan(300)
    // Others' work goes on; of the group there is none.
    await a.mesh.map(slow, [1, 2, 3, 4, 5, 6, 7, 8])
    expect(await lines()).toHaveLength(begun)
  })

  it('distributed#4471, #6600: tiny tasks go to a worker that comes late', async () => {
    const a = await start()
    const items = 1_000
    const tiny = defineTask({
      name: 'tiny',
      async run(x: number) {
        await new Promise((resolve) => setTimeout(resolve, 4))
        return x
      },
    })
    const job = await a.mesh.submit(chord(map(tiny, { range: [0, items] }), sum))
    await until('it runs', () => doneOf(a, job.id) > 0)
    const b = await start({ ticket: await a.backend.ticket() })
    expect(await job.collect()).toBe((items * (items - 1)) / 2)
    const { peers } = await job.info()
    expect(peers.find(({ id }) => id === b.backend.peer.id)?.done).toBeGreaterThan(items / 10)
  })
})

describe('control', () => {
  it('celery#2599, #4766, bullmq#2857, #3078: what waits or computes for longer than a lease runs once', async () => {
    const { path, lines } = await diary()
    // The shortest lease there is; an idle peer would take what is orphaned at once.
    const [a, b] = await pair({ lease: 5 }, { lease: 5 })
    const options = { args: path, speculate: false, chunkSize: 1 } as const
    const delayed = await a.mesh.submit(busy, { items: [1, 1] }, { ...options, startIn: 6.5 })
    const long = await a.mesh.submit(busy, { items: [7_000] }, options)
    expect(await Promise.all([long.collect(), delayed.collect()])).toEqual([[7_000], [1, 1]])
    expect((await lines()).toSorted()).toEqual(['0', '0', '1'])
    for (const { id } of [long, delayed]) {
      expect((await b.backend.job(id)).log.reclaims, id).toBe(0)
    }
  })

  it('celery#1628, #10462, distributed#5234: what kills its worker is given up, and it alone is blamed', async () => {
    const { path, lines } = await diary()
    const [a] = await pair()
    const job = await a.mesh.submit(deadly, { range: [0, 60] }, { args: path, chunkSize: 30 })
    expect(await job.failures()).toMatchObject([{ index: 25, code: 'ERR_MESH_WORKER_DIED' }])
    const composed = map(deadly, { range: [0, 60] })
    const rest = await a.mesh.run(chord(composed, sum, { allowFailures: true }), { args: path })
    expect(rest).toBe((60 * 59) / 2 - 25)
    const deaths = (await lines()).filter((line) => line === '25').length
    expect(deaths).toBeGreaterThanOrEqual(2)
    expect(deaths).toBeLessThanOrEqual(6)
  })

  it('celery#4300: cancelled work stops, also when it listens to nobody', async () => {
    const { path, lines } = await diary()
    const [a, b] = await pair()
    const job = await a.mesh.submit(busy, { items: [60_000, 60_000, 60_000] }, { args: path })
    await until('both compute', async () => (await lines()).length === 2)
    const before = performance.now()
    await b.mesh.cancel(job.id)
    await until('both are idle', () => atRest(a) && atRest(b))
    expect(performance.now() - before).toBeLessThan(10_000)
    expect(await lines()).toHaveLength(2)
    // The slots are free for others.
    expect(await a.mesh.map(square, [1, 2, 3])).toEqual([1, 4, 9])
  })

  it('distributed#6689: flaky items that are stolen and tried again come right, each once', async () => {
    const [a, b] = await pair()
    const flaky = defineTask({
      name: 'flaky',
      async run(x: number, ctx) {
        await new Promise((resolve) => setTimeout(resolve, 5))
        if (x % 3 === 0 && ctx.attempt <= 2) throw new Error('not this time')
        return x
      },
    })
    const items = 300
    // The first wait is in the worker, the second gives the item back to its peer.
    const backoff = { delay: 0.04, factor: 5 }
    const job = await a.mesh.submit(flaky, { range: [0, items] }, { retries: 2, backoff })
    const seen: number[] = []
    for await (const { value } of job) seen.push(value)
    expect(seen.toSorted((x, y) => x - y)).toEqual(Array.from({ length: items }, (_, x) => x))
    expect(await job.info()).toMatchObject({ state: 'finished', done: items, failed: 0 })
    const { peers } = await job.info()
    expect(peers.map(({ id }) => id).toSorted()).toEqual(
      [a.backend.peer.id, b.backend.peer.id].toSorted(),
    )
  })

  it('bacalhau#2360: a short job does not wait behind a long one', async () => {
    const [a, b] = await pair()
    const long = await a.mesh.submit(slow, { range: [0, 100_000] })
    await until('both work on it', () => busyOf(a) > 0 && busyOf(b) > 0)
    for (const { mesh } of [a, b]) {
      const before = performance.now()
      expect(await mesh.map(square, [7])).toEqual([49])
      expect(await mesh.run(chord([square.s(3), square.s(4)], sum))).toBe(25)
      expect(performance.now() - before).toBeLessThan(5_000)
    }
    expect(doneOf(a, long.id)).toBeLessThan(2_000)
    await a.mesh.cancel('all')
  })

  it('bacalhau#990, #2964: a job that nobody runs says what it waits for', async () => {
    const { mesh } = await start()
    const gpu = await mesh.submit(square, { range: [0, 3] }, { requires: { gpu: true } })
    expect(await gpu.info()).toMatchObject({ state: 'running', waitsFor: 'a peer with a GPU' })
    const requires = { cores: 64, labels: { zone: 'mars' } }
    const far = await mesh.submit(map(square, [1, 2]), { requires })
    const info = await far.info()
    expect(info.waitsFor).toBe('a peer with 64 cores and label zone=mars')
    const later = await mesh.submit(square, { range: [0, 3] }, { startIn: 3_600 })
    const { startsAt } = await later.info()
    expect(Date.parse(startsAt!)).toBeGreaterThan(Date.now() + 3_500_000)
    const held = await mesh.submit(slow, { range: [0, 10_000] })
    await held.pause()
    expect((await held.info()).state).toBe('paused')
  })

  it('yapapi#112, #441: an item that one peer never gives back is computed by another', async () => {
    const [a, b] = await pair()
    const stuck = defineTask({
      name: 'stuck',
      async run(x: number, ctx) {
        await new Promise((resolve) => setTimeout(resolve, 10))
        if (x === 199 && ctx.peer === ctx.args) await new Promise(() => setInterval(() => {}, 1e6))
        return x
      },
    })
    const job = await a.mesh.submit(stuck, { range: [0, 200] }, { args: b.backend.peer.id })
    expect(await job.collect()).toHaveLength(200)
  })
})
