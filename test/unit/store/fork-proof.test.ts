import { describe, expect, it } from 'vitest'
import { jobIdOf } from '../../../src/store/entry-codec.ts'
import { readForkProof } from '../../../src/store/fork-proof.ts'
import { encodeRun } from '../../../src/store/run-codec.ts'
import { createVerifier } from '../../../src/store/signatures.ts'
import { FeedWriter, peerOf, specOf } from './fixtures.ts'

const verify = createVerifier()
const job = jobIdOf(specOf('fork'))
const who = peerOf('forker')

function forked(): [FeedWriter, FeedWriter] {
  const feed = new FeedWriter(who, 's', job).many(4)
  const branch = feed.branch('s', 3)
  branch.next({ type: 'pause' })
  return [feed, branch.many(2)]
}

describe('a fork proof', () => {
  it('names feed and seq of two signed runs that split', () => {
    const [feed, branch] = forked()
    const proof = readForkProof(encodeRun(feed.run(3)), encodeRun(branch.run(3)), verify)
    expect(proof).toEqual({ ...feed.feed, job, seq: 3 })
  })

  it('is none of equal entries, other seqs, other feeds, or what was not signed', () => {
    const [feed, branch] = forked()
    const other = new FeedWriter(who, 'another session', job).many(4)
    const unsigned = { ...branch.run(3), signature: feed.run(3).signature }
    const first = encodeRun(feed.run(3))
    const halves = [
      first,
      encodeRun(branch.run(4)),
      encodeRun(other.run(3)),
      encodeRun(unsigned),
      new Uint8Array(),
      Uint8Array.of(1, 2, 3),
    ]
    for (const second of halves) {
      expect(readForkProof(first, second, verify)).toBeUndefined()
      expect(readForkProof(second, first, verify)).toBeUndefined()
    }
  })
})
