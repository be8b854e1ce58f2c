import type { JobId, JobOptions } from '../../src/scheduler/types.ts'
import type { Control } from './faults.ts'
import type { Prng } from './prng.ts'
import type { Process } from './process.ts'
import type { World } from './world.ts'

/** As src/node: the mesh's clock is told this often. */
const CLOCK_MS = 5_000
/** By how much a clock that runs at another rate is off by then, and what a timer is early. */
const CLOCK_ERROR_MS = 150
/** Who sees a job paused after the end of all faults resumes it, this often. */
const RESUME_MS = 1_000

export type ControlOptions = Pick<
  JobOptions,
  | 'priority'
  | 'ratePer1000s'
  | 'delayMs'
  | 'jobTimeLimitMs'
  | 'requires'
  | 'controllers'
  | 'maxFailures'
>

/** Puts what people do to the job into the clock of a run. */
export function scheduleControls(world: World, job: JobId, controls: readonly Control[]): void {
  const { clock, hosts } = world
  for (const { peer, atMs, op } of controls) {
    clock.at(atMs, () => {
      const { process } = hosts[peer]!
      process?.run('io', () => steer(process, job, op))
    })
  }
  if (controls.some(({ op }) => op === 'pause')) resumeAll(world, job)
}

function steer(process: Process, job: JobId, op: Control['op']): void {
  if (op === 'cancel') process.handle({ type: 'cancelled', job, reason: 'enough' })
  else process.handle({ type: op === 'pause' ? 'paused' : 'resumed', job })
}

/** A PAUSE that comes out of a split long after holds too: somebody sees it, and ends it. */
function resumeAll(world: World, job: JobId): void {
  const { clock, faults } = world
  const look = (): void => {
    for (const process of world.honest()) {
      const paused = process.brain.scheduler?.job(job)?.state === 'paused'
      if (paused) process.run('io', () => steer(process, job, 'resume'))
    }
    clock.after(RESUME_MS, look)
  }
  clock.at(faults.healMs + RESUME_MS, look)
}

/** The median of the mesh's clocks is the time of the simulation; each peer hears by how much its own is off. */
export function tellClock(world: World, process: Process): void {
  const { now } = world.clock
  process.handle({ type: 'clockSet', offsetMs: now - process.host.localTime(now) })
}

export function needsClock({ delayMs, jobTimeLimitMs }: ControlOptions): boolean {
  return delayMs !== undefined || jobTimeLimitMs !== undefined
}

export const CLOCK_EVERY_MS = CLOCK_MS

/** A delayed job that starts before its time. */
export function checkNotEarly(world: World, by: Process, job: JobId): void {
  if (world.options.control.delayMs === undefined) return
  const at = by.brain.scheduler?.job(job)?.startsAt ?? 0
  const { now } = world.clock
  if (now < at - CLOCK_ERROR_MS) world.truth.problem(`${by.name} starts at ${now}, not at ${at}`)
}

/** What people do to a job, drawn at random. */
export function drawControls(prng: Prng, peers: number, horizonMs: number): Control[] {
  const controls: Control[] = []
  const pauses = prng.int(4)
  for (let i = 0; i < pauses; i += 1) {
    const atMs = prng.between(0, horizonMs)
    controls.push({ peer: prng.int(peers), atMs, op: 'pause' })
    if (prng.chance(0.7)) {
      const backMs = prng.between(atMs, horizonMs)
      controls.push({ peer: prng.int(peers), atMs: backMs, op: 'resume' })
    }
  }
  if (prng.chance(0.2)) {
    controls.push({ peer: prng.int(peers), atMs: prng.between(0, horizonMs), op: 'cancel' })
  }
  return controls
}

/** Options of control, drawn at random; a rate is at least so much that the job ends within a few times its ideal. */
export function drawControlOptions(
  prng: Prng,
  items: number,
  idealSeconds: number,
): ControlOptions {
  const perSecond = (items / idealSeconds) * prng.between(0.4, 3)
  return {
    ...(prng.chance(0.3) ? { ratePer1000s: Math.max(1, Math.ceil(perSecond * 1000)) } : {}),
    ...(prng.chance(0.3) ? { delayMs: Math.floor(prng.between(0, 5_000)) } : {}),
    ...(prng.chance(0.3) ? { priority: prng.int(10) } : {}),
  }
}
