import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { chord, map } from '../../src/index.ts'
import { defineTask } from '../../src/runtime/task.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import { connected, doneOf, type Rig, until, useRigs } from '../helpers/rigs.ts'

const QUICK = {
  copyDelayMs: 100,
  copyRankMs: 300,
  joinDelayMs: 200,
  lostAfterMs: 1_500,
  lostRankMs: 200,
  custodyAfterMs: 100,
  custodyEveryMs: 200,
  inputLostAfterMs: 1_500,
  inputLostAloneMs: 3_000,
}

const { start, kill } = useRigs({ upkeep: { times: QUICK } })

/** Values too large to ride in the log. */
const bulky = defineTask({
  name: 'bulky',
  run: (x: number) => `${x}:`.padEnd(2_000, 'x'),
})
const slowTask = defineTask({
  name: 'slow',
  run: async (x: number) => {
    await new Promise((resolve) => setTimeout(resolve, 5))
    return `${x}:`.padEnd(2_000, 'x')
  },
})
const values = (n: number) => Array.from({ length: n }, (_, x) => `${x}:`.padEnd(2_000, 'x'))

async function blobsOf(rig: Rig): Promise<number> {
  const names = await readdir(join(rig.dataDir, 'blobs'), { recursive: true })
  return names.filter((name) => /[0-9a-f]{64}$/.test(name)).length
}

describe('results on two peers', () => {
  it('each DONE names two keepers, and either of them alone gives everything', async () => {
    const one = await start({ name: 'one' })
    const two = await start({ name: 'two', ticket: await one.mesh.ticket() })
    await connected(two, 1)
    const job = await two.mesh.submit(bulky, { range: [0, 200] })
    expect(await job.collect()).toEqual(values(200))
    const spans = [...two.backend.peer.scheduler.doneSpans(job.id as JobId)]
    for (const { result } of spans) {
      if (result.kind !== 'blob') continue
      expect(new Set(result.keepers).size).toBe(2)
    }
    expect(spans.some(({ result }) => result.kind === 'blob')).toBe(true)
    await until('one knows the end', async () => (await one.mesh.jobs())[0]?.state === 'finished')
    await kill(two)
    await rm(two.dataDir, { recursive: true, force: true })
    expect(await (await one.mesh.job(job.id)).collect()).toEqual(values(200))
  })

  it('a new copy is placed when a keeper dies', async () => {
    const one = await start({ name: 'one' })
    const ticket = await one.mesh.ticket()
    const two = await start({ name: 'two', ticket })
    await connected(two, 1)
    const job = await two.mesh.submit(bulky, { range: [0, 200] })
    await job.collect()
    await until('one knows the end', async () => (await one.mesh.jobs())[0]?.state === 'finished')
    const three = await start({ name: 'three', ticket })
    await connected(three, 2)
    await kill(two)
    await until('three has all of it', async () => {
      const found = await three.mesh.jobs()
      const copies = found.length === 1 ? (await one.backend.job(job.id)).copies : null
      return copies !== null && copies.results > 0 && copies.tooFew === 0
    })
    await kill(one)
    expect(await (await three.mesh.job(job.id)).collect()).toEqual(values(200))
  })

  it('a peer that leaves hands on what only it has', async () => {
    const one = await start({ name: 'one' })
    const job = await one.mesh.submit(bulky, { range: [0, 200] })
    await job.collect()
    const two = await start({
      name: 'two',
      ticket: await one.mesh.ticket(),
      cores: 1,
      upkeep: { times: { ...QUICK, joinDelayMs: 60_000 } },
    })
    await connected(two, 1)
    const told: number[] = []
    one.backend.onHandOn(({ bytesLeft }) => told.push(bytesLeft))
    await one.backend.close()
    await rm(one.dataDir, { recursive: true, force: true })
    expect(await (await two.mesh.job(job.id)).collect()).toEqual(values(200))
    expect(told.length === 0 || told.at(-1) === 0).toBe(true)
  })
})

describe('an author that goes for good', () => {
  it('a detached job is finished by others, and any member collects it by its id or its beginning', async () => {
    const one = await start({ name: 'one' })
    const ticket = await one.mesh.ticket()
    const two = await start({ name: 'two', ticket })
    const author = await start({ name: 'author', ticket, cores: 0 })
    await connected(author, 2)
    const items = Array.from({ length: 400 }, (_, i) => i)
    const job = await author.mesh.submit(slowTask, { items }, { detach: true })
    expect(job.heldBy).toHaveLength(2)
    await kill(author)
    await rm(author.dataDir, { recursive: true, force: true })
    await until('it ends', async () => (await one.mesh.jobs())[0]?.state === 'finished')
    await until('two knows', async () => (await two.mesh.jobs())[0]?.state === 'finished')
    const third = await start({ name: 'third', ticket, cores: 0 })
    await connected(third, 2)
    const found = await third.mesh.job(job.id.slice(0, 10))
    expect(found.id).toBe(job.id)
    expect(await found.collect()).toEqual(values(400))
    await expect(third.mesh.job('0123abcd')).rejects.toMatchObject({ code: 'ERR_MESH_JOB_UNKNOWN' })
  })

  it('a composition goes on when its submitter is gone for good, with the code of what comes later', async () => {
    const one = await start({ name: 'one' })
    await start({ name: 'two', ticket: await one.mesh.ticket() })
    const three = await start({ name: 'three', ticket: await one.mesh.ticket(), cores: 0 })
    await connected(three, 2)
    const texts = map(slowTask, { range: [0, 200] })
    const all = chord(texts, (them: string[]) => them.reduce((sum, { length }) => sum + length, 0))
    const job = await three.mesh.submit(all)
    await until('it runs', () => doneOf(one, job.id) > 10)
    await kill(three)
    await rm(three.dataDir, { recursive: true, force: true })
    expect(await (await one.mesh.job<unknown, number>(job.id)).collect()).toBe(400_000)
  })

  it('items whose input nobody has fail, with ERR_MESH_INPUT_LOST', async () => {
    const one = await start({
      name: 'one',
      cores: 1,
      upkeep: { times: { ...QUICK, custodyAfterMs: 1e6 } },
    })
    const ticket = await one.mesh.ticket()
    const author = await start({ name: 'author', ticket, cores: 0 })
    const two = await start({ name: 'two', ticket, cores: 0 })
    await connected(one, 2)
    await connected(author, 2)
    // Nobody gets a piece: the author's word of the job goes out, its blobs do not.
    one.backend.peer.exchange.mayTake = () => false
    author.backend.peer.store.blobs.size = async () => undefined
    const items = Array.from({ length: 20 }, (_, i) => `${i}`.padEnd(500, '.'))
    const job = await author.mesh.submit((s: string) => s.length, { items })
    await until('one has it', async () => (await one.mesh.jobs()).length === 1)
    await kill(author)
    const ended = await one.mesh.job(job.id)
    const failures = await ended.failures()
    expect(failures).toHaveLength(20)
    expect(failures[0]).toMatchObject({ index: 0, code: 'ERR_MESH_INPUT_LOST' })
    await two.backend.close()
  })
})

/** Items from 100 on wait until the file that the args name is there. */
const GATED = `import { existsSync } from 'node:fs'
import { defineTask } from 'meshwork'
export default defineTask({
  name: 'gated',
  run: async (x: number, ctx) => {
    while (x >= 100 && !existsSync(ctx.args as string)) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    return \`\${x}:\`.padEnd(2_000, 'x')
  },
})
`

describe('results that nobody has any more', () => {
  it('of a running job run again by themselves', async () => {
    const one = await start({ name: 'one', cores: 1 })
    const ticket = await one.mesh.ticket()
    const author = await start({ name: 'author', ticket, cores: 0 })
    await connected(author, 1)
    const gate = join(author.dataDir, 'gate')
    const options = { args: gate, chunkSize: 20 }
    const gated = join(author.dataDir, 'gated.ts')
    await writeFile(gated, GATED)
    const job = await author.mesh.submit(gated, { range: [0, 120] }, options)
    await until('the first hundred', async () => (await job.info()).done >= 100)
    for (const { backend } of [one, author]) {
      const { scheduler, exchange } = backend.peer
      for (const { result } of scheduler.doneSpans(job.id as JobId)) {
        if (result.kind === 'blob') await exchange.drop(result.hash)
      }
    }
    await until('they run again', async () => {
      await one.backend.peer.upkeep.keepers.look()
      return (await job.info()).done < 100
    })
    await writeFile(gate, '')
    expect(await job.collect()).toEqual(values(120))
  })

  it('of a finished job: told whose they are, run again when asked', async () => {
    const one = await start({ name: 'one' })
    const job = await one.mesh.submit(bulky, { range: [0, 100] })
    await job.collect()
    const { scheduler, exchange } = one.backend.peer
    for (const { result } of scheduler.doneSpans(job.id as JobId)) {
      if (result.kind === 'blob') await exchange.drop(result.hash)
    }
    const read = async (recompute: boolean) => {
      const out: unknown[] = []
      for await (const batch of job.batches({ order: 'item', wait: recompute, recompute })) {
        out.push(...batch.values)
      }
      return out
    }
    await expect(read(false)).rejects.toMatchObject({ code: 'ERR_MESH_RESULT_LOST' })
    expect(await read(true)).toEqual(values(100))
    expect(await job.info()).toMatchObject({ state: 'finished', done: 100 })
  })
})

describe('forgetting', () => {
  it('a forgotten job is gone, with its blobs in time, and cannot come back', async () => {
    const one = await start({ name: 'one' })
    const two = await start({ name: 'two', ticket: await one.mesh.ticket() })
    await connected(two, 1)
    const job = await two.mesh.submit(bulky, { range: [0, 200] })
    await job.collect()
    await until('one knows the end', async () => (await one.mesh.jobs())[0]?.state === 'finished')
    expect(await blobsOf(one)).toBeGreaterThan(0)
    expect(await one.mesh.forget(job.id.slice(0, 8))).toBe(job.id)
    expect(await one.mesh.jobs()).toEqual([])
    await expect(one.mesh.job(job.id)).rejects.toMatchObject({ code: 'ERR_MESH_JOB_COLLECTED' })
    // The other peer still has it, and offers all of it.
    await two.backend.peer.replication.sendJob(one.backend.peer.id, job.id as JobId)
    await two.backend.peer.replication.settled()
    expect(await one.mesh.jobs()).toEqual([])
    expect(await (await two.mesh.job(job.id)).collect()).toEqual(values(200))
  })
})

describe('a disk that fills', () => {
  it('stops taking work, says so, and goes on when there is room; nothing is lost', async () => {
    const disk = { freeBytes: 1e10, totalBytes: 1e11 }
    const one = await start({
      name: 'one',
      upkeep: { times: { ...QUICK, diskEveryMs: 20 }, space: async () => ({ ...disk }) },
    })
    const two = await start({ name: 'two', ticket: await one.mesh.ticket() })
    await connected(two, 1)
    const first = await two.mesh.submit(bulky, { range: [0, 100] })
    expect(await first.collect()).toEqual(values(100))
    disk.freeBytes = 1e6
    await until('two sees it', async () =>
      (await two.mesh.peers()).some((peer) => peer.name === 'one' && peer.diskFull),
    )
    const status = await one.mesh.status()
    expect(status.disk).toMatchObject({ short: true, freeBytes: 1e6 })
    expect(status.warnings.join()).toMatch(/disk is nearly full/)
    await expect(one.mesh.submit(bulky, { range: [0, 1] })).rejects.toMatchObject({
      code: 'ERR_MESH_DISK_FULL',
    })
    const second = await two.mesh.submit(bulky, { range: [0, 300] })
    expect(await second.collect()).toEqual(values(300))
    const info = await second.info()
    expect(info.peers.map(({ name }) => name)).toEqual(['two'])
    expect(await (await one.mesh.job(first.id)).collect()).toEqual(values(100))
    disk.freeBytes = 1e10
    await until('it lends again', async () =>
      (await two.mesh.peers()).some(({ name, slots }) => name === 'one' && slots === 1),
    )
    const third = await two.mesh.submit(slowTask, { range: [0, 300] })
    expect(await third.collect()).toEqual(values(300))
    expect((await third.info()).peers.map(({ name }) => name).sort()).toEqual(['one', 'two'])
  })
})

describe('retention', () => {
  it('collects by age and size while the peer runs; a stale peer brings nothing back', async () => {
    const times = { ...QUICK, retentionEveryMs: 50, sweepEveryMs: 100, sweepAgeMs: 0 }
    const one = await start({ name: 'one', keep: { days: 1e-5 }, upkeep: { times } })
    const ticket = await one.mesh.ticket()
    const two = await start({ name: 'two', ticket })
    await connected(two, 1)
    const job = await two.mesh.submit(bulky, { range: [0, 200] })
    await job.collect()
    await until('one collected it', async () => (await one.mesh.jobs()).length === 0)
    await until('and its blobs', async () => (await blobsOf(one)) === 0)
    await two.backend.close()
    const again = await start({ name: 'two', dataDir: two.dataDir, ticket })
    await connected(again, 1)
    const next = await again.mesh.submit(bulky, { range: [0, 20] })
    await next.collect()
    expect((await one.mesh.jobs()).map(({ id }) => id)).not.toContain(job.id)
    await expect(one.mesh.job(job.id)).rejects.toMatchObject({
      code: 'ERR_MESH_JOB_COLLECTED',
      details: { collectedAt: expect.any(String) },
    })
    expect(await (await again.mesh.job(job.id)).collect()).toEqual(values(200))
  })
})
