import { IntervalMap } from './interval-map.ts'
import { RangeSet } from './range-set.ts'
import { type Claim, doneRules, ownerRules } from './rules.ts'
import type {
  DoneRange,
  DoneSpan,
  Entry,
  JobId,
  OwnerSpan,
  PeerId,
  Range,
  SessionId,
  ViewChange,
} from './types.ts'
import { ViewDiff } from './view-diff.ts'

/** Told as ownership and completion move. Ranges may be told more than once. */
export interface LedgerListener {
  /** [lo, hi) is owned by `owner` now. */
  ownerChanged(lo: number, hi: number, owner: SessionId): void
  /** [lo, hi) became final. */
  finalChanged(lo: number, hi: number): void
}

/** Item by item, who owns it and what is done: joins of what entries say, whatever their order. Which entries count is the fold's to decide. */
export class Ledger {
  owners = new IntervalMap<OwnerSpan>(ownerRules)
  dones = new IntervalMap<DoneSpan>(doneRules)
  /** Items that are done or failed for good. */
  readonly final = new RangeSet()
  /** Items of each owner that are not final. */
  readonly openOf = new Map<SessionId, number>()
  /** Items of each owner, final ones too. */
  readonly ownedOf = new Map<SessionId, number>()
  readonly doneBy = new Map<PeerId, number>()
  chunks = 0
  /** Items that FAIL entries name; DONE beats them. */
  private readonly failedRanges = new RangeSet()
  private doneFailed = 0
  private readonly diff = new ViewDiff()
  private readonly listener: LedgerListener

  constructor(listener: LedgerListener) {
    this.listener = listener
  }

  /** Items that failed for good. */
  get failed(): number {
    if (this.failedRanges.size === 0) return this.doneFailed
    let covered = 0
    for (const { lo, hi } of this.failedRanges.ranges()) {
      for (const span of this.dones.overlapping(lo, hi)) {
        covered += Math.min(hi, span.hi) - Math.max(lo, span.lo)
      }
    }
    return this.doneFailed + this.failedRanges.size - covered
  }

  claim(entry: Entry, claims: readonly Claim[]): void {
    for (const { lo, hi, owner, epoch, hop } of claims) {
      const result = this.owners.join({ lo, hi, epoch, hop, hash: entry.hash, owner })
      for (const part of result.changed) {
        const open = part.hi - part.lo - this.final.countIn(part.lo, part.hi)
        if (part.before !== undefined) {
          count(this.openOf, part.before.owner, -open)
          count(this.ownedOf, part.before.owner, part.lo - part.hi)
        }
        count(this.openOf, owner, open)
        count(this.ownedOf, owner, part.hi - part.lo)
        this.listener.ownerChanged(part.lo, part.hi, owner)
      }
      this.diff.owners(result)
    }
  }

  /** `parts`: what of the range counts. */
  done(entry: Entry, range: DoneRange, parts: Iterable<Range>): void {
    this.chunks += range.chunks
    for (const { lo, hi } of parts) {
      const result = this.dones.join({
        lo,
        hi,
        originLo: range.lo,
        hash: entry.hash,
        author: entry.author,
        failed: range.failed,
        result: range.result,
      })
      for (const part of result.changed) {
        const items = part.hi - part.lo
        if (part.before !== undefined) count(this.doneBy, part.before.author, -items)
        count(this.doneBy, entry.author, items)
        if (part.before === undefined) this.finalize(part.lo, part.hi)
      }
      for (const span of result.removed) this.doneFailed -= failedOf(span)
      for (const span of result.put) this.doneFailed += failedOf(span)
      this.diff.dones(result)
    }
  }

  fail(lo: number, hi: number): void {
    this.failedRanges.add(lo, hi)
    this.finalize(lo, hi)
  }

  /** Empties it, lets `refill` fill it anew, and counts what is different as changes of the views. */
  redo(refill: () => void): void {
    const before = { owners: this.owners, dones: this.dones }
    this.owners = new IntervalMap<OwnerSpan>(ownerRules)
    this.dones = new IntervalMap<DoneSpan>(doneRules)
    this.final.clear()
    this.failedRanges.clear()
    this.openOf.clear()
    this.ownedOf.clear()
    this.doneBy.clear()
    this.chunks = this.doneFailed = 0
    refill()
    this.diff.replaced(before, this)
  }

  /** Key-level changes of the views since the last call. */
  takeChange(job: JobId): ViewChange | undefined {
    return this.diff.take(job)
  }

  private finalize(from: number, to: number): void {
    for (const { lo, hi } of this.final.missing(from, to)) {
      this.final.add(lo, hi)
      for (const span of this.owners.overlapping(lo, hi)) {
        count(this.openOf, span.owner, Math.max(lo, span.lo) - Math.min(hi, span.hi))
      }
      this.listener.finalChanged(lo, hi)
    }
  }
}

/** Of a DONE that counts only in part, at most its items: an upper bound, exact wherever a DONE counts whole. */
function failedOf(span: DoneSpan): number {
  return Math.min(span.failed, span.hi - span.lo)
}

function count<K>(counts: Map<K, number>, key: K, by: number): void {
  const now = (counts.get(key) ?? 0) + by
  if (now === 0) counts.delete(key)
  else counts.set(key, now)
}
