import { afterEach, describe, expect, it } from 'vitest'
import { Mesh } from './harness.ts'

let mesh = new Mesh()
afterEach(async () => {
  await mesh.stop()
  mesh = new Mesh()
})

describe('gossip', () => {
  it('reaches three peers, each once, at once after connecting', async () => {
    const [a, b, c, d] = await Promise.all([mesh.peer(), mesh.peer(), mesh.peer(), mesh.peer()])
    for (const peer of [b, c, d]) await mesh.connect(peer, a)
    await a.untilGossips(3)
    a.transport.publish('adverts', Uint8Array.of(1, 2, 3))
    for (const peer of [b, c, d]) await peer.until('gossip', () => peer.gossip.length === 1)
    for (const peer of [b, c, d]) {
      expect(peer.gossip).toMatchObject([{ topic: 'adverts', via: a.id }])
      expect([...peer.gossip[0]!.bytes]).toEqual([1, 2, 3])
    }
    expect(a.gossip).toEqual([])
  })

  it('goes on to peers that the author is not connected to, on all three topics', async () => {
    const [a, b, c] = await Promise.all([mesh.peer(), mesh.peer(), mesh.peer()])
    await mesh.connect(a, b)
    await mesh.connect(b, c)
    await a.untilGossips(1)
    await b.untilGossips(2)
    const topics = ['adverts', 'jobs', 'entries'] as const
    for (const [i, topic] of topics.entries()) a.transport.publish(topic, Uint8Array.of(i))
    await c.until('three', () => new Set(c.gossip.map(({ topic }) => topic)).size === 3)
    for (const { topic, bytes } of c.gossip) expect(topics[bytes[0]!]).toBe(topic)
  })

  it('of 256 KiB is carried, of more refused', async () => {
    const [a, b] = await mesh.pair()
    await a.untilGossips(1)
    const large = new Uint8Array(256 * 1024).fill(5)
    a.transport.publish('entries', large)
    await b.until('gossip', () => b.gossip.length === 1)
    expect(Buffer.compare(b.gossip[0]!.bytes, large)).toBe(0)
    expect(() => a.transport.publish('entries', new Uint8Array(256 * 1024 + 1))).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_TOO_LARGE' }),
    )
  })

  it('that is refused is a strike for who passed it on, and goes no further', async () => {
    const [a, b, c] = await Promise.all([
      mesh.peer(),
      mesh.peer({ override: { onGossip: (_topic, bytes) => bytes[0] !== 0 } }),
      mesh.peer(),
    ])
    await mesh.connect(c, b)
    await mesh.connect(a, b)
    await a.untilGossips(1)
    await b.untilGossips(2)
    a.transport.publish('jobs', Uint8Array.of(0))
    await b.until('refused', () => b.gossip.length === 1)
    expect(b.transport.strikes()).toMatchObject([{ peer: a.id, count: 1 }])
    b.transport.publish('jobs', Uint8Array.of(9))
    await c.until('the next', () => c.gossip.length === 1)
    expect([...c.gossip[0]!.bytes]).toEqual([9])
  })

  it('at which a handler of ours throws is nobody else’s fault', async () => {
    let calls = 0
    const [a, b] = await mesh.pair(
      {},
      {
        override: {
          onGossip: () => {
            calls += 1
            if (calls === 1) throw new Error('ours')
            return true
          },
        },
      },
    )
    await a.untilGossips(1)
    a.transport.publish('jobs', Uint8Array.of(1))
    await b.until('first', () => calls === 1)
    a.transport.publish('jobs', Uint8Array.of(2))
    await b.until('second', () => calls === 2)
    expect(b.transport.strikes()).toEqual([])
    expect(b.down).toEqual([])
  })

  it('with nobody there is lost without a word', async () => {
    const a = await mesh.peer()
    a.transport.publish('adverts', Uint8Array.of(1))
    const b = await mesh.peer()
    await mesh.connect(a, b)
    await a.untilGossips(1)
    a.transport.publish('adverts', Uint8Array.of(2))
    await b.until('gossip', () => b.gossip.length === 1)
    expect([...b.gossip[0]!.bytes]).toEqual([2])
  })
})
