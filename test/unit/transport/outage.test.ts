import { randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { freePort, TcpProxy } from '../../helpers/tcp-proxy.ts'
import { endChildren, spawnPeer } from './child.ts'
import { Mesh, type PeerPlan, type TestPeer, totalStrikes } from './harness.ts'

let mesh = new Mesh()
const proxies: TcpProxy[] = []
afterEach(async () => {
  endChildren()
  await mesh.stop()
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
  mesh = new Mesh()
})

const MIB = 1024 * 1024
const BACK_MS = 4_000

/** A peer that others reach through a proxy only: it announces the proxy's address. */
async function behindProxy(): Promise<{ peer: TestPeer; proxy: TcpProxy; plan: PeerPlan }> {
  const port = await freePort()
  const proxy = await TcpProxy.create(port)
  proxies.push(proxy)
  const plan = {
    privateKey: new Uint8Array(randomBytes(32)),
    listen: [`/ip4/127.0.0.1/tcp/${port}`],
    announce: [`/ip4/127.0.0.1/tcp/${proxy.port}`],
  }
  return { peer: await mesh.peer(plan), proxy, plan }
}

/** Both ways through the same connection. */
async function talk(a: TestPeer, b: TestPeer, word: number): Promise<void> {
  const has = (peer: TestPeer): boolean => peer.messages.some(({ bytes }) => bytes[0] === word)
  a.transport.send(b.id, Uint8Array.of(word))
  b.transport.send(a.id, Uint8Array.of(word))
  await a.until('message', () => has(a))
  await b.until('message', () => has(b))
}

describe('an announced address', () => {
  it('is what others are told, in place of the listening one', async () => {
    const { peer: b, proxy, plan } = await behindProxy()
    expect(b.transport.addresses()).toEqual([
      expect.stringContaining(`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/`),
    ])
    const a = await mesh.peer()
    await mesh.connect(b, a)
    await a.until('told where it listens', () => a.identified.has(b.id))
    expect(proxy.connections).toBe(0)
    await b.transport.stop()
    const again = await mesh.peer(plan)
    await again.until('found', () => again.up.includes(a.id))
    expect(proxy.connections).toBe(1)
  })

  it.each(['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1', 'somewhere'])(
    '%j: ERR_MESH_ADDRESS_INVALID',
    async (address) => {
      await expect(mesh.peer({ announce: [address] })).rejects.toMatchObject({
        code: 'ERR_MESH_ADDRESS_INVALID',
      })
    },
  )
})

describe('a connection that is dead though both sides believe in it', () => {
  it.each(['smaller', 'greater'])(
    'is replaced once a new one can be had: dialled by the %s id',
    async (dialler) => {
      const [one, other] = [await behindProxy(), await behindProxy()]
      const oneFirst = one.peer.id < other.peer.id === (dialler === 'smaller')
      const [a, b] = oneFirst ? [one.peer, other.peer] : [other.peer, one.peer]
      await mesh.connect(a, b)
      await Promise.all([
        a.until('told where it listens', () => a.identified.has(b.id)),
        b.until('told where it listens', () => b.identified.has(a.id)),
      ])
      await talk(a, b, 1)
      await Promise.all(proxies.map((proxy) => proxy.freeze()))
      await Promise.all(
        [a, b].map((p) => p.until('noticed', () => p.notes.includes('peer silent'))),
      )
      const healed = performance.now()
      for (const proxy of proxies) proxy.thaw('new')
      await a.until('up again', () => a.up.length === 2)
      await b.until('up again', () => b.up.length === 2)
      expect(performance.now() - healed).toBeLessThan(BACK_MS)
      // Nobody was declared gone, nobody was blamed.
      expect([...a.down, ...b.down].map(({ refused }) => refused)).toEqual([false, false])
      expect([totalStrikes(a), totalStrikes(b)]).toEqual([0, 0])
      await talk(a, b, 2)
    },
  )

  it('and heals by itself stays', async () => {
    const { peer: b, proxy } = await behindProxy()
    const a = await mesh.peer()
    await mesh.connect(a, b)
    await proxy.freeze()
    await a.until('noticed', () => a.notes.includes('peer silent'))
    a.transport.send(b.id, Uint8Array.of(1))
    proxy.thaw()
    await b.until('message', () => b.messages.length === 1)
    expect(a.up.length).toBeLessThanOrEqual(2)
    await talk(a, b, 2)
  })

  it('holds back only so much, and its peer is not blamed', async () => {
    const { peer: b, proxy } = await behindProxy()
    const a = await mesh.peer()
    await mesh.connect(a, b)
    await proxy.freeze()
    await a.until('noticed', () => a.notes.includes('peer silent'))
    let sent = 0
    while (a.transport.send(b.id, new Uint8Array(MIB / 4))) {
      sent += MIB / 4
      await new Promise((resolve) => setImmediate(resolve))
      if (sent > 256 * MIB) break
    }
    expect(sent).toBeLessThan(128 * MIB)
    await a.until('down', () => a.down.length > 0)
    expect(a.down[0]).toEqual({ peer: b.id, refused: false })
    expect(a.transport.strikes()).toEqual([])
  })
})

describe('a peer', () => {
  it('that was reset is connected again, each time, and nothing is left of it', async () => {
    const [a, b] = [(await behindProxy()).peer, (await behindProxy()).peer]
    await mesh.connect(a, b)
    await Promise.all([
      a.until('told where it listens', () => a.identified.has(b.id)),
      b.until('told where it listens', () => b.identified.has(a.id)),
    ])
    let sockets = 0
    for (let round = 1; round <= 10; round += 1) {
      // Whoever dialled, it was through one of them.
      for (const proxy of proxies) proxy.reset()
      await a.until('up again', () => a.up.length === round + 1)
      await b.until('up again', () => b.up.length === round + 1)
      expect([a.down.length, b.down.length]).toEqual([round, round])
      if (round === 2) sockets = openSockets()
    }
    await talk(a, b, 1)
    expect([...a.down, ...b.down].every(({ refused }) => !refused)).toBe(true)
    expect(openSockets()).toBeLessThanOrEqual(sockets + 4)
    expect([totalStrikes(a), totalStrikes(b)]).toEqual([0, 0])
  })

  it('killed and started again on its port is back within two seconds', async () => {
    const a = await mesh.peer()
    const seed = new Uint8Array(randomBytes(32))
    const port = await freePort()
    const first = await spawnPeer(mesh.key, { seed, port })
    const id = await a.transport.dial(first.address)
    await a.until('connected', () => a.up.length === 1)
    const killed = performance.now()
    first.child.kill('SIGKILL')
    await a.until('down', () => a.down.length === 1)
    expect(a.down).toEqual([{ peer: id, refused: true }])
    expect(performance.now() - killed).toBeLessThan(1_500)
    await spawnPeer(mesh.key, { seed, port })
    const listens = performance.now()
    await a.until('up again', () => a.up.length === 2)
    expect(performance.now() - listens).toBeLessThan(BACK_MS)
  })

  it('stopped and continued finds its way back, and answers', async () => {
    const a = await mesh.peer()
    const { child, address } = await spawnPeer(mesh.key)
    const id = await a.transport.dial(address)
    await a.until('connected', () => a.up.length === 1)
    child.kill('SIGSTOP')
    await a.until('noticed', () => a.notes.includes('peer silent'))
    expect(a.transport.connected()).toEqual([id])
    child.kill('SIGCONT')
    const continued = performance.now()
    a.transport.send(id, Uint8Array.of(7))
    await a.until('connected and answering', () => {
      if (a.messages.length > 0) return true
      a.transport.send(id, Uint8Array.of(8))
      return false
    })
    expect(performance.now() - continued).toBeLessThan(BACK_MS)
    expect(a.down.every(({ refused }) => !refused)).toBe(true)
  })
})

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length
}
