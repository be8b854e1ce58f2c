import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JobFold, type ReadFork } from '../../../src/scheduler/fold.ts'
import type { DoneSpan, Entry, OwnerSpan } from '../../../src/scheduler/types.ts'
import { Feed, factsOf, JOB } from './builders.ts'
import { randomHistory } from './history.ts'

const readFork: ReadFork = (first) => {
  const [feed, seq] = new TextDecoder().decode(first).split(' ')
  const { peer, session } = factsOf(feed!)
  return { author: peer, session, job: JOB, seq: Number(seq) }
}

interface Observed {
  readonly fold: JobFold
  readonly breaches: string[]
  readonly owners: Map<number, OwnerSpan>
  readonly dones: Map<number, DoneSpan>
}

function observe(entries: readonly Entry[]): Observed {
  const breaches: string[] = []
  const fold = new JobFold(
    JOB,
    {
      ownerChanged: () => undefined,
      finalChanged: () => undefined,
      rebuilt: () => undefined,
      breach: (_, __, reason) => breaches.push(reason),
      forked: () => undefined,
    },
    readFork,
  )
  const owners = new Map<number, OwnerSpan>()
  const dones = new Map<number, DoneSpan>()
  for (const entry of entries) {
    fold.add(entry)
    const change = fold.takeChange()
    if (change === undefined) continue
    for (const lo of change.ownersRemoved) owners.delete(lo)
    for (const span of change.ownersPut) owners.set(span.lo, span)
    for (const lo of change.doneRemoved) dones.delete(lo)
    for (const span of change.donePut) dones.set(span.lo, span)
  }
  return { fold, breaches, owners, dones }
}

/** Everything that a fold says, in one comparable value. */
function stateOf({ fold, owners, dones }: Observed) {
  const byLo = (a: { lo: number }, b: { lo: number }) => a.lo - b.lo
  const sorted = (counts: ReadonlyMap<string, number>) =>
    [...counts].sort(([a], [b]) => (a < b ? -1 : 1))
  const state = {
    owners: [...fold.owners],
    dones: [...fold.dones],
    final: [...fold.final.ranges()],
    open: sorted(fold.openOf),
    doneBy: sorted(fold.doneBy),
    failed: fold.failed,
    counts: [fold.entryCount, fold.chunks, fold.grants, fold.reclaims],
    state: fold.state,
    job: fold.jobEntry?.hash,
  }
  expect([...owners.values()].sort(byLo)).toEqual(state.owners)
  expect([...dones.values()].sort(byLo)).toEqual(state.dones)
  return state
}

describe('the fold of a job log', () => {
  it('I1: is a function of the set of entries: any order, any repetition, and its views follow', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1_000_000), { minLength: 5, maxLength: 120 }),
        fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
        (choices, keys) => {
          const entries = randomHistory(choices)
          const expected = stateOf(observe(entries))
          const shuffled = entries
            .map((entry, i) => ({ entry, key: keys[i % keys.length]! ^ (i * 2_654_435_761) }))
            .sort((a, b) => a.key - b.key)
            .map(({ entry }) => entry)
          const repeated = shuffled.flatMap((entry, i) =>
            i % 3 === 0 ? [entry, shuffled[(i * 7) % shuffled.length]!] : [entry],
          )
          expect(stateOf(observe(repeated))).toEqual(expected)
          expect(stateOf(observe([...entries].reverse()))).toEqual(expected)
        },
      ),
      { numRuns: 400 },
    )
  })

  it('I2: an item that is done stays done, whatever else comes, but for FORK and LOST', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000_000), { minLength: 5, maxLength: 80 }), (choices) => {
        const entries = randomHistory(choices).filter(
          ({ body }) => body.type !== 'fork' && body.type !== 'lost',
        )
        let done = new Set<number>()
        for (let n = 1; n <= entries.length; n += 1) {
          const { fold } = observe(entries.slice(0, n))
          const now = new Set<number>()
          for (const { lo, hi } of fold.dones) for (let i = lo; i < hi; i += 1) now.add(i)
          for (const item of done) expect(now.has(item)).toBe(true)
          done = now
        }
      }),
      { numRuns: 60 },
    )
  })

  const a = () => new Feed(factsOf('a'))
  const b = () => new Feed(factsOf('b'))

  it('gives what is not seeded to the author, and the rest by epoch, then hop, then hash', () => {
    const [alice, bob] = [a(), b()]
    const job = alice.job(100, [{ lo: 0, hi: 40, to: bob.facts.session }])
    const grant = bob.grant(20, 40, job, alice.facts.session)
    const back = alice.grant(30, 40, grant, bob.facts.session, 0, 2)
    const { fold } = observe([back, grant, job])
    expect([...fold.owners].map(({ lo, hi, owner }) => [lo, hi, owner])).toEqual([
      [0, 20, bob.facts.session],
      [20, 30, alice.facts.session],
      [30, 40, bob.facts.session],
      [40, 100, alice.facts.session],
    ])
    expect(fold.openItems(bob.facts.session)).toBe(30)
    const reclaim = alice.reclaim(0, 20, job)
    fold.add(reclaim)
    expect(fold.openItems(bob.facts.session)).toBe(10)
  })

  it('leaves out a grant of what its author never had, once the parent is known, and what came of it', () => {
    const [alice, bob] = [a(), b()]
    const carol = new Feed(factsOf('c'))
    const job = alice.job(100, [{ lo: 0, hi: 100, to: alice.facts.session }])
    const given = alice.grant(0, 10, job, bob.facts.session)
    const stolen = bob.grant(0, 50, given, carol.facts.session, 0, 2)
    const onward = carol.grant(40, 50, stolen, alice.facts.session, 0, 3)
    const early = observe([job, stolen, onward])
    expect(early.fold.owners.at(45)?.hash).toBe(onward.hash)
    expect(early.breaches).toEqual([])
    early.fold.add(given)
    expect(early.breaches).toEqual(['grant of items 0..50 that its parent does not cover'])
    expect(early.fold.owners.at(45)?.hash).toBe(job.hash)
    expect(early.fold.owners.at(5)?.hash).toBe(given.hash)
  })

  it.each([
    ['epoch', 1, 1],
    ['hop', 0, 2],
  ])('leaves out a grant with the wrong %s', (_, epoch, hop) => {
    const alice = a()
    const job = alice.job(10)
    const wrong = alice.grant(0, 5, job, factsOf('b').session, epoch, hop)
    const { fold, breaches } = observe([job, wrong])
    expect(fold.owners.at(0)?.hash).toBe(job.hash)
    expect(breaches).toHaveLength(1)
  })

  it('ignores a reclaim with any epoch but the next, and one whose parent is not known', () => {
    const [alice, bob] = [a(), b()]
    const job = alice.job(10)
    const jump = bob.reclaim(0, 10, job, 1_000)
    const { fold, breaches } = observe([job, jump])
    expect(fold.owners.at(0)?.owner).toBe(alice.facts.session)
    expect(breaches).toEqual(['reclaim with epoch 1000, not 1'])
    const blind = bob.write({
      type: 'reclaim',
      ranges: [{ lo: 0, hi: 10, parent: 'f'.repeat(64) as Entry['hash'], epoch: 9 }],
    })
    fold.add(blind)
    expect(fold.owners.at(0)?.owner).toBe(alice.facts.session)
    fold.add(bob.reclaim(0, 10, job, 1))
    expect(fold.owners.at(0)?.owner).toBe(bob.facts.session)
    expect(fold.reclaims).toBe(2)
  })

  it('says of a released range that nobody owns it', () => {
    const alice = a()
    const job = alice.job(10)
    const { fold } = observe([job, alice.release(4, 10, job)])
    expect(fold.owners.at(5)?.owner).toBe('')
    expect(fold.openItems('' as never)).toBe(6)
  })

  it('accepts of two DONEs the one with the smaller hash, and keeps both results apart by origin', () => {
    const [alice, bob] = [a(), b()]
    const job = alice.job(10)
    const one = alice.done(0, 6, job, 1)
    const two = bob.done(3, 10, job, 2)
    const { fold } = observe([job, one, two])
    const winner = one.hash < two.hash ? one : two
    expect(fold.dones.at(4)?.hash).toBe(winner.hash)
    expect(fold.dones.at(9)?.originLo).toBe(3)
    expect(fold.state).toBe('finished')
    expect(fold.chunks).toBe(2)
  })

  it('I10: is finished if and only if every item is final; that beats CANCEL', () => {
    const alice = a()
    const job = alice.job(10)
    const { fold } = observe([job, alice.done(0, 9, job)])
    expect(fold.state).toBe('running')
    fold.add(alice.write({ type: 'cancel', reason: 'enough' }))
    expect(fold.state).toBe('cancelled')
    fold.add(
      alice.write({ type: 'fail', ranges: [{ lo: 9, hi: 10, code: 'ERR', message: 'no input' }] }),
    )
    expect(fold.state).toBe('finished')
    expect(fold.failed).toBe(1)
    fold.add(alice.done(9, 10, job))
    expect(fold.failed).toBe(0)
  })

  it('is finished at once without items', () => {
    expect(observe([a().job(0)]).fold.state).toBe('finished')
  })

  it('pauses and resumes', () => {
    const alice = a()
    const pause = alice.write({ type: 'pause' })
    const { fold } = observe([alice.job(1), pause])
    expect(fold.state).toBe('paused')
    fold.add(alice.write({ type: 'resume', pauses: [pause.hash] }))
    expect(fold.state).toBe('running')
  })

  it('reopens what is LOST, and takes another DONE for it', () => {
    const [alice, bob] = [a(), b()]
    const job = alice.job(10)
    const done = alice.doneElsewhere(0, 10, job)
    const lost = bob.write({ type: 'lost', ranges: [{ lo: 2, hi: 5, done: done.hash }] })
    const { fold } = observe([job, lost, done])
    expect([...fold.final.ranges()]).toEqual([
      { lo: 0, hi: 2 },
      { lo: 5, hi: 10 },
    ])
    fold.add(bob.done(2, 5, job))
    expect(fold.state).toBe('finished')
  })

  it('cuts a forked feed where the proof says', () => {
    const [alice, bob] = [a(), b()]
    const job = alice.job(10, [{ lo: 0, hi: 10, to: bob.facts.session }])
    const kept = bob.done(0, 2, job)
    const cut = bob.done(2, 4, job)
    const first = new TextEncoder().encode('b 2')
    const fork = alice.write({ type: 'fork', first, second: first })
    for (const order of [
      [job, kept, cut, fork],
      [job, fork, cut, kept],
    ]) {
      expect(observe(order).fold.final.size).toBe(2)
    }
  })

  it('reports a body that cannot be right and goes on', () => {
    const alice = a()
    const job = alice.job(10)
    const { fold, breaches } = observe([job, alice.done(5, 50, job), alice.done(7, 7, job)])
    expect(breaches).toHaveLength(2)
    expect(fold.final.size).toBe(0)
  })
})
