import { afterEach, describe, expect, it } from 'vitest'
import { Mesh } from './harness.ts'

const mesh = new Mesh()
afterEach(() => mesh.stop())

describe('the pre-shared key’s cipher', () => {
  // xsalsa20 leaked after one input of 640 KiB, until the process died (libp2p-node.ts).
  it('survives a backlog of megabytes, and traffic both ways after it', async () => {
    const [a, b] = await mesh.pair()
    const large = new Uint8Array(1024 * 1024)
    for (let i = 0; i < 16; i++) expect(a.transport.send(b.id, large)).toBe(true)
    await b.until('the backlog', () => b.messages.length === 16)
    for (let round = 1; round <= 700; round++) {
      a.transport.send(b.id, Uint8Array.of(1))
      await b.until('ping', () => b.messages.length === 16 + round)
      b.transport.send(a.id, Uint8Array.of(2))
      await a.until('pong', () => a.messages.length === round)
    }
    expect(a.transport.connected()).toEqual([b.id])
  })
})
