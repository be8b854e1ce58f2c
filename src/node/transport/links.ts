import type { Connection, Stream } from '@libp2p/interface'
import type { Logger } from '../../base/logger.ts'
import type { PeerId } from '../../scheduler/types.ts'
import { isLoopbackAddress } from './addresses.ts'
import { abortConnection, abortStream } from './close.ts'
import { peerOf } from './ids.ts'
import { FLUSH_ON_STOP_MS } from './limits.ts'
import { Link } from './link.ts'
import { isGone } from './probe.ts'
import type { TransportEvents } from './types.ts'

export interface LinksParts {
  readonly events: Pick<TransportEvents, 'onPeerConnected' | 'onPeerDisconnected' | 'onMessage'>
  readonly strike: (peer: PeerId, reason: string) => void
  /** Where a peer listens, as far as it is known. */
  readonly addressesOf: (peer: PeerId) => readonly string[]
  readonly onUp: (peer: PeerId) => void
  readonly onDown: (peer: PeerId) => void
  /** Monotonic ms. */
  readonly now: () => number
  readonly log: Logger
}

/**
 * One link to each connected peer. What the node hears is in order: a peer is connected, then its messages come, then it is
 * disconnected, once.
 */
export class Links {
  private readonly parts: LinksParts
  private readonly byConnection = new Map<string, Link>()
  private readonly ready = new Map<PeerId, Link>()
  /** Lost, and the node not told yet: the re-dial is under way. */
  private readonly losing = new Map<PeerId, () => void>()
  private readonly waiting = new Set<() => void>()
  private stopped = false

  constructor(parts: LinksParts) {
    this.parts = parts
  }

  get(peer: PeerId): Link | undefined {
    return this.ready.get(peer)
  }

  /** Those that are ready. */
  all(): Iterable<Link> {
    return this.ready.values()
  }

  peers(): PeerId[] {
    return [...this.ready.keys()]
  }

  get size(): number {
    return this.ready.size
  }

  /** A connection has opened. */
  add(connection: Connection): void {
    const peer = peerOf(connection.remotePeer)
    if (peer === undefined || this.stopped) {
      abortConnection(connection, 'not a peer of ours')
      return
    }
    if (this.byConnection.has(connection.id)) return
    const link = new Link(peer, connection, {
      onReady: (ready) => this.onReady(ready),
      onMessage: (from, bytes) => this.onMessage(from, bytes),
      onFault: (from, reason) => this.parts.strike(from.peer, reason),
      onClosed: (closed) => this.onClosed(closed),
      now: this.parts.now,
    })
    if (link.state !== 'closed') this.byConnection.set(connection.id, link)
  }

  /** The other side has opened its direct stream. */
  attach(stream: Stream, connection: Connection): void {
    this.add(connection)
    const link = this.byConnection.get(connection.id)
    if (link === undefined) abortStream(stream, new Error('the connection is closing'))
    else link.attach(stream)
  }

  /**
   * Resolves with true when the peer is connected (by another link than `before`), with false when that takes too long or `signal`
   * aborts.
   */
  async whenReady(
    peer: PeerId,
    timeoutMs: number,
    { signal, before }: { signal?: AbortSignal | undefined; before?: Link | undefined } = {},
  ): Promise<boolean> {
    const until = performance.now() + timeoutMs
    for (;;) {
      const link = this.ready.get(peer)
      if (link !== undefined && link !== before) return true
      const leftMs = until - performance.now()
      if (leftMs <= 0 || this.stopped || signal?.aborted) return false
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          this.waiting.delete(done)
          signal?.removeEventListener('abort', done)
          resolve()
        }
        const timer = setTimeout(done, leftMs)
        this.waiting.add(done)
        signal?.addEventListener('abort', done)
      })
    }
  }

  /** Lets what is queued go out and arrive, as far as that is quick. */
  async stop(): Promise<void> {
    this.stopped = true
    const until = performance.now() + FLUSH_ON_STOP_MS
    const links = [...this.byConnection.values()]
    for (const link of links) link.confirm()
    while (links.some((link) => !link.confirmed) && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    for (const link of links) link.close()
    for (const done of [...this.waiting]) done()
  }

  private onReady(link: Link): void {
    const { peer } = link
    // Told first: "disconnected" of the link before, if the node has not heard it yet.
    this.losing.get(peer)?.()
    const before = this.ready.get(peer)
    if (before !== undefined) {
      this.ready.delete(peer)
      before.abort('replaced by a new connection')
      this.tell(() => this.parts.events.onPeerDisconnected(peer, false))
    }
    this.ready.set(peer, link)
    this.parts.onUp(peer)
    this.tell(() => this.parts.events.onPeerConnected(peer, link.address))
    for (const done of [...this.waiting]) done()
  }

  private onMessage(link: Link, bytes: Uint8Array): boolean {
    if (this.ready.get(link.peer) !== link) return true
    try {
      return this.parts.events.onMessage(link.peer, bytes)
    } catch (error) {
      // A fault of this peer's own code, not the sender's.
      this.parts.log.error('a message handler threw', { error: String(error) })
      return true
    }
  }

  private onClosed(link: Link): void {
    const { peer } = link
    this.byConnection.delete(link.connection.id)
    if (this.ready.get(peer) !== link) return
    this.ready.delete(peer)
    if (!this.stopped) void this.lose(link)
  }

  /** One re-dial tells a process that is gone from a network that is. */
  private async lose(link: Link): Promise<void> {
    const { peer } = link
    let told = false
    const tell = (gone: boolean): void => {
      if (told || this.stopped) return
      told = true
      this.losing.delete(peer)
      this.tell(() => this.parts.events.onPeerDisconnected(peer, gone))
      this.parts.onDown(peer)
    }
    this.losing.set(peer, () => tell(false))
    tell(await isGone(this.listeningAddresses(link)))
  }

  /** Those of the host that it was connected from; a peer's loopback address is on its own machine. */
  private listeningAddresses(link: Link): string[] {
    const { address } = link
    if (link.connection.direction === 'outbound') return [address]
    const host = address.split('/')[2]
    const known = this.parts.addressesOf(link.peer)
    const same = known.filter((one) => one.split('/')[2] === host)
    if (same.length > 0) return same
    return known.filter((one) => isLoopbackAddress(one) === isLoopbackAddress(address))
  }

  private tell(event: () => void): void {
    try {
      event()
    } catch (error) {
      this.parts.log.error('a connection handler threw', { error: String(error) })
    }
  }
}
