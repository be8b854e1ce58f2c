import {
  type DoneSpan,
  type Entry,
  type EntryHash,
  type JobSpec,
  type OwnerSpan,
  type Range,
  type SessionId,
  ZERO_HASH,
} from './types.ts'

/** Far above what steps of one reach, far below what an integer holds. */
export const MAX_EPOCH = 2 ** 32
export const MAX_HOP = 2 ** 32

/** The owner of a RELEASEd range. */
export const NOBODY = '' as SessionId

/** What an entry says of a range's ownership. */
export interface Claim extends Range {
  readonly owner: SessionId
  readonly epoch: number
  readonly hop: number
}

/** Owner = max (epoch, hop, entry hash). */
export const ownerRules = {
  beats: (a: OwnerSpan, b: OwnerSpan): boolean =>
    a.epoch !== b.epoch ? a.epoch > b.epoch : a.hop !== b.hop ? a.hop > b.hop : a.hash > b.hash,
  // Ranges of one entry may differ in epoch and hop: they came from different parents.
  same: (a: OwnerSpan, b: OwnerSpan): boolean =>
    a.hash === b.hash && a.owner === b.owner && a.epoch === b.epoch && a.hop === b.hop,
  cut: (span: OwnerSpan, lo: number, hi: number): OwnerSpan =>
    span.lo === lo && span.hi === hi ? span : { ...span, lo, hi },
}

/** Accepted DONE = smallest entry hash. */
export const doneRules = {
  beats: (a: DoneSpan, b: DoneSpan): boolean => a.hash < b.hash,
  same: (a: DoneSpan, b: DoneSpan): boolean => a.hash === b.hash && a.originLo === b.originLo,
  cut: (span: DoneSpan, lo: number, hi: number): DoneSpan =>
    span.lo === lo && span.hi === hi ? span : { ...span, lo, hi },
}

export function itemCount(spec: JobSpec): number {
  return spec.input.count
}

/** Grants, releases and chunks of a job with a fixed chunk size end on multiples of this. */
export function grainOf(spec: JobSpec): number {
  // Of a composition the sizes of chunks count from the first item of each node.
  return spec.task.kind === 'graph' ? 1 : (spec.options.chunkSize ?? 1)
}

/** The ranges an entry's body names; undefined for a body that names none. */
export function rangesOf(entry: Entry): readonly Range[] | undefined {
  return 'ranges' in entry.body ? entry.body.ranges : undefined
}

/** Why a body cannot be right whatever else is known, or undefined. */
export function malformed(entry: Entry, items: number): string | undefined {
  const ranges = entry.body.type === 'job' ? entry.body.seeds : rangesOf(entry)
  if (ranges === undefined) return undefined
  let last = 0
  for (const { lo, hi } of [...ranges].sort((a, b) => a.lo - b.lo)) {
    if (
      !Number.isSafeInteger(lo) ||
      !Number.isSafeInteger(hi) ||
      lo < 0 ||
      lo >= hi ||
      hi > items
    ) {
      return `${entry.body.type} names items ${lo}..${hi} of a job of ${items}`
    }
    if (lo < last) return `${entry.body.type} names item ${lo} twice`
    last = hi
  }
  for (const { epoch = 0, hop = 0 } of childrenOf(entry)) {
    if (epoch > MAX_EPOCH || hop > MAX_HOP) {
      return `${entry.body.type} with epoch ${epoch}, hop ${hop}: at most ${MAX_EPOCH}, ${MAX_HOP}`
    }
  }
  return undefined
}

/** What an entry claims, in item order; of a JOB the seeds, and the rest for its author's session. */
export function claimsOf(entry: Entry, items: number): Claim[] {
  return claimed(entry, items).sort((a, b) => a.lo - b.lo)
}

function claimed(entry: Entry, items: number): Claim[] {
  const { body } = entry
  switch (body.type) {
    case 'job':
      return seedClaims(entry.session, body.seeds, items)
    case 'grant':
      return body.ranges.map(({ lo, hi, epoch, hop }) => ({ lo, hi, epoch, hop, owner: body.to }))
    case 'release':
      return body.ranges.map(({ lo, hi, epoch, hop }) => ({ lo, hi, epoch, hop, owner: NOBODY }))
    case 'reclaim':
      return body.ranges.map(({ lo, hi, epoch }) => ({
        lo,
        hi,
        epoch,
        hop: 0,
        owner: entry.session,
      }))
    default:
      return []
  }
}

function seedClaims(
  author: SessionId,
  seeds: readonly (Range & { readonly to: SessionId })[],
  items: number,
): Claim[] {
  const claims: Claim[] = []
  const claim = (lo: number, hi: number, owner: SessionId): void => {
    if (lo < hi) claims.push({ lo, hi, owner, epoch: 0, hop: 0 })
  }
  let at = 0
  for (const seed of [...seeds].sort((a, b) => a.lo - b.lo)) {
    claim(at, seed.lo, author)
    claim(seed.lo, seed.hi, seed.to)
    at = seed.hi
  }
  claim(at, items, author)
  return claims
}

/** A range of an entry that names its parent. */
export interface Child extends Range {
  readonly parent: EntryHash
  readonly epoch?: number
  readonly hop?: number
}

/** The ranges of an entry that name a parent (GRANT, RELEASE, RECLAIM, START, DONE), else none. */
export function childrenOf(entry: Entry): readonly Child[] {
  switch (entry.body.type) {
    case 'grant':
    case 'release':
    case 'reclaim':
    case 'start':
      return entry.body.ranges
    case 'done':
      // Speculative copies name no parent.
      return entry.body.ranges.filter(({ parent }) => parent !== ZERO_HASH)
    default:
      return []
  }
}

/** Why `entry` may not say this of the range, by what the parent entry claims; undefined when it may. */
export function brokenRule(
  entry: Entry,
  child: Child,
  parentClaims: readonly Claim[],
): string | undefined {
  const { type } = entry.body
  let at = child.lo
  for (const claim of parentClaims) {
    if (claim.hi <= at || claim.lo > at) continue
    if (type !== 'reclaim' && claim.owner !== entry.session) {
      return `${type} of items ${child.lo}..${child.hi} that its parent gave to another`
    }
    if (type === 'reclaim' && child.epoch !== claim.epoch + 1) {
      return `reclaim with epoch ${child.epoch}, not ${claim.epoch + 1}`
    }
    if (
      (type === 'grant' || type === 'release') &&
      (child.epoch !== claim.epoch || child.hop !== claim.hop + 1)
    ) {
      return `${type} with epoch ${child.epoch}, hop ${child.hop}, not ${claim.epoch}, ${claim.hop + 1}`
    }
    at = claim.hi
    if (at >= child.hi) return undefined
  }
  return `${type} of items ${child.lo}..${child.hi} that its parent does not cover`
}
