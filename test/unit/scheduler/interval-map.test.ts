import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { IntervalMap } from '../../../src/scheduler/interval-map.ts'

interface Span {
  readonly lo: number
  readonly hi: number
  readonly rank: number
}

const rules = {
  beats: (a: Span, b: Span) => a.rank > b.rank,
  same: (a: Span, b: Span) => a.rank === b.rank,
  cut: (span: Span, lo: number, hi: number) => ({ ...span, lo, hi }),
}
const SIZE = 30
/** Ranks are distinct, as entries are; an entry's ranges do not overlap, so a rank has one span here. */
const spans = fc
  .array(fc.record({ lo: fc.nat(SIZE - 1), length: fc.integer({ min: 1, max: 12 }) }), {
    maxLength: 25,
  })
  .map((list) =>
    list.map(({ lo, length }, rank) => ({ lo, hi: Math.min(SIZE, lo + length), rank })),
  )

describe('IntervalMap', () => {
  it('holds the strongest span at each item, and tells exactly what changed', () => {
    fc.assert(
      fc.property(spans, fc.infiniteStream(fc.nat()), (list, order) => {
        const shuffled = list
          .map((span) => ({ span, key: order.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ span }) => span)
        const map = new IntervalMap<Span>(rules)
        const model: (number | undefined)[] = new Array(SIZE).fill(undefined)
        const replica = new Map<number, Span>()
        for (const span of [...shuffled, ...shuffled.slice(0, 3)]) {
          const result = map.join(span)
          for (const { lo, hi, before } of result.changed) {
            for (let i = lo; i < hi; i += 1) {
              expect(model[i]).toBe(before?.rank)
              model[i] = span.rank
            }
          }
          for (const gone of result.removed) replica.delete(gone.lo)
          for (const put of result.put) replica.set(put.lo, put)
        }
        for (let i = 0; i < SIZE; i += 1) {
          const best = list.filter(({ lo, hi }) => lo <= i && i < hi).at(-1)
          expect(map.at(i)?.rank).toBe(best?.rank)
          expect(model[i]).toBe(best?.rank)
        }
        const all = [...map]
        expect([...replica.values()].sort((a, b) => a.lo - b.lo)).toEqual(all)
        expect(map.size).toBe(all.length)
        expect(map.overlapping(5, 12)).toEqual(all.filter(({ lo, hi }) => lo < 12 && hi > 5))
        for (let i = 1; i < all.length; i += 1) {
          expect(all[i]!.lo).toBeGreaterThanOrEqual(all[i - 1]!.hi)
          const touching = all[i]!.lo === all[i - 1]!.hi
          expect(touching && all[i]!.rank === all[i - 1]!.rank).toBe(false)
        }
      }),
    )
  })

  it('keeps thousands of spans in order across its blocks, also when one replaces them all', () => {
    const map = new IntervalMap<Span>(rules)
    const count = 3_000
    for (let i = 0; i < count; i += 1) {
      const lo = ((i * 7_919) % count) * 2
      map.join({ lo, hi: lo + 1, rank: lo })
    }
    expect(map.size).toBe(count)
    expect([...map].map(({ lo }) => lo)).toEqual(Array.from({ length: count }, (_, i) => 2 * i))
    const wide = map.join({ lo: 10, hi: 2 * count, rank: 1e9 })
    expect(wide.removed).toHaveLength(count - 5)
    expect([...map].map(({ lo }) => lo)).toEqual([0, 2, 4, 6, 8, 10])
    expect(map.at(2 * count - 1)?.rank).toBe(1e9)
  })
})
