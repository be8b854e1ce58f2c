import type { EntryHash, GrantedRange, ReclaimedRange } from '../../src/scheduler/types.ts'
import type { ActionBug, Bounds, Layout } from './bounds.ts'
import type { EntryBook } from './entry-book.ts'
import type { Reclaimable, ViewInfo, Views } from './views.ts'

/** Items that one worker runs in one go, and the entry that made their session own them. */
export interface Chunk {
  readonly lo: number
  readonly hi: number
  readonly parent: number
  readonly mask: number
}

/** What a session could do now, whatever the others are up to. */
export interface OwnMoves {
  /** Chunks to start, by number. */
  readonly starts: readonly number[]
  /** What ends the running chunk: its DONE, or 0 when all its items are final already. undefined: nothing runs. */
  readonly finish: number | undefined
  /** GRANTs by the session that gets them. */
  readonly grants: readonly { readonly to: number; readonly entry: number }[]
  readonly release: number | undefined
  /** RECLAIMs, each of items of one owner (-1: nobody). */
  readonly reclaims: readonly {
    readonly from: number
    readonly items: number
    readonly entry: number
  }[]
}

const NONE: OwnMoves = {
  starts: [],
  finish: undefined,
  grants: [],
  release: undefined,
  reclaims: [],
}

/** Items that lie side by side in one claim. */
interface Piece {
  readonly lo: number
  readonly hi: number
  readonly claim: number
}

/** The rules by which a session acts on its own fold: the model's copy of src/scheduler/{chunk-flow,victim,reclaim}.ts. */
export class OwnRules {
  private readonly bounds: Bounds
  private readonly layout: Layout
  private readonly book: EntryBook
  private readonly views: Views
  private readonly bugs: ReadonlySet<ActionBug>
  private readonly chunks: Chunk[] = [{ lo: 0, hi: 0, parent: 0, mask: 0 }]
  private readonly chunkIds = new Map<string, number>()

  constructor(bounds: Bounds, layout: Layout, book: EntryBook, views: Views) {
    this.bounds = bounds
    this.layout = layout
    this.book = book
    this.views = views
    this.bugs = new Set(bounds.actionBugs)
  }

  /** Chunk 0 is none. */
  chunk(id: number): Chunk {
    return this.chunks[id]!
  }

  of(view: number, session: number, busy: number): OwnMoves {
    const info = this.views.info(view)
    const key = busy * this.layout.sessions + session
    let moves = info.moves.get(key) as OwnMoves | undefined
    if (moves === undefined) {
      moves = this.find(info, session, busy)
      info.moves.set(key, moves)
    }
    return moves
  }

  private find(info: ViewInfo, session: number, busy: number): OwnMoves {
    // A session whose own feed was cut writes and starts nothing more.
    if (!info.hasJob || info.cut[session] !== 0) return NONE
    const claims = this.owned(info, session)
    const open = ~info.final & ~this.chunk(busy).mask
    const free = (item: number): boolean => ((open >> item) & 1) === 1
    const todo = pieces(info, claims, free)
    this.keepGranted(info, session, claims)
    return {
      starts: busy === 0 ? this.starts(pieces(info, claims, free)) : [],
      finish: busy === 0 ? undefined : this.finish(info, session, busy),
      grants: this.bounds.grants > 0 ? this.grants(info, session, todo) : [],
      release: this.bounds.releases > 0 ? this.release(info, session, todo) : undefined,
      reclaims: this.reclaims(info, session),
    }
  }

  /** By item: the claim by which `session` owns it; 0: it does not. */
  private owned(info: ViewInfo, session: number): number[] {
    const silent = this.bugs.has('silentTakeover')
    return info.owner.map((owner, item) => {
      const mine = owner === session || (silent && this.predecessor(owner, session))
      return mine ? info.claim[item]! : 0
    })
  }

  private keepGranted(info: ViewInfo, session: number, claims: number[]): void {
    if (!this.bugs.has('keepsGranted')) return
    for (const { body } of this.book.feed(info.heads[session]!)) {
      if (body.type !== 'grant') continue
      for (const { lo, hi, parent } of body.ranges) {
        for (let item = lo; item < hi; item += 1) claims[item] ||= this.book.idOf(parent)
      }
    }
  }

  private predecessor(owner: number, session: number): boolean {
    const { layout } = this
    return owner >= 0 && owner < session && layout.peerOf(owner) === layout.peerOf(session)
  }

  /** From the head of what is not started, as far as one claim goes. */
  private starts(todo: readonly Piece[]): number[] {
    const first = todo[0]
    if (first === undefined) return []
    return this.sizes(first.hi - first.lo).map((size) =>
      this.chunkId(first.lo, first.lo + size, first.claim),
    )
  }

  private chunkId(lo: number, hi: number, parent: number): number {
    const key = `${lo},${hi},${parent}`
    let id = this.chunkIds.get(key)
    if (id === undefined) {
      id = this.chunks.length
      this.chunks.push({ lo, hi, parent, mask: maskOf(lo, hi) })
      this.chunkIds.set(key, id)
    }
    return id
  }

  private finish(info: ViewInfo, session: number, busy: number): number {
    const { lo, hi, parent, mask } = this.chunk(busy)
    if ((mask & ~info.final) === 0) return 0
    const range = { lo, hi, parent: this.book.hashOf(parent), failed: 0, elapsedMs: 1, chunks: 1 }
    const result = { kind: 'inline', bytes: new Uint8Array() } as const
    return this.write(info, session, { type: 'done', ranges: [{ ...range, result }] })
  }

  /** Tails of what is not started, to each other session that is not known to have forked. */
  private grants(info: ViewInfo, session: number, todo: readonly Piece[]): OwnMoves['grants'] {
    const { layout } = this
    let left = 0
    for (const { lo, hi } of todo) left += hi - lo
    const tails = this.sizes(left).map((size) => this.granted(info, tailOf(todo, size)))
    const grants: { to: number; entry: number }[] = []
    for (let to = 0; to < layout.sessions; to += 1) {
      if (layout.peerOf(to) === layout.peerOf(session) || info.cut[to] !== 0) continue
      for (const ranges of tails) {
        const body = { type: 'grant', to: layout.sessionId(to), ranges } as const
        grants.push({ to, entry: this.write(info, session, body) })
      }
    }
    return grants
  }

  private release(info: ViewInfo, session: number, todo: readonly Piece[]): number | undefined {
    if (todo.length === 0) return undefined
    return this.write(info, session, { type: 'release', ranges: this.granted(info, todo) })
  }

  private granted(info: ViewInfo, list: readonly Piece[]): GrantedRange[] {
    return list.map(({ lo, hi, claim }) => ({
      lo,
      hi,
      parent: this.book.hashOf(claim),
      epoch: info.epoch[lo]!,
      hop: info.hop[lo]! + 1,
    }))
  }

  /** Of each other owner's open items: all in one entry, or (steal-sized pieces) the first alone. */
  private reclaims(info: ViewInfo, session: number): OwnMoves['reclaims'] {
    const found: { from: number; items: number; entry: number }[] = []
    const root = this.rootOf(info)
    const owners = new Set(info.owner)
    owners.delete(session)
    for (const from of owners) {
      if (this.skips(from, session)) continue
      const open = pieces(
        root,
        root.claim,
        (item) => info.owner[item] === from && ((info.final >> item) & 1) === 0,
      )
      const first = open[0]
      if (first === undefined) continue
      found.push(this.reclaim(info, session, from, open))
      const more = open.length > 1 || first.hi - first.lo > 1
      if (more && this.bounds.everySize) {
        found.push(this.reclaim(info, session, from, [{ ...first, hi: first.lo + 1 }]))
      }
    }
    return found
  }

  /** What a RECLAIM names. */
  private rootOf(info: ViewInfo): Reclaimable {
    return this.bugs.has('namesUnrooted') ? info : info.root
  }

  private skips(from: number, session: number): boolean {
    if (this.bugs.has('neverReclaims') && from >= 0) return true
    if (this.bugs.has('forgetsReleased') && from < 0) return true
    return this.bugs.has('silentTakeover') && this.predecessor(from, session)
  }

  private reclaim(
    info: ViewInfo,
    session: number,
    from: number,
    list: readonly Piece[],
  ): OwnMoves['reclaims'][number] {
    const step = this.bugs.has('sameEpoch') ? 0 : this.bugs.has('leapsEpoch') ? 2 : 1
    const root = this.rootOf(info)
    const ranges: ReclaimedRange[] = list.map(({ lo, hi, claim }) => ({
      lo,
      hi,
      parent: this.book.hashOf(claim) as EntryHash,
      epoch: root.epoch[lo]! + step,
    }))
    const only = ranges[0]!
    if (this.bugs.has('overreaches') && ranges.length === 1) {
      ranges[0] = { ...only, lo: Math.max(0, only.lo - 1) }
    }
    let items = 0
    for (const { lo, hi } of ranges) items |= maskOf(lo, hi)
    return { from, items, entry: this.write(info, session, { type: 'reclaim', ranges }) }
  }

  private write(info: ViewInfo, session: number, body: Parameters<EntryBook['write']>[2]): number {
    return this.book.write(session, info.heads[session]!, body)
  }

  private sizes(most: number): number[] {
    if (most === 0) return []
    if (!this.bounds.everySize) return most === 1 ? [1] : [1, most]
    return Array.from({ length: most }, (_, i) => i + 1)
  }
}

export function maskOf(lo: number, hi: number): number {
  return ((1 << hi) - 1) & ~((1 << lo) - 1)
}

/** Wanted items, side by side under one claim: ranges of one entry may differ in epoch and hop. */
function pieces(
  { epoch, hop }: Pick<ViewInfo, 'epoch' | 'hop'>,
  claims: readonly number[],
  wanted: (item: number) => boolean,
): Piece[] {
  const list: Piece[] = []
  for (let item = 0; item < claims.length; item += 1) {
    const claim = claims[item]!
    if (claim === 0 || !wanted(item)) continue
    const last = list.at(-1)
    const same = epoch[item] === epoch[item - 1] && hop[item] === hop[item - 1]
    if (last?.hi === item && last.claim === claim && same) {
      list[list.length - 1] = { ...last, hi: item + 1 }
    } else {
      list.push({ lo: item, hi: item + 1, claim })
    }
  }
  return list
}

function tailOf(todo: readonly Piece[], size: number): Piece[] {
  const tail: Piece[] = []
  let left = size
  for (let i = todo.length - 1; i >= 0 && left > 0; i -= 1) {
    const piece = todo[i]!
    const lo = Math.max(piece.lo, piece.hi - left)
    left -= piece.hi - lo
    tail.unshift({ ...piece, lo })
  }
  return tail
}
