import * as fc from 'fast-check'
import type {
  BlobHash,
  DoneRange,
  EntryBody,
  EntryHash,
  EntryHeader,
  JobId,
  JobOptions,
  JobSpec,
  PeerId,
  Range,
  SessionId,
} from '../../../src/scheduler/types.ts'
import type { StoredJob } from '../../../src/store/types.ts'

const hexOf = (size: number): fc.Arbitrary<string> =>
  fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes) => Buffer.from(bytes).toString('hex'))
const entryHash = hexOf(32) as fc.Arbitrary<EntryHash>
const blobHash = hexOf(32) as fc.Arbitrary<BlobHash>
const peer = hexOf(32) as fc.Arbitrary<PeerId>
const session = hexOf(16) as fc.Arbitrary<SessionId>
const job = hexOf(32) as fc.Arbitrary<JobId>
const uint = fc.oneof(fc.nat(30), fc.nat(70_000), fc.maxSafeNat())
const positive = uint.map((n) => Math.max(1, n))
const text = (max: number): fc.Arbitrary<string> =>
  fc.string({ unit: 'grapheme', maxLength: Math.floor(max / 40) })
const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength, maxLength })

/** Disjoint ranges, not sorted. */
const ranges = (min: number): fc.Arbitrary<Range[]> =>
  fc
    .array(fc.tuple(fc.nat(1000), fc.integer({ min: 1, max: 2 ** 34 })), {
      minLength: min,
      maxLength: 12,
    })
    .chain((steps) => {
      let at = 0
      const list = steps.map(([gap, size]) => ({ lo: (at += gap), hi: (at += size) }))
      return fc.shuffledSubarray(list, { minLength: Math.min(min, list.length) })
    })

const rangesWith = <T>(rest: fc.Arbitrary<T>, min = 1): fc.Arbitrary<(Range & T)[]> =>
  ranges(min).chain((list) =>
    fc.tuple(...list.map((range) => rest.map((more) => ({ ...range, ...more })))),
  ) as fc.Arbitrary<(Range & T)[]>

const options: fc.Arbitrary<JobOptions> = fc.record(
  {
    args: bytes(0, 100).map((each) => Buffer.from(each).toString('hex')),
    chunkSize: uint.map((n) => Math.max(1, n)),
    timeLimitMs: uint,
    memoryBytes: uint,
    retries: uint,
    maxItemsPerWorker: uint,
    replicas: fc.integer({ min: 1, max: 8 }),
    speculate: fc.boolean(),
    backoff: fc.record({
      delayMs: uint,
      factorPercent: fc.integer({ min: 100, max: 10_000 }),
      maxMs: uint,
      jitterPercent: fc.nat(100),
    }),
    softTimeLimitMs: positive,
    jobTimeLimitMs: positive,
    priority: fc.nat(9),
    ratePer1000s: positive,
    maxFailures: uint,
    maxFailuresPpm: fc.nat(1_000_000),
    startAt: uint,
    delayMs: uint,
    resultTtlMs: uint,
    requires: fc.record(
      {
        cores: uint,
        memoryBytes: uint,
        gpu: fc.boolean(),
        labels: fc.dictionary(text(64), text(64), { maxKeys: 4, noNullPrototype: true }),
      },
      { requiredKeys: [] },
    ),
    controllers: fc.uniqueArray(peer, { maxLength: 4 }).map((peers) => peers.sort()),
    key: text(200),
  },
  { requiredKeys: [] },
)

export const jobSpec = (count: fc.Arbitrary<number> = fc.nat(2 ** 30)): fc.Arbitrary<JobSpec> =>
  fc.tuple(plainSpec(count), fc.boolean()).map(([spec, isGraph]) => {
    const { input, task } = spec
    if (!isGraph || input.kind !== 'range' || task.kind !== 'module') return spec
    return { ...spec, task: { ...task, kind: 'graph' }, input: { ...input, start: 0 } }
  })

const plainSpec = (count: fc.Arbitrary<number>): fc.Arbitrary<JobSpec> =>
  fc.record({
    v: fc.constant(1 as const),
    task: fc.record({
      kind: fc.constant('module' as const),
      name: text(256),
      bundle: blobHash,
      bundleBytes: uint,
    }),
    input: fc.oneof(
      fc.record({
        kind: fc.constant('range' as const),
        start: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
        count,
      }),
      fc.record({ kind: fc.constant('pieces' as const), count, manifest: blobHash }),
    ),
    options,
    nonce: hexOf(16),
  })

const result = (inlineBytes: number): fc.Arbitrary<DoneRange['result']> =>
  fc.oneof(
    fc.record({ kind: fc.constant('inline' as const), bytes: bytes(0, inlineBytes) }),
    fc.record({
      kind: fc.constant('blob' as const),
      hash: blobHash,
      sizeBytes: uint,
      keepers: fc.uniqueArray(peer, { minLength: 1, maxLength: 8 }),
    }),
  )

const jobBody: fc.Arbitrary<EntryBody> = rangesWith(fc.record({ to: session }), 0).chain((seeds) =>
  fc.record({
    type: fc.constant('job' as const),
    spec: jobSpec(fc.constant(Math.max(0, ...seeds.map((seed) => seed.hi)))),
    at: uint,
    seeds: fc.constant(seeds),
  }),
)

const doneBody: fc.Arbitrary<EntryBody> = rangesWith(
  fc.record({
    parent: entryHash,
    failed: fc.nat(1).map(() => 0),
    elapsedMs: uint,
    chunks: uint,
    result: result(80),
  }),
).map((list) => ({ type: 'done', ranges: list.map((range, i) => ({ ...range, failed: i % 2 })) }))

const granted = rangesWith(fc.record({ parent: entryHash, epoch: uint, hop: uint }))

export const entryBody: fc.Arbitrary<EntryBody> = fc.oneof(
  jobBody,
  doneBody,
  fc.record({ type: fc.constant('grant' as const), to: session, ranges: granted }),
  fc.record({ type: fc.constant('release' as const), ranges: granted }),
  fc.record({
    type: fc.constant('reclaim' as const),
    ranges: rangesWith(fc.record({ parent: entryHash, epoch: uint })),
  }),
  fc.record({
    type: fc.constant('start' as const),
    ranges: rangesWith(fc.record({ parent: entryHash })),
  }),
  fc.record({
    type: fc.constant('fail' as const),
    ranges: rangesWith(fc.record({ code: text(64), message: text(1024) })),
  }),
  fc.record({
    type: fc.constant('lost' as const),
    ranges: rangesWith(fc.record({ done: entryHash })),
  }),
  fc.record({ type: fc.constant('cancel' as const), reason: text(1024) }),
  fc.constant<EntryBody>({ type: 'pause' }),
  fc.record({
    type: fc.constant('resume' as const),
    pauses: fc.array(entryHash, { maxLength: 5 }),
  }),
  fc.record({ type: fc.constant('fork' as const), first: bytes(1, 500), second: bytes(1, 500) }),
)

export const entryHeader: fc.Arbitrary<EntryHeader> = fc.record({
  author: peer,
  session,
  job,
  seq: uint.map((n) => Math.max(1, n)),
  prev: entryHash,
})

export const storedJob: fc.Arbitrary<StoredJob> = fc.record({
  job,
  state: fc.constantFrom('running', 'finished', 'cancelled'),
  updatedAt: uint,
  summary: fc.record(
    {
      items: uint,
      done: uint,
      failed: uint,
      submittedAt: uint,
      author: peer,
      spec: jobSpec(),
      finishedAt: uint,
      cancellation: fc.record({ by: peer, reason: fc.string({ maxLength: 100 }) }),
    },
    { requiredKeys: ['items', 'done', 'failed', 'submittedAt', 'author', 'spec'] },
  ),
})
