import type { JobRun } from './job-run.ts'
import {
  ATTAINED_BUCKET_MS,
  ATTAINED_HALF_MS,
  DEFAULT_PRIORITY,
  MAX_SUBMITTERS,
  OLDEST_EVERY,
  SHORT_JOB_CREDIT_MS,
  SHORT_JOB_ITEMS,
} from './limits.ts'
import type { PeerId } from './types.ts'

/** What a job has had of this peer's slots. */
export interface Turn {
  /** Worker time, ms; what was long ago counts less. */
  attainedMs: number
  /** When it was last reckoned. */
  at: number
  /** When it last got a slot, or came. */
  servedAt: number
  /** In the order in which jobs came. */
  readonly number: number
}

export interface Pick {
  readonly run: JobRun
  /** Others of its priority wait for a slot. */
  readonly contended: boolean
}

interface Submitter {
  /** Worker time of its jobs, from a common start. */
  tagMs: number
  picks: number
}

/**
 * Which job gets a free slot. Higher priorities first, strictly. Of those with the highest, the submitter that has had least worker
 * time since it has work here (start-time fair queueing: Goyal, Vin and Cheng, 1996), where a new job of a few items has a little
 * credit. Of its jobs the one that had least, in buckets that double (least attained service), then the one with the fewest items
 * left, then the newest; every OLDEST_EVERY-th time the one that waits longest, so that none starves.
 */
export class Turns {
  private readonly submitters = new Map<PeerId, Submitter>()
  /** Of the submitter that was served last: who comes, or comes again, starts from there. */
  private virtualMs = 0
  private jobs = 0
  /** Jobs of the highest priority that could start when it was last asked. */
  waiting = 0

  /** A job comes. */
  newTurn(now: number): Turn {
    this.jobs += 1
    return { attainedMs: 0, at: now, servedAt: now, number: this.jobs }
  }

  pick(runs: Iterable<JobRun>, now: number, canStart: (run: JobRun) => boolean): Pick | undefined {
    let top = Number.NEGATIVE_INFINITY
    let candidates: JobRun[] = []
    for (const run of runs) {
      const priority = priorityOf(run)
      if (priority < top || !canStart(run)) continue
      if (priority > top) candidates = []
      top = priority
      candidates.push(run)
    }
    this.waiting = candidates.length
    const best = this.firstOf(candidates, now)
    if (best === undefined) return undefined
    const { author } = best
    const submitter = this.submitterOf(best)
    // Nobody that waits is further back.
    this.virtualMs = Math.max(this.virtualMs, submitter.tagMs - creditOf(best))
    const contended = candidates.length > 1
    if (!contended) return { run: best, contended }
    submitter.picks += 1
    const oldest = submitter.picks % OLDEST_EVERY === 0
    return { run: oldest ? longestWaiting(candidates, author) : best, contended }
  }

  /** A slot was, or will be, that job's for so long; negative: it was less than was reckoned. */
  charge(run: JobRun, ms: number, now: number): void {
    const { turn } = run
    turn.attainedMs = Math.max(0, attainedBy(turn, now) + ms)
    turn.at = now
    this.submitterOf(run).tagMs += ms
  }

  private submitterOf({ author }: JobRun): Submitter {
    const known = author === undefined ? undefined : this.submitters.get(author)
    if (known !== undefined) {
      known.tagMs = Math.max(known.tagMs, this.virtualMs)
      return known
    }
    const fresh = { tagMs: this.virtualMs, picks: 0 }
    if (author === undefined) return fresh
    if (this.submitters.size >= MAX_SUBMITTERS) this.forgetIdle()
    this.submitters.set(author, fresh)
    return fresh
  }

  /** There may be a thousand: what is dear to reckon is reckoned for those alone that are equal so far. */
  private firstOf(runs: readonly JobRun[], now: number): JobRun | undefined {
    let best: JobRun | undefined
    let bestTag = Number.POSITIVE_INFINITY
    let bestBucket = 0
    let author: PeerId | undefined
    let tagMs = 0
    for (const run of runs) {
      if (best === undefined || run.author !== author) {
        author = run.author
        tagMs = this.submitterOf(run).tagMs
      }
      const tag = tagMs - creditOf(run)
      if (tag > bestTag) continue
      const bucket = bucketOf(run.turn, now)
      if (best === undefined || tag < bestTag || isBefore(run, bucket, best, bestBucket)) {
        best = run
        bestTag = tag
        bestBucket = bucket
      }
    }
    return best
  }

  /** Whoever is not ahead of the last one served starts from there anyway; then the rest: they lose what they were ahead. */
  private forgetIdle(): void {
    for (const [author, { tagMs }] of this.submitters) {
      if (tagMs <= this.virtualMs) this.submitters.delete(author)
    }
    if (this.submitters.size >= MAX_SUBMITTERS) this.submitters.clear()
  }
}

/** Of jobs whose submitters are alike. */
function isBefore(a: JobRun, bucketA: number, b: JobRun, bucketB: number): boolean {
  if (bucketA !== bucketB) return bucketA < bucketB
  const [leftA, leftB] = [leftOf(a), leftOf(b)]
  return leftA !== leftB ? leftA < leftB : a.turn.number > b.turn.number
}

/** Of that submitter's jobs. */
function longestWaiting(runs: readonly JobRun[], author: PeerId | undefined): JobRun {
  return runs
    .filter((run) => run.author === author)
    .reduce((oldest, run) => (run.turn.servedAt < oldest.turn.servedAt ? run : oldest))
}

/** A few new items go before their submitter's turn; it waits the longer for the next one. */
function creditOf(run: JobRun): number {
  return run.turn.attainedMs === 0 && run.fold.items <= SHORT_JOB_ITEMS ? SHORT_JOB_CREDIT_MS : 0
}

export function priorityOf({ fold }: JobRun): number {
  return fold.spec?.options.priority ?? DEFAULT_PRIORITY
}

function attainedBy({ attainedMs, at }: Turn, now: number): number {
  return attainedMs === 0 ? 0 : attainedMs * 2 ** ((at - now) / ATTAINED_HALF_MS)
}

function bucketOf(turn: Turn, now: number): number {
  const attained = attainedBy(turn, now)
  return attained < ATTAINED_BUCKET_MS
    ? 0
    : 1 + Math.floor(Math.log2(attained / ATTAINED_BUCKET_MS))
}

/** In the whole mesh. */
function leftOf({ fold }: JobRun): number {
  return fold.items - fold.final.size
}
