/** A libp2p node with the mesh's key that says whatever it likes. */
import '../../../src/node/transport/polyfill.ts'
import type { Connection, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2p } from 'libp2p'
import { toHex } from '../../../src/base/bytes.ts'
import { peerOf } from '../../../src/node/transport/ids.ts'
import type { PeerId } from '../../../src/scheduler/types.ts'
import type { TestPeer } from './harness.ts'

export const DIRECT = '/meshwork/1/direct'
export const BLOB = '/meshwork/1/blob'
export const GOSSIP = '/meshsub/1.1.0'

export class RawMember {
  readonly node: Libp2p
  readonly id: PeerId
  private readonly closed = new Set<string>()

  static async start(meshKey: Uint8Array, windowBytes = 256 * 1024): Promise<RawMember> {
    const psk = new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${toHex(meshKey)}`)
    const node = await createLibp2p({
      transports: [tcp()],
      addresses: { listen: [] },
      connectionProtector: preSharedKey({ psk }),
      connectionEncrypters: [noise()],
      streamMuxers: [
        yamux({
          streamOptions: {
            maxStreamWindowSize: windowBytes,
            maxReadBufferLength: 64 * 1024 * 1024,
          },
        }),
      ],
    })
    return new RawMember(node)
  }

  private constructor(node: Libp2p) {
    this.node = node
    this.id = peerOf(node.peerId)!
  }

  /** Takes the streams that a peer opens, and hands them to `take`. */
  async accept(protocol: string, take: (stream: Stream) => void = () => undefined): Promise<void> {
    await this.node.handle(protocol, take)
  }

  async connect(peer: TestPeer): Promise<Connection> {
    const connection = await this.node.dial(multiaddr(peer.address))
    connection.addEventListener('close', () => this.closed.add(connection.id))
    return connection
  }

  /** Resolves when the other side has closed the connection. */
  whenClosed(connection: Connection): Promise<void> {
    if (connection.status !== 'open' || this.closed.has(connection.id)) return Promise.resolve()
    return new Promise((resolve) => connection.addEventListener('close', () => resolve()))
  }

  /** Both direct streams, the preface sent: a member like any other, so far. Resolves with the one to write on. */
  async join(
    peer: TestPeer,
    take: (stream: Stream) => void = () => undefined,
  ): Promise<{
    connection: Connection
    direct: Stream
  }> {
    await this.accept(DIRECT, take)
    const connection = await this.connect(peer)
    const direct = await connection.newStream(DIRECT)
    direct.send(framed(Uint8Array.of(1, 0)))
    await peer.until('raw member connected', () => peer.transport.connected().includes(this.id))
    return { connection, direct }
  }

  async stop(): Promise<void> {
    await this.node.stop()
  }
}

export function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function framed(body: Uint8Array): Uint8Array {
  return Buffer.concat([u32(body.length), body])
}
