import type { JobId, PeerId, SchedulerCore, SchedulerEffect } from '../scheduler/types.ts'
import { MAX_JOBS_WITH_LOSSES, MAX_LOSSES_PER_JOB } from './limits.ts'

/** A peer that was lost while it held items of a job. */
export interface PeerLoss {
  readonly id: string
  readonly name: string
  /** Its items that others take over; 0 when it had none left. */
  readonly items: number
  /** ISO time on this peer's clock, for people. */
  readonly at: string
  /** It came back as a new process: its own new session takes its items up. */
  readonly restarted: boolean
}

export interface PresenceParts {
  readonly self: PeerId
  readonly scheduler: Pick<SchedulerCore, 'liveness' | 'jobs' | 'job'>
  readonly connected: () => readonly PeerId[]
  readonly name: (peer: PeerId) => string
  /** It said good-bye. */
  readonly hasLeft: (peer: PeerId) => boolean
  readonly now: () => number
}

/** Who lives as far as this peer can tell, since when others are away, and which peers a job has lost. */
export class Presence {
  private readonly parts: PresenceParts
  private readonly startedAt: number
  private readonly lost = new Map<JobId, PeerLoss[]>()

  constructor(parts: PresenceParts) {
    this.parts = parts
    this.startedAt = parts.now()
  }

  /** Its lease runs: it is connected, or was heard of a moment ago. */
  live(peer: PeerId): boolean {
    if (peer === this.parts.self) return true
    const { state } = this.parts.scheduler.liveness(peer)
    if (state === 'unknown') return this.parts.connected().includes(peer)
    return state === 'live'
  }

  /** Live peers with a connection. */
  reachable(): PeerId[] {
    return this.parts.connected().filter((peer) => this.live(peer))
  }

  /** How long it has been away, ms; 0 while it lives; of one never heard of, as long as this peer runs. */
  awayMs(peer: PeerId): number {
    if (this.live(peer)) return 0
    const { state, silentMs } = this.parts.scheduler.liveness(peer)
    return state === 'unknown' ? this.parts.now() - this.startedAt : silentMs
  }

  /** False: not since this peer started. */
  everSeen(peer: PeerId): boolean {
    return peer === this.parts.self || this.parts.scheduler.liveness(peer).state !== 'unknown'
  }

  /** Less than half of those with a part in the job live, as seen from here: it may be this side that is cut off. */
  inMinority(job: JobId): boolean {
    const view = this.parts.scheduler.job(job)
    if (view === undefined) return false
    const { hasLeft } = this.parts
    const peers = [...new Set([view.author, ...view.doneBy.keys()])].filter((p) => !hasLeft(p))
    const live = peers.filter((peer) => this.live(peer)).length
    return 2 * live < peers.length
  }

  /** A lease ended: told in the jobs that the peer had a part in. */
  leaseEnded({ peer, restarted }: Extract<SchedulerEffect, { type: 'leaseEnded' }>): void {
    if (peer === this.parts.self) return
    for (const view of this.parts.scheduler.jobs()) {
      if (view.state !== 'running') continue
      const tookPart = view.orphaned > 0 || view.doneBy.has(peer)
      if (!tookPart) continue
      const loss: PeerLoss = {
        id: peer,
        name: this.parts.name(peer),
        items: view.orphaned,
        at: new Date().toISOString(),
        restarted,
      }
      const losses = [...(this.lost.get(view.job) ?? []), loss].slice(-MAX_LOSSES_PER_JOB)
      this.lost.set(view.job, losses)
      if (this.lost.size > MAX_JOBS_WITH_LOSSES) this.dropOldest()
    }
  }

  losses(job: JobId): readonly PeerLoss[] {
    return this.lost.get(job) ?? []
  }

  private dropOldest(): void {
    for (const oldest of this.lost.keys()) {
      this.lost.delete(oldest)
      return
    }
  }
}
