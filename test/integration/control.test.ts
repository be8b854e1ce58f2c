import { describe, expect, it } from 'vitest'
import type { Job } from '../../src/client/job.ts'
import type { SubmitOptions } from '../../src/client/options.ts'
import { chord, connectMesh, group, signature } from '../../src/index.ts'
import { defineTask } from '../../src/runtime/task.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import { atRest, doneOf, stateOf, until, useRigs } from '../helpers/rigs.ts'

const { start, stop, pair } = useRigs()

const square = defineTask({ name: 'square', run: (x: number) => x * x })
const slow = defineTask({
  name: 'slow',
  run: async (x: number) => {
    await new Promise((resolve) => setTimeout(resolve, 20))
    return x
  },
})
const picky = defineTask({
  name: 'picky',
  run: (x: number, ctx) => {
    if (x % 7 === 3 && ctx.args !== 'calm') throw new Error(`no ${x}`)
    return x
  },
})

describe('cancel', () => {
  it('by the peer that did not submit ends the job everywhere, with the reason', async () => {
    const [a, b] = await pair()
    const job = await a.mesh.submit(slow, { range: [0, 100_000] })
    const reading = job.collect()
    reading.catch(() => undefined)
    await until('both work', () => (b.backend.peer.scheduler.job(job.id as JobId)?.mine ?? 0) > 0)
    expect(await b.mesh.cancel(job.id.slice(0, 8), { reason: 'wrong file' })).toEqual([job.id])
    await expect(reading).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_CANCELLED',
      details: { cancelled: { by: b.backend.peer.id, reason: 'wrong file' } },
    })
    for (const rig of [a, b]) {
      await until('no worker is busy', () => atRest(rig))
      expect(await rig.backend.job(job.id)).toMatchObject({
        state: 'cancelled',
        cancelled: { by: b.backend.peer.id, reason: 'wrong file' },
      })
    }
    // What is done stays readable, and a second cancel changes nothing.
    expect(await a.mesh.cancel('all')).toEqual([])
    await stop(a)
    const again = await start({ dataDir: a.dataDir })
    expect(await again.backend.job(job.id)).toMatchObject({
      state: 'cancelled',
      cancelled: { reason: 'wrong file' },
    })
  })

  it('is seen by a peer that was away', async () => {
    const [a, b] = await pair()
    const job = await a.mesh.submit(slow, { range: [0, 100_000] }, { detach: true })
    expect(job.heldBy).toEqual([b.backend.peer.id])
    await stop(b)
    expect(await a.mesh.cancel('all', { reason: 'late' })).toEqual([job.id])
    const back = await start({ dataDir: b.dataDir })
    await until('it hears', async () => (await stateOf(back, job.id)) === 'cancelled')
    await until('it stops', () => atRest(back))
    expect((await back.backend.job(job.id)).cancelled).toMatchObject({ reason: 'late' })
  })

  it('by a peer that starts for it alone is heard by the others before it ends', async () => {
    const [a, b] = await pair()
    const job = await a.mesh.submit(slow, { range: [0, 100_000] })
    await until('b knows', async () => (await b.mesh.jobs()).length === 1)
    await stop(b)
    // As `mesh cancel` does when no peer runs on the folder.
    const command = await start({ dataDir: b.dataDir, cores: 0, embedded: true })
    expect(await command.mesh.cancel(job.id, { reason: 'quick' })).toEqual([job.id])
    await stop(command)
    await until('a hears', async () => (await stateOf(a, job.id)) === 'cancelled')
    expect((await job.info()).cancelled).toMatchObject({ reason: 'quick' })
  })

  it('of a job that names its controllers is refused to others, and so are pause and resume', async () => {
    const [a, b] = await pair()
    const options: SubmitOptions = { controllers: ['me'] }
    const job = await a.mesh.submit(slow, { range: [0, 100_000] }, options)
    const free = await a.mesh.submit(slow, { range: [0, 100_000] })
    await until('b knows both', async () => (await b.mesh.jobs()).length === 2)
    for (const what of [
      () => b.mesh.cancel([free.id, job.id]),
      () => b.mesh.pause(job.id),
      () => b.mesh.resume(job.id),
    ]) {
      await expect(what()).rejects.toMatchObject({
        code: 'ERR_MESH_NOT_CONTROLLER',
        details: { job: job.id, controllers: [a.backend.peer.id] },
      })
    }
    // None of them was cancelled; of all of them it takes those that it may.
    expect(await stateOf(b, free.id)).toBe('running')
    expect(await b.mesh.cancel('all')).toEqual([free.id])
    await until('a hears', async () => (await stateOf(a, free.id)) === 'cancelled')
    expect(await a.mesh.cancel('all')).toEqual([job.id])
  })
})

describe('pause and resume', () => {
  it('nothing of the job starts between them, whoever does it', async () => {
    const [a, b] = await pair()
    const job = await a.mesh.submit(slow, { range: [0, 300] })
    await until('b works', () => doneOf(b, job.id) > 0)
    await b.mesh.pause(job.id)
    await until('a hears', async () => (await stateOf(a, job.id)) === 'paused')
    for (const rig of [a, b]) await until('no worker is busy', () => atRest(rig))
    await until('what was done is told', () => doneOf(a, job.id) === doneOf(b, job.id))
    const before = doneOf(a, job.id)
    expect(before).toBeLessThan(300)
    // Workers are free for other jobs meanwhile.
    await a.mesh.map(slow, [1, 2, 3, 4, 5, 6, 7, 8])
    expect(doneOf(a, job.id)).toBe(before)
    expect(await a.mesh.job(job.id).then((found) => found.info())).toMatchObject({
      state: 'paused',
      etaSeconds: null,
    })
    await a.mesh.resume(job.id)
    expect(await job.collect()).toHaveLength(300)
    await expect(a.mesh.pause(job.id)).rejects.toMatchObject({ code: 'ERR_MESH_JOB_OVER' })
  })

  it('holds over a restart', async () => {
    const a = await start()
    const job = await a.mesh.submit(slow, { range: [0, 50] })
    await a.mesh.pause(job.id)
    await stop(a)
    const again = await start({ dataDir: a.dataDir })
    expect(await stateOf(again, job.id)).toBe('paused')
    await again.mesh.map(square, [1, 2, 3])
    await again.mesh.resume(job.id)
    expect(await (await again.mesh.job(job.id)).collect()).toHaveLength(50)
  })
})

describe('a delayed start', () => {
  it('waits for its time, on all peers', async () => {
    const [a] = await pair()
    const before = performance.now()
    const job = await a.mesh.submit(square, { range: [0, 100] }, { startIn: 1.5 })
    const info = await job.info()
    expect(info).toMatchObject({ state: 'running', done: 0 })
    expect(Date.parse(info.startsAt!) - Date.parse(info.submittedAt)).toBe(1_500)
    expect(await job.collect()).toHaveLength(100)
    expect(performance.now() - before).toBeGreaterThan(1_450)
    expect((await job.info()).startsAt).toBeNull()
  })

  it('a peer whose clock is an hour ahead does not start it early', async () => {
    const hour = 3_600_000
    const ahead = { wallClock: () => Date.now() + hour }
    const [right, wrong] = await pair({ cores: 0 }, ahead)
    await until('the clock is heard', () => wrong.backend.peer.clock.aheadMs() > hour / 2)
    expect((await wrong.backend.status()).clockAheadMs).toBeGreaterThan(hour - 1_000)
    const at = Date.now() + 1_500
    const job = await right.mesh.submit(square, { range: [0, 10] }, { startAt: new Date(at) })
    // The only one with a worker has the wrong clock.
    await job.collect()
    expect(Date.now()).toBeGreaterThanOrEqual(at - 60)
    // What it submits itself is reckoned by the mesh's clock, too.
    const before = performance.now()
    await (await wrong.mesh.submit(square, { range: [0, 10] }, { startIn: 1 })).collect()
    expect(performance.now() - before).toBeGreaterThan(940)
    expect(performance.now() - before).toBeLessThan(15_000)
  })
})

describe('a key', () => {
  it('the same work is the same job, on any peer, running or over; other work is refused', async () => {
    const [a, b] = await pair()
    const key = { key: 'nightly' } as const
    const twice = await Promise.all([
      a.mesh.submit(square, { range: [0, 50] }, key),
      a.mesh.submit(square, { range: [0, 50] }, key),
    ])
    expect(new Set(twice.map(({ id }) => id)).size).toBe(1)
    expect(twice.map(({ attached }) => attached).sort()).toEqual([false, true])
    const [job] = twice as [Job<number>, Job<number>]
    await job.wait()
    const there = await b.mesh.submit(square, { range: [0, 50] }, key)
    expect(there).toMatchObject({ id: job.id, attached: true })
    // A peer that comes later has never heard of it.
    const c = await start({ ticket: await a.backend.ticket() })
    expect(await c.mesh.jobs()).toEqual([])
    const late = await c.mesh.submit(square, { range: [0, 50] }, key)
    expect(late).toMatchObject({ id: job.id, attached: true })
    expect(await late.collect()).toHaveLength(50)
    const d = await start({ ticket: await a.backend.ticket() })
    for (const rig of [a, b, d]) {
      await expect(rig.mesh.submit(square, { range: [0, 51] }, key)).rejects.toMatchObject({
        code: 'ERR_MESH_KEY_REUSED',
        details: { job: job.id, key: 'nightly' },
      })
    }
    const other = await a.mesh.submit(square, { range: [0, 51] }, { key: 'other' })
    expect(other.attached).toBe(false)
  })
})

describe('a rate limit', () => {
  it('holds within a tenth for the whole mesh', async () => {
    const [a, b] = await pair()
    // Workers are started before the clock runs.
    await Promise.all([a.mesh.map(square, [1, 2]), b.mesh.map(square, [1, 2])])
    const rate = 50
    const before = performance.now()
    const job = await a.mesh.submit(square, { range: [0, 200] }, { rateLimit: rate })
    const arrivals: number[] = []
    for await (const _ of job) arrivals.push(performance.now())
    const seconds = (performance.now() - before) / 1000
    expect(arrivals).toHaveLength(200)
    expect(seconds).toBeGreaterThan(0.9 * (200 / rate))
    expect(seconds).toBeLessThan(1.1 * (200 / rate) + 0.5)
  }, 30_000)
})

describe('priority', () => {
  it('while a higher one has items nothing of a lower one starts, whoever submitted it', async () => {
    const [a, b] = await pair()
    const low = await a.mesh.submit(slow, { range: [0, 100_000] }, { priority: 2, chunkSize: 1 })
    await until('both work on it', () => !atRest(a) && !atRest(b) && doneOf(a, low.id) > 0)
    const high = await b.mesh.submit(slow, { range: [0, 200] }, { priority: 8, chunkSize: 1 })
    await until('a has of it', () => doneOf(a, high.id) > 20)
    const before = doneOf(a, low.id)
    await until('most of it is done', () => doneOf(a, high.id) > 150)
    // What was running when it came may still be told.
    expect(doneOf(a, low.id) - before).toBeLessThan(10)
    expect(await high.collect()).toHaveLength(200)
    await until('the lower one goes on', () => doneOf(a, low.id) > before + 20)
  })
})

describe('requires', () => {
  it('runs only where the label is, and says what is missing', async () => {
    const [a, b] = await pair({}, { labels: { zone: 'eu' } })
    await until('a knows', async () => (await a.mesh.peers()).some((p) => p.labels.zone === 'eu'))
    const here = await a.mesh.submit(
      slow,
      { range: [0, 100] },
      {
        requires: { labels: { zone: 'eu' } },
      },
    )
    await here.collect()
    expect((await here.info()).peers).toMatchObject([{ id: b.backend.peer.id, done: 100 }])
    const nowhere = await a.mesh.submit(
      square,
      { range: [0, 100] },
      {
        requires: { cores: 1, labels: { zone: 'mars' } },
      },
    )
    expect(await nowhere.info()).toMatchObject({
      state: 'running',
      done: 0,
      waitsFor: 'a peer with label zone=mars',
    })
    const c = await start({ ticket: await a.backend.ticket(), labels: { zone: 'mars' } })
    await nowhere.collect()
    expect((await nowhere.info()).peers).toMatchObject([{ id: c.backend.peer.id, done: 100 }])
  })

  it('options that are too much together are refused in words', async () => {
    const a = await start()
    const controllers = Array.from({ length: 32 }, (_, i) => i.toString(16).padStart(64, '0'))
    const labels = Object.fromEntries(
      Array.from({ length: 16 }, (_, i) => [`${i}`.padEnd(60, 'x'), 'y'.repeat(60)]),
    )
    const options = { args: 'x'.repeat(4_000), controllers, requires: { labels } }
    await expect(a.mesh.submit(square, { range: [0, 1] }, options)).rejects.toMatchObject({
      code: 'ERR_MESH_TOO_LARGE',
      message: expect.stringMatching(/does not fit into one log entry .* fewer args, labels/),
    })
    expect(await a.mesh.jobs()).toEqual([])
  })

  it('labels are checked', async () => {
    for (const labels of [{ left: '1' }, { '': 'x' }, { zone: 'x'.repeat(65) }, { zone: 1 }]) {
      await expect(start({ labels: labels as never })).rejects.toMatchObject({
        code: 'ERR_MESH_OPTION_INVALID',
        details: { option: 'labels' },
      })
    }
  })
})

describe('what ends items and jobs', () => {
  it('retries wait as the backoff says, and an item that comes right in time is no failure', async () => {
    const a = await start()
    const late = defineTask({
      name: 'late',
      run: (x: number, ctx) => {
        if (x === 3 && ctx.attempt < ctx.args) throw new Error('not yet')
        return x
      },
    })
    const backoff = { delay: 0.2, factor: 2, jitter: 0 }
    const before = performance.now()
    const job = await a.mesh.submit(late, { range: [0, 8] }, { args: 4, retries: 3, backoff })
    expect(await job.collect()).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    // 0.2, 0.4 and 0.8 s.
    expect(performance.now() - before).toBeGreaterThanOrEqual(1_395)
    const lost = await a.mesh.submit(
      late,
      { range: [0, 5] },
      { args: 9, retries: 1, backoff: 0.01 },
    )
    expect(await lost.failures()).toMatchObject([{ index: 3, attempts: 2, message: 'not yet' }])
  })

  it('a soft time limit aborts the signal, a hard one kills', async () => {
    const a = await start()
    const patient = defineTask({
      name: 'patient',
      run: (deaf: boolean, ctx) =>
        new Promise((resolve) => {
          const timer = setTimeout(() => resolve('never'), 60_000)
          if (deaf) return
          ctx.signal.addEventListener('abort', () => {
            clearTimeout(timer)
            resolve('asked to end')
          })
        }),
    })
    const options = { softTimeLimit: 0.1, timeLimit: 1 }
    const job = await a.mesh.submit(patient, { items: [false, true] }, options)
    const results = []
    for await (const { index, value, error } of job.results({ order: 'item', failures: 'yield' })) {
      results.push([index, value ?? error?.code])
    }
    expect(results).toEqual([
      [0, 'asked to end'],
      [1, 'ERR_MESH_TIME_LIMIT'],
    ])
  })

  it('too many failures, and too long a time, cancel a job, and say so', async () => {
    const [a, b] = await pair()
    const failing = await a.mesh.submit(picky, { range: [0, 7_000] }, { maxFailures: '1%' })
    const stopped = await failing.wait()
    expect(stopped.state).toBe('cancelled')
    expect(stopped.cancelled?.reason).toMatch(/fail/)
    const long = await a.mesh.submit(slow, { range: [0, 100_000] }, { jobTimeLimit: 0.5 })
    const ended = await long.wait()
    expect(ended).toMatchObject({ state: 'cancelled' })
    expect(ended.cancelled?.reason).toMatch(/time|longer/)
    await until('b hears', async () => (await stateOf(b, long.id)) === 'cancelled')
    // Below the limit nothing happens.
    const fine = await a.mesh.submit(picky, { range: [0, 70] }, { maxFailures: 10 })
    expect(await fine.wait()).toMatchObject({ state: 'finished', failed: 10 })
  })
})

describe('retry', () => {
  it('runs what failed again, also from another peer', async () => {
    const [a, b] = await pair()
    const items = Array.from({ length: 3_000 }, (_, i) => i)
    const job = await a.mesh.submit(picky, { items })
    await job.wait()
    await until('b knows', async () => (await stateOf(b, job.id)) === 'finished')
    const again = await b.mesh.retry<number>(job.id, { args: 'calm' })
    const failed = items.filter((x) => x % 7 === 3)
    expect(again?.retried).toEqual(failed)
    expect(await again!.collect()).toEqual(failed)
    expect(await again!.retry()).toBeUndefined()
  })
})

describe('results that expire', () => {
  it('go after the time that the job says, and its key with them', async () => {
    const a = await start()
    const options: SubmitOptions = { expires: 1, key: 'once' }
    const job = await a.mesh.submit(square, { range: [0, 10] }, options)
    const { finishedAt, expiresAt } = await job.wait()
    expect(Date.parse(expiresAt!) - Date.parse(finishedAt!)).toBeLessThanOrEqual(1_050)
    await until('it is collected', async () => (await a.mesh.jobs()).length === 0)
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(finishedAt!) + 950)
    const collected = { code: 'ERR_MESH_JOB_COLLECTED' }
    await expect(a.mesh.job(job.id)).rejects.toMatchObject(collected)
    await expect(a.mesh.submit(square, { range: [0, 10] }, options)).rejects.toMatchObject(
      collected,
    )
  })
})

describe('over the control socket', () => {
  it('a composition, its parts, and control over it', async () => {
    const a = await start()
    const mesh = await connectMesh({ dataDir: a.dataDir })
    const add = defineTask({ name: 'add', run: ([x, y]: [number, number]) => x + y })
    const job = await mesh.submit(
      chord(
        group([add.s(1, 2), add.s(3, 4)]),
        signature((values: number[]) => values),
      ),
      { key: 'composed' },
    )
    expect(await job.collect()).toEqual([3, 7])
    const info = await job.info()
    expect(info).toMatchObject({ state: 'finished', task: { kind: 'graph' } })
    expect(info.nodes?.reduce((sum, { done }) => sum + done, 0)).toBe(3)
    await expect(job.retry()).rejects.toMatchObject({ code: 'ERR_MESH_UNSUPPORTED' })
    const failed = await mesh.submit(picky, { items: [1, 3] })
    await failed.wait()
    expect((await failed.retry({ args: 'calm' }))?.retried).toEqual([1])
    const long = await mesh.submit(slow, { range: [0, 100_000] })
    expect(await mesh.cancel('all', { reason: 'over' })).toContain(long.id)
    await mesh.stop()
  })
})
