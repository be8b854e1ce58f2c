import type { JobId, JobSpec } from '../../src/scheduler/types.ts'
import { type Bounds, Layout, peerName } from './bounds.ts'
import { EntryBook } from './entry-book.ts'
import { makeFolder } from './facts.ts'
import { maskOf, OwnRules } from './own-moves.ts'
import { type ViewInfo, Views } from './views.ts'
import { DOWN, GONE, MAX_SLACK, UP, WorldShape } from './world.ts'

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

/** The protocol as peers that act on the real fold, under faults: which worlds can follow a world. */
export class Model {
  readonly bounds: Bounds
  readonly layout: Layout
  readonly book: EntryBook
  readonly views: Views
  readonly rules: OwnRules
  readonly shape: WorldShape
  /** The mask of all items. */
  private readonly all: number
  private readonly next: Int32Array
  private readonly leaks: boolean
  private readonly reopens: boolean
  private row: Int32Array
  private visit: Visit = () => undefined

  constructor(bounds: Bounds) {
    if (bounds.peers > 4 || bounds.items > 6 || bounds.restarts > 3) {
      throw new Error('at most 4 peers, 6 items and 3 restarts')
    }
    const job = `${bounds.salt} job` as JobId
    this.bounds = bounds
    this.layout = new Layout(bounds)
    this.book = new EntryBook(this.layout, job)
    const fold = makeFolder(this.layout, job, bounds.items, bounds.foldBugs)
    this.views = new Views(this.layout, this.book, fold)
    this.rules = new OwnRules(bounds, this.layout, this.book, this.views)
    this.shape = new WorldShape(bounds, this.layout)
    this.all = maskOf(0, bounds.items)
    this.next = new Int32Array(this.shape.stride)
    this.row = this.next
    this.leaks = bounds.actionBugs.includes('sendsUnwritten')
    this.reopens = bounds.actionBugs.includes('continuesFeed')
  }

  /** Peer 0 has written the JOB. */
  first(): Int32Array {
    const { bounds, layout, shape } = this
    const spec = { input: { kind: 'range', start: 0, count: bounds.items }, options: {} }
    const seeds = bounds.seeds.map(([lo, hi, peer]) => ({
      lo,
      hi,
      to: layout.sessionId(layout.session(peer, 0)),
    }))
    const body = { type: 'job', spec: spec as unknown as JobSpec, at: 0, seeds } as const
    const view = this.views.with(0, this.book.write(0, 0, body))
    const row = new Int32Array(shape.stride)
    for (let peer = 0; peer < layout.peers; peer += 1) {
      shape.setPeer(row, peer, UP, 0, 0)
      shape.setView(row, peer, peer === 0 || bounds.jobEverywhere ? view : 0)
    }
    for (let item = 0; item < bounds.items; item += 1) shape.setSlack(row, item, 1)
    return row
  }

  successors(row: Int32Array, visit: Visit): void {
    this.row = row
    this.visit = visit
    for (let peer = 0; peer < this.layout.peers; peer += 1) {
      const status = this.shape.status(row, peer)
      if (status === DOWN) this.restart(peer)
      if (status !== UP) continue
      this.runs(peer)
      this.writes(peer)
      this.receives(peer)
      if (this.shape.mayStill(row, 'crashes')) this.crashes(peer)
      if (this.shape.mayStill(row, 'forks')) this.forks(peer)
    }
  }

  /** What I6 asks of a world: that everyone it speaks of has all items final. Vacuous: there is no one. */
  goal(row: Int32Array): boolean {
    for (let peer = 0; peer < this.layout.peers; peer += 1) {
      if (this.shape.status(row, peer) !== UP) continue
      if (((this.shape.forkers(row) >> peer) & 1) === 1) continue
      const info = this.info(row, peer)
      if (info.hasJob && info.final !== this.all) return false
    }
    return true
  }

  /** Nothing that could break an invariant is left to happen: every peer has all items final. */
  over(row: Int32Array): boolean {
    for (let peer = 0; peer < this.layout.peers; peer += 1) {
      const status = this.shape.status(row, peer)
      if (status !== GONE && this.info(row, peer).final !== this.all) return false
    }
    return true
  }

  info(row: Int32Array, peer: number): ViewInfo {
    return this.views.info(this.shape.view(row, peer))
  }

  private session(peer: number): number {
    return this.layout.session(peer, this.shape.sessionNumber(this.row, peer))
  }

  private begin(): Int32Array {
    this.next.set(this.row)
    return this.next
  }

  private tell(
    kind: Move['kind'],
    peer: number,
    what: number,
    other: number,
    helpful: boolean,
    broken: Invariant | undefined,
  ): void {
    this.visit(this.next, { kind, peer, what, other }, helpful, broken)
  }

  // ------------------------------------------------------------ chunks

  private runs(peer: number): void {
    const { row, shape } = this
    const busy = shape.busy(row, peer)
    const moves = this.rules.of(shape.view(row, peer), this.session(peer), busy)
    for (const chunk of moves.starts) {
      const next = this.begin()
      const { lo, hi } = this.rules.chunk(chunk)
      let broken: Invariant | undefined
      for (let item = lo; item < hi; item += 1) {
        const slack = shape.slack(row, item)
        if (slack === 0) broken = this.undisturbed() ? 'I4' : 'I7'
        else shape.setSlack(next, item, slack - 1)
      }
      shape.setBusy(next, peer, chunk)
      this.tell('start', peer, chunk, 0, true, broken)
    }
    if (moves.finish === undefined) return
    shape.setBusy(this.begin(), peer, 0)
    if (moves.finish === 0) this.tell('abort', peer, 0, 0, true, undefined)
    else this.append('finish', peer, moves.finish, true)
  }

  private undisturbed(): boolean {
    const { row, shape } = this
    const faults = shape.count(row, 'crashes') + shape.count(row, 'forks')
    return faults === 0 && !shape.reclaimed(row)
  }

  // ------------------------------------------------------------ entries

  private writes(peer: number): void {
    const { row, shape } = this
    const moves = this.rules.of(shape.view(row, peer), this.session(peer), shape.busy(row, peer))
    if (moves.grants.length > 0 && shape.mayStill(row, 'grants')) {
      for (const { to, entry } of moves.grants) if (this.current(to)) this.grant(peer, to, entry)
    }
    if (moves.release !== undefined && shape.mayStill(row, 'releases')) {
      shape.add(this.begin(), 'releases')
      this.append('release', peer, moves.release, false)
    }
    for (const { from, items, entry } of moves.reclaims) this.reclaim(peer, from, items, entry)
  }

  private grant(peer: number, to: number, entry: number): void {
    const { row, shape, next, views } = this
    shape.add(this.begin(), 'grants')
    if (!this.leaks) {
      this.append('grant', peer, entry, false)
      return
    }
    const thief = this.layout.peerOf(to)
    shape.setView(next, thief, views.with(shape.view(row, thief), entry))
    this.tell('leak', peer, entry, thief, false, this.judge(thief, entry))
  }

  /** Whether that session runs now. */
  private current(session: number): boolean {
    const peer = this.layout.peerOf(session)
    return this.shape.status(this.row, peer) === UP && this.session(peer) === session
  }

  private reclaim(peer: number, from: number, items: number, entry: number): void {
    const { row, shape } = this
    const due = from < 0 || !this.current(from) || this.info(row, peer).cut[from] !== 0
    if (!due && !shape.mayStill(row, 'suspicions')) return
    const next = this.begin()
    shape.setReclaimed(next)
    if (!due) shape.add(next, 'suspicions')
    for (let item = 0; item < this.bounds.items; item += 1) {
      if (((items >> item) & 1) === 0) continue
      const slack = shape.slack(row, item) + 1
      if (slack > MAX_SLACK) return
      shape.setSlack(next, item, slack)
    }
    this.append(due ? 'reclaim' : 'suspect', peer, entry, due)
  }

  /** `peer` writes an entry: it is in its view at once. */
  private append(kind: Move['kind'], peer: number, entry: number, helpful: boolean): void {
    const { shape } = this
    shape.setView(this.next, peer, this.views.with(shape.view(this.row, peer), entry))
    const broken = this.contradicted(peer, entry) ? 'I9' : this.judge(peer, entry)
    this.tell(kind, peer, entry, 0, helpful, broken)
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

  /** What is wrong with the new view of `peer`, that `entry` made. */
  private judge(peer: number, entry: number): Invariant | undefined {
    const before = this.info(this.row, peer)
    const after = this.info(this.next, peer)
    if (after.orderMatters) return 'I1'
    if ((after.accused & ~this.shape.forkers(this.next)) !== 0) return 'I5'
    const reopened = before.final & ~after.final
    if (reopened === 0) return undefined
    if (this.book.at(entry).body.type !== 'fork') return 'I2'
    this.allow(reopened)
    return undefined
  }

  /** A FORK allows one more start, as a RECLAIM does: of every item when it is made, and of those that it takes a DONE back of. */
  private allow(items: number): void {
    const { next, shape } = this
    for (let item = 0; item < this.bounds.items; item += 1) {
      if (((items >> item) & 1) === 0) continue
      shape.setSlack(next, item, Math.min(MAX_SLACK, shape.slack(next, item) + 1))
    }
  }

  // ------------------------------------------------------------ deliveries

  /** The next entry of each feed that someone else holds; of two that contradict each other, the proof. */
  private receives(peer: number): void {
    const { row, shape, book, layout } = this
    const mine = this.info(row, peer)
    for (let feed = 0; feed < layout.sessions; feed += 1) {
      const head = mine.heads[feed]!
      let told = 0
      for (let other = 0; other < layout.peers; other += 1) {
        if (other === peer || shape.status(row, other) !== UP) continue
        const theirs = this.info(row, other).heads[feed]!
        if (theirs === head || theirs === 0 || book.continues(head, theirs)) continue
        if (!book.continues(theirs, head)) {
          this.prove(peer, feed, book.forkSeq(head, theirs))
          continue
        }
        const seq = book.seqOf(head) + 1
        const entry = book.ancestor(theirs, seq)
        const cut = mine.cut[feed]!
        if (entry === told || (cut !== 0 && cut <= seq)) continue
        told = entry
        this.begin()
        shape.setView(this.next, peer, this.views.with(shape.view(row, peer), entry))
        this.tell('deliver', peer, entry, 0, true, this.judge(peer, entry))
      }
    }
  }

  private prove(peer: number, feed: number, seq: number): void {
    const info = this.info(this.row, peer)
    const session = this.session(peer)
    const known = info.cut[feed]!
    // The forker itself says nothing of it; one whose own feed is cut writes no more.
    if (this.layout.peerOf(feed) === peer || info.cut[session] !== 0) return
    if (known !== 0 && known <= seq) return
    const halves = { first: Uint8Array.of(feed, seq), second: new Uint8Array() }
    const entry = this.book.write(session, info.heads[session]!, { type: 'fork', ...halves })
    this.begin()
    this.append('prove', peer, entry, true)
  }

  // ------------------------------------------------------------ faults

  private crashes(peer: number): void {
    const { row, shape, bounds } = this
    const gone = this.begin()
    shape.add(gone, 'crashes')
    shape.setPeer(gone, peer, GONE, 0, 0)
    shape.setView(gone, peer, 0)
    this.tell('die', peer, 0, 0, false, undefined)

    let coming = shape.count(row, 'restarts')
    for (let other = 0; other < this.layout.peers; other += 1) {
      if (shape.status(row, other) === DOWN) coming += 1
    }
    if (coming >= bounds.restarts) return
    const losable = this.losable(peer)
    for (let lost = 0; lost <= losable; lost += 1) {
      this.crash(peer, lost, false)
      if (bounds.losesReceived) this.crash(peer, lost, true)
    }
  }

  /** How many of its session's last entries a crash may take. */
  private losable(peer: number): number {
    const { row, book, bounds } = this
    if (bounds.tail === 'kept') return 0
    const session = this.session(peer)
    const head = this.info(row, peer).heads[session]!
    if (bounds.tail === 'any') return book.seqOf(head)
    let elsewhere = 0
    for (let other = 0; other < this.layout.peers; other += 1) {
      if (other === peer) continue
      elsewhere = Math.max(elsewhere, book.seqOf(this.info(row, other).heads[session]!))
    }
    return book.seqOf(head) - elsewhere
  }

  private crash(peer: number, lost: number, received: boolean): void {
    const { row, shape, book, layout } = this
    const session = this.session(peer)
    const { heads } = this.info(row, peer)
    const kept = heads.map((head, feed) => {
      if (feed === session) return book.ancestor(head, book.seqOf(head) - lost)
      return received && layout.peerOf(feed) !== peer ? 0 : head
    })
    const next = this.begin()
    shape.add(next, 'crashes')
    shape.setPeer(next, peer, DOWN, shape.sessionNumber(row, peer), 0)
    shape.setView(next, peer, this.views.of(kept))
    this.tell('crash', peer, lost, received ? 1 : 0, false, undefined)
  }

  private restart(peer: number): void {
    const { row, shape } = this
    const next = this.begin()
    shape.add(next, 'restarts')
    shape.setPeer(next, peer, UP, shape.sessionNumber(row, peer) + (this.reopens ? 0 : 1), 0)
    this.tell('restart', peer, 0, 0, false, undefined)
  }

  /** `peer` writes another entry in the place of its last one, and shows it to someone who has not seen that. */
  private forks(peer: number): void {
    const { row, shape, book } = this
    const session = this.session(peer)
    const { heads } = this.info(row, peer)
    const head = heads[session]!
    if (head === 0 || book.at(head).body.type === 'job') return
    const before = this.views.of(
      heads.map((one, feed) => (feed === session ? book.prevOf(head) : one)),
    )
    for (let other = 0; other < this.layout.peers; other += 1) {
      if (other === peer || shape.status(row, other) !== UP) continue
      if (this.info(row, other).heads[session] !== book.prevOf(head)) continue
      for (const entry of this.alternatives(before, session)) {
        if (entry === head) continue
        const next = this.begin()
        shape.add(next, 'forks')
        shape.addForker(next, peer)
        this.allow(this.all)
        shape.setView(next, other, this.views.with(shape.view(row, other), entry))
        this.tell('fork', peer, entry, other, false, this.judge(other, entry))
      }
    }
  }

  private alternatives(view: number, session: number): number[] {
    const moves = this.rules.of(view, session, 0)
    const entries = moves.grants.map(({ entry }) => entry)
    if (moves.release !== undefined) entries.push(moves.release)
    for (const { entry } of moves.reclaims) entries.push(entry)
    for (const chunk of moves.starts) {
      const { finish } = this.rules.of(view, session, chunk)
      if (finish !== undefined && finish !== 0) entries.push(finish)
    }
    return entries
  }

  // ------------------------------------------------------------ in words

  describe(move: Move): string {
    const { book } = this
    const who = peerName(move.peer)
    const entry = (): string => book.describe(move.what)
    switch (move.kind) {
      case 'start': {
        const { lo, hi } = this.rules.chunk(move.what)
        return `${who} starts ${lo}..${hi}`
      }
      case 'abort':
        return `${who} stops its chunk: all of it is final`
      case 'deliver':
        return `${who} gets ${entry()}`
      case 'suspect':
        return `${who} takes a live session for dead and writes ${entry()}`
      case 'leak':
        return `${who} sends ${peerName(move.other)} ${entry()}, whose write then fails`
      case 'fork':
        return `${who} shows ${peerName(move.other)} ${entry()} in place of what it wrote with that seq`
      case 'die':
        return `${who} dies for good`
      case 'crash':
        return `${who} crashes; its disk loses ${move.what} of its own last entries${move.other === 1 ? ' and all it got from others' : ''}`
      case 'restart':
        return `${who} starts again`
      default:
        return `${who} writes ${entry()}`
    }
  }
}
