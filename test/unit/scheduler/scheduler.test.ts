import { describe, expect, it } from 'vitest'
import type { JobId } from '../../../src/scheduler/types.ts'
import { Bench, Feed, factsOf, JOB, specOf } from './builders.ts'

describe('submit', () => {
  it('one item on an idle peer: JOB, and its chunk at once; its DONE at once when it ends', () => {
    const bench = new Bench()
    bench.submit(1)
    expect(bench.kinds).toEqual(['append', 'setTimer', 'clearTimer', 'publish', 'startChunk'])
    expect(bench.bodies).toEqual([
      {
        type: 'job',
        spec: specOf(1),
        at: 7,
        seeds: [{ lo: 0, hi: 1, to: bench.self.session }],
      },
    ])
    const { chunk, lo, hi } = bench.find('startChunk')
    expect([lo, hi]).toEqual([0, 1])
    bench.end(chunk, 1, 2)
    expect(bench.bodies).toMatchObject([{ type: 'done', ranges: [{ lo: 0, hi: 1, chunks: 1 }] }])
    expect(bench.all('jobFinished')).toEqual([{ type: 'jobFinished', job: JOB }])
    expect(bench.all('publish')).toHaveLength(1)
    expect(bench.view).toMatchObject({ state: 'finished', done: 1, entries: 2, chunks: 1 })
    expect(bench.jobTimers).toBe(0)
  })

  it('tells the seeded peers first, then the others, and gossips at once', () => {
    const bench = new Bench(factsOf('self', { slots: 0 }))
    const [idle, lender] = [factsOf('idle', { slots: 0 }), factsOf('lender', { slots: 2 })]
    bench.see(idle)
    bench.see(lender)
    bench.submit(10)
    expect(bench.all('push').map(({ to }) => to)).toEqual([lender.peer, idle.peer])
    expect(bench.kinds.indexOf('append')).toBeLessThan(bench.kinds.indexOf('push'))
    expect(bench.all('publish')).toHaveLength(1)
    expect(bench.all('startChunk')).toEqual([])
  })

  it('keeps everything when nobody lends a slot, and grants it to the first that steals', () => {
    const bench = new Bench(factsOf('self', { slots: 0 }))
    bench.submit(10)
    expect(bench.view.mine).toBe(10)
    const thief = factsOf('thief')
    bench.see(thief)
    expect(bench.all('push')).toEqual([{ type: 'push', to: thief.peer, job: JOB }])
    bench.steal(thief, 1)
    expect(bench.bodies).toMatchObject([
      { type: 'grant', to: thief.session, ranges: [{ lo: 0, hi: 10, epoch: 0, hop: 1 }] },
    ])
    expect(bench.view.mine).toBe(0)
  })

  it('an empty job is finished at once', () => {
    const bench = new Bench()
    bench.submit(0)
    expect(bench.all('jobFinished')).toHaveLength(1)
    expect(bench.view.state).toBe('finished')
  })

  it('the same job again is nothing new', () => {
    const bench = new Bench()
    bench.submit(5)
    expect(bench.submit(5)).toEqual([])
  })
})

describe('chunks', () => {
  it('start short, then last 250 ms, and what was not reached comes back', () => {
    const bench = new Bench()
    bench.submit(100_000)
    expect(bench.find('startChunk')).toMatchObject({ lo: 0, hi: 50_000, budgetMs: 20 })
    bench.end(bench.find('startChunk').chunk, 200, 20)
    const second = bench.find('startChunk')
    expect(second).toMatchObject({ lo: 200, hi: 20_200, budgetMs: 250 })
    expect(bench.view.mine).toBe(100_000 - 20_200)
    expect(bench.view.rate).toBeCloseTo(10_000)
  })

  it('fixed sizes are cut at their multiples', () => {
    const bench = new Bench()
    bench.submit(250, { chunkSize: 100 })
    const sizes: number[][] = []
    for (let i = 0; i < 3; i += 1) {
      const { chunk, lo, hi, budgetMs } = bench.find('startChunk')
      expect(budgetMs).toBe(Number.POSITIVE_INFINITY)
      sizes.push([lo, hi])
      bench.end(chunk, hi, 10)
    }
    expect(sizes).toEqual([
      [0, 100],
      [100, 200],
      [200, 250],
    ])
    expect(bench.view.state).toBe('finished')
  })

  it('the next one starts while output is on its way to its keeper; DONE follows the receipt', () => {
    const bench = new Bench()
    bench.submit(1_000)
    const { chunk } = bench.find('startChunk')
    bench.end(chunk, 100, 20, 5_000)
    expect(bench.find('placeResult')).toEqual({
      type: 'placeResult',
      chunk,
      job: JOB,
      keepers: [bench.self.peer],
    })
    expect(bench.all('startChunk')).toHaveLength(1)
    expect(bench.bodies).toEqual([])
    const result = {
      kind: 'blob' as const,
      hash: 'a'.repeat(64) as never,
      sizeBytes: 5_000,
      keepers: [bench.self.peer],
    }
    bench.on({ type: 'chunkPlaced', chunk, result })
    // The feed holds one entry, the JOB, so the DONE waits for the next chunk's.
    expect(bench.bodies).toEqual([])
    bench.fire('done')
    expect(bench.bodies).toMatchObject([{ type: 'done', ranges: [{ lo: 0, hi: 100, result }] }])
  })

  it('stop starting while too much output waits for its keepers', () => {
    const bench = new Bench()
    bench.submit(1_000_000)
    let started = 1
    while (bench.all('startChunk').length > 0) {
      const { chunk, lo } = bench.find('startChunk')
      bench.end(chunk, lo + 10, 20, 2_000)
      started += bench.all('startChunk').length
    }
    expect(started).toBe(4)
    const placed = bench.view
    expect(placed.runningHere).toEqual([])
  })

  it('32 MiB of waiting output are enough to stop', () => {
    const bench = new Bench()
    bench.submit(1_000_000)
    bench.end(bench.find('startChunk').chunk, 10, 20, 33 * 1024 * 1024)
    expect(bench.all('startChunk')).toEqual([])
  })

  it('go to the author of the job while it is connected', () => {
    const [bench, author] = [new Bench(), new Feed(factsOf('author'))]
    bench.see(author.facts)
    bench.receive(author.job(10, [{ lo: 0, hi: 10, to: bench.self.session }]))
    bench.end(bench.find('startChunk').chunk, 1, 20, 5_000)
    expect(bench.find('placeResult').keepers).toEqual([author.facts.peer, bench.self.peer])
    bench.on({ type: 'peerGone', peer: author.facts.peer, refused: false })
    bench.end(2, 2, 20, 5_000)
    expect(bench.find('placeResult').keepers).toEqual([bench.self.peer])
  })

  it('DONEs are coalesced, never the last one', () => {
    const bench = new Bench()
    bench.submit(3_000)
    bench.end(bench.find('startChunk').chunk, 1_000, 20)
    expect(bench.bodies).toEqual([])
    expect(bench.timers.get(`done|${JOB}`)).toBe(bench.now + 400)
    bench.end(bench.find('startChunk').chunk, 2_000, 20)
    expect(bench.bodies).toEqual([])
    while (bench.view.state !== 'finished') {
      const { chunk, hi } = bench.find('startChunk')
      bench.end(chunk, hi, 10)
    }
    // Neighbours with inline values are one range of one entry.
    expect(bench.entries.length).toBeLessThan(bench.view.chunks)
    expect(bench.timers.has(`done|${JOB}`)).toBe(false)
  })

  it('returned ones are tried again after the pause, and not before', () => {
    const bench = new Bench()
    bench.submit(10)
    const { chunk } = bench.find('startChunk')
    bench.on({ type: 'chunkReturned', chunk, retryMs: 1_000 })
    expect(bench.all('startChunk')).toEqual([])
    expect(bench.view.mine).toBe(10)
    expect(bench.timers.get(`retry|${JOB}`)).toBe(1_000)
    bench.fire('retry')
    expect(bench.find('startChunk').lo).toBe(0)
  })

  it('that bring nothing do not make a hot loop', () => {
    const bench = new Bench()
    bench.submit(10)
    bench.end(bench.find('startChunk').chunk, 0, 0)
    expect(bench.all('startChunk')).toEqual([])
    bench.fire('retry')
    expect(bench.all('startChunk')).toHaveLength(1)
  })

  it('are aborted when another session did their items', () => {
    const [bench, author] = [new Bench(), new Feed(factsOf('author'))]
    const job = author.job(10, [{ lo: 0, hi: 4, to: bench.self.session }])
    bench.receive(job)
    const { chunk } = bench.find('startChunk')
    bench.receive(author.done(0, 10, job))
    expect(bench.all('abortChunk')).toEqual([{ type: 'abortChunk', chunk }])
    expect(bench.all('jobFinished')).toHaveLength(1)
    bench.end(chunk, 1, 5)
    expect(bench.bodies).toEqual([])
    expect(bench.view.runningHere).toEqual([])
  })

  it('of two jobs take turns, shorter, each for longer and longer', () => {
    const bench = new Bench()
    const other = 'b'.repeat(64) as JobId
    bench.submit(1_000)
    bench.on({ type: 'submitted', job: other, spec: specOf(1_000), at: 0 })
    const order: string[] = []
    let chunk = 1
    const started = () => bench.all('startChunk')[0]
    bench.end(chunk, 10, 20)
    for (let i = 0; i < 4; i += 1) {
      const next = started()!
      order.push(next.job)
      chunk = next.chunk
      bench.end(chunk, next.lo + 10, 20)
    }
    expect(order).toEqual([other, other, other, JOB])
    expect(started()!.budgetMs).toBeLessThanOrEqual(50)
  })

  it('of unknown number, of the past, or out of bounds change nothing wrong', () => {
    const bench = new Bench()
    bench.submit(10)
    const { chunk } = bench.find('startChunk')
    bench.end(999, 5, 1)
    expect(bench.last).toEqual([])
    bench.on({ type: 'chunkProgressed', chunk, reached: 3 })
    expect(bench.view.runningHere).toMatchObject([{ chunk, reached: 3 }])
    bench.on({ type: 'chunkProgressed', chunk, reached: 1_000 })
    expect(bench.view.runningHere[0]?.reached).toBeLessThanOrEqual(10)
    bench.end(chunk, 1_000, 1)
    bench.end(chunk, 1_000, 1)
    expect(bench.view.done + bench.view.mine).toBeLessThanOrEqual(10)
  })
})

describe('read model', () => {
  it('lists jobs whose JOB is here, with their DONE spans', () => {
    const [bench, author] = [new Bench(factsOf('self', { slots: 0 })), new Feed(factsOf('author'))]
    const job = author.job(10)
    const done = author.done(2, 5, job, 1)
    bench.receive(done)
    expect(bench.scheduler.jobs()).toEqual([])
    expect(bench.scheduler.job(JOB)).toBeUndefined()
    bench.receive(job)
    expect(bench.scheduler.jobs()).toHaveLength(1)
    expect(bench.view).toMatchObject({ done: 3, failed: 1, author: author.facts.peer, entries: 2 })
    expect(bench.scheduler.doneAt(JOB, 4)).toMatchObject({ lo: 2, hi: 5, hash: done.hash })
    expect(bench.scheduler.doneAt(JOB, 5)).toBeUndefined()
    expect([...bench.scheduler.doneSpans(JOB)]).toHaveLength(1)
    expect(bench.all('changeView')[0]?.change.donePut).toHaveLength(1)
  })

  it('forgets a job and ignores what still comes for it', () => {
    const [bench, author] = [new Bench(), new Feed(factsOf('author'))]
    const job = author.job(1)
    bench.receive(job, author.done(0, 1, job))
    bench.scheduler.forget(JOB)
    expect(bench.scheduler.job(JOB)).toBeUndefined()
    expect(bench.receive(author.done(0, 1, job))).toEqual([])
    expect([...bench.scheduler.doneSpans(JOB)]).toEqual([])
  })

  it('counts a breach against its author', () => {
    const [bench, author, liar] = [
      new Bench(),
      new Feed(factsOf('author')),
      new Feed(factsOf('liar')),
    ]
    const job = author.job(10)
    bench.receive(job, liar.grant(0, 5, job, liar.facts.session))
    expect(bench.find('breach').peer).toBe(liar.facts.peer)
  })
})
