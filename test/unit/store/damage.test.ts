import { existsSync } from 'node:fs'
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { JobId } from '../../../src/scheduler/types.ts'
import { MAX_DAMAGED_COPIES } from '../../../src/store/limits.ts'
import type { Store } from '../../../src/store/types.ts'
import {
  authored,
  cut,
  ENTRIES,
  endedJob,
  expectConsistent,
  expectRefilled,
  fileOf,
  filesOf,
  filled,
  flipBits,
  openAgain,
  other,
  overwrite,
  removeTemplate,
  runningJob,
  tables,
} from './damage.ts'
import { blobHashOf, collect, FeedWriter, tempDir } from './fixtures.ts'

afterAll(removeTemplate)

const stateOf = async (store: Store, job: JobId) =>
  (await store.jobs()).find((record) => record.job === job)?.state

describe('a store of which only the index is damaged', () => {
  const damages: [string, (dir: string) => Promise<void>, RegExp][] = [
    ['CURRENT is gone', async (dir) => rm(await fileOf(dir, /^CURRENT$/)), /CURRENT is missing/],
    [
      'CURRENT holds garbage',
      async (dir) => writeFile(await fileOf(dir, /^CURRENT$/), 'MANIFEST-x'),
      /CURRENT is not what was written/,
    ],
    ['the manifest is gone', async (dir) => rm(await fileOf(dir, /^MANIFEST/)), /is missing/],
    [
      'the manifest is empty',
      async (dir) => truncate(await fileOf(dir, /^MANIFEST/), 0),
      /MANIFEST-\d+ is damaged/,
    ],
    [
      'the manifest has changed bits',
      async (dir) => overwrite(await fileOf(dir, /^MANIFEST/), 20, Buffer.from('xyz')),
      /MANIFEST-\d+ is damaged/,
    ],
  ]
  it.each(damages)('is whole again: %s', async (_, damage, reason) => {
    const dir = await filled()
    await damage(dir)
    const before = await readdir(join(dir, 'db'))
    let store = await openAgain(dir)
    const copy = join(dir, 'db.damaged-1')
    expect(store.repair).toMatchObject({ copy, entriesKept: ENTRIES, entriesDropped: 0 })
    expect(store.repair!.reason).toMatch(reason)
    expect(new Set(store.repair!.jobs)).toEqual(new Set([runningJob, endedJob]))
    expect((await readdir(copy)).sort()).toEqual(before.sort())
    expect(await expectConsistent(store)).toBe(ENTRIES)
    expect(await stateOf(store, endedJob)).toBe('finished')
    expect(await stateOf(store, runningJob)).toBe('running')
    expect(Uint8Array.from((await store.getMeta('port'))!)).toEqual(Uint8Array.of(1, 2))
    for (const job of [runningJob, endedJob]) {
      expect(await collect(store.doneSpans(job))).toEqual([])
      expect(await collect(store.ownerSpans(job))).toEqual([])
    }
    await store.close()
    store = await openAgain(dir)
    expect(await expectConsistent(store)).toBe(ENTRIES)
  })
})

describe('a manifest that lost its end', () => {
  it('is noticed wherever it was cut, or nothing is lost', async () => {
    const whole = await filled()
    const size = (await readFile(await fileOf(whole, /^MANIFEST/))).length
    let noticed = 0
    for (let end = size - 1; end >= 0; end -= Math.ceil(size / 16)) {
      const dir = await tempDir()
      await cp(whole, dir, { recursive: true })
      await truncate(await fileOf(dir, /^MANIFEST/), end)
      const store = await openAgain(dir)
      expect(await expectConsistent(store), `cut at ${end} of ${size}`).toBe(ENTRIES)
      if (store.repair !== undefined) noticed++
      await store.close()
    }
    expect(noticed).toBeGreaterThan(0)
  }, 60_000)
})

describe('a store that lost data', () => {
  const damages: [string, (dir: string) => Promise<void>][] = [
    ['a table is gone', async (dir) => rm((await tables(dir))[0]!)],
    [
      'all tables are gone',
      async (dir) => {
        for (const file of await filesOf(dir, /\.ldb$/)) await rm(file)
      },
    ],
    ['a table is cut short', async (dir) => cut((await tables(dir))[0]!, 0.6)],
    ['the log is gone', async (dir) => rm(await fileOf(dir, /\.log$/))],
    ['the log lost its middle', async (dir) => flipMiddle(await fileOf(dir, /\.log$/))],
    [
      'nothing but tables is left',
      async (dir) => {
        for (const name of await readdir(join(dir, 'db'))) {
          if (!name.endsWith('.ldb')) await rm(join(dir, 'db', name))
        }
      },
    ],
  ]
  it.each(damages)('says so, and keeps what proves itself: %s', async (what, damage) => {
    const dir = await filled()
    await damage(dir)
    const store = await openAgain(dir)
    const kept = await expectConsistent(store)
    expect(store.repair).toMatchObject({ copy: join(dir, 'db.damaged-1'), entriesKept: kept })
    // A table may have held nothing but views.
    if (!what.includes('a table')) expect(kept).toBeLessThan(ENTRIES)
    // An ended job is no longer ended unless all of it is there.
    const { past } = authored()
    const complete = store.head(endedJob, past.feed)?.seq === past.entries.length
    if (!complete) expect(await stateOf(store, endedJob)).not.toBe('finished')
    await expectRefilled(store)
    // The session that wrote `mine` is over: what was lost of it may come back from others.
    expect(store.ingest(authored().mine.run())).toMatchObject({ status: 'ok' })
  })

  it('notices changed bits in tables, at the open or when it reads them', async () => {
    const whole = await filled()
    for (const file of await tables(whole)) {
      const dir = await tempDir()
      await cp(whole, dir, { recursive: true })
      await flipBits(file.replace(whole, dir), 997)
      let store = await openAgain(dir)
      const read = async (): Promise<number> => expectConsistent(store)
      const outcome = await read().catch((error: unknown) => error)
      if (typeof outcome !== 'number') {
        // Ended jobs are not read at the open. It is noted, and the next start repairs.
        expect(outcome).toMatchObject({ code: 'ERR_MESH_STORE_DAMAGED' })
        await store.close()
        store = await openAgain(dir)
        await read()
      }
      expect(store.repair).toBeDefined()
      await expectRefilled(store)
      await store.close()
    }
  }, 60_000)
})

/** Changes a byte of the log's first record; those after it are whole. */
async function flipMiddle(log: string): Promise<void> {
  await overwrite(log, 200, Buffer.alloc(50, 0xff))
}

describe('a log that lost its end', () => {
  it.each([0.95, 0.5, 0.1, 0])('at %d of its size: what is left is consistent', async (share) => {
    const dir = await filled()
    await cut(await fileOf(dir, /\.log$/), share)
    const store = await openAgain(dir)
    expect(store.repair).toBeUndefined()
    const kept = await expectConsistent(store)
    expect(kept).toBeLessThan(ENTRIES)
    // A batch is whole or not there: views tell of entries that are.
    const held = new Set((await collect(store.entries(runningJob))).map((entry) => entry.hash))
    for await (const span of store.doneSpans(runningJob)) expect(held).toContain(span.hash)
    await expectRefilled(store)
  })
})

describe('a repair', () => {
  it('that was cut off is begun again from the copy', async () => {
    const dir = await filled()
    await rm(await fileOf(dir, /^CURRENT$/))
    await (await openAgain(dir)).close()
    // As if it had ended before it was noted that it is over; and before the new database had its name.
    const due = JSON.stringify({ reason: 'cut off', indexOnly: true, copy: 'db.damaged-1' })
    for (const instant of ['after', 'before']) {
      await writeFile(join(dir, 'db.repair.json'), due)
      if (instant === 'before') await rm(join(dir, 'db'), { recursive: true })
      await cp(join(dir, 'db.damaged-1'), join(dir, 'db.repairing'), { recursive: true })
      const store = await openAgain(dir)
      expect(store.repair).toMatchObject({ reason: 'cut off', entriesKept: ENTRIES })
      expect(await expectConsistent(store)).toBe(ENTRIES)
      await store.close()
      expect((await readdir(dir)).sort()).toEqual(['blobs', 'db', 'db.damaged-1'])
    }
  })

  it('that had only been noted is done', async () => {
    const dir = await filled()
    await writeFile(join(dir, 'db.repair.json'), '{"reason": "rea')
    const store = await openAgain(dir)
    expect(store.repair).toMatchObject({ copy: join(dir, 'db.damaged-1'), entriesKept: ENTRIES })
    expect(existsSync(join(dir, 'db.repair.json'))).toBe(false)
  })

  it('keeps the newest copies, and no more than its limit', async () => {
    const dir = await filled()
    for (let i = 0; i < MAX_DAMAGED_COPIES + 2; i++) {
      await rm(await fileOf(dir, /^CURRENT$/))
      await (await openAgain(dir)).close()
    }
    const copies = (await readdir(dir)).filter((name) => name.startsWith('db.damaged'))
    const newest = Array.from({ length: MAX_DAMAGED_COPIES }, (_, i) => `db.damaged-${i + 3}`)
    expect(copies.sort()).toEqual(newest)
  })

  it('names jobs until their views are made again', async () => {
    const dir = await filled()
    await rm(await fileOf(dir, /^CURRENT$/))
    await (await openAgain(dir)).close()
    const view = { ownersRemoved: [], ownersPut: [], doneRemoved: [], donePut: [] }
    let store = await openAgain(dir)
    expect(new Set(store.repair?.jobs)).toEqual(new Set([runningJob, endedJob]))
    store.stageView({ ...view, job: endedJob })
    await store.close()
    store = await openAgain(dir)
    expect(store.repair?.jobs).toEqual([runningJob])
    store.stageView({ ...view, job: runningJob })
    await store.close()
    store = await openAgain(dir)
    expect(store.repair).toBeUndefined()
  })

  it('does not bring a collected job back', async () => {
    const dir = await filled()
    let store = await openAgain(dir)
    await store.collectJob(endedJob)
    await store.close()
    await rm(await fileOf(dir, /^CURRENT$/))
    store = await openAgain(dir)
    expect(store.repair?.jobs).toEqual([runningJob])
    expect(store.isCollected(endedJob)).toBe(true)
    expect(await collect(store.entries(endedJob))).toEqual([])
    expect(store.ingest(authored().past.run())).toEqual({ status: 'ok', entries: [] })
  })

  it('drops what no author signed', async () => {
    const dir = await filled()
    // A feed whose last run is signed by somebody else: LevelDB's own repair checks nothing of the kind.
    const store = await openAgain(dir, { verify: () => true })
    const forged = new FeedWriter(other, 'forged', runningJob).many(4)
    store.ingest(forged.run(1, 2))
    store.ingest({ ...forged.run(3, 4), signature: forged.run(1, 2).signature })
    await store.close()
    await rm(await fileOf(dir, /^CURRENT$/))
    const repaired = await openAgain(dir)
    expect(repaired.repair).toMatchObject({ entriesKept: ENTRIES + 2, entriesDropped: 2 })
    expect(repaired.head(runningJob, forged.feed)?.seq).toBe(2)
    expect(repaired.ingest(forged.run())).toMatchObject({ entries: [{ seq: 3 }, { seq: 4 }] })
  })
})

describe('a folder', () => {
  it('whose database is gone says so, and keeps its blobs', async () => {
    const dir = await filled()
    await rm(join(dir, 'db'), { recursive: true })
    const store = await openAgain(dir)
    expect(store.repair).toMatchObject({ copy: '', entriesKept: 0, jobs: [] })
    expect(store.repair!.reason).toContain('blobs')
    expect(await store.blobs.has(blobHashOf('a blob'))).toBe(true)
    await store.close()
    expect((await openAgain(dir)).repair).toBeUndefined()
  })

  it('whose first start was cut off is new', async () => {
    const dir = await tempDir()
    await (await openAgain(dir)).close()
    for (const name of await readdir(join(dir, 'db'))) {
      if (!name.startsWith('MANIFEST')) await rm(join(dir, 'db', name))
    }
    const store = await openAgain(dir)
    expect(store.repair).toBeUndefined()
    expect(await store.jobs()).toEqual([])
  })
})

describe('a blob', () => {
  it('that is deleted is not there, and can be put again', async () => {
    const store = await openAgain(await filled())
    const hash = blobHashOf('a blob')
    await rm(store.blobs.path(hash))
    expect(await store.blobs.has(hash)).toBe(false)
    await expect(store.blobs.get(hash)).rejects.toMatchObject({ code: 'ERR_MESH_RESULT_LOST' })
    await store.blobs.put(Buffer.from('a blob'))
    expect(Buffer.from(await store.blobs.get(hash)).toString()).toBe('a blob')
  })

  it.each(['get', 'read'] as const)(
    'that was changed is given to nobody (%s), and goes',
    async (how) => {
      const store = await openAgain(await tempDir())
      const { hash } = await store.blobs.put(Buffer.alloc(600_000, 7))
      await overwrite(store.blobs.path(hash), 300_000, Buffer.of(8))
      let received = 0
      const take = async (): Promise<void> => {
        if (how === 'get') received = (await store.blobs.get(hash)).length
        else for await (const part of store.blobs.read(hash)) received += part.length
      }
      await expect(take()).rejects.toMatchObject({ code: 'ERR_MESH_RESULT_LOST' })
      expect(received).toBeLessThan(600_000)
      expect(await store.blobs.has(hash)).toBe(false)
    },
  )
})
