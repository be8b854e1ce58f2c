import { describe, expect, it } from 'vitest'
import { Mesh } from '../../../src/client/mesh.ts'
import { defineTask } from '../../../src/runtime/task.ts'
import { FakeBackend } from '../../helpers/fake-backend.ts'

/** Fails for numbers that 3 divides, unless the args say otherwise. */
const picky = defineTask({
  name: 'picky',
  run: (x: number, ctx) => {
    if (x % 3 === 0 && ctx.args !== 'calm') throw new Error(`no ${x}`)
    return x
  },
})

async function open(options: ConstructorParameters<typeof FakeBackend>[0] = {}) {
  const fake = new FakeBackend(options)
  return { fake, mesh: new Mesh(fake) }
}

describe('a retry', () => {
  it('is a new job over what failed, and says which items they were', async () => {
    const { fake, mesh } = await open({ arrival: 'backward', spanItems: 4 })
    const job = await mesh.submit(picky, { range: [10, 20] }, { retries: 1, chunkSize: 5 })
    await job.wait()
    const again = await job.retry({ args: 'calm', chunkSize: 1 })
    expect(again?.retried).toEqual([2, 5, 8])
    expect(await again!.collect()).toEqual([12, 15, 18])
    const [old, made] = fake.requests
    expect(made!.task).toEqual(old!.task)
    expect(made!.options).toMatchObject({ retries: 1, chunkSize: 1 })
    await mesh.stop()
  })

  it('reads the values of the items from where the old job has them', async () => {
    const { fake, mesh } = await open()
    const small = await mesh.submit(picky, { items: [1, 3, 5, 6] })
    await small.wait()
    const large = await mesh.submit(picky, { items: Array.from({ length: 200_000 }, (_, i) => i) })
    await large.wait()
    expect(fake.requests.map(({ input }) => input.kind)).toEqual(['inline', 'pieces'])
    expect(await (await small.retry({ args: 'calm' }))!.collect()).toEqual([3, 6])
    const values = await (await large.retry({ args: 'calm' }))!.collect()
    expect(values).toEqual(Array.from({ length: 66_667 }, (_, i) => i * 3))
    await mesh.stop()
  })

  it('over items that lie together in a range is a range', async () => {
    const { fake, mesh } = await open()
    const job = await mesh.submit(picky, { range: [-3, -1] })
    await job.wait()
    await (await mesh.retry(job.id))!.wait()
    expect(fake.requests[1]!.input).toEqual({ kind: 'range', start: -3, count: 1 })
    await mesh.stop()
  })

  it('leaves key, delay and start behind, and takes one form of the limit of failures', async () => {
    const { fake, mesh } = await open()
    const options = { key: 'k', startIn: 0, maxFailures: 5, priority: 7 } as const
    const job = await mesh.submit(picky, { range: [0, 10] }, options)
    await job.wait()
    await job.retry({ maxFailures: '50%' })
    expect(fake.requests[1]!.options).toEqual({ maxFailuresPpm: 500_000, priority: 7 })
    await job.retry({ maxFailures: 1, key: 'other', controllers: ['me'] })
    expect(fake.requests[2]!.options).toEqual({
      maxFailures: 1,
      priority: 7,
      key: 'other',
      controllers: ['ab'.repeat(32)],
    })
    await mesh.stop()
  })

  it('of a cancelled job takes what has no result, too', async () => {
    const { mesh } = await open({ held: true })
    const job = await mesh.submit(picky, { range: [0, 4] })
    expect(await job.cancel('enough')).toBe(true)
    expect(await job.cancel()).toBe(false)
    await expect(job.collect()).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_CANCELLED',
      message: 'the job was cancelled by fäke (enough): 4 of 4 items have no result',
      details: { cancelled: { reason: 'enough' } },
    })
    expect((await job.retry())?.retried).toEqual([0, 1, 2, 3])
    await mesh.stop()
  })

  it('is none when nothing failed, and waits for nothing that runs', async () => {
    const { fake, mesh } = await open({ held: true })
    const job = await mesh.submit(picky, { items: [1, 2] })
    await expect(job.retry()).rejects.toMatchObject({ code: 'ERR_MESH_JOB_RUNNING' })
    await job.pause()
    await expect(mesh.retry(job.id)).rejects.toMatchObject({ code: 'ERR_MESH_JOB_RUNNING' })
    await mesh.resume(job.id)
    fake.release()
    await job.wait()
    expect(await job.retry()).toBeUndefined()
    await expect(job.retry({ retries: -1 })).rejects.toMatchObject({
      code: 'ERR_MESH_OPTION_INVALID',
    })
    expect(fake.requests).toHaveLength(1)
    await mesh.stop()
  })

  it('of a kernel or a composition is refused', async () => {
    const { fake, mesh } = await open()
    const job = await mesh.submit(picky, { range: [0, 3] })
    await job.wait()
    for (const kind of ['graph', 'kernel'] as const) {
      Object.assign(fake.requests[0]!.task, { kind })
      await expect(job.retry()).rejects.toMatchObject({
        code: 'ERR_MESH_UNSUPPORTED',
        message: expect.stringMatching(kind === 'graph' ? /composition/ : /kernel/),
      })
    }
    await mesh.stop()
  })
})

describe('control over jobs', () => {
  it('cancel takes one id, several, or all', async () => {
    const { mesh } = await open({ held: true })
    const jobs = []
    for (let i = 0; i < 4; i += 1) jobs.push(await mesh.submit(picky, { range: [0, 3] }))
    const [a, b, c, d] = jobs.map(({ id }) => id)
    expect(await mesh.cancel(a!, { reason: 'x' })).toEqual([a])
    expect(await mesh.cancel([a!, b!])).toEqual([b])
    expect(await mesh.cancel('all')).toEqual([c, d])
    await mesh.stop()
    await expect(mesh.cancel('all')).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await expect(mesh.pause(a!)).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await expect(mesh.resume(a!)).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
  })
})
