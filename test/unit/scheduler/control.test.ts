import { describe, expect, it } from 'vitest'
import { JobFold } from '../../../src/scheduler/fold.ts'
import type { Entry, JobOptions, JobState, PeerFacts } from '../../../src/scheduler/types.ts'
import { Bench, Feed, factsOf, JOB } from './builders.ts'

const bob = factsOf('bob')
const carol = factsOf('carol')
const cancel = (reason = 'enough') => ({ type: 'cancelled', job: JOB, reason }) as const
const pause = { type: 'paused', job: JOB } as const
const resume = { type: 'resumed', job: JOB } as const

function benchWith(count: number, options: JobOptions = {}, peers: readonly PeerFacts[] = []) {
  const bench = new Bench()
  for (const facts of peers) bench.see(facts)
  bench.submit(count, options)
  return bench
}

/** What another peer submitted, all seeded to this one. */
function received(bench: Bench, count: number, options: JobOptions = {}): Feed {
  const feed = new Feed(bob)
  bench.see(bob)
  const seeds = [{ lo: 0, hi: count, to: bench.self.session }]
  bench.receive(feed.job(count, seeds, options))
  return feed
}

describe('CANCEL', () => {
  it('is written, told to the connected peers and gossiped at once; what runs is aborted', () => {
    const bench = benchWith(100, {}, [bob, carol])
    bench.on(cancel())
    expect(bench.bodies).toEqual([{ type: 'cancel', reason: 'enough' }])
    const to = bench.all('push').map((effect) => effect.to)
    expect(new Set(to)).toEqual(new Set([bob.peer, carol.peer]))
    expect(bench.all('publish')).toHaveLength(1)
    expect(bench.all('abortChunk')).toHaveLength(1)
    expect(bench.view.state).toBe('cancelled')
    expect(bench.view.cancellation).toEqual({ by: bench.self.peer, reason: 'enough' })
    expect(bench.jobTimers).toBe(0)
  })

  it('of a job that is over, or cancelled, or not known is nothing', () => {
    const bench = benchWith(1)
    bench.on({ ...cancel(), job: 'f'.repeat(64) as typeof JOB })
    expect(bench.kinds).toEqual([])
    bench.end(1, 1, 5)
    bench.on(cancel())
    expect(bench.kinds).toEqual([])
    const other = benchWith(10)
    other.on(cancel())
    other.on(cancel('again'))
    expect(other.kinds).toEqual([])
  })

  it('of a peer that is no controller is not written, and counts for nobody', () => {
    const bench = new Bench()
    const feed = received(bench, 10, { controllers: [bob.peer] })
    bench.on(cancel())
    bench.on(pause)
    expect(bench.bodies).toEqual([])
    const stranger = new Feed(carol)
    bench.receive(stranger.write({ type: 'cancel', reason: 'mine' }))
    expect(bench.all('breach')).toMatchObject([{ peer: carol.peer }])
    expect(bench.view.state).toBe('running')
    bench.receive(feed.write({ type: 'cancel', reason: 'his' }))
    expect(bench.view.cancellation).toEqual({ by: bob.peer, reason: 'his' })
  })

  it('is beaten by the last item', () => {
    const bench = new Bench()
    const feed = received(bench, 2)
    const { chunk } = bench.find('startChunk')
    bench.receive(feed.write({ type: 'cancel', reason: '' }))
    expect(bench.view.state).toBe('cancelled')
    const mine = new Feed(carol)
    bench.receive(mine.done(0, 2, '0'.repeat(64) as Entry['hash']))
    expect(bench.view.state).toBe('finished')
    expect(bench.view.cancellation).toBeUndefined()
    bench.end(chunk, 2, 5)
    expect(bench.bodies).toEqual([])
  })
})

describe('PAUSE and RESUME', () => {
  it('nothing starts between them; what runs goes on to its end and is written', () => {
    const bench = benchWith(100)
    bench.on(pause)
    expect(bench.bodies).toEqual([{ type: 'pause' }])
    bench.end(1, 1, 20)
    expect(bench.bodies.map(({ type }) => type)).toEqual([])
    bench.fire('done')
    expect(bench.bodies.map(({ type }) => type)).toEqual(['done'])
    expect(bench.all('startChunk')).toEqual([])
    bench.on(pause)
    expect(bench.bodies).toEqual([])
    bench.on(resume)
    expect(bench.bodies).toMatchObject([{ type: 'resume', pauses: [expect.any(String)] }])
    expect(bench.all('startChunk')).toHaveLength(1)
    bench.on(resume)
    expect(bench.bodies).toEqual([])
  })

  it('a RESUME ends the PAUSEs that it names, whatever the order, and no other', () => {
    const [alice, other] = [new Feed(factsOf('a')), new Feed(bob)]
    const entries = [alice.job(10), alice.write({ type: 'pause' }), other.write({ type: 'pause' })]
    entries.push(other.write({ type: 'resume', pauses: [entries[1]!.hash] }))
    expect(stateOf(entries)).toBe('paused')
    expect(stateOf([...entries].reverse())).toBe('paused')
    entries.push(alice.write({ type: 'resume', pauses: [entries[2]!.hash] }))
    expect(stateOf(entries)).toBe('running')
    expect(stateOf([...entries].reverse())).toBe('running')
  })
})

function stateOf(entries: readonly Entry[]): JobState {
  const fold = new JobFold(JOB, {
    ownerChanged: () => undefined,
    finalChanged: () => undefined,
    rebuilt: () => undefined,
    breach: () => undefined,
    forked: () => undefined,
  })
  for (const entry of entries) fold.add(entry)
  return fold.state
}

describe('a delayed start', () => {
  it('waits for the mesh clock, then for the time; the timer moves with the clock', () => {
    const bench = new Bench()
    bench.now = 1_000
    bench.submit(10, { startAt: 50_000 })
    expect(bench.view.startsAt).toBe(50_000)
    expect(bench.all('startChunk')).toEqual([])
    bench.on({ type: 'clockSet', offsetMs: 9_000 })
    expect(bench.timers.get(`start|${JOB}`)).toBe(41_000)
    bench.on({ type: 'clockSet', offsetMs: 10_000 })
    expect(bench.timers.get(`start|${JOB}`)).toBe(40_000)
    bench.fire('start')
    expect(bench.all('startChunk')).toHaveLength(1)
  })

  it('counts a delay from the submission by the clock of the mesh', () => {
    const bench = new Bench()
    bench.now = 1_000
    bench.on({ type: 'clockSet', offsetMs: 9_000 })
    bench.submit(10, { delayMs: 5_000 })
    expect(bench.bodies).toMatchObject([{ type: 'job', at: 10_000 }])
    expect(bench.view.startsAt).toBe(15_000)
    expect(bench.timers.get(`start|${JOB}`)).toBe(6_000)
  })

  it('neither asks for items nor copies any before; others may have them', () => {
    const bench = new Bench()
    bench.on({ type: 'clockSet', offsetMs: 0 })
    const feed = new Feed(bob)
    bench.see(bob)
    bench.receive(feed.job(100, [], { startAt: 5_000 }))
    expect(bench.all('sendSteal')).toEqual([])
    bench.fire('start')
    expect(bench.all('sendSteal')).toHaveLength(1)
  })
})

describe('limits of a job', () => {
  it('its time is up: the first by rank cancels it', () => {
    const bench = new Bench()
    bench.on({ type: 'clockSet', offsetMs: 0 })
    bench.submit(10, { jobTimeLimitMs: 30_000 })
    expect(bench.timers.get(`limit|${JOB}`)).toBe(30_000)
    bench.fire('limit')
    expect(bench.bodies).toEqual([
      { type: 'cancel', reason: "the job's time limit of 30 s is over" },
    ])
    expect(bench.all('abortChunk')).toHaveLength(1)
  })

  it('the others wait for their turn, and start nothing meanwhile', () => {
    const peers = Array.from({ length: 8 }, (_, i) => factsOf(`p${i}`))
    const benches = peers.map((self) => {
      const bench = new Bench(self)
      for (const other of peers) if (other !== self) bench.see(other)
      bench.on({ type: 'clockSet', offsetMs: 0 })
      const feed = new Feed(bob)
      bench.see(bob)
      const seeds = [{ lo: 0, hi: 10, to: self.session }]
      bench.receive(
        feed.job(10, seeds, { jobTimeLimitMs: 30_000, controllers: peers.map((p) => p.peer) }),
      )
      bench.fire('limit')
      return bench
    })
    const wrote = benches.filter((bench) => bench.bodies.some(({ type }) => type === 'cancel'))
    expect(wrote).toHaveLength(1)
    const turns = benches.map((bench) => bench.timers.get(`limit|${JOB}`) ?? 30_000)
    expect([...turns].sort((a, b) => a - b)).toEqual(peers.map((_, i) => 30_000 + 1_000 * i))
    const waiting = benches.find((bench) => !wrote.includes(bench))!
    waiting.end(1, 1, 5)
    expect(waiting.all('startChunk')).toEqual([])
  })

  it.each([
    ['a count', { maxFailures: 2 }],
    ['a share', { maxFailuresPpm: 20_000 }],
  ])('too many items failed: %s', (_, options) => {
    const bench = new Bench()
    const feed = new Feed(bob)
    const job = feed.job(100, [], options)
    bench.receive(job, feed.done(0, 10, job, 2))
    expect(bench.view.state).toBe('running')
    bench.receive(feed.done(10, 20, job, 1))
    expect(bench.view.state).toBe('cancelled')
    expect(bench.view.cancellation?.reason).toBe('3 items failed, and the job allows 2')
  })
})

describe('an item that is to be tried again later', () => {
  const backoff = { delayMs: 5_000, attempt: 2 }

  /** Of a chunk of several items the second throws. */
  function threw() {
    const bench = benchWith(100, { retries: 3 })
    bench.end(1, 5, 20)
    const { chunk, lo, hi } = bench.find('startChunk')
    bench.now += 20
    bench.on({
      type: 'chunkEnded',
      chunk,
      reached: lo + 1,
      failed: 0,
      elapsedMs: 20,
      outputBytes: 1,
      inline: new Uint8Array(1),
      retry: backoff,
    })
    return { bench, item: lo + 1, hi }
  }

  it('waits alone, and runs alone with its number; the others go on', () => {
    const { bench, item } = threw()
    const next = bench.find('startChunk')
    expect(next.lo).toBe(item + 1)
    expect(next.attempt).toBe(1)
    expect(bench.timers.get(`again|${JOB}`)).toBe(bench.now + 5_000)
    bench.end(next.chunk, next.lo, 0)
    bench.fire('again')
    expect(bench.find('startChunk')).toMatchObject({ lo: item, hi: item + 1, attempt: 2 })
  })

  it('is not forgotten when its timer fires a little early', () => {
    const { bench, item } = threw()
    const next = bench.find('startChunk')
    bench.end(next.chunk, next.lo, 0)
    const timer = `again|${JOB}`
    const at = bench.timers.get(timer)!
    bench.timers.delete(timer)
    bench.now = at - 0.5
    bench.on({ type: 'timerFired', timer })
    expect(bench.timers.get(timer)).toBe(at)
    const others = bench.find('startChunk')
    bench.fire('again')
    bench.end(others.chunk, others.hi, 0)
    expect(bench.find('startChunk')).toMatchObject({ lo: item, hi: item + 1, attempt: 2 })
  })

  it('is not granted to a thief; it is released when its peer stops', () => {
    const { bench, item } = threw()
    bench.see(bob)
    bench.steal(bob, 1, 1_000_000)
    const granted = bench.bodies.flatMap((body) => (body.type === 'grant' ? body.ranges : []))
    expect(granted.some(({ lo, hi }) => lo <= item && item < hi)).toBe(false)
    bench.on({ type: 'stopping' })
    const released = bench.bodies.flatMap((body) => (body.type === 'release' ? body.ranges : []))
    expect(released.some(({ lo, hi }) => lo <= item && item < hi)).toBe(true)
  })

  it('waits on while the job is paused, and runs when it goes on', () => {
    const { bench, item } = threw()
    const next = bench.find('startChunk')
    bench.on(pause)
    bench.end(next.chunk, next.lo, 0)
    bench.fire('again')
    expect(bench.all('startChunk')).toEqual([])
    bench.on(resume)
    expect(bench.find('startChunk')).toMatchObject({ lo: item, attempt: 2 })
  })

  it('is forgotten when the job is cancelled, or another has done it', () => {
    const { bench } = threw()
    bench.on(cancel())
    expect(bench.timers.has(`again|${JOB}`)).toBe(false)
    const other = threw()
    const copy = new Feed(carol).done(other.item, other.item + 1, '0'.repeat(64) as Entry['hash'])
    other.bench.receive(copy)
    const next = other.bench.all('startChunk')
    expect(next).toEqual([])
    other.bench.fire('again')
    expect(other.bench.all('startChunk').some(({ lo }) => lo === other.item)).toBe(false)
  })
})

describe('what a job requires', () => {
  const big = factsOf('big', { cores: 32, memoryBytes: 64e9, labels: { zone: 'a' } })
  const small = factsOf('small', { cores: 2, memoryBytes: 4e9, labels: {} })
  const silent = factsOf('silent')

  it.each<[string, JobOptions['requires'], string[]]>([
    ['cores', { cores: 8 }, ['big', 'silent']],
    ['memory', { memoryBytes: 8e9 }, ['big', 'silent']],
    ['labels', { labels: { zone: 'a' } }, ['big', 'silent']],
    ['another label', { labels: { zone: 'b' } }, ['silent']],
    ['a GPU', { gpu: true }, []],
  ])('%s: seeds go to those that have it', (_, requires, able) => {
    const bench = new Bench(factsOf('self', { cores: 1, memoryBytes: 1e9, labels: {} }))
    for (const facts of [big, small, silent]) bench.see(facts)
    bench.submit(90, { requires: requires! })
    const seeded = bench.bodies.flatMap((body) => (body.type === 'job' ? body.seeds : []))
    const sessions = able.map((name) => factsOf(name).session)
    expect(new Set(seeded.map(({ to }) => to))).toEqual(new Set(sessions))
    expect(bench.view.eligible).toBe(able.length)
    expect(bench.all('startChunk')).toEqual([])
  })

  it('nobody else is granted any, nor asks', () => {
    const requires = { labels: { zone: 'a' } }
    const bench = new Bench(big)
    bench.see(small)
    bench.submit(90, { requires })
    bench.steal(small, 1)
    expect(bench.find('answerSteal').granted).toBe(false)
    const poor = new Bench(small)
    poor.see(big)
    poor.receive(new Feed(big).job(90, [], { requires }))
    expect(poor.all('sendSteal')).toEqual([])
    expect(poor.all('startChunk')).toEqual([])
  })
})
