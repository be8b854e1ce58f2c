import './polyfill.ts'
import { createHash } from 'node:crypto'
import { type GossipSub, gossipsub, StrictNoSign } from '@chainsafe/libp2p-gossipsub'
import { bootstrap } from '@libp2p/bootstrap'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type {
  ComponentLogger,
  ConnectionEncrypter,
  ConnectionGater,
  ConnectionProtector,
  Libp2p,
  Logger,
} from '@libp2p/interface'
import { mdns } from '@libp2p/mdns'
import { type NoiseComponents, noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import { createLibp2p } from 'libp2p'
import { sha256Hex, toHex } from '../../base/bytes.ts'
import * as limits from './limits.ts'
import { quietYamux } from './quiet-yamux.ts'
import type { Topic, TransportOptions } from './types.ts'

export type Node = Libp2p<{ pubsub: GossipSub }>

export const TOPICS: readonly Topic[] = ['adverts', 'jobs', 'entries']

/** The name of a mesh: tells nothing of its key. */
export function meshIdOf(meshKey: Uint8Array): string {
  return sha256Hex(meshKey).slice(0, 16)
}

export function topicName(meshId: string, topic: Topic): string {
  return `${meshId}/${topic}`
}

/** The one place where libp2p is put together; not started yet. */
export async function createNode(
  options: Omit<TransportOptions, 'events'>,
  gater: ConnectionGater,
): Promise<Node> {
  const privateKey = await generateKeyPairFromSeed('Ed25519', options.privateKey)
  const meshId = meshIdOf(options.meshKey)
  const known = options.bootstrap.filter((address) => address.includes('/p2p/'))
  return createLibp2p({
    start: false,
    privateKey,
    logger: silent,
    connectionGater: gater,
    addresses: { listen: [...options.listen], announce: [...(options.announce ?? [])] },
    transports: [tcp()],
    connectionProtector: protector(options.meshKey),
    connectionEncrypters: [lateMuxerNoise],
    streamMuxers: [
      quietYamux({
        // A peer opens its streams at once; libp2p's 10 broke connections.
        maxEarlyStreams: 256,
        streamOptions: {
          maxStreamWindowSize: 2 * 1024 * 1024,
          maxReadBufferLength: 8 * 1024 * 1024,
        },
      }),
    ],
    connectionManager: {
      maxConnections: limits.MAX_CONNECTIONS,
      inboundConnectionThreshold: limits.MAX_INBOUND_PER_SECOND,
      maxIncomingPendingConnections: limits.MAX_PENDING_INBOUND,
      dialTimeout: limits.DIAL_TIMEOUT_MS,
      addressDialTimeout: limits.ADDRESS_DIAL_TIMEOUT_MS,
    },
    // It closes a connection at the first ping that is late, also that of a peer that is only busy: pulse.ts knows better.
    connectionMonitor: { enabled: false },
    peerDiscovery: [
      ...(options.mdns ? [mdns({ serviceTag: `_mesh-${meshId.slice(0, 8)}._udp.local` })] : []),
      ...(known.length > 0 ? [bootstrap({ list: known, timeout: 0, tagName: 'ticket' })] : []),
    ],
    services: {
      identify: identify(),
      ping: ping({ maxInboundStreams: 8 }),
      pubsub: gossip(meshId),
    },
  }) as Promise<Node>
}

function gossip(meshId: string): ReturnType<typeof gossipsub> {
  return gossipsub({
    allowedTopics: TOPICS.map((topic) => topicName(meshId, topic)),
    // Adverts and entries carry their authors' signatures; a second one would cost three times the CPU.
    globalSignaturePolicy: StrictNoSign,
    msgIdFn: (message) => createHash('sha256').update(message.data).digest(),
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    fallbackToFloodsub: false,
    floodPublish: false,
    batchPublish: true,
    doPX: false,
    D: 4,
    Dlo: 3,
    Dhi: 8,
    Dout: 1,
    heartbeatInterval: limits.GOSSIP_HEARTBEAT_MS,
    maxInboundStreams: 4,
    maxOutboundStreams: 4,
    maxInboundDataLength: limits.MAX_GOSSIP_FRAME_BYTES,
    maxOutboundBufferSize: limits.MAX_GOSSIP_QUEUE_BYTES,
    decodeRpcLimits: limits.GOSSIP_FRAME_LIMITS,
    // Many peers behind one address are a lab, not an attack: members hold the key.
    scoreParams: { IPColocationFactorWeight: 0 },
  })
}

/**
 * Noise without its extension that chooses the muxer during the handshake: choosing it afterwards gives the one who is dialled
 * the last word (gate.ts), so that the dialler never takes a refused connection for an open one.
 */
const lateMuxerNoise = (components: NoiseComponents): ConnectionEncrypter => {
  const encrypter = noise()(components)
  const late = { skipStreamMuxerNegotiation: true }
  return {
    protocol: encrypter.protocol,
    secureInbound: (connection, options) =>
      encrypter.secureInbound(connection, { ...options, ...late }),
    secureOutbound: (connection, options) =>
      encrypter.secureOutbound(connection, { ...options, ...late }),
  }
}

/**
 * The pre-shared key, its cipher fed with at most 128 KiB at a time. xsalsa20 keeps all its streams in one WASM memory of
 * 640 KiB: a longer input makes it grow, after which every change from one stream to another makes it grow again, and the
 * process dies at 62 MiB.
 */
function protector(meshKey: Uint8Array): () => ConnectionProtector {
  const create = preSharedKey({ psk: swarmKey(meshKey) })
  return () => {
    const inner = create()
    return {
      protect: async (connection, options) => {
        const secret = await inner.protect(connection, options)
        return Object.assign(secret, { maxMessageSize: limits.MAX_CIPHER_BYTES })
      },
    }
  }
}

/** The pre-shared key as libp2p reads it. */
function swarmKey(meshKey: Uint8Array): Uint8Array {
  return new TextEncoder().encode(`/key/swarm/psk/1.0.0/\n/base16/\n${toHex(meshKey)}`)
}

const log: Logger = Object.assign(() => undefined, {
  error: () => undefined,
  trace: () => undefined,
  enabled: false,
  newScope: () => log,
})
/** libp2p formats a line for each frame even when nobody reads it. */
const silent: ComponentLogger = { forComponent: () => log }
