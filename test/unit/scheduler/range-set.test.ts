import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RangeSet } from '../../../src/scheduler/range-set.ts'
import { belowFrom } from '../../helpers/random-plan.ts'

const SIZE = 40
const operation = fc.record({
  add: fc.boolean(),
  lo: fc.integer({ min: 0, max: SIZE }),
  length: fc.integer({ min: 0, max: 15 }),
})

describe('RangeSet', () => {
  it('is the set of its items', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
        const set = new RangeSet()
        const model = new Set<number>()
        for (const { add, lo, length } of operations) {
          for (let i = lo; i < lo + length; i += 1) add ? model.add(i) : model.delete(i)
          if (add) set.add(lo, lo + length)
          else set.remove(lo, lo + length)
        }
        const items = [...set.ranges()].flatMap(({ lo, hi }) =>
          Array.from({ length: hi - lo }, (_, i) => lo + i),
        )
        expect(items).toEqual([...model].sort((a, b) => a - b))
        expect(set.size).toBe(model.size)
        const ranges = [...set.ranges()]
        expect([...set.rangesBackwards()].reverse()).toEqual(ranges)
        // Canonical: no two ranges touch.
        for (let i = 1; i < ranges.length; i += 1) {
          expect(ranges[i]!.lo).toBeGreaterThan(ranges[i - 1]!.hi)
        }
        for (const item of [0, 7, 20, SIZE]) expect(set.has(item)).toBe(model.has(item))
        const inWindow = [...model].filter((item) => item >= 5 && item < 25)
        expect(set.countIn(5, 25)).toBe(inWindow.length)
        const count = (list: { lo: number; hi: number }[]) =>
          list.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
        expect(count(set.within(5, 25))).toBe(inWindow.length)
        expect(count(set.missing(5, 25))).toBe(20 - inWindow.length)
        for (const gap of set.missing(5, 25)) expect(set.countIn(gap.lo, gap.hi)).toBe(0)
      }),
    )
  })

  it('knows its first range', () => {
    expect(new RangeSet().first()).toBeUndefined()
    expect(
      new RangeSet([
        { lo: 5, hi: 6 },
        { lo: 1, hi: 3 },
      ]).first(),
    ).toEqual({ lo: 1, hi: 3 })
  })

  it('is the same set when it has many thousand ranges', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 31 }), (seed) => {
        const below = belowFrom(seed)
        const set = new RangeSet()
        const model = new Uint8Array(8_000)
        for (let step = 0; step < 6_000; step += 1) {
          const lo = below(model.length)
          // Mostly single items, and now and then a stretch over many blocks.
          const hi = Math.min(model.length, lo + 1 + (below(300) === 0 ? below(3_000) : below(2)))
          const adds = below(3) > 0
          if (adds) set.add(lo, hi)
          else set.remove(lo, hi)
          model.fill(adds ? 1 : 0, lo, hi)
        }
        let pieces = 0
        let before = 0
        for (const is of model) {
          if (is > before) pieces += 1
          before = is
        }
        const told = new Uint8Array(model.length)
        for (const { lo, hi } of set.ranges()) told.fill(1, lo, hi)
        expect(told).toEqual(model)
        expect([...set.rangesBackwards()].reverse()).toEqual([...set.ranges()])
        expect(set.pieces).toBe(pieces)
        const size = model.reduce((sum, is) => sum + is, 0)
        expect(set.size).toBe(size)
        expect(set.countIn(0, model.length)).toBe(size)
        for (let item = 0; item < model.length; item += 37) {
          expect(set.has(item)).toBe(model[item] === 1)
          const hi = item + 500
          const count = model.subarray(item, hi).reduce((sum, is) => sum + is, 0)
          expect(set.countIn(item, hi)).toBe(count)
        }
      }),
      { numRuns: 10 },
    )
  })

  it('takes a million ranges in any order in little time', () => {
    const set = new RangeSet()
    const started = performance.now()
    for (let pass = 0; pass < 4; pass += 1) {
      for (let i = pass; i < 1_000_000; i += 4) set.add(2 * i, 2 * i + 1)
    }
    expect(set.pieces).toBe(1_000_000)
    set.remove(1, 1_999_998)
    expect([...set.ranges()]).toEqual([
      { lo: 0, hi: 1 },
      { lo: 1_999_998, hi: 1_999_999 },
    ])
    // Moving all that come after for each of them would take minutes.
    expect(performance.now() - started).toBeLessThan(10_000)
  })
})
