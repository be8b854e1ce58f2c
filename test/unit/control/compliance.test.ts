import { describe, expect, it } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import type { ResultSpan } from '../../../src/node/types.ts'
import { decodeSegments } from '../../../src/runtime/segment.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'
import { submitSource, UNKNOWN_JOB } from '../../helpers/fake-backend.ts'
import { controlRig, directRig, PATIENCE } from './rig.ts'

const SQUARES = 'export default (x) => x * x'

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = []
  for await (const element of source) out.push(element)
  return out
}

const plain = (spans: ResultSpan[]) =>
  spans.map((span) => ({ ...span, bytes: Buffer.from(span.bytes).toString('hex') }))

describe.each([
  ['in this process', directRig],
  ['over the control socket', controlRig],
])('a backend %s', (_, createRig) => {
  it('tells of itself as the peer does', async () => {
    await using rig = await createRig()
    expect(await rig.backend.status()).toEqual(await rig.fake.status())
    expect(await rig.backend.peers()).toEqual(await rig.fake.peers())
    expect(await rig.backend.ticket()).toBe('mesh1fake')
    expect(await rig.backend.jobs()).toEqual([])
  })

  it('forgets a job that is over, and refuses one that runs', async () => {
    await using rig = await createRig({ held: true })
    const { job } = await submitSource(rig.backend, SQUARES, 10)
    await expect(rig.backend.forget(job)).rejects.toMatchObject({ code: 'ERR_MESH_JOB_RUNNING' })
    rig.fake.release()
    await all(rig.backend.results(job, { order: 'item', wait: true }))
    expect(await rig.backend.forget(job.slice(0, 8))).toBe(job)
    expect(await rig.backend.jobs()).toEqual([])
  })

  it('cancels jobs by id and all of them, with a reason', async () => {
    await using rig = await createRig({ held: true })
    const jobs: string[] = []
    for (let i = 0; i < 3; i += 1) jobs.push((await submitSource(rig.backend, SQUARES, 10)).job)
    expect(await rig.backend.cancel([jobs[0]!.slice(0, 12)], 'wrong file')).toEqual([jobs[0]])
    expect(await rig.backend.job(jobs[0]!)).toMatchObject({
      state: 'cancelled',
      cancelled: { name: 'fäke', reason: 'wrong file' },
    })
    expect(await rig.backend.cancel([jobs[0]!], 'again')).toEqual([])
    expect(await rig.backend.cancel('all', '')).toEqual(jobs.slice(1))
    await expect(rig.backend.cancel([UNKNOWN_JOB], '')).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_UNKNOWN',
    })
  })

  it('pauses and resumes a job, and refuses one that is over', async () => {
    await using rig = await createRig()
    const { job } = await submitSource(rig.backend, SQUARES, 1_000)
    expect(await rig.backend.pause(job.slice(0, 12))).toBe(job)
    expect(await rig.backend.job(job)).toMatchObject({ state: 'paused' })
    expect(await rig.backend.resume(job)).toBe(job)
    await all(rig.backend.results(job, { order: 'item', wait: true }))
    for (const what of ['pause', 'resume'] as const) {
      await expect(rig.backend[what](job)).rejects.toMatchObject({ code: 'ERR_MESH_JOB_OVER' })
    }
  })

  it('reads blobs back, whole', async () => {
    await using rig = await createRig()
    for (const size of [0, 1, 3_000_000]) {
      const bytes = Buffer.alloc(size, size)
      const { hash } = await rig.backend.putBlob(bytes)
      expect(bytes.equals(await rig.backend.readBlob(hash))).toBe(true)
    }
    await expect(rig.backend.readBlob(UNKNOWN_JOB as never)).rejects.toMatchObject({
      code: 'ERR_MESH_INPUT_LOST',
    })
  })

  it('hands the options of a job on as they are', async () => {
    await using rig = await createRig()
    const options = {
      retries: 2,
      backoff: { delayMs: 500, factorPercent: 150, maxMs: 9_000, jitterPercent: 20 },
      softTimeLimitMs: 5,
      jobTimeLimitMs: 6,
      priority: 0,
      ratePer1000s: 1,
      maxFailuresPpm: 50_000,
      startAt: 1_900_000_000_000,
      resultTtlMs: 0,
      requires: { cores: 1, memoryBytes: 5, gpu: true, labels: { zone: 'eu', fast: '' } },
      controllers: ['ab'.repeat(32) as PeerId],
      key: 'Schlüssel',
    }
    await submitSource(rig.backend, SQUARES, 1, options)
    expect(rig.fake.requests[0]!.options).toEqual(options)
  })

  it('stores blobs of any size, none included', async () => {
    await using rig = await createRig()
    const sizes = [0, 1, 100_000, 3_000_000]
    const puts = await Promise.all(
      sizes.map((size) => rig.backend.putBlob(Buffer.alloc(size, size))),
    )
    expect(puts.map((put) => put.sizeBytes)).toEqual(sizes)
    puts.forEach((put, i) => {
      expect(Buffer.alloc(sizes[i]!, sizes[i]).equals(rig.fake.blobs.get(put.hash)!)).toBe(true)
    })
  })

  it('submits a job and streams its results in item order', async () => {
    await using rig = await createRig({ arrival: 'backward', held: true })
    const { job, heldBy } = await submitSource(rig.backend, SQUARES, 950)
    expect(heldBy).toEqual([])
    expect(await rig.backend.job(job.slice(0, 6))).toEqual(await rig.fake.job(job))
    const reading = all(rig.backend.results(job, { order: 'item', wait: true }))
    rig.fake.release()
    const spans = await reading
    expect(spans.map((span) => [span.lo, span.hi])).toEqual(
      Array.from({ length: 10 }, (_, i) => [i * 100, Math.min(950, i * 100 + 100)]),
    )
    const values = spans.flatMap((span) => [...decodeSegments(span.bytes, span.originLo)])
    expect(values.flatMap((segment) => segment.values)).toEqual(
      Array.from({ length: 950 }, (_, i) => i * i),
    )
    const again = await all(rig.backend.results(job, { order: 'item', wait: true }))
    expect(plain(again)).toEqual(plain(spans))
  })

  it('streams results as they come, and ends with what is there when asked not to wait', async () => {
    await using rig = await createRig({ arrival: 'backward', held: true })
    const { job } = await submitSource(rig.backend, SQUARES, 300)
    expect(await all(rig.backend.results(job, { order: 'arrival', wait: false }))).toEqual([])
    const reading = all(rig.backend.results(job, { order: 'arrival', wait: true }))
    rig.fake.release()
    expect((await reading).map((span) => span.lo)).toEqual([200, 100, 0])
  })

  it('watches a job to its end', async () => {
    await using rig = await createRig({ held: true })
    const { job } = await submitSource(rig.backend, SQUARES, 300)
    const watch = rig.backend.watch(job)[Symbol.asyncIterator]()
    expect((await watch.next()).value).toMatchObject({ id: job, state: 'running', done: 0 })
    rig.fake.release()
    let last: unknown
    for (;;) {
      const next = await watch.next()
      if (next.done === true) break
      last = next.value
    }
    expect(last).toMatchObject({ state: 'finished', done: 300 })
  })

  it('streams log lines', async () => {
    await using rig = await createRig({ held: true })
    const source = 'export default (x, ctx) => { ctx.log("at", x) }'
    const { job } = await submitSource(rig.backend, source, 3)
    expect(await all(rig.backend.logs(job, { follow: false }))).toEqual([])
    const following = all(rig.backend.logs(job, { follow: true }))
    rig.fake.release()
    expect(await following).toMatchObject([0, 1, 2].map((i) => ({ item: i, text: `at ${i}`, job })))
  })

  it('ends every stream quietly when its signal aborts, and stops serving it', async () => {
    await using rig = await createRig({ held: true })
    const { job } = await submitSource(rig.backend, SQUARES, 10)
    const abort = new AbortController()
    const { signal } = abort
    const infos = rig.backend.watch(job, signal)[Symbol.asyncIterator]()
    await infos.next()
    const reads = [
      infos.next(),
      rig.backend
        .results(job, { order: 'item', wait: true, signal })
        [Symbol.asyncIterator]()
        .next(),
      rig.backend.logs(job, { follow: true, signal })[Symbol.asyncIterator]().next(),
    ]
    abort.abort()
    for (const read of reads) expect(await read).toEqual({ done: true, value: undefined })
    await expect.poll(() => rig.fake.readers, PATIENCE).toBe(0)
    expect(await all(rig.backend.watch(job, signal))).toEqual([])
  })

  it('stops serving a reader that leaves', async () => {
    await using rig = await createRig({ held: true })
    const { job } = await submitSource(rig.backend, SQUARES, 10)
    for await (const info of rig.backend.watch(job)) {
      expect(info.state).toBe('running')
      break
    }
    await expect.poll(() => rig.fake.readers, PATIENCE).toBe(0)
  })

  it('keeps code, message and details of errors', async () => {
    await using rig = await createRig()
    for (let i = 0; i < 17; i++) await submitSource(rig.backend, SQUARES, i)
    await expect(rig.backend.job(UNKNOWN_JOB)).rejects.toMatchObject({
      name: 'MeshError',
      code: 'ERR_MESH_JOB_UNKNOWN',
      message: `no job "${UNKNOWN_JOB}" is known here`,
    })
    // Of 17 hexadecimal ids two start alike.
    const ids = (await rig.backend.jobs()).map((job) => job.id[0]!)
    const twice = ids.find((first, i) => ids.indexOf(first) !== i)!
    await expect(rig.backend.job(twice)).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_AMBIGUOUS',
      details: { matches: expect.arrayContaining([expect.stringMatching(/^[0-9a-f]{64}$/)]) },
    })
    await expect(all(rig.backend.watch(UNKNOWN_JOB))).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_UNKNOWN',
    })
    const options = { order: 'item', wait: true } as const
    await expect(all(rig.backend.results(UNKNOWN_JOB, options))).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_UNKNOWN',
    })
    rig.fake.refuse = new MeshError('ERR_MESH_DISK_FULL', 'full', {
      details: { path: '/x', n: 1n },
    })
    await expect(rig.backend.status()).rejects.toMatchObject({
      code: 'ERR_MESH_DISK_FULL',
      details: { path: '/x' },
    })
  })

  it('says who holds a detached job', async () => {
    await using rig = await createRig()
    const { hash } = await rig.backend.putBlob(Buffer.from(SQUARES))
    const reply = await rig.backend.submit({
      task: { kind: 'module', name: 'täsk', bundle: hash, bundleBytes: SQUARES.length },
      input: { kind: 'range', start: -5, count: 2 },
      options: { args: '01', retries: 0, chunkSize: 3 },
      detach: true,
    })
    expect(reply.heldBy).toEqual(['cd'.repeat(32)])
    expect(rig.fake.requests).toEqual([
      {
        task: { kind: 'module', name: 'täsk', bundle: hash, bundleBytes: SQUARES.length },
        input: { kind: 'range', start: -5, count: 2 },
        options: { args: '01', retries: 0, chunkSize: 3 },
        detach: true,
      },
    ])
  })

  it('stops the peer on leave', async () => {
    await using rig = await createRig()
    await rig.backend.leave()
    expect(rig.fake.leaves).toBe(1)
    expect(rig.fake.closed).toBe(true)
  })
})
