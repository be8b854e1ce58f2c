import { isMeshError } from '../base/errors.ts'
import type { EntryHash, EntryHeader, JobId, PeerId, SessionId } from '../scheduler/types.ts'
import { decodeHeader, entryHash } from './entry-codec.ts'
import { isSessionOf } from './identity.ts'
import { checkLinks } from './run-check.ts'
import { decodeRun } from './run-codec.ts'
import type { VerifyEnd } from './signatures.ts'

/** Which feed was forked, and the first seq that two entries have. */
export interface ProvenFork {
  readonly author: PeerId
  readonly session: SessionId
  readonly job: JobId
  readonly seq: number
}

/**
 * What the two halves of a FORK prove: runs of one feed, each signed by its author, that begin with different entries of one seq.
 * undefined when they prove nothing. Never throws for a peer's fault.
 */
export function readForkProof(
  first: Uint8Array,
  second: Uint8Array,
  verify: VerifyEnd,
): ProvenFork | undefined {
  try {
    const a = readSide(first, verify)
    const b = readSide(second, verify)
    if (a === undefined || b === undefined || a.hash === b.hash) return undefined
    const { author, session, job, seq } = a.header
    const other = b.header
    const same = other.author === author && other.session === session && other.job === job
    // Under another's session anyone can write what they like: that is no feed of that session.
    if (!isSessionOf(session, author)) return undefined
    return same && other.seq === seq ? { author, session, job, seq } : undefined
  } catch (error) {
    if (isMeshError(error, 'ERR_MESH_PROTOCOL')) return undefined
    throw error
  }
}

function readSide(
  bytes: Uint8Array,
  verify: VerifyEnd,
): { header: EntryHeader; hash: EntryHash } | undefined {
  const run = decodeRun(bytes)
  const header = decodeHeader(run.entries[0]!)
  const end = entryHash(run.entries.at(-1)!)
  const { hashes } = checkLinks(run, header, end, 0)
  if (!verify(header.author, Buffer.from(end, 'hex'), run.signature)) return undefined
  return { header, hash: hashes[0]! }
}
