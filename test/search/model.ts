import type { JobSpec } from '../../src/scheduler/types.ts'
import { type Bounds, peerName } from './bounds.ts'
import { Context, type Move, type Visit } from './context.ts'
import { crashes, forks, restarts } from './faults.ts'
import { receives, runs, writes } from './steps.ts'
import { DOWN, GONE, UP } from './world.ts'

/** The protocol as peers that act on the real fold, under faults: which worlds can follow a world. */
export class Model {
  readonly stride: number
  private readonly world: Context

  constructor(bounds: Bounds) {
    this.world = new Context(bounds)
    this.stride = this.world.shape.stride
  }

  /** Sets of entries that were folded so far. */
  get views(): number {
    return this.world.views.size
  }

  /** Entries that were written so far. */
  get entries(): number {
    return this.world.book.size
  }

  /** Peer 0 has written the JOB. */
  first(): Int32Array {
    const { bounds, layout, shape, views, book } = this.world
    const spec = { input: { kind: 'range', start: 0, count: bounds.items }, options: {} }
    const seeds = bounds.seeds.map(([lo, hi, peer]) => ({
      lo,
      hi,
      to: layout.sessionId(layout.session(peer, 0)),
    }))
    const body = { type: 'job', spec: spec as unknown as JobSpec, at: 0, seeds } as const
    const view = views.with(0, book.write(0, 0, body))
    const row = new Int32Array(shape.stride)
    for (let peer = 0; peer < layout.peers; peer += 1) {
      shape.setPeer(row, peer, UP, 0, 0)
      shape.setView(row, peer, peer === 0 || bounds.jobEverywhere ? view : 0)
    }
    for (let item = 0; item < bounds.items; item += 1) shape.setSlack(row, item, 1)
    return row
  }

  successors(row: Int32Array, visit: Visit): void {
    const { world } = this
    world.row = row
    world.visit = visit
    for (let peer = 0; peer < world.layout.peers; peer += 1) {
      const status = world.shape.status(row, peer)
      if (status === DOWN) restarts(world, peer)
      if (status !== UP) continue
      runs(world, peer)
      writes(world, peer)
      receives(world, peer)
      if (world.shape.mayStill(row, 'crashes')) crashes(world, peer)
      if (world.shape.mayStill(row, 'forks')) forks(world, peer)
    }
  }

  /** What I6 asks of a world: that every live, honest peer that has the JOB has all items final. Vacuous where there is none. */
  goal(row: Int32Array): boolean {
    const { world } = this
    for (let peer = 0; peer < world.layout.peers; peer += 1) {
      if (world.shape.status(row, peer) !== UP) continue
      if (((world.shape.forkers(row) >> peer) & 1) === 1) continue
      const info = world.info(row, peer)
      if (info.hasJob && info.final !== world.all) return false
    }
    return true
  }

  /** Every peer that is left has all items final: nothing is looked for behind that. */
  over(row: Int32Array): boolean {
    const { world } = this
    for (let peer = 0; peer < world.layout.peers; peer += 1) {
      const gone = world.shape.status(row, peer) === GONE
      if (!gone && world.info(row, peer).final !== world.all) return false
    }
    return true
  }

  /** A move in words. */
  describe(move: Move): string {
    const { book, rules } = this.world
    const who = peerName(move.peer)
    const entry = (): string => book.describe(move.what)
    switch (move.kind) {
      case 'start': {
        const { lo, hi } = rules.chunk(move.what)
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
      case 'crash': {
        const received = move.other === 1 ? ' and all it got from others' : ''
        return `${who} crashes; its disk loses ${move.what} of its own last entries${received}`
      }
      case 'restart':
        return `${who} starts again`
      default:
        return `${who} writes ${entry()}`
    }
  }
}
