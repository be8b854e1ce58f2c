import type { JobId, JobSpec, JobView } from '../scheduler/types.ts'
import type { JobSummary, StoredJob, StoreRepair } from '../store/types.ts'
import { gpuFactsOf } from './gpu-facts.ts'
import { nodesOf } from './graph-info.ts'
import { missingNeeds, type Offer } from './job-needs.ts'
import { replicasOf } from './keepers.ts'
import { DEFAULT_REPLICAS, MAX_SPANS_COUNTED } from './limits.ts'
import type { Peer } from './peer.ts'
import { machineFacts } from './roster.ts'
import type { CopiesInfo, JobInfo, MeshStatus } from './types.ts'
import { MAX_DATE_MS } from './wire/limits.ts'

/** Times come from other peers: what is later than a Date can say is told as its last moment. */
function isoTime(ms: number): string {
  return new Date(Math.min(ms, MAX_DATE_MS)).toISOString()
}

/** What people see of a job in memory; the nodes of a composition take a walk over all that is done. */
export function infoOfView(peer: Peer, view: JobView, { nodes = true } = {}): JobInfo {
  const itemsPerSecond = peer.watch.itemsPerSecond(view.job)
  const left = view.items - view.done
  const atWork = new Set(peer.watch.peersAtWork(view.job))
  if (view.runningHere.length > 0) atWork.add(peer.id)
  return {
    id: view.job,
    short: view.job.slice(0, 8),
    name: view.spec.task.name,
    state: view.state,
    items: view.items,
    done: view.done,
    failed: view.failed,
    submittedAt: isoTime(view.submittedAt),
    finishedAt: finishedAt(peer, view),
    author: view.author,
    itemsPerSecond: Math.round(itemsPerSecond * 10) / 10,
    etaSeconds:
      view.state !== 'running' || itemsPerSecond <= 0
        ? null
        : Math.round((left / itemsPerSecond) * 10) / 10,
    peers: [...view.doneBy]
      .map(([id, done]) => ({ id, name: nameOf(peer, id), done }))
      .sort((a, b) => b.done - a.done),
    peersAtWork: atWork.size,
    log: {
      entries: view.entries,
      chunks: view.chunks,
      grants: view.grants,
      reclaims: view.reclaims,
    },
    peersLost: peer.upkeep.presence.losses(view.job),
    copies: null,
    options: view.spec.options,
    input: view.spec.input,
    waitsFor: waitsFor(peer, view),
    output: outputOf(view.spec),
    task: shownTask(view.spec),
    cancelled: cancelledBy(peer, view),
    startsAt: startsAt(peer, view),
    ...(nodes
      ? nodesOf(peer.scheduler, view)
      : { nodes: null, nodesTotal: view.plan?.nodes.length ?? 0 }),
    expiresAt: isOver(view) ? expiresAt(peer, view.job, view.spec) : null,
  }
}

/** What people see of a finished job that is only in the store. */
export function infoOfRecord(peer: Peer, { job, state, summary }: StoredJob): JobInfo {
  return {
    id: job,
    short: job.slice(0, 8),
    name: summary.spec.task.name,
    state,
    items: summary.items,
    done: summary.done,
    failed: summary.failed,
    submittedAt: isoTime(summary.submittedAt),
    finishedAt: summary.finishedAt === undefined ? null : isoTime(summary.finishedAt),
    author: summary.author,
    itemsPerSecond: 0,
    etaSeconds: null,
    peers: [],
    peersAtWork: 0,
    log: { entries: 0, chunks: 0, grants: 0, reclaims: 0 },
    peersLost: [],
    copies: null,
    options: summary.spec.options,
    input: summary.spec.input,
    waitsFor: null,
    output: outputOf(summary.spec),
    task: shownTask(summary.spec),
    cancelled: cancelledBy(peer, summary),
    startsAt: null,
    nodes: null,
    nodesTotal: 0,
    expiresAt: state === 'running' ? null : expiresAt(peer, job, summary.spec),
  }
}

/** On how many live peers a job's results are; looks at 20 000 of them at most. */
export async function countCopies(peer: Peer, job: JobId): Promise<CopiesInfo> {
  const { keepers } = peer.upkeep
  const record = await peer.store.job(job)
  const wanted = record === undefined ? DEFAULT_REPLICAS : replicasOf(record)
  const count = { wanted, results: 0, bytes: 0, tooFew: 0, none: 0, partial: false }
  for await (const span of keepers.spans(job)) {
    if (count.results >= MAX_SPANS_COUNTED) return { ...count, partial: true }
    const holders = keepers.holdersOf(span, await keepers.holds(span.result.hash))
    count.results += 1
    count.bytes += span.result.sizeBytes
    if (holders.size < wanted) count.tooFew += 1
    if (holders.size === 0) count.none += 1
  }
  return count
}

/** What `mesh status` shows of the disk, of what is kept, and of what is wrong. */
export function upkeepStatus(
  peer: Peer,
): Pick<MeshStatus, 'warnings' | 'disk' | 'keep' | 'repair' | 'handingOn'> {
  const { disk, retention, handingOn } = peer.upkeep
  const { repair } = peer.store
  const { space } = disk
  return {
    warnings: [
      ...peer.upkeep.warnings(),
      ...(repair === undefined ? [] : [repairText(repair)]),
      ...peer.warnings,
    ],
    disk:
      space === undefined
        ? null
        : { freeBytes: space.freeBytes, reserveBytes: disk.reserveBytes, short: disk.short },
    keep: { ms: retention.keepMs, bytes: retention.keepBytes },
    repair: repair === undefined ? null : { ...repair, jobs: repair.jobs.length },
    handingOn: handingOn ?? null,
  }
}

function repairText({ reason, copy, entriesKept }: StoreRepair): string {
  return `the store was damaged (${reason}) and was repaired: ${entriesKept} entries kept; what is missing is pulled from other peers. The damaged one is in ${copy}`
}

function finishedAt(peer: Peer, view: JobView): string | null {
  const at = peer.jobs.finishedAt(view.job)
  return at === undefined ? null : isoTime(at)
}

function nameOf(peer: Peer, id: JobView['author']): string {
  return id === peer.id ? peer.config.name : peer.roster.name(id)
}

/** What the job requires and no peer that lives has. */
function waitsFor(peer: Peer, { spec, state }: JobView): string | null {
  if (state !== 'running') return null
  const needsGpu = spec.task.kind === 'kernel' && spec.task.requiresGpu
  if (!needsGpu && spec.options.requires === undefined) return null
  return missingNeeds(spec, [...ownOffer(peer), ...peer.roster.offers()])
}

function ownOffer({ config, gpu, upkeep }: Peer): Offer[] {
  if (config.slots === 0 || upkeep.disk.short) return []
  const { cores, memoryBytes } = machineFacts()
  return [{ cores, memoryBytes, labels: config.labels ?? {}, gpu: gpuFactsOf(gpu) !== null }]
}

function cancelledBy(
  peer: Peer,
  { cancellation }: Pick<JobSummary, 'cancellation'>,
): JobInfo['cancelled'] {
  if (cancellation === undefined) return null
  const { by, reason } = cancellation
  return { by, name: nameOf(peer, by), reason }
}

/** Null once the time has come, by the mesh's clock. */
function startsAt(peer: Peer, view: JobView): string | null {
  if (view.startsAt === undefined || isOver(view)) return null
  return view.startsAt <= peer.clock.wall() ? null : isoTime(view.startsAt)
}

function expiresAt(peer: Peer, job: JobId, spec: JobSpec): string {
  return isoTime(Date.now() + peer.upkeep.retention.leftMs(job, spec))
}

function isOver({ state }: JobView): boolean {
  return state === 'finished' || state === 'cancelled'
}

/** Without the plan of a small composition: who wants it asks for it. */
function shownTask({ task }: JobSpec): JobInfo['task'] {
  if (task.kind !== 'graph') return task
  const { plan: _, ...rest } = task
  return rest
}

function outputOf({ task }: JobSpec): readonly number[] | null {
  return task.kind === 'kernel' ? task.output : null
}
