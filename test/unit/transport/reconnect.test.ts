import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { endChildren, spawnPeer } from './child.ts'
import { blob, Mesh, type TestPeer } from './harness.ts'

let mesh = new Mesh()
afterEach(async () => {
  endChildren()
  await mesh.stop()
  mesh = new Mesh()
})

async function restarted(peer: TestPeer, seed: Uint8Array): Promise<TestPeer> {
  await peer.transport.stop()
  return mesh.peer({ privateKey: seed, listen: [peer.address.replace(/\/p2p\/.*/, '')] })
}

describe('a peer that is lost', () => {
  it('by SIGKILL: gone for good, said within a second or so', async () => {
    const a = await mesh.peer()
    const { child, address } = await spawnPeer(mesh.key)
    const id = await a.transport.dial(address)
    await a.until('connected', () => a.up.includes(id))
    child.kill('SIGKILL')
    await a.until('down', () => a.down.length === 1)
    expect(a.down).toEqual([{ peer: id, refused: true }])
    expect(a.transport.strikes()).toEqual([])
  })

  it('by SIGKILL, also when it was the one who dialled', async () => {
    const a = await mesh.peer()
    const { child } = await spawnPeer(mesh.key, { bootstrap: [a.address] })
    await a.until('connected', () => a.up.length === 1)
    await a.until('known where it listens', () => a.identified.has(a.up[0]!))
    child.kill('SIGKILL')
    await a.until('down', () => a.down.length === 1)
    expect(a.down).toEqual([{ peer: a.up[0], refused: true }])
  })

  it('comes back: the one who dialled it dials again', async () => {
    const seed = new Uint8Array(randomBytes(32))
    const [a, b] = await mesh.pair({}, { privateKey: seed })
    const again = await restarted(b, seed)
    expect(again.id).toBe(b.id)
    await a.until('up again', () => a.up.length === 2)
    await again.until('connected', () => again.up.includes(a.id))
    expect(a.down.map(({ peer }) => peer)).toEqual([b.id])
    a.transport.send(again.id, Uint8Array.of(5))
    await again.until('message', () => again.messages.length === 1)
  })

  it('comes back: also to one that it had dialled itself', async () => {
    const seed = new Uint8Array(randomBytes(32))
    const a = await mesh.peer({ privateKey: seed })
    const b = await mesh.peer({ bootstrap: [a.address] })
    await b.until('connected', () => b.up.includes(a.id))
    await a.until('connected', () => a.up.includes(b.id))
    const again = await restarted(a, seed)
    await again.until('connected', () => again.up.includes(b.id))
    await b.until('up again', () => b.up.length === 2)
  })

  it('comes back before its loss was told: down first, then up', async () => {
    const seed = new Uint8Array(randomBytes(32))
    const [a, b] = await mesh.pair({}, { privateKey: seed })
    const order: string[] = []
    a.override.onPeerConnected = () => order.push('up')
    a.override.onPeerDisconnected = () => order.push('down')
    const stopped = b.transport.stop()
    await stopped
    const again = await mesh.peer({ privateKey: seed })
    await mesh.connect(again, a)
    await a.until('both', () => order.length === 2)
    expect(order).toEqual(['down', 'up'])
  })

  it('in mid-transfer: the transfer rejects, nobody is struck', async () => {
    const [a, b] = await mesh.pair()
    const { bytes, hash } = blob(32 * 1024 * 1024)
    b.blobs.set(hash, bytes)
    const found = await a.transport.fetchBlob(b.id, hash)
    const source = found!.source[Symbol.asyncIterator]()
    await source.next()
    const rest = (async () => {
      while (!(await source.next()).done);
    })()
    rest.catch(() => undefined)
    await b.transport.stop()
    await expect(rest).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_MESH_/) })
    expect(a.transport.strikes()).toEqual([])
  })
})

describe('peers that hear of each other', () => {
  it('from third parties connect once, though both are told at the same time', async () => {
    const peers = await Promise.all(Array.from({ length: 4 }, () => mesh.peer()))
    for (const one of peers) {
      for (const other of peers) if (one !== other) one.transport.learn(other.id, [other.address])
    }
    for (const peer of peers) await peer.until('all', () => peer.transport.connected().length === 3)
    for (const peer of peers) {
      expect(peer.up.length).toBe(3)
      expect(peer.down).toEqual([])
    }
  })
})
