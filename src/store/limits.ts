/**
 * Every maximum of the store room, with its reason. A peer that sends more is at fault (ERR_MESH_PROTOCOL); docs/protocol.md
 * lists those that are part of the protocol.
 */

// ---------------------------------------------------------------- part of the protocol: all peers must agree

/** Bytes of an encoded entry: small enough that a run of them is never held up by one, large enough for 256 seed grants. */
export const MAX_ENTRY_BYTES = 16 * 1024
/** Ranges of one entry; what does not fit goes into a second entry. */
export const MAX_RANGES = 256
/**
 * Values of one DONE that ride in the entry itself, all its ranges together. Beyond, they are a blob. Writers keep to 1024 bytes in
 * jobs of more than 2048 items.
 */
export const MAX_INLINE_BYTES = 4096
/** Peers named as holders of one result: a submitter, a few copies. */
export const MAX_KEEPERS = 8
/** UTF-8 bytes of a task's name. */
export const MAX_NAME_BYTES = 256
/** UTF-8 bytes of an error code in a FAIL. */
export const MAX_CODE_BYTES = 64
/** UTF-8 bytes of a message or a reason: for people, one screen line or a few. */
export const MAX_MESSAGE_BYTES = 1024
/** Bytes of a job's args: they ride in JOB, beside up to 256 seeds, and JOB is one entry. */
export const MAX_ARGS_BYTES = 4096

/**
 * Bytes of an encoded spec: with 256 seeds (36 bytes each), the header and the wall time it must still fit an entry. Long args,
 * inline items, controllers and labels do not all fit beside each other.
 */
export const MAX_SPEC_BYTES = 6_912
/** Labels that a job requires, and UTF-8 bytes of each name and each value. */
export const MAX_LABELS = 16
export const MAX_LABEL_BYTES = 64
/** Peers that a job names as its controllers. */
export const MAX_CONTROLLERS = 32
/** UTF-8 bytes of an idempotency key. */
export const MAX_KEY_BYTES = 200
/** Items that ride in the JOB: with 256 seeds and the longest args it must still fit an entry. */
export const MAX_INLINE_INPUT_BYTES = 2048
/** Bytes of a composition's plan: 65 536 nodes of some 200 bytes each. It is in memory on every peer of the job. */
export const MAX_PLAN_BYTES = 16 * 1024 * 1024
/** Bytes of a plan that rides in the JOB: a chord over a thousand numbers, beside short options. */
export const MAX_INLINE_PLAN_BYTES = 4096
/** Bytes of one list of bound arguments, one argument, or one node's values in a plan; more are pieces. */
export const MAX_PLAN_VALUE_BYTES = 1024 * 1024
/** Bytes of each half of a FORK proof: both must fit one entry. */
export const MAX_FORK_PROOF_BYTES = 8000
/** Entries of one run, and its encoded bytes: one message of a direct stream is at most 1 MiB. */
export const MAX_RUN_ENTRIES = 8192
export const MAX_RUN_BYTES = 1024 * 1024 - 4096

// ---------------------------------------------------------------- of this peer alone

/** An own feed gets a signed end at least every so many bytes, so that any of its runs fits a gossip message. */
export const SIGNED_END_BYTES = 64 * 1024
/** Feeds of one job (sessions that ever wrote to it): each costs about 300 bytes of memory while the job runs. */
export const MAX_FEEDS_PER_JOB = 65_536
/**
 * Sessions of one author in one job: a peer that was restarted as often while the job ran. Whoever invents sessions comes no further,
 * since the sessions that he can sign for are his own.
 */
export const MAX_SESSIONS_PER_AUTHOR = 1024
/**
 * Jobs of which entries are held, but not the JOB: it is on its way for some seconds, and of a large log other feeds may come first.
 * Beyond, the oldest are dropped.
 */
export const MAX_WAITING_JOBS = 256
export const MAX_WAITING_BYTES = 64 * 1024 * 1024
/** Bytes and feeds of one such job; the rest is pulled when the JOB is there. */
export const MAX_WAITING_JOB_BYTES = 16 * 1024 * 1024
export const MAX_WAITING_JOB_FEEDS = 2048
/** While so many jobs are being deleted, no new one is taken in: jobs must not be invented faster than they are dropped. */
export const MAX_JOBS_DELETING = 64
/** What is staged is written once it grows to this, also when nobody asks for a flush. */
export const STAGED_WRITE_BYTES = 4 * 1024 * 1024
/** Above this much unwritten, runs of other peers are not taken in (they are pulled again later): the disk is the bottleneck. */
export const MAX_STAGED_BYTES = 64 * 1024 * 1024
/** What is staged or written is fsynced at the latest after this long; leaves 5 ms of the promised 20 for the fsync itself. */
export const SYNC_AFTER_MS = 15
/** A full disk is looked at again after this long, twice as long each time up to the second: room comes when a person makes it. */
export const STALL_RETRY_MS = 250
export const MAX_STALL_RETRY_MS = 4000
/** What LevelDB may need beside its memory tables when it is opened again on a disk that was full: manifest, log, directory. */
export const RECOVERY_SLACK_BYTES = 1024 * 1024
/**
 * Memory table of LevelDB, which keeps two of them. Measured with 600 k entries in groups of 20 (entries are sealed slower than
 * LevelDB writes): 4, 16 and 64 MB are equally fast, and leave 117, 132 and 186 MB resident.
 */
export const WRITE_BUFFER_BYTES = 4 * 1024 * 1024
/** Public keys kept ready for checking signatures; about 1 KiB each. */
export const MAX_CACHED_KEYS = 1024
/** Finished jobs whose feed heads stay in memory; those of running jobs all do. */
export const MAX_CACHED_FINISHED_JOBS = 64
/** Runs of at most so many entries are read at once with point reads (4 µs each); longer ones by an iterator off the event loop. */
export const POINT_READ_ENTRIES = 32
/** Rows an iterator fetches in one go, and their bytes. */
export const ITERATOR_ROWS = 512
export const ITERATOR_BYTES = 256 * 1024
/** Largest blob without a size given: a guard against a stream that never ends. */
export const MAX_BLOB_BYTES = 16 * 1024 * 1024 * 1024
/** Blobs whose time of writing is in memory (types.ts, BlobStore.list): as many as a busy peer writes in some minutes. */
export const MAX_RECENT_BLOBS = 65_536
/** Bytes of a blob in memory while it is streamed. */
export const BLOB_READ_BYTES = 256 * 1024
/**
 * Collected jobs that are remembered, about 200 bytes of memory each. Beyond, the oldest are forgotten: a peer that was away for as
 * long may then bring one back, as entries without results.
 */
export const MAX_TOMBSTONES = 65_536
/**
 * A database of at most so many bytes is read whole at each start, to see whether the disk changed it (400 MB a second); a larger one
 * only after a start that did not end well.
 */
export const MAX_CHECKED_BYTES = 64 * 1024 * 1024
/** Copies of damaged databases that are kept, the newest: enough to look into what happened, bounded since each is as large as it was. */
export const MAX_DAMAGED_COPIES = 3
/** Changes that mending a database writes at once; about 1 MiB. */
export const SWEEP_BATCH_CHANGES = 1000
/** Addresses of other members that the mesh file remembers. */
export const MAX_KNOWN_ADDRESSES = 64

/** Array arguments of a kernel: more than any device has buffers for. */
export const MAX_KERNEL_ARRAYS = 32
