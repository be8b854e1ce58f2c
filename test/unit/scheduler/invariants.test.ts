import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { claimsOf } from '../../../src/scheduler/rules.ts'
import type { Entry, EntryHash, JobId, SchedulerEvent } from '../../../src/scheduler/types.ts'
import { LOCAL_AREA, WIDE_AREA } from '../../sim/network.ts'
import { simulate } from '../../sim/simulate.ts'
import { World } from '../../sim/world.ts'
import { Bench, factsOf, JOB } from './builders.ts'
import { randomHistory } from './history.ts'

const meshes = fc.record({
  seed: fc.nat(1e6),
  peers: fc.integer({ min: 1, max: 8 }),
  items: fc.oneof(fc.nat(10), fc.nat(2_000)),
  idealSeconds: fc.constantFrom(0.5, 5, 30),
  slots: fc.integer({ min: 1, max: 4 }),
  authorSlots: fc.integer({ min: 0, max: 2 }),
  chunkSize: fc.constantFrom(undefined, undefined, 1, 7, 100),
  shape: fc.constantFrom('even' as const, 'noisy' as const, 'ramp' as const),
  faults: fc.constantFrom(LOCAL_AREA, WIDE_AREA, { ...WIDE_AREA, loss: 0.2 }),
})

/** Somebody has to lend a slot. */
const feasible = (mesh: { peers: number; authorSlots: number }) =>
  mesh.peers > 1 || mesh.authorSlots > 0

describe('a mesh in virtual time', () => {
  it('I4, I10: with no crash every item runs once, every peer folds to the same finished job', () => {
    fc.assert(
      fc.property(meshes.filter(feasible), (mesh) => {
        const report = simulate(mesh)
        expect(report.problems).toEqual([])
        expect(report.ranTwice).toBe(0)
      }),
      { numRuns: 100 },
    )
  })

  it('I5: a session runs and grants only what its parent entries gave it; I9: no feed is reopened', () => {
    fc.assert(
      fc.property(meshes.filter(feasible), (mesh) => {
        const world = new World({ ...mesh, checkViews: false })
        world.connectAll()
        world.submit(world.peers[0]!)
        // A long item may outlast any guess; the queue is empty when nothing is left to happen.
        while (world.clock.step());
        const entries = world.everyEntry()
        const byHash = new Map<EntryHash, Entry>(entries.map((entry) => [entry.hash, entry]))
        for (const { session, body } of entries) {
          if (body.type !== 'done' && body.type !== 'grant') continue
          for (const { lo, hi, parent } of body.ranges) {
            const claims = claimsOf(byHash.get(parent)!, mesh.items).filter(
              (claim) => claim.lo < hi && claim.hi > lo,
            )
            expect(claims.every(({ owner }) => owner === session)).toBe(true)
            expect(claims.reduce((n, c) => n + Math.min(hi, c.hi) - Math.max(lo, c.lo), 0)).toBe(
              hi - lo,
            )
          }
        }
      }),
      { numRuns: 100 },
    )
  })

  it('is total: whatever peers send, and in whatever order, nothing throws and what is kept adds up', () => {
    const numbers = fc.array(fc.nat(1_000_000), { minLength: 10, maxLength: 80 })
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
            expect(running + view.mine).toBeLessThanOrEqual(view.items)
            expect(view.runningHere.length).toBeLessThanOrEqual(bench.self.slots)
          }
        }
      }),
      { numRuns: 200 },
    )
  })

  it('a fixed chunk size is kept to, whoever runs the chunk', () => {
    const world = new World({ seed: 4, peers: 6, items: 1_003, chunkSize: 10, idealSeconds: 20 })
    world.connectAll()
    const job = world.submit(world.peers[0]!)
    while (world.clock.step());
    let at = 0
    for (const { lo, hi, originLo } of world.peers[3]!.scheduler.doneSpans(job)) {
      expect([lo, originLo]).toEqual([at, at])
      // Chunks with inline values may be told together.
      expect(hi % 10 === 0 || hi === 1_003).toBe(true)
      at = hi
    }
    expect(at).toBe(1_003)
    expect(world.peers[3]!.scheduler.job(job)?.chunks).toBe(101)
  })

  it('I7: peers that stop in the middle hand over: nothing is lost, and an item runs again only where it was reclaimed', () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const { world, job } = withLeavers(seed)
      for (const peer of world.peers.filter(({ live }) => live)) {
        expect([seed, peer.scheduler.job(job)?.state]).toEqual([seed, 'finished'])
      }
      const reclaims = new Uint8Array(world.runs.length)
      for (const { body } of world.everyEntry()) {
        if (body.type !== 'reclaim') continue
        for (const { lo, hi } of body.ranges) for (let i = lo; i < hi; i += 1) reclaims[i]! += 1
      }
      world.runs.forEach((count, i) => {
        expect(count).toBeGreaterThanOrEqual(1)
        expect(count).toBeLessThanOrEqual(1 + reclaims[i]!)
      })
      const twice = world.runs.filter((count) => count > 1).length
      expect(twice).toBeLessThan(0.02 * world.runs.length)
      expect(world.entries.release).toBeGreaterThan(0)
      expect(world.entries.reclaim).toBeGreaterThan(0)
    }
  })

  it('a peer that comes late gets work', () => {
    const world = new World({ seed: 9, peers: 2, items: 2_000, idealSeconds: 20, spread: 1.5 })
    const [author, late] = [world.peers[0]!, world.peers[1]!]
    const job = world.submit(author)
    world.clock.at(5_000, () => {
      world.see(author, late)
      world.see(late, author)
    })
    while (world.clock.step());
    expect(author.scheduler.job(job)?.doneBy.get(late.id)).toBeGreaterThan(300)
  })
})

/** An event of any type, with fields from anywhere. */
function anyEvent(n: number, i: number, entries: readonly Entry[]): SchedulerEvent {
  const pick = (salt: number, size: number) => Math.floor(n / (salt * 3 + 1)) % size
  const facts = factsOf(['a', 'b', 'c', 'd'][pick(1, 4)]!, { slots: pick(2, 3) })
  const from = facts.peer
  const { session } = facts
  const job = pick(3, 5) === 0 ? ('e'.repeat(64) as JobId) : JOB
  const chunk = 1 + pick(4, 6)
  const rate = [undefined, -1, Number.NaN, 1e300, 100][pick(5, 5)]
  const nonce = 1 + pick(6, 9)
  const running: never[] = []
  const some = entries.slice((i * 5) % entries.length, ((i * 5) % entries.length) + 6)
  const timers = ['done', 'publish', 'steal', 'idle', 'retry', 'release', 'what'] as const
  const events: SchedulerEvent[] = [
    { type: 'entriesReceived', entries: some, from },
    { type: 'entriesReceived', entries: some, from: undefined },
    { type: 'peerSeen', facts },
    { type: 'peerGone', peer: from, refused: false },
    { type: 'stealRequested', from, session, job, nonce, rate, idle: pick(7, 4) - 1 },
    { type: 'stealAnswered', from, job, nonce, granted: pick(8, 2) === 0, running },
    { type: 'lifelineReceived', from, session, job, rate, idle: 1 },
    { type: 'chunkProgressed', chunk, reached: pick(9, 40) },
    { type: 'chunkReturned', chunk, retryMs: pick(10, 900) - 100 },
    { type: 'timerFired', timer: `${timers[pick(11, timers.length)]}|${job}` },
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

/** Ten peers, three of which stop cleanly while the job runs. */
function withLeavers(seed: number): { world: World; job: JobId } {
  const world = new World({ seed, peers: 10, items: 5_000, idealSeconds: 20, checkViews: false })
  world.connectAll()
  const job = world.submit(world.peers[0]!)
  ;[3, 5, 8].forEach((number, i) => {
    world.clock.at(3_000 + 2_000 * i, () => world.leave(world.peers[number]!))
  })
  while (world.clock.step());
  return { world, job }
}
