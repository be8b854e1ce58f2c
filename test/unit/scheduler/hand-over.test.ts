import { describe, expect, it } from 'vitest'
import { rendezvousRank } from '../../../src/scheduler/rendezvous.ts'
import type { BlobHash, SessionId } from '../../../src/scheduler/types.ts'
import { Bench, Feed, factsOf, JOB } from './builders.ts'

describe('a peer that stops', () => {
  it('writes its DONEs, releases what it has not started, tells its neighbours, and starts nothing', () => {
    const bench = new Bench()
    const other = factsOf('other', { slots: 0 })
    bench.see(other)
    bench.submit(10_000)
    bench.end(bench.find('startChunk').chunk, 100, 20)
    const running = bench.find('startChunk')
    expect(bench.moves).toEqual([])
    bench.on({ type: 'stopping' })
    expect(bench.moves).toMatchObject([
      { type: 'done', ranges: [{ lo: 0, hi: 100 }] },
      { type: 'release', ranges: [{ lo: running.hi, hi: 10_000, epoch: 0, hop: 1 }] },
    ])
    expect(bench.all('push').some(({ to }) => to === other.peer)).toBe(true)
    expect(bench.all('publish').length).toBeGreaterThan(0)
    expect(bench.view.mine).toBe(0)
    bench.end(running.chunk, running.lo + 50, 20)
    expect(bench.moves).toMatchObject([
      { type: 'done', ranges: [{ lo: running.lo, hi: running.lo + 50 }] },
      { type: 'release', ranges: [{ lo: running.lo + 50, hi: running.hi }] },
    ])
    expect(bench.all('startChunk')).toEqual([])
    bench.steal(other, 1)
    expect(bench.find('answerSteal').granted).toBe(false)
  })
})

describe('what a leaving peer released', () => {
  const left = factsOf('left')

  /** The bench's peer among so many others that lend slots. */
  function among(names: string[], slots = 1) {
    const bench = new Bench(factsOf('self', { slots }))
    const peers = names.map((name) => factsOf(name))
    for (const facts of [...peers, left]) bench.see(facts)
    const leaver = new Feed(left)
    const job = leaver.job(100)
    const release = leaver.release(0, 100, job)
    return { bench, peers, job, release }
  }

  it('is reclaimed at once by the first in rank, by the others in turn', () => {
    const names = ['a', 'b', 'c', 'd']
    const { bench, peers, job, release } = among(names)
    const rank = rendezvousRank(
      release.hash,
      bench.self.peer,
      peers.map(({ peer }) => peer),
    )
    bench.now = 500
    bench.receive(job, release)
    if (rank > 0) {
      expect(bench.moves).toEqual([])
      expect(bench.timers.get(`release|${JOB}`)).toBe(500 + rank * 1_000)
      bench.fire('release')
    }
    expect(bench.moves).toEqual([
      { type: 'reclaim', ranges: [{ lo: 0, hi: 100, parent: release.hash, epoch: 1 }] },
    ])
    expect(bench.find('startChunk').lo).toBe(0)
  })

  it('is not waited for when no other lends slots; the leaver does not count', () => {
    const { bench, job, release } = among([])
    bench.receive(job, release)
    expect(bench.moves).toHaveLength(1)
  })

  it('is left to others by a peer that lends nothing', () => {
    const { bench, job, release } = among([], 0)
    bench.receive(job, release)
    expect(bench.moves).toEqual([])
  })

  it('is left alone once another has it', () => {
    // With so many peers some other one is first in rank for this hash.
    const names = Array.from({ length: 40 }, (_, i) => `n${i}`)
    const { bench, job, release } = among(names)
    bench.receive(job, release)
    expect(bench.timers.has(`release|${JOB}`)).toBe(true)
    const other = new Feed(factsOf('n0'))
    bench.receive(other.reclaim(0, 100, release))
    expect(bench.timers.has(`release|${JOB}`)).toBe(false)
  })
})

describe('a process that starts again', () => {
  const before = factsOf('self')
  const again = factsOf('self', { session: 'f'.repeat(32) as SessionId, sessionNumber: 2 })

  it('reclaims at once what its predecessor held and had not done, and runs it', () => {
    const old = new Feed(before)
    const job = old.job(100)
    const done = old.done(0, 30, job)
    const granted = old.grant(80, 100, job, factsOf('other').session)
    const bench = new Bench(again)
    bench.on({ type: 'jobLoaded', entries: [job, done, granted] })
    expect(bench.moves).toEqual([
      { type: 'reclaim', ranges: [{ lo: 30, hi: 80, parent: job.hash, epoch: 1 }] },
    ])
    expect(bench.entries[0]).toMatchObject({ session: again.session, seq: 1 })
    expect(bench.find('startChunk').lo).toBe(30)
    // The views of what was loaded are written already.
    const { donePut, ownersPut } = bench.find('changeView').change
    expect(donePut).toEqual([])
    expect(ownersPut.find(({ lo }) => lo === 30)).toMatchObject({ hi: 80, epoch: 1 })
  })

  it('knows sessions of its own that wrote nothing, when it is told of them', () => {
    const author = new Feed(factsOf('author'))
    const job = author.job(100, [{ lo: 0, hi: 40, to: before.session }])
    const told = new Bench(again, { predecessors: [before.session] })
    told.on({ type: 'jobLoaded', entries: [job] })
    expect(told.moves).toMatchObject([{ type: 'reclaim', ranges: [{ lo: 0, hi: 40 }] }])
    const untold = new Bench(again)
    untold.on({ type: 'jobLoaded', entries: [job] })
    expect(untold.moves).toEqual([])
  })

  it('resumes what it released when nobody took it, after a moment for its log to catch up', () => {
    const old = new Feed(before)
    const job = old.job(100)
    const bench = new Bench(again)
    bench.on({ type: 'jobLoaded', entries: [job, old.release(0, 100, job)] })
    expect(bench.moves).toEqual([])
    bench.fire('release')
    expect(bench.now).toBe(1_000)
    expect(bench.moves).toMatchObject([{ type: 'reclaim', ranges: [{ lo: 0, hi: 100 }] }])
  })

  it('says once more that a finished job is finished, and writes nothing', () => {
    const old = new Feed(before)
    const job = old.job(10)
    const bench = new Bench(again)
    bench.on({ type: 'jobLoaded', entries: [job, old.done(0, 10, job)] })
    expect(bench.kinds).toEqual(['jobFinished'])
  })

  it('I9: goes on with its own feed when a job is loaded again in one session', () => {
    const bench = new Bench()
    bench.submit(1)
    const { chunk } = bench.find('startChunk')
    bench.end(chunk, 1, 1, 5_000)
    const keepers = [bench.self.peer]
    const result = {
      kind: 'blob',
      hash: 'b'.repeat(64) as BlobHash,
      sizeBytes: 5_000,
      keepers,
    } as const
    bench.on({ type: 'chunkPlaced', chunk, result })
    bench.scheduler.forget(JOB)
    const mine = [...bench.entries]
    bench.on({ type: 'jobLoaded', entries: mine })
    expect(bench.view.state).toBe('finished')
    const stranger = new Feed(factsOf('stranger'))
    bench.receive(stranger.write({ type: 'lost', ranges: [{ lo: 0, hi: 1, done: mine[1]!.hash }] }))
    bench.end(bench.find('startChunk').chunk, 1, 1)
    expect(bench.entries.at(-1)).toMatchObject({ seq: 3, prev: mine[1]!.hash })
  })

  it('gives its entries to an author that comes back', () => {
    const bench = new Bench()
    const author = new Feed(factsOf('author'))
    const job = author.job(1, [{ lo: 0, hi: 1, to: bench.self.session }])
    bench.receive(job)
    bench.end(bench.find('startChunk').chunk, 1, 1)
    expect(bench.all('push')).toEqual([])
    bench.see(author.facts)
    expect(bench.all('push')).toEqual([{ type: 'push', to: author.facts.peer, job: JOB }])
    bench.see(author.facts)
    expect(bench.all('push')).toEqual([])
  })
})
