import { describe, expect, it } from 'vitest'
import type { DoneSpan, JobId, OwnerSpan } from '../../../src/scheduler/types.ts'
import { decodeEntry, entryHash, jobIdOf } from '../../../src/store/entry-codec.ts'
import {
  MAX_SESSIONS_PER_AUTHOR,
  MAX_WAITING_JOB_BYTES,
  MAX_WAITING_JOBS,
} from '../../../src/store/limits.ts'
import { decodeRun, encodeRun } from '../../../src/store/run-codec.ts'
import type { Run, Store } from '../../../src/store/types.ts'
import {
  blobHashOf,
  collect,
  entryHashOf,
  FeedWriter,
  peerOf,
  recordOf,
  sessionOf,
  specOf,
  type TestPeer,
} from './fixtures.ts'

export interface Implementation {
  readonly name: string
  /** A fresh store; closed and removed after the test. */
  open(self: TestPeer): Promise<Store>
  /** Whether blobs are files. */
  readonly files: boolean
}

const self = peerOf('self')
const other = peerOf('other')
const spec = specOf('compliance')
const job = jobIdOf(spec)

const theirs = (session = 'their session'): FeedWriter => new FeedWriter(other, session, job)
const mine = (session = 'my session'): FeedWriter => new FeedWriter(self, session, job)
const seqs = (run: Run | undefined): number[] | undefined =>
  run?.entries.map((bytes) => decodeEntry(bytes).seq)

/** What every Store does. */
export function storeCompliance(implementation: Implementation): void {
  const open = (): Promise<Store> => implementation.open(self)
  describe(`${implementation.name}: own feeds`, () => ownFeeds(open))
  describe(`${implementation.name}: runs of other peers`, () => otherFeeds(open))
  describe(`${implementation.name}: forks`, () => forks(open))
  describe(`${implementation.name}: serving runs`, () => serving(open))
  describe(`${implementation.name}: jobs and views`, () => jobsAndViews(open))
  describe(`${implementation.name}: collected jobs`, () => collected(open))
  describe(`${implementation.name}: limits`, () => limits(open))
  describe(`${implementation.name}: life`, () => life(open))
  describe(`${implementation.name}: blobs`, () => blobs(open, implementation.files))
}

function ownFeeds(open: () => Promise<Store>): void {
  it('shows an appended entry at once in heads, and serves it signed', async () => {
    const store = await open()
    const feed = mine()
    const entry = feed.next({ type: 'job', spec, at: 1, seeds: [] })
    store.append(entry)
    expect(store.head(job, feed.feed)).toEqual({ ...feed.feed, seq: 1, hash: entry.hash })
    expect(store.heads(job)).toEqual([store.head(job, feed.feed)])
    const run = await store.readRun(job, feed.feed, 1, 1e6)
    expect(run).toEqual(feed.run())
    expect(await collect(store.entries(job))).toEqual([entry])
  })

  it('gives each flush one signed end', async () => {
    const store = await open()
    const feed = mine().many(3)
    for (const entry of feed.entries) store.append(entry)
    await store.flush()
    for (const entry of feed.many(2).entries.slice(3)) store.append(entry)
    await store.flush({ sync: true })
    expect(seqs(await store.readRun(job, feed.feed, 1, 1))).toEqual([1, 2, 3])
    expect(seqs(await store.readRun(job, feed.feed, 1, 1e6))).toEqual([1, 2, 3, 4, 5])
    expect(await store.readRun(job, feed.feed, 2, 1e6)).toEqual(feed.run(2, 5))
  })

  it('signs often enough that any run fits a gossip message', async () => {
    const store = await open()
    const feed = mine()
    for (let i = 0; i < 1500; i++)
      store.append(feed.next({ type: 'cancel', reason: 'x'.repeat(500) }))
    await store.flush()
    let next = 1
    while (next <= 1500) {
      const run = await store.readRun(job, feed.feed, next, 250 * 1024)
      expect(encodeRun(run!).length).toBeLessThanOrEqual(250 * 1024)
      next += run!.entries.length
    }
    expect(next).toBe(1501)
  })

  it('refuses what does not continue the feed, and another peer’s entry', async () => {
    const store = await open()
    const feed = mine().many(3)
    store.append(feed.entries[0]!)
    expect(() => store.append(feed.entries[2]!)).toThrowError(/does not follow/)
    expect(() => store.append(feed.entries[0]!)).toThrowError(/does not follow/)
    expect(() => store.append(theirs().next())).toThrowError(/by this peer/)
    const forged = { ...feed.entries[1]!, hash: entryHashOf('no') }
    expect(() => store.append(forged)).toThrowError(/hash of its encoding/)
  })

  it('does not take in what extends its own feed', async () => {
    const store = await open()
    const feed = mine().many(2)
    store.append(feed.entries[0]!)
    expect(store.ingest(feed.run())).toMatchObject({ status: 'invalid' })
    expect(store.ingest(feed.run(1, 1))).toEqual({ status: 'ok', entries: [] })
  })
}

function otherFeeds(open: () => Promise<Store>): void {
  it('takes in a run and serves it as it came', async () => {
    const store = await open()
    const feed = theirs().many(5)
    const run = decodeRun(encodeRun(feed.run()))
    expect(store.ingest(run)).toEqual({ status: 'ok', entries: feed.entries })
    expect(store.head(job, feed.feed)?.seq).toBe(5)
    await store.flush()
    expect(await store.readRun(job, feed.feed, 1, 1e6)).toEqual(feed.run())
    expect(await collect(store.entries(job))).toEqual(feed.entries)
  })

  it('takes of overlapping runs what is new, in any order of repetition', async () => {
    const store = await open()
    const feed = theirs().many(10)
    expect(store.ingest(feed.run(1, 4))).toMatchObject({ status: 'ok' })
    expect(store.ingest(feed.run(3, 7))).toEqual({
      status: 'ok',
      entries: feed.entries.slice(4, 7),
    })
    expect(store.ingest(feed.run(2, 5))).toEqual({ status: 'ok', entries: [] })
    await store.flush()
    expect(store.ingest(feed.run(1, 6))).toEqual({ status: 'ok', entries: [] })
    expect(store.ingest(feed.run(1, 10))).toEqual({ status: 'ok', entries: feed.entries.slice(7) })
    expect(store.ingest(feed.run())).toEqual({ status: 'ok', entries: [] })
    expect(seqs(await store.readRun(job, feed.feed, 6, 1e6))).toEqual([6, 7, 8, 9, 10])
  })

  it('names the gap', async () => {
    const store = await open()
    const feed = theirs().many(9)
    const gap = { status: 'gap', feed: feed.feed, job }
    expect(store.ingest(feed.run(3, 4))).toEqual({ ...gap, have: 0 })
    store.ingest(feed.run(1, 2))
    expect(store.ingest(feed.run(5, 9))).toEqual({ ...gap, have: 2 })
    expect(store.head(job, feed.feed)?.seq).toBe(2)
  })

  it('keeps feeds of one job apart by author and session', async () => {
    const store = await open()
    const feeds = [theirs('a').many(2), theirs('b').many(3), mine('a').many(1)]
    for (const feed of feeds) expect(store.ingest(feed.run())).toMatchObject({ status: 'ok' })
    expect(
      store
        .heads(job)
        .map((head) => head.seq)
        .sort(),
    ).toEqual([1, 2, 3])
    expect(await collect(store.entries(job))).toHaveLength(6)
  })

  const invalid: [string, (feed: FeedWriter) => Run][] = [
    ['an empty run', () => ({ entries: [], signature: new Uint8Array(64) })],
    ['a short signature', (feed) => ({ ...feed.run(), signature: new Uint8Array(63) })],
    ['a wrong signature', (feed) => ({ ...feed.run(), signature: feed.run(1, 2).signature })],
    [
      'a signature by someone else',
      (feed) => {
        const signature = self.sign(Buffer.from(feed.entries.at(-1)!.hash, 'hex'))
        return { ...feed.run(), signature }
      },
    ],
    ['garbage', (feed) => ({ ...feed.run(), entries: [Buffer.from('garbage')] })],
    ['entries out of order', (feed) => reorder(feed, [0, 2, 1])],
    ['a missing entry', (feed) => reorder(feed, [0, 2])],
    ['an entry twice', (feed) => reorder(feed, [0, 1, 1, 2])],
    [
      'entries of two feeds',
      (feed) => {
        const foreign = theirs('foreign').many(3)
        return { ...foreign.run(), entries: [...feed.run(1, 2).entries, foreign.run().entries[2]!] }
      },
    ],
    [
      'a changed entry',
      (feed) => {
        const changed = new FeedWriter(other, 'their session', job)
        changed.next({ type: 'pause' })
        return {
          ...feed.run(),
          entries: [changed.run().entries[0]!, ...feed.run().entries.slice(1)],
        }
      },
    ],
    [
      'a JOB under another id',
      () => {
        const feed = new FeedWriter(other, 'their session', entryHashOf('x') as string as JobId)
        feed.next({ type: 'job', spec, at: 1, seeds: [] })
        return feed.run()
      },
    ],
  ]
  it.each(invalid)('refuses %s, and holds nothing of it', async (_, make) => {
    const store = await open()
    const feed = theirs().many(3)
    const result = store.ingest(make(feed))
    expect(result).toMatchObject({ status: 'invalid' })
    expect(store.heads(job)).toEqual([])
    await store.flush()
    expect(await collect(store.entries(job))).toEqual([])
    expect(store.ingest(feed.run())).toMatchObject({ status: 'ok' })
  })
}

function reorder(feed: FeedWriter, order: readonly number[]): Run {
  const { entries, signature } = feed.run()
  return { entries: order.map((i) => entries[i]!), signature }
}

function forks(open: () => Promise<Store>): void {
  for (const written of [true, false]) {
    const when = written ? 'written' : 'staged'
    it(`proves a fork of what is ${when}, and cuts the feed`, async () => {
      const store = await open()
      const feed = theirs().many(5)
      const branch = feed.branch('their session', 3)
      branch.next({ type: 'pause' })
      branch.many(4)
      store.ingest(feed.run())
      if (written) await store.flush()
      const result = store.ingest(branch.run(2, 5))
      expect(result).toMatchObject({ status: 'fork', feed: feed.feed, job })
      if (result.status !== 'fork') return
      const first = decodeRun(result.first)
      const second = decodeRun(result.second)
      expect(seqs(first)).toEqual([3, 4, 5])
      expect(seqs(second)).toEqual([3, 4, 5])
      expect(entryHash(first.entries[0]!)).toBe(feed.entries[2]!.hash)
      expect(entryHash(second.entries[0]!)).toBe(branch.entries[2]!.hash)
      expect(first.signature).toEqual(feed.run(1, 5).signature)
      await store.flush()
      const longer = feed.many(2).run(5, 7)
      expect(store.ingest(longer)).toEqual(result)
      expect(store.head(job, feed.feed)?.seq).toBe(5)
      expect(store.ingest(feed.run(1, 4))).toEqual({ status: 'ok', entries: [] })
    })
  }

  it('asks for the entry that proves a fork before its end', async () => {
    const store = await open()
    const feed = theirs().many(4)
    const branch = feed.branch('their session', 3)
    branch.next({ type: 'pause' })
    branch.many(5)
    store.ingest(feed.run())
    const gap = store.ingest(branch.run(5, 8))
    expect(gap).toEqual({ status: 'gap', feed: feed.feed, job, have: 3 })
    expect(store.ingest(branch.run(4, 8))).toMatchObject({ status: 'fork' })
  })

  it('sees no fork in a run that its author did not sign', async () => {
    const store = await open()
    const feed = theirs().many(2)
    const branch = feed.branch('their session', 2)
    branch.next({ type: 'pause' })
    store.ingest(feed.run())
    const forged = { ...branch.run(), signature: feed.run().signature }
    expect(store.ingest(forged)).toMatchObject({ status: 'invalid' })
    expect(store.ingest(feed.many(1).run())).toMatchObject({ status: 'ok' })
  })
}

function serving(open: () => Promise<Store>): void {
  it('ends a run at the last signed end that fits, but gives one at least', async () => {
    const store = await open()
    const feed = theirs().many(200)
    for (let end = 10; end <= 200; end += 10) store.ingest(feed.run(end - 9, end))
    await store.flush()
    const ten = encodeRun(feed.run(1, 10)).length
    const runs = [1, ten, 2 * ten, 1e6].map((max) => store.readRun(job, feed.feed, 1, max))
    const ends = (await Promise.all(runs)).map((run) => seqs(run)!.at(-1))
    expect(ends).toEqual([10, 10, 20, 200])
    expect(await store.readRun(job, feed.feed, 173, 1e6)).toEqual(feed.run(173, 200))
    expect(await store.readRun(job, feed.feed, 5, 1)).toEqual(feed.run(5, 10))
  })

  it('has nothing of what it does not hold', async () => {
    const store = await open()
    const feed = theirs().many(2)
    expect(await store.readRun(job, feed.feed, 1, 1e6)).toBeUndefined()
    expect(store.head(job, feed.feed)).toBeUndefined()
    store.ingest(feed.run())
    expect(await store.readRun(job, feed.feed, 3, 1e6)).toBeUndefined()
    expect(await store.readRun(jobIdOf(specOf('x')), feed.feed, 1, 1e6)).toBeUndefined()
  })

  it('carries a job from store to store', async () => {
    const from = await open()
    const to = await open()
    const feeds = [theirs('a').many(100), theirs('b').many(40)]
    for (const feed of feeds) from.ingest(feed.run())
    for (const head of from.heads(job)) {
      const run = await from.readRun(job, head, 1, 1e6)
      expect(to.ingest(run!)).toMatchObject({ status: 'ok' })
    }
    const sorted = (store: Store) =>
      [...store.heads(job)].sort((a, b) => a.session.localeCompare(b.session))
    expect(sorted(to)).toEqual(sorted(from))
  })
}

function jobsAndViews(open: () => Promise<Store>): void {
  it('keeps the record of a job', async () => {
    const store = await open()
    const record = recordOf(spec, other.peer, 'running')
    store.stageJob(record)
    expect(await store.jobs()).toEqual([record])
    const summary = { ...record.summary, done: 999, finishedAt: 1_700_000_000_500 }
    const finished = { ...record, state: 'finished' as const, summary }
    store.stageJob(finished)
    const second = recordOf(specOf('second'), self.peer, 'cancelled')
    store.stageJob(second)
    expect(await store.jobs()).toHaveLength(2)
    expect(await store.jobs()).toEqual(expect.arrayContaining([finished, second]))
  })

  it('finds the feeds of an ended job again, and lets them grow', async () => {
    const store = await open()
    const feed = theirs().many(3)
    store.ingest(feed.run())
    store.stageJob(recordOf(spec, other.peer, 'finished'))
    // More ended jobs than stay in memory.
    for (let i = 0; i < 200; i++) {
      store.stageJob(recordOf(specOf(`other ${i}`), other.peer, 'finished'))
      if (i % 50 === 0) await store.flush()
    }
    await store.flush()
    expect(store.heads(job)).toEqual([{ ...feed.feed, seq: 3, hash: feed.entries[2]!.hash }])
    const late = theirs('late').many(1)
    expect(store.ingest(feed.many(1).run(3, 4))).toMatchObject({ entries: [{ seq: 4 }] })
    expect(store.ingest(late.run())).toMatchObject({ status: 'ok' })
    await store.flush()
    for (let i = 0; i < 200; i++) store.heads(jobIdOf(specOf(`other ${i}`)))
    expect(
      store
        .heads(job)
        .map((head) => head.seq)
        .sort(),
    ).toEqual([1, 4])
  })

  it('keeps views by their first item', async () => {
    const store = await open()
    const owner = (lo: number, hi: number): OwnerSpan => ({
      lo,
      hi,
      epoch: 1,
      hop: lo,
      hash: entryHashOf(lo),
      owner: sessionOf(lo),
    })
    const done = (lo: number, hi: number, inline: boolean): DoneSpan => ({
      lo,
      hi,
      originLo: Math.max(0, lo - 1),
      hash: entryHashOf(lo),
      author: other.peer,
      failed: 0,
      result: inline
        ? { kind: 'inline', bytes: Uint8Array.of(1, 2, lo % 256) }
        : { kind: 'blob', hash: blobHashOf(lo), sizeBytes: 5, keepers: [self.peer, other.peer] },
    })
    const big = 2 ** 40
    const first = [done(0, 10, true), done(10, 300, false), done(300, big, true)]
    const owners = [owner(0, 5), owner(5, big)]
    const none = { ownersRemoved: [], ownersPut: [], doneRemoved: [], donePut: [] }
    store.stageView({ ...none, job, ownersPut: owners, donePut: first })
    expect(await collect(store.doneSpans(job))).toEqual(first)
    expect(await collect(store.ownerSpans(job))).toEqual(owners)
    const from = async (item: number) => (await collect(store.doneSpans(job, item)))[0]?.lo
    expect([await from(9), await from(10), await from(11), await from(301)]).toEqual([
      0, 10, 10, 300,
    ])
    expect(await from(big)).toBeUndefined()
    store.stageView({
      job,
      ownersRemoved: [5],
      ownersPut: [owner(5, 6)],
      doneRemoved: [10],
      donePut: [done(10, 12, true)],
    })
    expect(await collect(store.ownerSpans(job))).toEqual([owner(0, 5), owner(5, 6)])
    expect(await collect(store.doneSpans(job))).toEqual([first[0], done(10, 12, true), first[2]])
  })

  it('deletes one job and leaves the others', async () => {
    const store = await open()
    const keptSpec = specOf('kept')
    const kept = new FeedWriter(other, 's', jobIdOf(keptSpec)).many(2)
    const feed = theirs().many(2)
    for (const each of [kept, feed]) store.ingest(each.run())
    store.stageJob(recordOf(spec, other.peer, 'finished'))
    store.stageJob(recordOf(keptSpec, other.peer, 'running'))
    await store.deleteJob(job)
    expect((await store.jobs()).map((each) => each.job)).toEqual([jobIdOf(keptSpec)])
    expect(store.heads(job)).toEqual([])
    expect(await collect(store.entries(job))).toEqual([])
    expect(await collect(store.entries(jobIdOf(keptSpec)))).toEqual(kept.entries)
    expect(store.ingest(feed.run())).toEqual({ status: 'ok', entries: feed.entries })
  })

  it('takes nothing in for a job while that is being deleted', async () => {
    const store = await open()
    const feed = theirs().many(2)
    store.ingest(feed.run())
    const deleted = store.deleteJob(job)
    expect(store.ingest(feed.many(1).run())).toMatchObject({ status: 'gap', have: 0 })
    await deleted
    expect(await collect(store.entries(job))).toEqual([])
  })
}

function collected(open: () => Promise<Store>): void {
  it('drops a job, and takes nothing of it in again', async () => {
    const store = await open()
    const feed = theirs().many(3)
    store.ingest(feed.run(1, 2))
    store.stageJob(recordOf(spec, other.peer, 'finished'))
    expect(store.isCollected(job)).toBe(false)
    await store.collectJob(job)
    expect(store.isCollected(job)).toBe(true)
    expect(await store.jobs()).toEqual([])
    expect(store.heads(job)).toEqual([])
    expect(store.ingest(feed.run())).toEqual({ status: 'ok', entries: [] })
    store.stageJob(recordOf(spec, other.peer, 'running'))
    store.stageView({ ...EMPTY_VIEW, job, ownersPut: [span] })
    await store.flush()
    expect(await store.jobs()).toEqual([])
    expect(await collect(store.ownerSpans(job))).toEqual([])
    expect(await collect(store.entries(job))).toEqual([])
    await store.collectJob(job)
  })

  it('refuses to append to it, and says why', async () => {
    const store = await open()
    await store.collectJob(job)
    const error = { code: 'ERR_MESH_JOB_COLLECTED', details: { job } }
    expect(() => store.append(mine().next())).toThrowError(expect.objectContaining(error))
  })

  it('forgets it after the given time of running, not before', async () => {
    const store = await open()
    const young = jobIdOf(specOf('young'))
    await store.ageTombstones(1e6, 1000)
    await store.collectJob(job)
    await store.ageTombstones(600, 1000)
    await store.collectJob(young)
    await store.ageTombstones(399, 1000)
    expect([store.isCollected(job), store.isCollected(young)]).toEqual([true, true])
    await store.ageTombstones(1, 1000)
    expect([store.isCollected(job), store.isCollected(young)]).toEqual([false, true])
    const feed = theirs().many(1)
    expect(store.ingest(feed.run())).toEqual({ status: 'ok', entries: feed.entries })
  })

  it('collects what is being deleted, and what is being collected, once', async () => {
    const store = await open()
    store.ingest(theirs().many(50).run())
    await Promise.all([
      store.deleteJob(job),
      store.collectJob(job),
      store.collectJob(job),
      store.deleteJob(job),
    ])
    expect(store.isCollected(job)).toBe(true)
    expect(store.ingest(theirs().many(1).run())).toEqual({ status: 'ok', entries: [] })
  })
}

const EMPTY_VIEW = { ownersRemoved: [], ownersPut: [], doneRemoved: [], donePut: [] }
const span: OwnerSpan = {
  lo: 0,
  hi: 1,
  epoch: 0,
  hop: 0,
  hash: entryHashOf('span'),
  owner: sessionOf('span'),
}

function limits(open: () => Promise<Store>): void {
  const feedOf = (name: string, session = name): FeedWriter =>
    new FeedWriter(other, session, jobIdOf(specOf(name)))

  it('lets the oldest jobs go whose JOB does not come', async () => {
    const store = await open()
    const known = new FeedWriter(other, 'known', job)
    known.next({ type: 'job', spec, at: 1, seeds: [] })
    store.ingest(known.run())
    for (let i = 0; i < MAX_WAITING_JOBS + 3; i++) store.ingest(feedOf(`w${i}`).many(1).run())
    await store.flush()
    const held = (i: number) => store.heads(jobIdOf(specOf(`w${i}`))).length
    await expect.poll(() => [0, 1, 2].map(held)).toEqual([0, 0, 0])
    expect([held(3), held(MAX_WAITING_JOBS + 2)]).toEqual([1, 1])
    expect(store.heads(job)).toHaveLength(1)
    // Its JOB makes it one like others, and it may come again.
    const late = new FeedWriter(self, 'late', jobIdOf(specOf('w0')))
    late.next({ type: 'job', spec: specOf('w0'), at: 1, seeds: [] })
    await expect.poll(() => store.ingest(late.run())).toMatchObject({ status: 'ok' })
    expect(store.ingest(feedOf('w0').many(1).run())).toMatchObject({ entries: [{ seq: 1 }] })
  })

  it('takes in no more of a job without JOB than its share, until the JOB is there', async () => {
    const store = await open()
    const feed = theirs()
    const reason = 'x'.repeat(1000)
    for (let from = 1; ; from += 500) {
      for (let i = 0; i < 500; i++) feed.next({ type: 'cancel', reason })
      const result = store.ingest(feed.run(from))
      expect(result.status).toBe('ok')
      if (result.status === 'ok' && result.entries.length === 0) break
      expect(from * 1000).toBeLessThan(MAX_WAITING_JOB_BYTES)
      await store.flush()
    }
    const held = store.head(job, feed.feed)!.seq
    const opening = theirs('opening')
    opening.next({ type: 'job', spec, at: 1, seeds: [] })
    expect(store.ingest(opening.run())).toMatchObject({ entries: [{ seq: 1 }] })
    expect(store.ingest(feed.run(held + 1))).toMatchObject({ status: 'ok' })
    expect(store.head(job, feed.feed)!.seq).toBe(held + 500)
  })

  it('takes in so many sessions of one author, and others after', async () => {
    const store = await open()
    const opening = new FeedWriter(self, 'opening', job)
    opening.next({ type: 'job', spec, at: 1, seeds: [] })
    store.ingest(opening.run())
    for (let i = 0; i < MAX_SESSIONS_PER_AUTHOR; i++) store.ingest(theirs(`${i}`).many(1).run())
    expect(store.heads(job)).toHaveLength(MAX_SESSIONS_PER_AUTHOR + 1)
    expect(store.ingest(theirs('more').many(1).run())).toEqual({ status: 'ok', entries: [] })
    const first = theirs('0').many(2)
    expect(store.ingest(first.run())).toMatchObject({ entries: [{ seq: 2 }] })
    const third = new FeedWriter(peerOf('third'), 'third', job).many(1)
    expect(store.ingest(third.run())).toMatchObject({ entries: [{ seq: 1 }] })
    await store.flush()
  })
}

function life(open: () => Promise<Store>): void {
  it('keeps small values by name', async () => {
    const store = await open()
    expect(await store.getMeta('port')).toBeUndefined()
    await store.putMeta('port', Uint8Array.of(1, 2))
    await store.putMeta('port', Uint8Array.of(3))
    expect(Uint8Array.from((await store.getMeta('port'))!)).toEqual(Uint8Array.of(3))
  })

  it('says that it is closed', async () => {
    const store = await open()
    const feed = mine().many(2)
    store.append(feed.entries[0]!)
    await store.close()
    await store.close()
    expect(() => store.append(feed.entries[1]!)).toThrowError(/closed/)
    await expect(store.flush()).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await expect(store.jobs()).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
  })

  it('flushes many at once, and nothing', async () => {
    const store = await open()
    await store.flush({ sync: true })
    const feed = mine()
    const flushes = Array.from({ length: 50 }, (_, i) => {
      store.append(feed.next())
      return store.flush({ sync: i % 7 === 0 })
    })
    await Promise.all(flushes)
    expect(seqs(await store.readRun(job, feed.feed, 1, 1e6))).toHaveLength(50)
  })
}

async function* parts(...all: (string | Error)[]): AsyncIterable<Uint8Array> {
  for (const part of all) {
    if (part instanceof Error) throw part
    yield Buffer.from(part)
  }
}

function blobs(open: () => Promise<Store>, files: boolean): void {
  it('keeps bytes by their hash', async () => {
    const { blobs } = await open()
    const bytes = Buffer.from('hello')
    const { hash, sizeBytes } = await blobs.put(bytes)
    expect([hash, sizeBytes]).toEqual([blobHashOf('hello'), 5])
    expect(await blobs.put(bytes)).toEqual({ hash, sizeBytes })
    expect(await blobs.has(hash)).toBe(true)
    expect(await blobs.size(hash)).toBe(5)
    expect(Buffer.from(await blobs.get(hash))).toEqual(bytes)
    expect(Buffer.concat(await collect(blobs.read(hash)))).toEqual(bytes)
    await blobs.delete(hash)
    await blobs.delete(hash)
    expect(await blobs.has(hash)).toBe(false)
    expect(await blobs.size(hash)).toBeUndefined()
  })

  it('keeps an empty blob', async () => {
    const { blobs } = await open()
    const { hash } = await blobs.put(new Uint8Array())
    expect(await blobs.get(hash)).toHaveLength(0)
    expect(await blobs.write(parts())).toEqual({ hash, sizeBytes: 0 })
  })

  it('says what is not there', async () => {
    const { blobs } = await open()
    const lost = { code: 'ERR_MESH_RESULT_LOST' }
    await expect(blobs.get(blobHashOf('x'))).rejects.toMatchObject(lost)
    await expect(collect(blobs.read(blobHashOf('x')))).rejects.toMatchObject(lost)
    expect(() => blobs.has('../../etc/passwd' as never)).toThrowError(/hash/)
  })

  it('streams in, and keeps only what was announced', async () => {
    const { blobs } = await open()
    const hash = blobHashOf('hello world')
    const expected = { hash, sizeBytes: 11 }
    const refused: [AsyncIterable<Uint8Array>, object][] = [
      [parts('hello', ' there'), { code: 'ERR_MESH_PROTOCOL' }],
      [parts('hello'), { code: 'ERR_MESH_PROTOCOL' }],
      [parts('hello', ' world', ' and more'), { code: 'ERR_MESH_PROTOCOL' }],
      [parts('hello', new Error('gone')), { message: 'gone' }],
    ]
    for (const [source, error] of refused) {
      await expect(blobs.write(source, expected)).rejects.toMatchObject(error)
      expect(await blobs.has(hash)).toBe(false)
    }
    expect(await blobs.write(parts('hello', '', ' world'), expected)).toEqual(expected)
    expect(Buffer.from(await blobs.get(hash)).toString()).toBe('hello world')
  })

  it('takes one blob from many writers at once', async () => {
    const { blobs } = await open()
    const text = 'x'.repeat(300_000)
    const hash = blobHashOf(text)
    const writers = Array.from({ length: 8 }, (_, i) =>
      i % 2 === 0
        ? blobs.put(Buffer.from(text))
        : blobs.write(parts(text.slice(0, 100_000), text.slice(100_000))),
    )
    const facts = await Promise.all(writers)
    expect(new Set(facts.map((each) => each.hash))).toEqual(new Set([hash]))
    expect(await blobs.get(hash)).toHaveLength(300_000)
    let size = 0
    for await (const part of blobs.read(hash)) size += part.length
    expect(size).toBe(300_000)
  })

  it('lists what it holds, each with its age since it was put last', async () => {
    const { blobs } = await open()
    const a = await blobs.put(Buffer.from('a'))
    const b = await blobs.write(parts('bb'))
    const gone = await blobs.put(Buffer.from('gone'))
    await blobs.delete(gone.hash)
    const list = async () =>
      new Map((await collect(blobs.list())).map((each) => [each.hash, each] as const))
    const first = await list()
    expect([...first.keys()].sort()).toEqual([a.hash, b.hash].sort())
    expect(first.get(b.hash)?.sizeBytes).toBe(2)
    for (const { ageMs } of first.values()) expect(ageMs).toBeGreaterThanOrEqual(0)
    const before = performance.now()
    await blobs.put(Buffer.from('a'))
    const second = await list()
    expect(second.get(a.hash)!.ageMs).toBeLessThanOrEqual(performance.now() - before)
    expect(second.get(b.hash)!.ageMs).toBeGreaterThan(second.get(a.hash)!.ageMs)
  })

  it.runIf(!files)('has no paths in memory', async () => {
    const { blobs } = await open()
    const { hash } = await blobs.put(Buffer.from('x'))
    expect(() => blobs.path(hash)).toThrowError(/in memory/)
  })
}
