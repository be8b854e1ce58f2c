import { createHash } from 'node:crypto'
import { decode, encode } from 'cborg'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import {
  type BlobHash,
  type EntryBody,
  type EntryHeader,
  type JobOptions,
  type PeerId,
  ZERO_HASH,
} from '../../../src/scheduler/types.ts'
import { CborReader } from '../../../src/store/cbor-reader.ts'
import { type CborValue, encodeCbor } from '../../../src/store/cbor-values.ts'
import {
  decodeEntry,
  encodeEntry,
  entryBytes,
  entryHash,
  jobIdOf,
  seal,
} from '../../../src/store/entry-codec.ts'
import {
  MAX_ARGS_BYTES,
  MAX_CONTROLLERS,
  MAX_ENTRY_BYTES,
  MAX_KEEPERS,
  MAX_KEY_BYTES,
  MAX_LABEL_BYTES,
  MAX_LABELS,
  MAX_RANGES,
  MAX_RUN_BYTES,
  MAX_RUN_ENTRIES,
} from '../../../src/store/limits.ts'
import { optionsValue } from '../../../src/store/options-codec.ts'
import { jobValue, readJobValue } from '../../../src/store/records.ts'
import { decodeRun, encodeRun } from '../../../src/store/run-codec.ts'
import { readSpec, specValue } from '../../../src/store/spec-codec.ts'
import { entryBody, entryHeader, jobSpec, storedJob } from './arbitrary.ts'
import { blobHashOf, entryHashOf, peerOf, sessionOf, specOf } from './fixtures.ts'

const job = jobIdOf(specOf('codec'))
const header: EntryHeader = {
  author: peerOf('codec').peer,
  session: sessionOf('codec'),
  job,
  seq: 1,
  prev: ZERO_HASH,
}
const parent = entryHashOf('parent')

/** Fails unless `work` returns or throws ERR_MESH_PROTOCOL; true when it returned. */
function soundly(work: () => unknown): boolean {
  try {
    work()
    return true
  } catch (error) {
    if (isMeshError(error, 'ERR_MESH_PROTOCOL')) return false
    throw error
  }
}

/** A valid entry with something else in one place of its CBOR. */
function tampered(body: EntryBody, change: (value: CborValue[]) => void): Uint8Array {
  const value = decode(encodeEntry(header, body)) as CborValue[]
  change(value)
  return encode(value)
}

const refused = { code: 'ERR_MESH_PROTOCOL' }

describe('entries', () => {
  it('come back as they were, for any header and body', () => {
    fc.assert(
      fc.property(entryHeader, entryBody, (anyHeader, body) => {
        const bytes = encodeEntry(anyHeader, body)
        expect(bytes.length).toBeLessThanOrEqual(MAX_ENTRY_BYTES)
        expect(decodeEntry(bytes)).toEqual({ ...anyHeader, hash: entryHash(bytes), body })
      }),
      { numRuns: 1000 },
    )
  })

  it('are plain canonical CBOR, as docs/protocol.md says', () => {
    const body: EntryBody = { type: 'start', ranges: [{ lo: 5, hi: 300, parent }] }
    const bytes = encodeEntry(header, body)
    const raw = (hex: string) => Buffer.from(hex, 'hex')
    const { author, session, prev } = header
    const body5 = [[[5, 300, raw(parent)]]]
    const value = [1, raw(author), raw(session), raw(job), 1, raw(prev), 5, body5]
    expect(Buffer.from(bytes)).toEqual(Buffer.from(encode(value)))
  })

  it('never make the decoder fail in another way: random bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(soundly(() => decodeEntry(bytes))).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })

  it('never make the decoder fail in another way, and are one byte string each: mutated entries', () => {
    fc.assert(
      fc.property(
        entryHeader,
        entryBody,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.constantFrom('set', 'cut', 'insert'),
        (anyHeader, body, edits, how) => {
          let bytes: Buffer = Buffer.from(encodeEntry(anyHeader, body))
          for (const [where, byte] of edits) bytes = edit(bytes, where, byte, how)
          if (!soundly(() => decodeEntry(bytes))) return
          // What passes is canonical: read and written again it is the same.
          const { hash, body: read, ...rest } = decodeEntry(bytes)
          expect(Buffer.from(encodeEntry(rest, read))).toEqual(bytes)
          expect(hash).toBe(entryHash(bytes))
        },
      ),
      { numRuns: 5000 },
    )
  })

  it('of nested arrays without end are refused, not followed', () => {
    expect(() => decodeEntry(new Uint8Array(MAX_ENTRY_BYTES).fill(0x81))).toThrowError(
      expect.objectContaining(refused),
    )
  })
})

function edit(bytes: Buffer, where: number, byte: number, how: string): Buffer {
  const at = where % (bytes.length + 1)
  if (how === 'cut') return bytes.subarray(0, at)
  const next = how === 'set' ? at + 1 : at
  return Buffer.concat([bytes.subarray(0, at), Buffer.of(byte), bytes.subarray(next)])
}

describe('entries that are refused', () => {
  const start = (...ranges: [number, number][]): EntryBody => ({
    type: 'start',
    ranges: ranges.map(([lo, hi]) => ({ lo, hi, parent })),
  })
  const done = (size: number, count = 1, failed = 0): EntryBody => ({
    type: 'done',
    ranges: Array.from({ length: count }, (_, i) => ({
      lo: i,
      hi: i + 1,
      parent,
      failed,
      elapsedMs: 1,
      chunks: 1,
      result: { kind: 'inline', bytes: new Uint8Array(size) },
    })),
  })
  const kept = (keepers: PeerId[]): EntryBody => ({
    type: 'done',
    ranges: [
      {
        lo: 0,
        hi: 1,
        parent,
        failed: 0,
        elapsedMs: 1,
        chunks: 1,
        result: { kind: 'blob', hash: blobHashOf(1), sizeBytes: 1, keepers },
      },
    ],
  })
  const peers = Array.from({ length: 9 }, (_, i) => peerOf(`keeper ${i}`).peer)
  const spec = specOf('codec', 10)

  const bodies: [string, EntryBody][] = [
    ['no ranges', start()],
    ['an empty range', start([3, 3])],
    ['a reversed range', start([4, 3])],
    ['a range twice', start([1, 2], [1, 2])],
    ['overlapping ranges', start([5, 9], [0, 6])],
    ['nested ranges', start([0, 100], [10, 20])],
    ['a negative number', start([-1, 3])],
    ['a fraction', start([0, 1.5])],
    ['an unsafe number', start([0, 2 ** 53])],
    [
      'too many ranges',
      start(...Array.from({ length: MAX_RANGES + 1 }, (_, i) => [i, i + 1] as [number, number])),
    ],
    ['more than 4 KiB of values in a range', done(4097)],
    ['more than 4 KiB of values together', done(1025, 4)],
    ['more failures than items', done(1, 1, 2)],
    ['no keeper', kept([])],
    ['a keeper twice', kept([peers[0]!, peers[0]!])],
    ['too many keepers', kept(peers)],
    ['a long reason', { type: 'cancel', reason: 'x'.repeat(1025) }],
    ['an empty fork proof', { type: 'fork', first: new Uint8Array(), second: Uint8Array.of(1) }],
    ['a long fork proof', { type: 'fork', first: new Uint8Array(8001), second: Uint8Array.of(1) }],
    [
      'a seed outside the job',
      { type: 'job', spec, at: 1, seeds: [{ lo: 0, hi: 11, to: header.session }] },
    ],
    ['an unknown type', { type: 'dance' } as unknown as EntryBody],
    ['a short hash', { type: 'lost', ranges: [{ lo: 0, hi: 1, done: 'ab' as never }] }],
  ]
  it.each(bodies)('%s', (_, body) => {
    expect(() => seal(header, body)).toThrowError(expect.objectContaining(refused))
  })

  it('more than 16 KiB', () => {
    const long = Array.from({ length: 250 }, (_, i) => ({
      lo: i,
      hi: i + 1,
      code: 'c',
      message: 'm'.repeat(80),
    }))
    expect(() => encodeEntry(header, { type: 'fail', ranges: long })).toThrowError(/16384/)
    expect(() => decodeEntry(new Uint8Array(MAX_ENTRY_BYTES + 1))).toThrowError(/16384/)
  })

  const places: [string, (value: CborValue[]) => void][] = [
    ['another version', (value) => (value[0] = 2)],
    ['a short author', (value) => (value[1] = new Uint8Array(31))],
    ['text where bytes belong', (value) => (value[3] = 'job')],
    ['seq 0', (value) => (value[4] = 0)],
    ['a float', (value) => (value[4] = 1.5)],
    ['an unknown type number', (value) => (value[6] = 13)],
    ['another type’s body', (value) => (value[6] = 9)],
    ['an element too many', (value) => value.push(1)],
    ['an element too few', (value) => value.pop()],
    ['a map', (value) => (value[7] = { a: 1 } as never)],
    ['an undefined', (value) => (value[7] = undefined as never)],
    ['a null', (value) => (value[7] = null)],
  ]
  it.each(places)('%s', (_, change) => {
    const bytes = tampered(start([0, 1]), change)
    expect(() => decodeEntry(bytes)).toThrowError(expect.objectContaining(refused))
  })

  it('integers and lengths that are not in their shortest form, and indefinite lengths', () => {
    const bytes = Buffer.from(encodeEntry(header, { type: 'pause' }))
    const seqAt = bytes.length - 1 - 1 - 34 - 1
    expect(bytes[seqAt]).toBe(1)
    const replaced = (at: number, ...by: number[]) =>
      Buffer.concat([bytes.subarray(0, at), Buffer.from(by), bytes.subarray(at + 1)])
    for (const long of [
      [0x18, 1],
      [0x19, 0, 1],
      [0x1a, 0, 0, 0, 1],
      [0x1b, 0, 0, 0, 0, 0, 0, 0, 1],
    ]) {
      expect(() => decodeEntry(replaced(seqAt, ...long))).toThrowError(/shortest/)
    }
    // 1.0 in three sizes, which a generic decoder reads as 1.
    for (const float of [
      [0xf9, 0x3c, 0],
      [0xfa, 0x3f, 0x80, 0, 0],
      [0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
    ]) {
      expect(() => decodeEntry(replaced(seqAt, ...float))).toThrowError(/wrong type/)
    }
    expect(() => decodeEntry(replaced(0, 0x98, 8))).toThrowError(/shortest/)
    expect(() => decodeEntry(Buffer.concat([replaced(0, 0x9f), Buffer.of(0xff)]))).toThrowError(
      /form/,
    )
    expect(() => decodeEntry(Buffer.concat([bytes, Buffer.of(0)]))).toThrowError(/too many/)
  })

  it('text that is not UTF-8', () => {
    const bytes = Buffer.from(encodeEntry(header, { type: 'cancel', reason: 'ok' }))
    bytes[bytes.length - 1] = 0xff
    expect(() => decodeEntry(bytes)).toThrowError(/UTF-8/)
  })
})

describe('seal', () => {
  it('gives the entry that others read', () => {
    const body: EntryBody = {
      type: 'done',
      ranges: [
        {
          lo: 0,
          hi: 1,
          parent,
          failed: 0,
          elapsedMs: 12.6,
          chunks: 1,
          result: { kind: 'inline', bytes: Uint8Array.of(1) },
        },
      ],
    }
    const entry = seal(header, body)
    expect(entry).toEqual(decodeEntry(entryBytes(entry)))
    expect(entry.body).toMatchObject({ ranges: [{ elapsedMs: 13 }] })
    expect(entryBytes({ ...entry })).toEqual(entryBytes(entry))
    const lone = seal(header, { type: 'cancel', reason: 'a\ud800b' })
    expect(lone.body).toEqual({ type: 'cancel', reason: 'a\ufffdb' })
  })
})

describe('job ids', () => {
  it('depend on every part of the spec and on nothing else', () => {
    fc.assert(
      fc.property(jobSpec(), jobSpec(), (a, b) => {
        const reordered = Object.fromEntries(Object.entries(a).reverse()) as typeof a
        expect(jobIdOf(reordered)).toBe(jobIdOf(a))
        const withAbsent = { ...a, options: { ...a.options } }
        expect(jobIdOf(withAbsent)).toBe(jobIdOf(a))
        for (const part of ['task', 'input', 'options', 'nonce'] as const) {
          // The items of a composition are a range from 0.
          const fits = a.task.kind === b.task.kind || (part !== 'task' && part !== 'input')
          if (!fits) continue
          const mixed = { ...a, [part]: b[part] }
          const same = JSON.stringify(b[part]) === JSON.stringify(a[part])
          if (!same && part !== 'options') expect(jobIdOf(mixed)).not.toBe(jobIdOf(a))
        }
      }),
    )
    const a = specOf('a')
    expect(jobIdOf({ ...a, options: { retries: 0 } })).not.toBe(jobIdOf(a))
    expect(jobIdOf({ ...a, options: { retries: 1 } })).not.toBe(
      jobIdOf({ ...a, options: { chunkSize: 1 } }),
    )
  })

  it('are refused for specs that no peer would take', () => {
    const spec = specOf('a')
    const args = 'ab'.repeat(MAX_ARGS_BYTES + 1)
    expect(() => jobIdOf({ ...spec, options: { args } })).toThrowError(/args/)
    expect(() => jobIdOf({ ...spec, options: { timeLimitMs: 0.5 } })).toThrowError(/timeLimitMs/)
    expect(() => jobIdOf({ ...spec, nonce: 'x' })).toThrowError(/nonce/)
  })

  it.each([0, MAX_KEEPERS + 1])('are refused for %d replicas, also when read', (replicas) => {
    const spec = specOf('a')
    expect(() => jobIdOf({ ...spec, options: { replicas } })).toThrowError(/replicas/)
    const value = specValue({ ...spec, options: { replicas: 1, speculate: true } })
    const read = () => readSpec(new CborReader(encodeCbor(value)))
    expect(read().options).toEqual({ replicas: 1, speculate: true })
    const options = value[3] as CborValue[][]
    expect(options).toEqual([
      [6, 1],
      [7, 1],
    ])
    options[0]![1] = replicas
    expect(read).toThrowError(/replicas/)
  })

  it.each<[string, JobOptions]>([
    ['priority', { priority: 10 }],
    ['chunkSize', { chunkSize: 0 }],
    ['ratePer1000s', { ratePer1000s: 0 }],
    ['maxFailuresPpm', { maxFailuresPpm: 1_000_001 }],
    [
      'jitterPercent',
      { backoff: { delayMs: 1, factorPercent: 200, maxMs: 1, jitterPercent: 101 } },
    ],
    ['factorPercent', { backoff: { delayMs: 1, factorPercent: 99, maxMs: 1, jitterPercent: 0 } }],
    ['key', { key: 'k'.repeat(MAX_KEY_BYTES + 1) }],
    ['label', { requires: { labels: { a: 'x'.repeat(MAX_LABEL_BYTES + 1) } } }],
    ['labels', { requires: { labels: labelsOf(MAX_LABELS + 1) } }],
    ['a label', { requires: { labels: { 'a\ud800': '1', 'a\ufffd': '2' } } }],
    ['controllers', { controllers: peersOf(MAX_CONTROLLERS + 1) }],
  ])('are refused for options out of bounds: %s', (what, options) => {
    expect(() => jobIdOf({ ...specOf('a'), options })).toThrowError(new RegExp(what))
  })

  it('are refused for a spec that would not fit an entry with its seeds, also when read', () => {
    const args = 'ab'.repeat(MAX_ARGS_BYTES)
    const options = { args, controllers: peersOf(32), requires: { labels: labelsOf(MAX_LABELS) } }
    expect(() => jobIdOf({ ...specOf('a'), options })).toThrowError(/job spec has \d+ bytes/)
    const value = specValue({ ...specOf('a'), options: { args } })
    const long = optionsValue(options)
    value[3] = long
    expect(() => readSpec(new CborReader(encodeCbor(value)))).toThrowError(/job spec has/)
  })

  it('do not depend on the order of controllers and labels; what is read is in order', () => {
    const [one, two] = peersOf(2)
    const of = (options: JobOptions) => specValue({ ...specOf('a'), options })
    const labels = { zone: 'a', arch: 'b' }
    const value = of({ controllers: [two!, one!, two!], requires: { labels, gpu: true } })
    const same = of({
      controllers: [one!, two!],
      requires: { gpu: true, labels: { arch: 'b', zone: 'a' } },
    })
    expect(encodeCbor(value)).toEqual(encodeCbor(same))
    const read = readSpec(new CborReader(encodeCbor(value)))
    expect(read.options).toEqual({
      controllers: [one, two].sort(),
      requires: { labels, gpu: true },
    })
  })

  it.each<[string, CborValue]>([
    [
      'descending ids',
      [
        [7, 1],
        [6, 1],
      ],
    ],
    [
      'an id twice',
      [
        [4, 1],
        [4, 1],
      ],
    ],
    ['an unknown id', [[99, 1]]],
    ['no pair', [[4]]],
    ['controllers out of order', [[19, [Buffer.alloc(32, 2), Buffer.alloc(32, 1)]]]],
    [
      'labels out of order',
      [
        [
          18,
          [
            [
              3,
              [
                ['b', ''],
                ['a', ''],
              ],
            ],
          ],
        ],
      ],
    ],
  ])('has one form only: options with %s are refused', (_, options) => {
    const value = specValue(specOf('a'))
    value[3] = options
    expect(() => readSpec(new CborReader(encodeCbor(value)))).toThrowError(
      /ERR_MESH_PROTOCOL|order|allowed/,
    )
  })

  it('a composition has the items 0 and up of a range', () => {
    const spec = specOf('a')
    const task = { ...spec.task, kind: 'graph' as const }
    const { bundle, bundleBytes, name } = task
    const graph = { kind: 'graph', name, bundle, bundleBytes } as const
    const input = { kind: 'range', start: 1, count: 10 } as const
    expect(() => jobIdOf({ ...spec, task: graph, input })).toThrowError(/range from 0/)
    const value = specValue({ ...spec, task: graph, input: { ...input, start: 0 } })
    expect(readSpec(new CborReader(encodeCbor(value))).task).toEqual(graph)
  })

  it('a small plan rides in the JOB, and must be the one that it names', () => {
    const bytes = Buffer.from('a plan of a few bytes')
    const bundle = createHash('sha256').update(bytes).digest('hex') as BlobHash
    const plan = bytes.toString('hex')
    const task = { kind: 'graph', name: 'g', bundle, bundleBytes: bytes.length, plan } as const
    const input = { kind: 'range', start: 0, count: 10 } as const
    const value = specValue({ ...specOf('a'), task, input })
    expect(readSpec(new CborReader(encodeCbor(value))).task).toEqual(task)
    const other = { ...task, plan: Buffer.from('a plan of other bytes').toString('hex') }
    expect(() => specValue({ ...specOf('a'), task: other, input })).toThrowError(/not the one/)
    const long = { ...task, plan: '00'.repeat(4097) }
    expect(() => specValue({ ...specOf('a'), task: long, input })).toThrowError(/at most 4096/)
    // A reader finds out too.
    const wire = Buffer.from(encodeCbor(value))
    wire[wire.indexOf(bytes)] = 0x62
    expect(() => readSpec(new CborReader(wire))).toThrowError(/not the one/)
  })
})

function labelsOf(count: number): Record<string, string> {
  return Object.fromEntries(
    Array.from({ length: count }, (_, i) => [`label ${i}`.padEnd(60, '.'), 'x'.repeat(60)]),
  )
}

function peersOf(count: number): PeerId[] {
  return Array.from({ length: count }, (_, i) => (i + 1).toString(16).padStart(64, '0') as PeerId)
}

describe('runs', () => {
  const run = { entries: [Uint8Array.of(1, 2), new Uint8Array(300)], signature: new Uint8Array(64) }

  it('come back as they were, as views', () => {
    const bytes = encodeRun(run)
    const read = decodeRun(bytes)
    expect(read).toEqual(run)
    expect(read.entries[0]!.buffer).toBe(bytes.buffer)
  })

  it('are bounded', () => {
    const { signature } = run
    const bad = [
      { signature, entries: [] },
      { signature: new Uint8Array(65), entries: run.entries },
      { signature, entries: [new Uint8Array(MAX_ENTRY_BYTES + 1)] },
      { signature, entries: Array.from({ length: MAX_RUN_ENTRIES + 1 }, () => Uint8Array.of(1)) },
      {
        signature,
        entries: Array.from(
          { length: MAX_RUN_BYTES / MAX_ENTRY_BYTES + 1 },
          () => new Uint8Array(MAX_ENTRY_BYTES),
        ),
      },
    ]
    for (const each of bad) {
      expect(() => encodeRun(each)).toThrowError(expect.objectContaining(refused))
      const bytes = encode([each.signature, each.entries])
      expect(() => decodeRun(bytes)).toThrowError(expect.objectContaining(refused))
    }
  })

  it('never make the decoder fail in another way', () => {
    const valid = Buffer.from(encodeRun(run))
    fc.assert(
      fc.property(
        fc.nat(),
        fc.nat(255),
        fc.constantFrom('set', 'cut', 'insert'),
        (where, byte, how) => {
          const bytes = edit(valid, where, byte, how)
          if (soundly(() => decodeRun(bytes)))
            expect(Buffer.from(encodeRun(decodeRun(bytes)))).toEqual(bytes)
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('job records', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(storedJob, (record) => {
        expect(readJobValue(record.job, Buffer.from(jobValue(record)))).toEqual(record)
      }),
    )
  })
})
