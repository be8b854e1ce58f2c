import type { BlobHash, Entry, PeerId, Range } from '../../src/scheduler/types.ts'
import type { Workload } from './workload.ts'

/** More problems than this say nothing new. */
const MAX_PROBLEMS = 20

/** What really happened: which items ran where and how often, which results are on which disk. No peer sees it. */
export class Truth {
  readonly problems: string[] = []
  /** How often each item was begun, begun as a copy of what another runs, and run to its end. */
  readonly starts: Uint8Array
  readonly copies: Uint8Array
  readonly runs: Uint8Array
  /** How often each item threw, and was to be tried again. */
  readonly throws: Uint8Array
  /** When items were begun, by the clock of the simulation, not in order. */
  readonly begunAt: number[] = []
  /** How many RECLAIMs cover each item, and how many LOSTs; filled in by the checks. */
  readonly excuses: Uint8Array
  /** Items that were given up rightly: three sessions died on them. */
  readonly givenUp = new Set<number>()
  /** Worker time spent, ms of a slot of speed 1: all of it, and that which died with its process. */
  spent = 0
  died = 0
  readonly entries: Record<string, number> = {}
  /** Who holds the blob. */
  readonly blobs = new Map<BlobHash, Set<PeerId>>()
  /** Items that nobody has run to the end, and when that became none, ms. */
  left: number
  ranAllAt: number | undefined
  private readonly ranBy: Map<PeerId, Uint8Array> | undefined
  private readonly workload: Workload

  constructor(workload: Workload, checked: boolean) {
    const { items } = workload
    this.workload = workload
    this.left = items
    this.starts = new Uint8Array(items)
    this.copies = new Uint8Array(items)
    this.runs = new Uint8Array(items)
    this.throws = new Uint8Array(items)
    this.excuses = new Uint8Array(items)
    this.ranBy = checked ? new Map() : undefined
  }

  problem(text: string): void {
    if (this.problems.length < MAX_PROBLEMS && !this.problems.includes(text))
      this.problems.push(text)
  }

  /** A worker of `peer` ran lo..reached-1 to the end, and had begun begun-1. */
  ran(
    peer: PeerId,
    {
      lo,
      reached,
      begun,
      copy,
      at,
    }: {
      readonly lo: number
      readonly reached: number
      readonly begun: number
      readonly copy: boolean
      readonly at: number
    },
  ): void {
    for (let i = lo; i < reached; i += 1) if (this.runs[i] === 0) this.left -= 1
    if (this.left === 0) this.ranAllAt ??= at
    bump(this.starts, lo, begun)
    if (copy) bump(this.copies, lo, begun)
    bump(this.runs, lo, reached)
    if (this.ranBy === undefined || reached === lo) return
    let items = this.ranBy.get(peer)
    if (items === undefined) this.ranBy.set(peer, (items = new Uint8Array(this.workload.items)))
    items.fill(1, lo, reached)
  }

  /** Whether that peer ran all of the range. True where nobody keeps count. */
  didRun(peer: PeerId, { lo, hi }: Range): boolean {
    if (this.ranBy === undefined) return true
    const items = this.ranBy.get(peer)
    if (items === undefined) return false
    for (let i = lo; i < hi; i += 1) if (items[i] === 0) return false
    return true
  }

  stored(hash: BlobHash, peer: PeerId): void {
    if (this.ranBy === undefined) return
    const holders = this.blobs.get(hash)
    if (holders === undefined) this.blobs.set(hash, new Set([peer]))
    else holders.add(peer)
  }

  /** An honest peer wrote an entry: what it says must be so (I2, I3). */
  wrote(entry: Entry): void {
    const { body, author } = entry
    this.entries[body.type] = (this.entries[body.type] ?? 0) + 1
    if (body.type !== 'done' || this.ranBy === undefined) return
    for (const range of body.ranges) {
      const name = `${author.slice(0, 8)}: DONE of ${range.lo}..${range.hi}`
      if (!this.didRun(author, range)) this.problem(`${name} that it did not run`)
      if (range.result.kind !== 'blob') continue
      const holders = this.blobs.get(range.result.hash)
      for (const keeper of range.result.keepers) {
        if (holders?.has(keeper) !== true) this.problem(`${name} before its result was on a keeper`)
      }
    }
  }
}

export function bump(counts: Uint8Array, lo: number, hi: number): void {
  for (let i = Math.max(0, lo); i < hi && i < counts.length; i += 1) {
    if (counts[i]! < 255) counts[i]! += 1
  }
}
