import type { DoneSpan, JobId } from '../../src/scheduler/types.ts'
import { isCalm, isLawful } from './faults.ts'
import type { Process } from './process.ts'
import { bump } from './truth.ts'
import { failuresIn } from './workers.ts'
import type { World } from './world.ts'

/** Peers of a large mesh whose folds are compared item by item. */
const SHARED_LOOKS = 3

/** Everything that must hold at the end of a run (design.md, invariants); problems go to the world's truth. */
export function check(world: World, job: JobId): void {
  const { truth } = world
  const live = world.honest()
  const first = live.find(({ jobs }) => jobs.has(job)) ?? live[0]
  if (first === undefined) {
    truth.problem('no honest peer is left')
    return
  }
  // Written, but never synced or sent: a job that nobody was told to have.
  if (!first.jobs.has(job) && world.mayLoseJob()) return
  let same = true
  const reference = spansOf(first, job)
  for (const [i, process] of live.entries()) {
    checkEnded(world, process, job)
    // They share what they know; what is their own has been told by now.
    if (world.past !== undefined && i >= SHARED_LOOKS) continue
    const spans = spansOf(process, job)
    if (!sameFold(spans, reference)) same = false
    const over = process.brain.scheduler?.job(job)?.state
    if (over !== first.brain.scheduler?.job(job)?.state) same = false
    if (over !== 'cancelled' && !isGapless(world, spans))
      truth.problem(`${process.name} leaves items out`)
    if (world.options.checked) checkViews(world, process, job)
  }
  if (!same) truth.problem('peers fold to different results')
  if (world.options.checked) checkResults(world, reference)
  checkStarts(world, job)
}

function spansOf({ brain }: Process, job: JobId): DoneSpan[] {
  return [...(brain.scheduler?.doneSpans(job) ?? [])]
}

/** I6, I10. */
function checkEnded(world: World, process: Process, job: JobId): void {
  const view = process.brain.scheduler?.job(job)
  if (view?.state === 'cancelled' && isCancelled(world)) return
  const { items, failEvery } = world.options
  const mayFail = world.truth.givenUp.size + failuresIn(0, items, failEvery)
  if (view?.state === 'finished' && view.failed <= mayFail) return
  world.truth.problem(
    view === undefined
      ? `${process.name} does not know the job`
      : `${process.name} is at ${view.state}: ${view.done} of ${view.items}, ${view.failed} failed; ${openOf(world, process)}`,
  )
}

/** Somebody did so; whether all items were final before is for the fold to say, and for all peers alike. */
function isCancelled({ faults, options }: World): boolean {
  const { jobTimeLimitMs, maxFailures } = options.control
  const limited = jobTimeLimitMs !== undefined || maxFailures !== undefined
  return limited || faults.controls.some(({ op }) => op === 'cancel')
}

/** Who owns, as a peer sees it, what is not done. */
function openOf(world: World, process: Process): string {
  const open: string[] = []
  for (const { lo, hi, owner, epoch, hop } of process.owners.values()) {
    let left = 0
    for (let i = lo; i < hi; i += 1) if (world.truth.runs[i] === 0) left += 1
    const far = world.processOf(owner)
    const name = far === undefined ? owner.slice(0, 8) || 'nobody' : far.name
    const state = far?.alive === true ? 'alive' : 'dead'
    if (left > 0)
      open.push(`${lo}..${hi} (${left} never ran) of ${name}, ${state}, epoch ${epoch}.${hop}`)
  }
  return open.slice(0, 4).join('; ') || 'every item ran somewhere'
}

function isGapless({ truth, options }: World, spans: readonly DoneSpan[]): boolean {
  let at = 0
  for (const { lo, hi } of [...spans, { lo: options.items, hi: options.items }]) {
    for (; at < lo; at += 1) if (!truth.givenUp.has(at)) return false
    at = hi
  }
  return true
}

/** I1: all that hold the same entries see the same. */
export function sameFold(a: readonly DoneSpan[], b: readonly DoneSpan[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ lo, hi, hash }, i) => lo === b[i]!.lo && hi === b[i]!.hi && hash === b[i]!.hash)
  )
}

/** The views in the store are the fold, key by key. */
function checkViews(world: World, process: Process, job: JobId): void {
  const kept = [...process.dones.values()].sort((a, b) => a.lo - b.lo)
  if (!sameFold(kept, spansOf(process, job))) {
    world.truth.problem(`${process.name}: the done view differs from the fold`)
  }
  const owners = ({ owners }: Process): string =>
    [...owners.values()]
      .sort((a, b) => a.lo - b.lo)
      .map(({ lo, hi, hash, epoch, hop, owner }) => `${lo} ${hi} ${hash} ${epoch} ${hop} ${owner}`)
      .join()
  const [reference] = world.honest()
  // A cut feed is held up to different seqs, and what follows from its entries is not in every fold.
  if (isLawful(world.faults) && owners(process) !== owners(reference!)) {
    world.truth.problem(`${process.name}: the owner view differs`)
  }
}

/** Every accepted DONE is of a peer that ran the items, and somebody who stays has the values. */
function checkResults(world: World, spans: readonly DoneSpan[]): void {
  const { truth } = world
  for (const span of spans) {
    const name = `items ${span.lo}..${span.hi}`
    if (!truth.didRun(span.author, span))
      truth.problem(`${name}: accepted, but not run by its author`)
    if (span.result.kind === 'blob' && !world.isKept(span.result.hash)) {
      truth.problem(`${name}: no keeper of their values is left`)
    }
  }
}

/** I4, I7. */
function checkStarts(world: World, job: JobId): void {
  const { truth, faults, leases } = world
  const { starts, copies, excuses, throws } = truth
  let reclaims = 0
  for (const { body } of world.book.entries(job)) {
    if (body.type === 'reclaim') reclaims += 1
    if (body.type === 'reclaim' || body.type === 'lost') {
      for (const { lo, hi } of body.ranges) bump(excuses, lo, hi)
    }
  }
  // A lost JOB, or a lost acknowledgement of it, has its author take the seed back.
  if (isCalm(faults) && faults.network.loss === 0 && reclaims > 0)
    truth.problem(`${reclaims} RECLAIMs though nobody was away`)
  // With more loss, or a shorter lease, all signs of life of one lease may be lost now and then.
  const sure = faults.network.loss <= 0.01 && world.options.leaseMs >= 10_000
  if (isCalm(faults) && sure && leases.ended > 0)
    truth.problem(`${leases.ended} leases ended though nobody was away`)
  if (!isLawful(faults)) return
  for (let i = 0; i < starts.length; i += 1) {
    if (starts[i]! <= 1 + excuses[i]! + copies[i]! + throws[i]!) continue
    truth.problem(
      `item ${i} was begun ${starts[i]} times: ${excuses[i]} RECLAIMs or LOSTs, ${copies[i]} copies`,
    )
    return
  }
}
