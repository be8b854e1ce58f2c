/** Every bound of the transport, with its reason. Those marked * are part of the protocol (docs/protocol.md). */

// ---------------------------------------------------------------- the direct stream

/** * A message: one must not hold up the next for long. */
export const MAX_MESSAGE_BYTES = 1024 * 1024
/** What waits for a peer that reads slowly: a minute of log at 500 KB/s; above it the connection is closed. */
export const MAX_SEND_QUEUE_BYTES = 32 * 1024 * 1024
/** Messages that come before the connection stands on this side too: a hello and a few requests. */
export const MAX_EARLY_BYTES = 8 * 1024 * 1024
/** How long a new connection may take until its direct streams stand both ways. */
export const LINK_TIMEOUT_MS = 10_000
/** How long stop() waits until what is queued has arrived. */
export const FLUSH_ON_STOP_MS = 2_000

// ---------------------------------------------------------------- gossip

/** * A gossiped message: every peer of the mesh forwards it. */
export const MAX_GOSSIP_BYTES = 256 * 1024
/** A frame of gossipsub: one message and what rides along; several small messages are batched into one. */
export const MAX_GOSSIP_FRAME_BYTES = 1024 * 1024
/** What waits for a peer that reads gossip slowly: above it gossipsub resets the stream. */
export const MAX_GOSSIP_QUEUE_BYTES = 16 * 1024 * 1024
/** Parts of one gossip frame: bounded before they are made. */
export const GOSSIP_FRAME_LIMITS = {
  maxSubscriptions: 16,
  maxMessages: 1024,
  maxIhaveMessageIDs: 1024,
  maxIwantMessageIDs: 1024,
  maxIdontwantMessageIDs: 512,
  maxControlMessages: 256,
  maxPeerInfos: 16,
} as const
/** Up to so many neighbours an own message goes to all at once, which spares the wait for the mesh; beyond, to the mesh alone. */
export const FLOOD_PUBLISH_PEERS = 16
/** Grafting and repair wait for it; adverts do not. Each one costs CPU on an idle peer. */
export const GOSSIP_HEARTBEAT_MS = 2_000

// ---------------------------------------------------------------- blobs

/** * One piece of a blob on the wire, before compression. */
export const MAX_PIECE_BYTES = 256 * 1024
/** * A frame of a blob stream: a piece (compression never makes it longer) and its head. */
export const MAX_BLOB_FRAME_BYTES = MAX_PIECE_BYTES + 64
/** * Bytes under way that the receiver has not taken: its memory per transfer, and 20 MB/s at 100 ms for each. */
export const BLOB_WINDOW_BYTES = 2 * 1024 * 1024
/** * What each piece takes of the window besides its bytes: its memory here. */
export const PIECE_OVERHEAD_BYTES = 512
/** The receiver gives credit back in steps of so much: a frame for each would double their number. */
export const BLOB_CREDIT_STEP_BYTES = BLOB_WINDOW_BYTES / 4
/** Transfers that this peer runs at once with another one; the next ones wait. 16 windows are 32 MiB. */
export const MAX_TRANSFERS_PER_PEER = 16
/** Transfers that wait for a place; more are refused (ERR_MESH_TOO_LARGE). */
export const MAX_WAITING_TRANSFERS = 4096
/** * Transfers that another peer may run here at once: its 16, and those that are ending. */
export const MAX_INBOUND_TRANSFERS = 64
/** Idle streams kept for the next transfers with one peer: opening one costs 1-4 ms. Fewer than run at once would be opened anew. */
export const MAX_IDLE_BLOB_STREAMS = MAX_TRANSFERS_PER_PEER
/** How long the one who opened it keeps an idle stream; the other one waits twice as long. */
export const BLOB_REST_MS = 30_000
/** A transfer that does not move for so long is given up: a disk may stall, a peer may hang. */
export const BLOB_IDLE_TIMEOUT_MS = 30_000
/** How long a transfer that is over at this end may take to be so at the other: a last window at 70 KB/s. */
export const BLOB_CLOSE_TIMEOUT_MS = 30_000
/** Shorter pieces are not worth a compressor. */
export const MIN_COMPRESSED_BYTES = 1024
/** What is tried of the first piece, and how much smaller it must get. */
export const COMPRESSION_SAMPLE_BYTES = 64 * 1024
export const COMPRESSION_GAIN = 0.9

// ---------------------------------------------------------------- connections

/** Peers that this one looks for by itself; beyond, it waits to be found. Each costs 150 KB and a ping now and then. */
export const MAX_SOUGHT_PEERS = 128
/** Connections at all; above it libp2p closes those that are not kept. */
export const MAX_CONNECTIONS = 300
/** New connections of one host in a second: a lab of machines behind one address joins at once. */
export const MAX_INBOUND_PER_SECOND = 50
export const MAX_PENDING_INBOUND = 64
/** Peers whose addresses are remembered, and addresses of one. */
export const MAX_KNOWN_PEERS = 4096
export const MAX_ADDRESSES_PER_PEER = 16
/** Dials under way that this peer began by itself. */
export const MAX_PARALLEL_DIALS = 8
/** First and longest wait between two dials of one peer. */
export const DIAL_BACKOFF_MS = 1_000
export const MAX_DIAL_BACKOFF_MS = 30_000
/** Of two peers that hear of each other the one with the greater id leaves the other so long to dial. */
export const DIAL_HANDICAP_MS = 2_000
/** A peer whose connection was lost is looked for by a bare TCP connection, which costs little: this long after the one before at first … */
export const SEEK_MS = 500
/** … and later after such a part of the time since the loss: back after an hour, a peer is found within a minute. */
export const SEEK_PART = 1 / 60
/** One try of it, and tries at once. */
export const SEEK_TIMEOUT_MS = 1_500
export const MAX_PARALLEL_SEEKS = 64
/** A peer that nobody has spoken of for so long is no longer dialled. */
export const FORGET_PEER_MS = 10 * 60_000
/** One address gets so long to answer; all of a peer's so long. */
export const ADDRESS_DIAL_TIMEOUT_MS = 6_000
export const DIAL_TIMEOUT_MS = 15_000
/** How long the re-dial that tells a process that is gone from a network that is may take. */
export const PROBE_TIMEOUT_MS = 1_000
/** A port that took a connection and keeps it for so long is alive; one that drops it is tried again. */
export const PROBE_LINGER_MS = 100
export const PROBE_TRIES = 4
/** A connection of this age is not the other half of a simultaneous dial: its peer has lost it, and a new one takes its place. */
export const SETTLED_CONNECTION_MS = 3_000
/** What the pre-shared key's cipher takes at once: 640 KiB and more make it leak (libp2p-node.ts). */
export const MAX_CIPHER_BYTES = 128 * 1024
/** How often connections are looked at. */
export const PULSE_MS = 500
/** A peer that said nothing for so long is asked for a sign of life; with more connections later, so that pings stay few. */
export const QUIET_MS = 2_000
export const QUIET_PER_CONNECTION_MS = 80
/** Asked at least so often, to know the round trip. */
export const RTT_INTERVAL_MS = 10_000
/** One that was asked and said nothing for so long may be gone: it is looked for anew, while its connection stands. */
export const SILENT_MS = 3_000
/** A connection on which nothing came for so long is given up. A peer that is only busy, or stopped for a while, keeps it. */
export const DEAD_CONNECTION_MS = 30_000
/** A look that comes so much too late was not made by a peer that ran: it slept, or was stopped. */
export const SLEPT_MS = 1_000

// ---------------------------------------------------------------- faults

/** So many strikes within so long, and a peer is refused for so long. */
export const MAX_STRIKES = 5
export const STRIKE_WINDOW_MS = 10 * 60_000
export const REFUSE_MS = 60_000
/** Distinct (peer, reason) pairs counted; the oldest ones are dropped. */
export const MAX_STRIKE_COUNTERS = 1024
