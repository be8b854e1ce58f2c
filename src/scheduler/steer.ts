import { mayControl } from './controls.ts'
import type { Core } from './core.ts'
import type { JobRun } from './job-run.ts'
import { MAX_CONTROL_PUSHES, MAX_GRANT_RANGES } from './limits.ts'
import type { EntryBody, JobId, PeerId, SchedulerEvent } from './types.ts'

type Event<T extends SchedulerEvent['type']> = Extract<SchedulerEvent, { type: T }>

/** running, paused -> cancelled, for all peers. */
export function cancelled(core: Core, { job, reason }: Event<'cancelled'>): void {
  const run = steerable(core, job)
  if (run !== undefined) cancel(core, run, reason)
}

/** running -> paused: nothing of it is started any more, on no peer. */
export function paused(core: Core, { job }: Event<'paused'>): void {
  const run = steerable(core, job)
  if (run?.fold.state !== 'running') return
  core.append(run, { type: 'pause' })
  tellAll(core, run)
}

/** paused -> running. */
export function resumed(core: Core, { job }: Event<'resumed'>): void {
  const run = steerable(core, job)
  if (run?.fold.state !== 'paused') return
  const pauses = [...run.fold.pauses]
  for (let i = 0; i < pauses.length; i += MAX_GRANT_RANGES) {
    core.append(run, { type: 'resume', pauses: pauses.slice(i, i + MAX_GRANT_RANGES) })
  }
  tellAll(core, run)
}

export function cancel(core: Core, run: JobRun, reason: string): void {
  const body: EntryBody = { type: 'cancel', reason }
  core.append(run, body)
  tellAll(core, run)
}

/** Whether what this peer writes of a job's fate counts. */
export function isController(core: Core, run: JobRun): boolean {
  return (
    mayControl(run.fold.spec, core.self.peer) && run.fold.cutSeq(core.self.session) === undefined
  )
}

function steerable(core: Core, job: JobId): JobRun | undefined {
  const run = core.jobs.get(job)
  if (run === undefined || !isController(core, run)) return undefined
  const { state } = run.fold
  return state === 'running' || state === 'paused' ? run : undefined
}

/** Those that own or did something of it hear directly, then others as far as the limit goes; gossip tells the rest, now. */
function tellAll(core: Core, run: JobRun): void {
  const { fold, author } = run
  const isConcerned = (peer: PeerId): boolean =>
    peer === author ||
    fold.doneBy.has(peer) ||
    fold.openItems(core.peers.get(peer)?.session ?? core.self.session) > 0
  const peers = [...core.peers.keys()]
  const first = peers.filter(isConcerned)
  const rest = peers.filter((peer) => !isConcerned(peer))
  for (const to of [...first, ...rest].slice(0, MAX_CONTROL_PUSHES)) {
    core.emit({ type: 'push', to, job: run.job })
  }
  core.publish(run)
}
