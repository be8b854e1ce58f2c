import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JobFold } from '../../../src/scheduler/fold.ts'
import { Scheduler } from '../../../src/scheduler/scheduler.ts'
import type {
  DoneSpan,
  Entry,
  JobId,
  OwnerSpan,
  PeerFacts,
  SchedulerEvent,
} from '../../../src/scheduler/types.ts'
import { jobIdOf, seal } from '../../../src/store/entry-codec.ts'
import { readForkProof } from '../../../src/store/fork-proof.ts'
import { createMemoryStore } from '../../../src/store/memory-store.ts'
import { encodeRun } from '../../../src/store/run-codec.ts'
import { createVerifier } from '../../../src/store/signatures.ts'
import { FeedWriter, peerOf, sessionOf, specOf, type TestPeer } from '../store/writers.ts'
import { Bench, factsOf, JOB } from './builders.ts'
import { randomHistory } from './history.ts'

const numbers = fc.array(fc.nat(1_000_000), { minLength: 10, maxLength: 80 })

describe('a scheduler', () => {
  it('is total: whatever peers send, and in whatever order, nothing throws and what is kept adds up', () => {
    fc.assert(
      fc.property(numbers, numbers, (choices, events) => {
        const bench = new Bench(factsOf('a'))
        const entries = randomHistory(choices).filter(
          ({ session }) => session !== bench.self.session || choices.length % 2 === 0,
        )
        for (const [i, n] of events.entries()) {
          bench.now += n % 700
          bench.on(anyEvent(n, i, entries))
          for (const view of bench.scheduler.jobs()) {
            const running = view.runningHere.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
            expect(view.mine).toBeGreaterThanOrEqual(0)
            expect(view.done + view.mine).toBeLessThanOrEqual(view.items)
            expect(running).toBeLessThanOrEqual(view.items)
            expect(view.runningHere.length).toBeLessThanOrEqual(bench.self.slots)
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})

/** An event of any type, with fields from anywhere. */
function anyEvent(n: number, i: number, entries: readonly Entry[]): SchedulerEvent {
  const pick = (salt: number, size: number) => Math.floor(n / (salt * 3 + 1)) % size
  const facts = factsOf(['a', 'b', 'c', 'd'][pick(1, 4)]!, { slots: pick(2, 3) })
  const { peer, session } = factsOf(['a', 'b', 'c', 'd'][pick(16, 4)]!)
  const from = facts.peer
  const job = pick(3, 5) === 0 ? ('e'.repeat(64) as JobId) : JOB
  const chunk = 1 + pick(4, 6)
  const rate = [undefined, -1, Number.NaN, 1e300, 100][pick(5, 5)]
  const nonce = 1 + pick(6, 9)
  const lo = pick(17, 24)
  const running = [{ lo, hi: lo + 1 + pick(18, 9), ageMs: pick(19, 20_000) }]
  const some = entries.slice((i * 5) % entries.length, ((i * 5) % entries.length) + 6)
  const done = some[0]?.hash ?? JOB
  const proof = new TextEncoder().encode('nobody 1')
  const timers = [
    'done',
    'publish',
    'steal',
    'idle',
    'retry',
    'release',
    'reclaim',
    'seeds',
    'what',
  ]
  const alone = ['beat', 'lease', `${timers[pick(11, timers.length)]}|${job}`]
  const events: SchedulerEvent[] = [
    { type: 'entriesReceived', entries: some, from },
    { type: 'entriesReceived', entries: some, from: undefined },
    { type: 'peerSeen', facts },
    { type: 'peerHeard', facts: { ...facts, sessionNumber: pick(20, 3) } },
    { type: 'peerGone', peer: from, refused: pick(21, 2) === 0 },
    { type: 'heartbeat', from, last: pick(22, 2) === 0 },
    { type: 'suspected', from, peer, session },
    { type: 'jobAcknowledged', job, from },
    { type: 'forkFound', job, first: proof, second: proof },
    { type: 'resultLost', job, lo, hi: lo + pick(23, 30) - 3, done: done as Entry['hash'] },
    { type: 'lending', on: pick(24, 3) > 0 },
    { type: 'stealRequested', from, session, job, nonce, rate, idle: pick(7, 4) - 1 },
    { type: 'stealAnswered', from, job, nonce, granted: pick(8, 2) === 0, running },
    { type: 'lifelineReceived', from, session, job, rate, idle: 1 },
    { type: 'chunkProgressed', chunk, reached: pick(9, 40) },
    { type: 'chunkReturned', chunk, retryMs: pick(10, 900) - 100 },
    { type: 'timerFired', timer: alone[pick(25, alone.length)]! },
    {
      type: 'chunkEnded',
      chunk,
      reached: pick(12, 40) - 5,
      failed: 0,
      elapsedMs: pick(13, 3),
      outputBytes: 1,
      ...(pick(14, 2) === 0 ? { inline: new Uint8Array(1) } : {}),
    },
    { type: 'jobLoaded', entries: some },
    pick(15, 20) === 0 ? { type: 'stopping' } : { type: 'peerSeen', facts },
  ]
  return events[pick(0, events.length)]!
}

// ---------------------------------------------------------------- forks

const ITEMS = 60
const author = peerOf('author')
const forker = peerOf('forker')
const witness = peerOf('witness')
const spec = specOf('forked', ITEMS)
const job = jobIdOf(spec)
const verify = createVerifier()

interface Owned {
  readonly owners: OwnerSpan[]
  readonly dones: DoneSpan[]
}

function fold(entries: readonly Entry[]): Owned {
  const nothing = () => undefined
  const listener = {
    ownerChanged: nothing,
    finalChanged: nothing,
    rebuilt: nothing,
    breach: nothing,
    forked: nothing,
  }
  const all = new JobFold(job, listener, (first, second) => readForkProof(first, second, verify))
  for (const entry of entries) all.add(entry)
  return { owners: [...all.owners], dones: [...all.dones] }
}

function facts(who: TestPeer, name: string): PeerFacts {
  return { peer: who.peer, session: sessionOf(name, who), sessionNumber: 1, slots: 1, speed: 1 }
}

/** A feed that grants, does and marks items of its half, and another future of it from `at` on. */
function forkedFeed(length: number, at: number, more: number) {
  const open = new FeedWriter(author, 'author', job)
  const seeds = [{ lo: 0, hi: 30, to: sessionOf('forker', forker) }]
  const first = open.next({ type: 'job', spec, at: 0, seeds })
  const write = (feed: FeedWriter, n: number, salt: number): void => {
    const range = { lo: n, hi: n + 1, parent: first.hash }
    const inline = { kind: 'inline' as const, bytes: Uint8Array.of(salt) }
    const done = { ...range, failed: 0, elapsedMs: salt, chunks: 1, result: inline }
    const to = sessionOf('author', author)
    if ((n + salt) % 3 === 0)
      feed.next({ type: 'grant', to, ranges: [{ ...range, epoch: 0, hop: 1 }] })
    else feed.next({ type: 'done', ranges: [done] })
  }
  const one = new FeedWriter(forker, 'forker', job)
  for (let n = 0; n < length; n++) write(one, n, 1)
  const two = one.branch('forker', at)
  for (let n = at - 1; n < at - 1 + more; n++) write(two, n, 2)
  return { open, one, two }
}

const forks = fc
  .record({ length: fc.integer({ min: 1, max: 12 }), more: fc.integer({ min: 1, max: 9 }) })
  .chain(({ length, more }) =>
    fc.record({
      length: fc.constant(length),
      more: fc.constant(more),
      at: fc.integer({ min: 1, max: length }),
      keys: fc.array(fc.nat(), { minLength: 40, maxLength: 40 }),
    }),
  )

describe('I8', () => {
  it('I8: two entries with one (feed, seq) make a proof, whichever a store had first', () => {
    fc.assert(
      fc.property(forks, fc.boolean(), ({ length, at, more }, swapped) => {
        const { one, two } = forkedFeed(length, at, more)
        const [held, late] = swapped ? [two, one] : [one, two]
        const store = createMemoryStore({ self: witness.peer, sign: witness.sign })
        expect(store.ingest(held.run()).status).toBe('ok')
        // The longer of two futures may begin behind the other's end: it is pulled from where they part.
        const result = store.ingest(late.run())
        if (result.status !== 'fork') throw new Error(`${result.status} is no fork`)
        const { author: by, session } = one.feed
        expect(readForkProof(result.first, result.second, verify)).toEqual({
          author: by,
          session,
          job,
          seq: at,
        })
      }),
      { numRuns: 60 },
    )
  })

  it('I8: the proof becomes an entry, and every peer cuts the feed there, in any order, whichever future it has', () => {
    fc.assert(
      fc.property(forks, ({ length, at, more, keys }) => {
        const { open, one, two } = forkedFeed(length, at, more)
        const store = createMemoryStore({ self: witness.peer, sign: witness.sign })
        store.ingest(one.run())
        const found = store.ingest(two.run())
        if (found.status !== 'fork') throw new Error('no fork')
        const seen = new Scheduler({
          self: facts(witness, 'witness'),
          seal,
          random: () => 0.5,
          readFork: (first, second) => readForkProof(first, second, verify),
        })
        const known = [...open.entries, ...one.entries]
        seen.handle({ type: 'entriesReceived', entries: known, from: undefined }, 0)
        const { first, second } = found
        const effects = seen.handle({ type: 'forkFound', job, first, second }, 1)
        const written = effects.flatMap((it) => (it.type === 'append' ? [it.entry] : []))
        const proof = written.filter(({ body }) => body.type === 'fork')
        expect(proof).toHaveLength(1)
        const before = one.entries.slice(0, at - 1)
        const expected = fold([...open.entries, ...before, ...written])
        // Where only what is common to both futures is known, there is nothing to cut.
        expect(expected).toEqual(fold([...open.entries, ...before, ...written.slice(1)]))
        for (const future of [one.entries, two.entries, [...one.entries, ...two.entries]]) {
          const all = [...open.entries, ...future, ...written]
          const shuffled = all
            .map((entry, i) => ({ entry, key: keys[i % keys.length]! ^ (i * 2_654_435_761) }))
            .sort((a, b) => a.key - b.key)
            .map(({ entry }) => entry)
          expect(fold(shuffled)).toEqual(expected)
        }
        expect([...seen.doneSpans(job)]).toEqual(expected.dones)
      }),
      { numRuns: 100 },
    )
  })

  it('I8: a proof cuts the feed that forked, not one that carries the same session id, and not in another job', () => {
    const { open, one } = forkedFeed(6, 3, 2)
    // Somebody forks a feed of its own, written under the other's session id, which everybody knows.
    const liar = peerOf('liar')
    const a = new FeedWriter(liar, one.feed.session, job).many(3)
    const b = a.branch(one.feed.session, 1)
    b.next({ type: 'pause' })
    // And one of the forker's feeds forks, but in another job.
    const elsewhere = jobIdOf(specOf('elsewhere', ITEMS))
    const c = new FeedWriter(forker, 'forker', elsewhere).many(2)
    const d = c.branch('forker', 1)
    d.next({ type: 'pause' })
    const proofs = new FeedWriter(witness, 'witness', job)
    for (const [first, second, seq] of [
      [a, b, undefined],
      [c, d, 1],
    ] as const) {
      const halves = { first: encodeRun(first.run()), second: encodeRun(second.run()) }
      expect(readForkProof(halves.first, halves.second, verify)?.seq).toBe(seq)
      proofs.next({ type: 'fork', ...halves })
    }
    const all = [...open.entries, ...one.entries]
    expect(fold([...all, ...proofs.entries])).toEqual(fold(all))
    expect(fold([...proofs.entries, ...all])).toEqual(fold(all))
  })
})
