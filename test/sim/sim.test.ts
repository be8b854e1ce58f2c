import { describe, expect, it } from 'vitest'
import { type SimReport, simulate } from './simulate.ts'
import type { SimOptions } from './world.ts'

/** Every check of the simulator; what fails names its seed, which replays it. */
function run(options: Partial<SimOptions>): SimReport {
  const report = simulate(options)
  const { seed, peers, items } = report
  expect({ seed, peers, items, problems: report.problems, ranTwice: report.ranTwice }).toEqual({
    seed,
    peers,
    items,
    problems: [],
    ranTwice: 0,
  })
  return report
}

describe('simulated meshes: 20-200 ms, 1 % loss, speeds over a factor of 10', () => {
  it.each([1, 2, 3, 4, 5, 6])('20 peers, 20 000 items, seed %i', (seed) => {
    const report = run({ seed, peers: 20, items: 20_000, idealSeconds: 60 })
    expect([seed, report.ratio]).toEqual([seed, expect.closeTo(1.04, 1)])
    expect(report.ratio).toBeLessThan(1.08)
    expect(report.entriesPerChunk).toBeLessThanOrEqual(1)
  })

  it.each([11, 12])('costs that rise threefold over the job, seed %i', (seed) => {
    const report = run({ seed, peers: 20, items: 20_000, idealSeconds: 60, shape: 'ramp' })
    expect(report.ratio).toBeLessThan(1.08)
  })

  it('four slots a peer, a submitter that lends none', () => {
    const report = run({ seed: 21, peers: 10, slots: 4, authorSlots: 0, idealSeconds: 40 })
    expect(report.ratio).toBeLessThan(1.08)
  })

  it('100 peers, 1 000 000 items', () => {
    const report = run({
      seed: 1,
      peers: 100,
      items: 1_000_000,
      idealSeconds: 60,
      checkViews: false,
    })
    expect(report.ratio).toBeLessThan(1.07)
    expect(report.entriesPerChunk).toBeLessThanOrEqual(1)
  }, 180_000)

  it('replays: the same seed gives the same run', () => {
    const [a, b] = [run({ seed: 31 }), run({ seed: 31 })]
    expect([a.makespanSeconds, a.entries, a.asked]).toEqual([b.makespanSeconds, b.entries, b.asked])
  })
})
