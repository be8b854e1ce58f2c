import { expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import type { JobId } from '../../../src/scheduler/types.ts'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import type { KeyValue, Row } from '../../../src/store/key-value.ts'
import { KeyValueStore } from '../../../src/store/key-value-store.ts'
import { createMemoryBlobs } from '../../../src/store/memory-blobs.ts'
import { createMemoryKeyValue } from '../../../src/store/memory-key-value.ts'
import { FeedWriter, peerOf, recordOf, specOf } from '../store/writers.ts'
import { mutateBytes } from './mutate.ts'
import { mutateCbor } from './mutate-cbor.ts'
import { Random } from './random.ts'
import { SEED } from './seed.ts'

/** Rows of the database that a disk changed: what was written is read, or told as damaged; a peer is never blamed for it. */
const CASES = Math.max(400, 60 * Number(process.env.MESH_FUZZ_SECONDS ?? 0))
const self = peerOf('self')
const other = peerOf('other')
const JOBS = ['running', 'finished', 'bare'] as const
const specs = JOBS.map((name) => specOf(name))
const everything = { gte: Buffer.alloc(0), lt: Buffer.alloc(120, 0xff) }

function open(kv: KeyValue): KeyValueStore {
  return new KeyValueStore('', kv, createMemoryBlobs(), { self: self.peer, sign: self.sign })
}

const writerOf = (job: JobId) => new FeedWriter(other, 'session', job)

/** A store with two feeds and views for each of three jobs, one of them over. */
async function writtenRows(): Promise<Row[]> {
  const kv = createMemoryKeyValue()
  const store = open(kv)
  await store.load()
  for (const [i, spec] of specs.entries()) {
    const job = jobIdOf(spec)
    const theirs = writerOf(job).many(3)
    store.ingest(theirs.run(1, 2))
    store.ingest(theirs.run(3, 3))
    const mine = new FeedWriter(self, 'mine', job).many(2)
    for (const entry of mine.entries) store.append(entry)
    const hash = mine.entries[0]!.hash
    const owner = mine.feed.session
    const result = { kind: 'inline' as const, bytes: Uint8Array.of(1) }
    store.stageView({
      job,
      ownersRemoved: [],
      doneRemoved: [],
      ownersPut: [{ lo: 0, hi: 9, epoch: 0, hop: 0, hash, owner }],
      donePut: [{ lo: 2, hi: 5, originLo: 2, hash, author: self.peer, failed: 0, result }],
    })
    if (i < 2) store.stageJob(recordOf(spec, self.peer, i === 0 ? 'running' : 'finished'))
    // Another future of the other's feed: kept as the proof of a fork.
    const forked = writerOf(job).branch('session', 3)
    forked.many(2).next({ type: 'pause' })
    if (i === 2) store.ingest(forked.run())
  }
  await store.flush()
  const rows: Row[] = []
  for await (const some of kv.rows(everything)) rows.push(...some)
  return rows
}

function damage(rows: readonly Row[], random: Random): Row[] {
  const result = rows.map(([key, value]): Row => [Buffer.from(key), Buffer.from(value)])
  for (let n = random.count(6); n > 0; n--) {
    const at = random.int(result.length)
    const [key, value] = result[at]!
    const values = rows.map((row) => row[1])
    const choice = random.int(5)
    if (choice === 0) result.splice(at, 1)
    else if (choice === 1) result[at] = [Buffer.from(mutateBytes(key, random, [key])), value]
    else if (choice === 2) result[at] = [key, Buffer.from(random.pick(values))]
    else {
      const change = random.oneIn(2) ? mutateBytes : mutateCbor
      result[at] = [key, Buffer.from(change(value, random, values))]
    }
  }
  return result
}

/** Everything that reads rows. */
async function readAll(store: KeyValueStore): Promise<void> {
  await store.load()
  await attempt(async () => void (await store.jobs()))
  for (const spec of specs) {
    const job = jobIdOf(spec)
    const theirs = writerOf(job).many(5)
    await attempt(async () => {
      for await (const _ of store.entries(job));
    })
    await attempt(async () => {
      for await (const _ of store.doneSpans(job, 3));
      for await (const _ of store.ownerSpans(job));
    })
    await attempt(async () => {
      for (const head of store.heads(job)) await store.readRun(job, head, 1, 100_000)
    })
    await attempt(async () => {
      // A run that is right is never its author's fault.
      const result = store.ingest(theirs.run())
      if (result.status === 'invalid') throw new Error(`blamed the author: ${result.reason}`)
    })
    await attempt(async () => void (await store.deleteJob(job)))
  }
}

async function attempt(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!isMeshError(error, 'ERR_MESH_STORE_DAMAGED')) throw error
  }
}

it('rows that were damaged are read, or told as damage', async () => {
  const rows = await writtenRows()
  expect(rows.length).toBeGreaterThan(25)
  const outcomes = { read: 0, refused: 0 }
  for (let i = 0; i < CASES; i++) {
    const random = new Random(`${SEED} rows ${i}`)
    const kv = createMemoryKeyValue()
    const changes = damage(rows, random).map(([key, value]) => ({ key, value }))
    await kv.write(changes, false)
    const store = open(kv)
    try {
      await readAll(store)
      outcomes.read++
    } catch (error) {
      const known = ['ERR_MESH_STORE_DAMAGED', 'ERR_MESH_UNSUPPORTED'] as const
      if (!known.some((code) => isMeshError(error, code))) {
        throw new Error(`seed ${SEED}, case ${i}: ${String(error)}`, { cause: error })
      }
      outcomes.refused++
    }
  }
  expect(outcomes.read).toBeGreaterThan(0)
  expect(outcomes.refused).toBeGreaterThan(0)
})
