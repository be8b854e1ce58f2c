import { JobFold, type MakeFold } from '../../src/scheduler/fold.ts'
import { claimsOf } from '../../src/scheduler/rules.ts'
import type { Entry, EntryHash, JobId, SessionId } from '../../src/scheduler/types.ts'
import type { FeedRun } from './feeds.ts'
import type { Process } from './process.ts'
import { SharedFold, type SharedPast } from './shared-fold.ts'
import type { World } from './world.ts'

/** Gossip becomes common knowledge in steps of this. */
const TICK_MS = 500
/** So often a peer takes note of what its neighbours last wrote. */
const NOTICE_TICKS = 10
/** Up to so many peers each follows the leases of all; in larger ones those of its neighbours, for want of memory in one process. */
export const FULL_VIEW_PEERS = 2_000

/**
 * What gossip has told everyone, in a mesh too large for each peer to have it of its own: one fold, that moves when an entry has
 * been under way for as long as gossip takes. Nothing is lost by the way: gossipsub's many paths and its lists see to that.
 */
export class Past implements SharedPast {
  readonly fold: JobFold
  readonly job: JobId
  /** Runs that were published: each peer checks each of them. */
  published = 0
  /** Entries of each feed that everybody has, by the feed's index. */
  readonly have: number[] = []
  private readonly world: World
  private readonly lagMs: number
  private readonly folds = new Map<SessionId, SharedFold>()
  private readonly pending: { readonly at: number; readonly run: FeedRun }[] = []
  private readonly finals: { readonly lo: number; readonly hi: number }[] = []
  private readonly moved: { lo: number; hi: number; owner: SessionId }[] = []
  private opening: Entry | undefined
  private ticks = 0
  private over = false

  constructor(world: World, job: JobId, hops: number) {
    this.world = world
    this.job = job
    this.lagMs = world.network.latency(hops)
    this.fold = new JobFold(job, {
      ownerChanged: (lo, hi, owner) => this.moved.push({ lo, hi, owner }),
      finalChanged: (lo, hi) => this.finals.push({ lo, hi }),
      rebuilt: () => undefined,
      // One fold for all moves an instant before its peers are told: one of them may still act on what it knew. Small meshes, each
      // peer with a fold of its own, check this.
      breach: () => undefined,
      forked: () => undefined,
    })
    this.everyTick()
  }

  holds(hash: EntryHash): boolean {
    return this.fold.entry(hash) !== undefined
  }

  foldFor(process: Process): MakeFold {
    return (job, listener) => {
      const small = this.world.hosts.length <= FULL_VIEW_PEERS
      const near = (): Iterable<SessionId> =>
        [...process.links.values()].map(({ facts }) => facts.session)
      const all = (): Iterable<SessionId> => this.fold.openOf.keys()
      const fold = new SharedFold(job, listener, this, small ? all : near)
      this.folds.set(process.facts.session, fold)
      return fold
    }
  }

  publish(run: FeedRun): void {
    this.published += 1
    this.pending.push({ at: this.world.clock.now, run })
  }

  /** All that is under way arrives: at the end of a run. */
  settle(): void {
    this.advance(Number.POSITIVE_INFINITY)
  }

  private everyTick(): void {
    this.world.clock.after(TICK_MS, () => {
      this.advance(this.world.clock.now - this.lagMs)
      this.ticks += 1
      this.everyTick()
    })
  }

  private advance(until: number): void {
    let count = 0
    const woken = new Set<Process>()
    for (; count < this.pending.length && this.pending[count]!.at <= until; count += 1) {
      const { feed, upTo } = this.pending[count]!.run
      const from = this.have[feed.index] ?? 0
      for (let i = from; i < upTo; i += 1) this.take(feed.entries[i]!, woken)
      if (upTo > from) this.have[feed.index] = upTo
    }
    this.pending.splice(0, count)
    if (count === 0 && until < Number.POSITIVE_INFINITY) return
    const live = this.world.honest()
    for (const { facts } of live) this.folds.get(facts.session)?.rebase()
    if (this.opening === undefined) return
    const over = this.fold.final.size >= this.fold.items
    const everyone = over && !this.over
    this.over = over
    for (const process of live) this.tell(process, woken.has(process) || everyone)
  }

  /** A process that something concerns, or that does not know the job, gets an event, so that it looks. */
  private tell(process: Process, woken: boolean): void {
    const known = process.jobs.has(this.job)
    const notices = known && (process.host.index + this.ticks) % NOTICE_TICKS === 0
    if (known && !woken && !notices) return
    const entries = notices ? this.lastOfNeighbours(process) : [this.opening!]
    process.jobs.add(this.job)
    process.run('io', () => this.handIn(process, entries))
  }

  /** What everybody knows is handed to one, as news. */
  handIn(process: Process, entries: readonly Entry[]): void {
    const before = this.folds.get(process.facts.session)
    if (before !== undefined) before.news = true
    process.handle({ type: 'entriesReceived', entries, from: undefined })
    const fold = this.folds.get(process.facts.session)
    if (fold !== undefined) fold.news = false
  }

  get jobEntry(): Entry | undefined {
    return this.opening
  }

  private lastOfNeighbours(process: Process): Entry[] {
    const entries: Entry[] = [this.opening!]
    for (const far of process.links.values()) {
      const feed = far.ownFeed(this.job)
      const last = feed.entries[(this.have[feed.index] ?? 0) - 1]
      if (last !== undefined) entries.push(last)
    }
    return entries
  }

  /** Into the shared fold; those whom it concerns, and who do not know it yet, hear of it. */
  private take(entry: Entry, woken: Set<Process>): void {
    if (entry.body.type === 'job') this.opening ??= entry
    const before = claimsOf(entry, this.fold.items).flatMap(({ lo, hi }) =>
      this.fold.owners.overlapping(lo, hi).map(({ owner }) => owner),
    )
    this.fold.add(entry)
    this.fold.takeChange()
    for (const { lo, hi, owner } of this.moved.splice(0)) {
      for (const session of new Set([owner, ...before])) {
        this.each(session, entry, woken, (fold) => {
          // Over part of it the peer may know of a stronger claim.
          for (const span of fold.owners.within(lo, hi)) {
            fold.ears.ownerChanged(span.lo, span.hi, span.owner)
          }
        })
      }
    }
    for (const { lo, hi } of this.finals.splice(0)) {
      const told = new Set<SessionId>()
      for (const { owner } of this.fold.owners.overlapping(lo, hi)) told.add(owner)
      for (const session of this.world.copiers) told.add(session)
      for (const session of told) {
        this.each(session, entry, woken, (fold) => fold.ears.finalChanged(lo, hi))
      }
    }
  }

  private each(
    session: SessionId,
    entry: Entry,
    woken: Set<Process>,
    tell: (fold: SharedFold) => void,
  ): void {
    const fold = this.folds.get(session)
    const process = this.world.processOf(session)
    if (fold === undefined || process?.alive !== true || fold.knows(entry.hash)) return
    tell(fold)
    woken.add(process)
  }
}
