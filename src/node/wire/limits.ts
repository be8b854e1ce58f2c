/**
 * Every maximum of what travels in a message, with its reason. A peer that sends more is at fault (ERR_MESH_PROTOCOL). All are
 * part of the protocol (docs/protocol.md, "Limits").
 */

/** A message of the direct stream: a run is at most 1 MiB − 4 KiB, and one message must not hold up the next for long. */
export const MAX_MESSAGE_BYTES = 1024 * 1024
/** A gossiped message: every peer of the mesh forwards it, several times over. */
export const MAX_GOSSIP_BYTES = 256 * 1024
/** An advert: gossiped by every peer every 15 s, so 1 000 peers cost 270 KB/s at the most. */
export const MAX_ADVERT_BYTES = 4096
/** Running jobs that a hello names; the others are found by their entries. */
export const MAX_HELLO_JOBS = 1024
/** Runs of one message: bounds what a decoder makes out of 1 MiB of empty arrays. */
export const MAX_RUNS = 1024
/** Feeds of one heads or pull: 88 bytes each, so that a message holds them. */
export const MAX_FEEDS = 8192
/** Chunks that an empty steal answer lists: a peer has at most 1024 slots. */
export const MAX_RUNNING = 1024
/** Log lines of one message, and UTF-8 bytes of one: 256 × 16 KiB would be too much, so a message's own cap counts as well. */
export const MAX_LOG_LINES = 256
export const MAX_LOG_LINE_BYTES = 16 * 1024
/** A version, such as 1.2.3-beta.4. */
export const MAX_VERSION_BYTES = 32
/** A peer's name, for people. */
export const MAX_NAME_BYTES = 64
/** Addresses of one advert: interfaces of a machine; a host with more says its first ones. */
export const MAX_ADDRESSES = 16
export const MAX_ADDRESS_BYTES = 256
/** Labels of one advert, and UTF-8 bytes of a key or a value. */
export const MAX_LABELS = 32
export const MAX_LABEL_BYTES = 64
/** A GPU's name. */
export const MAX_GPU_NAME_BYTES = 128
/** Cores and slots of one peer. */
export const MAX_CORES = 65_536
/** Addresses of one ticket: it is typed and mailed, and one that works is enough. */
export const MAX_TICKET_ADDRESSES = 3
/** Characters of a ticket that anyone looks at: three addresses by long host names are about 900. */
export const MAX_TICKET_CHARS = 2048
/** Rates and speeds, in thousandths: up to here a number and a thousand times it are exact, and nothing is that fast. */
export const MAX_RATE_THOUSANDTHS = 1e15
/** Characters of the beginning of a job's id, and ids in an answer: more than one is ambiguous anyway. */
export const MAX_PREFIX_CHARS = 64
export const MAX_FOUND_JOBS = 16

/** A Date says no later one, ms since 1970: times come from other peers. */
export const MAX_DATE_MS = 8.64e15
