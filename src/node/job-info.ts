import type { JobId, JobSpec, JobView } from '../scheduler/types.ts'
import type { StoredJob, StoreRepair } from '../store/types.ts'
import { gpuFactsOf } from './gpu-facts.ts'
import { replicasOf } from './keepers.ts'
import { DEFAULT_REPLICAS, MAX_SPANS_COUNTED } from './limits.ts'
import type { Peer } from './peer.ts'
import type { CopiesInfo, JobInfo, MeshStatus } from './types.ts'

/** What people see of a job in memory. */
export function infoOfView(peer: Peer, view: JobView): JobInfo {
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
    submittedAt: new Date(view.submittedAt).toISOString(),
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
  }
}

/** What people see of a finished job that is only in the store. */
export function infoOfRecord({ job, state, summary }: StoredJob): JobInfo {
  return {
    id: job,
    short: job.slice(0, 8),
    name: summary.spec.task.name,
    state,
    items: summary.items,
    done: summary.done,
    failed: summary.failed,
    submittedAt: new Date(summary.submittedAt).toISOString(),
    finishedAt:
      summary.finishedAt === undefined ? null : new Date(summary.finishedAt).toISOString(),
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
  }
}

/** On how many live peers a job's results are; looks at 20 000 of them at most. */
export async function countCopies(peer: Peer, job: JobId): Promise<CopiesInfo> {
  const { keepers } = peer.upkeep
  const record = (await peer.store.jobs()).find((stored) => stored.job === job)
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
  return at === undefined ? null : new Date(at).toISOString()
}

function nameOf(peer: Peer, id: JobView['author']): string {
  return id === peer.id ? peer.config.name : peer.roster.name(id)
}

function waitsFor(peer: Peer, { spec, state }: JobView): string | null {
  if (state !== 'running' || spec.task.kind !== 'kernel' || !spec.task.requiresGpu) return null
  const there = gpuFactsOf(peer.gpu) !== null || peer.roster.hasGpu()
  return there ? null : 'a peer with a GPU'
}

function outputOf({ task }: JobSpec): readonly number[] | null {
  return task.kind === 'kernel' ? task.output : null
}
