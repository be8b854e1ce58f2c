/** Every maximum of the runtime, with its reason. Sizes are bytes, times milliseconds. */

const KiB = 1024
const MiB = 1024 * KiB

/** One frame between a peer and a worker. Larger than any value plus its wrapping; checked before memory is reserved. */
export const MAX_FRAME_BYTES = 80 * MiB
/** One encoded value. A result is one value; what is larger belongs in a file or in more items. */
export const MAX_VALUE_BYTES = 64 * MiB
/** A worker hands over its output when this much is waiting: large enough to amortise a write, small enough to stream. */
export const FLUSH_BYTES = 256 * KiB
/** …or when it has waited this long, so that a death costs little work and results come as they are made. */
export const FLUSH_MS = 30
/** A chunk ends when its output passes this, whatever its time: a result blob stays a few MiB. */
export const CHUNK_OUTPUT_BYTES = 4 * MiB
/** An input piece is at most 1 MiB by design; a single item larger than that makes a piece of its own. */
export const MAX_PIECE_BYTES = MAX_FRAME_BYTES
/** Bytes of the input files that a worker keeps: the next chunk often goes on in the same one. */
export const MAX_INPUT_CACHE_BYTES = 8 * MiB
/** …and how many: the grains of a reduction may come from many small results. */
export const MAX_INPUT_FILES_CACHED = 256
/** Segments that it keeps decoded. To keep many costs the garbage collector more than to decode them again (9 ns a number; kept, 60). */
export const MAX_SEGMENTS_DECODED = 2
/** Of the message of an item whose input failed: one ancestor may take a million items with it. */
export const MAX_INPUT_FAILURE_CHARS = 256
/** Steps of a node that people are told the names of; a chain may have 10 000. */
export const MAX_STEPS_TOLD = 16
/** Tasks that one worker of a composition loads before another one is started: each keeps its code, and what its setup() made. */
export const MAX_TASKS_PER_WORKER = 64
/** A wait before a retry that is longer ends the chunk: the slot is for the others meanwhile. */
export const MAX_WAIT_IN_WORKER_MS = 50
/** …and so does the next one, once a chunk has waited so long. */
export const MAX_WAITED_IN_CHUNK_MS = 250
/** Elements of one item between two looks at the clock: a look costs as much as several trivial elements. */
export const ELEMENTS_PER_LOOK = 32
/** A bundle. lodash + zod + nanoid are half a MiB; a model belongs in a file. */
export const MAX_BUNDLE_BYTES = 64 * MiB

/** Bundles of modules that a submitter keeps while it runs, so that the tasks of one module are one bundle: a program has some tens. */
export const MAX_MODULE_BUNDLES = 256
/** Tasks that it need not look for again in a bundle. */
export const MAX_INSPECTED_TASKS = 4096

/** How often the worker says where it is, at most. */
export const MARK_MS = 4
/** An item that took this long makes the worker announce each item before it starts. */
export const SLOW_ITEM_MS = 2
/** So many items in a row under SLOW_ITEM_MS end that again. */
export const FAST_ITEMS_TO_RELAX = 4
/** A busy worker lets its event loop run this often, so that an abort, a timer or a socket of the task gets its turn. */
export const YIELD_MS = 10
/** After a death with nobody to blame, items run one by one with a marker each until so many passed… */
export const CAREFUL_ITEMS = 20_000
/** …or this long passed. */
export const CAREFUL_MS = 1000
/** ctx.progress() calls nearer together than this are dropped. */
export const ITEM_PROGRESS_MS = 50

/** Between the abort of ctx.signal at an item's time limit and SIGKILL, when there is no soft limit. */
export const TIME_LIMIT_GRACE_MS = 250
/** With a soft limit SIGKILL comes at the limit itself; the peer knows only this well when the item began (MARK_MS, and its way). */
export const HARD_LIMIT_SLACK_MS = 10
/** An abort waits at least this long before SIGKILL: a worker between items stops within YIELD_MS, and a warm worker is worth keeping. */
export const ABORT_GRACE_MS = 30
/** Loading a bundle and running its setup(): a model may take a while, an endless loop must not hold a slot for good. */
export const LOAD_TIMEOUT_MS = 120_000
/** Loading a task file once, on the submitter, to see what it exports. */
export const CHECK_TIMEOUT_MS = 30_000
/** A bundle that failed to load is not tried again for so long: no storm of processes. */
export const BROKEN_BUNDLE_MS = 15_000
/** How many broken bundles are remembered. */
export const MAX_BROKEN_BUNDLES = 64

/** An idle worker is kept warm so long. */
export const IDLE_MS = 60_000
/** Default memory cap of a worker. */
export const DEFAULT_MEMORY_BYTES = 512 * MiB
/** The least cap that Node itself starts under. */
export const MIN_MEMORY_BYTES = 64 * MiB
/** What Node itself maps (64 MiB measured) and V8 needs to say in its last moment that the heap is full; added to the cap of the data segment. */
export const NODE_OVERHEAD_BYTES = 128 * MiB
/** A worker is replaced once its resident memory passes this share of its cap: leaks end in a fresh process, not in a death. */
export const RECYCLE_AT = 0.75

/** Failures of one segment when a whole chunk fails for one reason (the bundle does not load). */
export const FAILURES_PER_SEGMENT = 1024
/** An error's message and stack, in characters. */
export const MAX_MESSAGE_CHARS = 8 * KiB
export const MAX_STACK_CHARS = 8 * KiB
/** One console line; longer ones are cut. */
export const MAX_LOG_LINE_CHARS = 8 * KiB
/** Console output of one chunk; what is more is counted and dropped. */
export const MAX_LOG_CHARS_PER_CHUNK = 1 * MiB
/** Lines kept of a worker that no chunk has yet: its top level and setup(). */
export const MAX_EARLY_LINES = 256
/** What is kept of a worker's stderr to explain its death. */
export const STDERR_TAIL_CHARS = 8 * KiB

/** Cap of the process that loads a task file to look at it, and checks items. */
export const CHECK_MEMORY_BYTES = 1024 * MiB
/** Items checked against a schema in one message to the checking process. */
export const CHECK_BATCH_ITEMS = 4096
/** …and their encoded size, about. */
export const CHECK_BATCH_BYTES = 1 * MiB
/** Issues reported of one item. */
export const MAX_ISSUES_PER_ITEM = 16

/**
 * Idle workers kept warm: jobs that take turns on one slot must not start a process for each chunk (100 ms and more), and an idle
 * worker costs some 45 MB for at most IDLE_MS.
 */
export function idleLimit(slots: number): number {
  return Math.max(4, 2 * slots)
}

/**
 * From Node 24 on V8 maps 512 MiB for code at start, which RLIMIT_DATA counts though they are not used: an empty process has
 * VmData 573 MB on 24.11 and 26.10, 49 MB on 20.20 and 22.21.
 */
export const V8_RESERVED_BYTES = Number.parseInt(process.versions.node, 10) >= 23 ? 512 * MiB : 0

/** A worker that is given a run says so before its first item; one that does not within this time cannot hear. */
export const ANSWER_TIMEOUT_MS = 10_000

/** Kernel calls (ctx.gpu.run) of one worker that its peer has at a time; the others wait in the worker. They run one after another, so that more would hold arrays for nothing. */
export const MAX_GPU_CALLS = 32
/** One array of a kernel call, and its output: each travels in one frame, and is held in memory on its way. */
export const MAX_GPU_ARRAY_BYTES = 64 * MiB
/** Arrays that a peer keeps for one worker, so that what is sent twice travels once: they lie in files, and a worker has half a GiB itself. */
export const MAX_GPU_HELD_BYTES = 256 * MiB
/** …and how many: each is a file. */
export const MAX_GPU_HELD_ARRAYS = 1024
/** A kernel as it travels in a call: src/gpu/kernel-limits.ts says what fits in it. */
export const MAX_GPU_SPEC_BYTES = 64 * KiB
