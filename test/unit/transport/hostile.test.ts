import { randomBytes } from 'node:crypto'
import { connect as connectSocket } from 'node:net'
import type { Connection, Stream } from '@libp2p/interface'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { blob, Mesh, type TestPeer, totalStrikes } from './harness.ts'
import { BLOB, DIRECT, framed, GOSSIP, RawMember, u32 } from './raw-member.ts'

const MIB = 1024 * 1024

let mesh: Mesh
let victim: TestPeer
let friend: TestPeer
let member: RawMember
beforeEach(async () => {
  mesh = new Mesh()
  ;[victim, friend] = await mesh.pair()
  member = await RawMember.start(mesh.key)
})
afterEach(async () => {
  await member.stop()
  await mesh.stop()
})

/** The one who broke the protocol is counted and cut off; everybody else is served as before. */
async function expectStruck(connection: Connection): Promise<void> {
  await member.whenClosed(connection)
  expect(victim.transport.strikes()).toMatchObject([{ peer: member.id, count: 1 }])
  const { length } = victim.messages
  friend.transport.send(victim.id, Uint8Array.of(1))
  await victim.until('message', () => victim.messages.length > length)
  const { bytes, hash } = blob(3000)
  victim.blobs.set(hash, bytes)
  const found = await friend.transport.fetchBlob(victim.id, hash)
  expect(found?.sizeBytes).toBe(3000)
  for await (const piece of found!.source) expect(piece.length).toBeGreaterThan(0)
  expect(friend.down).toEqual([])
}

/** A peer of libp2p keeps no one waiting who has nothing more to say: its half of the stream ends. */
async function finish(stream: Stream): Promise<void> {
  await stream.close().catch(() => undefined)
}

describe('on the direct stream', () => {
  const bad: Record<string, Uint8Array> = {
    'a preface of another version': framed(Uint8Array.of(200, 0)),
    'an empty preface': framed(new Uint8Array(0)),
    'an oversized frame': u32(MIB + 1),
    'a frame of 4 GiB': u32(0xffffffff),
    garbage: randomBytes(4096).fill(0xfe, 0, 4),
  }
  it.each(Object.keys(bad))('%s', async (name) => {
    await member.accept(DIRECT)
    const connection = await member.connect(victim)
    const stream = await connection.newStream(DIRECT)
    stream.send(bad[name]!)
    await expectStruck(connection)
  })

  it('an oversized frame after good ones', async () => {
    const { connection, direct } = await member.join(victim)
    direct.send(framed(Uint8Array.of(1)))
    direct.send(u32(MIB + 1))
    await expectStruck(connection)
    expect(victim.messages[0]?.from).toBe(member.id)
    await victim.until('down', () => victim.down.some(({ peer }) => peer === member.id))
  })

  it('a truncated frame', async () => {
    const { connection, direct } = await member.join(victim)
    direct.send(Buffer.concat([u32(1000), randomBytes(10)]))
    await finish(direct)
    await expectStruck(connection)
  })

  it('a second direct stream', async () => {
    const { connection } = await member.join(victim)
    await connection.newStream(DIRECT)
    await expectStruck(connection)
  })
})

describe('on a blob stream', () => {
  const head = (type: number, ...rest: Uint8Array[]): Uint8Array =>
    framed(Buffer.concat([Uint8Array.of(type), ...rest]))
  const hash = Buffer.from(blob(5).hash, 'hex')
  const size = (bytes: number): Buffer => {
    const buffer = Buffer.alloc(8)
    buffer.writeBigUInt64BE(BigInt(bytes))
    return buffer
  }
  const bad: Record<string, Uint8Array> = {
    garbage: randomBytes(4096).fill(0xfe, 0, 4),
    'an oversized frame': u32(256 * 1024 + 1024),
    'an empty frame': u32(0),
    'an unknown frame': head(99),
    'a fetch that is too short': head(0, hash.subarray(1)),
    'a fetch that is too long': head(0, hash, Uint8Array.of(0, 0)),
    'an answer without a question': head(3),
    'a receipt without an offer': head(6, Uint8Array.of(1)),
    'an offer of 2^63 bytes': head(1, hash, Buffer.from('7fffffffffffffff', 'hex')),
    'an offer that is longer than it says': Buffer.concat([
      head(1, hash, size(3)),
      head(4, Uint8Array.of(0), randomBytes(10)),
    ]),
    'a piece in an unknown encoding': Buffer.concat([
      head(1, hash, size(3)),
      head(4, Uint8Array.of(77), randomBytes(3)),
    ]),
    'a piece that does not decompress': Buffer.concat([
      head(1, hash, size(3)),
      head(4, Uint8Array.of(2), randomBytes(30)),
    ]),
    'two requests at once': Buffer.concat([
      head(0, hash, Uint8Array.of(0)),
      head(0, hash, Uint8Array.of(0)),
    ]),
  }
  it.each(Object.keys(bad))('%s', async (name) => {
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(BLOB)
    stream.send(bad[name]!)
    await expectStruck(connection)
  })

  it('a truncated frame', async () => {
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(BLOB)
    stream.send(head(1, hash, size(1000)))
    stream.send(Buffer.concat([u32(500), Uint8Array.of(4, 0)]))
    await finish(stream)
    await expectStruck(connection)
  })

  it('an offer that ends early', async () => {
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(BLOB)
    stream.send(head(1, hash, size(1000)))
    stream.send(head(4, Uint8Array.of(0), randomBytes(10)))
    await finish(stream)
    await expectStruck(connection)
  })

  it('more than the window allows', async () => {
    await mesh.stop()
    mesh = new Mesh()
    victim = await mesh.peer({
      override: { onBlobOffered: () => new Promise(() => undefined) },
    })
    friend = await mesh.peer()
    await mesh.connect(victim, friend)
    await member.stop()
    member = await RawMember.start(mesh.key, 8 * MIB)
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(BLOB)
    stream.send(head(1, hash, size(64 * MIB)))
    const piece = head(4, Uint8Array.of(0), new Uint8Array(256 * 1024))
    for (let i = 0; i < 10; i++) stream.send(piece)
    await expectStruck(connection)
  })

  it('a piece that inflates beyond all bounds costs no memory', async () => {
    const { deflateRawSync } = await import('node:zlib')
    const bomb = deflateRawSync(new Uint8Array(64 * MIB))
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(BLOB)
    stream.send(head(1, hash, size(64 * MIB)))
    stream.send(head(4, Uint8Array.of(2), bomb))
    await expectStruck(connection)
  })

  it('a wrong answer to a fetch: rejected, struck', async () => {
    let answer: Uint8Array = new Uint8Array(0)
    await member.accept(BLOB, (stream) => {
      stream.addEventListener('message', () => stream.send(answer))
    })
    const { connection } = await member.join(victim)
    answer = head(6, Uint8Array.of(1))
    await expect(victim.transport.fetchBlob(member.id, blob(5).hash)).rejects.toMatchObject({
      code: 'ERR_MESH_PROTOCOL',
    })
    await expectStruck(connection)
  })

  it('no answer at all to an offer: rejected when the stream ends, nobody is stuck', async () => {
    await member.accept(BLOB, (stream) => {
      stream.addEventListener('message', () => stream.abort(new Error('no')))
    })
    await member.join(victim)
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 100; i++) yield new Uint8Array(MIB)
    }
    await expect(
      victim.transport.offerBlob(member.id, blob(5).hash, 100 * MIB, endless()),
    ).rejects.toMatchObject({ code: expect.stringMatching(/^ERR_MESH_/) })
    expect(victim.transport.strikes()).toEqual([])
  })
})

describe('as gossip', () => {
  it('garbage', async () => {
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(GOSSIP)
    stream.send(Buffer.concat([Uint8Array.of(100), randomBytes(100).fill(0xff)]))
    await expectStruck(connection)
  })

  it('an oversized frame', async () => {
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(GOSSIP)
    // The varint of 256 MiB.
    stream.send(Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x01))
    await expectStruck(connection)
  })

  it('a truncated frame', async () => {
    const { connection } = await member.join(victim)
    const stream = await connection.newStream(GOSSIP)
    stream.send(Buffer.concat([Uint8Array.of(100), randomBytes(10)]))
    await finish(stream)
    await expectStruck(connection)
  })

  it.each(['adverts', 'jobs', 'entries'] as const)(
    'a message on %s that the node refuses',
    async (topic) => {
      await mesh.stop()
      mesh = new Mesh()
      victim = await mesh.peer({ override: { onGossip: () => false } })
      friend = await mesh.peer()
      await mesh.connect(victim, friend)
      await victim.untilGossips(1)
      await friend.untilGossips(1)
      const culprit = await mesh.peer()
      await mesh.connect(culprit, victim)
      await culprit.untilGossips(1)
      culprit.transport.publish(topic, randomBytes(64))
      await culprit.until('cut off', () => culprit.down.length > 0)
      expect(victim.transport.strikes()).toMatchObject([{ peer: culprit.id, count: 1 }])
      expect(friend.down).toEqual([])
    },
  )
})

describe('without the key', () => {
  it('garbage to the port: closed, counted for nobody in particular, members are served', async () => {
    const [, , host, , port] = victim.address.split('/')
    for (const said of [
      randomBytes(100),
      randomBytes(65_536),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    ]) {
      const before = totalStrikes(victim)
      const socket = connectSocket(Number(port), host)
      socket.on('error', () => undefined)
      const closed = new Promise((resolve) => socket.on('close', resolve))
      socket.write(said)
      socket.resume()
      if (said.length < 1000) socket.end()
      await closed
      expect(totalStrikes(victim)).toBeGreaterThanOrEqual(before)
    }
    expect(victim.transport.strikes().every(({ peer }) => peer === 'unknown')).toBe(true)
    friend.transport.send(victim.id, Uint8Array.of(1))
    await victim.until('message', () => victim.messages.length === 1)
  })

  it('who only looks whether somebody listens is not counted', async () => {
    const [, , host, , port] = victim.address.split('/')
    const socket = connectSocket(Number(port), host)
    await new Promise((resolve) => socket.on('connect', resolve))
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.destroy()
    await closed
    friend.transport.send(victim.id, Uint8Array.of(1))
    await victim.until('message', () => victim.messages.length === 1)
    expect(victim.transport.strikes()).toEqual([])
  })
})

describe('who does it again and again', () => {
  it('is refused for a while, and only he', async () => {
    await member.accept(DIRECT)
    for (let i = 0; i < 5; i++) {
      const connection = await member.connect(victim)
      const stream = await connection.newStream(BLOB)
      stream.send(framed(Uint8Array.of(99)))
      await member.whenClosed(connection)
    }
    expect(totalStrikes(victim)).toBe(5)
    await expect(member.connect(victim).then((one) => one.newStream(BLOB))).rejects.toThrow()
    const other = await mesh.peer()
    await mesh.connect(other, victim)
  })
})
