import { existsSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { jobKey, PREFIX } from '../../../src/store/keys.ts'
import { openLevel } from '../../../src/store/level-key-value.ts'
import { openStore } from '../../../src/store/level-store.ts'
import { MAX_WAITING_JOB_BYTES } from '../../../src/store/limits.ts'
import type { Store } from '../../../src/store/types.ts'
import { storeCompliance } from './compliance.ts'
import {
  collect,
  FeedWriter,
  peerOf,
  recordOf,
  specOf,
  type TestPeer,
  tempDir,
} from './fixtures.ts'

const self = peerOf('self')
const other = peerOf('other')
const spec = specOf('level')
const job = jobIdOf(spec)

async function open(dir: string, { peer, sign }: TestPeer = self): Promise<Store> {
  const store = await openStore({ dir, self: peer, sign })
  onTestFinished(() => store.close().catch(() => {}))
  return store
}

storeCompliance({
  name: 'level store',
  files: true,
  open: async (peer) => open(await tempDir(), peer),
})

describe('level store over restarts', () => {
  it('finds everything again', async () => {
    const dir = await tempDir()
    const feed = new FeedWriter(other, 's', job).many(50)
    const mine = new FeedWriter(self, 'mine', job).many(3)
    const ended = new FeedWriter(other, 's', jobIdOf(specOf('ended'))).many(4)
    let store = await open(dir)
    store.ingest(feed.run())
    store.ingest(ended.run())
    for (const entry of mine.entries) store.append(entry)
    store.stageJob(recordOf(specOf('ended'), other.peer, 'finished'))
    await store.putMeta('name', Buffer.from('me'))
    await store.close()

    store = await open(dir)
    expect(store.head(job, feed.feed)).toMatchObject({ seq: 50, hash: feed.entries[49]!.hash })
    expect(store.heads(jobIdOf(specOf('ended')))).toHaveLength(1)
    expect(await store.readRun(job, mine.feed, 1, 1e6)).toEqual(mine.run())
    expect(await collect(store.entries(job))).toHaveLength(53)
    const record = recordOf(specOf('ended'), other.peer, 'finished')
    expect(await store.job(record.job)).toEqual(record)
    expect((await store.jobs()).find((one) => one.job === record.job)).toEqual(record)
    expect(await store.job(jobIdOf(specOf('unheard of')))).toBeUndefined()
    expect(Buffer.from((await store.getMeta('name'))!).toString()).toBe('me')
    expect(store.ingest(feed.many(1).run(51))).toMatchObject({ status: 'ok' })
    // I9: a session ends with its process.
    expect(() => store.append(mine.next())).toThrowError(/never reopened/)
  })

  it('remembers what was collected', async () => {
    const dir = await tempDir()
    const feed = new FeedWriter(other, 's', job).many(3)
    let store = await open(dir)
    store.ingest(feed.run())
    await store.collectJob(job)
    await store.close()
    store = await open(dir)
    expect(store.isCollected(job)).toBe(true)
    expect(store.ingest(feed.run())).toEqual({ status: 'ok', entries: [] })
    expect(await collect(store.entries(job))).toEqual([])
  })

  it('goes on with a deletion that was cut off', async () => {
    const dir = await tempDir()
    const feed = new FeedWriter(other, 's', job).many(3)
    const store = await open(dir)
    store.ingest(feed.run())
    await store.close()
    // The mark is written, nothing is cleared.
    const kv = await openLevel(join(dir, 'db'))
    await kv.write([{ key: jobKey(PREFIX.deleted, job), value: Buffer.alloc(0) }], true)
    await kv.close()
    const again = await open(dir)
    expect(again.repair).toBeUndefined()
    expect(again.heads(job)).toEqual([])
    expect(await collect(again.entries(job))).toEqual([])
    expect(again.ingest(feed.run())).toEqual({ status: 'ok', entries: feed.entries })
  })

  it('remembers which jobs wait for their JOB', async () => {
    const dir = await tempDir()
    const reason = 'x'.repeat(1000)
    const feed = new FeedWriter(other, 's', job)
    for (let i = 0; i < 900; i++) feed.next({ type: 'cancel', reason })
    let from = 1
    let store = await open(dir)
    for (let taken = true; taken; from += taken ? 900 : 0) {
      const result = store.ingest(feed.run(from))
      taken = result.status === 'ok' && result.entries.length > 0
      await store.close()
      store = await open(dir)
      if (taken) for (let i = 0; i < 900; i++) feed.next({ type: 'cancel', reason })
      expect(feed.entries.length * 1000).toBeLessThan(MAX_WAITING_JOB_BYTES + 2e6)
    }
    const opening = new FeedWriter(other, 'opening', job)
    opening.next({ type: 'job', spec, at: 1, seeds: [] })
    store.ingest(opening.run())
    await store.close()
    store = await open(dir)
    expect(store.ingest(feed.run(from))).toMatchObject({ entries: { length: 900 } })
  })

  it('remembers a fork', async () => {
    const dir = await tempDir()
    const feed = new FeedWriter(other, 's', job).many(3)
    const branch = feed.branch('s', 2)
    branch.next({ type: 'pause' })
    let store = await open(dir)
    store.ingest(feed.run())
    const proof = store.ingest(branch.run())
    expect(proof.status).toBe('fork')
    await store.close()
    store = await open(dir)
    expect(store.ingest(feed.many(1).run())).toEqual(proof)
  })

  it('removes what an interrupted blob left, and keeps blobs in files', async () => {
    const dir = await tempDir()
    let store = await open(dir)
    const { hash } = await store.blobs.put(Buffer.from('kept'))
    expect(await readFile(store.blobs.path(hash), 'utf8')).toBe('kept')
    expect(store.blobs.path(hash)).toBe(join(dir, 'blobs', hash.slice(0, 2), hash))
    await store.close()
    const left = join(dir, 'blobs', 'tmp', 'left')
    await writeFile(left, 'half')
    store = await open(dir)
    expect(existsSync(left)).toBe(false)
    expect(await store.blobs.has(hash)).toBe(true)
  })

  it('notices a blob whose file was changed', async () => {
    const store = await open(await tempDir())
    const { hash } = await store.blobs.put(Buffer.from('good'))
    await writeFile(store.blobs.path(hash), 'evil')
    await expect(store.blobs.get(hash)).rejects.toMatchObject({ code: 'ERR_MESH_RESULT_LOST' })
  })

  it('marks its folder while it is open: who finds the mark looks closer', async () => {
    const dir = await tempDir()
    const mark = join(dir, 'db.open')
    const store = await open(dir)
    expect(existsSync(mark)).toBe(true)
    await store.close()
    expect(existsSync(mark)).toBe(false)
  })

  it('lets only its owner read the data', async () => {
    const dir = await tempDir()
    await open(dir)
    for (const folder of ['db', 'blobs']) {
      expect((await stat(join(dir, folder))).mode & 0o077).toBe(0)
    }
  })
})

describe('level store in trouble', () => {
  it('refuses a second open in this process, and the first goes on', async () => {
    const dir = await tempDir()
    const store = await open(dir)
    await expect(open(dir)).rejects.toMatchObject({ code: 'ERR_MESH_FOLDER_LOCKED' })
    store.append(new FeedWriter(self, 's', job).next())
    await store.flush({ sync: true })
    await store.close()
    await open(dir)
  })

  it('refuses a format that it does not know', async () => {
    const dir = await tempDir()
    const store = await open(dir)
    await store.putMeta('\0schema', Uint8Array.of(99))
    await store.close()
    await expect(open(dir)).rejects.toMatchObject({ code: 'ERR_MESH_UNSUPPORTED' })
  })
})
