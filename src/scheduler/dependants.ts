import type { Core } from './core.ts'
import type { Gate } from './gate.ts'
import type { JobRun } from './job-run.ts'
import { MAX_DEPENDANT_PUSHES, MAX_FAIL_RANGES, PUBLISH_SOON_MS } from './limits.ts'
import type { Plan } from './plan.ts'
import { planFault } from './plan-check.ts'
import { NOBODY } from './rules.ts'
import type { PeerId, Range, SchedulerEvent, SessionId } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

/**
 * This session has written that items of a composition are final: whoever owns what waits for them hears of it now, not by gossip.
 */
export function tellDependants(core: Core, run: JobRun, ranges: readonly Range[]): void {
  if (run.gate === undefined || core.peers.size === 0) return
  const told = new Set<PeerId>()
  let away = false
  for (const owner of waitingOwners(core, run, run.gate, ranges)) {
    const peer = core.leases.get(owner)?.peer
    const there = peer !== undefined && core.peers.has(peer)
    // The author has it already.
    if (there && peer === run.author) continue
    if (there && told.size < MAX_DEPENDANT_PUSHES) told.add(peer)
    else away = true
  }
  for (const peer of told) core.emit({ type: 'push', to: peer, job: run.job })
  if (away && run.unpublished) core.publishSoon(run, core.now + PUBLISH_SOON_MS)
}

/** Other sessions that own open items which need these; each once. */
function* waitingOwners(
  core: Core,
  { fold }: JobRun,
  gate: Gate,
  ranges: readonly Range[],
): Generator<SessionId> {
  const left = new Set(fold.openOf.keys())
  left.delete(core.self.session)
  left.delete(NOBODY)
  for (const { lo, hi } of ranges) {
    if (left.size === 0) return
    for (const waiting of gate.dependants(lo, hi)) {
      if (left.size === 0) return
      for (const { owner, ...span } of fold.owners.overlapping(waiting.lo, waiting.hi)) {
        if (!left.has(owner)) continue
        const from = Math.max(waiting.lo, span.lo)
        const to = Math.min(waiting.hi, span.hi)
        if (fold.final.countIn(from, to) === to - from) continue
        left.delete(owner)
        yield owner
      }
    }
  }
}

/** Others, or this session, wait for these items: the word of them is not held back. */
export function isAwaited(run: JobRun, { lo, hi }: Range): boolean {
  if (run.gate === undefined) return false
  for (const waiting of run.gate.dependants(lo, hi)) {
    if (run.fold.final.missing(waiting.lo, waiting.hi).length > 0) return true
  }
  return false
}

/** The values of these items are still of use: they are asked for, or open items are computed from them. */
export function isNeeded(run: JobRun, range: Range): boolean {
  if (run.gate === undefined || run.gate.output.countIn(range.lo, range.hi) > 0) return true
  return isAwaited(run, range)
}

/** Who owns open items of a composition that could be run, as far as this peer knows. */
export function readyOwners({ gate, fold }: JobRun): Set<SessionId> {
  const owners = new Set<SessionId>()
  for (const ready of gate?.ready.ranges() ?? []) {
    for (const { lo, hi } of fold.final.missing(ready.lo, ready.hi)) {
      for (const { owner } of fold.owners.overlapping(lo, hi)) owners.add(owner)
    }
  }
  return owners
}

// ---------------------------------------------------------------- the plan

/** The plan of a composition is needed here. */
export function askForPlan(core: Core, run: JobRun): void {
  const { jobEntry } = run.fold
  const task = jobEntry?.body.spec.task
  if (jobEntry === undefined || task?.kind !== 'graph' || run.gate !== undefined) return
  core.emit({ type: 'loadPlan', job: run.job, plan: task.bundle, from: jobEntry.author })
}

export function planLoaded(core: Core, { job, plan }: Event<'planLoaded'>): void {
  const run = core.jobs.get(job)
  if (run !== undefined) usePlan(core, run, plan)
}

/** Its items can start; or, when it makes no sense, they FAIL. */
export function usePlan(core: Core, run: JobRun, plan: Plan): void {
  const { spec, items } = run.fold
  if (spec?.task.kind !== 'graph' || run.gate !== undefined) return
  const fault = planFault(plan, items)
  core.touched.add(run)
  if (fault === undefined) {
    run.usePlan(plan)
    return
  }
  run.planFault = { code: 'ERR_MESH_PLAN_INVALID', message: `the plan makes no sense: ${fault}` }
}

export function planInvalid(core: Core, { job, code, message }: Event<'planInvalid'>): void {
  const run = core.jobs.get(job)
  if (run === undefined || !run.isGraph || run.gate !== undefined) return
  run.planFault = { code, message }
  core.touched.add(run)
}

/** Nobody can run what has no plan: what this session owns FAILs, now and as more comes. */
export function failUnplanned(core: Core, run: JobRun): void {
  if (run.planFault === undefined || run.ended || run.waiting.size === 0) return
  const { code, message } = run.planFault
  while (run.waiting.size > 0) {
    const ranges = [...run.waiting.ranges()].slice(0, MAX_FAIL_RANGES)
    core.append(run, { type: 'fail', ranges: ranges.map((range) => ({ ...range, code, message })) })
  }
  core.pushToAuthor(run)
  core.publish(run)
}
