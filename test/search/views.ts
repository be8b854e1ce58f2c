import type { Entry } from '../../src/scheduler/types.ts'
import type { Layout } from './bounds.ts'
import type { EntryBook } from './entry-book.ts'
import type { Facts, Folder } from './facts.ts'

/** By item: an entry that leads back to the JOB, and its epoch and hop. */
export interface Reclaimable {
  readonly claim: readonly number[]
  readonly epoch: readonly number[]
  readonly hop: readonly number[]
}

/** What a view says, in numbers. */
export interface ViewInfo {
  /** Last entry held of each session's feed; 0: none of it. */
  readonly heads: readonly number[]
  readonly hasJob: boolean
  /** By item: the owning session (-1: nobody), the entry that made it so, epoch and hop. */
  readonly owner: readonly number[]
  readonly claim: readonly number[]
  readonly epoch: readonly number[]
  readonly hop: readonly number[]
  /** What a RECLAIM of the item names. */
  readonly root: Reclaimable
  readonly final: number
  readonly accused: number
  /** By session: the first seq that a FORK cut; 0: none. */
  readonly cut: readonly number[]
  /** The same entries in another order gave another result. */
  readonly orderMatters: boolean
  /** What a peer can do of its own accord; filled in by the model. */
  readonly moves: Map<number, unknown>
}

/**
 * Every set of entries that a peer held in any explored world, by a small number, and its fold, computed once. 0 is the empty set. A
 * peer holds a prefix of each feed, so a set is one feed end for each session.
 */
export class Views {
  private readonly layout: Layout
  private readonly book: EntryBook
  private readonly fold: Folder
  private readonly infos: ViewInfo[] = []
  private readonly ids = new Map<string, number>()
  private readonly steps = new Map<number, number>()

  constructor(layout: Layout, book: EntryBook, fold: Folder) {
    this.layout = layout
    this.book = book
    this.fold = fold
    this.of(new Array<number>(layout.sessions).fill(0))
  }

  get size(): number {
    return this.infos.length
  }

  info(view: number): ViewInfo {
    return this.infos[view]!
  }

  of(heads: readonly number[]): number {
    const key = heads.join()
    let view = this.ids.get(key)
    if (view === undefined) {
      view = this.infos.length
      this.infos.push(this.read(heads))
      this.ids.set(key, view)
    }
    return view
  }

  /** The view with that entry as the end of its feed. */
  with(view: number, entry: number): number {
    const step = view * 2 ** 24 + entry
    let next = this.steps.get(step)
    if (next === undefined) {
      const heads = [...this.info(view).heads]
      heads[this.book.feedOf(entry)] = entry
      next = this.of(heads)
      this.steps.set(step, next)
    }
    return next
  }

  private read(heads: readonly number[]): ViewInfo {
    const { book, layout } = this
    const entries = heads.flatMap((head) => book.feed(head))
    const cut = new Array<number>(layout.sessions).fill(0)
    for (const { body } of entries) {
      if (body.type !== 'fork') continue
      const [session, seq] = body.first
      if (cut[session!] === 0 || seq! < cut[session!]!) cut[session!] = seq!
    }
    const facts = this.fold(entries)
    const owners = facts.owners
    return {
      heads,
      hasJob: facts.hasJob,
      owner: owners.map(({ owner }) => layout.sessionIndex(owner)),
      claim: owners.map(({ hash }) => book.idOf(hash as never)),
      epoch: owners.map(({ epoch }) => epoch),
      hop: owners.map(({ hop }) => hop),
      root: {
        claim: facts.rooted.map(({ hash }) => book.idOf(hash as never)),
        epoch: facts.rooted.map(({ epoch }) => epoch),
        hop: facts.rooted.map(({ hop }) => hop),
      },
      final: facts.final,
      accused: facts.accused,
      cut,
      orderMatters: this.orderMatters(entries, facts),
      moves: new Map(),
    }
  }

  /** I1: backwards, and dealt out as cards are, must give the same. */
  private orderMatters(entries: readonly Entry[], facts: Facts): boolean {
    if (entries.length < 2) return false
    const backwards = this.fold([...entries].reverse())
    if (!equal(backwards, facts)) return true
    if (this.infos.length % 8 !== 0) return false
    const odd = entries.filter((_, i) => i % 2 === 1)
    const even = entries.filter((_, i) => i % 2 === 0)
    return !equal(this.fold([...odd, ...even.reverse(), ...odd]), facts)
  }
}

function equal(a: Facts, b: Facts): boolean {
  if (a.hasJob !== b.hasJob || a.final !== b.final || a.accused !== b.accused) return false
  if (a.owners.length !== b.owners.length) return false
  return a.owners.every((one, item) => {
    const other = b.owners[item]!
    return one.hash === other.hash && one.owner === other.owner && one.epoch === other.epoch
  })
}
