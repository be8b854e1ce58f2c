import { expect, test } from 'vitest'
import type { NodeInput, Plan, PlanNode, Shape } from '../../src/scheduler/plan.ts'
import { belowFrom, itemsOfPlan, randomPlan, taskNamed } from '../helpers/random-plan.ts'
import { drawScenario, FAULT_KINDS, type FaultKind } from './chaos.ts'
import { LOCAL_AREA, NO_FAULTS } from './faults.ts'
import { type SimReport, simulate } from './simulate.ts'

const SEEDS = Number(process.env.MESHWORK_SIM_SEEDS ?? 25)
const steps = [{ task: 0 }]

function planOf(...nodes: PlanNode[]): Plan {
  const items = nodes.reduce((sum, { count }) => sum + count, 0)
  return { tasks: [taskNamed('t')], nodes, output: { kind: 'item', item: items - 1 } }
}

function node(count: number, input: NodeInput, more: Partial<PlanNode> = {}): PlanNode {
  return { count, input, steps, ...more }
}

function callOf(...shapes: Shape[]): PlanNode {
  return node(1, { kind: 'call', args: shapes.map((shape) => ({ kind: 'shape', shape })) })
}

const range: NodeInput = { kind: 'range', start: 0 }
const list = (lo: number, hi: number): Shape => ({ kind: 'list', lo, hi })
const item = (at: number): Shape => ({ kind: 'item', item: at })

/** A group of `count`, and a call of all its values. */
const chordOf = (count: number): Plan => planOf(node(count, range), callOf(list(0, count)))

function options(plan: Plan) {
  return { plan, items: itemsOfPlan(plan), checked: true } as const
}

function expectDone(report: SimReport, what: string): void {
  expect(report.problems, `${what}: replay with this seed`).toEqual([])
}

test.each(FAULT_KINDS.filter((kind) => kind !== 'byzantine'))(
  'random compositions end, each item after what it needs, with faults of kind %s',
  { timeout: 240_000 },
  (kind) => {
    for (let seed = 1; seed <= SEEDS; seed += 1) run(seed, new Set([kind]))
  },
)

test('random compositions end with all faults at once', { timeout: 240_000 }, () => {
  for (let seed = 1; seed <= 2 * SEEDS; seed += 1) run(1_000 + seed, new Set(FAULT_KINDS))
})

function run(seed: number, kinds: ReadonlySet<FaultKind>): void {
  const plan = randomPlan(belowFrom(seed), { nodes: 12, items: 60 })
  const scenario = drawScenario(seed, kinds, { ...options(plan), idealSeconds: 2 })
  expectDone(simulate(scenario.options, scenario.faults), `seed ${seed}, ${[...kinds].join()}`)
}

test('a chord whose submitter dies for good after the submission ends', () => {
  const setting = {
    ...options(chordOf(400)),
    seed: 3,
    peers: 3,
    spread: 2,
    idealSeconds: 4,
    authorSlots: 1,
    submitMs: 1_000,
  }
  const crash = { peer: 0, atMs: 2_000, restartMs: undefined, power: false, folderAgeMs: 0 }
  const faults = { ...NO_FAULTS, network: LOCAL_AREA, crashes: [crash], healMs: 3_000 }
  expectDone(simulate(setting, faults), 'seed 3')
})

test.each([
  [2, 1],
  [3, 0],
])(
  'a callback starts as soon as the group is done, on whichever of %i peers it is',
  (peers, authorSlots) => {
    const setting = { peers, spread: 1, idealSeconds: 2, advertError: 0, authorSlots, planMs: 5 }
    const shape = { shape: 'even', valueBytes: 1 } as const
    const faults = { ...NO_FAULTS, network: LOCAL_AREA }
    for (let seed = 1; seed <= 5; seed += 1) {
      const report = simulate({ ...options(chordOf(1_000)), ...setting, ...shape, seed }, faults)
      expectDone(report, `seed ${seed}`)
      // 1 000 items of 4 ms on two slots are 2 s; a back-off, or the gossip, would be 0.25 to 2 s more.
      expect(report.makespanSeconds, `seed ${seed}`).toBeLessThan(2.2)
    }
  },
)

test('a diamond is as long as its longest way', () => {
  const plan = planOf(node(1, range), callOf(item(0)), callOf(item(0)), callOf(item(1), item(2)))
  const setting = { peers: 2, spread: 1, advertError: 0, shape: 'even', valueBytes: 1 } as const
  const faults = { ...NO_FAULTS, network: LOCAL_AREA }
  const report = simulate({ ...options(plan), ...setting, idealSeconds: 2, seed: 1 }, faults)
  expectDone(report, 'seed 1')
  // Four items of 1 s each, two of them at once.
  expect(report.makespanSeconds).toBeLessThan(3.2)
})

test('stages that go item by item stay where they are', () => {
  const from = [{ lo: 0, hi: 500 }]
  const plan = planOf(node(500, range), node(500, { kind: 'each', from }))
  const setting = { peers: 4, spread: 1, advertError: 0, shape: 'even', idealSeconds: 4 } as const
  const faults = { ...NO_FAULTS, network: LOCAL_AREA }
  const report = simulate({ ...options(plan), ...setting, seed: 2 }, faults)
  expectDone(report, 'seed 2')
  expect(report.ratio).toBeLessThan(1.15)
})
