import { describe, expect, test } from 'vitest'
import { ElementMap, Gate } from '../../../src/scheduler/gate.ts'
import { MAX_SHAPE_DEPTH } from '../../../src/scheduler/limits.ts'
import type { NodeInput, Plan, PlanNode, Shape } from '../../../src/scheduler/plan.ts'
import { nodeAt, nodeStarts, planFault } from '../../../src/scheduler/plan-check.ts'
import { RangeSet } from '../../../src/scheduler/range-set.ts'
import { SpanIndex } from '../../../src/scheduler/span-index.ts'
import {
  belowFrom,
  itemsOfPlan,
  needsOfItems,
  randomPlan,
  taskNamed,
} from '../../helpers/random-plan.ts'

const steps = [{ task: 0 }]

function planOf(...nodes: PlanNode[]): Plan {
  return { tasks: [taskNamed('t')], nodes, output: { kind: 'list', lo: 0, hi: 0 } }
}

function node(count: number, input: NodeInput, more: Partial<PlanNode> = {}): PlanNode {
  return { count, input, steps, ...more }
}

const range: NodeInput = { kind: 'range', start: 0 }

describe('the gate', () => {
  test('opens what the items that are final make ready, like a model that looks at every item', () => {
    for (let seed = 1; seed <= 300; seed += 1) {
      const below = belowFrom(seed)
      const plan = randomPlan(below, { nodes: 9, items: 12 })
      const items = itemsOfPlan(plan)
      expect(planFault(plan, items), `seed ${seed}`).toBeUndefined()
      const needs = needsOfItems(plan)
      const final = new RangeSet()
      const gate = new Gate(plan)
      const ready = new RangeSet(gate.ready.ranges())
      for (let step = 0; step < 25; step += 1) {
        if (below(8) === 0) {
          // A fork or a LOST opens items again.
          const lo = below(items)
          final.remove(lo, lo + 1 + below(items - lo))
          gate.rebuild(final.ranges())
          ready.clear()
          for (const part of gate.ready.ranges()) ready.add(part.lo, part.hi)
        } else {
          const lo = below(items)
          const hi = Math.min(items, lo + 1 + below(6))
          final.add(lo, hi)
          for (const part of gate.finalChanged(lo, hi)) {
            expect(ready.countIn(part.lo, part.hi), `seed ${seed}: told once`).toBe(0)
            ready.add(part.lo, part.hi)
          }
        }
        const wanted = new RangeSet()
        for (const [i, of] of needs.entries()) {
          if ([...of].every((need) => final.has(need))) wanted.add(i, i + 1)
        }
        expect([...gate.ready.ranges()], `seed ${seed}, step ${step}`).toEqual([...wanted.ranges()])
        expect([...ready.ranges()], `seed ${seed}: what it told`).toEqual([...wanted.ranges()])
      }
    }
  })

  test('knows who depends on an item', () => {
    for (let seed = 1; seed <= 200; seed += 1) {
      const below = belowFrom(seed)
      const plan = randomPlan(below, { nodes: 8, items: 10 })
      const needs = needsOfItems(plan)
      const gate = new Gate(plan)
      const lo = below(needs.length)
      const hi = Math.min(needs.length, lo + 1 + below(4))
      const wanted = new RangeSet()
      for (const [i, of] of needs.entries()) {
        if ([...of].some((need) => need >= lo && need < hi)) wanted.add(i, i + 1)
      }
      const found = new RangeSet(gate.dependants(lo, hi))
      expect([...found.ranges()], `seed ${seed}, ${lo}..${hi}`).toEqual([...wanted.ranges()])
    }
  })

  test('a chain of a million items costs ranges, not items', () => {
    const million = 1_000_000
    const plan = planOf(
      node(million, range),
      node(million, { kind: 'each', from: [{ lo: 0, hi: million }] }),
      node(
        Math.ceil(million / 16),
        { kind: 'each', from: [{ lo: million, hi: 2 * million }] },
        {
          combine: { step: { task: 0 }, grain: 16, total: million },
        },
      ),
      node(1, { kind: 'call', args: [{ kind: 'shape', shape: listOf(0, 2 * million) }] }),
    )
    const items = itemsOfPlan(plan)
    expect(planFault(plan, items)).toBeUndefined()
    const started = performance.now()
    const gate = new Gate(plan)
    for (let lo = 0; lo < 2 * million; lo += 500) gate.finalChanged(lo, lo + 500)
    expect(gate.ready.size).toBe(items)
    expect(gate.ready.pieces).toBe(1)
    expect(performance.now() - started).toBeLessThan(1_000)
  })

  test('ten thousand nodes cost little', () => {
    const below = belowFrom(7)
    const nodes: PlanNode[] = [node(100, range)]
    for (let k = 0; k < 10_000; k += 1) {
      const at = 100 + k
      const args = [1, 2, 3].map(() => {
        const shape: Shape = { kind: 'item', item: at - 1 - below(100) }
        return { kind: 'shape', shape } as const
      })
      nodes.push(node(1, { kind: 'call', args }))
    }
    const plan = planOf(...nodes)
    expect(planFault(plan, 10_100)).toBeUndefined()
    const started = performance.now()
    const gate = new Gate(plan)
    let ready = 0
    gate.finalChanged(0, 100)
    for (let i = 100; i < 10_100; i += 1) {
      if (gate.ready.has(i)) ready += 1
      gate.dependants(i, i + 1)
      gate.finalChanged(i, i + 1)
    }
    expect(ready).toBe(10_000)
    expect((performance.now() - started) / 10_000).toBeLessThan(0.2)
  })

  test('elements map to the items that they are the values of', () => {
    const map = new ElementMap([
      { lo: 10, hi: 13 },
      { lo: 0, hi: 1 },
      { lo: 11, hi: 12 },
    ])
    expect(map.items(0, 3)).toEqual([{ lo: 10, hi: 13 }])
    expect(map.items(2, 5)).toEqual([
      { lo: 12, hi: 13 },
      { lo: 0, hi: 1 },
      { lo: 11, hi: 12 },
    ])
    expect(map.items(4, 99)).toEqual([{ lo: 11, hi: 12 }])
    expect(map.items(5, 9)).toEqual([])
  })

  test('nodes are found by their items', () => {
    const starts = nodeStarts(planOf(node(2, range), node(1, range), node(4, range)))
    expect([0, 1, 2, 3, 6].map((item) => nodeAt(starts, item))).toEqual([0, 0, 1, 2, 2])
  })
})

test('an index of spans finds what overlaps, like a walk over all', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const below = belowFrom(seed)
    const spans = Array.from({ length: below(30) }, () => {
      const lo = below(50)
      return { lo, hi: lo + 1 + below(20) }
    })
    const index = new SpanIndex(spans)
    const lo = below(60)
    const hi = lo + below(10)
    const found: { lo: number; hi: number }[] = []
    index.overlapping(lo, hi, (span) => found.push(span))
    const wanted = spans.filter((span) => span.lo < hi && span.hi > lo && lo < hi)
    expect(new Set(found), `seed ${seed}`).toEqual(new Set(wanted))
    expect(found.length).toBe(wanted.length)
  }
})

function listOf(lo: number, hi: number): Shape {
  return { kind: 'list', lo, hi }
}

describe('a plan that makes no sense is told so', () => {
  const call = (shape: Shape): NodeInput => ({ kind: 'call', args: [{ kind: 'shape', shape }] })
  const two = node(2, range)
  let deep: Shape = { kind: 'item', item: 0 }
  for (let i = 0; i <= MAX_SHAPE_DEPTH; i += 1) deep = { kind: 'tuple', parts: [deep] }
  const cases: [string, Plan, number, RegExp][] = [
    ['no nodes', planOf(), 0, /0 nodes/],
    ['a count of nought', planOf(node(0, range)), 0, /node 0: it has 0 items/],
    ['a count that is no integer', planOf(node(1.5, range)), 1.5, /1.5 items/],
    ['another total', planOf(two), 3, /2 items, and the job has 3/],
    [
      'a task that is not there',
      planOf(node(1, range, { steps: [{ task: 1 }] })),
      1,
      /task 1 of 1/,
    ],
    ['nothing to do', planOf(node(1, range, { steps: [] })), 1, /does nothing/],
    [
      'its own items',
      planOf(two, node(2, { kind: 'each', from: [{ lo: 1, hi: 3 }] })),
      4,
      /1\.\.3/,
    ],
    [
      'too few elements',
      planOf(two, node(2, { kind: 'each', from: [{ lo: 0, hi: 1 }] })),
      4,
      /1 items for 2/,
    ],
    [
      'an empty range',
      planOf(two, node(1, { kind: 'each', from: [{ lo: 1, hi: 1 }] })),
      3,
      /1\.\.1/,
    ],
    ['a call of itself', planOf(two, node(1, call({ kind: 'item', item: 2 }))), 3, /item 2 of 2/],
    ['a list beyond', planOf(two, node(1, call(listOf(1, 4)))), 3, /1\.\.4 of 2/],
    ['a list backwards', planOf(two, node(1, call(listOf(2, 1)))), 3, /2\.\.1 of 2/],
    [
      'lists of none',
      planOf(two, node(1, call({ ...listOf(0, 2), size: 0 } as Shape))),
      3,
      /no length/,
    ],
    ['a call of two items', planOf(two, node(2, call(listOf(0, 1)))), 4, /one item/],
    ['a shape too deep', planOf(two, node(1, call(deep))), 3, /deeper/],
    [
      'grains that do not add up',
      planOf(node(2, range, { combine: { step: { task: 0 }, grain: 2, total: 5 } })),
      2,
      /5 elements by 2 are not 2 items/,
    ],
    [
      'a range without end',
      planOf(node(2, { kind: 'range', start: Number.MAX_SAFE_INTEGER })),
      2,
      /safe/,
    ],
    [
      'an output beyond',
      { ...planOf(two), output: listOf(0, 3) },
      2,
      /output: it takes items 0\.\.3 of 2/,
    ],
  ]
  test.each(cases)('%s', (_, plan, items, reason) => {
    expect(planFault(plan, items)).toMatch(reason)
  })
})

test('a combiner that names two items a hundred thousand times opens at once', () => {
  const twice = 100_000
  const from = Array.from({ length: 2 * twice }, (_, i) => {
    const lo = i < twice ? 0 : 1
    return { lo, hi: lo + 1 }
  })
  const combine = { step: { task: 0 }, grain: from.length, total: from.length }
  const gate = new Gate(planOf(node(2, range), node(1, { kind: 'each', from }, { combine })))
  const started = performance.now()
  expect(gate.finalChanged(0, 1)).toEqual([])
  expect(gate.finalChanged(1, 2)).toEqual([{ lo: 2, hi: 3 }])
  // One look at all elements for each of them would take minutes.
  expect(performance.now() - started).toBeLessThan(2_000)
})
