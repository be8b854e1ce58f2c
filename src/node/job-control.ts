/** What a local user does to jobs: cancel, pause and resume them, for all peers. */
import { MeshError } from '../base/errors.ts'
import { mayControl } from '../scheduler/controls.ts'
import type { JobId, JobView, PeerId } from '../scheduler/types.ts'
import { MAX_MESSAGE_BYTES } from '../store/limits.ts'
import { lookUpJob } from './job-lookup.ts'
import { MAX_INTRODUCTIONS } from './limits.ts'
import type { Peer } from './peer.ts'

/**
 * Cancels jobs; resolves when it is written, and told to the connected peers.
 * @returns those that were not over. With `all`, those that this peer may not control are left out.
 * @throws ERR_MESH_NOT_CONTROLLER (then none is cancelled), ERR_MESH_OPTION_INVALID, ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS, ERR_MESH_JOB_COLLECTED
 */
export async function cancelJobs(
  peer: Peer,
  ids: readonly string[] | 'all',
  reason: string,
): Promise<JobId[]> {
  checkReason(reason)
  // A peer that has just started meets the others first: it may end with the command, and they shall hear of this now.
  await peer.upkeep.firstContact()
  const views = ids === 'all' ? allOfOurs(peer) : await running(peer, ids)
  const jobs = views.map(({ job }) => job)
  for (const job of jobs) peer.engine.dispatch({ type: 'cancelled', job, reason })
  await told(peer, jobs)
  return jobs
}

/** @throws ERR_MESH_JOB_OVER, ERR_MESH_NOT_CONTROLLER, and as `lookUpJob` */
export async function pauseOrResume(
  peer: Peer,
  type: 'paused' | 'resumed',
  id: string,
): Promise<JobId> {
  await peer.upkeep.firstContact()
  const [view] = await running(peer, [id])
  if (view === undefined) throw await over(peer, id, type === 'paused' ? 'paused' : 'resumed')
  const { job } = view
  peer.engine.dispatch({ type, job })
  await told(peer, [job])
  return job
}

/** Those of the ids that are not over, each once, taken into memory; all are looked up before anything is done. */
async function running(peer: Peer, ids: readonly string[]): Promise<JobView[]> {
  const views = new Map<JobId, JobView>()
  for (const id of ids) {
    const { job, record } = await lookUpJob(peer, id)
    if (record?.state === 'running') await peer.jobs.takeUp(job)
    const view = peer.scheduler.job(job)
    if (view !== undefined && !isOver(view)) views.set(job, view)
  }
  for (const view of views.values())
    if (!mayControl(view.spec, peer.id)) throw notController(peer, view)
  return [...views.values()]
}

function allOfOurs(peer: Peer): JobView[] {
  return peer.scheduler.jobs().filter((view) => !isOver(view) && mayControl(view.spec, peer.id))
}

/** The entries are on this disk, and on their way to the peers that are connected. */
async function told(peer: Peer, jobs: readonly JobId[]): Promise<void> {
  const { engine, store, transport, replication } = peer
  await engine.settled()
  const others = transport.connected()
  await store.flush({ sync: others.length === 0 })
  // A peer that is connected since a moment is not known to the scheduler yet.
  for (const other of others.slice(0, MAX_INTRODUCTIONS)) {
    for (const job of jobs) void replication.push(other, job)
  }
  await replication.settled()
}

function isOver({ state }: JobView): boolean {
  return state === 'finished' || state === 'cancelled'
}

function notController(peer: Peer, { job, spec }: JobView): MeshError {
  const controllers = spec.options.controllers ?? []
  const names = controllers.slice(0, 4).map((id) => `${peer.roster.name(id)} (${id.slice(0, 8)})`)
  const more =
    controllers.length > names.length ? ` and ${controllers.length - names.length} more` : ''
  return new MeshError(
    'ERR_MESH_NOT_CONTROLLER',
    `job ${job.slice(0, 8)} is cancelled, paused and resumed by ${names.join(', ')}${more} alone`,
    { details: { job, controllers: controllers as readonly PeerId[] } },
  )
}

async function over(peer: Peer, id: string, what: string): Promise<MeshError> {
  const { job, record } = await lookUpJob(peer, id)
  const state = peer.scheduler.job(job)?.state ?? record?.state ?? 'finished'
  return new MeshError(
    'ERR_MESH_JOB_OVER',
    `job ${job.slice(0, 8)} is ${state}: it cannot be ${what} any more`,
    { details: { job, state } },
  )
}

function checkReason(reason: string): void {
  const sizeBytes = Buffer.byteLength(reason)
  if (reason.isWellFormed() && sizeBytes <= MAX_MESSAGE_BYTES) return
  throw new MeshError(
    'ERR_MESH_OPTION_INVALID',
    `the reason is text of at most ${MAX_MESSAGE_BYTES} bytes, and this one has ${sizeBytes}`,
    { details: { option: 'reason' } },
  )
}
