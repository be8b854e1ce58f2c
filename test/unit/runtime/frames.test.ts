import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameReader, frameHead } from '../../../src/runtime/worker/frames.ts'

function read(chunks: Buffer[]): [number, string][] {
  const frames: [number, string][] = []
  const reader = new FrameReader((type, payload) => frames.push([type, payload.toString('hex')]))
  for (const chunk of chunks) reader.push(chunk)
  return frames
}
const frame = (type: number, payload: Uint8Array): Buffer =>
  Buffer.concat([frameHead(type, payload.length), payload])

describe('frames', () => {
  it('come out whole however the stream was cut', () => {
    const frames = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 255 }), fc.uint8Array({ maxLength: 40 })),
    )
    const sizes = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 })
    fc.assert(
      fc.property(frames, sizes, (sent, cuts) => {
        const stream = Buffer.concat(sent.map(([type, payload]) => frame(type, payload)))
        const chunks: Buffer[] = []
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length]!
          chunks.push(stream.subarray(at, at + size))
          at += size
        }
        const expected = sent.map(([type, it]) => [type, Buffer.from(it).toString('hex')])
        expect(read(chunks)).toEqual(expected)
      }),
    )
  })

  it.each([0, 80 * 2 ** 20 + 1, 0xffffffff])('of %d bytes are refused at their head', (size) => {
    const head = Buffer.alloc(4)
    head.writeUInt32LE(size)
    expect(() => read([head])).toThrow(expect.objectContaining({ code: 'ERR_MESH_PROTOCOL' }))
  })
})
