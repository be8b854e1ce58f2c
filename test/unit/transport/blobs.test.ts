import { afterEach, describe, expect, it } from 'vitest'
import type { BlobHash } from '../../../src/scheduler/types.ts'
import { blob, chunksOf, collect, gate, hashOf, Mesh, type TestPeer } from './harness.ts'

const MIB = 1024 * 1024
let mesh = new Mesh()
afterEach(async () => {
  await mesh.stop()
  mesh = new Mesh()
})

function offer(from: TestPeer, to: TestPeer, bytes: Uint8Array, chunk?: number): Promise<boolean> {
  const source = chunksOf(bytes, chunk)
  return from.transport.offerBlob(to.id, hashOf(bytes), bytes.length, source)
}

async function fetch(
  from: TestPeer,
  to: TestPeer,
  hash: BlobHash,
): Promise<Uint8Array | undefined> {
  const found = await to.transport.fetchBlob(from.id, hash)
  if (found === undefined) return undefined
  const bytes = await collect(found.source)
  expect(bytes.length).toBe(found.sizeBytes)
  return bytes
}

describe('blobs', () => {
  it.each([0, 1, 2000, 256 * 1024, 256 * 1024 + 1, 4 * MIB, 32 * MIB])(
    'of %i bytes: offered, then fetched back',
    async (size) => {
      const [a, b] = await mesh.pair()
      const { bytes, hash } = blob(size)
      expect(await offer(a, b, bytes)).toBe(true)
      expect(Buffer.compare(b.blobs.get(hash)!, bytes)).toBe(0)
      expect(Buffer.compare((await fetch(b, a, hash))!, bytes)).toBe(0)
    },
  )

  it('however the source is cut up', async () => {
    const [a, b] = await mesh.pair()
    const { bytes, hash } = blob(3 * MIB + 17)
    for (const chunk of [1000, 300_001, 8 * MIB]) {
      b.blobs.clear()
      expect(await offer(a, b, bytes, chunk)).toBe(true)
      expect(Buffer.compare(b.blobs.get(hash)!, bytes)).toBe(0)
    }
  })

  it('that the other one has not are undefined', async () => {
    const [a, b] = await mesh.pair()
    expect(await fetch(b, a, blob(10).hash)).toBeUndefined()
    expect(await fetch(b, a, blob(10).hash)).toBeUndefined()
  })

  it('that the other one does not keep get no receipt', async () => {
    const [a, b] = await mesh.pair()
    const { bytes } = blob(100_000)
    const wrong = blob(1).hash
    const source = chunksOf(bytes)
    expect(await a.transport.offerBlob(b.id, wrong, bytes.length, source)).toBe(false)
  })

  it('offered to one who refuses at once: the source is not read to its end', async () => {
    const [a, b] = await mesh.pair({}, { override: { onBlobOffered: async () => false } })
    let produced = 0
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; produced < 512; produced++) yield new Uint8Array(MIB)
    }
    const source = endless()
    expect(await a.transport.offerBlob(b.id, blob(1).hash, 512 * MIB, source)).toBe(false)
    expect(produced).toBeLessThan(128)
    expect(b.transport.strikes()).toEqual([])
    expect(await offer(a, b, blob(10).bytes)).toBe(false)
  })

  it('above maxBytes are ERR_MESH_TOO_LARGE; the next transfer works', async () => {
    const [a, b] = await mesh.pair()
    const { bytes, hash } = blob(2 * MIB)
    b.blobs.set(hash, bytes)
    await expect(a.transport.fetchBlob(b.id, hash, { maxBytes: MIB })).rejects.toMatchObject({
      code: 'ERR_MESH_TOO_LARGE',
    })
    expect(Buffer.compare((await fetch(b, a, hash))!, bytes)).toBe(0)
    expect(a.transport.strikes()).toEqual([])
  })

  it('64 at a time, both ways, are not mixed up', async () => {
    const [a, b] = await mesh.pair()
    const blobs = Array.from({ length: 64 }, (_, i) => blob(1 + i * 3_001))
    const kept = await Promise.all(
      blobs.map(({ bytes }, i) => (i % 2 === 0 ? offer(a, b, bytes) : offer(b, a, bytes))),
    )
    expect(kept.every(Boolean)).toBe(true)
    const back = await Promise.all(
      blobs.map(({ hash }, i) => (i % 2 === 0 ? fetch(b, a, hash) : fetch(a, b, hash))),
    )
    for (const [i, bytes] of back.entries()) {
      expect(Buffer.compare(bytes!, blobs[i]!.bytes)).toBe(0)
    }
    expect([a.down, b.down]).toEqual([[], []])
  })

  it('wait for a slow consumer: the sender runs ahead by a few MiB at most', async () => {
    const total = 64 * MIB
    let produced = 0
    let consumed = 0
    let ahead = 0
    const [a, b] = await mesh.pair(
      {
        override: {
          onBlobRequested: async () => ({
            sizeBytes: total,
            source: (async function* () {
              for (; produced < total; produced += 256 * 1024) {
                ahead = Math.max(ahead, produced - consumed)
                yield new Uint8Array(256 * 1024)
              }
            })(),
          }),
        },
      },
      {},
    )
    const found = await b.transport.fetchBlob(a.id, blob(1).hash)
    const source = found!.source[Symbol.asyncIterator]()
    const first = await source.next()
    consumed += first.value.length
    // It stops by itself: as many turns of the loop as it likes change nothing, messages go both ways meanwhile.
    let before = -1
    while (before !== produced) {
      before = produced
      for (let i = 0; i < 50; i++) {
        const { length } = b.messages
        a.transport.send(b.id, new Uint8Array(10))
        await b.until('message', () => b.messages.length > length)
      }
    }
    expect(produced - consumed).toBeLessThan(6 * MIB)
    for (;;) {
      const { value, done } = await source.next()
      if (done) break
      consumed += value.length
    }
    expect(consumed).toBe(total)
    expect(ahead).toBeLessThan(12 * MIB)
  })

  it('given up by the signal: ERR_MESH_…, no strike, and the next one works', async () => {
    const asked = gate()
    const [a, b] = await mesh.pair({
      override: {
        onBlobRequested: async (_from, hash) => {
          if (hash !== slow.hash) return { sizeBytes: 3, source: chunksOf(Uint8Array.of(1, 2, 3)) }
          asked.open()
          return new Promise(() => undefined)
        },
      },
    })
    const abort = new AbortController()
    const fetching = b.transport.fetchBlob(a.id, slow.hash, { signal: abort.signal })
    await asked.promise
    abort.abort()
    await expect(fetching).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_MESH_/) })
    expect([...(await fetch(a, b, blob(9).hash))!]).toEqual([1, 2, 3])
    expect([...a.transport.strikes(), ...b.transport.strikes()]).toEqual([])
    const late = AbortSignal.abort()
    await expect(b.transport.fetchBlob(a.id, slow.hash, { signal: late })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_MESH_/),
    })
  })

  it('left half read: the stream is let go, the next one works', async () => {
    const [a, b] = await mesh.pair()
    const { bytes, hash } = blob(16 * MIB)
    a.blobs.set(hash, bytes)
    for (let round = 0; round < 40; round++) {
      const found = await b.transport.fetchBlob(a.id, hash)
      for await (const piece of found!.source) {
        expect(piece.length).toBeGreaterThan(0)
        break
      }
    }
    expect(Buffer.compare((await fetch(a, b, hash))!, bytes)).toBe(0)
    expect([...a.transport.strikes(), ...b.transport.strikes()]).toEqual([])
  })

  it('never read at all: the places are free again', async () => {
    const [a, b] = await mesh.pair()
    const { bytes, hash } = blob(1000)
    a.blobs.set(hash, bytes)
    for (let round = 0; round < 40; round++) {
      const found = await b.transport.fetchBlob(a.id, hash)
      await found!.source[Symbol.asyncIterator]().return?.()
    }
    expect(Buffer.compare((await fetch(a, b, hash))!, bytes)).toBe(0)
  })

  it('a handler of ours that throws is an answer, not an end', async () => {
    let times = 0
    const [a, b] = await mesh.pair(
      {},
      {
        override: {
          onBlobRequested: async () => {
            times += 1
            throw new Error('disk')
          },
          onBlobOffered: async () => {
            times += 1
            throw new Error('disk')
          },
        },
      },
    )
    await expect(fetch(b, a, blob(1).hash)).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_MESH_/),
    })
    expect(await offer(a, b, blob(1000).bytes)).toBe(false)
    expect(times).toBe(2)
    expect([a.transport.strikes(), b.transport.strikes()]).toEqual([[], []])
    expect([a.down, b.down]).toEqual([[], []])
  })

  it('whose source throws: the offer rejects with it, the other side keeps nothing and goes on', async () => {
    let taken: string | undefined
    const [a, b] = await mesh.pair(
      {},
      {
        override: {
          onBlobOffered: async (_from, _hash, _size, source) => {
            try {
              taken = `${(await collect(source)).length} bytes`
            } catch (error) {
              taken = (error as { code: string }).code
              throw error
            }
            return true
          },
        },
      },
    )
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(100_000)
      throw new Error('the disk broke')
    }
    await expect(a.transport.offerBlob(b.id, blob(1).hash, 200_000, broken())).rejects.toThrow(
      'the disk broke',
    )
    expect(await offer(a, b, blob(1000).bytes)).toBe(true)
    expect(taken).toBe('1000 bytes')
    expect(b.transport.strikes()).toEqual([])
    expect(b.down).toEqual([])
  })

  it('that a lost connection cuts short reject', async () => {
    const halfway = gate()
    const [a, b] = await mesh.pair({
      override: {
        onBlobRequested: async () => ({
          sizeBytes: 2 * MIB,
          source: (async function* () {
            yield new Uint8Array(MIB)
            halfway.open()
            await new Promise(() => undefined)
          })(),
        }),
      },
    })
    const found = await b.transport.fetchBlob(a.id, blob(1).hash)
    const reading = collect(found!.source)
    await halfway.promise
    await a.transport.disconnect(b.id)
    await expect(reading).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_MESH_/) })
    expect(b.transport.strikes()).toEqual([])
  })
})

const slow = blob(7)
