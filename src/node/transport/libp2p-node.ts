import './polyfill.ts'
import { createHash } from 'node:crypto'
import { type GossipSub, gossipsub, StrictNoSign } from '@chainsafe/libp2p-gossipsub'
import { bootstrap } from '@libp2p/bootstrap'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { Connection, Libp2p, PeerId as Libp2pPeerId } from '@libp2p/interface'
import { mdns } from '@libp2p/mdns'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { toHex } from '../../base/bytes.ts'
import type { Topic, TransportOptions } from './types.ts'

export type Node = Libp2p<{ pubsub: GossipSub; identify: never; ping: never }>
export type { Connection, Libp2pPeerId }

export const TOPICS: readonly Topic[] = ['adverts', 'jobs', 'entries']

/** `/meshwork/1/<first 16 hex of SHA-256 of the mesh key>/<topic>` */
export function topicName(meshKey: Uint8Array, topic: Topic): string {
  const mesh = createHash('sha256').update(meshKey).digest().subarray(0, 8)
  return `/meshwork/1/${toHex(mesh)}/${topic}`
}

/** The form in which libp2p reads a pre-shared key. */
function swarmKey(meshKey: Uint8Array): Uint8Array {
  return new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${toHex(meshKey)}`)
}

/** A libp2p node that only members of the mesh can talk to; not started. */
export async function createNode(
  options: TransportOptions,
  refused: (peer: Libp2pPeerId) => boolean,
): Promise<Node> {
  const privateKey = await generateKeyPairFromSeed('Ed25519', options.privateKey)
  const discovery = [
    ...(options.mdns ? [mdns({ interval: 10_000 })] : []),
    ...(options.bootstrap.length > 0 ? [bootstrap({ list: [...options.bootstrap], timeout: 500 })] : []),
  ]
  const node = await createLibp2p({
    privateKey,
    start: false,
    addresses: { listen: [...options.listen] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({
        maxEarlyStreams: 256,
        streamOptions: { maxStreamWindowSize: 2 << 20, maxReadBufferLength: 8 << 20 },
      }),
    ],
    connectionProtector: preSharedKey({ psk: swarmKey(options.meshKey) }),
    connectionGater: {
      denyDialMultiaddr: () => false,
      denyDialPeer: refused,
      denyInboundEncryptedConnection: (peer) => refused(peer),
    },
    connectionManager: {
      maxConnections: 512,
      inboundConnectionThreshold: 100,
      maxIncomingPendingConnections: 100,
    },
    connectionMonitor: { pingInterval: 5_000, pingTimeout: { minTimeout: 10_000 } },
    peerDiscovery: discovery,
    services: {
      identify: identify({ runOnConnectionOpen: true }),
      ping: ping(),
      pubsub: gossipsub({
        allowPublishToZeroTopicPeers: true,
        ignoreDuplicatePublishError: true,
        globalSignaturePolicy: StrictNoSign,
        allowedTopics: TOPICS.map((topic) => topicName(options.meshKey, topic)),
        maxInboundDataLength: 1 << 20,
        runOnLimitedConnection: true,
        floodPublish: true,
        msgIdFn: (message) => createHash('sha256').update(message.data).digest().subarray(0, 20),
      }),
    },
  })
  return node as unknown as Node
}
