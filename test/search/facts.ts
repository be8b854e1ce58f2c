import { type FoldListener, JobFold, type ReadFork } from '../../src/scheduler/fold.ts'
import { type Claim, claimsOf } from '../../src/scheduler/rules.ts'
import type { Entry, JobId, OwnerSpan, SessionId } from '../../src/scheduler/types.ts'
import type { FoldBug, Layout } from './bounds.ts'

/** Who owns an item, by which entry. */
export interface Claimed {
  readonly owner: SessionId
  readonly hash: string
  readonly epoch: number
  readonly hop: number
}

/** What a peer concludes from a set of entries. */
export interface Facts {
  readonly hasJob: boolean
  /** By item; empty without the JOB. */
  readonly owners: readonly Claimed[]
  /** By item, what a RECLAIM may name. */
  readonly rooted: readonly Claimed[]
  /** Bit i: item i is final. */
  readonly final: number
  /** Bit p: an entry of peer p broke a rule. */
  readonly accused: number
}

export type Folder = (entries: readonly Entry[]) => Facts

/** A FORK's halves here: [index of the session, seq] and nothing. */
function forkReader(layout: Layout, job: JobId): ReadFork {
  return (first) => {
    const [session, seq] = first
    if (session === undefined || seq === undefined) return undefined
    const author = layout.peerId(layout.peerOf(session))
    return { author, session: layout.sessionId(session), job, seq }
  }
}

/** The real fold, with the planted bugs laid over what it says. */
export function makeFolder(
  layout: Layout,
  job: JobId,
  items: number,
  bugs: readonly FoldBug[],
): Folder {
  const real = realFolder(layout, job, items)
  if (bugs.length === 0) return real
  return (entries) => {
    let facts = real(entries)
    if (!facts.hasJob) return facts
    for (const bug of bugs) facts = spoil(facts, entries, items, bug)
    return facts
  }
}

function realFolder(layout: Layout, job: JobId, items: number): Folder {
  const readFork = forkReader(layout, job)
  return (entries) => {
    let accused = 0
    const listener: FoldListener = {
      ownerChanged: nothing,
      finalChanged: nothing,
      rebuilt: nothing,
      forked: nothing,
      breach: (author) => {
        accused |= 1 << layout.peerIndex(author)
      },
    }
    const fold = new JobFold(job, listener, readFork)
    for (const entry of entries) fold.add(entry)
    if (fold.jobEntry === undefined)
      return { hasJob: false, owners: [], rooted: [], final: 0, accused }
    const owners: Claimed[] = []
    const rooted: Claimed[] = []
    for (const span of fold.owners) {
      lay(owners, span)
      for (const part of fold.rootedOwners(span, span.lo, span.hi)) lay(rooted, part)
    }
    let final = 0
    for (let item = 0; item < items; item += 1) if (fold.final.has(item)) final |= 1 << item
    return { hasJob: true, owners, rooted, final, accused }
  }
}

function lay(items: Claimed[], { lo, hi, owner, hash, epoch, hop }: OwnerSpan): void {
  for (let item = lo; item < hi; item += 1) items[item] = { owner, hash, epoch, hop }
}

function nothing(): void {}

// ---------------------------------------------------------------- planted bugs

function spoil(facts: Facts, entries: readonly Entry[], items: number, bug: FoldBug): Facts {
  switch (bug) {
    case 'doneIgnored':
      return { ...facts, final: 0 }
    case 'doneOfOwnerOnly':
      return { ...facts, final: facts.final & doneByOwners(facts, entries) }
    case 'lastWritten':
      return { ...facts, ...ownersBy(entries, items, () => true) }
    case 'anyEpoch':
      return { ...facts, accused: 0, ...ownersBy(entries, items, greater) }
  }
}

function doneByOwners(facts: Facts, entries: readonly Entry[]): number {
  let done = 0
  for (const { body, session } of entries) {
    if (body.type !== 'done') continue
    for (const { lo, hi } of body.ranges) {
      for (let item = lo; item < hi; item += 1) {
        if (facts.owners[item]!.owner === session) done |= 1 << item
      }
    }
  }
  return done
}

/** Owners by every claim there is, checked against nothing: `wins` says whether a later one takes the place of an earlier one. */
function ownersBy(
  entries: readonly Entry[],
  items: number,
  wins: (late: Claimed, early: Claimed) => boolean,
): { owners: Claimed[]; rooted: Claimed[] } {
  const owners: Claimed[] = []
  for (const entry of entries) {
    for (const claim of claimsOf(entry, items)) {
      const late = claimed(claim, entry)
      for (let item = claim.lo; item < claim.hi; item += 1) {
        const early = owners[item]
        if (early === undefined || wins(late, early)) owners[item] = late
      }
    }
  }
  return { owners, rooted: owners }
}

function claimed({ owner, epoch, hop }: Claim, { hash }: Entry): Claimed {
  return { owner, hash, epoch, hop }
}

function greater(a: Claimed, b: Claimed): boolean {
  if (a.epoch !== b.epoch) return a.epoch > b.epoch
  return a.hop !== b.hop ? a.hop > b.hop : a.hash > b.hash
}
