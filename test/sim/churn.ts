import type { Crash, Faults, Join } from './faults.ts'
import { Prng } from './prng.ts'
import { DEFAULTS, type SimOptions } from './world.ts'

export interface Churn {
  /** Percent of the peers that die each minute, for good; the submitter stays. */
  readonly percentPerMinute: number
  /** Every so many seconds in turn one dies and one joins. */
  readonly killEveryS: number | undefined
}

/** How much longer than the ideal churn goes on: a job that takes longer ends in peace. */
const CHURN_FACTOR = 3

/** Adds deaths and arrivals to the faults of a run. */
export function withChurn(faults: Faults, options: Partial<SimOptions>, churn: Churn): Faults {
  const { seed, peers, idealSeconds, submitMs } = { ...DEFAULTS, ...options }
  const prng = new Prng(seed * 31 + 5)
  const endMs = submitMs + idealSeconds * 1000 * CHURN_FACTOR
  const order = prng.sample([...Array(peers).keys()].slice(1), peers)
  const crashes: Crash[] = []
  const joins: Join[] = []
  const die = (atMs: number): void => {
    const peer = order.pop()
    if (peer === undefined) return
    crashes.push({ peer, atMs, restartMs: undefined, power: false, folderAgeMs: 0 })
  }
  if (churn.percentPerMinute > 0) {
    // A constant rate of those that are left: the pauses between deaths grow.
    let at = submitMs
    for (let left = peers; left > 1; left -= 1) {
      at -= (60_000 / ((churn.percentPerMinute / 100) * left)) * Math.log(1 - prng.next())
      if (at > endMs) break
      die(at)
    }
  }
  if (churn.killEveryS !== undefined) {
    const stepMs = churn.killEveryS * 1000
    for (let i = 0, at = submitMs + stepMs; at < endMs; i += 1, at += stepMs) {
      if (i % 2 === 0) die(at)
      else joins.push({ peer: peers + joins.length, atMs: at })
    }
  }
  return { ...faults, crashes: [...faults.crashes, ...crashes], joins: [...faults.joins, ...joins] }
}
