import type { Connection, ConnectionGater, MultiaddrConnection } from '@libp2p/interface'
import type { PeerId } from '../../scheduler/types.ts'
import { abortConnection } from './close.ts'
import { peerOf } from './ids.ts'
import { SETTLED_CONNECTION_MS } from './limits.ts'

export interface GateParts {
  readonly self: PeerId
  readonly isRefused: (peer: PeerId) => boolean
  readonly connections: (peer: PeerId) => Connection[]
  /** Its connection stands, but nothing is heard on it: a new one may take its place. */
  readonly isSilent: (peer: PeerId) => boolean
  /** A dial from outside failed before the dialler proved that it holds the mesh's key. */
  readonly onStranger: () => void
}

/** How long a connection that was let in may take to open. */
const ACCEPTING_MS = 3_000

/**
 * Who may connect, and which of two connections stays, before either is opened: of two peers that dial each other at once the
 * one with the smaller id has its way, and refuses the other's while its own is under way. A peer that connects anew though its
 * connection stands has lost it: the new one replaces it.
 */
export class Gate {
  private readonly parts: GateParts
  private readonly dialling = new Map<PeerId, number>()
  /** Let in, not open yet: until when that is believed. */
  private readonly accepting = new Map<PeerId, number>()
  private readonly members = new WeakSet<MultiaddrConnection>()

  constructor(parts: GateParts) {
    this.parts = parts
  }

  readonly gater: ConnectionGater = {
    denyInboundConnection: (connection) => {
      connection.addEventListener('close', () => {
        if (!this.members.has(connection) && !wasSilent(connection)) this.parts.onStranger()
      })
      return false
    },
    denyInboundEncryptedConnection: (id, connection) => {
      this.members.add(connection)
      const peer = peerOf(id)
      return peer === undefined || !this.admits(peer)
    },
    denyOutboundEncryptedConnection: (id) => {
      const peer = peerOf(id)
      return peer === undefined || this.parts.isRefused(peer) || this.has(peer)
    },
    denyOutboundUpgradedConnection: (id) => {
      const peer = peerOf(id)
      return peer === undefined || this.has(peer)
    },
    // libp2p's default would refuse private addresses in a browser; here every address is one's own choice.
    denyDialMultiaddr: () => false,
  }

  /** A dial of `peer` is under way; call the result when it is over. */
  dials(peer: PeerId): () => void {
    this.dialling.set(peer, (this.dialling.get(peer) ?? 0) + 1)
    return () => {
      const left = this.dialling.get(peer)! - 1
      if (left === 0) this.dialling.delete(peer)
      else this.dialling.set(peer, left)
    }
  }

  /** The peer has been let in and its connection is about to open. */
  isAccepting(peer: PeerId): boolean {
    const until = this.accepting.get(peer)
    if (until === undefined) return false
    if (Date.now() < until) return true
    this.accepting.delete(peer)
    return false
  }

  opened(peer: PeerId): void {
    this.accepting.delete(peer)
  }

  private has(peer: PeerId): boolean {
    const standing = this.parts.connections(peer).length > 0 && !this.parts.isSilent(peer)
    return standing || this.isAccepting(peer)
  }

  private admits(peer: PeerId): boolean {
    if (this.parts.isRefused(peer)) return false
    const standing = this.parts.connections(peer)
    const now = Date.now()
    const young = standing.some((one) => now - one.timeline.open < SETTLED_CONNECTION_MS)
    const first = this.parts.self < peer
    if (first && (young || this.dialling.has(peer))) return false
    if (!young) {
      for (const lost of standing) abortConnection(lost, 'replaced by a new connection')
    }
    this.accepting.set(peer, now + ACCEPTING_MS)
    return true
  }
}

/** What a dialler says before it has heard anything: the pre-shared key's nonce. */
const NONCE_BYTES = 24

/**
 * Who hangs up before it could show its key is no stranger: it says nothing when it only looks who is there (probe.ts), and not
 * more than its nonce when it gave up dialling a peer that was stopped.
 */
function wasSilent(connection: MultiaddrConnection): boolean {
  const { socket } = connection as { socket?: { bytesRead?: number } }
  return socket?.bytesRead !== undefined && socket.bytesRead <= NONCE_BYTES
}
