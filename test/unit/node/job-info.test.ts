import { expect, test } from 'vitest'
import { infoOfRecord } from '../../../src/node/job-info.ts'
import type { Peer } from '../../../src/node/peer.ts'
import type { StoredJob } from '../../../src/store/types.ts'
import { JOB, peerId } from './small-mesh.ts'

test('a job whose times no Date can say is listed all the same', () => {
  const far = Number.MAX_SAFE_INTEGER
  const peer = {
    id: peerId(0),
    upkeep: { retention: { leftMs: () => far } },
  } as unknown as Peer
  const record: StoredJob = {
    job: JOB,
    state: 'finished',
    summary: {
      author: peerId(1),
      items: 1,
      done: 1,
      failed: 0,
      submittedAt: far,
      finishedAt: far,
      spec: {
        v: 1,
        task: { kind: 'module', name: 'far', bundle: 'ab'.repeat(32), bundleBytes: 1 },
        input: { kind: 'range', start: 0, count: 1 },
        options: { resultTtlMs: far, startAt: far },
        nonce: '00'.repeat(16),
      },
    },
  } as unknown as StoredJob
  const last = '+275760-09-13T00:00:00.000Z'
  expect(infoOfRecord(peer, record)).toMatchObject({
    submittedAt: last,
    finishedAt: last,
    expiresAt: last,
  })
})
