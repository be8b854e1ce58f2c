import { afterEach, describe, expect, it } from 'vitest'
import { Mesh, totalStrikes } from './harness.ts'
import { RawMember } from './raw-member.ts'

const MIB = 1024 * 1024
let mesh = new Mesh()
const raw: RawMember[] = []
afterEach(async () => {
  await Promise.all(raw.splice(0).map((member) => member.stop()))
  await mesh.stop()
  mesh = new Mesh()
})

function numbered(number: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size).fill(number & 0xff)
  new DataView(bytes.buffer).setUint32(0, number)
  return bytes
}

describe('messages', () => {
  it('arrive whole and in order, both ways, small and large mixed', async () => {
    const [a, b] = await mesh.pair()
    const sizes = Array.from({ length: 3000 }, (_, i) =>
      i % 500 === 499 ? MIB : 4 + ((i * 7919) % 3000),
    )
    for (const [i, size] of sizes.entries()) {
      expect(a.transport.send(b.id, numbered(i, size))).toBe(true)
      if (i % 3 === 0) expect(b.transport.send(a.id, numbered(i, 4 + (i % 50)))).toBe(true)
    }
    await b.until('all', () => b.messages.length === sizes.length)
    await a.until('all', () => a.messages.length === 1000)
    for (const [i, { from, bytes }] of b.messages.entries()) {
      expect(from).toBe(a.id)
      expect(Buffer.compare(bytes, numbered(i, sizes[i]!))).toBe(0)
    }
    for (const [i, { bytes }] of a.messages.entries()) {
      expect(Buffer.compare(bytes, numbered(i * 3, 4 + ((i * 3) % 50)))).toBe(0)
    }
  })

  it('of no byte, of one, and of exactly 1 MiB', async () => {
    const [a, b] = await mesh.pair()
    for (const size of [0, 1, MIB]) a.transport.send(b.id, new Uint8Array(size))
    await b.until('all', () => b.messages.length === 3)
    expect(b.messages.map(({ bytes }) => bytes.length)).toEqual([0, 1, MIB])
  })

  it('above 1 MiB are refused here, and the connection stands', async () => {
    const [a, b] = await mesh.pair()
    expect(() => a.transport.send(b.id, new Uint8Array(MIB + 1))).toThrow(
      expect.objectContaining({ code: 'ERR_MESH_TOO_LARGE' }),
    )
    a.transport.send(b.id, Uint8Array.of(1))
    await b.until('the next one', () => b.messages.length === 1)
  })

  it('a message that is kept keeps no more than itself in memory', async () => {
    const [a, b] = await mesh.pair()
    for (let i = 0; i < 100; i++) a.transport.send(b.id, new Uint8Array(5000))
    await b.until('all', () => b.messages.length === 100)
    for (const { bytes } of b.messages) expect(bytes.buffer.byteLength).toBeLessThan(8192)
  })

  it('of one tick go out in one write', async () => {
    const a = await mesh.peer()
    const member = await RawMember.start(mesh.key)
    raw.push(member)
    let writes = 0
    let bytes = 0
    let done = (): void => undefined
    const all = new Promise<void>((resolve) => {
      done = resolve
    })
    await member.join(a, (stream) => {
      stream.addEventListener('message', ({ data }) => {
        writes += 1
        bytes += data.byteLength
        if (bytes >= 500 * 24) done()
      })
    })
    for (let i = 0; i < 500; i++) a.transport.send(member.id, new Uint8Array(20))
    await all
    expect(writes).toBeLessThan(20)
  })

  it('that a handler throws at are dropped; the connection and the node go on', async () => {
    let thrown = 0
    const [a, b] = await mesh.pair(
      {},
      {
        override: {
          onPeerConnected: () => {
            throw new Error('ours')
          },
          onMessage: () => {
            thrown += 1
            if (thrown <= 2) throw new Error('ours')
            return true
          },
        },
      },
    )
    for (let i = 0; i < 3; i++) a.transport.send(b.id, Uint8Array.of(i))
    await b.until('the third', () => thrown === 3)
    expect(b.transport.strikes()).toEqual([])
    expect(a.down).toEqual([])
  })

  it('that a handler refuses are a strike, and close the connection', async () => {
    const [a, b] = await mesh.pair({}, { override: { onMessage: () => false } })
    a.transport.send(b.id, Uint8Array.of(1))
    await b.until('down', () => b.down.length === 1)
    expect(b.transport.strikes()).toMatchObject([{ peer: a.id, count: 1 }])
  })

  it('to a peer that does not read are bounded: it is cut off, others are served', async () => {
    const a = await mesh.peer()
    const b = await mesh.peer()
    await mesh.connect(a, b)
    const member = await RawMember.start(mesh.key)
    raw.push(member)
    const { connection } = await member.join(a, (stream) => stream.pause())
    const message = new Uint8Array(256 * 1024)
    let sent = 0
    while (a.transport.send(member.id, message)) {
      sent += message.length
      // The event loop turns between sends, so that the queue is what the peer does not take, not what was not tried.
      await new Promise((resolve) => setImmediate(resolve))
      if (sent > 256 * MIB) break
    }
    expect(sent).toBeGreaterThan(16 * MIB)
    expect(sent).toBeLessThan(128 * MIB)
    await member.whenClosed(connection)
    await a.until('down', () => a.down.some(({ peer }) => peer === member.id))
    expect(a.transport.strikes()).toMatchObject([{ peer: member.id, count: 1 }])
    a.transport.send(b.id, Uint8Array.of(7))
    await b.until('message', () => b.messages.length === 1)
  })

  it('that are queued go out before stop', async () => {
    for (let round = 0; round < 3; round++) {
      const [a, b] = await mesh.pair()
      for (let i = 0; i < 200; i++) a.transport.send(b.id, numbered(i, 20_000))
      await a.transport.stop()
      await b.until('all', () => b.messages.length === 200)
      expect(totalStrikes(b)).toBe(0)
    }
  })

  it('are not sent after stop', async () => {
    const [a, b] = await mesh.pair()
    await a.transport.stop()
    expect(a.transport.send(b.id, Uint8Array.of(1))).toBe(false)
    expect(a.transport.connected()).toEqual([])
    a.transport.publish('adverts', Uint8Array.of(1))
    await a.transport.stop()
  })
})
