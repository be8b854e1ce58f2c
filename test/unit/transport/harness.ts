import { createHash, randomBytes } from 'node:crypto'
import type { Logger } from '../../../src/base/logger.ts'
import { peerOf } from '../../../src/node/transport/ids.ts'
import type { Node } from '../../../src/node/transport/libp2p-node.ts'
import { createTransport } from '../../../src/node/transport/libp2p-transport.ts'
import type {
  Topic,
  Transport,
  TransportEvents,
  TransportOptions,
} from '../../../src/node/transport/types.ts'
import type { BlobHash, PeerId } from '../../../src/scheduler/types.ts'

/** Far beyond what anything here takes on a busy machine: a test that waits in vain says for what. */
const PATIENCE_MS = 40_000

export interface TestPeer {
  readonly transport: Transport
  readonly id: PeerId
  /** One address of it. */
  readonly address: string
  readonly up: PeerId[]
  readonly down: { peer: PeerId; refused: boolean }[]
  readonly messages: { from: PeerId; bytes: Uint8Array }[]
  readonly gossip: { topic: Topic; bytes: Uint8Array; via: PeerId }[]
  readonly discovered: PeerId[]
  /** Messages that it logged. */
  readonly notes: string[]
  /** Peers that have told where they listen. */
  readonly identified: Set<PeerId>
  readonly blobs: Map<BlobHash, Uint8Array>
  /** Resolves when `condition` holds; it is looked at after each event. */
  until(what: string, condition: () => boolean): Promise<void>
  /** Resolves when so many neighbours are known to listen to each topic: what is gossiped before is lost. */
  untilGossips(neighbours: number): Promise<void>
  /** Called in place of the handlers above. */
  readonly override: Partial<TransportEvents>
}

export interface PeerPlan extends Partial<Omit<TransportOptions, 'events'>> {
  readonly override?: Partial<TransportEvents>
}

/** The peers of one test: started together, stopped at its end. */
export class Mesh {
  readonly key = new Uint8Array(randomBytes(32))
  private readonly running: TestPeer[] = []

  async peer(plan: PeerPlan = {}): Promise<TestPeer> {
    const record = new Recorder(plan.override ?? {})
    const transport = await createTransport({
      privateKey: plan.privateKey ?? new Uint8Array(randomBytes(32)),
      meshKey: plan.meshKey ?? this.key,
      listen: plan.listen ?? ['/ip4/127.0.0.1/tcp/0'],
      announce: plan.announce ?? [],
      logger: record.logger(),
      bootstrap: plan.bootstrap ?? [],
      mdns: plan.mdns ?? false,
      events: record.events(),
    })
    const { node } = transport as unknown as { node: Node }
    node.addEventListener('peer:identify', ({ detail }) => {
      record.identified.add(peerOf(detail.peerId)!)
      record.look()
    })
    const { pubsub } = node.services
    const outbound = (pubsub as unknown as { streamsOutbound: Map<string, unknown> })
      .streamsOutbound
    pubsub.addEventListener('subscription-change', () => record.look())
    pubsub.addEventListener('gossipsub:heartbeat', () => record.look())
    const peer = Object.assign(record, {
      transport,
      id: transport.self,
      address: transport.addresses()[0]!,
      untilGossips: (neighbours: number) =>
        record.until(
          `${neighbours} neighbours gossip`,
          () =>
            outbound.size >= neighbours &&
            pubsub.getTopics().every((topic) => pubsub.getSubscribers(topic).length >= neighbours),
        ),
    })
    this.running.push(peer)
    return peer
  }

  /** Two that are connected. */
  async pair(first: PeerPlan = {}, second: PeerPlan = {}): Promise<[TestPeer, TestPeer]> {
    const [a, b] = await Promise.all([this.peer(first), this.peer(second)])
    await this.connect(a, b)
    return [a, b]
  }

  async connect(from: TestPeer, to: TestPeer): Promise<void> {
    await from.transport.dial(to.address)
    await Promise.all([
      from.until('connected', () => from.transport.connected().includes(to.id)),
      to.until('connected', () => to.transport.connected().includes(from.id)),
    ])
  }

  async stop(): Promise<void> {
    await Promise.all(this.running.splice(0).map(({ transport }) => transport.stop()))
  }
}

class Recorder {
  readonly up: PeerId[] = []
  readonly down: { peer: PeerId; refused: boolean }[] = []
  readonly messages: { from: PeerId; bytes: Uint8Array }[] = []
  readonly gossip: { topic: Topic; bytes: Uint8Array; via: PeerId }[] = []
  readonly discovered: PeerId[] = []
  readonly notes: string[] = []
  readonly identified = new Set<PeerId>()
  readonly blobs = new Map<BlobHash, Uint8Array>()
  readonly override: Partial<TransportEvents>
  private readonly waiting = new Set<() => void>()

  constructor(override: Partial<TransportEvents>) {
    this.override = override
  }

  until(what: string, condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (!condition()) return
        settle()
        resolve()
      }
      const timer = setTimeout(() => {
        settle()
        reject(new Error(`waited in vain: ${what}`))
      }, PATIENCE_MS)
      const settle = (): void => {
        clearTimeout(timer)
        this.waiting.delete(look)
      }
      this.waiting.add(look)
    })
  }

  look(): void {
    for (const look of this.waiting) look()
  }

  logger(): Logger {
    const note = (message: string): void => {
      this.notes.push(message)
      queueMicrotask(() => this.look())
    }
    const logger: Logger = {
      ...{ debug: note, info: note, warn: note, error: note },
      child: () => logger,
    }
    return logger
  }

  events(): TransportEvents {
    const { override } = this
    const noted = <T>(value: T): T => {
      this.look()
      return value
    }
    return {
      onPeerConnected: (peer, address) => {
        this.up.push(peer)
        queueMicrotask(() => this.look())
        override.onPeerConnected?.(peer, address)
      },
      onPeerDisconnected: (peer, refused) => {
        this.down.push({ peer, refused })
        queueMicrotask(() => this.look())
        override.onPeerDisconnected?.(peer, refused)
      },
      onMessage: (from, bytes) => {
        this.messages.push({ from, bytes })
        queueMicrotask(() => this.look())
        return override.onMessage?.(from, bytes) ?? true
      },
      onGossip: (topic, bytes, via) => {
        this.gossip.push({ topic, bytes, via })
        queueMicrotask(() => this.look())
        return override.onGossip?.(topic, bytes, via) ?? true
      },
      onBlobRequested: async (from, hash) => {
        if (override.onBlobRequested !== undefined) return override.onBlobRequested(from, hash)
        const bytes = this.blobs.get(hash)
        return bytes && { sizeBytes: bytes.length, source: chunksOf(bytes) }
      },
      onBlobOffered: async (from, hash, sizeBytes, source) => {
        if (override.onBlobOffered !== undefined) {
          return override.onBlobOffered(from, hash, sizeBytes, source)
        }
        const bytes = await collect(source)
        if (hashOf(bytes) !== hash) return false
        this.blobs.set(hash, bytes)
        return noted(true)
      },
      onDiscovered: (peer) => {
        this.discovered.push(peer)
        noted(undefined)
      },
    }
  }
}

/** `bytes` in chunks, as a file is read. */
export async function* chunksOf(bytes: Uint8Array, chunk = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk)
}

export async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of source) parts.push(part)
  return new Uint8Array(Buffer.concat(parts))
}

export function hashOf(bytes: Uint8Array): BlobHash {
  return createHash('sha256').update(bytes).digest('hex') as BlobHash
}

export function blob(sizeBytes: number): { bytes: Uint8Array; hash: BlobHash } {
  const bytes = new Uint8Array(randomBytes(sizeBytes))
  return { bytes, hash: hashOf(bytes) }
}

/** A promise and what settles it. */
export function gate<T = void>(): { promise: Promise<T>; open: (value: T) => void } {
  let open!: (value: T) => void
  const promise = new Promise<T>((resolve) => {
    open = resolve
  })
  return { promise, open }
}

export function totalStrikes(peer: TestPeer): number {
  return peer.transport.strikes().reduce((sum, { count }) => sum + count, 0)
}
