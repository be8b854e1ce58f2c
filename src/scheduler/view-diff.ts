import type { IntervalMap, JoinResult } from './interval-map.ts'
import type { DoneSpan, JobId, OwnerSpan, Range, ViewChange } from './types.ts'

/** Collects what changed in a job's views, key by key (a span's key is its lo), until it is taken. */
export class ViewDiff {
  /** The span now under that key, or null when it is gone. */
  private ownerKeys = new Map<number, OwnerSpan | null>()
  private doneKeys = new Map<number, DoneSpan | null>()

  owners(result: JoinResult<OwnerSpan>): void {
    note(this.ownerKeys, result)
  }

  dones(result: JoinResult<DoneSpan>): void {
    note(this.doneKeys, result)
  }

  replaced(
    before: { owners: IntervalMap<OwnerSpan>; dones: IntervalMap<DoneSpan> },
    after: { owners: IntervalMap<OwnerSpan>; dones: IntervalMap<DoneSpan> },
  ): void {
    compare(this.ownerKeys, before.owners, after.owners)
    compare(this.doneKeys, before.dones, after.dones)
  }

  take(job: JobId): ViewChange | undefined {
    if (this.ownerKeys.size === 0 && this.doneKeys.size === 0) return undefined
    const change: ViewChange = {
      job,
      ownersRemoved: goneKeys(this.ownerKeys),
      ownersPut: putSpans(this.ownerKeys),
      doneRemoved: goneKeys(this.doneKeys),
      donePut: putSpans(this.doneKeys),
    }
    this.ownerKeys = new Map()
    this.doneKeys = new Map()
    return change
  }
}

function note<S extends Range>(keys: Map<number, S | null>, result: JoinResult<S>): void {
  for (const span of result.removed) keys.set(span.lo, null)
  for (const span of result.put) keys.set(span.lo, span)
}

function compare<S extends Range>(
  keys: Map<number, S | null>,
  before: Iterable<S>,
  after: Iterable<S>,
): void {
  for (const span of before) keys.set(span.lo, null)
  for (const span of after) keys.set(span.lo, span)
}

function goneKeys<S>(keys: Map<number, S | null>): number[] {
  return [...keys].filter(([, span]) => span === null).map(([lo]) => lo)
}

function putSpans<S>(keys: Map<number, S | null>): S[] {
  return [...keys.values()].filter((span) => span !== null)
}
