import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RangeSet } from '../../../src/scheduler/range-set.ts'

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
})
