import { type FoldListener, JobFold } from '../../src/scheduler/fold.ts'
import { claimsOf, doneRules, itemCount, ownerRules } from '../../src/scheduler/rules.ts'
import type {
  DoneSpan,
  Entry,
  EntryHash,
  JobId,
  JobState,
  OwnerSpan,
  SessionId,
} from '../../src/scheduler/types.ts'
import { OverlayMap, OverlaySet } from './overlay.ts'

/** What all peers of a large mesh know by gossip: one fold for them all. */
export interface SharedPast {
  readonly fold: JobFold
  holds(hash: EntryHash): boolean
}

/**
 * The fold of one peer in a large mesh: what gossip has told everybody, which is kept once, and over it the few entries that this
 * peer has and gossip has not told yet. Pointwise joins make that the fold of their union (I1). For honest peers only: it trusts
 * what it is told.
 */
export class SharedFold extends JobFold {
  /** Something that concerns this peer came by gossip: the next entry that is handed in counts as news. */
  news = true
  readonly ears: FoldListener
  private readonly past: SharedPast
  private readonly ownership: OverlayMap<OwnerSpan>
  private readonly results: OverlayMap<DoneSpan>
  private readonly finished: OverlaySet
  private readonly open: OverlayCounts
  private own = new Map<EntryHash, Entry>()
  private shift: Map<SessionId, number> | undefined

  constructor(
    job: JobId,
    listener: FoldListener,
    past: SharedPast,
    sessions: () => Iterable<SessionId>,
  ) {
    super(job, listener)
    this.ears = listener
    this.past = past
    this.ownership = new OverlayMap<OwnerSpan>(() => past.fold.owners, ownerRules)
    this.results = new OverlayMap<DoneSpan>(() => past.fold.dones, doneRules)
    this.finished = new OverlaySet(() => past.fold.final)
    this.open = new OverlayCounts(sessions, (session) => this.openItems(session))
  }

  override get owners(): OverlayMap<OwnerSpan> {
    return this.ownership
  }

  override get dones(): OverlayMap<DoneSpan> {
    return this.results
  }

  override get final(): OverlaySet {
    return this.finished
  }

  override get openOf(): OverlayCounts {
    return this.open
  }

  override get chunks(): number {
    return this.past.fold.chunks
  }

  override get state(): JobState {
    return this.jobEntry !== undefined && this.final.size >= this.items ? 'finished' : 'running'
  }

  override get entryCount(): number {
    return this.past.fold.entryCount + this.own.size
  }

  override get failed(): number {
    return this.past.fold.failed
  }

  override entry(hash: EntryHash): Entry | undefined {
    return this.own.get(hash) ?? this.past.fold.entry(hash)
  }

  override claimAt(hash: EntryHash, item: number): ReturnType<JobFold['claimAt']> {
    const entry = this.own.get(hash)
    if (entry === undefined) return this.past.fold.claimAt(hash, item)
    return claimsOf(entry, this.items).find(({ lo, hi }) => lo <= item && item < hi)
  }

  /** Everything here leads back to the JOB: all are honest. */
  override rootedOwners(span: OwnerSpan, lo: number, hi: number): readonly OwnerSpan[] {
    return [{ ...span, lo, hi }]
  }

  override starters(): Iterable<SessionId> {
    return this.past.fold.starters()
  }

  override deathsAt(item: number): ReturnType<JobFold['deathsAt']> {
    return this.past.fold.deathsAt(item)
  }

  override openItems(owner: SessionId): number {
    this.shift ??= this.shifts()
    return (this.past.fold.openOf.get(owner) ?? 0) + (this.shift.get(owner) ?? 0)
  }

  /** Whether the peer has the entry, and not all the others have. */
  knows(hash: EntryHash): boolean {
    return this.own.has(hash)
  }

  override add(entry: Entry): boolean {
    if (this.past.holds(entry.hash)) {
      if (this.jobEntry === undefined && entry.body.type === 'job') {
        this.jobEntry = entry as NonNullable<typeof this.jobEntry>
        // It may own something by now.
        this.ears.rebuilt()
      }
      return this.news
    }
    if (this.own.has(entry.hash)) return false
    this.own.set(entry.hash, entry)
    this.weave(entry, true)
    return true
  }

  /** The shared fold has moved: what it holds now is let go. */
  rebase(): void {
    this.shift = undefined
    if (this.own.size === 0) return
    this.reviewOwners()
    const left = new Map([...this.own].filter(([hash]) => !this.past.holds(hash)))
    if (left.size === this.own.size) {
      this.final.trim()
      return
    }
    this.own = left
    this.owners.reset()
    this.dones.reset()
    this.final.trim()
    for (const entry of left.values()) this.weave(entry, false)
  }

  /** What this peer owns by an entry that the others lack may have been beaten by one that all have. */
  private reviewOwners(): void {
    for (const { lo, hi } of [...this.owners.own]) {
      for (const span of this.owners.within(lo, hi)) {
        this.ears.ownerChanged(span.lo, span.hi, span.owner)
      }
    }
  }

  private weave(entry: Entry, tell: boolean): void {
    this.shift = undefined
    const { body } = entry
    if (body.type === 'job') this.jobEntry ??= entry as NonNullable<typeof this.jobEntry>
    const items = body.type === 'job' ? itemCount(body.spec) : this.items
    for (const { lo, hi, owner, epoch, hop } of claimsOf(entry, items)) {
      const span = { lo, hi, epoch, hop, hash: entry.hash, owner }
      const before = tell ? this.owners.within(lo, hi) : []
      this.owners.join(span)
      if (!tell) continue
      const beaten = before.filter((old) => ownerRules.beats(span, old))
      if (before.length === 0) this.ears.ownerChanged(lo, hi, owner)
      for (const old of beaten) {
        this.ears.ownerChanged(old.lo, old.hi, owner)
      }
    }
    if (body.type !== 'done') return
    for (const { lo, hi, failed, result } of body.ranges) {
      const { hash, author } = entry
      this.dones.join({ lo, hi, originLo: lo, hash, author, failed, result })
      const fresh = this.final.missing(lo, hi)
      this.final.add(lo, hi)
      if (tell) for (const part of fresh) this.ears.finalChanged(part.lo, part.hi)
    }
  }

  /** By how much the open items of each owner differ from the shared count. */
  private shifts(): Map<SessionId, number> {
    const shifts = new Map<SessionId, number>()
    const { owners, final } = this.past.fold
    const add = (owner: SessionId, by: number): void => {
      if (by !== 0) shifts.set(owner, (shifts.get(owner) ?? 0) + by)
    }
    for (const { lo, hi } of this.owners.own) {
      for (const span of owners.overlapping(lo, hi)) {
        const [from, to] = [Math.max(lo, span.lo), Math.min(hi, span.hi)]
        add(span.owner, final.countIn(from, to) - (to - from))
      }
      for (const span of this.owners.within(lo, hi)) {
        add(span.owner, span.hi - span.lo - this.final.countIn(span.lo, span.hi))
      }
    }
    const ended = (lo: number, hi: number): void => {
      for (const span of owners.overlapping(lo, hi)) {
        add(span.owner, Math.max(lo, span.lo) - Math.min(hi, span.hi))
      }
    }
    for (const { lo, hi } of this.final.own.ranges()) {
      let at = lo
      for (const span of this.owners.own.overlapping(lo, hi)) {
        if (span.lo > at) ended(at, span.lo)
        at = Math.max(at, span.hi)
      }
      if (at < hi) ended(at, hi)
    }
    return shifts
  }
}

/** Open items by owner, read off as they are asked for. */
class OverlayCounts extends Map<SessionId, number> {
  private readonly sessions: () => Iterable<SessionId>
  private readonly count: (session: SessionId) => number

  constructor(sessions: () => Iterable<SessionId>, count: (session: SessionId) => number) {
    super()
    this.sessions = sessions
    this.count = count
  }

  override get(session: SessionId): number | undefined {
    const open = this.count(session)
    return open === 0 ? undefined : open
  }

  override *keys(): MapIterator<SessionId> {
    for (const session of this.sessions()) if (this.count(session) > 0) yield session
  }

  override *[Symbol.iterator](): MapIterator<[SessionId, number]> {
    for (const session of this.keys()) yield [session, this.count(session)]
  }
}
