import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { decodeMessage, decodeRuns } from '../../../src/node/wire/decode.ts'
import { encodeMessage, encodeRuns } from '../../../src/node/wire/encode.ts'
import {
  MAX_FEEDS,
  MAX_GOSSIP_BYTES,
  MAX_HELLO_JOBS,
  MAX_LOG_LINES,
  MAX_MESSAGE_BYTES,
  MAX_RUNNING,
  MAX_RUNS,
} from '../../../src/node/wire/limits.ts'
import { KINDS, type WireMessage } from '../../../src/node/wire/messages.ts'
import type { JobId, PeerId, SessionId } from '../../../src/scheduler/types.ts'
import { damaged, message, messages, run } from './arbitrary.ts'

/** Plain arrays, so that a view of a Buffer equals a Uint8Array. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, each) => (each instanceof Uint8Array ? [...each] : each)),
  )
}

/** Decodes or says ERR_MESH_PROTOCOL; anything else is our own fault. */
function survives(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): boolean {
  try {
    decode(bytes)
    return true
  } catch (error) {
    if (!isMeshError(error, 'ERR_MESH_PROTOCOL')) throw error
    return false
  }
}

describe('messages', () => {
  it.each(Object.keys(KINDS) as WireMessage['kind'][])('%s comes back as it was', (kind) => {
    fc.assert(
      fc.property(messages[kind] as fc.Arbitrary<WireMessage>, (value) => {
        const back = decodeMessage(encodeMessage(value))
        expect(plain(back)).toEqual(plain(value))
        expect(Buffer.compare(encodeMessage(back), encodeMessage(value))).toBe(0)
      }),
    )
  })

  it('random bytes are refused, with ERR_MESH_PROTOCOL', () => {
    let whole = 0
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        whole += Number(survives(decodeMessage, bytes))
        survives(decodeRuns, bytes)
      }),
      { numRuns: 5000 },
    )
    expect(whole).toBeLessThan(5)
  })

  it('random bytes behind a right beginning are refused', () => {
    const begun = fc
      .tuple(fc.integer({ min: 1, max: 8 }), fc.nat(15), fc.uint8Array({ maxLength: 120 }))
      .map(([fields, kind, rest]) => Uint8Array.of(0x80 | fields, kind, ...rest))
    fc.assert(
      fc.property(begun, (bytes) => void survives(decodeMessage, bytes)),
      { numRuns: 5000 },
    )
  })

  it('damaged ones are refused or mean something else, and never do more', () => {
    const cases = message.chain((value) => damaged(encodeMessage(value)))
    fc.assert(
      fc.property(cases, (bytes) => {
        if (!survives(decodeMessage, bytes)) return
        // What is read is canonical: it is written the same way again.
        expect(Buffer.compare(encodeMessage(decodeMessage(bytes)), bytes)).toBe(0)
      }),
      { numRuns: 5000 },
    )
  })

  it('with something behind them are refused', () => {
    fc.assert(
      fc.property(message, fc.uint8Array({ minLength: 1, maxLength: 9 }), (value, more) => {
        const bytes = Buffer.concat([encodeMessage(value), more])
        expect(survives(decodeMessage, bytes)).toBe(false)
      }),
    )
  })

  it('a rate beyond what is exact is refused, and one of this peer’s own is cut', () => {
    const steal = { kind: 'lifeline', job: J, session: head.session, idle: 1 } as const
    const back = decodeMessage(encodeMessage({ ...steal, rate: 1e300 }))
    expect(back).toEqual({ ...steal, rate: 1e12 })
    const bytes = Buffer.from(encodeMessage({ ...steal, rate: 1e12 }))
    const at = bytes.indexOf(Buffer.from('1b00038d7ea4c68000', 'hex'))
    bytes[at + 8] = 1
    expect(survives(decodeMessage, bytes)).toBe(false)
  })

  it('above the cap are refused on both sides', () => {
    const large = { entries: [new Uint8Array(16_000)], signature: new Uint8Array(64) }
    const many: WireMessage = { kind: 'entries', runs: Array.from({ length: 70 }, () => large) }
    expect(() => encodeMessage(many)).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }),
    )
    expect(survives(decodeMessage, new Uint8Array(MAX_MESSAGE_BYTES + 1))).toBe(false)
  })

  const J = 'ab'.repeat(32) as JobId
  const one = { entries: [Uint8Array.of(1)], signature: new Uint8Array(64) }
  const head = {
    author: J as unknown as PeerId,
    session: 'cd'.repeat(16) as SessionId,
    seq: 1,
    hash: J as never,
  }
  const line = { job: J, peer: J, at: new Date(0).toISOString(), stream: 'log' as const, text: '' }
  const lists: Record<string, [number, (count: number) => WireMessage]> = {
    'jobs of a hello': [
      MAX_HELLO_JOBS,
      (n) => ({ kind: 'hello', version: '1', advert: Uint8Array.of(), jobs: Array(n).fill(J) }),
    ],
    runs: [MAX_RUNS, (n) => ({ kind: 'entries', runs: Array(n).fill(one) })],
    'running chunks': [
      MAX_RUNNING,
      (n) => ({
        kind: 'stealAnswer',
        job: J,
        nonce: 1,
        granted: false,
        running: Array(n).fill({ lo: 0, hi: 1, ageMs: 1 }),
        runs: [],
      }),
    ],
    heads: [MAX_FEEDS, (n) => ({ kind: 'heads', job: J, heads: Array(n).fill(head), reply: true })],
    'log lines': [
      MAX_LOG_LINES,
      (n) => ({ kind: 'logs', id: 1, lines: Array(n).fill(line), end: true }),
    ],
  }
  it.each(Object.keys(lists))('as many %s as allowed, not one more', (name) => {
    const [max, build] = lists[name]!
    expect(decodeMessage(encodeMessage(build(max))).kind).toBe(build(0).kind)
    expect(() => encodeMessage(build(max + 1))).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }),
    )
  })

  it('a list that says it is long costs nothing before its elements are there', () => {
    // hello with jobs: array of 2^32 - 1, and nothing behind.
    const bytes = Uint8Array.of(0x84, 0, 0x61, 0x31, 0x40, 0x9a, 0xff, 0xff, 0xff, 0xff)
    expect(survives(decodeMessage, bytes)).toBe(false)
  })
})

describe('runs as gossiped', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(fc.array(run, { minLength: 1, maxLength: 6 }), (runs) => {
        expect(plain(decodeRuns(encodeRuns(runs)))).toEqual(plain(runs))
      }),
    )
  })

  it('damaged ones are refused or mean something else, and never do more', () => {
    const cases = fc
      .array(run, { minLength: 1, maxLength: 4 })
      .chain((runs) => damaged(encodeRuns(runs)))
    fc.assert(
      fc.property(cases, (bytes) => {
        if (survives(decodeRuns, bytes)) {
          expect(Buffer.compare(encodeRuns(decodeRuns(bytes)), bytes)).toBe(0)
        }
      }),
      { numRuns: 3000 },
    )
  })

  it('none, and too many bytes, are refused on both sides', () => {
    expect(() => encodeRuns([])).toThrow(expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }))
    expect(survives(decodeRuns, Uint8Array.of(0x80))).toBe(false)
    expect(survives(decodeRuns, new Uint8Array(MAX_GOSSIP_BYTES + 1))).toBe(false)
    const large = { entries: [new Uint8Array(16_000)], signature: new Uint8Array(64) }
    expect(() => encodeRuns(Array.from({ length: 17 }, () => large))).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }),
    )
  })
})
