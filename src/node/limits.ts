/** Every bound of a live peer, with its reason. Wire and transport have their own. */

/** Finished jobs whose fold stays in memory; older ones are read from the store's views. */
export const MAX_FINISHED_JOBS_IN_MEMORY = 32

/** Bytes of log runs in one `entries` message: well under the 1 MiB message cap, and small enough to interleave. */
export const MAX_RUN_MESSAGE_BYTES = 256 * 1024

/** How often a running job's version vector goes to one random neighbour: repairs what gossip dropped. */
export const ANTI_ENTROPY_INTERVAL_MS = 5_000

/** Adverts go out at once on connect, then at this interval, sooner (bounded below) when facts change. */
export const ADVERT_INTERVAL_MS = 15_000
export const ADVERT_MIN_INTERVAL_MS = 2_000

/** Peers that a newcomer is told of at once, and that are told of it; gossip tells the rest. */
export const MAX_INTRODUCTIONS = 64

/** A peer that is not connected is shown this long after it was last heard of. */
export const PEER_FORGET_MS = 60_000

/** Peers remembered from adverts: bounds memory against a flood of made-up peers (adverts are signed, so each costs its author a signature). */
export const MAX_KNOWN_PEERS = 16_384

/** Input pieces handed to a worker for one chunk: bounds the time before it can start. */
export const MAX_PIECES_PER_CHUNK = 8
/** Pieces fetched ahead of the chunk that needs them. */
export const PREFETCH_PIECES = 4

/** How long a fetch of one blob from one peer may stall before the next peer is asked. */
export const BLOB_FETCH_TIMEOUT_MS = 30_000
/** Largest blob taken from a peer: a result with one value of the largest size, and its neighbours. */
export const MAX_BLOB_BYTES = 256 * 1024 * 1024

/** Console lines kept for one job on the peer that ran it, and how long one line may be. */
export const MAX_LOG_LINES_PER_JOB = 1_000
export const MAX_LOG_LINE_CHARS = 4_096
export const MAX_JOBS_WITH_LOGS = 64

/** How often a watcher of a job is told, at most. */
export const WATCH_INTERVAL_MS = 100

/** How long a stopping peer lets its running chunks end by themselves. */
export const STOP_GRACE_MS = 600

/** How long a chunk that could not be prepared is left alone. */
export const CHUNK_RETRY_MS = 1_000

/** Entries held back while a job's earlier log is read from the store. */
export const MAX_BUFFERED_ENTRIES = 100_000

/** How long `submit --detach` waits for another peer to take the job before it says that there is none. */
export const DETACH_TIMEOUT_MS = 10_000
/** How many other peers get a detached job's input and bundle. */
export const DETACH_COPIES = 2

/** How long a reader that waits for results waits for a keeper that is not connected. */
export const KEEPER_PATIENCE_MS = 10_000
export const KEEPER_RETRY_MS = 500

/** Items of a chunk that fail at once when its code cannot be loaded. */
export const MAX_FAILED_AT_ONCE = 1_000

/** How long a leaving peer waits for the answer to its last STEAL: a GRANT on its way must be handed on. */
export const STEAL_ANSWER_MS = 1_000

/** Spans that wait for one reader of results as they come; above it the reader looks at the whole fold again. */
export const MAX_WAITING_SPANS = 10_000

/** Sends to one peer that wait for each other: a pull above it is dropped, and asked again by anti-entropy. */
export const MAX_WAITING_SENDS = 256

/** Feeds in one version vector: a message's cap (src/node/wire/limits.ts) is 8 192. */
export const MAX_HEADS_PER_MESSAGE = 4_096

/** Warnings shown by `mesh status`. */
export const MAX_WARNINGS = 20
