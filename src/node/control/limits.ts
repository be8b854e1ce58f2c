/** Every bound of the control socket, with its reason. Only this machine's user can reach it: the bounds guard against mistakes. */

/** Unix keeps a socket's path in about 104 (macOS) to 108 (Linux) bytes, the closing zero included. */
export const MAX_SOCKET_PATH_BYTES = 100

/** One uploaded blob: a bundle (at most 64 MiB) or a piece of input. It is held in memory while it arrives. */
export const MAX_BLOB_UPLOAD_BYTES = 64 * 1024 * 1024

/** Uploads that are read at once; later ones wait unread, so that memory stays within a few large blobs. */
export const MAX_UPLOADS_AT_ONCE = 4

/** The JSON of one submission: options with args of 8 KiB of hex, and a few names. */
export const MAX_JSON_BODY_BYTES = 64 * 1024

/** The ranges of a reader: one for each node of a composition that is part of its value, about 30 bytes each. */
export const MAX_RANGES_BODY_BYTES = 1024 * 1024

/** Connections at once: a program that follows a thousand jobs has one for each, some 20 KiB. Further ones are refused. */
export const MAX_CONNECTIONS = 4096

/** Of one client, for what is asked and answered; what is followed has connections beside them. Further questions wait. */
export const MAX_CALLS_AT_ONCE = 32

/** A peer that is busy takes no further connection for a moment: it is tried again so soon, and so often. */
export const CONNECT_AGAIN_MS = 20
export const CONNECT_TRIES = 500

/** Stream output that is gathered before it is written: fewer system calls for many small spans. */
export const STREAM_WRITE_BYTES = 64 * 1024

/** The JSON head of one result frame. */
export const MAX_FRAME_HEAD_BYTES = 16 * 1024

/** The payload of one result frame: as large as a result blob may be (src/node/limits.ts MAX_BLOB_BYTES). */
export const MAX_FRAME_PAYLOAD_BYTES = 256 * 1024 * 1024

/** A JSON answer, or one line of an NDJSON stream: bounds what a client takes from a peer it does not understand. */
export const MAX_JSON_ANSWER_BYTES = 64 * 1024 * 1024

/** How long a closing server lets its streams end by themselves. */
export const CLOSE_GRACE_MS = 500
