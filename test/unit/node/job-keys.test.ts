import { describe, expect, it } from 'vitest'
import { KeyBook, nonceOfKey } from '../../../src/node/job-keys.ts'
import type { JobId, JobSpec } from '../../../src/scheduler/types.ts'
import type { StoredJob } from '../../../src/store/types.ts'
import { peerOf, recordOf, specOf } from '../store/writers.ts'

const { peer } = peerOf('author')

function keyed(name: string, key: string): JobSpec {
  return { ...specOf(name), options: { key }, nonce: nonceOfKey(key) }
}

describe('a key', () => {
  it('makes the nonce that docs/protocol.md says', () => {
    expect(nonceOfKey('nightly')).toBe('9db6f17deeaf04cd6a2994f490c24b53')
    expect(nonceOfKey('nightly')).not.toBe(nonceOfKey('nightly2'))
    expect(nonceOfKey('ü')).toMatch(/^[0-9a-f]{32}$/)
  })
})

describe('the book of keys', () => {
  const rowOf = (spec: JobSpec): StoredJob => recordOf(spec, peer, 'finished')

  it('knows what the store had, reads it once, and what came since', async () => {
    const first = rowOf(keyed('first', 'a'))
    const plain = rowOf(specOf('plain'))
    let reads = 0
    const book = new KeyBook({
      jobs: async () => {
        reads += 1
        return [first, plain]
      },
    })
    const late = 'cd'.repeat(32) as JobId
    book.note(late, keyed('late', 'b'))
    expect(await book.jobsOf(nonceOfKey('a'))).toEqual([first.job])
    expect(await book.jobsOf(nonceOfKey('b'))).toEqual([late])
    expect(await book.jobsOf(plain.summary.spec.nonce)).toEqual([])
    expect(reads).toBe(1)
  })

  it('holds several jobs of one key, each once, until they are collected', async () => {
    const book = new KeyBook({ jobs: async () => [] })
    const [one, other] = ['11'.repeat(32), '22'.repeat(32)] as [JobId, JobId]
    for (const job of [one, other, one]) book.note(job, keyed('x', 'k'))
    expect(await book.jobsOf(nonceOfKey('k'))).toEqual([one, other])
    book.drop(one)
    book.drop(one)
    expect(await book.jobsOf(nonceOfKey('k'))).toEqual([other])
    book.drop(other)
    expect(await book.jobsOf(nonceOfKey('k'))).toEqual([])
  })
})
