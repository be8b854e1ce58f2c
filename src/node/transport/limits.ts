/** Bounds of the transport, with their reasons. */

/** One message of the direct stream. */
export const MAX_MESSAGE_BYTES = 1024 * 1024
/** Messages waiting for a slow peer; above it the connection is closed: everything in them can be pulled again. */
export const MAX_QUEUED_BYTES = 32 * 1024 * 1024
/** Messages joined into one write: larger ones would hold up the loop. */
export const MAX_WRITE_BYTES = 256 * 1024

/** Bytes of a blob in one frame. */
export const MAX_PIECE_BYTES = 256 * 1024
/** Received and not yet consumed bytes of a transfer at which it is paused, and resumed. Below the stream's read buffer. */
export const PAUSE_ABOVE_BYTES = 4 * 1024 * 1024
export const RESUME_BELOW_BYTES = 1024 * 1024
/** A transfer that makes no progress for so long is given up. */
export const STALL_TIMEOUT_MS = 30_000
/** A blob that may be offered to this peer. */
export const MAX_OFFER_BYTES = 256 * 1024 * 1024
/** Transfers served to all peers at a time, each way; further ones wait in the stream's own queue, or are reset by libp2p. */
export const MAX_BLOB_STREAMS = 256

/** Compression must save at least a tenth on a sample, and the sample must be worth it. */
export const SAMPLE_BYTES = 64 * 1024
export const MIN_COMPRESS_BYTES = 1024
export const MIN_GAIN = 0.1

/** Strikes after which a peer is refused for a while. */
export const MAX_STRIKES = 8
export const REFUSE_MS = 60_000
/** Peers and reasons counted. */
export const MAX_STRIKE_COUNTERS = 1_000

/** Redials of a known address: from the first to the last interval. */
export const REDIAL_MIN_MS = 1_000
export const REDIAL_MAX_MS = 30_000
/** Addresses kept to redial. */
export const MAX_KNOWN_ADDRESSES = 1_024
/** If both sides learn of each other, the one with the smaller id dials; the other waits so long before it does. */
export const TIE_BREAK_MS = 2_000
export const DIAL_TIMEOUT_MS = 5_000
export const PROBE_TIMEOUT_MS = 1_000
