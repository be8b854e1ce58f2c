import type { JobInfo, PeerInfo } from '../../src/node/types.ts'
import { formatCount, formatDuration, plural, printable } from './format.ts'
import { gpuText } from './gpu.ts'
import { cancelledText, isOver, itemWord, secondsOf } from './job-view.ts'
import { EVENTS_PER_POLL, NAME_CHARS } from './limits.ts'

/** What `mesh join` saw at its last look. */
export interface MeshView {
  readonly peers: ReadonlyMap<string, PeerInfo>
  readonly jobs: ReadonlyMap<string, Pick<JobInfo, 'state'>>
}

export function viewOf(peers: readonly PeerInfo[], jobs: readonly JobInfo[]): MeshView {
  return {
    peers: new Map(
      peers.filter((peer) => !peer.self && peer.connected).map((peer) => [peer.id, peer]),
    ),
    jobs: new Map(jobs.map((job) => [job.id, { state: job.state }])),
  }
}

/** What happened between two looks, one line each; at most EVENTS_PER_POLL and a count of the rest. */
export function eventsBetween(
  before: MeshView,
  peers: readonly PeerInfo[],
  jobs: readonly JobInfo[],
  wallClock: number,
): string[] {
  const now = viewOf(peers, jobs)
  const lines: string[] = []
  for (const [id, peer] of now.peers) {
    const was = before.peers.get(id)
    if (was === undefined) lines.push(cameLine(peer, 'is here'))
    else if (was.session !== peer.session) lines.push(cameLine(peer, 'has started again'))
  }
  for (const [id, peer] of before.peers) {
    const after = now.peers.get(id)
    if (after === undefined) {
      const left = peers.find((one) => one.id === id)?.state === 'left'
      lines.push(`- peer ${peer.short} ${nameOf(peer)} ${left ? 'left' : 'is gone'}`)
    } else if (after.lost !== peer.lost) {
      const seconds = formatDuration(Math.round(after.lastSeenMs / 1000))
      const what = after.lost ? `is lost: silent for ${seconds}` : 'is heard of again'
      lines.push(`~ peer ${peer.short} ${nameOf(peer)} ${what}`)
    }
    if (after !== undefined && after.gpu !== null && peer.gpu === null) {
      // Its probe takes longer than the first advert waits.
      lines.push(
        `~ peer ${peer.short} ${nameOf(peer)} has a GPU: ${gpuText(after.gpu, NAME_CHARS)}`,
      )
    }
    if (after !== undefined && after.diskFull !== peer.diskFull) {
      const what = after.diskFull ? 'has a full disk: it takes no work' : 'has disk space again'
      lines.push(`~ peer ${peer.short} ${nameOf(peer)} ${what}`)
    }
  }
  for (const job of jobs) {
    const was = before.jobs.get(job.id)?.state
    if (was === undefined)
      lines.push(`> job ${job.short} ${nameOf(job)}: ${plural(job.items, itemWord(job))}`)
    if (isOver(job) && was !== job.state) lines.push(endLine(job, wallClock))
    else if (was !== undefined && (was === 'paused') !== (job.state === 'paused')) {
      const what = job.state === 'paused' ? 'is paused' : 'goes on'
      lines.push(`~ job ${job.short} ${nameOf(job)} ${what}`)
    }
  }
  const more = lines.length - EVENTS_PER_POLL
  return more > 0
    ? [...lines.slice(0, EVENTS_PER_POLL), `… and ${formatCount(more)} more events`]
    : lines
}

function cameLine(peer: PeerInfo, how: string): string {
  const lends = peer.slots === 0 ? 'lends nothing' : `lends ${plural(peer.slots, 'core')}`
  const gpu = peer.gpu === null ? '' : `, GPU: ${gpuText(peer.gpu, NAME_CHARS)}`
  return `+ peer ${peer.short} ${nameOf(peer)} ${how}, ${lends}${gpu} (${printable(peer.address, 64)})`
}

function endLine(job: JobInfo, wallClock: number): string {
  if (job.state === 'cancelled') {
    return `x job ${job.short} ${nameOf(job)} was ${cancelledText(job) || 'cancelled'}`
  }
  const failed = job.failed > 0 ? `, ${formatCount(job.failed)} failed` : ''
  return `= job ${job.short} ${nameOf(job)} finished: ${plural(job.items, itemWord(job))} in ${formatDuration(secondsOf(job, wallClock))}${failed}`
}

function nameOf({ name }: { readonly name: string }): string {
  return printable(name, NAME_CHARS)
}
