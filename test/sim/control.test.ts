import { describe, expect, it } from 'vitest'
import type { NodeInput, Plan, PlanNode } from '../../src/scheduler/plan.ts'
import { taskNamed } from '../helpers/random-plan.ts'
import { type Faults, LOCAL_AREA, NO_FAULTS } from './faults.ts'
import { type SimReport, simulate } from './simulate.ts'
import type { SimOptions } from './world.ts'

function run(options: Partial<SimOptions>, faults: Partial<Faults> = {}): SimReport {
  const report = simulate(options, { ...NO_FAULTS, ...faults })
  const { seed, peers, items, problems } = report
  expect({ seed, peers, items, problems }).toEqual({ seed, peers, items, problems: [] })
  return report
}

const crash = { restartMs: undefined, power: false, folderAgeMs: 0 }
const network = LOCAL_AREA
const healMs = 60_000
/** Six peers alike, 30 s of work for them, items of 90 ms. */
const SIX: Partial<SimOptions> = {
  seed: 7,
  peers: 6,
  items: 2_000,
  idealSeconds: 30,
  spread: 1.2,
  shape: 'even',
  advertError: 0,
}
const SPLIT = { from: [0, 1, 2], to: [3, 4, 5], bothWays: true }

describe('cancel', () => {
  it('during a split: the half that did not hear of it works on, and stops when the split heals', () => {
    const report = run(SIX, {
      network,
      partitions: [{ ...SPLIT, startMs: 8_000, endMs: 20_000 }],
      controls: [{ peer: 1, atMs: 10_000, op: 'cancel' }],
      healMs: 21_000,
    })
    expect(report.state).toBe('cancelled')
    expect(report.cancelled).toBe('enough')
  })

  it('is known by a peer that was away', () => {
    const report = run(SIX, {
      network,
      crashes: [{ ...crash, peer: 3, atMs: 8_000, restartMs: 20_000 }],
      controls: [{ peer: 0, atMs: 12_000, op: 'cancel' }],
      healMs: 21_000,
    })
    expect(report.state).toBe('cancelled')
  })

  it('comes too late when all items are final', () => {
    const report = run(SIX, {
      network,
      controls: [{ peer: 2, atMs: 55_000, op: 'cancel' }],
      healMs,
    })
    expect(report.state).toBe('finished')
  })

  it('of the job as a whole when its time is up', () => {
    const report = run({ ...SIX, control: { jobTimeLimitMs: 10_000 } }, { network, drift: 0.02 })
    expect(report.state).toBe('cancelled')
    expect(report.cancelled).toMatch(/time limit of 10 s/)
    expect(report.makespanSeconds).toBeLessThan(11)
    expect(report.entries.cancel).toBeLessThanOrEqual(2)
  })
})

describe('too many failures', () => {
  const FAILING = { ...SIX, failEvery: 10 }

  it('end the job, once, long before its items are through', () => {
    const report = run({ ...FAILING, control: { maxFailures: 50 } }, { network })
    expect(report.state).toBe('cancelled')
    expect(report.cancelled).toMatch(/failed/)
    expect(report.makespanSeconds).toBeLessThan(15)
    expect(report.entries.cancel).toBeLessThanOrEqual(2)
  })

  it('are counted across a split when it heals, and while a peer is gone', () => {
    const report = run(
      { ...FAILING, control: { maxFailures: 120 } },
      {
        network,
        partitions: [{ ...SPLIT, startMs: 3_000, endMs: 24_000 }],
        crashes: [{ ...crash, peer: 5, atMs: 10_000 }],
        healMs: 25_000,
      },
    )
    expect(report.state).toBe('cancelled')
    // Neither half alone had as many.
    expect(report.makespanSeconds).toBeGreaterThan(20)
  })

  it('are what the job says: as many as it allows do not end it', () => {
    const report = run({ ...FAILING, control: { maxFailures: 200 } }, { network })
    expect(report.state).toBe('finished')
  })
})

describe('pause', () => {
  it('all peers stand still until it is resumed, by another peer', () => {
    const without = run(SIX, { network })
    const controls = [
      { peer: 2, atMs: 10_000, op: 'pause' },
      { peer: 4, atMs: 30_000, op: 'resume' },
    ] as const
    const report = run(SIX, { network, controls, healMs: 30_000 })
    expect(report.makespanSeconds).toBeGreaterThan(without.makespanSeconds + 19)
    expect(report.makespanSeconds).toBeLessThan(without.makespanSeconds + 22)
    expect(report.ranTwice).toBe(0)
  })

  it('seen by one half of a split: the other works on, and stands still when it heals', () => {
    const controls = [
      { peer: 1, atMs: 10_000, op: 'pause' },
      { peer: 1, atMs: 40_000, op: 'resume' },
    ] as const
    const partitions = [{ ...SPLIT, startMs: 9_000, endMs: 14_000 }]
    const report = run(SIX, { network, controls, partitions, healMs: 40_000 })
    // The first half has stood still for 30 s, the second for 26 or less.
    expect(report.makespanSeconds).toBeGreaterThan(30 + 20)
    expect(report.makespanSeconds).toBeLessThan(30 + 32 + 3)
  })

  it('and a RESUME of one that had not heard of it leaves it paused', () => {
    const controls = [
      { peer: 1, atMs: 10_500, op: 'pause' },
      { peer: 4, atMs: 10_500, op: 'pause' },
      // Of the two it knows its own alone.
      { peer: 4, atMs: 11_000, op: 'resume' },
    ] as const
    const partitions = [{ ...SPLIT, startMs: 10_000, endMs: 14_000 }]
    const report = run(SIX, { network, controls, partitions, healMs: 30_000 })
    expect(report.makespanSeconds).toBeGreaterThan(30 + 15)
  })
})

/** Items begun a second, between the first and the last. */
function rateOf({ begunAt }: SimReport): number {
  return (begunAt.length - 1) / ((begunAt.at(-1)! - begunAt[0]!) / 1000)
}

/** Most items begun within `ms`. */
function burst({ begunAt }: SimReport, ms: number): number {
  let most = 0
  let from = 0
  for (const [i, at] of begunAt.entries()) {
    while (begunAt[from]! < at - ms) from += 1
    most = Math.max(most, i - from + 1)
  }
  return most
}

describe('a rate limit', () => {
  const limited = (perSecond: number): Partial<SimOptions> => ({
    control: { ratePer1000s: perSecond * 1000 },
  })

  it('of 1 item a second over 4 peers', () => {
    const report = run(
      { ...SIX, ...limited(1), peers: 4, items: 120, idealSeconds: 2 },
      { network },
    )
    expect(rateOf(report)).toBeGreaterThan(0.9)
    expect(rateOf(report)).toBeLessThan(1.1)
    expect(burst(report, 4_000)).toBeLessThanOrEqual(7)
  })

  it('of 200 items a second, in chunks of many', () => {
    const report = run(
      { ...SIX, ...limited(200), peers: 4, items: 10_000, idealSeconds: 10 },
      { network },
    )
    expect(rateOf(report)).toBeGreaterThan(180)
    expect(rateOf(report)).toBeLessThan(220)
    expect(report.chunks).toBeLessThan(10_000 / 6)
    expect(burst(report, 1_000)).toBeLessThanOrEqual(420)
  })

  it('while peers join, leave, and die', () => {
    const report = run(
      { ...SIX, ...limited(20), items: 2_000, idealSeconds: 20 },
      {
        network,
        joins: [{ peer: 6, atMs: 15_000 }],
        leaves: [{ peer: 2, atMs: 30_000, returnMs: 50_000 }],
        crashes: [
          { ...crash, peer: 3, atMs: 20_000, restartMs: 22_000 },
          { ...crash, peer: 4, atMs: 40_000 },
          { ...crash, peer: 5, atMs: 60_000 },
        ],
        healMs: 70_000,
      },
    )
    expect(rateOf(report)).toBeGreaterThan(18)
    expect(rateOf(report)).toBeLessThan(22)
    expect(burst(report, 1_000)).toBeLessThanOrEqual(60)
  })

  it('over a wide area, with peers that are slower than they say', () => {
    const report = run({
      ...SIX,
      ...limited(20),
      items: 2_000,
      spread: 10,
      advertError: 0.7,
      idealSeconds: 50,
    })
    expect(rateOf(report)).toBeGreaterThan(18)
    expect(rateOf(report)).toBeLessThan(22)
  })

  it('above what the peers can do costs next to nothing', () => {
    const without = run(SIX, { network })
    const report = run({ ...SIX, ...limited(10_000) }, { network })
    expect(report.makespanSeconds).toBeLessThan(without.makespanSeconds * 1.05)
  })

  it('of a composition, whose items wait for others', () => {
    const steps = [{ task: 0 }]
    const stage = (count: number, input: NodeInput): PlanNode => ({ count, input, steps })
    const plan: Plan = {
      tasks: [taskNamed('t')],
      nodes: [
        stage(600, { kind: 'range', start: 0 }),
        stage(600, { kind: 'each', from: [{ lo: 0, hi: 600 }] }),
        stage(400, { kind: 'each', from: [{ lo: 600, hi: 1_000 }] }),
      ],
      output: { kind: 'list', lo: 1_200, hi: 1_600 },
    }
    const report = run(
      { ...SIX, ...limited(20), plan, items: 1_600, idealSeconds: 20 },
      { network },
    )
    expect(rateOf(report)).toBeGreaterThan(18)
    expect(rateOf(report)).toBeLessThan(22)
  })

  it('with chunks of a fixed size', () => {
    const report = run(
      { ...SIX, ...limited(20), chunkSize: 10, items: 2_000, idealSeconds: 20 },
      { network },
    )
    expect(rateOf(report)).toBeGreaterThan(18)
    expect(rateOf(report)).toBeLessThan(22)
  })
})

describe('a delayed start', () => {
  it('with clocks that run apart: nobody is early, and nobody waits long', () => {
    const report = run({ ...SIX, control: { delayMs: 20_000 } }, { network, drift: 0.02 })
    expect(report.makespanSeconds).toBeGreaterThan(20 + 29)
    expect(report.makespanSeconds).toBeLessThan(20 + 34)
  })

  it('of a job whose submitter has gone', () => {
    const crashes = [{ ...crash, peer: 0, atMs: 5_000 }]
    run({ ...SIX, control: { delayMs: 20_000 } }, { network, crashes, drift: 0.02, healMs: 6_000 })
  })
})

describe('items that throw', () => {
  it('are tried again later, alone, and hold up nothing else', () => {
    const without = run(SIX, { network })
    const report = run({ ...SIX, throwEvery: 50 }, { network })
    expect(report.makespanSeconds).toBeLessThan(without.makespanSeconds * 1.1 + 2)
  })

  it('and whose peer dies or leaves while they wait', () => {
    run(
      { ...SIX, throwEvery: 10 },
      {
        network,
        crashes: [
          { ...crash, peer: 3, atMs: 10_000 },
          { ...crash, peer: 4, atMs: 12_000, restartMs: 14_000 },
        ],
        leaves: [{ peer: 2, atMs: 15_000, returnMs: undefined }],
        controls: [
          { peer: 1, atMs: 16_000, op: 'pause' },
          { peer: 1, atMs: 18_000, op: 'resume' },
        ],
        healMs: 20_000,
      },
    )
  })
})
