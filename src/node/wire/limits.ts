/** Bounds of what a peer may say, checked while decoding, before anything is allocated (docs/protocol.md, "Limits"). */

/** One message of the direct stream; bulk goes over the blob protocol. */
export const MAX_MESSAGE_BYTES = 1024 * 1024
/** One gossiped message: a batch of entries or an advert. */
export const MAX_GOSSIP_BYTES = 256 * 1024
/** Runs in one message. */
export const MAX_RUNS = 1024
/** Running jobs named in a hello: more are learnt by gossip and anti-entropy. */
export const MAX_HELLO_JOBS = 1024
/** Feeds in one version vector: one per session that took part in a job. */
export const MAX_HEADS = 8192
/** Chunks listed in the answer to a thief. */
export const MAX_RUNNING = 1024
/** Console lines in one message, and the bytes of one. */
export const MAX_LOG_LINES = 256
export const MAX_LOG_LINE_BYTES = 16 * 1024
/** A signed advert. */
export const MAX_ADVERT_BYTES = 4 * 1024
export const MAX_ADDRESSES = 16
export const MAX_ADDRESS_BYTES = 256
export const MAX_NAME_BYTES = 64
export const MAX_VERSION_BYTES = 32
export const MAX_LABELS = 32
export const MAX_LABEL_BYTES = 64
/** Worker slots a peer may say it has. */
export const MAX_SLOTS = 65_536
