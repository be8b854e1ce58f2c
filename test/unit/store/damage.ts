import {
  cp,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import type { DoneSpan, EntryHash } from '../../../src/scheduler/types.ts'
import { entryHash, jobIdOf } from '../../../src/store/entry-codec.ts'
import { inspectLevel } from '../../../src/store/level-inspect.ts'
import { type OpenStoreOptions, openStore } from '../../../src/store/level-store.ts'
import { createVerifier } from '../../../src/store/signatures.ts'
import type { Store } from '../../../src/store/types.ts'
import { collect, FeedWriter, peerOf, recordOf, specOf, tempDir } from './fixtures.ts'

/** Data folders with a history, and what a disk can do to them. */

export const self = peerOf('self')
export const other = peerOf('other')
export const running = specOf('running')
export const ended = specOf('ended')
export const runningJob = jobIdOf(running)
export const endedJob = jobIdOf(ended)
/** Entries of the running job's feed of another peer, after its JOB. */
export const THEIRS = 500
export const ENTRIES = THEIRS + 1 + 30 + 41

export async function openAgain(dir: string, more: Partial<OpenStoreOptions> = {}): Promise<Store> {
  const store = await openStore({ dir, self: self.peer, sign: self.sign, ...more })
  onTestFinished(() => store.close().catch(() => {}))
  return store
}

/** The feeds of a filled folder as their authors have them. */
let written: ReturnType<typeof write> | undefined

export function authored(): ReturnType<typeof write> {
  written ??= write()
  return written
}

function write(): { theirs: FeedWriter; mine: FeedWriter; past: FeedWriter } {
  const theirs = new FeedWriter(other, 'theirs', runningJob)
  theirs.next({ type: 'job', spec: running, at: 1, seeds: [] })
  theirs.many(THEIRS)
  const mine = new FeedWriter(self, 'mine', runningJob).many(30)
  const past = new FeedWriter(other, 'past', endedJob)
  past.next({ type: 'job', spec: ended, at: 1, seeds: [] })
  return { theirs, mine, past: past.many(40) }
}

const done = (lo: number, hash: EntryHash): DoneSpan => ({
  lo,
  hi: lo + 1,
  originLo: lo,
  hash,
  author: other.peer,
  failed: 0,
  result: { kind: 'inline', bytes: Uint8Array.of(1) },
})

/**
 * A folder in which a running job and an ended one were written over several starts with small memory tables: several tables, merged
 * ones, and a log.
 */
export async function filled(): Promise<string> {
  const dir = await tempDir()
  template ??= fill(await mkdtemp(join(tmpdir(), 'mesh-filled-')))
  await cp(await template, dir, { recursive: true })
  return dir
}

/** Made once, copied for each test; remove it after all. */
let template: Promise<string> | undefined

export async function removeTemplate(): Promise<void> {
  if (template !== undefined) await rm(await template, { recursive: true })
}

async function fill(dir: string): Promise<string> {
  const { theirs, mine, past } = authored()
  for (let start = 0; start < 5; start++) {
    // What the last start writes stays in the log.
    const writeBufferBytes = start < 4 ? 16 * 1024 : 1024 * 1024
    const store = await openStore({ dir, self: self.peer, sign: self.sign, writeBufferBytes })
    if (start === 0) {
      store.ingest(past.run())
      store.stageJob(recordOf(ended, other.peer, 'finished'))
      store.stageJob(recordOf(running, other.peer, 'running'))
      await store.putMeta('port', Uint8Array.of(1, 2))
      await store.blobs.put(Buffer.from('a blob'))
      // One session, written at one start.
      for (const entry of mine.entries) store.append(entry)
    }
    for (let i = 0; i < 10; i++) {
      const from = 1 + (start * 10 + i) * 10
      const end = start * 10 + i === 49 ? theirs.entries.length : from + 9
      store.ingest(theirs.run(from, end))
      const donePut = [done(from, theirs.entries[from]!.hash)]
      const ownersPut = [
        {
          lo: from,
          hi: from + 1,
          epoch: 0,
          hop: 0,
          hash: donePut[0]!.hash,
          owner: theirs.feed.session,
        },
      ]
      const change = { ownersRemoved: [], ownersPut, doneRemoved: [], donePut }
      store.stageView({ ...change, job: runningJob })
      store.stageView({ ...change, job: endedJob })
      await store.flush()
    }
    await store.close()
  }
  return dir
}

export async function filesOf(dir: string, pattern: RegExp): Promise<string[]> {
  const db = join(dir, 'db')
  return (await readdir(db)).filter((name) => pattern.test(name)).map((name) => join(db, name))
}

/** Tables that count: a few others may wait for their removal. */
export async function tables(dir: string): Promise<string[]> {
  const live: string[] = []
  for (const file of await filesOf(dir, /\.ldb$/)) {
    await rename(file, `${file}.away`)
    if ((await inspectLevel(join(dir, 'db'))).state === 'damaged') live.push(file)
    await rename(`${file}.away`, file)
  }
  return live
}

export async function fileOf(dir: string, pattern: RegExp): Promise<string> {
  const [file, ...more] = await filesOf(dir, pattern)
  if (file === undefined || more.length > 0) throw new Error(`${pattern}: not one file`)
  return file
}

/** Flips a bit in every `step` bytes of a file, from the middle of the first step on. */
export async function flipBits(file: string, step: number): Promise<void> {
  const bytes = await readFile(file)
  for (let at = step >> 1; at < bytes.length; at += step) bytes[at]! ^= 0x10
  await writeFile(file, bytes)
}

export async function cut(file: string, share: number): Promise<void> {
  await truncate(file, Math.floor((await readFile(file)).length * share))
}

export async function overwrite(file: string, at: number, bytes: Uint8Array): Promise<void> {
  const handle = await open(file, 'r+')
  await handle.write(bytes, 0, bytes.length, at)
  await handle.close()
}

/** Heads, entries and what is served agree, and what is there is what its authors wrote. */
export async function expectConsistent(store: Store): Promise<number> {
  const { theirs, mine, past } = authored()
  let count = 0
  for (const [job, feeds] of [
    [runningJob, [theirs, mine]],
    [endedJob, [past]],
  ] as const) {
    const entries = await collect(store.entries(job))
    for (const head of store.heads(job)) {
      const feed = feeds.find((each) => each.feed.session === head.session)!
      const held = entries.filter((entry) => entry.session === head.session)
      // The hash of an entry read is that of its bytes.
      expect(held.map(({ hash }) => hash)).toEqual(hashesOf(feed).slice(0, head.seq))
      expect(head.hash).toBe(feed.entries[head.seq - 1]!.hash)
      let next = 1
      while (next <= head.seq) {
        const run = (await store.readRun(job, feed.feed, next, 20_000))!
        const hashes = run.entries.map((bytes) => entryHash(bytes))
        expect(hashes).toEqual(hashesOf(feed).slice(next - 1, next - 1 + hashes.length))
        const end = Buffer.from(hashes.at(-1)!, 'hex')
        expect(verify(feed.feed.author, end, run.signature)).toBe(true)
        next += hashes.length
      }
      count += head.seq
    }
    expect(entries).toHaveLength(store.heads(job).reduce((sum, head) => sum + head.seq, 0))
  }
  return count
}

const verify = createVerifier()
const hashesOf = (feed: FeedWriter): string[] => feed.entries.map(({ hash }) => hash)

/** All that was written is there again after its authors sent it once more. */
export async function expectRefilled(store: Store): Promise<void> {
  const { theirs, past } = authored()
  for (const feed of [theirs, past]) {
    expect(store.ingest(feed.run())).toMatchObject({ status: 'ok' })
  }
  await store.flush()
  for (const [job, feed] of [
    [runningJob, theirs],
    [endedJob, past],
  ] as const) {
    expect(store.head(job, feed.feed)?.seq).toBe(feed.entries.length)
  }
  await expectConsistent(store)
}
