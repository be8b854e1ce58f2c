import type { JobId } from '../../src/scheduler/types.ts'
import { type ActionBug, type Bounds, Layout } from './bounds.ts'
import { EntryBook } from './entry-book.ts'
import { makeFolder } from './facts.ts'
import { maskOf, OwnRules } from './own-moves.ts'
import { type ViewInfo, Views } from './views.ts'
import { GONE, MAX_SLACK, UP, WorldShape } from './world.ts'

/**
 * What can be found broken. I9 here: an honest feed has two entries with one seq. I5: an honest peer is accused of a breach.
 * I6 is a matter of where one can get to, and is left to the search.
 */
export type Invariant = 'I1' | 'I2' | 'I4' | 'I5' | 'I6' | 'I7' | 'I9'

export interface Move {
  readonly kind:
    | 'start'
    | 'finish'
    | 'abort'
    | 'grant'
    | 'release'
    | 'reclaim'
    | 'suspect'
    | 'deliver'
    | 'prove'
    | 'fork'
    | 'leak'
    | 'crash'
    | 'die'
    | 'restart'
  readonly peer: number
  /** The chunk of a start; of a crash the entries lost; else the entry written or delivered. */
  readonly what: number
  /** Who gets the entry of a fork or leak; of a crash: 1 when what came from others is lost too. */
  readonly other: number
}

/** Told of each world that can come next; the row is only lent. `helpful`: it takes no fault and no choice that could be left. */
export type Visit = (
  next: Int32Array,
  move: Move,
  helpful: boolean,
  broken: Invariant | undefined,
) => void

/** The world that is looked at, the one that is being made of it, and what all steps do with them. */
export class Context {
  readonly bounds: Bounds
  readonly layout: Layout
  readonly book: EntryBook
  readonly views: Views
  readonly rules: OwnRules
  readonly shape: WorldShape
  /** The mask of all items. */
  readonly all: number
  readonly next: Int32Array
  row: Int32Array
  visit: Visit = () => undefined
  private readonly bugs: ReadonlySet<ActionBug>

  constructor(bounds: Bounds) {
    if (bounds.peers > 4 || bounds.items > 6 || bounds.restarts > 3) {
      throw new Error('at most 4 peers, 6 items and 3 restarts')
    }
    const job = `${bounds.salt} job` as JobId
    this.bounds = bounds
    this.bugs = new Set(bounds.actionBugs)
    this.layout = new Layout(bounds)
    this.book = new EntryBook(this.layout, job)
    const fold = makeFolder(this.layout, job, bounds.items, bounds.foldBugs)
    this.views = new Views(this.layout, this.book, fold)
    this.rules = new OwnRules(bounds, this.layout, this.book, this.views)
    this.shape = new WorldShape(bounds, this.layout)
    this.all = maskOf(0, bounds.items)
    this.next = new Int32Array(this.shape.stride)
    this.row = this.next
  }

  has(bug: ActionBug): boolean {
    return this.bugs.has(bug)
  }

  // ------------------------------------------------------------ reading

  info(row: Int32Array, peer: number): ViewInfo {
    return this.views.info(this.shape.view(row, peer))
  }

  session(peer: number): number {
    return this.layout.session(peer, this.shape.sessionNumber(this.row, peer))
  }

  isUp(peer: number): boolean {
    return this.shape.status(this.row, peer) === UP
  }

  /** Whether that session runs now. */
  current(session: number): boolean {
    const peer = this.layout.peerOf(session)
    return this.isUp(peer) && this.session(peer) === session
  }

  /** Items of the mask, one by one. */
  itemsOf(mask: number): number[] {
    const items: number[] = []
    for (let item = 0; item < this.bounds.items; item += 1) {
      if (((mask >> item) & 1) === 1) items.push(item)
    }
    return items
  }

  // ------------------------------------------------------------ making the next one

  begin(): Int32Array {
    this.next.set(this.row)
    return this.next
  }

  tell(
    kind: Move['kind'],
    peer: number,
    what: number,
    other: number,
    helpful: boolean,
    broken: Invariant | undefined,
  ): void {
    this.visit(this.next, { kind, peer, what, other }, helpful, broken)
  }

  /** `entry` comes into the view of `peer`; what is wrong with that. */
  take(peer: number, entry: number): Invariant | undefined {
    const { row, next, shape } = this
    shape.setView(next, peer, this.views.with(shape.view(row, peer), entry))
    const before = this.info(row, peer)
    const after = this.info(next, peer)
    if (after.orderMatters) return 'I1'
    if ((after.accused & ~shape.forkers(next)) !== 0) return 'I5'
    const reopened = before.final & ~after.final
    if (reopened === 0) return undefined
    if (this.book.at(entry).body.type !== 'fork') return 'I2'
    this.allow(reopened)
    return undefined
  }

  /** `peer` writes an entry: it is in its view at once. */
  append(kind: Move['kind'], peer: number, entry: number, helpful: boolean): void {
    const wrong = this.take(peer, entry)
    this.tell(kind, peer, entry, 0, helpful, this.contradicted(peer, entry) ? 'I9' : wrong)
  }

  /** A FORK allows one more start, as a RECLAIM does: of every item when it is made, and of those that it takes a DONE back of. */
  allow(items: number): void {
    const { next, shape } = this
    for (const item of this.itemsOf(items)) {
      shape.setSlack(next, item, Math.min(MAX_SLACK, shape.slack(next, item) + 1))
    }
  }

  /** Whether someone holds another entry with its seq, though its author is honest. */
  private contradicted(peer: number, entry: number): boolean {
    const { row, shape, book } = this
    if (((shape.forkers(row) >> peer) & 1) === 1) return false
    const feed = book.feedOf(entry)
    for (let other = 0; other < this.layout.peers; other += 1) {
      if (other === peer || shape.status(row, other) === GONE) continue
      if (!book.continues(entry, this.info(row, other).heads[feed]!)) return true
    }
    return false
  }
}
