import type { JobView } from '../scheduler/types.ts'
import type { StoredJob } from '../store/types.ts'
import type { Peer } from './peer.ts'
import type { JobInfo } from './types.ts'

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
    options: view.spec.options,
    input: view.spec.input,
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
    options: summary.spec.options,
    input: summary.spec.input,
  }
}

function finishedAt(peer: Peer, view: JobView): string | null {
  const at = peer.finishedAt(view.job)
  return at === undefined ? null : new Date(at).toISOString()
}

function nameOf(peer: Peer, id: JobView['author']): string {
  return id === peer.id ? peer.config.name : peer.roster.name(id)
}
