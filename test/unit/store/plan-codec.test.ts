import { expect, test } from 'vitest'
import { MAX_PLAN_PARTS, MAX_SHAPE_DEPTH } from '../../../src/scheduler/limits.ts'
import type { Plan, PlanNode, Shape } from '../../../src/scheduler/plan.ts'
import { MAX_PLAN_BYTES, MAX_PLAN_VALUE_BYTES } from '../../../src/store/limits.ts'
import { decodePlan, encodePlan } from '../../../src/store/plan-codec.ts'
import { belowFrom, randomPlan, taskNamed } from '../../helpers/random-plan.ts'

const node: PlanNode = { count: 1, input: { kind: 'range', start: 0 }, steps: [{ task: 0 }] }

function planOf(nodes: readonly PlanNode[], output: Shape = { kind: 'item', item: 0 }): Plan {
  return { tasks: [taskNamed('t')], nodes, output }
}

test('a plan is read as it was written', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const plan = randomPlan(belowFrom(seed), {
      nodes: 8,
      items: 9,
      inputs: ['range', 'values', 'pieces', 'each', 'call'],
    })
    expect(decodePlan(encodePlan(plan)), `seed ${seed}`).toEqual(plan)
  }
})

test('what a node has of its own is kept', () => {
  const backoff = { delayMs: 100, factorPercent: 200, maxMs: 5_000, jitterPercent: 50 }
  const steps = [
    { task: 0, bound: new Uint8Array([0x91, 7]) },
    { task: 0, immutable: true },
  ]
  const options = { retries: 3, backoff, timeLimitMs: 10, chunkSize: 2, speculate: false }
  const plan = planOf([{ ...node, steps, options, allowFailures: true }])
  expect(decodePlan(encodePlan(plan))).toEqual(plan)
})

test('what is too large is neither written nor read', () => {
  const deep = (levels: number): Shape =>
    levels === 1 ? { kind: 'item', item: 0 } : { kind: 'tuple', parts: [deep(levels - 1)] }
  const fits = planOf([node], deep(MAX_SHAPE_DEPTH))
  expect(decodePlan(encodePlan(fits))).toEqual(fits)
  expect(() => encodePlan(planOf([node], deep(MAX_SHAPE_DEPTH + 1)))).toThrow(/deeper/)
  const values = (bytes: number): PlanNode => ({
    ...node,
    input: { kind: 'values', segment: new Uint8Array(bytes) },
  })
  expect(() => encodePlan(planOf([values(MAX_PLAN_VALUE_BYTES + 1)]))).toThrow(
    /a value in the plan/,
  )
  const many = new Array(MAX_PLAN_BYTES / MAX_PLAN_VALUE_BYTES).fill(values(MAX_PLAN_VALUE_BYTES))
  expect(() => encodePlan(planOf(many))).toThrow(/plan has/)
  expect(() => decodePlan(new Uint8Array(MAX_PLAN_BYTES + 1))).toThrow(/plan has/)
})

test('an option that no node has is refused', () => {
  const plan = planOf([{ ...node, options: { priority: 3 } as PlanNode['options'] & object }])
  expect(() => decodePlan(encodePlan(plan))).toThrow('a node has no option priority')
})

test('ten thousand nodes are written and read in little time', () => {
  const nodes: PlanNode[] = [node]
  for (let i = 1; i < 10_000; i += 1) {
    const shape: Shape = { kind: 'item', item: i - 1 }
    nodes.push({ ...node, input: { kind: 'call', args: [{ kind: 'shape', shape }] } })
  }
  const started = performance.now()
  const bytes = encodePlan(planOf(nodes))
  expect(decodePlan(bytes).nodes).toHaveLength(10_000)
  expect(bytes.length).toBeLessThan(250_000)
  expect(performance.now() - started).toBeLessThan(1_000)
})

test('a plan of too many parts is given up before they are all read', () => {
  const parts = new Array<Shape>(MAX_PLAN_PARTS / 2).fill({ kind: 'tuple', parts: [] })
  const half: Shape = { kind: 'tuple', parts }
  const bytes = encodePlan(planOf([node], { kind: 'tuple', parts: [half, half, half] }))
  expect(() => decodePlan(bytes)).toThrow(/parts/)
  const one: Shape = { kind: 'tuple', parts: [half] }
  expect(decodePlan(encodePlan(planOf([node], one)))).toEqual(planOf([node], one))
})
