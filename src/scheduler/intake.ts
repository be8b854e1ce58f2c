import { abortOvertaken } from './chunk-flow.ts'
import type { Core } from './core.ts'
import { askForPlan } from './dependants.ts'
import { reviewLimits, watchClock } from './job-clock.ts'
import type { JobRun } from './job-run.ts'
import { adoptOwners } from './leases.ts'
import {
  CATCH_UP_MS,
  MAX_FORGOTTEN_JOBS,
  MAX_ORPHAN_ENTRIES,
  MAX_ORPHAN_ENTRIES_PER_JOB,
  MAX_ORPHAN_JOBS,
  RELEASE_RANK_MS,
} from './limits.ts'
import { noteProgress } from './reclaim.ts'
import { NOBODY } from './rules.ts'
import { endBackoff } from './thief.ts'
import type { Entry, JobId } from './types.ts'

/** Timers that mean nothing once a job is over. */
const ENDED_TIMERS = [
  'done',
  'steal',
  'idle',
  'retry',
  'release',
  'reclaim',
  'seeds',
  'start',
  'limit',
  'rate',
  'again',
] as const

/** Where entries come in: finds or makes the job's run, and follows a job from unknown -> running -> ended -> forgotten. */
export class Intake {
  private readonly core: Core
  /** Jobs of which entries came before the JOB. */
  private readonly orphans = new Map<JobId, JobRun>()
  private readonly forgotten = new Set<JobId>()
  /** Jobs told as finished. */
  private readonly told = new WeakSet<JobRun>()

  constructor(core: Core) {
    this.core = core
  }

  received(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (this.forgotten.has(entry.job)) continue
      const run = this.core.jobs.get(entry.job) ?? this.orphan(entry.job)
      const isJob = entry.body.type === 'job'
      if (!isJob && run.fold.earlyCount >= MAX_ORPHAN_ENTRIES_PER_JOB) continue
      this.take(run, entry)
    }
  }

  /** Everything the store holds of a job: its views are written already, so they are not told again. */
  loaded(entries: readonly Entry[]): void {
    const runs = new Set<JobRun>()
    for (const entry of entries) {
      this.forgotten.delete(entry.job)
      const run = this.core.jobs.get(entry.job) ?? this.orphan(entry.job)
      this.take(run, entry)
      run.follow(entry)
      runs.add(run)
    }
    for (const run of runs) {
      run.fold.takeChange()
      adoptOwners(this.core, run)
      if (this.core.config.expectsPeers === true) run.catchUpUntil = this.core.now + CATCH_UP_MS
      // The log may be behind: whoever took a released range meanwhile has a moment to say so.
      for (const span of run.fold.owners) {
        if (span.owner === NOBODY) {
          run.releasedSince.set(span.hash, this.core.now + RELEASE_RANK_MS)
        }
      }
    }
  }

  /** A run for a job that this peer submits. */
  create(job: JobId): JobRun {
    this.forgotten.delete(job)
    return this.orphan(job)
  }

  /** unknown -> running: its JOB is here. */
  adopted(run: JobRun): void {
    if (run.fold.jobEntry === undefined || this.core.jobs.has(run.job)) return
    this.orphans.delete(run.job)
    this.core.jobs.set(run.job, run)
    this.core.activate(run)
    askForPlan(this.core, run)
    run.knownSince = this.core.now
    watchClock(this.core, run)
  }

  /** running <-> ended, as the fold says; LOST can reopen a job. */
  review(run: JobRun): void {
    const { core } = this
    if (run.fold.jobEntry === undefined) return
    if (this.core.jobs.has(run.job)) reviewLimits(core, run)
    const { state } = run.fold
    const over = state === 'finished' || state === 'cancelled'
    if (!over) this.notePause(run, state === 'paused')
    if (over === run.ended) return
    run.ended = over
    if (!over) {
      this.told.delete(run)
      core.activate(run)
      askForPlan(core, run)
      return
    }
    core.retire(run)
    for (const kind of ENDED_TIMERS) {
      core.disarm(kind, run)
    }
    run.thief.asked = undefined
    run.thief.backingOff = 'no'
    run.lifelines.clear()
    run.endDelays(0, run.fold.items)
    for (const { lo, hi } of run.ready) run.giveBack(lo, hi)
    run.ready = []
    run.readyBytes = 0
    abortOvertaken(core, run)
    core.publish(run)
  }

  /** running <-> paused. */
  private notePause(run: JobRun, paused: boolean): void {
    if (run.paused === paused) return
    run.paused = paused
    // Nothing is gathered while it stands; and nobody could work, or give work.
    run.bucket = undefined
    if (paused) return
    run.progressAt.clear()
    run.emptyAnswers.clear()
    endBackoff(this.core, run)
  }

  announce(run: JobRun): void {
    if (!run.ended || run.fold.state !== 'finished' || this.told.has(run)) return
    this.told.add(run)
    this.core.emit({ type: 'jobFinished', job: run.job })
  }

  /** ended -> forgotten. */
  forget(job: JobId): void {
    const run = this.core.jobs.get(job)
    if (run === undefined) return
    this.core.jobs.delete(job)
    this.core.retire(run)
    this.forgotten.add(job)
    if (this.forgotten.size <= MAX_FORGOTTEN_JOBS) return
    for (const oldest of this.forgotten) {
      this.forgotten.delete(oldest)
      return
    }
  }

  private take(run: JobRun, entry: Entry): void {
    const { core } = this
    const { self } = core.config
    if (entry.author === self.peer && entry.session !== self.session) {
      core.predecessors.add(entry.session)
    }
    if (!run.fold.add(entry)) return
    // Only work is progress: who takes over and hands on without end does none.
    const { type } = entry.body
    if (type === 'done' || type === 'fail') noteProgress(core, run, entry.session)
    run.unacked.delete(entry.session)
    core.touched.add(run)
    if (!core.jobs.has(run.job)) this.adopted(run)
  }

  private orphan(job: JobId): JobRun {
    let run = this.orphans.get(job)
    if (run === undefined) {
      this.makeRoom()
      run = this.core.newRun(job)
      this.orphans.set(job, run)
    }
    return run
  }

  /** The oldest jobs without a JOB go first; their entries come again from the store at the next start. */
  private makeRoom(): void {
    let held = 0
    for (const run of this.orphans.values()) held += run.fold.earlyCount
    for (const [job, run] of this.orphans) {
      if (this.orphans.size < MAX_ORPHAN_JOBS && held < MAX_ORPHAN_ENTRIES) return
      held -= run.fold.earlyCount
      this.orphans.delete(job)
    }
  }
}
