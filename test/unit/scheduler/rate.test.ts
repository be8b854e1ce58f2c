import { describe, expect, it } from 'vitest'
import { TokenBucket } from '../../../src/scheduler/rate.ts'
import type { JobOptions } from '../../../src/scheduler/types.ts'
import { Bench, Feed, factsOf, JOB } from './builders.ts'

const bob = factsOf('bob')

describe('a token bucket', () => {
  it('fills at its rate, and holds what comes in a second', () => {
    const bucket = new TokenBucket(0, 0)
    bucket.fill(0, 0.01)
    expect([bucket.whole, bucket.readyAt(1), bucket.readyAt(5)]).toEqual([
      0,
      expect.closeTo(100, 2),
      expect.closeTo(500, 2),
    ])
    bucket.fill(350, 0.01)
    expect(bucket.whole).toBe(3)
    bucket.fill(60_000, 0.01)
    expect(bucket.whole).toBe(10)
  })

  it('holds one token at a low rate, and a whole chunk where its size is fixed', () => {
    const bucket = new TokenBucket(0, 0)
    bucket.fill(0, 0.0001)
    bucket.fill(100_000, 0.0001)
    expect(bucket.whole).toBe(1)
    const fixed = new TokenBucket(0, 0)
    fixed.fill(0, 0.001, 50)
    fixed.fill(100_000, 0.001, 50)
    expect(fixed.whole).toBe(50)
  })

  it('keeps what was there, and what came, when the rate changes', () => {
    const bucket = new TokenBucket(0, 0)
    bucket.fill(0, 0.01)
    bucket.fill(500, 0.001)
    expect(bucket.whole).toBe(5)
    bucket.fill(1_500, 0.001)
    expect(bucket.whole).toBe(5)
    bucket.take(5)
    bucket.fill(2_500, 0)
    expect(bucket.whole).toBe(1)
    expect(bucket.readyAt(2)).toBe(Number.POSITIVE_INFINITY)
  })

  it('may be owed', () => {
    const bucket = new TokenBucket(0, 1)
    bucket.take(3)
    expect(bucket.whole).toBe(0)
    bucket.giveBack(3)
    expect(bucket.whole).toBe(1)
  })
})

/** Of 100 items this peer owns the first `own`, bob the rest. */
function shared(own: number, options: JobOptions) {
  const bench = new Bench()
  bench.see(bob)
  const feed = new Feed(bob)
  const job = feed.job(100, [{ lo: 0, hi: own, to: bench.self.session }], options)
  bench.receive(job)
  return { bench, feed, job }
}

describe('a peer of a job with a rate limit', () => {
  it('starts its part of the rate, by its own timer alone', () => {
    const { bench } = shared(25, { ratePer1000s: 1_000 })
    const times: number[] = []
    while (times.length < 10) {
      bench.fire('rate')
      const { chunk, lo, hi } = bench.find('startChunk')
      expect(hi - lo).toBe(1)
      times.push(bench.now)
      bench.end(chunk, hi, 10)
    }
    // A quarter of one item a second; bob goes first.
    expect(times[0]).toBeCloseTo(3_000, 0)
    expect(times.at(-1)).toBeCloseTo(3_000 + 9 * 4_000, 0)
  })

  it('gives back tokens of items that its worker did not reach', () => {
    const { bench } = shared(100, { ratePer1000s: 100_000 })
    bench.fire('rate')
    const first = bench.find('startChunk')
    expect(first.hi - first.lo).toBeGreaterThan(10)
    bench.end(first.chunk, first.lo + 1, 5)
    // Else it would gather for 200 ms.
    expect(bench.timers.get(`rate|${JOB}`)! - bench.now).toBeLessThan(20)
    bench.fire('rate')
    expect(bench.find('startChunk').lo).toBe(first.lo + 1)
  })

  it('has more of the rate when the others have nothing left, or are gone', () => {
    const { bench, feed, job } = shared(25, { ratePer1000s: 1_000 })
    bench.fire('rate')
    bench.end(bench.find('startChunk').chunk, 1, 10)
    const alone = bench.timers.get(`rate|${JOB}`)! - bench.now
    expect(alone).toBeGreaterThan(3_000)
    bench.receive(feed.done(25, 100, job))
    expect(bench.timers.get(`rate|${JOB}`)! - bench.now).toBeLessThan(1_001)
  })

  it('makes no copies of what others are slow at', () => {
    const { bench } = shared(1, { ratePer1000s: 1_000_000 })
    const steal = bench.find('sendSteal')
    bench.fire('rate')
    bench.end(bench.find('startChunk').chunk, 1, 5)
    const slow = { lo: 50, hi: 51, ageMs: 60_000 }
    bench.on({
      type: 'stealAnswered',
      from: bob.peer,
      job: JOB,
      nonce: steal.nonce,
      granted: false,
      running: [slow],
    })
    const copies = bench.pass(8_000).filter(({ type }) => type === 'startChunk')
    expect(copies).toEqual([])
  })

  it('grants nothing to who has items too, unless it cannot keep up itself', () => {
    const { bench } = shared(50, { ratePer1000s: 1_000 })
    bench.fire('rate')
    bench.end(bench.find('startChunk').chunk, 1, 10)
    bench.steal(bob, 1, 100)
    expect(bench.find('answerSteal').granted).toBe(false)
    const slow = shared(50, { ratePer1000s: 1_000 }).bench
    // 10 s an item: a part of 0.5 items a second is more than it can do.
    slow.fire('rate')
    slow.end(slow.find('startChunk').chunk, 1, 10_000)
    slow.steal(bob, 1, 100)
    expect(slow.find('answerSteal').granted).toBe(true)
  })
})
