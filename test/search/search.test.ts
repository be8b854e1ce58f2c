import { describe, expect, test } from 'vitest'
import { DEFAULT_BOUNDS } from './bounds.ts'
import { CASES } from './cases.ts'
import { explore, tell } from './explore.ts'
import { PLANTED } from './planted.ts'

/** A world's worth of memory and time that no case should come near. */
const MAX_STATES = 3_000_000

describe('every reachable state keeps I1, I2, I4, I5, I6, I7 and I9', () => {
  for (const { name, bounds, atLeast } of CASES) {
    test(name, () => {
      const result = explore({ ...bounds, maxStates: MAX_STATES })
      console.log(`${name}: ${result.states} states, ${result.steps} steps`)
      expect([...result.broken.values()].map(tell).join('\n')).toBe('')
      expect(result.truncated).toBe(false)
      expect(result.states).toBeGreaterThanOrEqual(atLeast)
    })
  }
})

describe('planted bugs are found, and nothing else', () => {
  for (const planted of PLANTED) {
    const { name, breaks, steps, bounds, actionBugs = [], foldBugs = [] } = planted
    test(`${name}: ${breaks.join(', ')}`, () => {
      const result = explore({ ...DEFAULT_BOUNDS, ...bounds, actionBugs, foldBugs })
      const found = [...result.broken.values()]
      console.log([name, ...found.map(tell)].join('\n'))
      expect(result.truncated).toBe(false)
      expect(found.map(({ invariant }) => invariant).sort()).toEqual([...breaks].sort())
      const first = result.broken.get(breaks[0]!)!
      expect(first.trace.length).toBeLessThanOrEqual(steps)
    })

    test(`${name}: without it nothing is broken there`, () => {
      const { broken } = explore({ ...DEFAULT_BOUNDS, ...bounds })
      expect([...broken.values()].map(tell).join('\n')).toBe('')
    })
  }
})
