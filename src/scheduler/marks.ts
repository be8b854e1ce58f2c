import type { IntervalMap } from './interval-map.ts'
import type { DoneSpan, Entry, EntryHash, FailedSpan, Range, SessionId } from './types.ts'

/** What a session was running when it was last heard of: a range of its last START, owned by `parent`. */
export interface StartMark extends Range {
  readonly session: SessionId
  readonly parent: EntryHash
}

interface LastStart {
  readonly seq: number
  readonly ranges: readonly StartMark[]
}

/** What STARTs and FAILs say, item by item. Both are rare: lists do. */
export class Marks {
  /** Each START names all that its session runs, so that the last one says what it died on. */
  private readonly starts = new Map<SessionId, LastStart>()
  /** RECLAIMs by the entry that they supersede. */
  private readonly reclaims = new Map<EntryHash, (Range & { readonly session: SessionId })[]>()
  private fails: FailedSpan[] = []

  start({ body, session, seq }: Entry): void {
    if (body.type !== 'start' || (this.starts.get(session)?.seq ?? 0) >= seq) return
    this.starts.set(session, { seq, ranges: body.ranges.map((range) => ({ ...range, session })) })
  }

  reclaim({ body, session }: Entry): void {
    if (body.type !== 'reclaim') return
    for (const { lo, hi, parent } of body.ranges) {
      const known = this.reclaims.get(parent)
      if (known === undefined) this.reclaims.set(parent, [{ lo, hi, session }])
      else known.push({ lo, hi, session })
    }
  }

  fail({ body }: Entry): void {
    if (body.type !== 'fail') return
    for (const { lo, hi, code, message } of body.ranges) this.fails.push({ lo, hi, code, message })
  }

  clear(): void {
    this.starts.clear()
    this.fails = []
    this.reclaims.clear()
  }

  starters(): Iterable<SessionId> {
    return this.starts.keys()
  }

  /** Last STARTs over an item whose session was given up by another one: what it owned the item by was RECLAIMed. */
  deathsAt(item: number): StartMark[] {
    const deaths: StartMark[] = []
    for (const { ranges } of this.starts.values()) {
      for (const mark of ranges) {
        if (!covers(mark, item)) continue
        if (this.wasReclaimed(mark.parent, item, mark.session)) deaths.push(mark)
      }
    }
    return deaths
  }

  private wasReclaimed(parent: EntryHash, item: number, from: SessionId): boolean {
    const reclaims = this.reclaims.get(parent) ?? []
    return reclaims.some((range) => covers(range, item) && range.session !== from)
  }

  /** A DONE beats a FAIL; of two FAILs over an item the one that comes first in the order of (lo, code, message) is told. */
  failures(dones: IntervalMap<DoneSpan>): FailedSpan[] {
    const sorted = [...this.fails].sort(
      (a, b) => a.lo - b.lo || compare(a.code, b.code) || compare(a.message, b.message),
    )
    const told: FailedSpan[] = []
    let at = 0
    for (const fail of sorted) {
      let lo = Math.max(at, fail.lo)
      if (lo >= fail.hi) continue
      for (const done of dones.overlapping(lo, fail.hi)) {
        if (done.lo > lo) told.push({ ...fail, lo, hi: done.lo })
        lo = Math.max(lo, done.hi)
      }
      if (lo < fail.hi) told.push({ ...fail, lo })
      at = fail.hi
    }
    return told
  }
}

function covers({ lo, hi }: Range, item: number): boolean {
  return lo <= item && item < hi
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
