import { describe, expect, it } from 'vitest'
import type { BlobHash, EntryHash, PeerFacts, SessionId } from '../../../src/scheduler/types.ts'
import { ZERO_HASH } from '../../../src/scheduler/types.ts'
import { Bench, Feed, factsOf, JOB } from './builders.ts'

/** A job of 100 items: 0..50 are this peer's, 50..100 the other's, who is connected. */
function shared(count = 100, options = {}): { bench: Bench; other: Feed; author: Feed } {
  const bench = new Bench(factsOf('self', { slots: 1 }))
  const [author, other] = [new Feed(factsOf('author', { slots: 0 })), new Feed(factsOf('other'))]
  bench.see(author.facts)
  bench.see(other.facts)
  const half = count / 2
  bench.receive(
    author.job(
      count,
      [
        { lo: 0, hi: half, to: bench.self.session },
        { lo: half, hi: count, to: other.facts.session },
      ],
      options,
    ),
  )
  return { bench, other, author }
}

/** This peer runs what it has; every chunk ends whole. */
function finishOwn(bench: Bench): void {
  for (let chunk = bench.view.runningHere[0]; chunk !== undefined; ) {
    bench.end(chunk.chunk, chunk.hi, 1)
    chunk = bench.view.runningHere[0]
  }
}

const beatOf = (bench: Bench, feed: Feed): void => {
  bench.on({ type: 'heartbeat', from: feed.facts.peer, last: false })
}

describe('heartbeats', () => {
  it('go to every peer of a small mesh, every 2 s', () => {
    const bench = new Bench()
    const peers = ['a', 'b', 'c'].map((name) => factsOf(name))
    for (const facts of peers) bench.see(facts)
    const sent = bench.pass(6_000).filter((effect) => effect.type === 'sendHeartbeat')
    expect(sent).toHaveLength(3)
    for (const { to, last } of sent) {
      expect([...to].sort()).toEqual(peers.map(({ peer }) => peer).sort())
      expect(last).toBe(false)
    }
  })

  it('go to twenty watchers of a large one; who is no watcher any more is told so', () => {
    const bench = new Bench()
    for (let i = 0; i < 20; i += 1) bench.see(factsOf(`peer ${i}`))
    const first = bench.pass(2_000).find((effect) => effect.type === 'sendHeartbeat')!
    expect(first.to).toHaveLength(20)
    for (let i = 20; i < 60; i += 1) bench.see(factsOf(`peer ${i}`))
    const second = bench.pass(2_000).filter((effect) => effect.type === 'sendHeartbeat')
    expect(second.map(({ last }) => last)).toEqual([false, true])
    expect(second[0]!.to).toHaveLength(20)
    const dropped = first.to.filter((peer) => !second[0]!.to.includes(peer))
    expect([...second[1]!.to].sort()).toEqual([...dropped].sort())
  })
})

describe('a lease', () => {
  it('ends after 10 s of silence; what the session held is then taken, when there is nothing else to do', () => {
    const { bench, other } = shared()
    bench.pass(9_000)
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
    const effects = bench.pass(2_500)
    expect(effects.find((e) => e.type === 'leaseEnded' && e.peer === other.facts.peer)).toEqual({
      type: 'leaseEnded',
      peer: other.facts.peer,
      session: other.facts.session,
      restarted: false,
    })
    expect(effects.some((e) => e.type === 'resync')).toBe(true)
    expect(bench.view.orphaned).toBe(50)
    expect(bench.entries.some(({ body }) => body.type === 'reclaim')).toBe(false)
    finishOwn(bench)
    bench.pass(500)
    const reclaim = bench.entries.find(({ body }) => body.type === 'reclaim')!.body
    expect(reclaim).toMatchObject({ type: 'reclaim' })
    if (reclaim.type !== 'reclaim') throw new Error('no reclaim')
    expect(reclaim.ranges[0]!.lo).toBe(50)
    expect(reclaim.ranges.at(-1)!.hi).toBe(100)
    expect(reclaim.ranges.every(({ epoch }) => epoch === 1)).toBe(true)
    expect(bench.view.done).toBe(100)
  })

  it('goes on while anything is heard', () => {
    const { bench, other } = shared()
    for (let i = 0; i < 10; i += 1) {
      bench.pass(4_000)
      beatOf(bench, other)
    }
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
  })

  it('ends at once when the port refuses, and the survivor goes on within half a second', () => {
    const { bench, other } = shared()
    finishOwn(bench)
    bench.on({ type: 'peerGone', peer: other.facts.peer, refused: true })
    expect(bench.all('leaseEnded')).toHaveLength(1)
    bench.pass(500)
    expect(bench.view.mine + bench.view.runningHere.length).toBeGreaterThan(0)
    expect(bench.view.orphaned).toBe(0)
  })

  it('does not end by a closed connection alone', () => {
    const { bench, other } = shared()
    bench.on({ type: 'peerGone', peer: other.facts.peer, refused: false })
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
    bench.pass(11_000)
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('lost')
  })

  it('comes back when the peer is heard of again', () => {
    const { bench, other } = shared()
    bench.pass(12_000)
    expect(bench.view.orphaned).toBe(50)
    beatOf(bench, other)
    expect(bench.scheduler.liveness(other.facts.peer)).toEqual({ state: 'live', silentMs: 0 })
    expect(bench.view.orphaned).toBe(0)
  })

  it('of a session ends with the next session of its peer, for good', () => {
    const { bench, other } = shared()
    const { sessionNumber } = other.facts
    const next = {
      ...other.facts,
      session: 'f'.repeat(32) as SessionId,
      sessionNumber: sessionNumber + 1,
    }
    bench.see(next)
    expect(bench.find('leaseEnded')).toMatchObject({
      session: other.facts.session,
      restarted: true,
    })
    bench.see(other.facts)
    expect(bench.view.orphaned).toBe(50)
  })

  it('of a session that only the log speaks of runs from when its ranges were seen', () => {
    const bench = new Bench()
    const author = new Feed(factsOf('author', { slots: 0 }))
    bench.see(author.facts)
    bench.receive(author.job(10, [{ lo: 0, hi: 10, to: factsOf('nobody knows').session }]))
    bench.pass(9_000)
    expect(bench.view.mine + bench.view.runningHere.length).toBe(0)
    for (let i = 0; i < 5; i += 1) {
      beatOf(bench, author)
      bench.pass(4_000)
    }
    expect(bench.view.mine + bench.view.runningHere.length).toBeGreaterThan(0)
  })

  it('ends by the word of another peer, but not of one that reports here', () => {
    const { bench, other } = shared()
    const suspicion = { peer: other.facts.peer, session: other.facts.session }
    const from = factsOf('author').peer
    beatOf(bench, other)
    bench.pass(6_000)
    bench.on({ type: 'suspected', from, ...suspicion })
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
    bench.on({ type: 'heartbeat', from: other.facts.peer, last: true })
    bench.pass(6_000)
    bench.on({ type: 'suspected', from, ...suspicion })
    // It has a moment to say that it lives.
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
    bench.pass(3_100)
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('lost')
  })

  it('does not end by the word of another when the peer answers', () => {
    const { bench, other } = shared()
    const from = factsOf('author').peer
    bench.on({ type: 'heartbeat', from: other.facts.peer, last: true })
    bench.pass(6_000)
    const { peer, session } = other.facts
    bench.on({ type: 'suspected', from, peer, session })
    bench.pass(1_000)
    bench.on({ type: 'heartbeat', from: peer, last: true })
    bench.pass(4_000)
    expect(bench.scheduler.liveness(peer).state).toBe('live')
  })

  it('a peer that is suspected itself says that it lives', () => {
    const { bench } = shared()
    const { peer, session } = bench.self
    bench.on({ type: 'suspected', from: factsOf('other').peer, peer, session })
    expect(bench.find('sendHeartbeat')).toMatchObject({ last: false })
    bench.on({ type: 'suspected', from: factsOf('other').peer, peer, session })
    expect(bench.all('sendHeartbeat')).toEqual([])
  })
})

describe('a process that slept', () => {
  it('listens before it declares anyone dead', () => {
    const { bench, other } = shared()
    // Its own timer fires 30 s late: all were silent to it, since it was.
    bench.fireAlone('beat', 30_000)
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
    const early = bench.pass(2_000)
    expect(early.some((effect) => effect.type === 'leaseEnded')).toBe(false)
    beatOf(bench, other)
    bench.pass(9_000)
    expect(bench.scheduler.liveness(other.facts.peer).state).toBe('live')
  })
})

describe('what the dead held', () => {
  it('is shared by the survivors without a word: no piece is taken twice', () => {
    const names = ['a', 'b', 'c', 'd']
    const facts = names.map((name) => factsOf(name))
    const dead = factsOf('dead')
    const author = new Feed(factsOf('author', { slots: 0 }))
    const job = author.job(1600, [{ lo: 0, hi: 1600, to: dead.session }])
    const taken = new Map<number, string>()
    for (const self of facts) {
      const bench = new Bench(self)
      bench.see(author.facts)
      for (const other of facts) bench.see(other)
      bench.see(dead)
      bench.receive(job)
      bench.on({ type: 'peerGone', peer: dead.peer, refused: true })
      bench.pass(900)
      for (const { body } of bench.entries) {
        if (body.type !== 'reclaim') continue
        for (const { lo, hi } of body.ranges) {
          for (let item = lo; item < hi; item += 1) {
            expect(taken.get(item)).toBeUndefined()
            taken.set(item, self.peer)
          }
        }
      }
    }
    expect(taken.size).toBeGreaterThan(400)
  })

  it('is not taken again from who took it: the epoch fences', () => {
    const { bench, other } = shared()
    finishOwn(bench)
    const third = new Feed(factsOf('third'))
    bench.see(third.facts)
    bench.on({ type: 'peerGone', peer: other.facts.peer, refused: true })
    bench.pass(50)
    const reclaimed = new Feed(factsOf('third'))
    const hash = [...jobHash(bench)][0]!
    bench.receive(
      reclaimed.write({ type: 'reclaim', ranges: [{ lo: 50, hi: 100, parent: hash, epoch: 1 }] }),
    )
    expect(bench.view.orphaned).toBe(0)
    bench.pass(3_000)
    expect(bench.entries.some(({ body }) => body.type === 'reclaim')).toBe(false)
  })
})

function* jobHash(bench: Bench) {
  const { body } = bench.entries.find((entry) => entry.body.type === 'done')!
  if (body.type === 'done') yield body.ranges[0]!.parent
}

describe('a session that breaks a rule', () => {
  it('is told, not asked any more, and what it holds is taken', () => {
    const { bench, other } = shared()
    finishOwn(bench)
    // Grants what is not its own.
    bench.receive(
      other.grant(0, 50, { hash: [...jobHash(bench)][0]! } as never, other.facts.session),
    )
    expect(bench.all('breach')).toHaveLength(1)
    expect(bench.all('leaseEnded')).toHaveLength(1)
    bench.pass(500)
    expect(bench.view.orphaned).toBe(0)
    bench.see(other.facts)
    bench.steal(other.facts, 1, 10)
    expect(bench.find('answerSteal').granted).toBe(false)
  })
})

describe('the author', () => {
  it('takes back what went to a seed that is gone and never acknowledged its JOB', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    const [a, b] = [factsOf('a'), factsOf('b')]
    bench.see(a)
    bench.see(b)
    bench.submit(3_000, { chunkSize: 10 })
    bench.on({ type: 'jobAcknowledged', job: JOB, from: a.peer })
    bench.on({ type: 'peerGone', peer: b.peer, refused: false })
    bench.pass(1_100)
    const reclaim = bench.entries.find(({ body }) => body.type === 'reclaim')?.body
    if (reclaim?.type !== 'reclaim') throw new Error('nothing was taken back')
    const items = reclaim.ranges.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
    expect(items).toBe(1_000)
  })
})

describe('speculation', () => {
  const slowCase = (options = {}): Bench => {
    const { bench, other } = shared(100, { chunkSize: 10, ...options })
    finishOwn(bench)
    return answerAll(bench, other.facts)
  }
  const answerAll = (bench: Bench, victim: PeerFacts): Bench => {
    for (let i = 0; i < 40 && bench.all('startChunk').length === 0; i += 1) {
      const ask = bench.all('sendSteal')[0]
      if (ask === undefined) {
        const due = Math.min(
          ...[...bench.timers].filter(([t]) => t.includes('|')).map(([, at]) => at),
        )
        const [timer] = [...bench.timers].find(([, at]) => at === due)!
        bench.timers.delete(timer)
        bench.now = Math.max(bench.now, due)
        bench.on({ type: 'timerFired', timer })
        continue
      }
      bench.on({
        type: 'stealAnswered',
        from: ask.to,
        job: JOB,
        nonce: ask.nonce,
        granted: false,
        running: ask.to === victim.peer ? [{ lo: 50, hi: 60, ageMs: 2_000 }] : [],
      })
    }
    return bench
  }

  it('an idle peer runs a copy of a chunk that is slow elsewhere; its DONE names no parent', () => {
    const bench = slowCase()
    expect(bench.find('startChunk')).toMatchObject({ lo: 50, hi: 60, speculative: true })
    bench.end(bench.find('startChunk').chunk, 60, 5)
    const done = bench.entries.at(-1)!.body
    expect(done).toMatchObject({ type: 'done', ranges: [{ lo: 50, hi: 60, parent: ZERO_HASH }] })
    expect(bench.view.done).toBe(60)
    expect(bench.all('breach')).toEqual([])
  })

  it('is not done where the job forbids it', () => {
    const bench = slowCase({ speculate: false })
    expect(bench.all('startChunk')).toEqual([])
  })

  it('the loser is aborted', () => {
    const bench = slowCase()
    const { chunk } = bench.find('startChunk')
    const other = new Feed(factsOf('other'))
    bench.receive(other.done(50, 60, [...jobHash(bench)][0]!))
    expect(bench.find('abortChunk').chunk).toBe(chunk)
  })
})

describe('a range that two owners were lost with', () => {
  it.each([
    { how: 'whose ports refuse', refused: true, given: true },
    { how: 'that are only silent', refused: false, given: false },
  ])(
    'is announced by a START before it runs; an item that ended three sessions $how: given up $given',
    ({ refused, given }) => {
      const bench = new Bench(factsOf('self', { slots: 1 }))
      const author = new Feed(factsOf('author', { slots: 0 }))
      const job = author.job(64, [{ lo: 0, hi: 64, to: factsOf('a').session }])
      const victims = ['b', 'c', 'd', 'e'].map((name) => new Feed(factsOf(name)))
      bench.receive(job)
      let parent = job
      victims.forEach((feed, i) => {
        const reclaim = feed.reclaim(0, 64, parent, i + 1)
        bench.receive(reclaim)
        const hi = i === 1 ? 32 : 1
        if (i > 0) {
          bench.receive(
            feed.write({ type: 'start', ranges: [{ lo: 0, hi, parent: reclaim.hash }] }),
          )
        }
        parent = reclaim
      })
      // Their leases end, and it is this peer's turn.
      for (const { facts } of [author, ...victims]) {
        bench.see(facts)
        bench.on({ type: 'peerGone', peer: facts.peer, refused: refused || facts === author.facts })
      }
      bench.pass(25_000)
      const fail = bench.entries.find(({ body }) => body.type === 'fail')?.body
      if (!given) {
        expect(fail).toBeUndefined()
        expect(bench.view.runningHere).toMatchObject([{ lo: 0, hi: 1 }])
        return
      }
      expect(fail).toMatchObject({ ranges: [{ lo: 0, hi: 1, code: 'ERR_MESH_WORKER_DIED' }] })
      const start = bench.entries.find(({ body }) => body.type === 'start')?.body
      expect(start).toMatchObject({ type: 'start' })
      expect([...bench.scheduler.failures(JOB)]).toMatchObject([{ lo: 0, hi: 1 }])
    },
  )
})

describe('a peer that takes no work for now', () => {
  it('hands on what it has not started, and takes it up again', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    bench.submit(100, { chunkSize: 10 })
    bench.on({ type: 'lending', on: false })
    expect(bench.bodies).toMatchObject([{ type: 'release' }])
    bench.end(bench.view.runningHere[0]!.chunk, 10, 5)
    expect(bench.all('startChunk')).toEqual([])
    bench.on({ type: 'lending', on: true })
    bench.pass(2_000)
    expect(bench.view.mine).toBeGreaterThan(0)
  })
})

describe('a job that is not this peer’s to freeze', () => {
  it('huge epochs count only where they lead back to the JOB', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    bench.submit(100)
    const liar = new Feed(factsOf('liar'))
    const nowhere = { hash: '7'.repeat(64) as EntryHash } as never
    const grant = liar.grant(0, 100, nowhere, liar.facts.session, 2 ** 32 - 1)
    bench.receive(grant, liar.reclaim(0, 100, grant, 2 ** 32))
    expect(bench.view.mine + bench.view.runningHere[0]!.hi).toBe(100)
    // Nor may a chain of epochs that nobody made be handed on.
    bench.receive(liar.grant(0, 100, nowhere, liar.facts.session, 1))
    expect(bench.view.mine + bench.view.runningHere[0]!.hi).toBe(100)
  })
})

describe('a peer that starts again', () => {
  const restarted = (): Bench => {
    const before = new Feed(factsOf('self', { slots: 1 }))
    const self = { ...before.facts, session: 'e'.repeat(32) as SessionId, sessionNumber: 9 }
    const bench = new Bench(self, { expectsPeers: true })
    bench.on({ type: 'jobLoaded', entries: [before.job(100)] })
    return bench
  }

  it('hears what others took before it reclaims its own', () => {
    const bench = restarted()
    bench.pass(2_000)
    expect(bench.entries).toEqual([])
    bench.on({ type: 'jobSynced', job: JOB })
    expect(bench.entries.map(({ body }) => body.type)).toContain('reclaim')
  })

  it('does not wait for ever', () => {
    const bench = restarted()
    bench.pass(6_100)
    expect(bench.entries.map(({ body }) => body.type)).toContain('reclaim')
  })
})

describe('a forked feed', () => {
  it('is cut by an entry that carries the proof, once', () => {
    const other = new Feed(factsOf('other'))
    const bench = new Bench(factsOf('self'), {
      readFork: () => ({
        author: other.facts.peer,
        session: other.facts.session,
        job: JOB,
        seq: 1,
      }),
    })
    bench.see(other.facts)
    bench.submit(100)
    const proof = { job: JOB, first: new Uint8Array([1]), second: new Uint8Array([2]) }
    bench.on({ type: 'forkFound', ...proof })
    expect(bench.bodies).toMatchObject([{ type: 'fork' }])
    expect(bench.all('leaseEnded')).toHaveLength(1)
    bench.on({ type: 'forkFound', ...proof })
    expect(bench.bodies).toEqual([])
  })
})

describe('LOST', () => {
  it('of values that stand in the log itself breaks a rule, and changes nothing', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    bench.submit(10, { chunkSize: 10 })
    bench.end(bench.find('startChunk').chunk, 10, 5)
    const done = bench.scheduler.doneAt(JOB, 0)!.hash
    const liar = new Feed(factsOf('liar'))
    bench.receive(liar.write({ type: 'lost', ranges: [{ lo: 0, hi: 10, done }] }))
    expect(bench.all('breach')).toHaveLength(1)
    expect(bench.view.state).toBe('finished')
  })

  it('opens the items of a result that nobody holds, and they run again', () => {
    const bench = new Bench(factsOf('self', { slots: 1 }))
    bench.submit(10, { chunkSize: 10 })
    const { chunk } = bench.find('startChunk')
    bench.end(chunk, 10, 5, 5_000)
    const hash = '5'.repeat(64) as BlobHash
    const result = { kind: 'blob', hash, sizeBytes: 5_000, keepers: [bench.self.peer] } as const
    bench.on({ type: 'chunkPlaced', chunk, result })
    expect(bench.all('jobFinished')).toHaveLength(1)
    const done = bench.scheduler.doneAt(JOB, 0)!.hash
    bench.on({ type: 'resultLost', job: JOB, lo: 0, hi: 10, done })
    expect(bench.bodies).toMatchObject([{ type: 'lost', ranges: [{ lo: 0, hi: 10 }] }])
    expect(bench.view.state).toBe('running')
    expect(bench.view.runningHere).toHaveLength(1)
    bench.end(bench.view.runningHere[0]!.chunk, 10, 5)
    expect(bench.all('jobFinished')).toHaveLength(1)
  })
})
