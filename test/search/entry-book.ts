import {
  type Entry,
  type EntryBody,
  type EntryHash,
  type JobId,
  ZERO_HASH,
} from '../../src/scheduler/types.ts'
import { simSeal } from '../sim/seal.ts'
import type { Layout } from './bounds.ts'

/**
 * Every entry that was written in any explored world, by a small number; 0 is none. Entries name the one before them, so the
 * number of a feed's last entry says what the whole feed is, forked or not.
 */
export class EntryBook {
  private readonly layout: Layout
  private readonly job: JobId
  private readonly entries: (Entry | undefined)[] = [undefined]
  private readonly prevs: number[] = [0]
  private readonly feeds: number[] = [-1]
  private readonly ids = new Map<EntryHash, number>()

  constructor(layout: Layout, job: JobId) {
    this.layout = layout
    this.job = job
  }

  get size(): number {
    return this.entries.length - 1
  }

  /** The entry that `session` writes behind `head` of its feed. */
  write(session: number, head: number, body: EntryBody): number {
    const before = this.entries[head]
    const entry = simSeal(
      {
        author: this.layout.peerId(this.layout.peerOf(session)),
        session: this.layout.sessionId(session),
        job: this.job,
        seq: (before?.seq ?? 0) + 1,
        prev: before?.hash ?? ZERO_HASH,
      },
      body,
    )
    const known = this.ids.get(entry.hash)
    if (known !== undefined) return known
    const id = this.entries.length
    this.entries.push(entry)
    this.prevs.push(head)
    this.feeds.push(session)
    this.ids.set(entry.hash, id)
    return id
  }

  at(id: number): Entry {
    return this.entries[id]!
  }

  idOf(hash: EntryHash): number {
    return this.ids.get(hash)!
  }

  hashOf(id: number): EntryHash {
    return this.at(id).hash
  }

  prevOf(id: number): number {
    return this.prevs[id]!
  }

  feedOf(id: number): number {
    return this.feeds[id]!
  }

  seqOf(id: number): number {
    return id === 0 ? 0 : this.at(id).seq
  }

  /** The entry with that seq in the feed that ends in `head`; 0 for seq 0. */
  ancestor(head: number, seq: number): number {
    let id = head
    while (this.seqOf(id) > seq) id = this.prevOf(id)
    return id
  }

  /** Whether `id` (or nothing at all) is a part of the feed that ends in `head`. */
  continues(head: number, id: number): boolean {
    return this.ancestor(head, this.seqOf(id)) === id
  }

  /** Where two ends of one feed part: the first seq with two entries. */
  forkSeq(a: number, b: number): number {
    let seq = Math.min(this.seqOf(a), this.seqOf(b))
    while (this.ancestor(a, seq) !== this.ancestor(b, seq)) seq -= 1
    return seq + 1
  }

  /** The feed that ends in `head`, from its first entry on. */
  feed(head: number): Entry[] {
    const list: Entry[] = []
    for (let id = head; id !== 0; id = this.prevOf(id)) list.push(this.at(id))
    return list.reverse()
  }

  // ------------------------------------------------------------ in words

  /** "GRANT 1..3 to B (A seq 2)" */
  describe(id: number): string {
    const { body, session, seq } = this.at(id)
    return `${words(body, this.layout)} (${session} seq ${seq})`
  }
}

function words(body: EntryBody, layout: Layout): string {
  switch (body.type) {
    case 'job': {
      const seeds = body.seeds.map(({ lo, hi, to }) => `${lo}..${hi} to ${to}`)
      return `JOB${seeds.length > 0 ? `, seeds ${seeds.join(', ')}` : ''}`
    }
    case 'grant':
      return `GRANT ${spans(body.ranges)} to ${body.to}`
    case 'reclaim':
      return `RECLAIM ${body.ranges.map(({ lo, hi, epoch }) => `${lo}..${hi} epoch ${epoch}`).join(', ')}`
    case 'fork':
      return `FORK of ${layout.sessionId(body.first[0]!)} at seq ${body.first[1]}`
    default:
      return `${body.type.toUpperCase()} ${'ranges' in body ? spans(body.ranges) : ''}`.trimEnd()
  }
}

function spans(ranges: readonly { readonly lo: number; readonly hi: number }[]): string {
  return ranges.map(({ lo, hi }) => `${lo}..${hi}`).join(', ')
}
