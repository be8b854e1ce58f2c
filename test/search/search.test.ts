import { describe, expect, test } from 'vitest'
import { type Bounds, DEFAULT_BOUNDS } from './bounds.ts'
import { CASES, WALKS } from './cases.ts'
import { explore, tell } from './explore.ts'
import { PLANTED } from './planted.ts'
import { walk } from './walk.ts'

/** A world's worth of memory and time that no case should come near. */
const MAX_STATES = 3_000_000
const WALK_SEED = 1

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

describe('random ways through larger worlds end well', () => {
  for (const { name, bounds, walks } of WALKS) {
    test(name, () => {
      const { broken, steps } = walk(bounds, WALK_SEED, walks)
      const story = broken === undefined ? '' : `seed ${broken.seed}: ${tell(broken)}`
      expect(story).toBe('')
      expect(steps).toBeGreaterThan(walks)
    })
  }

  test('and a bug planted there is found', () => {
    const bounds: Bounds = { ...WALKS[0]!.bounds, actionBugs: ['silentTakeover'] }
    const { broken } = walk(bounds, WALK_SEED, 500)
    expect(['I5', 'I7']).toContain(broken?.invariant)
  })
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
  }

  test('without them nothing is broken there', () => {
    const searched = new Set(CASES.map(({ bounds }) => JSON.stringify(bounds)))
    for (const { bounds } of PLANTED) {
      const all = { ...DEFAULT_BOUNDS, ...bounds }
      if (searched.has(JSON.stringify(all))) continue
      searched.add(JSON.stringify(all))
      expect([...explore(all).broken.values()].map(tell).join('\n')).toBe('')
    }
  })
})
