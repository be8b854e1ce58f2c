import { describe, expect, it } from 'vitest'
import { type Execution, type Lapse, tallyOf } from './lib/records.ts'
import { scheduleOf } from './lib/schedule.ts'
import { wrongValues } from './lib/values.ts'

const DEAD = 100
const LIVE = 200

function ran(item: number, peerPid: number, startedAt: number, endedAt?: number): Execution {
  return { item, peerPid, startedAt, endedAt }
}

function lapse(kind: Lapse['kind'], from: number, until = Number.POSITIVE_INFINITY): Lapse {
  return { kind, peer: 1, pid: DEAD, from, until }
}

describe('the tally of a chaos run', () => {
  it('finds items that never ran', () => {
    expect(tallyOf(3, [ran(0, LIVE, 1, 2), ran(2, LIVE, 2, 3)], [], false).neverRan).toEqual([1])
  })

  it('excuses what was in hand on a peer that was killed, once for each death', () => {
    const runs = [ran(0, DEAD, 9_900), ran(0, LIVE, 20_000, 20_010)]
    const tally = tallyOf(1, runs, [lapse('kill', 10_000)], false)
    expect([tally.twice.killed, tally.unexplained]).toEqual([1, []])
    const thrice = tallyOf(1, [...runs, ran(0, LIVE, 30_000)], [lapse('kill', 10_000)], false)
    expect(thrice.unexplained.map(({ item }) => item)).toEqual([0])
  })

  it('does not excuse what was long done, or was never on the one that died', () => {
    const long = [ran(0, DEAD, 1_000, 1_010), ran(0, LIVE, 20_000, 20_010)]
    expect(tallyOf(1, long, [lapse('kill', 10_000)], false).unexplained).toHaveLength(1)
    const other = [ran(0, LIVE, 9_900, 9_990), ran(0, LIVE, 20_000, 20_010)]
    expect(tallyOf(1, other, [lapse('kill', 10_000)], false).unexplained).toHaveLength(1)
  })

  it('takes a short stop for no death, a long one for one', () => {
    const runs = [ran(0, DEAD, 9_900, 40_000), ran(0, LIVE, 21_000, 21_010)]
    expect(tallyOf(1, runs, [lapse('stop', 10_000, 15_000)], false).unexplained).toHaveLength(1)
    expect(tallyOf(1, runs, [lapse('stop', 10_000, 25_000)], false).twice.stopped).toBe(1)
  })

  it('counts copies apart, where they are allowed', () => {
    const runs = [ran(0, LIVE, 1_000, 5_000), ran(0, DEAD, 4_000, 4_500)]
    expect(tallyOf(1, runs, [], true).twice.copied).toBe(1)
    expect(tallyOf(1, runs, [], false).unexplained).toHaveLength(1)
  })
})

describe('a schedule', () => {
  const options = { peers: 5, durationMs: 60_000, spared: [2], maxDown: 2 }

  it('is the same for the same seed, another for another', () => {
    expect(scheduleOf({ ...options, seed: 7 })).toEqual(scheduleOf({ ...options, seed: 7 }))
    expect(scheduleOf({ ...options, seed: 7 })).not.toEqual(scheduleOf({ ...options, seed: 8 }))
  })

  it('spares whom it should, and never has more down than allowed', () => {
    for (let seed = 1; seed <= 50; seed += 1) {
      const faults = scheduleOf({ ...options, seed })
      expect(faults.length, `seed ${seed}`).toBeGreaterThan(3)
      for (const { peer, atMs } of faults) {
        expect(peer, `seed ${seed}`).not.toBe(2)
        const down = faults.filter((other) => other.atMs <= atMs && other.untilMs > atMs)
        expect(down.length, `seed ${seed}`).toBeLessThanOrEqual(2)
        expect(new Set(down.map((one) => one.peer)).size, `seed ${seed}`).toBe(down.length)
      }
    }
  })
})

it('values that are missing or wrong are told', () => {
  expect(wrongValues([], 1, 0)).toHaveLength(2)
  expect(wrongValues([1, 2, 3], 3, 0).join()).toContain('3 wrong values')
})
