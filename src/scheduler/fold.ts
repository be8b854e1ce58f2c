import { Controls, notController } from './controls.ts'
import { IntervalMap } from './interval-map.ts'
import { Ledger, type LedgerListener } from './ledger.ts'
import { Marks, type StartMark } from './marks.ts'
import { RangeSet } from './range-set.ts'
import {
  brokenRule,
  type Claim,
  childrenOf,
  claimsOf,
  itemCount,
  malformed,
  ownerRules,
} from './rules.ts'
import type {
  Cancellation,
  DoneRange,
  DoneSpan,
  Entry,
  EntryHash,
  FailedSpan,
  ForkPoint,
  JobId,
  JobSpec,
  JobState,
  OwnerSpan,
  PeerId,
  Range,
  SessionId,
  ViewChange,
} from './types.ts'

/** What a peer that runs the job must know as the fold moves. Ranges may be told more than once. */
export interface FoldListener extends LedgerListener {
  /** Anything may be different: look at the whole. */
  rebuilt(): void
  /** An entry of that session breaks a rule. */
  breach(author: PeerId, session: SessionId, reason: string): void
  /** The session forked its feed of this job. */
  forked(session: SessionId): void
}

/** How a peer makes the fold of a job; the simulator of large meshes has one that shares what all peers know. */
export type MakeFold = (job: JobId, listener: FoldListener) => JobFold

/** Where a FORK proof says that its feed splits; undefined when it proves nothing. The bytes are the store's encoding. */
export type ReadFork = (first: Uint8Array, second: Uint8Array) => ForkPoint | undefined

/**
 * A job as a function of the set of its entries (invariant I1): any order, any repetition, the incremental result equals the one
 * from scratch. Owner of an item = max (epoch, hop, hash); its accepted DONE = the smallest hash. An entry that breaks a rule is
 * left out, and what was granted out of it with it.
 */
export class JobFold {
  readonly job: JobId
  /** The JOB that rules: with several, the one whose claims win. */
  jobEntry: (Entry & { body: { type: 'job' } }) | undefined
  grants = 0
  reclaims = 0
  private readonly entries = new Map<EntryHash, Entry>()
  private readonly claims = new Map<EntryHash, readonly Claim[]>()
  /** Entries by a parent that is not held yet, or that is not rooted. */
  private readonly awaiting = new Map<EntryHash, Set<Entry>>()
  /** The JOB, and what hands on or takes over what leads back to it through held entries: such entries, and parts of others. */
  private readonly rooted = new Set<EntryHash>()
  private readonly partly = new Map<EntryHash, RangeSet>()
  private readonly excluded = new Set<EntryHash>()
  private readonly accused = new Set<EntryHash>()
  private readonly lost = new Map<EntryHash, RangeSet>()
  /** Where forked feeds are cut, by author and session. */
  private readonly cutAt = new Map<string, ForkPoint>()
  /** Entries that came before the JOB. */
  private readonly early = new Map<EntryHash, Entry>()
  /** The highest epoch that a RECLAIM that counts has made. */
  private maxEpoch = 0
  private readonly marks = new Marks()
  private readonly controls = new Controls()
  private readonly ledger: Ledger
  private readonly listener: FoldListener
  private readonly readFork: ReadFork

  constructor(job: JobId, listener: FoldListener, readFork: ReadFork = () => undefined) {
    this.job = job
    this.listener = listener
    this.ledger = new Ledger(listener)
    this.readFork = readFork
  }

  get owners(): IntervalMap<OwnerSpan> {
    return this.ledger.owners
  }

  get dones(): IntervalMap<DoneSpan> {
    return this.ledger.dones
  }

  /** Items that are done or failed for good. */
  get final(): RangeSet {
    return this.ledger.final
  }

  /** Items of each owner that are not final. */
  get openOf(): ReadonlyMap<SessionId, number> {
    return this.ledger.openOf
  }

  /** Items of each owner, final ones too. */
  get ownedOf(): ReadonlyMap<SessionId, number> {
    return this.ledger.ownedOf
  }

  get doneBy(): ReadonlyMap<PeerId, number> {
    return this.ledger.doneBy
  }

  get chunks(): number {
    return this.ledger.chunks
  }

  get failed(): number {
    return this.ledger.failed
  }

  get spec(): JobSpec | undefined {
    return this.jobEntry?.body.spec
  }

  get items(): number {
    const spec = this.spec
    return spec === undefined ? 0 : itemCount(spec)
  }

  get entryCount(): number {
    return this.entries.size + this.early.size
  }

  /** Entries held because their JOB is not known. */
  get earlyCount(): number {
    return this.early.size
  }

  /** "All items final" beats CANCEL, and CANCEL beats PAUSE. */
  get state(): JobState {
    if (this.jobEntry !== undefined && this.final.size >= this.items) return 'finished'
    if (this.controls.cancellation !== undefined) return 'cancelled'
    return this.controls.isPaused ? 'paused' : 'running'
  }

  /** Of the CANCELs the one with the smallest hash. */
  get cancellation(): Cancellation | undefined {
    return this.controls.cancellation
  }

  /** PAUSEs that no RESUME has ended. */
  get pauses(): Iterable<EntryHash> {
    return this.controls.pauses
  }

  entry(hash: EntryHash): Entry | undefined {
    return this.entries.get(hash)
  }

  /** What that entry claims over an item; undefined while the entry is not known. */
  claimAt(hash: EntryHash, item: number): Claim | undefined {
    return this.claims.get(hash)?.find(({ lo, hi }) => lo <= item && item < hi)
  }

  /**
   * Who owns [lo, hi) of `span` (one of `owners`) by what leads back to the JOB alone: what a RECLAIM may name. The same as `span`,
   * but where its chain is not held, as after a fork that cut it. That costs O(entries).
   */
  rootedOwners(span: OwnerSpan, lo: number, hi: number): readonly OwnerSpan[] {
    if (this.isRooted(span.hash, lo, hi)) return [{ ...span, lo, hi }]
    const map = new IntervalMap<OwnerSpan>(ownerRules)
    for (const [hash, claims] of this.claims) {
      if (this.excluded.has(hash)) continue
      for (const claim of claims) {
        if (claim.hi <= lo || claim.lo >= hi) continue
        const part = { lo: Math.max(lo, claim.lo), hi: Math.min(hi, claim.hi) }
        for (const range of this.rootedIn(hash, part)) map.join({ ...claim, ...range, hash })
      }
    }
    return [...map]
  }

  private isRooted(hash: EntryHash, lo: number, hi: number): boolean {
    return this.rooted.has(hash) || this.partly.get(hash)?.countIn(lo, hi) === hi - lo
  }

  private rootedIn(hash: EntryHash, part: Range): readonly Range[] {
    return this.rooted.has(hash) ? [part] : (this.partly.get(hash)?.within(part.lo, part.hi) ?? [])
  }

  /** Sessions that hand on what they have of an entry that nobody has shown yet. */
  *orphanSessions(): Iterable<SessionId> {
    for (const [parent, entries] of this.awaiting) {
      if (this.entries.has(parent)) continue
      for (const { session, body, hash } of entries) {
        if (body.type !== 'done' && !this.excluded.has(hash)) yield session
      }
    }
  }

  /** The first entry of a forked feed that does not count. */
  cutSeq(session: SessionId): number | undefined {
    for (const cut of this.cutAt.values()) if (cut.session === session) return cut.seq
    return undefined
  }

  private isCut({ session, author, seq }: Entry): boolean {
    const cut = this.cutAt.get(author + session)
    return cut !== undefined && seq >= cut.seq
  }

  /** STARTs over an item whose sessions were given up. */
  deathsAt(item: number): StartMark[] {
    return this.marks.deathsAt(item)
  }

  /** Sessions that wrote a START. */
  starters(): Iterable<SessionId> {
    return this.marks.starters()
  }

  /** FAILs without a DONE over them, in item order. */
  failures(): FailedSpan[] {
    return this.marks.failures(this.dones)
  }

  /** Items that `owner` owns and that are not final. */
  openItems(owner: SessionId): number {
    return this.openOf.get(owner) ?? 0
  }

  /** Takes an entry in; false when it was here already. */
  add(entry: Entry): boolean {
    if (this.entries.has(entry.hash)) return false
    if (this.jobEntry === undefined && entry.body.type !== 'job') {
      if (this.early.has(entry.hash)) return false
      this.early.set(entry.hash, entry)
      return true
    }
    const items = entry.body.type === 'job' ? itemCount(entry.body.spec) : this.items
    const wrong = malformed(entry, items) ?? notController(entry, this.spec)
    this.entries.set(entry.hash, entry)
    if (wrong === undefined) this.take(entry)
    else this.leave(entry, wrong)
    this.adopt(entry.hash)
    this.root(entry)
    if (entry.body.type === 'job') {
      const early = [...this.early.values()]
      this.early.clear()
      for (const held of early) this.add(held)
    }
    return true
  }

  /** Key-level changes of the views since the last call. */
  takeChange(): ViewChange | undefined {
    return this.ledger.takeChange(this.job)
  }

  private take(entry: Entry): void {
    const { hash, body } = entry
    const mine = claimsOf(entry, this.jobEntry === undefined ? itemsOf(entry) : this.items)
    if (mine.length > 0) this.claims.set(hash, mine)
    if (body.type === 'fork') {
      this.cut(body.first, body.second)
      return
    }
    if (this.isCut(entry)) {
      this.excluded.add(hash)
      return
    }
    if (body.type === 'lost') {
      this.noteLost(entry)
      if (body.ranges.some(({ done }) => this.holdsBlob(done))) this.rebuild()
      if (body.ranges.some(({ done }) => this.entries.has(done) && !this.holdsBlob(done))) {
        this.accuse(entry, 'lost names values that stand in the log')
      }
      return
    }
    if (!this.judge(entry)) return
    this.count(entry)
    this.apply(entry)
  }

  /** Children that waited for this entry are judged. */
  private adopt(hash: EntryHash): void {
    const waiting = this.awaiting.get(hash)
    if (waiting === undefined) return
    this.awaiting.delete(hash)
    let wrong = false
    for (const child of waiting) {
      if (!this.excluded.has(child.hash) && !this.judge(child)) wrong = true
    }
    if (wrong) this.rebuild()
  }

  /** unrooted -> rooted, range by range, as their parents are; and so on for those that waited for it. What counts only when rooted counts now. */
  private root(entry: Entry): void {
    const queue = [entry]
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const { hash } = next
      if (this.excluded.has(hash) || !movesOwnership(next) || !this.rootMore(next)) continue
      if (next.body.type !== 'job') this.applyOwnership(next)
      queue.push(...(this.awaiting.get(hash) ?? []))
      if (this.rooted.has(hash)) this.awaiting.delete(hash)
    }
  }

  /** False: no range of it is rooted that was not before. */
  private rootMore(entry: Entry): boolean {
    const { hash } = entry
    if (this.rooted.has(hash)) return false
    const ranges = childrenOf(entry)
    const rooted = ranges.filter(({ parent, lo, hi }) => this.isRooted(parent, lo, hi))
    if (rooted.length === ranges.length) {
      this.rooted.add(hash)
      this.partly.delete(hash)
      return true
    }
    if (rooted.length === 0) return false
    const known = this.partly.get(hash)
    const now = new RangeSet(rooted)
    if (known?.size === now.size) return false
    this.partly.set(hash, now)
    return true
  }

  private awaitParents(entry: Entry): void {
    const moves = movesOwnership(entry)
    for (const { parent } of childrenOf(entry)) {
      if (moves ? this.rooted.has(parent) : this.entries.has(parent)) continue
      const waiting = this.awaiting.get(parent)
      if (waiting === undefined) this.awaiting.set(parent, new Set([entry]))
      else waiting.add(entry)
    }
  }

  /** Checks an entry against the parents that are known. False: it is left out from now on. */
  private judge(entry: Entry): boolean {
    let orphaned = false
    this.awaitParents(entry)
    for (const child of childrenOf(entry)) {
      const parent = this.claims.get(child.parent)
      if (parent === undefined && !this.entries.has(child.parent)) continue
      const reason = brokenRule(entry, child, parent ?? [])
      if (reason !== undefined) {
        if (entry.body.type === 'done') this.accuse(entry, reason)
        else {
          this.leave(entry, reason)
          return false
        }
      }
      if (this.excluded.has(child.parent)) orphaned = true
    }
    if (!orphaned || entry.body.type === 'done') return true
    this.excluded.add(entry.hash)
    return false
  }

  private accuse(entry: Entry, reason: string): void {
    if (this.accused.has(entry.hash)) return
    this.accused.add(entry.hash)
    this.listener.breach(entry.author, entry.session, reason)
  }

  private leave(entry: Entry, reason: string): void {
    this.accuse(entry, reason)
    this.excluded.add(entry.hash)
  }

  /** Values that ride in the entry are there as long as it is. */
  private holdsBlob(done: EntryHash): boolean {
    const body = this.entries.get(done)?.body
    return body?.type === 'done' && body.ranges.some(({ result }) => result.kind === 'blob')
  }

  private noteLost({ body }: Entry): void {
    if (body.type !== 'lost') return
    for (const { lo, hi, done } of body.ranges) {
      let set = this.lost.get(done)
      if (set === undefined) this.lost.set(done, (set = new RangeSet()))
      set.add(lo, hi)
    }
  }

  private cut(first: Uint8Array, second: Uint8Array): void {
    const fork = this.readFork(first, second)
    if (fork === undefined || fork.job !== this.job) return
    const feed = fork.author + fork.session
    const before = this.cutAt.get(feed)
    if (before !== undefined && before.seq <= fork.seq) return
    this.cutAt.set(feed, fork)
    this.rebuild()
    this.listener.forked(fork.session)
  }

  // ------------------------------------------------------------ what an entry does to the maps

  private apply(entry: Entry): void {
    const { body } = entry
    switch (body.type) {
      case 'job':
        if (this.jobEntry === undefined || entry.hash > this.jobEntry.hash) {
          this.jobEntry = entry as Entry & { body: { type: 'job' } }
        }
        this.ledger.claim(entry, this.claims.get(entry.hash) ?? [])
        return
      case 'reclaim':
        this.marks.reclaim(entry)
        this.applyOwnership(entry)
        return
      case 'grant':
      case 'release':
        this.applyOwnership(entry)
        return
      case 'done':
        for (const range of body.ranges) this.applyDone(entry, range)
        return
      case 'fail':
        for (const { lo, hi } of body.ranges) {
          this.ledger.fail(lo, hi)
        }
        this.marks.fail(entry)
        return
      case 'start':
        this.marks.start(entry)
        return
      case 'cancel':
      case 'pause':
      case 'resume':
        this.controls.take(entry)
        return
      default:
        return
    }
  }

  private count({ body }: Entry): void {
    if (body.type === 'grant') this.grants += 1
    if (body.type === 'reclaim') this.reclaims += 1
  }

  /**
   * A RECLAIM counts only over what leads back to the JOB, and what is handed on out of something else only in an epoch that such
   * RECLAIMs have made: else anyone could freeze a job with a huge epoch.
   */
  private applyOwnership(entry: Entry): void {
    const { body } = entry
    if (body.type !== 'reclaim' && body.type !== 'grant' && body.type !== 'release') return
    const isReclaim = body.type === 'reclaim'
    const counting = new Set<number>()
    let highest = 0
    for (const { lo, hi, parent, epoch } of body.ranges) {
      if (!this.isRooted(parent, lo, hi) && (isReclaim || epoch > this.maxEpoch)) continue
      counting.add(lo)
      highest = Math.max(highest, epoch)
    }
    if (counting.size === 0) return
    const claims = this.claims.get(entry.hash) ?? []
    this.ledger.claim(
      entry,
      claims.filter(({ lo }) => counting.has(lo)),
    )
    if (isReclaim && highest > this.maxEpoch) this.raiseEpoch(highest)
  }

  /** What waited for an unknown parent in an epoch that was not reached yet counts now. */
  private raiseEpoch(epoch: number): void {
    this.maxEpoch = epoch
    for (const waiting of this.awaiting.values()) {
      for (const entry of waiting) {
        if (!this.excluded.has(entry.hash) && entry.body.type !== 'reclaim') {
          this.applyOwnership(entry)
        }
      }
    }
  }

  private applyDone(entry: Entry, range: DoneRange): void {
    const lost = range.result.kind === 'blob' ? this.lost.get(entry.hash) : undefined
    this.ledger.done(entry, range, lost?.missing(range.lo, range.hi) ?? [range])
  }

  // ------------------------------------------------------------ from scratch

  /** Folds the kept entries anew, after one was found to break a rule. Rare; costs O(entries). */
  private rebuild(): void {
    this.leaveOut()
    this.grants = this.reclaims = this.maxEpoch = 0
    this.controls.clear()
    this.jobEntry = undefined
    this.lost.clear()
    this.marks.clear()
    this.rooted.clear()
    this.partly.clear()
    this.awaiting.clear()
    const kept = [...this.entries.values()].filter(({ hash }) => !this.excluded.has(hash))
    for (const entry of kept) this.noteLost(entry)
    this.ledger.redo(() => {
      for (const entry of kept) {
        this.awaitParents(entry)
        this.count(entry)
        this.apply(entry)
      }
      for (const entry of kept) this.root(entry)
    })
    this.listener.rebuilt()
  }

  /** Marks entries of cut feeds, and what was granted out of a left-out entry, as left out. */
  private leaveOut(): void {
    const children = new Map<EntryHash, Entry[]>()
    for (const entry of this.entries.values()) {
      if (this.isCut(entry)) this.excluded.add(entry.hash)
      if (entry.body.type === 'done') continue
      for (const { parent } of childrenOf(entry)) {
        const list = children.get(parent)
        if (list === undefined) children.set(parent, [entry])
        else list.push(entry)
      }
    }
    const queue = [...this.excluded]
    for (let hash = queue.pop(); hash !== undefined; hash = queue.pop()) {
      for (const child of children.get(hash) ?? []) {
        if (this.excluded.has(child.hash)) continue
        this.excluded.add(child.hash)
        queue.push(child.hash)
      }
    }
  }
}

/** Its ranges are owned by somebody because of it. */
function movesOwnership({ body: { type } }: Entry): boolean {
  return type === 'job' || type === 'grant' || type === 'release' || type === 'reclaim'
}

function itemsOf(entry: Entry): number {
  return entry.body.type === 'job' ? itemCount(entry.body.spec) : 0
}
