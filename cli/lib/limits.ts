/** Failed items told one by one on stderr; more would bury the rest, and --errors has them all. */
export const FAILURES_SHOWN = 20
/** Failures inside the JSON document of submit and results: it must stay readable, and --errors has them all. */
export const FAILURES_IN_JSON = 100
/** Log lines shown by `mesh job`: the end of the story; `mesh logs` has the rest. */
export const LOG_LINES_SHOWN = 10
/** Log lines that `mesh job` holds in memory while it looks for the last ones. */
export const LOG_LINES_READ = 10_000
/** A progress bar is redrawn at most so often (ms): faster than 10 a second is only flicker. */
export const REDRAW_MS = 100
/** A progress line when stderr is not a terminal (ms). */
export const PLAIN_LINE_MS = 2_000
/** Bytes read from a pipe to tell NDJSON from lines; a longer first line is taken as lines. */
export const SNIFF_BYTES = 1024 * 1024
/** Result text gathered before a write (characters): few system calls, and still prompt. */
export const SINK_BUFFER_CHARS = 64 * 1024
/** Text joined before it is handed to a sink, so that one batch of a million values is never one string. */
export const SINK_BLOCK_LINES = 4_096
/** A peer that holds the folder's lock may still be opening its socket: so long (ms) a command waits for it. */
export const ATTACH_WAIT_MS = 10_000
/** How often it looks again (ms). */
export const ATTACH_RETRY_MS = 100
/** `mesh join` looks for peers and jobs that came or went so often (ms). */
export const EVENT_POLL_MS = 1_000
/** Events of one look that `mesh join` prints: a mesh of thousands that comes up at once must not scroll for ever. */
export const EVENTS_PER_POLL = 20
/** How often a leaving peer says what it still hands on (ms). */
export const HAND_ON_TELL_MS = 2_000
/** How long `mesh leave` waits for a peer that hands on results (ms): the peer gives up after 60 s, and stops within a few more. */
export const LEAVE_WAIT_MS = 90_000
/** A gap of so much (ms) between two looks at the clock: this machine slept, or the command was stopped. */
export const SLEPT_MS = 10_000
/** Silent and absent peers that `mesh status` names; `mesh peers` has them all. */
export const MISSING_SHOWN = 5
/** Lost peers that `mesh job` names. */
export const LOSSES_SHOWN = 8
/** How often the clock is looked at (ms). */
export const CLOCK_LOOK_MS = 1_000
/** What a peer lends at most (src/node/open-folder.ts). */
export const MAX_CORES = 1_024
/** A bar wider than this says no more. */
export const BAR_WIDTH = 24
/** Characters of a peer's name, a job's name or a message that a table or a line shows. */
export const NAME_CHARS = 32
/** Peers that keep one result, at most (src/client/limits.ts). */
export const MAX_REPLICAS = 8
/** How long `mesh doctor` waits for a peer that took its connection (ms): one whose process is stopped takes it and never answers. */
export const PEER_ANSWER_MS = 5_000
/** The same of a GPU in the table of peers, where its speed stands behind it. */
export const GPU_NAME_CHARS = 24
/** Numbers of a kernel's output that --json prints: a document of 4 M numbers is of use to nobody, and --out writes them. */
export const MAX_JSON_ARRAY = 10_000
/** Numbers of a kernel's output that are shown in words, beside their least and greatest. */
export const ARRAY_VALUES_SHOWN = 16
/** Peers whose share of a kernel's output is named; `mesh job` has them all. */
export const SHARES_SHOWN = 6
/** Classes of devices that are named as those that computed a kernel's output: what a peer says of itself is not endless. */
export const MAX_DEVICES = 16
/** Lines of `mesh retry` that say which items the new job's were; --json has all. */
export const ITEMS_MAPPED = 5
/** Nodes of a composition that `mesh job` shows; --json has up to 1 000. */
export const NODES_SHOWN = 30
/** A clock that is further from the mesh's (ms) is told in `mesh status`: delayed starts and times of day are off by that here. */
export const CLOCK_TOLD_MS = 1_000
/** Characters of the reason why a job was cancelled, and of a peer's labels in a table. */
export const REASON_CHARS = 200
export const LABELS_CHARS = 40

/** Nodes of a composition in a progress line, and characters of their names: a line holds other things too. */
export const NODES_IN_PROGRESS = 2
export const NODE_NAME_CHARS = 24
