import { createServer } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { Mesh, type TestPeer } from './harness.ts'

let mesh = new Mesh()
afterEach(async () => {
  await mesh.stop()
  mesh = new Mesh()
})

describe('two members', () => {
  it('are connected on both sides, once, whoever dials', async () => {
    const [a, b] = await mesh.pair()
    expect(a.up).toEqual([b.id])
    expect(b.up).toEqual([a.id])
    expect(a.transport.connected()).toEqual([b.id])
    const seen = a.transport.connection(b.id)
    expect(seen?.address).toContain('/ip4/127.0.0.1/tcp/')
    expect(b.transport.connection(a.id)).toBeDefined()
    expect(a.transport.strikes()).toEqual([])
  })

  it('dial names the peer, and dialling it again changes nothing', async () => {
    const [a, b] = await mesh.pair()
    expect(await a.transport.dial(b.address)).toBe(b.id)
    expect(await b.transport.dial(a.address)).toBe(a.id)
    expect(a.up).toEqual([b.id])
    expect(b.up).toEqual([a.id])
  })

  it('an address without a peer id will do', async () => {
    const [a, b] = await Promise.all([mesh.peer(), mesh.peer()])
    expect(await a.transport.dial(b.address.replace(/\/p2p\/.*/, ''))).toBe(b.id)
  })

  it('disconnect closes on both sides', async () => {
    const [a, b] = await mesh.pair()
    await a.transport.disconnect(b.id)
    await b.until('down', () => b.down.length === 1)
    await a.until('down', () => a.down.length === 1)
    // Both processes live on: neither re-dial was refused.
    expect(a.down).toEqual([{ peer: b.id, refused: false }])
    expect(b.down).toEqual([{ peer: a.id, refused: false }])
  })

  it('a bootstrap address is dialled by itself', async () => {
    const a = await mesh.peer()
    const b = await mesh.peer({ bootstrap: [a.address] })
    await b.until('connected', () => b.up.includes(a.id))
    await a.until('connected', () => a.up.includes(b.id))
  })

  it('learn dials what it is told of, from either side', async () => {
    const [a, b] = await Promise.all([mesh.peer(), mesh.peer()])
    a.transport.learn(b.id, ['not an address', b.address])
    await a.until('connected', () => a.up.includes(b.id))
    const c = await mesh.peer()
    c.transport.learn(a.id, [a.address])
    await c.until('connected', () => c.up.includes(a.id))
  })

  it('a simultaneous dial from both sides does not flap', async () => {
    for (let round = 0; round < 5; round++) {
      const [a, b] = await Promise.all([mesh.peer(), mesh.peer()])
      await Promise.all([a.transport.dial(b.address), b.transport.dial(a.address)])
      await both(a, b)
      // What one sends now arrives, also if one of two connections went: nothing is sent between its end and an event.
      for (let i = 0; i < 20; i++) {
        a.transport.send(b.id, Uint8Array.of(1, i))
        b.transport.send(a.id, Uint8Array.of(2, i))
      }
      await a.until('messages', () => a.messages.length === 20)
      await b.until('messages', () => b.messages.length === 20)
      expect([a.up, a.down, b.up, b.down]).toEqual([[b.id], [], [a.id], []])
    }
  })

  it('32 join one at once', async () => {
    const hub = await mesh.peer()
    const plan = { bootstrap: [hub.address] }
    const spokes = await Promise.all(Array.from({ length: 32 }, () => mesh.peer(plan)))
    await hub.until('32 connected', () => hub.transport.connected().length === 32)
    await Promise.all(
      spokes.map((spoke) => spoke.until('connected', () => spoke.up.includes(hub.id))),
    )
    for (const spoke of spokes) spoke.transport.send(hub.id, new Uint8Array(1000))
    await hub.until('32 messages', () => hub.messages.length === 32)
    expect(hub.down).toEqual([])
  })
})

describe('what cannot be', () => {
  it('a peer of another mesh: ERR_MESH_TICKET_REFUSED, both go on', async () => {
    const [a, b] = await mesh.pair()
    const stranger = await mesh.peer({ meshKey: new Uint8Array(32).fill(9) })
    await expect(stranger.transport.dial(a.address)).rejects.toMatchObject({
      code: 'ERR_MESH_TICKET_REFUSED',
    })
    expect(stranger.up).toEqual([])
    expect(a.up).toEqual([b.id])
    a.transport.send(b.id, Uint8Array.of(1))
    await b.until('message', () => b.messages.length === 1)
  })

  it('nobody there: ERR_MESH_UNREACHABLE', async () => {
    const a = await mesh.peer()
    const gone = await mesh.peer()
    await gone.transport.stop()
    await expect(a.transport.dial(gone.address)).rejects.toMatchObject({
      code: 'ERR_MESH_UNREACHABLE',
    })
  })

  it('somebody who never answers: ERR_MESH_UNREACHABLE when the signal aborts', async () => {
    const silent = createServer()
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = silent.address() as { port: number }
      const a = await mesh.peer()
      const abort = new AbortController()
      silent.once('connection', () => abort.abort())
      await expect(
        a.transport.dial(`/ip4/127.0.0.1/tcp/${port}`, abort.signal),
      ).rejects.toMatchObject({ code: 'ERR_MESH_UNREACHABLE' })
    } finally {
      silent.close()
    }
  })

  it('an address that is somebody else by now: ERR_MESH_UNREACHABLE or refused, never connected', async () => {
    const [a, b, c] = await Promise.all([mesh.peer(), mesh.peer(), mesh.peer()])
    const wrong = b.address.replace(/\/p2p\/.*/, c.address.slice(c.address.indexOf('/p2p/')))
    await expect(a.transport.dial(wrong)).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_MESH_(UNREACHABLE|TICKET_REFUSED)$/),
    })
    expect(a.up).toEqual([])
  })

  it.each(['', 'localhost:4001', '/ip4/300.1.1.1/tcp/1', '/ip4/127.0.0.1/tcp/x', '/foo/bar'])(
    'address %j: ERR_MESH_ADDRESS_INVALID',
    async (address) => {
      const a = await mesh.peer()
      await expect(a.transport.dial(address)).rejects.toMatchObject({
        code: 'ERR_MESH_ADDRESS_INVALID',
      })
      await expect(mesh.peer({ listen: [address] })).rejects.toMatchObject({
        code: 'ERR_MESH_ADDRESS_INVALID',
      })
      await expect(mesh.peer({ bootstrap: [address] })).rejects.toMatchObject({
        code: 'ERR_MESH_ADDRESS_INVALID',
      })
    },
  )

  it('an address this machine does not have: ERR_MESH_ADDRESS_INVALID', async () => {
    await expect(mesh.peer({ listen: ['/ip4/192.0.2.1/tcp/0'] })).rejects.toMatchObject({
      code: 'ERR_MESH_ADDRESS_INVALID',
    })
  })

  it('a port in use: ERR_MESH_PORT_IN_USE', async () => {
    const a = await mesh.peer()
    const listen = [a.address.replace(/\/p2p\/.*/, '')]
    await expect(mesh.peer({ listen })).rejects.toMatchObject({ code: 'ERR_MESH_PORT_IN_USE' })
  })

  it('a peer that is not connected gets nothing', async () => {
    const [a, b] = await Promise.all([mesh.peer(), mesh.peer()])
    expect(a.transport.send(b.id, Uint8Array.of(1))).toBe(false)
    expect(a.transport.connection(b.id)).toBeUndefined()
    await expect(a.transport.fetchBlob(b.id, '0'.repeat(64) as never)).rejects.toMatchObject({
      code: 'ERR_MESH_UNREACHABLE',
    })
    await a.transport.disconnect(b.id)
  })
})

function both(a: TestPeer, b: TestPeer): Promise<unknown> {
  return Promise.all([
    a.until('connected', () => a.transport.connected().includes(b.id)),
    b.until('connected', () => b.transport.connected().includes(a.id)),
  ])
}
