import type { JobId } from '../scheduler/types.ts'
import type { Change } from './key-value.ts'
import { jobKey, metaKey, PREFIX, readNumber, writeNumber } from './keys.ts'
import { MAX_TOMBSTONES } from './limits.ts'

/**
 * Jobs that were collected: what a stale peer still sends of them is not taken in. Age is the time that this peer has run since, so
 * that a wrong clock neither drops a tombstone nor keeps it for ever. It is kept as one running count, and with each tombstone what
 * the count was at its birth: ageing all of them is one small write.
 */
export class Tombstones {
  /** What the count was when each was made; the oldest first. */
  private readonly births = new Map<JobId, number>()
  private readonly max: number
  private ageMs = 0

  constructor(max: number = MAX_TOMBSTONES) {
    this.max = max
  }

  has(job: JobId): boolean {
    return this.births.has(job)
  }

  get jobs(): Iterable<JobId> {
    return this.births.keys()
  }

  /** What is in the database at open; `age` is undefined when nothing aged yet. */
  load(age: Buffer | undefined, stones: readonly (readonly [JobId, Buffer])[]): void {
    const births = stones.map(([job, value]) => [job, readAge(value)] as const)
    births.sort(([, a], [, b]) => a - b)
    for (const [job, birth] of births) this.births.set(job, birth)
    // A count that was lost cannot be less than what it was at the youngest's birth.
    this.ageMs = Math.max(age === undefined ? 0 : readAge(age), births.at(-1)?.[1] ?? 0)
  }

  /** A tombstone of age 0; the oldest go above the limit. */
  add(job: JobId): Change[] {
    this.births.delete(job)
    this.births.set(job, this.ageMs)
    const changes: Change[] = [{ key: stoneKey(job), value: numberValue(this.ageMs) }]
    for (const oldest of this.births.keys()) {
      if (this.births.size <= this.max) break
      changes.push(this.drop(oldest))
    }
    return changes
  }

  /** Adds `elapsedMs` to the age of each; those that reach `maxAgeMs` go. */
  age(elapsedMs: number, maxAgeMs: number): Change[] {
    if (this.births.size === 0) return []
    this.ageMs += Math.max(0, Math.round(elapsedMs))
    const changes: Change[] = [{ key: AGE_KEY, value: numberValue(this.ageMs) }]
    for (const [job, birth] of this.births) {
      if (this.ageMs - birth < maxAgeMs) break
      changes.push(this.drop(job))
    }
    return changes
  }

  private drop(job: JobId): Change {
    this.births.delete(job)
    return { key: stoneKey(job) }
  }
}

export const AGE_KEY = metaKey('\0age')

function stoneKey(job: JobId): Buffer {
  return jobKey(PREFIX.tombstone, job)
}

/** One that the disk changed counts as old: the tombstone goes first. */
function readAge(value: Buffer): number {
  return value.length === 8 ? readNumber(value, 0) : 0
}

function numberValue(value: number): Buffer {
  return writeNumber(Buffer.allocUnsafe(8), value, 0)
}
