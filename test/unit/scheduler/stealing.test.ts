import { describe, expect, it } from 'vitest'
import { Bench, Feed, factsOf, JOB } from './builders.ts'

/** A peer that has run out, in a job whose author owns the rest, with these peers connected. */
function hungry(names = ['author']): { bench: Bench; author: Feed; peers: Feed[] } {
  const bench = new Bench()
  const peers = names.map((name) => new Feed(factsOf(name)))
  const author = peers[0]!
  for (const { facts } of peers) bench.see(facts)
  author.job(1_000)
  bench.receive(author.entries[0]!)
  return { bench, author, peers }
}

function answer(bench: Bench, from: Feed, nonce: number, granted = false) {
  return bench.on({
    type: 'stealAnswered',
    from: from.facts.peer,
    job: JOB,
    nonce,
    granted,
    running: [],
  })
}

describe('a thief', () => {
  it('asks when a slot is idle, once at a time, and runs what it is granted', () => {
    const { bench, author } = hungry()
    expect(bench.kinds).toEqual(['sendSteal', 'setTimer'])
    const { nonce, to, idle, rate } = bench.find('sendSteal')
    expect([to, idle, rate]).toEqual([author.facts.peer, 1, undefined])
    bench.receive(author.done(0, 1, author.entries[0]!))
    expect(bench.all('sendSteal')).toEqual([])
    bench.now = 40
    bench.receive(author.grant(500, 1_000, author.entries[0]!, bench.self.session))
    expect(bench.find('startChunk').lo).toBe(500)
    answer(bench, author, nonce, true)
    expect(bench.all('sendSteal')).toEqual([])
    expect(bench.timers.has(`steal|${JOB}`)).toBe(false)
  })

  it('asks again with the same nonce after 1 s, then another peer with a new one', () => {
    const { bench, author } = hungry()
    const first = bench.find('sendSteal')
    bench.fire('steal')
    expect(bench.now).toBe(1_000)
    expect(bench.find('sendSteal')).toEqual(first)
    const other = factsOf('other')
    bench.see(other)
    bench.fire('steal')
    const second = bench.find('sendSteal')
    expect(second.to).toBe(other.peer)
    expect(second.nonce).not.toBe(first.nonce)
    // A late answer to the old question is no answer to the new one.
    answer(bench, author, first.nonce)
    expect(bench.all('sendSteal')).toEqual([])
  })

  it('leaves word with at most three peers after three empty answers, and backs off, longer each time', () => {
    const { bench, peers } = hungry(['author', 'b', 'c', 'd', 'e'])
    const emptyRound = () => {
      for (let i = 0; i < 3; i += 1) {
        const { to, nonce } = bench.find('sendSteal')
        answer(bench, peers.find(({ facts }) => facts.peer === to)!, nonce)
      }
    }
    emptyRound()
    expect(bench.all('sendSteal')).toEqual([])
    expect(new Set(bench.all('sendLifeline').map(({ to }) => to)).size).toBe(3)
    const waits: number[] = []
    for (let i = 0; i < 7; i += 1) {
      waits.push(bench.timers.get(`idle|${JOB}`)! - bench.now)
      bench.fire('idle')
      emptyRound()
    }
    expect(waits).toEqual([250, 500, 1_000, 2_000, 4_000, 5_000, 5_000])
  })

  it('asks at once again when work came and was used up during the back-off', () => {
    const { bench, author } = hungry()
    answer(bench, author, bench.find('sendSteal').nonce)
    expect(bench.all('sendLifeline')).toHaveLength(1)
    bench.now = 10
    bench.receive(author.grant(999, 1_000, author.entries[0]!, bench.self.session))
    bench.end(bench.find('startChunk').chunk, 1_000, 200)
    expect(bench.all('sendSteal')).toHaveLength(1)
  })

  it('turns to another peer when its victim is gone', () => {
    const { bench, author, peers } = hungry(['author', 'b'])
    const { to } = bench.find('sendSteal')
    bench.on({ type: 'peerGone', peer: to, refused: false })
    const left = peers.find(({ facts }) => facts.peer !== to)!
    expect(bench.find('sendSteal').to).toBe(left.facts.peer)
    bench.on({ type: 'peerGone', peer: left.facts.peer, refused: false })
    expect(bench.all('sendSteal')).toEqual([])
    bench.see(author.facts)
    expect(bench.all('sendSteal').length + bench.jobTimers).toBeGreaterThan(0)
  })

  it('asks ahead when what is here lasts less than two round trips and a bit', () => {
    const bench = new Bench()
    const author = new Feed(factsOf('author'))
    bench.see(author.facts)
    bench.receive(author.job(2_000, [{ lo: 0, hi: 1_000, to: bench.self.session }]))
    bench.end(bench.find('startChunk').chunk, 200, 20)
    expect(bench.find('sendSteal')).toMatchObject({ to: author.facts.peer, idle: 0, rate: 10_000 })
    expect(bench.all('startChunk')).toHaveLength(1)
  })

  it('asks nobody when the fold says that the rest is its own, or final', () => {
    const bench = new Bench()
    const other = factsOf('other')
    bench.see(other)
    const author = new Feed(factsOf('author'))
    bench.receive(author.job(2, [{ lo: 0, hi: 2, to: bench.self.session }]))
    expect(bench.all('sendSteal')).toEqual([])
  })

  it('lends nothing, asks nothing', () => {
    const bench = new Bench(factsOf('self', { slots: 0 }))
    const author = new Feed(factsOf('author'))
    bench.see(author.facts)
    bench.receive(author.job(10))
    expect(bench.all('sendSteal')).toEqual([])
  })
})

describe('a victim', () => {
  function victim(): Bench {
    const bench = new Bench()
    bench.submit(100_000)
    bench.end(bench.find('startChunk').chunk, 200, 20)
    return bench
  }
  const thief = factsOf('thief')

  it('grants the tail of what it has not started, then answers; again for the same nonce', () => {
    const bench = victim()
    bench.see(thief)
    const mine = bench.view.mine
    bench.steal(thief, 5, 10_000)
    const [body] = bench.bodies
    expect(body).toMatchObject({ type: 'grant', to: thief.session })
    const range = body?.type === 'grant' ? body.ranges[0]! : undefined
    expect(range).toMatchObject({ hi: 100_000, epoch: 0, hop: 1, parent: bench.entries[0]!.hash })
    expect(range!.hi - range!.lo).toBeGreaterThan(0.45 * mine)
    expect(range!.hi - range!.lo).toBeLessThanOrEqual(0.5 * mine)
    const order = bench.last.map(({ type }) => type)
    expect(order.indexOf('append')).toBeLessThan(order.indexOf('answerSteal'))
    const first = bench.find('answerSteal')
    expect(first).toMatchObject({ to: thief.peer, nonce: 5, granted: true })
    bench.steal(thief, 5, 10_000)
    expect(bench.kinds).toEqual(['answerSteal'])
    expect(bench.find('answerSteal')).toEqual(first)
    bench.steal(thief, 6, 10_000)
    expect(bench.bodies).toHaveLength(1)
  })

  it('gives more to a faster thief, on the bounds of a fixed chunk size', () => {
    const bench = new Bench()
    bench.submit(10_000, { chunkSize: 100 })
    bench.end(bench.find('startChunk').chunk, 100, 100)
    bench.steal(thief, 1, 3_000)
    const [body] = bench.bodies
    const range = body?.type === 'grant' ? body.ranges[0]! : { lo: 0, hi: 0 }
    expect(range.lo % 100).toBe(0)
    expect(range.hi - range.lo).toBeGreaterThan(7_000)
  })

  it('answers empty with what runs and for how long; also for a job that it does not know', () => {
    const bench = new Bench()
    bench.submit(1)
    bench.now = 30
    bench.steal(thief, 1)
    expect(bench.kinds).toEqual(['answerSteal'])
    expect(bench.find('answerSteal')).toMatchObject({
      granted: false,
      running: [{ lo: 0, hi: 1, ageMs: 30 }],
    })
    const job = 'c'.repeat(64) as never
    bench.on({
      type: 'stealRequested',
      from: thief.peer,
      session: thief.session,
      job,
      nonce: 9,
      rate: Number.NaN,
      idle: -1,
    })
    expect(bench.last).toEqual([
      { type: 'answerSteal', to: thief.peer, job, nonce: 9, granted: false, running: [] },
    ])
  })

  it('tells the author of the job what it granted', () => {
    const bench = new Bench()
    const author = new Feed(factsOf('author'))
    bench.see(author.facts)
    bench.receive(author.job(50_000, [{ lo: 0, hi: 50_000, to: bench.self.session }]))
    bench.steal(thief, 1)
    expect(bench.all('push')).toEqual([{ type: 'push', to: author.facts.peer, job: JOB }])
  })

  it.each([Number.NaN, -5, Number.POSITIVE_INFINITY, 0])(
    'takes a rate of %s for unknown',
    (rate) => {
      const bench = victim()
      bench.steal(thief, 1, rate)
      expect(bench.find('answerSteal').granted).toBe(true)
    },
  )

  it('pushes work to a peer that left word, as soon as it has two items', () => {
    const bench = new Bench()
    const author = new Feed(factsOf('author'))
    bench.see(thief)
    const job = author.job(50_000)
    bench.receive(job)
    const { peer, session } = thief
    bench.on({ type: 'lifelineReceived', from: peer, session, job: JOB, rate: undefined, idle: 1 })
    expect(bench.bodies).toEqual([])
    bench.receive(author.grant(0, 50_000, job, bench.self.session))
    expect(bench.bodies).toMatchObject([{ type: 'grant', to: session }])
    expect(bench.all('push')).toEqual([{ type: 'push', to: peer, job: JOB }])
    bench.end(bench.find('startChunk').chunk, 100, 20)
    expect(bench.bodies.filter(({ type }) => type === 'grant')).toEqual([])
  })

  it('forgets a lifeline when the peer is gone, and after its time', () => {
    for (const late of [false, true]) {
      const bench = new Bench()
      const author = new Feed(factsOf('author'))
      bench.see(thief)
      const job = author.job(50_000)
      bench.receive(job)
      const { peer, session } = thief
      bench.on({ type: 'lifelineReceived', from: peer, session, job: JOB, rate: 1, idle: 1 })
      if (late) bench.now = 6_001
      else bench.on({ type: 'peerGone', peer, refused: false })
      bench.receive(author.grant(0, 50_000, job, bench.self.session))
      expect(bench.bodies).toEqual([])
    }
  })
})
