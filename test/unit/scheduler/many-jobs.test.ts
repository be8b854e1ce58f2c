import { describe, expect, it } from 'vitest'
import type { JobId, SchedulerEffect } from '../../../src/scheduler/types.ts'
import { simHash } from '../../sim/seal.ts'
import { Bench, Feed, factsOf, specOf } from './builders.ts'

const bob = factsOf('bob')
const idOf = (i: number): JobId => simHash(`job ${i}`) as JobId
/** What is looked at with each event costs some 100 ns at least; thousands of them would show in this. */
const MANY_EVENTS = 2_000
const MANY_EVENTS_MS = 2_000

function submit(bench: Bench, i: number, items: number): SchedulerEffect[] {
  return bench.on({ type: 'submitted', job: idOf(i), spec: specOf(items), at: 0 })
}

describe('many jobs', () => {
  it('cost next to nothing with an event that is not about them: 1 000 that run, 50 000 that are over', () => {
    const bench = new Bench(factsOf('self', { slots: 2 }))
    bench.see(bob)
    for (let i = 0; i < 50_000; i += 1) submit(bench, i, 0)
    for (let i = 0; i < 1_000; i += 1) submit(bench, 100_000 + i, 100)
    const started = performance.now()
    for (let i = 0; i < MANY_EVENTS; i += 1) {
      bench.on({ type: 'heartbeat', from: bob.peer, last: false })
    }
    expect(performance.now() - started).toBeLessThan(MANY_EVENTS_MS)
  })

  it('an idle peer asks for a few of them at a time, and for others next', () => {
    const bench = new Bench()
    const feeds = Array.from({ length: 100 }, () => new Feed(bob))
    bench.see(bob)
    const jobs = feeds.map((feed, i) =>
      feed.write({ type: 'job', spec: specOf(10), at: 0, seeds: [] }, idOf(i)),
    )
    bench.receive(...jobs)
    const asked = bench.all('sendSteal')
    expect(asked.length).toBe(4)
    bench.on({
      type: 'stealAnswered',
      from: bob.peer,
      job: asked[0]!.job,
      nonce: asked[0]!.nonce,
      granted: false,
      running: [],
    })
    expect(bench.all('sendSteal').length).toBe(1)
  })

  it('asks for what has a higher priority than all it has itself, however much that is', () => {
    const bench = new Bench()
    bench.see(bob)
    submit(bench, 0, 100_000)
    const first = bench.all('startChunk')[0]!
    bench.end(first.chunk, first.lo + 1, 20)
    const normal = new Feed(bob)
    bench.receive(normal.write({ type: 'job', spec: specOf(10), at: 0, seeds: [] }, idOf(1)))
    expect(bench.all('sendSteal')).toEqual([])
    const urgent = new Feed(bob)
    const spec = specOf(10, { priority: 9 })
    bench.receive(urgent.write({ type: 'job', spec, at: 0, seeds: [] }, idOf(2)))
    expect(bench.all('sendSteal').map(({ job }) => job)).toEqual([idOf(2)])
  })

  it('a small one goes to another peer by chance when no slot is free here', () => {
    let random = 0
    const bench = new Bench(factsOf('self'), { random: () => random })
    bench.see(bob)
    const seedsOf = (i: number) => {
      submit(bench, i, 1)
      return bench.bodies.flatMap((body) => (body.type === 'job' ? body.seeds : []))
    }
    expect(seedsOf(0)).toMatchObject([{ to: bench.self.session }])
    random = 0.9
    expect(seedsOf(1)).toMatchObject([{ to: bob.session }])
    random = 0.1
    expect(seedsOf(2)).toMatchObject([{ to: bench.self.session }])
  })
})
