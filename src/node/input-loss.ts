import type { MeshError } from '../base/errors.ts'
import type { JobId, PeerId } from '../scheduler/types.ts'
import { CHUNK_RETRY_MS, MAX_CHUNK_RETRY_MS, MAX_MISSING_INPUTS } from './limits.ts'
import type { Presence } from './presence.ts'
import type { UpkeepTimes } from './upkeep-times.ts'

export interface InputLossParts {
  readonly self: PeerId
  readonly presence: Pick<Presence, 'live' | 'reachable' | 'inMinority'>
  readonly times: Pick<UpkeepTimes, 'inputLostAfterMs' | 'inputLostAloneMs'>
  readonly now: () => number
}

interface Missing {
  /** Since when nobody has had each part. */
  readonly since: Map<string, number>
  retryMs: number
}

/**
 * Input and code that no connected peer holds: tried again less and less often, and given up once nobody has had it for a
 * while. An author that lives and cannot be asked is waited for: it has all of it.
 */
export class MissingInputs {
  private readonly parts: InputLossParts
  private readonly jobs = new Map<JobId, Missing>()

  constructor(parts: InputLossParts) {
    this.parts = parts
  }

  /** A part was looked for in vain; true: it is lost for good. */
  note(job: JobId, author: PeerId, error: MeshError): boolean {
    const { self, presence, times, now } = this.parts
    let missing = this.jobs.get(job)
    if (missing === undefined) {
      this.jobs.set(job, (missing = { since: new Map(), retryMs: CHUNK_RETRY_MS / 2 }))
    }
    missing.retryMs = Math.min(MAX_CHUNK_RETRY_MS, 2 * missing.retryMs)
    // The author has all of it. One that is there was asked a moment ago, and knows best.
    const reachable = presence.reachable()
    if (author !== self && presence.live(author) && !reachable.includes(author)) {
      missing.since.clear()
      return false
    }
    const part = String(error.details.hash)
    const since = missing.since.get(part)
    if (since === undefined) {
      if (missing.since.size >= MAX_MISSING_INPUTS) missing.since.clear()
      missing.since.set(part, now())
      return false
    }
    // With nobody or few there, it may be this side that is cut off.
    const cutOff = author !== self && (reachable.length === 0 || presence.inMinority(job))
    const afterMs = cutOff ? times.inputLostAloneMs : times.inputLostAfterMs
    return now() - since >= afterMs
  }

  /** How long to leave the job alone here. */
  retryMs(job: JobId): number {
    return this.jobs.get(job)?.retryMs ?? CHUNK_RETRY_MS
  }

  /** All that a chunk needs is here. */
  found(job: JobId): void {
    const missing = this.jobs.get(job)
    if (missing !== undefined) missing.retryMs = CHUNK_RETRY_MS / 2
  }

  forget(job: JobId): void {
    this.jobs.delete(job)
  }
}
