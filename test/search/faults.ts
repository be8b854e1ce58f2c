import type { Context } from './context.ts'
import { DOWN, GONE, UP } from './world.ts'

/** `peer` dies for good, or goes down with some of its disk lost. */
export function crashes(world: Context, peer: number): void {
  const { shape, bounds } = world
  const gone = world.begin()
  shape.add(gone, 'crashes')
  shape.setPeer(gone, peer, GONE, 0, 0)
  shape.setView(gone, peer, 0)
  world.tell('die', peer, 0, 0, false, undefined)

  let coming = shape.count(world.row, 'restarts')
  for (let other = 0; other < world.layout.peers; other += 1) {
    if (shape.status(world.row, other) === DOWN) coming += 1
  }
  if (coming >= bounds.restarts) return
  const most = losable(world, peer)
  for (let lost = 0; lost <= most; lost += 1) {
    crash(world, peer, lost, false)
    if (bounds.losesReceived) crash(world, peer, lost, true)
  }
}

/** How many of its session's last entries a crash may take. */
function losable(world: Context, peer: number): number {
  const { row, book, bounds } = world
  if (bounds.tail === 'kept') return 0
  const session = world.session(peer)
  const written = book.seqOf(world.info(row, peer).heads[session]!)
  if (bounds.tail === 'any') return written
  let elsewhere = 0
  for (let other = 0; other < world.layout.peers; other += 1) {
    if (other === peer) continue
    elsewhere = Math.max(elsewhere, book.seqOf(world.info(row, other).heads[session]!))
  }
  return written - elsewhere
}

function crash(world: Context, peer: number, lost: number, received: boolean): void {
  const { row, shape, book, layout } = world
  const session = world.session(peer)
  const kept = world.info(row, peer).heads.map((head, feed) => {
    if (feed === session) return book.ancestor(head, book.seqOf(head) - lost)
    return received && layout.peerOf(feed) !== peer ? 0 : head
  })
  const next = world.begin()
  shape.add(next, 'crashes')
  shape.setPeer(next, peer, DOWN, shape.sessionNumber(row, peer), 0)
  shape.setView(next, peer, world.views.of(kept))
  world.tell('crash', peer, lost, received ? 1 : 0, false, undefined)
}

export function restarts(world: Context, peer: number): void {
  const { row, shape } = world
  const next = world.begin()
  const number = shape.sessionNumber(row, peer) + (world.has('continuesFeed') ? 0 : 1)
  shape.add(next, 'restarts')
  shape.setPeer(next, peer, UP, number, 0)
  world.tell('restart', peer, 0, 0, false, undefined)
}

/** `peer` writes another entry in the place of its last one, and shows it to someone who has not seen that. */
export function forks(world: Context, peer: number): void {
  const { row, shape, book } = world
  const session = world.session(peer)
  const { heads } = world.info(row, peer)
  const head = heads[session]!
  if (head === 0 || book.at(head).body.type === 'job') return
  const prev = book.prevOf(head)
  const before = world.views.of(heads.map((one, feed) => (feed === session ? prev : one)))
  for (let other = 0; other < world.layout.peers; other += 1) {
    if (other === peer || !world.isUp(other)) continue
    if (world.info(row, other).heads[session] !== prev) continue
    for (const entry of alternatives(world, before, session)) {
      if (entry === head) continue
      const next = world.begin()
      shape.add(next, 'forks')
      shape.addForker(next, peer)
      world.allow(world.all)
      world.tell('fork', peer, entry, other, false, world.take(other, entry))
    }
  }
}

/** All that the session could have written then. */
function alternatives({ rules }: Context, view: number, session: number): number[] {
  const moves = rules.of(view, session, 0)
  const entries = moves.grants.map(({ entry }) => entry)
  if (moves.release !== undefined) entries.push(moves.release)
  for (const { entry } of moves.reclaims) entries.push(entry)
  for (const chunk of moves.starts) {
    const { finish } = rules.of(view, session, chunk)
    if (finish !== undefined && finish !== 0) entries.push(finish)
  }
  return entries
}
