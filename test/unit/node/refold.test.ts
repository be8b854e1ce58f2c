import { describe, expect, it } from 'vitest'
import { refold } from '../../../src/node/refold.ts'
import type { EntryBody } from '../../../src/scheduler/types.ts'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { createMemoryStore } from '../../../src/store/memory-store.ts'
import { collect } from '../store/fixtures.ts'
import { FeedWriter, peerOf, sessionOf, specOf } from '../store/writers.ts'

const me = peerOf('me')
const author = peerOf('author')

describe('a job whose views are gone', () => {
  const spec = specOf('primes', 100)
  const job = jobIdOf(spec)

  function filled(more: EntryBody[] = []) {
    const feed = new FeedWriter(author, 'one', job)
    const seeds = [{ lo: 0, hi: 100, to: sessionOf('one', author) }]
    const first = feed.next({ type: 'job', spec, at: 5, seeds })
    const result = { kind: 'inline', bytes: new Uint8Array([1]) } as const
    const range = { lo: 0, hi: 60, parent: first.hash, failed: 0, elapsedMs: 1, chunks: 1, result }
    feed.next({ type: 'done', ranges: [range] })
    for (const body of more) feed.next(body)
    const store = createMemoryStore({ self: me.peer, sign: me.sign })
    expect(store.ingest(feed.run()).status).toBe('ok')
    return { store, done: feed.entries[1]! }
  }

  it('gets them, and its record, from its entries', async () => {
    const { store, done } = filled()
    await refold(store, [job], () => undefined)
    const spans = await collect(store.doneSpans(job))
    expect(spans).toMatchObject([{ lo: 0, hi: 60, hash: done.hash, author: author.peer }])
    expect(await collect(store.ownerSpans(job))).toMatchObject([{ lo: 0, hi: 100 }])
    expect(await store.jobs()).toMatchObject([
      { job, state: 'running', summary: { items: 100, done: 60, submittedAt: 5, spec } },
    ])
  })

  it('keeps the time of its end, where the record has it', async () => {
    const fails: EntryBody = {
      type: 'fail',
      ranges: [{ lo: 60, hi: 100, code: 'ERR_MESH_INPUT_LOST', message: '' }],
    }
    const { store } = filled([fails])
    const summary = { items: 1, done: 1, failed: 0, submittedAt: 5, author: author.peer, spec }
    store.stageJob({
      job,
      state: 'finished',
      updatedAt: 7,
      summary: { ...summary, finishedAt: 6 },
    })
    await refold(store, [job], () => undefined)
    expect(await store.jobs()).toMatchObject([
      {
        state: 'finished',
        updatedAt: 7,
        summary: { items: 100, done: 100, failed: 40, finishedAt: 6 },
      },
    ])
  })

  it('without its JOB it keeps its entries and waits for it', async () => {
    const feed = new FeedWriter(author, 'one', job).many(3)
    const store = createMemoryStore({ self: me.peer, sign: me.sign })
    store.ingest(feed.run())
    await refold(store, [job], () => undefined)
    expect(await store.jobs()).toEqual([])
    expect(await collect(store.entries(job))).toHaveLength(3)
  })
})
