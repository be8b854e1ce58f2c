import type { Context, Invariant } from './context.ts'
import { MAX_SLACK } from './world.ts'

// ---------------------------------------------------------------- chunks

/** `peer` starts a chunk, or ends the one that it runs. */
export function runs(world: Context, peer: number): void {
  const { row, shape, rules } = world
  const busy = shape.busy(row, peer)
  const moves = rules.of(shape.view(row, peer), world.session(peer), busy)
  for (const chunk of moves.starts) {
    const next = world.begin()
    const { lo, hi } = rules.chunk(chunk)
    let broken: Invariant | undefined
    for (let item = lo; item < hi; item += 1) {
      const slack = shape.slack(row, item)
      if (slack === 0) broken = undisturbed(world) ? 'I4' : 'I7'
      else shape.setSlack(next, item, slack - 1)
    }
    shape.setBusy(next, peer, chunk)
    world.tell('start', peer, chunk, 0, true, broken)
  }
  if (moves.finish === undefined) return
  shape.setBusy(world.begin(), peer, 0)
  if (moves.finish === 0) world.tell('abort', peer, 0, 0, true, undefined)
  else world.append('finish', peer, moves.finish, true)
}

function undisturbed({ row, shape }: Context): boolean {
  const faults = shape.count(row, 'crashes') + shape.count(row, 'forks')
  return faults === 0 && !shape.reclaimed(row)
}

// ---------------------------------------------------------------- ownership

/** `peer` grants, releases, reclaims. */
export function writes(world: Context, peer: number): void {
  const { row, shape, rules } = world
  const moves = rules.of(shape.view(row, peer), world.session(peer), shape.busy(row, peer))
  if (moves.grants.length > 0 && shape.mayStill(row, 'grants')) {
    for (const { to, entry } of moves.grants) {
      if (world.current(to)) grant(world, peer, to, entry)
    }
  }
  if (moves.release !== undefined && shape.mayStill(row, 'releases')) {
    shape.add(world.begin(), 'releases')
    world.append('release', peer, moves.release, false)
  }
  for (const { from, items, entry } of moves.reclaims) reclaim(world, peer, from, items, entry)
}

function grant(world: Context, peer: number, to: number, entry: number): void {
  world.shape.add(world.begin(), 'grants')
  if (world.has('sendsUnwritten')) {
    const thief = world.layout.peerOf(to)
    world.tell('leak', peer, entry, thief, false, world.take(thief, entry))
    return
  }
  world.append('grant', peer, entry, false)
}

function reclaim(world: Context, peer: number, from: number, items: number, entry: number): void {
  const { row, shape } = world
  const due =
    from < 0 ||
    !world.current(from) ||
    world.info(row, peer).cut[from] !== 0 ||
    stalled(world, peer, from, items)
  if (!due && !shape.mayStill(row, 'suspicions')) return
  const next = world.begin()
  shape.setReclaimed(next)
  if (!due) shape.add(next, 'suspicions')
  for (const item of world.itemsOf(items)) {
    const slack = shape.slack(row, item) + 1
    if (slack > MAX_SLACK) return
    shape.setSlack(next, item, slack)
  }
  world.append(due ? 'reclaim' : 'suspect', peer, entry, due)
}

/**
 * Nothing is on its way to either, and yet the live owner does not think that it owns those items: no progress would ever come of it.
 * (After a FORK peers can differ for good: what was granted out of an entry behind the cut is left out by those who have that entry.)
 */
function stalled(world: Context, peer: number, from: number, items: number): boolean {
  const { row, shape, layout, rules } = world
  const owner = layout.peerOf(from)
  const info = world.info(row, owner)
  if (!info.hasJob) return false
  if (!quiet(world, peer) || !quiet(world, owner)) return false
  if ((rules.chunk(shape.busy(row, owner)).mask & items) !== 0) return false
  return world.itemsOf(items).every((item) => info.owner[item] !== from)
}

// ---------------------------------------------------------------- deliveries

/** The next entry of each feed that someone else holds; of two that contradict each other, the proof. */
export function receives(world: Context, peer: number): void {
  for (let feed = 0; feed < world.layout.sessions; feed += 1) {
    let told = 0
    for (let other = 0; other < world.layout.peers; other += 1) {
      const offered = offer(world, peer, other, feed)
      if (offered === 0 || offered === told) continue
      told = offered
      world.begin()
      if (offered < 0) prove(world, peer, feed, -offered)
      else world.tell('deliver', peer, offered, 0, true, world.take(peer, offered))
    }
  }
}

function prove(world: Context, peer: number, feed: number, seq: number): void {
  const session = world.session(peer)
  const head = world.info(world.row, peer).heads[session]!
  const halves = { first: Uint8Array.of(feed, seq), second: new Uint8Array() }
  const entry = world.book.write(session, head, { type: 'fork', ...halves })
  world.append('prove', peer, entry, true)
}

/** Nobody has anything for `peer` that it would take. */
function quiet(world: Context, peer: number): boolean {
  for (let feed = 0; feed < world.layout.sessions; feed += 1) {
    for (let other = 0; other < world.layout.peers; other += 1) {
      if (offer(world, peer, other, feed) !== 0) return false
    }
  }
  return true
}

/** What `peer` could get from `other` of a feed: the next entry, minus the seq of a fork that they prove together, or 0. */
function offer(world: Context, peer: number, other: number, feed: number): number {
  const { row, book } = world
  if (other === peer || !world.isUp(other)) return 0
  const mine = world.info(row, peer)
  const head = mine.heads[feed]!
  const theirs = world.info(row, other).heads[feed]!
  if (theirs === head || theirs === 0 || book.continues(head, theirs)) return 0
  const cut = mine.cut[feed]!
  const forked = !book.continues(theirs, head)
  const seq = forked ? book.forkSeq(head, theirs) : book.seqOf(head) + 1
  if (cut !== 0 && cut <= seq) return 0
  if (!forked) return book.ancestor(theirs, seq)
  // The forker itself says nothing of it; one whose own feed is cut writes no more.
  const silent = world.layout.peerOf(feed) === peer || mine.cut[world.session(peer)] !== 0
  return silent ? 0 : -seq
}
