import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import {
  decodeNdjson,
  decodeSpans,
  encodeHead,
  encodeSpan,
} from '../../../src/node/control/frames.ts'

async function* cut(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (let i = 0; at < bytes.byteLength; i++) {
    const size = sizes.length === 0 ? bytes.byteLength : sizes[i % sizes.length]! + 1
    yield bytes.subarray(at, at + size)
    at += size
  }
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = []
  for await (const element of source) out.push(element)
  return out
}

const sizes = fc.array(fc.nat(40))
const span = fc.record({
  lo: fc.nat(),
  hi: fc.nat(),
  originLo: fc.nat(),
  bytes: fc.uint8Array({ maxLength: 200 }),
})
const END = { end: true } as const

describe('frames of results', () => {
  it('come out as they went in, however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(span), sizes, async (spans, sizes) => {
        const bytes = Buffer.concat([...spans.flatMap(encodeSpan), encodeHead(END)])
        const back = await all(decodeSpans(cut(bytes, sizes)))
        expect(back.map((s) => ({ ...s, bytes: Buffer.from(s.bytes) }))).toEqual(
          spans.map((s) => ({ ...s, bytes: Buffer.from(s.bytes) })),
        )
      }),
    )
  })

  it('tell a cut stream, and an error, from an end', async () => {
    const span = { lo: 0, hi: 1, originLo: 0, bytes: new Uint8Array(9) }
    const whole = Buffer.concat([...encodeSpan(span), encodeHead(END)])
    for (let length = 0; length < whole.length; length++) {
      await expect(all(decodeSpans(cut(whole.subarray(0, length), [])))).rejects.toMatchObject({
        code: 'ERR_MESH_STOPPED',
      })
    }
    const error = { code: 'ERR_MESH_RESULT_LOST', message: 'gone', details: { lo: 5 } }
    await expect(all(decodeSpans(cut(encodeHead({ error }), [])))).rejects.toMatchObject(error)
  })

  it('do no harm whatever the bytes are', async () => {
    const good = Buffer.concat([
      ...encodeSpan({ lo: 0, hi: 1, originLo: 0, bytes: new Uint8Array(9) }),
      encodeHead(END),
    ])
    const mutated = fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
      const bytes = Uint8Array.from(good)
      bytes[at] = byte
      return bytes
    })
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.uint8Array(), mutated), async (bytes) => {
        for (const decode of [decodeSpans, decodeNdjson]) {
          await all<unknown>(decode(cut(bytes, [7]))).catch((error: unknown) => {
            expect(isMeshError(error)).toBe(true)
          })
        }
      }),
    )
  })

  it('ask for no more memory than a frame may have', async () => {
    const head = (size: number) => {
      const json = Buffer.from(JSON.stringify({ lo: 0, hi: 1, originLo: 0, size }))
      const length = Buffer.alloc(4)
      length.writeUInt32LE(json.length)
      return Buffer.concat([length, json])
    }
    const refused = { code: 'ERR_MESH_PROTOCOL' }
    await expect(all(decodeSpans(cut(head(2 ** 40), [])))).rejects.toMatchObject(refused)
    const long = Buffer.from([0xff, 0xff, 0xff, 0xff])
    await expect(all(decodeSpans(cut(long, [])))).rejects.toMatchObject(refused)
  })
})

describe('NDJSON documents', () => {
  it('come out as they went in, however they are cut', async () => {
    const document = fc.record({ text: fc.string({ unit: 'grapheme' }), n: fc.nat() })
    await fc.assert(
      fc.asyncProperty(fc.array(document), sizes, async (documents, sizes) => {
        const text = [...documents, END].map((d) => `${JSON.stringify(d)}\n`).join('')
        expect(await all(decodeNdjson(cut(Buffer.from(text), sizes)))).toEqual(documents)
      }),
    )
  })

  it('tell a cut stream from an end', async () => {
    const text = '{"a":1}\n{"end":true}'
    await expect(all(decodeNdjson(cut(Buffer.from(text), [])))).rejects.toMatchObject({
      code: 'ERR_MESH_STOPPED',
    })
  })
})
