import type { ReadFork } from '../../src/scheduler/fold.ts'
import type { ForkPoint, JobId, PeerId, SessionId } from '../../src/scheduler/types.ts'
import type { Feed } from './feeds.ts'

/** One half of a FORK as the simulator writes it: which entry of which feed, in place of a signed run. */
export function forkSide(feed: Feed, seq: number): Uint8Array {
  const { author, session, job, hash } = feed.entries[seq - 1]!
  return new TextEncoder().encode([author, session, job, seq, hash].join('|'))
}

/** What two halves prove: nothing, unless they are two entries with one seq of one feed. */
export const readSimFork: ReadFork = (first, second) => {
  const [a, b] = [read(first), read(second)]
  if (a === undefined || b === undefined || a.hash === b.hash) return undefined
  const { author, session, job, seq } = a.point
  const same = b.point.author === author && b.point.session === session && b.point.job === job
  return same && b.point.seq === seq ? a.point : undefined
}

function read(bytes: Uint8Array): { point: ForkPoint; hash: string } | undefined {
  const [author, session, job, seq, hash] = new TextDecoder().decode(bytes).split('|')
  if (hash === undefined) return undefined
  const point = {
    author: author as PeerId,
    session: session as SessionId,
    job: job as JobId,
    seq: Number(seq),
  }
  return { point, hash }
}
