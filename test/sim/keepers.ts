import type { JobId } from '../../src/scheduler/types.ts'
import type { World } from './world.ts'

/** How often somebody looks whether results are still to be had. */
const LOOK_MS = 3_000

/**
 * What src/node does for results, as far as the log sees it: when no peer that stays holds the values of an accepted DONE, one that
 * lives says so, and its items run again.
 */
export function watchKeepers(world: World, job: JobId): void {
  const { clock, options } = world
  if (!options.checked || world.doomed.size + world.faults.byzantine.length === 0) return
  const look = (): void => {
    const process = world.prng.pick(world.honest().filter(({ stopped }) => !stopped))
    const spans = [...(process?.brain.scheduler?.doneSpans(job) ?? [])]
    for (const { lo, hi, hash, result } of spans) {
      if (result.kind !== 'blob' || world.isKept(result.hash)) continue
      process?.handle({ type: 'resultLost', job, lo, hi, done: hash })
    }
    clock.after(LOOK_MS, look)
  }
  clock.after(LOOK_MS, look)
}
