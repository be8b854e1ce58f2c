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

/** A peer that is not connected is shown this long after it was last heard of; one that said good-bye, shorter. */
export const PEER_FORGET_MS = 600_000
export const LEFT_FORGET_MS = 60_000

/** A connected peer that was not heard for so long is shown as silent: several heartbeats are missing by then. */
export const SILENT_AFTER_MS = 5_000

/** Peers remembered from adverts: bounds memory against a flood of made-up peers (adverts are signed, so each costs its author a signature). */
export const MAX_KNOWN_PEERS = 16_384

/** Input pieces handed to a worker for one chunk: bounds the time before it can start. */
export const MAX_PIECES_PER_CHUNK = 8
/** Pieces fetched ahead of the chunk that needs them. */
export const PREFETCH_PIECES = 4
/** The same of a composition: results of other items, each of some MiB at most, and stretches of them that ride in a request. */
export const MAX_RESULTS_PER_CHUNK = 16
export const MAX_PARTS_PER_CHUNK = 256
/** Code of a composition that is fetched before its nodes are reached, by those who run any of it: mostly some KiB; custody.ts has the rest. */
export const MAX_CODE_AHEAD_BYTES = 8 * 1024 * 1024
/** Values that one call of a composition takes, each as often as it is named: it must hold them all at a time. */
export const MAX_CALL_VALUES = 16_777_216
/** Values that are read in one go: some ms, then others have their turn. */
export const VALUES_PER_TURN = 65_536
/** Stretches of results that one item of a composition is computed from: each is some 100 bytes of a request. */
export const MAX_PARTS_PER_ITEM = 131_072
/** Nodes of a composition that people are shown, with their counts: as many as anybody reads. */
export const MAX_NODES_TOLD = 1_000

/** How long a fetch of one blob from one peer may stall before the next peer is asked. */
export const BLOB_FETCH_TIMEOUT_MS = 30_000
/** A large blob gets this time and so much more for its size: slower connections are given up. */
export const BLOB_MIN_BYTES_PER_MS = 100
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
/** When more came, the job is read again, so many entries at a time. */
export const READ_AGAIN_ENTRIES = 4_096

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

// ---------------------------------------------------------------- results and input on several peers

/** Peers that hold each result when the job does not say, and the most it may ask for (a DONE names at most 8 keepers). */
export { DEFAULT_REPLICAS } from '../scheduler/limits.ts'
export const MAX_REPLICAS = 8
/** After the first receipt the other keepers get so long, and a second more for each megabyte; what is missing is copied later. */
export const PLACE_PATIENCE_MS = 2_000
export const PLACE_MIN_BYTES_PER_MS = 1_000
/** With no receipt for so long (and a second more for each megabyte) a result is kept here, whoever was to keep it. */
export const PLACE_FALLBACK_MS = 5_000

/** Copies of results under way at once, and of those that a leaving peer hands on: a dead peer's share must not fill the links. */
export const COPIES_AT_ONCE = 2
export const HAND_ON_AT_ONCE = 4
/** Peers tried for one copy before it waits for the next look. */
export const MAX_COPY_TRIES = 4
/** Copies made by this session that are remembered by hash; the log does not name them. Forgetting one costs an offer that is declined. */
export const MAX_COPIES_KNOWN = 200_000
/** A side of the mesh that sees less than half of a job's peers waits so many times longer before it gives a result up. */
export const MINORITY_FACTOR = 10
/** Spans looked at between two turns of the event loop: a look over all jobs must not hold up a running one. */
export const SPANS_PER_TURN = 256
/** How long one copy may take; the transport gives up earlier on one that does not move. */
export const COPY_TIMEOUT_MS = 300_000

/** Other peers that fetch the whole input and the code of a job that runs for more than a moment. */
export const INPUT_COPIES = 2
/** Pieces whose holder is looked for: for so many it is remembered since when they are missing. */
export const MAX_MISSING_INPUTS = 4_096
/** A chunk whose input is missing is tried again after 1 s, twice as long each time, at most this. */
export const MAX_CHUNK_RETRY_MS = 8_000

/** Losses of peers shown for one job, and jobs for which they are remembered. */
export const MAX_LOSSES_PER_JOB = 32
export const MAX_JOBS_WITH_LOSSES = 256

// ---------------------------------------------------------------- finding jobs

/** How long connected peers are asked for a job that is not known here. */
export const FIND_JOB_MS = 3_000
/** A peer that has just started has nobody connected yet: so long it waits for the first before it says that nobody knows. */
export const FIRST_CONTACT_MS = 5_000
/** Searches under way at once. */
export const MAX_SEARCHES = 64
/** Peers asked in one search. */
export const MAX_ASKED_PEERS = 64

// ---------------------------------------------------------------- retention and the disk

/** Collected jobs that are remembered with the time, so that `mesh results` can say so; tombstones last longer, without it. */
export const MAX_COLLECTED_KNOWN = 4_096
/** Blobs that local callers wrote and that no job names yet (a submit that is being spooled): never swept. One costs about 40 bytes. */
export const MAX_PINNED = 4_000_000
/** Results without a copy that `mesh job` looks through; beyond, it says "at least". */
export const MAX_SPANS_COUNTED = 20_000

/** How long a job that is not known here is waited for after the connected peers were asked. */
export const WANT_JOB_MS = 5_000
/** Forked feeds told in one process; the proof itself is in the log. */
export const MAX_FORKS_TOLD = 1_000

/** A job that is over within this of its arrival, and older than the other, was over before: its end is not known here. */
export const JUST_HEARD_MS = 5_000
export const OLD_JOB_MS = 60_000

/** How often a peer writes down where the others listen. */
export const NEWS_INTERVAL_MS = 10_000

/** How long a reader that waits for results waits for a keeper that is away: a lease, the new copy that follows it, and a restart on a busy machine. */
export const READER_PATIENCE_MS = 60_000

/** What a reference core does of a kernel on the CPU, GFLOP/s (a matrix product of 1024² in 1.5 s): what a GPU's score is compared with. */
export const CORE_GFLOPS = 1.4
/** A device whose score is 0 was not measured. */
export const MIN_KERNEL_SPEED = 0.1

/**
 * A kernel's chunk that fails as a whole is tried again after 1, 2 and 4 s. Then, where there are other peers, all of the job is handed on to
 * them for so long; what is still there after that fails, a part at a time.
 */
export const KERNEL_TRIES = 3
export const KERNEL_RETRY_MS = 1_000
export const KERNEL_UNFIT_MS = 60_000
/**
 * A kernel whose source is refused, or does not compile, is tried once. Only a peer of another version, or with another device, can run it,
 * and the free ones take what is released within seconds.
 */
export const KERNEL_REFUSED_MS = 10_000

/** Characters of the message of a FAIL: an entry takes 1024 bytes. */
export const MAX_FAIL_MESSAGE = 250

// ---------------------------------------------------------------- the mesh's clock

/** How often a peer tells others what its clock says, and how many of them: a peer hears of as many, however large the mesh is. */
export const CLOCK_INTERVAL_MS = 10_000
export const MAX_CLOCKS_TOLD = 16
/** A peer that was just met gets so long to say what its clock says. */
export const CLOCK_PATIENCE_MS = 500
/** Clocks that the median is taken of, the latest heard; of each the last readings, of which the least delayed counts. */
export const MAX_CLOCKS = 64
export const MAX_CLOCK_READINGS = 8
/** The scheduler is told of the mesh's clock when it moved by more than this. */
export const CLOCK_STEP_MS = 50

/** A pause between two timers that Node can wait for in one go. */
export const MAX_TIMER_MS = 2 ** 31 - 1
/** Labels that a user gives a peer: an advert has room for 32, and a peer adds some of its own. */
export const MAX_OWN_LABELS = 16
