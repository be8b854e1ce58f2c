import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planChunk, RateMeter } from '../../../src/scheduler/chunks.ts'
import { rendezvousRank } from '../../../src/scheduler/rendezvous.ts'
import { seedGrants } from '../../../src/scheduler/seeds.ts'
import { pickWeighted, stealShare } from '../../../src/scheduler/steal.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'
import { factsOf } from './builders.ts'

const peer = fc.record({ slots: fc.nat(5), speed: fc.double({ min: 0.1, max: 10, noNaN: true }) })

describe('seed grants', () => {
  it('cover the job once, in order, on grains, for peers that lend slots only', () => {
    fc.assert(
      fc.property(
        fc.nat(5_000),
        fc.integer({ min: 1, max: 50 }),
        peer,
        fc.array(peer, { maxLength: 300 }),
        (count, grain, me, others) => {
          const self = factsOf('self', me)
          const peers = others.map((facts, i) => factsOf(`p${i}`, facts))
          const seeds = seedGrants(count, grain, self, peers)
          const lends = new Set([self, ...peers].filter((p) => p.slots > 0).map((p) => p.session))
          expect(seeds.length).toBeLessThanOrEqual(256)
          let at = 0
          for (const { lo, hi, to } of seeds) {
            expect(lo).toBe(at)
            expect(hi).toBeGreaterThan(lo)
            expect(hi % grain === 0 || hi === count).toBe(true)
            expect(lends.has(to)).toBe(true)
            at = hi
          }
          expect(at).toBe(lends.size > 0 ? count : 0)
          expect(new Set(seeds.map(({ to }) => to)).size).toBe(seeds.length)
        },
      ),
    )
  })

  it('splits by slots times speed', () => {
    const seeds = seedGrants(900, 1, factsOf('self'), [
      factsOf('fast', { slots: 2, speed: 3 }),
      factsOf('slow', { speed: 2 }),
    ])
    expect(seeds.map(({ lo, hi }) => hi - lo)).toEqual([100, 600, 200])
  })

  it('gives each slot at most one of a few items, its own first', () => {
    const self = factsOf('self', { slots: 2 })
    const other = factsOf('other', { slots: 4, speed: 9 })
    expect(seedGrants(1, 1, self, [other])).toEqual([{ lo: 0, hi: 1, to: self.session }])
    expect(seedGrants(5, 1, self, [other]).map(({ lo, hi }) => hi - lo)).toEqual([2, 3])
  })
})

describe('the plan of a chunk', () => {
  const base = { lo: 0, end: 1e6, left: 1e6, slots: 1, contended: false, chunkSize: undefined }

  it('starts short in time, with much in hand, while the rate is not known', () => {
    expect(planChunk({ ...base, perMs: undefined })).toEqual({ hi: 500_000, budgetMs: 20 })
    expect(planChunk({ ...base, slots: 4, perMs: undefined }).hi).toBe(125_000)
    expect(planChunk({ ...base, end: 1, left: 1, perMs: undefined })).toEqual({
      hi: 1,
      budgetMs: 20,
    })
  })

  it('takes 250 ms, 50 when other jobs wait, and hands out eight times that', () => {
    expect(planChunk({ ...base, perMs: 10 })).toEqual({ hi: 20_000, budgetMs: 250 })
    expect(planChunk({ ...base, perMs: 10, contended: true })).toEqual({ hi: 4_000, budgetMs: 50 })
  })

  it('gets shorter near the end, but not below 10 ms', () => {
    expect(planChunk({ ...base, end: 1_000, left: 1_000, perMs: 10 })).toEqual({
      hi: 500,
      budgetMs: 50,
    })
    expect(planChunk({ ...base, end: 60, left: 60, perMs: 10 })).toEqual({ hi: 60, budgetMs: 10 })
  })

  it('cuts a fixed size at its multiples, without a time', () => {
    const fixed = { ...base, perMs: 10, chunkSize: 100 }
    expect(planChunk({ ...fixed, lo: 100 })).toEqual({ hi: 200, budgetMs: Infinity })
    expect(planChunk({ ...fixed, lo: 150, end: 180 })).toEqual({ hi: 180, budgetMs: Infinity })
  })

  it('learns the rate, recent chunks counting more', () => {
    const meter = new RateMeter()
    expect(meter.perMs).toBeUndefined()
    meter.add(100, 10)
    expect(meter.perMs).toBeCloseTo(10)
    for (let i = 0; i < 40; i += 1) meter.add(250, 250)
    expect(meter.perMs).toBeCloseTo(1, 2)
    meter.add(5, 0)
    expect(Number.isFinite(meter.perMs)).toBe(true)
  })
})

describe('the share that is granted', () => {
  const base = {
    left: 1_000,
    victimRate: 1,
    thiefRate: 1,
    victimPower: 1,
    thiefPower: 1,
    thiefSlots: 1,
    delayMs: 0,
    waitMs: 0,
    otherThieves: 3,
  }

  it('is half between equals, and by rate otherwise', () => {
    expect(stealShare(base)).toBe(500)
    expect(stealShare({ ...base, thiefRate: 3 })).toBe(750)
    expect(stealShare({ ...base, thiefRate: undefined, thiefPower: 3 })).toBe(750)
    expect(stealShare({ ...base, victimRate: undefined, thiefRate: undefined })).toBe(500)
  })

  it('is less when it takes long to get there, and nothing when it gains nothing', () => {
    expect(stealShare({ ...base, delayMs: 100 })).toBe(450)
    expect(stealShare({ ...base, left: 50, delayMs: 100 })).toBe(0)
    expect(stealShare({ ...base, left: 10 })).toBe(0)
    expect(stealShare({ ...base, left: 0 })).toBe(0)
  })

  it('is one long item where the thief would end it sooner', () => {
    const long = { ...base, left: 1, victimRate: 0.001, thiefRate: 0.001, delayMs: 50 }
    expect(stealShare({ ...long, waitMs: 500 })).toBe(1)
    expect(stealShare({ ...long, waitMs: 10 })).toBe(0)
  })

  it('of a peer that lends nothing is all, or half while others may come', () => {
    const idle = { ...base, victimPower: 0, victimRate: undefined, thiefRate: undefined }
    expect(stealShare(idle)).toBe(500)
    expect(stealShare({ ...idle, otherThieves: 0 })).toBe(1_000)
  })

  it('never exceeds what is left, whatever the rates', () => {
    const positive = fc.option(fc.double({ min: 1e-9, max: 1e9, noNaN: true }), { nil: undefined })
    fc.assert(
      fc.property(fc.nat(1e6), positive, positive, (left, victimRate, thiefRate) => {
        const share = stealShare({ ...base, left, victimRate, thiefRate })
        expect(Number.isInteger(share) && share >= 0 && share <= left).toBe(true)
      }),
    )
  })
})

describe('choosing', () => {
  it('picks by weight', () => {
    expect(pickWeighted([1, 0, 3], 0)).toBe(0)
    expect(pickWeighted([1, 0, 3], 0.24)).toBe(0)
    expect(pickWeighted([1, 0, 3], 0.26)).toBe(2)
    expect(pickWeighted([0, 2], 0.999999)).toBe(1)
    expect(pickWeighted([0, 0], 0.5)).toBeUndefined()
    expect(pickWeighted([], 0.5)).toBeUndefined()
  })

  it('ranks every peer once for a key, the same everywhere', () => {
    const peers = Array.from({ length: 20 }, (_, i) => factsOf(`p${i}`).peer)
    for (const key of ['x', 'y', 'z']) {
      const ranks = peers.map((self) => rendezvousRank(key, self, peers))
      expect([...ranks].sort((a, b) => a - b)).toEqual(peers.map((_, i) => i))
    }
    const firsts = new Set<PeerId | undefined>()
    for (let i = 0; i < 200; i += 1) {
      firsts.add(peers.find((self) => rendezvousRank(`key ${i}`, self, peers) === 0))
    }
    expect(firsts.size).toBeGreaterThan(15)
  })
})
