import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Output } from '../../../src/client/compose/read.ts'
import { planFault } from '../../../src/scheduler/plan-check.ts'
import { runPlan, valueIn } from '../../helpers/plan-interpreter.ts'
import { DirectEvaluator, json } from './direct.ts'
import { Maker, randomOf, runs } from './maker.ts'
import { compiled } from './plans.ts'

describe('a random composition', () => {
  it('has a plan that gives what it means', async () => {
    let failing = 0
    let right = 0
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 2 ** 31 - 1 }), async (seed) => {
        const root = new Maker(randomOf(seed)).any(4)
        const { plan, items } = compiled(root)
        expect(planFault(plan, items)).toBeUndefined()
        const outcomes = await runPlan(plan, {
          call: (task, item) => runs.get(plan.tasks[task]!.name)!(item as never),
          pieces: () => [],
        })
        const direct = new DirectEvaluator().of(root)
        let expected: unknown
        try {
          expected = json(direct, false)
        } catch {
          failing += 1
          expect(() => valueIn(plan.output, outcomes)).toThrow()
          return
        }
        right += 1
        expect(valueIn(plan.output, outcomes)).toEqual(expected)
        const output = new Output(plan)
        const values = output.ranges
          .flatMap(({ lo, hi }) => outcomes.slice(lo, hi))
          .map((outcome) => (outcome as { value: unknown }).value)
        expect(output.build(values)).toEqual(expected)
      }),
      { numRuns: 1500 },
    )
    expect(Math.min(failing, right)).toBeGreaterThan(100)
  })
})
