import fc from 'fast-check'
import { expect, it } from 'vitest'
import { SpanSet } from '../../../src/client/span-set.ts'

it('tells of every number once, whatever spans come', () => {
  const span = fc.tuple(fc.nat(60), fc.nat(20)).map(([lo, length]) => [lo, lo + length] as const)
  fc.assert(
    fc.property(fc.array(span), (spans) => {
      const set = new SpanSet()
      const model = new Set<number>()
      for (const [lo, hi] of spans) {
        const expected = []
        for (let n = lo; n < hi; n++) if (!model.has(n)) expected.push(n)
        const fresh = set.add(lo, hi).flatMap(([from, to]) => {
          expect(from).toBeLessThan(to)
          return Array.from({ length: to - from }, (_, i) => from + i)
        })
        expect(fresh).toEqual(expected)
        for (const n of fresh) model.add(n)
        expect(set.size).toBe(model.size)
      }
    }),
  )
})
