import { pause } from '../base/pause.ts'
import type { JobId, PeerId } from '../scheduler/types.ts'
import { FIND_JOB_MS, MAX_ASKED_PEERS, MAX_SEARCHES } from './limits.ts'
import { MAX_FOUND_JOBS } from './wire/limits.ts'
import type { WireMessage } from './wire/messages.ts'

export interface JobFinderParts {
  readonly connected: () => readonly PeerId[]
  readonly send: (to: PeerId, message: WireMessage) => boolean
  /** Ids of jobs known here, running or not, that start so; at most `limit`. */
  readonly knownLike: (prefix: string, limit: number) => Promise<readonly JobId[]>
  /** Those with a key whose nonce this is. */
  readonly ofNonce: (nonce: string) => Promise<readonly JobId[]>
  /** Shorter in tests. */
  readonly timeoutMs?: number
}

interface Search {
  readonly fits: (job: JobId) => boolean
  readonly waiting: Set<PeerId>
  readonly found: Set<JobId>
  done: () => void
}

/** Finds jobs that are not known here by the beginning of their id: every connected peer is asked (docs/protocol.md, "Messages"). */
export class JobFinder {
  private readonly parts: JobFinderParts
  private readonly searches = new Map<number, Search>()
  private nextId = 1

  constructor(parts: JobFinderParts) {
    this.parts = parts
  }

  /** Ids that connected peers know; more than one when the prefix fits several. */
  find(prefix: string): Promise<JobId[]> {
    const fits = (job: JobId) => job.startsWith(prefix)
    return this.ask((id) => ({ kind: 'findJobs', id, prefix }), fits)
  }

  /** Jobs of that nonce, as connected peers say: whoever relies on one looks at its JOB. */
  findNonce(nonce: string): Promise<JobId[]> {
    return this.ask(
      (id) => ({ kind: 'findNonce', id, nonce }),
      () => true,
    )
  }

  private async ask(
    question: (id: number) => WireMessage,
    fits: (job: JobId) => boolean,
  ): Promise<JobId[]> {
    const peers = this.parts.connected().slice(0, MAX_ASKED_PEERS)
    if (peers.length === 0 || this.searches.size >= MAX_SEARCHES) return []
    const id = this.nextId++
    const over = new AbortController()
    const search: Search = {
      fits,
      waiting: new Set(),
      found: new Set(),
      done: () => over.abort(),
    }
    this.searches.set(id, search)
    for (const peer of peers) {
      if (this.parts.send(peer, question(id))) search.waiting.add(peer)
    }
    if (search.waiting.size > 0) await pause(this.parts.timeoutMs ?? FIND_JOB_MS, over.signal)
    this.searches.delete(id)
    return [...search.found].sort()
  }

  receive(
    from: PeerId,
    message: Extract<WireMessage, { kind: 'findJobs' | 'findNonce' | 'foundJobs' }>,
  ): void {
    if (message.kind === 'findJobs') {
      void this.answer(from, message.id, this.parts.knownLike(message.prefix, MAX_FOUND_JOBS))
      return
    }
    if (message.kind === 'findNonce') {
      void this.answer(from, message.id, this.parts.ofNonce(message.nonce))
      return
    }
    const search = this.searches.get(message.id)
    if (search === undefined || !search.waiting.delete(from)) return
    for (const job of message.jobs) {
      if (search.fits(job) && search.found.size < MAX_FOUND_JOBS) search.found.add(job)
    }
    if (search.waiting.size === 0) search.done()
  }

  /** A peer that goes answers no more. */
  peerGone(peer: PeerId): void {
    for (const search of this.searches.values()) {
      if (search.waiting.delete(peer) && search.waiting.size === 0) search.done()
    }
  }

  private async answer(to: PeerId, id: number, found: Promise<readonly JobId[]>): Promise<void> {
    const jobs = await found.catch(() => [])
    this.parts.send(to, { kind: 'foundJobs', id, jobs: jobs.slice(0, MAX_FOUND_JOBS) })
  }
}
