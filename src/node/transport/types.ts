import type { BlobHash, PeerId } from '../../scheduler/types.ts'

export type Topic = 'adverts' | 'jobs' | 'entries'

export interface TransportEvents {
  /** A member is connected and its direct stream is open both ways. */
  onPeerConnected(peer: PeerId, address: string): void
  /** `refused`: a re-dial was refused, so the process is gone. */
  onPeerDisconnected(peer: PeerId, refused: boolean): void
  /** One whole message of the direct stream; in order per peer. Returning false counts a strike and closes the connection. */
  onMessage(from: PeerId, bytes: Uint8Array): boolean
  /** A gossiped message; `via` is the neighbour that delivered it, not its author. Return false to reject it (counts against `via`). */
  onGossip(topic: Topic, bytes: Uint8Array, via: PeerId): boolean
  /** Another peer asks for a blob: its bytes and size, or undefined when not held. */
  onBlobRequested(
    from: PeerId,
    hash: BlobHash,
  ): Promise<{ sizeBytes: number; source: AsyncIterable<Uint8Array> } | undefined>
  /** Another peer wants to leave a blob here: consume `source` fully and store it; false refuses. Resolving true is the receipt. */
  onBlobOffered(
    from: PeerId,
    hash: BlobHash,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
  ): Promise<boolean>
  /** mDNS or the like found an address. Transport dials by its own rule; this is for the log and `mesh status`. */
  onDiscovered?(peer: PeerId, addresses: string[]): void
}

export interface PeerStrikes {
  readonly peer: PeerId | 'unknown'
  readonly reason: string
  readonly count: number
}

export interface Transport {
  readonly self: PeerId
  /** Multiaddrs with /p2p/…, as a ticket wants them; loopback last. */
  addresses(): string[]
  connected(): PeerId[]
  /** The remote address of a live connection and its last round trip in ms, if known. */
  connection(
    peer: PeerId,
  ): { address: string; rttMs: number | undefined; since: number } | undefined
  /** Dial; ERR_MESH_UNREACHABLE (nobody answers), ERR_MESH_TICKET_REFUSED (answers, but does not hold our key), ERR_MESH_ADDRESS_INVALID. */
  dial(address: string, signal?: AbortSignal): Promise<PeerId>
  /** Queue a message for the direct stream: coalesced to one write a tick, at most 1 MiB each. False when not connected or its queue is full (the connection is then closed). */
  send(to: PeerId, bytes: Uint8Array): boolean
  /** At most 256 KiB. */
  publish(topic: Topic, bytes: Uint8Array): void
  /** Fetch a blob; the iterable ends after sizeBytes or throws. The caller verifies the hash. undefined when the peer has it not. */
  fetchBlob(
    from: PeerId,
    hash: BlobHash,
    options?: { signal?: AbortSignal; maxBytes?: number },
  ): Promise<{ sizeBytes: number; source: AsyncIterable<Uint8Array> } | undefined>
  /** Leave a blob with a peer; true is its receipt. */
  offerBlob(
    to: PeerId,
    hash: BlobHash,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<boolean>
  /** Tag a peer we work with, so that the connection manager keeps it. */
  keep(peer: PeerId, on: boolean): void
  /** A peer's addresses as its advert says: dialled while it is not connected; of two peers the one with the smaller id dials first. */
  learn(peer: PeerId, addresses: readonly string[]): void
  strikes(): PeerStrikes[]
  disconnect(peer: PeerId): Promise<void>
  stop(): Promise<void>
}

export interface TransportOptions {
  /** Raw Ed25519 seed (32 bytes). */
  readonly privateKey: Uint8Array
  /** The mesh's key (32 bytes). */
  readonly meshKey: Uint8Array
  /** Multiaddrs; default ['/ip4/0.0.0.0/tcp/0']. */
  readonly listen: readonly string[]
  /** Multiaddrs that others are told in place of those it listens on: where a forwarded port is reached. Empty or absent: those. */
  readonly announce?: readonly string[]
  readonly bootstrap: readonly string[]
  readonly mdns: boolean
  readonly events: TransportEvents
}
