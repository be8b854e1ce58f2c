/** Every bound of the client library, with its reason. */

/** msgpack of a job's args: the JOB entry holds them beside up to 256 seed grants, and an entry has 16 KiB. */
export const MAX_ARGS_BYTES = 4 * 1024

/** A piece is encoded when its items are guessed at this size, so that most pass below 1 MiB without a second try. */
export const PIECE_TARGET_BYTES = 768 * 1024

/** Items in one piece: what a worker decodes for one chunk of tiny items takes a few milliseconds. */
export const MAX_ITEMS_PER_PIECE = 131_072

/** Pieces being written to the peer at once: bounds the memory of a submit to a few MiB whatever the input's size. */
export const MAX_PIECES_IN_FLIGHT = 4

/** Items that are checked against the task's schema in one go. */
export const ITEMS_PER_CHECK = 4_096

/** One line of text or NDJSON input: the same as one item. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024

/** Failures that the error at the end of an iteration carries; collect() and failures() carry all. */
export const MAX_FAILURES_IN_ERROR = 1_000

/** Bundles whose source maps are remembered for the stacks of failed items, by job. */
export const MAX_REMEMBERED_BUNDLES = 256

/** How deep a value printed as JSON may nest: the writer recurses. */
export const MAX_JSON_DEPTH = 500

/** Largest value of the options that count something; far above use, and exact in every encoding. */
export const MAX_OPTION_COUNT = 2 ** 31 - 1
export const MAX_RETRIES = 1_000

/** Peers that keep one result: a DONE names at most so many (src/store/limits.ts MAX_KEEPERS). */
export const MAX_REPLICAS = 8

/** Items up to this many encoded bytes travel in the job itself; src/store/limits.ts holds peers to the same. */
export const MAX_INLINE_INPUT_BYTES = 2048

/** Rows of a picture that are painted and deflated in one go, and the size of its IDAT chunks: few system calls, little memory. */
export const PNG_BATCH_BYTES = 256 * 1024

/** Elements of an array that are written in one go: 4 MiB of f32, so that a 256-MiB result is never there twice. */
export const ELEMENTS_PER_WRITE = 1024 * 1024

/** Longest side of a picture: common viewers refuse more (PNG itself allows 2^31 - 1). */
export const MAX_PICTURE_SIDE = 65_535

/** The least cap under which Node itself starts, and more than any machine has. */
export const MIN_MEMORY_MIB = 64
export const MAX_MEMORY_MIB = 2 ** 24
/** Of one item: longer work should be split, and a week is past every batch window. */
export const MAX_TIME_LIMIT_S = 7 * 24 * 3600
/** Delayed starts, limits of whole jobs and how long results are kept: a hundred years, so that a mistyped unit shows. */
export const MAX_WAIT_S = 36_500 * 24 * 3600
export const MAX_PRIORITY = 9
export const MAX_BACKOFF_FACTOR = 100
/** Items per second: above, a limit limits nothing. */
export const MAX_RATE = 1_000_000_000
/** src/node/wire/limits.ts MAX_CORES. */
export const MAX_REQUIRED_CORES = 65_536
/** src/store/limits.ts holds peers to the same four. */
export const MAX_KEY_BYTES = 200
export const MAX_LABELS = 16
export const MAX_LABEL_BYTES = 64
export const MAX_CONTROLLERS = 32
/** Characters of the beginning of a peer's id that name a controller. */
export const MIN_PEER_PREFIX = 8

/** Nodes and tasks of a composition; src/scheduler/limits.ts holds peers to the same. */
export const MAX_PLAN_NODES = 65_536
export const MAX_PLAN_TASKS = 4_096

/** Arguments of one call that ride in a plan; src/store/limits.ts holds peers to the same. */
export const MAX_PLAN_VALUE_BYTES = 1024 * 1024

/** Values that ride in a plan, of one node and of all: every peer of the job fetches the plan; what is more lies in pieces. */
export const MAX_PLAN_VALUES_BYTES = 64 * 1024
