import type { Entry, EntryHash, EntryHeader } from '../scheduler/types.ts'
import { protocolError } from './cbor-reader.ts'
import { decodeEntry, decodeHeader, entryHash, jobIdOf } from './entry-codec.ts'
import type { Run } from './types.ts'

export interface LinkedRun {
  /** Of all its entries. */
  readonly hashes: readonly EntryHash[]
  /** Those beyond what is known, decoded. */
  readonly entries: Entry[]
}

/**
 * Checks that a run is of one feed, without holes, and linked by hashes; decodes what is beyond `have`. `end` is the hash of its
 * last entry. Its signature and its link to what is held are for the caller. ERR_MESH_PROTOCOL.
 */
export function checkLinks(run: Run, first: EntryHeader, end: EntryHash, have: number): LinkedRun {
  const hashes: EntryHash[] = []
  const entries: Entry[] = []
  const last = run.entries.length - 1
  run.entries.forEach((bytes, i) => {
    const hash = i === last ? end : entryHash(bytes)
    const seq = first.seq + i
    const header = seq > have ? take(bytes, hash, entries) : decodeHeader(bytes)
    checkPlace(header, first, seq)
    if (i > 0 && header.prev !== hashes[i - 1]) throw protocolError('the run is not linked')
    hashes.push(hash)
  })
  return { hashes, entries }
}

function take(bytes: Uint8Array, hash: EntryHash, entries: Entry[]): Entry {
  const entry = decodeEntry(bytes, hash)
  if (entry.body.type === 'job' && jobIdOf(entry.body.spec) !== entry.job) {
    throw protocolError('JOB is filed under an id that is not the hash of its spec')
  }
  entries.push(entry)
  return entry
}

function checkPlace(header: EntryHeader, first: EntryHeader, seq: number): void {
  if (header.author !== first.author || header.session !== first.session) {
    throw protocolError('the run mixes feeds')
  }
  if (header.job !== first.job) throw protocolError('the run mixes jobs')
  if (header.seq !== seq) throw protocolError('the run skips entries')
}
