import type { IntervalMap } from './interval-map.ts'
import type { DoneSpan, Entry, FailedSpan, Range, SessionId } from './types.ts'

/** A START: this session was about to run these items. */
export interface StartMark extends Range {
  readonly session: SessionId
}

/** What STARTs and FAILs say, item by item. Both are rare: lists do. */
export class Marks {
  private starts: StartMark[] = []
  private fails: FailedSpan[] = []

  start({ body, session }: Entry): void {
    if (body.type !== 'start') return
    for (const { lo, hi } of body.ranges) this.starts.push({ lo, hi, session })
  }

  fail({ body }: Entry): void {
    if (body.type !== 'fail') return
    for (const { lo, hi, code, message } of body.ranges) this.fails.push({ lo, hi, code, message })
  }

  clear(): void {
    this.starts = []
    this.fails = []
  }

  startsAt(item: number, session: SessionId): StartMark[] {
    return this.starts.filter(
      (mark) => mark.lo <= item && item < mark.hi && mark.session !== session,
    )
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

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
