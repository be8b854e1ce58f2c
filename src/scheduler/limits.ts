/** Every bound and waiting time of the scheduler, with its reason. Milliseconds unless the name says otherwise. */

/** Seed grants in a JOB: 256 of about 30 bytes leave half of a 16-KiB entry to the spec. */
export const MAX_SEEDS = 256
/** Ranges in one GRANT or RELEASE (about 50 bytes each: well under 16 KiB). */
export const MAX_GRANT_RANGES = 128
/** Ranges in one DONE (about 130 bytes each with a blob and its keeper: well under 16 KiB). */
export const MAX_DONE_RANGES = 64
/** Values that ride in one DONE, all its ranges together, bytes (docs/protocol.md, "Results"). */
export const MAX_INLINE_BYTES = 1024
/** The same of a job of few items: its log stays below 8 MiB whatever its values, and nobody waits for blobs. */
export const MAX_INLINE_SMALL_BYTES = 4096
export const SMALL_JOB_ITEMS = 2048

/** Bytes of values that one DONE of a job of so many items carries. */
export function inlineLimit(items: number): number {
  return items <= SMALL_JOB_ITEMS ? MAX_INLINE_SMALL_BYTES : MAX_INLINE_BYTES
}

/** A chunk ends after this long: long enough that its fixed costs are under 1 %, short enough to be stolen around. */
export const CHUNK_MS = 250
/** A chunk of a kernel: its cost between two launches (some 10 ms) shows in 250 ms. */
export const CHUNK_KERNEL_MS = 1_000
/** The same while other jobs wait for a slot here. */
export const CHUNK_CONTENDED_MS = 50
/** The first chunk of a job here: its rate is not known, so it is kept short. */
export const CHUNK_FIRST_MS = 20
/** Near the end a chunk takes at most half of what remains here, but never less than this: below it the fixed costs show. */
export const CHUNK_MIN_MS = 10
/** A worker is handed at most this many times what it should manage in its time (the rest comes back): a wrong rate must not stall it. */
export const HANDOUT_FACTOR = 8

/** Ended chunks, per slot, whose output is not on its keeper yet; more, and no chunk starts: the keeper is the bottleneck. */
export const MAX_PLACING_PER_SLOT = 4
/** The same in bytes, for the whole peer. */
export const MAX_PLACING_BYTES = 32 * 1024 * 1024

/** A DONE waits this long for a neighbour slot's chunk that ends at about the same time. */
export const DONE_TICK_MS = 10
/** A DONE waits this long for the next chunk of this peer while its feed has more entries than DONE_TARGET a chunk. */
export const DONE_HOLD_MS = 400
/** Own entries per own chunk aimed at: the margin below 1 pays for the GRANTs of the end game. */
export const DONE_TARGET = 0.75

/** Entries are gossiped in batches: the job's author and thieves get them directly anyway. */
export const PUBLISH_MS = 2_000

/** No answer to a STEAL for this long: it is asked again, once, with the same nonce. */
export const STEAL_TIMEOUT_MS = 1_000
/** Empty answers in a row after which a peer leaves word (lifelines) and backs off. */
export const STEAL_TRIES = 3
export const MAX_LIFELINES_SENT = 3
export const BACKOFF_MIN_MS = 250
export const BACKOFF_MAX_MS = 5_000
/** With so many jobs that are not over that is how long; with twice as many it is twice as long. */
export const BACKOFF_JOBS = 200
/** A peer that answered empty is not asked again for this long; under BACKOFF_MIN_MS, so that a lone neighbour is asked each time. */
export const DRY_MS = 200
/** Work for less than two round trips (the first asked may have nothing) and this much more is left here: time to steal. */
export const PREFETCH_MS = 100
export const PREFETCH_RTTS = 2
/** Round trip assumed before one was measured: too short costs one late steal, too long refuses good ones. */
export const DEFAULT_RTT_MS = 30
/** Less work than this for the thief is not worth an entry, a message and a chunk. */
export const MIN_GRANT_MS = 10
/** What was handed on so often goes only to a thief with an idle slot: it must not wander among peers that are all about to be free. */
export const MAX_HOPS_AHEAD = 6
/** A thief without an idle slot asks ahead: it has about a round trip and this much to do before it starts on what it is granted. */
export const THIEF_BUSY_MS = PREFETCH_MS / 2

/** Idle peers remembered per job; a thief is back within its longest back-off. */
export const MAX_LIFELINES_HELD = 16
export const LIFELINE_TTL_MS = BACKOFF_MAX_MS + 1_000
/** Last nonces remembered per job: one per thief's session; the oldest goes first. */
export const MAX_NONCES = 4_096
/** Running chunks listed in an empty answer. */
export const MAX_RUNNING_LISTED = 16

/** Rank r among the peers that may take a RELEASEd range waits r times this. */
export const RELEASE_RANK_MS = 1_000
/** A stopping peer tells so many peers directly, before its gossip. */
export const MAX_RELEASE_PUSHES = 16

/** A worker that came back without one item done is not asked again at once: no hot loop. */
export const EMPTY_CHUNK_RETRY_MS = 100

/** Jobs whose JOB has not come yet, and their entries held meanwhile. Bounds what gossip of made-up jobs can cost. */
export const MAX_ORPHAN_JOBS = 256
export const MAX_ORPHAN_ENTRIES = 100_000
/** Of one such job; the store has the rest, and gives all of it when the JOB comes. */
export const MAX_ORPHAN_ENTRIES_PER_JOB = 10_000
/** Forgotten jobs remembered so that late entries do not revive them. */
export const MAX_FORGOTTEN_JOBS = 10_000

/** How long a session may be silent before what it holds is taken: long beside a pause of a busy machine, short beside a user's patience. */
export const LEASE_MS = 10_000
/** A sign of life goes out this often: four may be lost before a lease runs out. */
export const HEARTBEAT_MS = 2_000
/** Peers that one reports to: each then hears about ten heartbeats a second, whatever the size of the mesh. */
export const MAX_WATCHERS = 20
/** Peers that are neither connected nor watched are heard of by their adverts (15 s): so many leases' time. */
export const FAR_LEASE_FACTOR = 3
/** A timer that fires so late says that this process slept or was stopped. */
export const LATE_TIMER_MS = 1_000
/** Entries that hand on what nobody can show are waited for so many leases' time. */
export const ORPHAN_LEASE_FACTOR = 3
/** A live session that holds items and shows no work on them for so many leases' time is not waited for. */
export const STALL_LEASE_FACTOR = 3
/** And asked so often it had nothing to give and nothing running. */
export const STALL_ANSWERS = 3
/** Sessions whose life is remembered (about 200 bytes each). */
export const MAX_LEASES = 65_536

/** Peers asked, beside the job's author, what a dead session wrote last. */
export const RESYNC_PEERS = 2
/** After a lease ended what the dead session wrote last is asked for; so long at least before its ranges are taken. */
export const RECLAIM_AFTER_MS = 100
/**
 * Rank r among the peers that may take a dead session's piece waits r times so long (4 round trips, within these): a RECLAIM is heard
 * of by then. Not for ever: those before it may be busy.
 */
export const RECLAIM_RANK_MIN_MS = 200
export const RECLAIM_RANK_MS = 1_000
export const MAX_RECLAIM_RANK = 6
/** What the dead held is looked through this often at most while nothing of it is due: it costs spans × pieces × peers. */
export const RECLAIM_LOOK_MS = 250
/** Another peer's word that a session is dead leaves it so long to show that it lives. */
export const SUSPICION_MS = 3_000
/** What a peer held that has started again is left to it for so long. */
export const OWN_FIRST_MS = 3_000
/** What a dead session held is taken in so many pieces, each with ranks of its own: the survivors share it without a word. */
export const RECLAIM_PIECES = 16
/** After a start with other peers about: they say what became of this peer's ranges before it reclaims them. So long at most. */
export const CATCH_UP_MS = 6_000

/** A seed that has not acknowledged the JOB after this long gets it again; after this long again its author takes its items back. */
export const SEED_ACK_MS = 1_000

/** A chunk that runs elsewhere is copied when it takes this many times what it would take here, and this long at least: a worker's start on a busy machine is no slow item. */
export const SPECULATE_FACTOR = 2
export const SPECULATE_MIN_MS = 2_000
/** The same where this peer has run nothing of the job yet. */
export const SPECULATE_UNKNOWN_MS = 5_000
/** Copies of a slow chunk that are expected to run at a time; more only as it takes longer still. */
export const MAX_COPIES = 2
/** Slow chunks remembered for speculation. */
export const MAX_SLOW_CHUNKS = 64

/** From this epoch on a chunk is announced by a START before it runs: its range has outlived an owner. */
export const START_EPOCH = 1
/** Nodes of a composition that are looked through for what is left to steal; of more it is just asked for. */
export const MAX_NODES_LOOKED_AT = 64
/** Tasks whose speed here is remembered from one job to the next. */
export const MAX_KNOWN_RATES = 1024
/** Characters of what they are known by (tasks of a node and args): a node of a thousand steps, or with KiB of args, is not remembered. */
export const MAX_RATE_KEY_CHARS = 1024

/** An item is given up when so many sessions were lost after they announced it, one of them with that item alone. */
export const MAX_DEATHS = 3
/** A session that was only silent counts as lost with an item after so long: most splits of a network are over by then. */
export const CERTAIN_DEATH_MS = 120_000
/** A chunk that a session was lost on is cut into so many, then into items. */
export const DEATH_SPLIT = 16

/** Peers that hold a result when the job does not say. */
export const DEFAULT_REPLICAS = 2

/** Priority of a job that does not say, of 0 to 9. */
export const DEFAULT_PRIORITY = 5
/** Jobs that had less worker time than this are alike; then less than twice as much, and so on: they take turns for longer and longer. */
export const ATTAINED_BUCKET_MS = 50
/** Worker time counts half after so long: two long jobs share the slots in the end, whenever they came. */
export const ATTAINED_HALF_MS = 60_000
/** A new job of so few items may go before its submitter's turn, as long as that is so little ahead of the others. */
export const SHORT_JOB_ITEMS = 8
export const SHORT_JOB_CREDIT_MS = 250
/** Every so many turns of a submitter are for its job that waits longest: none starves, and a short one waits a turn more at most. */
export const OLDEST_EVERY = 8
/** Submitters whose worker time is remembered; beyond, those that are not ahead of the others are forgotten. */
export const MAX_SUBMITTERS = 1_024
/** STEALs on their way at a time, per slot, and at least so many in all: with a thousand jobs not one for each. */
export const MAX_ASKS_PER_SLOT = 2
export const MIN_ASKS = 4

/** Peers that hear directly that a job was cancelled, paused or resumed; the others by gossip, at once. */
export const MAX_CONTROL_PUSHES = 64
/** Rank r of the controllers that may end a job for its limits waits r times so long, up to the last rank. */
export const LIMIT_RANK_MS = 1_000
export const MAX_LIMIT_RANK = 8
/** A mesh's clock that moves less is left: timers are not set anew for it. */
export const CLOCK_SLACK_MS = 20

/** Idle tokens of a rate limit pile up to what comes in so long. */
export const RATE_BURST_MS = 1_000
/** So much is gathered before a chunk starts: its fixed costs are under 1 %, and the rate is even enough. */
export const RATE_TICK_MS = 200
/** A peer's part of the rate is reckoned anew after so long, if nothing changed it sooner. */
export const RATE_LOOK_MS = 1_000

/** Items of a job that wait for their next try here; with more, nothing else of it starts. About 100 bytes each. */
export const MAX_DELAYED_ITEMS = 4_096
/** The longest wait for a next try. */
export const MAX_RETRY_MS = 7 * 24 * 3_600_000

/** A node of a composition with so many items a slot is seeded to all peers; smaller ones go to one or a few. */
export const SEED_SPLIT_FACTOR = 2
/** Peers that hear directly of one DONE that their items wait for; the others hear of it by gossip, published so soon. */
export const MAX_DEPENDANT_PUSHES = 16
export const PUBLISH_SOON_MS = 50
/** Ranges in one FAIL (each with its code and message: 12 of the longest fit 16 KiB). */
export const MAX_FAIL_RANGES = 12

/** Nodes of a composition: each costs some hundred bytes of memory on every peer of the job. */
export const MAX_PLAN_NODES = 65_536
/** Tasks that a composition names: each is a bundle that a worker loads. */
export const MAX_PLAN_TASKS = 4_096
/** Steps, ranges, arguments and shapes of all nodes of a composition together. */
export const MAX_PLAN_PARTS = 1_048_576
/** Shapes within shapes. */
export const MAX_SHAPE_DEPTH = 64
