import type { ReadFork } from '../../src/scheduler/fold.ts'
import type { SessionId } from '../../src/scheduler/types.ts'
import type { Feed } from './feeds.ts'

/** One half of a FORK as the simulator writes it: which entry of which session, in place of a signed run. */
export function forkSide(feed: Feed, seq: number): Uint8Array {
  const entry = feed.entries[seq - 1]!
  return new TextEncoder().encode(`${entry.session}|${seq}|${entry.hash}`)
}

/** What two halves prove: nothing, unless they are two entries with one seq of one session. */
export const readSimFork: ReadFork = (first, second) => {
  const [a, b] = [read(first), read(second)]
  if (a === undefined || b === undefined) return undefined
  if (a.session !== b.session || a.seq !== b.seq || a.hash === b.hash) return undefined
  return { session: a.session, seq: a.seq }
}

function read(bytes: Uint8Array): { session: SessionId; seq: number; hash: string } | undefined {
  const [session, seq, hash] = new TextDecoder().decode(bytes).split('|')
  if (session === undefined || seq === undefined || hash === undefined) return undefined
  return { session: session as SessionId, seq: Number(seq), hash }
}
