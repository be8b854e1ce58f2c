import './polyfill.ts'
import { connect } from 'node:net'
import { TopicValidatorResult } from '@chainsafe/libp2p-gossipsub'
import type { Stream } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { MeshError } from '../../base/errors.ts'
import { type Logger, silentLogger } from '../../base/logger.ts'
import type { BlobHash, PeerId } from '../../scheduler/types.ts'
import { BLOB_PROTOCOL, fetchBlob, offerBlob, serveBlobs } from './blob-protocol.ts'
import { dialFailure, listenFailure } from './dial-errors.ts'
import { DirectSender, readDirect } from './direct.ts'
import { fromLibp2p, toLibp2p } from './ids.ts'
import { createNode, type Connection, type Node, TOPICS, topicName } from './libp2p-node.ts'
import { DIAL_TIMEOUT_MS, MAX_OFFER_BYTES, PROBE_TIMEOUT_MS } from './limits.ts'
import { Redialer } from './redial.ts'
import { StrikeBook } from './strikes.ts'
import type { PeerStrikes, Topic, Transport, TransportOptions } from './types.ts'

export const DIRECT_PROTOCOL = '/meshwork/1/direct'

export interface Libp2pTransportOptions extends TransportOptions {
  readonly logger?: Logger
}

interface Link {
  sender: DirectSender | undefined
  inbound: Stream | undefined
  opening: boolean
  announced: boolean
  readonly since: number
}

/**
 * Starts a libp2p node.
 * @throws ERR_MESH_PORT_IN_USE, ERR_MESH_ADDRESS_INVALID
 */
export async function createTransport(options: Libp2pTransportOptions): Promise<Transport> {
  for (const address of [...options.listen, ...options.bootstrap]) parseAddress(address)
  const strikes = new StrikeBook()
  const node = await createNode(options, (peer) => {
    const id = fromLibp2p(peer)
    return id === undefined || strikes.refused(id)
  })
  const transport = new Libp2pTransport(node, options, strikes)
  try {
    await transport.start()
  } catch (error) {
    await Promise.resolve(node.stop()).catch(() => undefined)
    throw listenFailure(error, options.listen)
  }
  return transport
}

/** The mesh over libp2p; the one place that knows it. */
class Libp2pTransport implements Transport {
  readonly self: PeerId
  private readonly node: Node
  private readonly options: Libp2pTransportOptions
  private readonly log: Logger
  private readonly book: StrikeBook
  private readonly links = new Map<PeerId, Link>()
  private readonly redialer: Redialer
  private stopped = false

  constructor(node: Node, options: Libp2pTransportOptions, strikes: StrikeBook) {
    this.node = node
    this.options = options
    this.book = strikes
    this.log = options.logger ?? silentLogger
    this.self = fromLibp2p(node.peerId)!
    this.redialer = new Redialer({
      self: this.self,
      connected: (peer) => this.links.has(peer),
      dial: (address) => this.dial(address),
    })
  }

  async start(): Promise<void> {
    const { node } = this
    await node.handle(DIRECT_PROTOCOL, (stream, connection) => this.accept(stream, connection), {
      maxInboundStreams: 4,
      maxOutboundStreams: 4,
    })
    await serveBlobs(node, {
      events: this.options.events,
      peerOf: (connection) => fromLibp2p(connection.remotePeer),
      zip: (connection) => !isLocal(connection.remoteAddr),
      fault: (peer, connection, reason) => this.fault(peer, connection, reason),
    })
    node.addEventListener('peer:connect', ({ detail }) => {
      const peer = fromLibp2p(detail)
      if (peer !== undefined) void this.openDirect(peer)
    })
    node.addEventListener('peer:disconnect', ({ detail }) => {
      const peer = fromLibp2p(detail)
      if (peer !== undefined) void this.lost(peer)
    })
    node.addEventListener('peer:discovery', ({ detail }) => {
      const peer = fromLibp2p(detail.id)
      if (peer === undefined) return
      const addresses = detail.multiaddrs.map((address) => withPeer(address.toString(), detail.id.toString()))
      this.options.events.onDiscovered?.(peer, addresses)
      this.learn(peer, addresses)
    })
    this.joinTopics()
    await node.start()
    for (const topic of TOPICS) this.pubsub.subscribe(topicName(this.options.meshKey, topic))
  }

  addresses(): string[] {
    const all = this.node.getMultiaddrs().map((address) => address.toString())
    return all.sort((a, b) => Number(isLoopbackText(a)) - Number(isLoopbackText(b)))
  }

  connected(): PeerId[] {
    return [...this.links].flatMap(([peer, link]) => (link.announced ? [peer] : []))
  }

  connection(peer: PeerId): { address: string; rttMs: number | undefined; since: number } | undefined {
    const link = this.links.get(peer)
    const connection = this.connectionTo(peer)
    if (link === undefined || !link.announced || connection === undefined) return undefined
    return { address: connection.remoteAddr.toString(), rttMs: connection.rtt, since: link.since }
  }

  async dial(address: string, signal?: AbortSignal): Promise<PeerId> {
    const target = parseAddress(address)
    const timeout = AbortSignal.timeout(DIAL_TIMEOUT_MS)
    try {
      const connection = await this.node.dial(target, {
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      })
      const peer = fromLibp2p(connection.remotePeer)
      if (peer === undefined) throw new MeshError('ERR_MESH_PROTOCOL', 'peer without an Ed25519 key')
      if (this.redialer.addressesOf(peer).length === 0) this.redialer.learn(peer, [address])
      return peer
    } catch (error) {
      throw dialFailure(error, address)
    }
  }

  learn(peer: PeerId, addresses: readonly string[]): void {
    const usable = addresses.filter((address) => isValid(address)).slice(0, 16)
    this.redialer.learn(peer, usable)
  }

  send(to: PeerId, bytes: Uint8Array): boolean {
    const sender = this.links.get(to)?.sender
    if (sender === undefined || !sender.open) return false
    if (sender.send(bytes)) return true
    this.log.warn('a peer is too slow: its queue is full', { peer: to.slice(0, 8) })
    this.book.add(to, 'queue full')
    void this.disconnect(to)
    return false
  }

  publish(topic: Topic, bytes: Uint8Array): void {
    if (this.stopped) return
    this.pubsub.publish(topicName(this.options.meshKey, topic), bytes).catch((error: unknown) => {
      this.log.debug('gossip failed', { topic, error: String(error) })
    })
  }

  async fetchBlob(
    from: PeerId,
    hash: BlobHash,
    options: { signal?: AbortSignal; maxBytes?: number } = {},
  ): Promise<{ sizeBytes: number; source: AsyncIterable<Uint8Array> } | undefined> {
    const stream = await this.blobStream(from, options.signal)
    return this.guarded(stream, options.signal, () =>
      fetchBlob(stream, hash, options.maxBytes ?? MAX_OFFER_BYTES),
    )
  }

  async offerBlob(
    to: PeerId,
    hash: BlobHash,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const stream = await this.blobStream(to, signal)
    const connection = this.connectionTo(to)
    const zip = connection !== undefined && !isLocal(connection.remoteAddr)
    return this.guarded(stream, signal, () => offerBlob(stream, hash, sizeBytes, source, zip))
  }

  keep(peer: PeerId, on: boolean): void {
    const tags = on ? { 'keep-meshwork': { value: 80 } } : {}
    this.node.peerStore.merge(toLibp2p(peer), { tags }).catch(() => undefined)
  }

  strikes(): PeerStrikes[] {
    return this.book.list()
  }

  async disconnect(peer: PeerId): Promise<void> {
    await Promise.allSettled(
      this.node.getConnections(toLibp2p(peer)).map((connection) => connection.abort(new Error('disconnected'))),
    )
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.redialer.stop()
    const senders = [...this.links.values()].flatMap(({ sender }) => (sender ? [sender] : []))
    await Promise.allSettled(senders.map((sender) => sender.close()))
    await this.node.stop()
  }

  // ------------------------------------------------------------ gossip

  private get pubsub(): Node['services']['pubsub'] {
    return this.node.services.pubsub
  }

  private joinTopics(): void {
    for (const topic of TOPICS) {
      this.pubsub.topicValidators.set(topicName(this.options.meshKey, topic), (via, message) => {
        const peer = fromLibp2p(via)
        if (peer === undefined) return TopicValidatorResult.Reject
        const good = this.options.events.onGossip(topic, message.data, peer)
        if (good) return TopicValidatorResult.Accept
        this.book.add(peer, `bad gossip on ${topic}`)
        return TopicValidatorResult.Reject
      })
    }
  }

  // ------------------------------------------------------------ direct streams

  private linkOf(peer: PeerId): Link {
    let link = this.links.get(peer)
    if (link === undefined) {
      link = {
        sender: undefined,
        inbound: undefined,
        opening: false,
        announced: false,
        since: performance.now(),
      }
      this.links.set(peer, link)
    }
    return link
  }

  /** Opens this side's half; the other side opens its own. */
  private async openDirect(peer: PeerId): Promise<void> {
    const link = this.linkOf(peer)
    if (this.stopped || link.opening || link.sender?.open === true) return
    link.opening = true
    try {
      const connection = this.connectionTo(peer)
      if (connection === undefined) return
      const stream = await connection.newStream(DIRECT_PROTOCOL, {
        signal: AbortSignal.timeout(DIAL_TIMEOUT_MS),
      })
      link.sender = new DirectSender(stream)
      stream.addEventListener('close', () => this.senderClosed(peer, link))
    } catch (error) {
      this.log.debug('no direct stream', { peer: peer.slice(0, 8), error: String(error) })
      await this.disconnect(peer)
    } finally {
      link.opening = false
    }
    this.announce(peer, link)
  }

  private senderClosed(peer: PeerId, link: Link): void {
    link.sender = undefined
    if (this.links.get(peer) === link && this.connectionTo(peer) !== undefined) void this.openDirect(peer)
  }

  private accept(stream: Stream, connection: Connection): void {
    const peer = fromLibp2p(connection.remotePeer)
    if (peer === undefined) {
      stream.abort(new Error('peer without an Ed25519 key'))
      return
    }
    const link = this.linkOf(peer)
    link.inbound = stream
    readDirect(
      stream,
      (message) => this.options.events.onMessage(peer, message),
      (reason) => this.fault(peer, connection, `direct: ${reason}`),
    )
    this.announce(peer, link)
    void this.openDirect(peer)
  }

  private announce(peer: PeerId, link: Link): void {
    if (link.announced || link.sender === undefined || link.inbound === undefined) return
    if (this.links.get(peer) !== link) return
    link.announced = true
    this.keep(peer, true)
    this.options.events.onPeerConnected(peer, this.connectionTo(peer)?.remoteAddr.toString() ?? '')
  }

  private async lost(peer: PeerId): Promise<void> {
    const link = this.links.get(peer)
    if (link === undefined) return
    this.links.delete(peer)
    if (this.stopped) return
    const refused = link.announced && (await this.refusesToAnswer(peer))
    if (link.announced && !this.links.get(peer)?.announced) {
      this.options.events.onPeerDisconnected(peer, refused)
    }
    this.redialer.lost(peer)
  }

  /** True when the peer's process is gone: nothing listens at its addresses any more. */
  private async refusesToAnswer(peer: PeerId): Promise<boolean> {
    for (const address of this.redialer.addressesOf(peer)) {
      const at = /^\/ip[46]\/([^/]+)\/tcp\/(\d+)/.exec(address)
      if (at === null) continue
      const outcome = await probe(at[1]!, Number(at[2]))
      if (outcome !== 'unknown') return outcome === 'refused'
    }
    return false
  }

  private fault(peer: PeerId | undefined, connection: Connection, reason: string): void {
    this.book.add(peer, reason.slice(0, 80))
    this.log.warn('connection closed: a peer broke the protocol', { peer: peer?.slice(0, 8), reason })
    connection.abort(new Error(reason))
  }

  private connectionTo(peer: PeerId): Connection | undefined {
    return this.node.getConnections(toLibp2p(peer)).find((connection) => connection.status === 'open')
  }

  private async blobStream(peer: PeerId, signal?: AbortSignal): Promise<Stream> {
    const connection = this.connectionTo(peer)
    if (connection === undefined) {
      throw new MeshError('ERR_MESH_UNREACHABLE', `peer ${peer.slice(0, 8)} is not connected`)
    }
    const timeout = AbortSignal.timeout(DIAL_TIMEOUT_MS)
    return connection.newStream(BLOB_PROTOCOL, {
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    })
  }

  private async guarded<T>(
    stream: Stream,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    const abort = () => stream.abort(new Error('aborted'))
    signal?.addEventListener('abort', abort)
    try {
      return await work()
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }
}

function probe(host: string, port: number): Promise<'refused' | 'answers' | 'unknown'> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: PROBE_TIMEOUT_MS })
    const settle = (outcome: 'refused' | 'answers' | 'unknown') => {
      socket.destroy()
      resolve(outcome)
    }
    socket.on('connect', () => settle('answers'))
    socket.on('timeout', () => settle('unknown'))
    socket.on('error', (error: NodeJS.ErrnoException) =>
      settle(error.code === 'ECONNREFUSED' ? 'refused' : 'unknown'),
    )
  })
}

function parseAddress(address: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (cause) {
    throw new MeshError(
      'ERR_MESH_ADDRESS_INVALID',
      `"${address}" is not a multiaddr: write it like /ip4/192.0.2.7/tcp/4001`,
      { cause, details: { address } },
    )
  }
}

function isValid(address: string): boolean {
  try {
    multiaddr(address)
    return true
  } catch {
    return false
  }
}

function withPeer(address: string, peer: string): string {
  return address.includes('/p2p/') ? address : `${address}/p2p/${peer}`
}

function isLoopbackText(address: string): boolean {
  return address.startsWith('/ip4/127.') || address.startsWith('/ip6/::1/')
}

function isLocal(address: Multiaddr): boolean {
  return isLoopbackText(address.toString())
}
