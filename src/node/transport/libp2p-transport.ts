import './polyfill.ts'
import { TopicValidatorResult } from '@chainsafe/libp2p-gossipsub'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import type { Connection } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { toHex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'
import { type Logger, silentLogger } from '../../base/logger.ts'
import type { BlobHash, PeerId } from '../../scheduler/types.ts'
import {
  byUsefulness,
  checkAnnouncedAddress,
  checkListenAddress,
  type DialAddress,
  isLinkLocal,
  parseDialAddress,
} from './addresses.ts'
import { BLOB_PROTOCOL, Blobs } from './blobs.ts'
import { abortConnection, abortStream } from './close.ts'
import { type DialProgress, dialError } from './dial-error.ts'
import { Dialer } from './dialer.ts'
import { Gate } from './gate.ts'
import { watchGossip } from './gossip-guard.ts'
import { libp2pIdOf, peerOf } from './ids.ts'
import { createNode, meshIdOf, type Node, TOPICS, topicName } from './libp2p-node.ts'
import {
  DIAL_TIMEOUT_MS,
  FLOOD_PUBLISH_PEERS,
  LINK_TIMEOUT_MS,
  MAX_GOSSIP_BYTES,
  MAX_INBOUND_TRANSFERS,
  REFUSE_MS,
} from './limits.ts'
import { DIRECT_PROTOCOL, type Link } from './link.ts'
import { Links } from './links.ts'
import { isReachable } from './probe.ts'
import { Pulse } from './pulse.ts'
import { StrikeBook } from './strike-book.ts'
import type { PeerStrikes, Topic, Transport, TransportOptions } from './types.ts'

export interface Libp2pTransportOptions extends TransportOptions {
  readonly logger?: Logger
}

/** Tags a peer that we work with: above all that libp2p itself gives. */
const KEEP_TAG = 'meshwork-work'
const KEEP_VALUE = 100

/**
 * A peer's connections over libp2p (docs/protocol.md, "Connections"), listening.
 * @throws ERR_MESH_PORT_IN_USE, ERR_MESH_ADDRESS_INVALID (of `listen`, `announce` or `bootstrap`)
 */
export async function createTransport(options: Libp2pTransportOptions): Promise<Transport> {
  for (const address of options.listen) checkListenAddress(address)
  for (const address of options.announce ?? []) checkAnnouncedAddress(address)
  const bootstrap = options.bootstrap.map(parseDialAddress)
  const transport = await Libp2pTransport.create(options)
  await transport.start(bootstrap)
  return transport
}

class Libp2pTransport implements Transport {
  readonly self: PeerId
  private readonly node: Node
  private readonly options: Libp2pTransportOptions
  private readonly log: Logger
  private readonly strikeBook: StrikeBook
  private readonly gate: Gate
  private readonly links: Links
  private readonly blobs: Blobs
  private readonly dialer: Dialer
  private readonly pulse: Pulse
  private readonly meshId: string
  private readonly kept = new Set<PeerId>()
  private stopping: Promise<void> | undefined

  static async create(options: Libp2pTransportOptions): Promise<Libp2pTransport> {
    // libp2p needs its gate when it is made; the gate needs to know what libp2p has: it is asked later.
    const late: { transport?: Libp2pTransport } = {}
    const connections = (peer: PeerId): Connection[] =>
      late.transport?.node.getConnections(libp2pIdOf(peer)) ?? []
    const self = await peerOfSeed(options.privateKey)
    const gate = new Gate({
      self,
      connections: (peer) => connections(peer).filter(({ status }) => status === 'open'),
      isSilent: (peer) => late.transport?.links.get(peer)?.silent ?? false,
      isRefused: (peer) => late.transport?.strikeBook.isRefused(peer) ?? false,
      onStranger: () => late.transport?.strike('unknown', 'connected without the key of this mesh'),
    })
    late.transport = new Libp2pTransport(options, await createNode(options, gate.gater), gate)
    return late.transport
  }

  private constructor(options: Libp2pTransportOptions, node: Node, gate: Gate) {
    this.options = options
    this.node = node
    this.gate = gate
    this.log = options.logger ?? silentLogger
    this.self = peerOf(node.peerId)!
    this.meshId = meshIdOf(options.meshKey)
    const now = (): number => performance.now()
    this.strikeBook = new StrikeBook(now)
    const strike = (peer: PeerId, reason: string): void => this.strike(peer, reason)
    this.links = new Links({
      events: options.events,
      strike,
      addressesOf: (peer) => this.dialer.addressesOf(peer),
      onUp: (peer) => this.dialer.connected(peer),
      onDown: (peer) => {
        if (this.strikeBook.isRefused(peer)) this.dialer.shun(peer, REFUSE_MS)
        else this.dialer.missing(peer)
      },
      now,
      log: this.log,
    })
    this.pulse = new Pulse({
      links: () => this.links.all(),
      onSilent: (peer) => {
        this.log.debug('peer silent', { peer: peer.slice(0, 8) })
        this.dialer.missing(peer)
      },
      onHeard: (peer) => this.dialer.connected(peer),
      now,
    })
    const link = (peer: PeerId) => this.links.get(peer)
    this.blobs = new Blobs({ events: options.events, link, strike, log: this.log })
    this.dialer = new Dialer({
      self: this.self,
      connectedCount: () => this.links.size,
      isConnected: (peer) => this.links.get(peer)?.silent === false || this.gate.isAccepting(peer),
      isReachable,
      dial: (addresses, peer) => this.dialKnown(addresses, peer),
      now,
      random: Math.random,
    })
  }

  async start(bootstrap: readonly DialAddress[]): Promise<void> {
    const { node } = this
    node.addEventListener('connection:open', ({ detail }) => {
      const peer = peerOf(detail.remotePeer)
      if (peer !== undefined) this.gate.opened(peer)
      this.links.add(detail)
    })
    node.addEventListener('peer:discovery', ({ detail }) => {
      this.discovered(peerOf(detail.id), detail.multiaddrs.map(String))
    })
    node.addEventListener('peer:identify', ({ detail }) => {
      const peer = peerOf(detail.peerId)
      if (peer !== undefined) this.learn(peer, detail.listenAddrs.map(String))
    })
    await this.handleProtocols()
    try {
      await node.start()
    } catch (error) {
      await Promise.resolve(node.stop()).catch(() => undefined)
      throw listenError(error, this.options.listen)
    }
    for (const topic of TOPICS) node.services.pubsub.subscribe(topicName(this.meshId, topic))
    for (const { text, peer } of bootstrap) this.dialer.keep(text, peer)
  }

  addresses(): string[] {
    return this.node
      .getMultiaddrs()
      .map(String)
      .filter((address) => !isLinkLocal(address))
      .sort(byUsefulness)
  }

  connected(): PeerId[] {
    return this.links.peers()
  }

  connection(
    peer: PeerId,
  ): { address: string; rttMs: number | undefined; since: number } | undefined {
    const link = this.links.get(peer)
    if (link === undefined) return undefined
    return { address: link.address, rttMs: link.rttMs, since: link.since }
  }

  async dial(address: string, signal?: AbortSignal): Promise<PeerId> {
    const target = parseDialAddress(address)
    if (target.peer === this.self) {
      throw new MeshError('ERR_MESH_ADDRESS_INVALID', `${address} is this peer itself`, {
        details: { address },
      })
    }
    const peer = await this.connect([target.text], target.peer, signal)
    this.dialer.learn(peer, [withoutPeer(target.text)])
    return peer
  }

  learn(peer: PeerId, addresses: readonly string[]): void {
    if (this.strikeBook.isRefused(peer)) return
    this.dialer.learn(peer, addresses.filter(isDialable).map(withoutPeer))
  }

  send(to: PeerId, bytes: Uint8Array): boolean {
    return this.links.get(to)?.send(bytes) ?? false
  }

  publish(topic: Topic, bytes: Uint8Array): void {
    if (bytes.length > MAX_GOSSIP_BYTES) {
      const limit = `at most ${MAX_GOSSIP_BYTES} can be gossiped`
      throw new MeshError('ERR_MESH_TOO_LARGE', `a message has ${bytes.length} bytes, ${limit}`)
    }
    if (this.stopping !== undefined) return
    // With few neighbours all get it at once, grafted or not; with many the mesh of the topic is enough.
    const floodPublish = this.links.size <= FLOOD_PUBLISH_PEERS
    const gossip = this.node.services.pubsub as Publisher
    gossip
      .publish(topicName(this.meshId, topic), bytes, { floodPublish })
      .catch((error: unknown) => this.log.debug('gossip not sent', { error: String(error) }))
  }

  fetchBlob(
    from: PeerId,
    hash: BlobHash,
    options?: { signal?: AbortSignal; maxBytes?: number },
  ): Promise<{ sizeBytes: number; source: AsyncIterable<Uint8Array> } | undefined> {
    return this.blobs.fetch(from, hash, options)
  }

  offerBlob(
    to: PeerId,
    hash: BlobHash,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<boolean> {
    return this.blobs.offer(to, hash, sizeBytes, source, signal)
  }

  keep(peer: PeerId, on: boolean): void {
    if (this.kept.has(peer) === on) return
    if (on) this.kept.add(peer)
    else this.kept.delete(peer)
    const tags = { [KEEP_TAG]: on ? { value: KEEP_VALUE } : undefined }
    this.node.peerStore
      .merge(libp2pIdOf(peer), { tags })
      .catch((error: unknown) => this.log.debug('peer not tagged', { error: String(error) }))
  }

  strikes(): PeerStrikes[] {
    return this.strikeBook.list()
  }

  async disconnect(peer: PeerId): Promise<void> {
    this.dialer.shun(peer, REFUSE_MS)
    this.blobs.stop(peer)
    this.links.get(peer)?.close()
    await this.node.hangUp(libp2pIdOf(peer))
  }

  stop(): Promise<void> {
    this.stopping ??= this.shutDown()
    return this.stopping
  }

  private async shutDown(): Promise<void> {
    this.dialer.stop()
    this.pulse.stop()
    this.blobs.stop()
    await this.links.stop()
    await this.node.stop()
  }

  // ------------------------------------------------------------ protocols

  private async handleProtocols(): Promise<void> {
    const { node } = this
    await node.handle(DIRECT_PROTOCOL, (stream, connection) => {
      this.links.attach(stream, connection)
    })
    await node.handle(
      BLOB_PROTOCOL,
      (stream, connection) => {
        const peer = peerOf(connection.remotePeer)
        if (peer === undefined) abortStream(stream, new Error('not a peer of ours'))
        else void this.blobs.serve(peer, stream, connection)
      },
      { maxInboundStreams: MAX_INBOUND_TRANSFERS, maxOutboundStreams: MAX_INBOUND_TRANSFERS },
    )
    const { pubsub } = node.services
    watchGossip(pubsub, (peer, reason) => this.strike(peer, reason))
    for (const topic of TOPICS) {
      pubsub.topicValidators.set(topicName(this.meshId, topic), (id, message) => {
        const via = peerOf(id)
        return via !== undefined && this.onGossip(topic, message.data, via)
          ? TopicValidatorResult.Accept
          : TopicValidatorResult.Reject
      })
    }
  }

  private onGossip(topic: Topic, bytes: Uint8Array, via: PeerId): boolean {
    if (this.stopping !== undefined) return false
    let valid = false
    try {
      valid = bytes.length <= MAX_GOSSIP_BYTES && this.options.events.onGossip(topic, bytes, via)
    } catch (error) {
      this.log.error('a gossip handler threw', { error: String(error) })
      return false
    }
    if (!valid) this.strike(via, `invalid gossip (${topic})`)
    return valid
  }

  // ------------------------------------------------------------ dialling

  private async dialKnown(addresses: readonly string[], peer: PeerId | undefined): Promise<PeerId> {
    if (peer !== undefined && this.strikeBook.isRefused(peer)) {
      throw new MeshError('ERR_MESH_UNREACHABLE', 'this peer is refused for a while')
    }
    return this.connect(addresses, peer)
  }

  /** One dial, until the direct streams stand. */
  private async connect(
    addresses: readonly string[],
    peer: PeerId | undefined,
    signal?: AbortSignal,
  ): Promise<PeerId> {
    const before = peer === undefined ? undefined : this.links.get(peer)
    if (peer !== undefined && before?.silent === false) return peer
    const over = peer === undefined ? undefined : this.gate.dials(peer)
    let progress: DialProgress = 'nothing'
    let answered = peer
    try {
      const connection = await this.node.dial(addressesFor(addresses, peer), {
        signal: anyOf(signal, DIAL_TIMEOUT_MS),
        // Beside the connection that nothing is heard on.
        force: before !== undefined,
        onProgress: ({ type }) => {
          if (type === 'upgrader:encrypt-outbound-connection') progress = 'answered'
          else if (type === 'upgrader:multiplex-outbound-connection') progress = 'member'
        },
      })
      progress = 'member'
      answered = peerOf(connection.remotePeer)
      if (answered === undefined) throw new Error('the peer has no Ed25519 key')
    } catch (error) {
      // The other one's dial may have overtaken this one.
      if (peer === undefined || !this.isComing(peer, before))
        throw dialError(addresses[0]!, progress, error)
    } finally {
      over?.()
    }
    if (await this.links.whenReady(answered!, LINK_TIMEOUT_MS, { signal, before })) return answered!
    throw dialError(addresses[0]!, progress, new Error('no direct stream'))
  }

  private isComing(peer: PeerId, before: Link | undefined): boolean {
    const standing = this.node.getConnections(libp2pIdOf(peer))
    return (
      this.links.get(peer) !== before ||
      this.gate.isAccepting(peer) ||
      standing.some((connection) => connection !== before?.connection)
    )
  }

  private discovered(peer: PeerId | undefined, addresses: string[]): void {
    if (peer === undefined || peer === this.self) return
    this.learn(peer, addresses)
    try {
      this.options.events.onDiscovered?.(peer, addresses)
    } catch (error) {
      this.log.error('a discovery handler threw', { error: String(error) })
    }
  }

  private strike(peer: PeerId | 'unknown', reason: string): void {
    const refused = this.strikeBook.add(peer, reason)
    this.log.warn('strike', { peer: peer.slice(0, 8), reason, refused })
    if (peer === 'unknown') return
    for (const connection of this.node.getConnections(libp2pIdOf(peer))) {
      abortConnection(connection, reason)
    }
  }
}

/** gossipsub takes options that its interface leaves out. */
interface Publisher {
  publish(topic: string, data: Uint8Array, options: { floodPublish: boolean }): Promise<unknown>
}

async function peerOfSeed(seed: Uint8Array): Promise<PeerId> {
  return toHex((await generateKeyPairFromSeed('Ed25519', seed)).publicKey.raw) as PeerId
}

function addressesFor(addresses: readonly string[], peer: PeerId | undefined): Multiaddr[] {
  if (peer === undefined) return addresses.map((address) => multiaddr(address))
  const id = libp2pIdOf(peer).toString()
  return addresses.map((address) => multiaddr(`${withoutPeer(address)}/p2p/${id}`))
}

function withoutPeer(address: string): string {
  return address.replace(/\/p2p\/.*$/, '')
}

function isDialable(address: string): boolean {
  if (isLinkLocal(address)) return false
  try {
    parseDialAddress(address)
    return true
  } catch {
    return false
  }
}

function anyOf(signal: AbortSignal | undefined, timeoutMs: number): AbortSignal {
  const timeout = AbortSignal.timeout(timeoutMs)
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout])
}

/** ERR_MESH_PORT_IN_USE, naming the address; ERR_MESH_ADDRESS_INVALID for one that this machine has not. */
function listenError(error: unknown, listen: readonly string[]): Error {
  const message = error instanceof Error ? error.message : String(error)
  for (const address of listen) {
    const start = message.indexOf(`${address}: `)
    if (start < 0) continue
    const code = /\b(EADDRINUSE|EADDRNOTAVAIL|EACCES)\b/.exec(message.slice(start))?.[1]
    const options = { cause: error, details: { address } }
    if (code === 'EADDRINUSE') {
      return new MeshError(
        'ERR_MESH_PORT_IN_USE',
        `another process listens on ${address}: stop it, or choose another port (--listen)`,
        options,
      )
    }
    if (code !== undefined) {
      return new MeshError(
        'ERR_MESH_ADDRESS_INVALID',
        `cannot listen on ${address} (${code}): it must be an address of this machine, and a port that this user may use`,
        options,
      )
    }
  }
  return error instanceof Error ? error : new Error(message)
}
