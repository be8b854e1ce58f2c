import { describe, expect, it } from 'vitest'
import { sha256Hex } from '../../../src/base/bytes.ts'
import { MAX_PIECES_IN_FLIGHT } from '../../../src/client/limits.ts'
import { roughBytes } from '../../../src/client/rough-size.ts'
import { spool } from '../../../src/client/spool.ts'
import { MAX_ITEM_BYTES, MAX_PIECE_BYTES, readManifest } from '../../../src/runtime/manifest.ts'
import { decodeSegments, encodeValue } from '../../../src/runtime/segment.ts'
import type { BlobHash, JobInput } from '../../../src/scheduler/types.ts'

/** A blob store that can be told to hold its answers back. */
function memory() {
  const blobs = new Map<string, Uint8Array>()
  const state = { inFlight: 0, most: 0, puts: 0 }
  return {
    blobs,
    state,
    async putBlob(bytes: Uint8Array) {
      state.inFlight += 1
      state.puts += 1
      state.most = Math.max(state.most, state.inFlight)
      await new Promise((resolve) => setImmediate(resolve))
      state.inFlight -= 1
      const hash = sha256Hex(bytes) as BlobHash
      blobs.set(hash, bytes)
      return { hash, sizeBytes: bytes.byteLength }
    },
  }
}

function read(blobs: ReadonlyMap<string, Uint8Array>, input: JobInput) {
  if (input.kind === 'inline') {
    const items = [...decodeSegments(Buffer.from(input.segment, 'hex'), 0)].flatMap(
      (it) => it.values,
    )
    expect(items).toHaveLength(input.count)
    expect(blobs.size).toBe(0)
    return { pieces: [], items }
  }
  if (input.kind !== 'pieces') throw new Error('no pieces')
  const pieces = readManifest(blobs.get(input.manifest)!)
  const items = pieces.flatMap((piece) => {
    const segments = [...decodeSegments(blobs.get(piece.hash)!, 0)]
    expect(segments).toHaveLength(1)
    expect(segments[0]!.values).toHaveLength(piece.count)
    expect(blobs.get(piece.hash)!.byteLength).toBe(piece.sizeBytes)
    return segments[0]!.values
  })
  expect(items).toHaveLength(input.count)
  return { pieces, items }
}

describe('spooling', () => {
  it.each([
    ['numbers', Array.from({ length: 300_000 }, (_, i) => i * 1.5)],
    [
      'small objects',
      Array.from({ length: 50_000 }, (_, id) => ({ id, name: `n${id}`, ok: true })),
    ],
    ['text that is larger than it is long', Array.from({ length: 3000 }, () => '€'.repeat(400))],
    ['few large items', Array.from({ length: 9 }, (_, i) => String(i).repeat(400_000))],
    [
      'deep ones',
      Array.from({ length: 200 }, () => ({
        a: { b: { c: { d: { e: { f: { g: { h: ['x'.repeat(20_000)] } } } } } } },
      })),
    ],
    ['items of all sizes', Array.from({ length: 40 }, (_, i) => 'x'.repeat(2 ** (i % 20)))],
    ['one item', ['x']],
  ])('cuts %s to pieces of at most 1 MiB, and loses nothing', async (_, items) => {
    const store = memory()
    const result = read(store.blobs, await spool(store, items))
    expect(result.items).toEqual(items)
    for (const piece of result.pieces) expect(piece.sizeBytes).toBeLessThanOrEqual(MAX_PIECE_BYTES)
    expect(store.state.most).toBeLessThanOrEqual(MAX_PIECES_IN_FLIGHT + 1)
  })

  it('gives an item that is larger than a piece a piece of its own, up to a cap', async () => {
    const store = memory()
    const items = ['a', 'x'.repeat(3_000_000), 'b']
    const { pieces, items: back } = read(store.blobs, await spool(store, items))
    expect(back).toEqual(items)
    expect(pieces.map((piece) => piece.count)).toContain(1)
    await expect(spool(memory(), ['a', new Uint8Array(MAX_ITEM_BYTES)])).rejects.toMatchObject({
      code: 'ERR_MESH_VALUE_TOO_LARGE',
      message: expect.stringMatching(/^item 1 is 16\.0 MiB encoded, and one item may be 16 MiB/),
      details: { index: 1 },
    })
  })

  it('takes an endless stream no faster than it can be written, in bounded memory', async () => {
    const store = memory()
    let taken = 0
    let most = 0
    async function* source() {
      for (let i = 0; i < 40; i++) {
        taken += 1
        most = Math.max(most, taken - store.state.puts)
        yield new Uint8Array(900_000)
      }
    }
    const input = await spool(store, source())
    expect(input.count).toBe(40)
    expect(most).toBeLessThanOrEqual(2)
  })

  it('lets others run while it walks a long list', async () => {
    let turns = 0
    const count = () => {
      turns += 1
      pending = setImmediate(count)
    }
    let pending = setImmediate(count)
    await spool(
      memory(),
      Array.from({ length: 1_000_000 }, (_, i) => i),
    )
    clearImmediate(pending)
    expect(turns).toBeGreaterThan(5)
  })

  it('needs no blobs for no items', async () => {
    const store = memory()
    expect(await spool(store, [])).toEqual({ kind: 'range', start: 0, count: 0 })
    expect(store.state.puts).toBe(0)
  })

  it('ends with the error of the store, and with that of the source', async () => {
    const broken = { putBlob: () => Promise.reject(new Error('disk')) }
    const items = Array.from({ length: 600_000 }, (_, i) => i)
    await expect(spool(broken, items)).rejects.toThrow('disk')
    await expect(spool(broken, ['x'.repeat(5000)])).rejects.toThrow('disk')
    async function* source() {
      yield 1
      throw new Error('source')
    }
    await expect(spool(memory(), source())).rejects.toThrow('source')
  })

  it('guesses sizes well enough', () => {
    const values = [
      1,
      'x'.repeat(1000),
      new Uint8Array(5000),
      Array.from({ length: 10_000 }, (_, i) => i * 0.1),
      { a: { b: ['text', 'more text', 7.5] }, c: new Map([['k', 'v'.repeat(500)]]) },
      Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`key${i}`, 'value'])),
      new Set(Array.from({ length: 500 }, (_, i) => `member ${i}`)),
    ]
    for (const value of values) {
      const exact = encodeValue(value).byteLength
      expect(roughBytes(value)).toBeGreaterThan(exact * 0.5)
      expect(roughBytes(value)).toBeLessThan(exact * 2 + 16)
    }
  })
})
