import { mayControl } from './controls.ts'
import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import { CLOCK_SLACK_MS, LIMIT_RANK_MS, MAX_LIMIT_RANK } from './limits.ts'
import { rendezvousRank } from './rendezvous.ts'
import { cancel, isController } from './steer.ts'
import type { JobOptions, SchedulerEvent } from './types.ts'

/** What its JOB says of when it was submitted. Where times are reckoned from it, it is by the mesh's clock: its author's may be wrong. */
export function submissionTime(
  core: Core,
  { at, spec }: Extract<SchedulerEvent, { type: 'submitted' }>,
): number {
  const { delayMs, jobTimeLimitMs } = spec.options
  const counts = delayMs !== undefined || jobTimeLimitMs !== undefined
  const { clockOffsetMs = at - core.now } = core
  return Math.max(0, Math.round(counts ? core.now + clockOffsetMs : at))
}

/** When nothing of the job starts before, ms since 1970; undefined: at once. */
export function startsAt({ fold }: JobRun): number | undefined {
  const body = fold.jobEntry?.body
  if (body === undefined) return undefined
  const { startAt, delayMs } = body.spec.options
  if (delayMs === undefined) return startAt
  return Math.max(body.at + delayMs, startAt ?? 0)
}

/** The median of the live peers' clocks moved against this peer's. */
export function clockSet(
  core: Core,
  { offsetMs }: Extract<SchedulerEvent, { type: 'clockSet' }>,
): void {
  const { clockOffsetMs } = core
  // A timer of each waiting job is set anew: not for a trifle.
  if (clockOffsetMs !== undefined && Math.abs(offsetMs - clockOffsetMs) < CLOCK_SLACK_MS) return
  core.clockOffsetMs = offsetMs
  for (const run of core.active) watchClock(core, run)
}

/** Sets the timers of a job that begins, or must end, at some time. */
export function watchClock(core: Core, run: JobRun): void {
  hasBegun(core, run)
  reviewLimits(core, run)
}

/** The job's time has come. Once it has it stays so, whatever the clocks say later. */
export function hasBegun(core: Core, run: JobRun): boolean {
  if (run.begun) return true
  const wallMs = startsAt(run)
  if (wallMs !== undefined) {
    const at = localTime(core, wallMs)
    if (at > core.now) {
      if (at < Number.POSITIVE_INFINITY) core.arm('start', run, at)
      return false
    }
  }
  run.begun = true
  return true
}

/** By this peer's monotonic clock; never, while the mesh's clock is not known. */
function localTime(core: Core, wallMs: number): number {
  return core.clockOffsetMs === undefined ? Number.POSITIVE_INFINITY : wallMs - core.clockOffsetMs
}

/**
 * A job whose time is up, or of which too many items failed, is cancelled: by the live controllers in the order of their ranks, each
 * a while after the one before. Nothing of it starts meanwhile.
 */
export function reviewLimits(core: Core, run: JobRun): void {
  const { spec, state } = run.fold
  if (spec === undefined || !hasLimits(spec.options)) return
  if (state !== 'running' && state !== 'paused') return
  const reason = overdue(core, run) ?? tooManyFailed(run)
  if (reason === undefined) {
    run.overLimitSince = undefined
    return
  }
  run.overLimitSince ??= core.now
  if (!isController(core, run)) return
  const controllers = [...core.peers.keys()].filter((peer) => mayControl(spec, peer))
  const rank = rendezvousRank(`${run.job}limit`, core.self.peer, controllers)
  const at = run.overLimitSince + LIMIT_RANK_MS * Math.min(MAX_LIMIT_RANK, rank)
  if (core.now >= at) cancel(core, run, reason)
  else core.arm('limit', run, at)
}

function hasLimits({ jobTimeLimitMs, maxFailures, maxFailuresPpm }: JobOptions): boolean {
  return jobTimeLimitMs !== undefined || maxFailures !== undefined || maxFailuresPpm !== undefined
}

function overdue(core: Core, run: JobRun): string | undefined {
  const { jobEntry } = run.fold
  const limitMs = jobEntry?.body.spec.options.jobTimeLimitMs
  if (jobEntry === undefined || limitMs === undefined) return undefined
  const from = startsAt(run) ?? jobEntry.body.at
  // Without the mesh's clock it counts from when the job was first heard of, and a job that waits for its time has none yet.
  const unknown = run.begun ? run.knownSince + limitMs : Number.POSITIVE_INFINITY
  const at = core.clockOffsetMs === undefined ? unknown : localTime(core, from + limitMs)
  if (at <= core.now) return `the job's time limit of ${limitMs / 1000} s is over`
  if (at < Number.POSITIVE_INFINITY) core.arm('limit', run, at)
  return undefined
}

function tooManyFailed({ fold }: JobRun): string | undefined {
  const { maxFailures, maxFailuresPpm } = fold.spec?.options ?? {}
  const share =
    maxFailuresPpm === undefined
      ? Number.POSITIVE_INFINITY
      : Math.floor((fold.items * maxFailuresPpm) / 1e6)
  const most = Math.min(maxFailures ?? Number.POSITIVE_INFINITY, share)
  if (most === Number.POSITIVE_INFINITY || fold.failed <= most) return undefined
  return `${fold.failed} items failed, and the job allows ${most}`
}
