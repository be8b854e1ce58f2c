import { describe, expect, it } from 'vitest'
import { drawScenario, FAULT_KINDS, type FaultKind } from './chaos.ts'
import {
  type Faults,
  LOCAL_AREA,
  type Mischief,
  type NetworkFaults,
  NO_FAULTS,
  WIDE_AREA,
} from './faults.ts'
import { KEPT_SEEDS } from './kept-seeds.ts'
import { type SimReport, simulate } from './simulate.ts'
import type { SimOptions } from './world.ts'

/** Random scenarios in CI; `npm run sim -- --chaos` runs thousands. */
const CHAOS_SEEDS = 300
const CHAOS_BATCH = 50

/** Every check of the simulator; what fails names its seed, which replays it. */
function run(options: Partial<SimOptions>, faults: Partial<Faults> = {}): SimReport {
  const report = simulate(options, { ...NO_FAULTS, ...faults })
  const { seed, peers, items, problems } = report
  expect({ seed, peers, items, problems }).toEqual({ seed, peers, items, problems: [] })
  return report
}

/** No fault of a run lasts longer. */
const healMs = 60_000
const crash = { restartMs: undefined, power: false, folderAgeMs: 0 }
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
const AT_40_PERCENT = 14_000

describe('a calm mesh: 20-200 ms, 1 % loss, speeds over a factor of 10', () => {
  it.each([1, 2, 3])('20 peers, 20 000 items, seed %i', (seed) => {
    const report = run({ seed, peers: 20, items: 20_000, idealSeconds: 60 })
    expect(report.ratio).toBeLessThan(1.08)
    expect(report.entriesPerChunk).toBeLessThanOrEqual(1)
  })

  it('costs that rise threefold over the job', () => {
    const report = run({ seed: 11, peers: 20, items: 20_000, idealSeconds: 60, shape: 'ramp' })
    expect(report.ratio).toBeLessThan(1.08)
  })

  it('four slots a peer, a submitter that lends none', () => {
    const report = run({ seed: 21, peers: 10, slots: 4, authorSlots: 0, idealSeconds: 40 })
    expect(report.ratio).toBeLessThan(1.08)
  })

  it('100 peers: no lease ends, 10 heartbeats a second or less come in anywhere', () => {
    const report = run({ seed: 1, peers: 100, items: 100_000, idealSeconds: 20, checked: false })
    expect(report.ratio).toBeLessThan(1.2)
    expect(report.leasesEnded).toBe(0)
    expect(report.heartbeats).toBeLessThanOrEqual(10.5)
  })

  it('replays: the same seed gives the same run', () => {
    const [a, b] = [run({ seed: 31 }), run({ seed: 31 })]
    expect([a.makespanSeconds, a.entries, a.messages]).toEqual([
      b.makespanSeconds,
      b.entries,
      b.messages,
    ])
  })
})

describe('one thing goes wrong', () => {
  const without = run({ ...SIX, seed: 8 }, { network: LOCAL_AREA }).makespanSeconds

  it('a peer is killed with -9 at 40 %: the others know at once, and do no more than its chunk again', () => {
    const crashes = [{ ...crash, peer: 3, atMs: AT_40_PERCENT }]
    const report = run({ ...SIX, seed: 8 }, { network: LOCAL_AREA, crashes, healMs })
    const ideal = 12 + ((without - 12) * 6) / 5
    expect(report.makespanSeconds).toBeLessThan(ideal + 3)
    expect(report.ranTwice).toBeLessThanOrEqual(10)
  })

  it('one of two peers is killed at 40 %', () => {
    const two = { ...SIX, peers: 2, items: 600 }
    const crashes = [{ ...crash, peer: 1, atMs: AT_40_PERCENT }]
    const report = run(two, { network: LOCAL_AREA, crashes, healMs })
    expect(report.makespanSeconds).toBeLessThan(12 + 18 * 2 + 3)
    expect(report.ranTwice).toBeLessThanOrEqual(10)
  })

  it('the power of a peer fails: one lease later its work goes on', () => {
    const crashes = [{ ...crash, peer: 3, atMs: AT_40_PERCENT, power: true }]
    const report = run(SIX, { crashes, healMs })
    expect(report.makespanSeconds).toBeLessThan(without * 1.25 + 13)
  })

  it('a peer is stopped for two leases in the middle', () => {
    const pauses = [{ peer: 2, startMs: AT_40_PERCENT, endMs: 34_000, clockStands: false }]
    const report = run(SIX, { pauses, healMs })
    expect(report.makespanSeconds).toBeLessThan(without + 13)
  })

  it('a laptop sleeps for two leases, and its clock with it', () => {
    const pauses = [{ peer: 2, startMs: AT_40_PERCENT, endMs: 34_000, clockStands: true }]
    run(SIX, { pauses, healMs })
  })

  it('one half of the mesh is stopped: it declares nobody dead when it goes on', () => {
    const pauses = [3, 4, 5].map((peer) => ({
      peer,
      startMs: AT_40_PERCENT,
      endMs: AT_40_PERCENT + 6_000,
      clockStands: false,
    }))
    expect(run(SIX, { pauses, healMs }).leasesWrongly).toBe(0)
  })

  it('a split in halves heals: both go on, and the log converges', () => {
    const split = { startMs: 10_000, endMs: 40_000, from: [0, 1, 2], to: [3, 4, 5], bothWays: true }
    run(SIX, { partitions: [split], healMs })
  })

  it('one peer is not heard, but hears', () => {
    const split = {
      startMs: 10_000,
      endMs: 40_000,
      from: [4],
      to: [0, 1, 2, 3, 5],
      bothWays: false,
    }
    run(SIX, { partitions: [split], healMs })
  })

  it('the submitter goes for good right after submit', () => {
    const crashes = [{ ...crash, peer: 0, atMs: 4_000 }]
    run(SIX, { crashes, healMs })
  })

  it('everyone but the submitter is killed, one after the other', () => {
    const crashes = [1, 2, 3, 4, 5].map((peer, i) => ({ ...crash, peer, atMs: 8_000 + 4_000 * i }))
    run(SIX, { crashes, healMs })
  })

  it('all are killed at once and start again', () => {
    const crashes = [0, 1, 2, 3, 4, 5].map((peer) => ({
      ...crash,
      peer,
      atMs: AT_40_PERCENT,
      restartMs: 20_000 + 500 * peer,
    }))
    run(SIX, { crashes, writeMs: 1, healMs })
  })

  it('a restart has lost the end of its log, though it was sent', () => {
    const crashes = [8_000, 12_000, 16_000].map((atMs) => ({
      ...crash,
      peer: 3,
      atMs,
      restartMs: atMs + 1_000,
      power: true,
    }))
    run(SIX, { network: LOCAL_AREA, crashes, healMs })
  })

  it('a peer starts on a copy of its folder from ten seconds ago', () => {
    const crashes = [{ ...crash, peer: 3, atMs: 16_000, restartMs: 17_000, folderAgeMs: 10_000 }]
    run(SIX, { crashes, healMs })
  })

  it('a peer leaves with Ctrl-C: nothing runs again but the item that it was at', () => {
    const leaves = [{ peer: 3, atMs: AT_40_PERCENT, returnMs: undefined }]
    const report = run(SIX, { network: LOCAL_AREA, leaves, healMs })
    expect(report.ranTwice).toBe(0)
  })

  it('a disk is full for a while', () => {
    const fullDisks = [{ peer: 3, startMs: 8_000, endMs: 16_000 }]
    const report = run(SIX, { network: LOCAL_AREA, fullDisks, healMs })
    expect(report.ranTwice).toBe(0)
    expect(report.makespanSeconds).toBeLessThan(without + 4)
  })

  it('clocks run apart by 2 %, and show what they like', () => {
    const report = run(SIX, { drift: 0.02 })
    expect(report.leasesEnded).toBe(0)
  })

  it('a tenth of the messages is lost, doubled, late', () => {
    const network: NetworkFaults = {
      ...WIDE_AREA,
      loss: 0.1,
      duplication: 0.1,
      reordering: 0.1,
      heldShare: 1,
    }
    run(SIX, { network })
  })
})

describe('one peer of six breaks the protocol', () => {
  it.each<Mischief>(['forger', 'hoarder', 'forker', 'replayer', 'scribbler'])('%s', (kind) => {
    const byzantine = [{ peer: 4, kinds: [kind], everyMs: 500 }]
    run(SIX, { byzantine, healMs })
  })
})

describe('random scenarios', () => {
  const draw = (seed: number, kinds: 'all' | readonly FaultKind[]): void => {
    const { options, faults } = drawScenario(seed, new Set(kinds === 'all' ? FAULT_KINDS : kinds))
    run(options, faults)
  }

  it.each(Array.from({ length: CHAOS_SEEDS / CHAOS_BATCH }, (_, i) => 1 + i * CHAOS_BATCH))(
    `${CHAOS_BATCH} seeds from %i on`,
    (first) => {
      for (let seed = first; seed < first + CHAOS_BATCH; seed += 1) draw(seed, 'all')
    },
  )

  it.each(KEPT_SEEDS)('seed $seed: $found', ({ seed, kinds }) => draw(seed, kinds))
})
