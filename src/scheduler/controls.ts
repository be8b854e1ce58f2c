import type { Cancellation, Entry, EntryHash, JobSpec, PeerId } from './types.ts'

/** Whether that peer's CANCEL, PAUSE and RESUME count. */
export function mayControl(spec: JobSpec | undefined, peer: PeerId): boolean {
  return spec?.options.controllers?.includes(peer) ?? true
}

/** Why an entry of that author may not steer the job; undefined: it does not, or it may. */
export function notController(
  { author, body: { type } }: Entry,
  spec: JobSpec | undefined,
): string | undefined {
  const steers = type === 'cancel' || type === 'pause' || type === 'resume'
  return steers && !mayControl(spec, author)
    ? `${type} of a job that it may not control`
    : undefined
}

/**
 * What the CANCELs, PAUSEs and RESUMEs of a job say together, whatever their order: a RESUME ends the PAUSEs that it names, so that
 * one it had not seen holds, and none can hold for ever.
 */
export class Controls {
  private smallest: EntryHash | undefined
  private told: Cancellation | undefined
  private readonly paused = new Set<EntryHash>()
  private readonly ended = new Set<EntryHash>()

  /** Of the CANCELs the one with the smallest hash. */
  get cancellation(): Cancellation | undefined {
    return this.told
  }

  get isPaused(): boolean {
    return this.paused.size > 0
  }

  /** PAUSEs that no RESUME has ended. */
  get pauses(): Iterable<EntryHash> {
    return this.paused
  }

  take({ hash, author, body }: Entry): void {
    if (body.type === 'cancel') {
      if (this.smallest !== undefined && this.smallest <= hash) return
      this.smallest = hash
      this.told = { by: author, reason: body.reason }
    } else if (body.type === 'pause') {
      if (!this.ended.has(hash)) this.paused.add(hash)
    } else if (body.type === 'resume') {
      for (const pause of body.pauses) {
        this.ended.add(pause)
        this.paused.delete(pause)
      }
    }
  }

  clear(): void {
    this.smallest = this.told = undefined
    this.paused.clear()
    this.ended.clear()
  }
}
