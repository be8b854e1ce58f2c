/**
 * The words of the job log and of the scheduler: plain data, no behaviour.
 * docs/protocol.md is the specification; this file is its vocabulary.
 */
import type { Plan } from './plan.ts'

/** A peer: the lower-case hex of its raw Ed25519 public key (64 characters). */
export type PeerId = string & { readonly __brand: 'PeerId' }
/** One process start of a peer: 16 random bytes as hex. A session, not a peer, owns ranges. */
export type SessionId = string & { readonly __brand: 'SessionId' }
/** SHA-256 of the canonical job spec, hex. */
export type JobId = string & { readonly __brand: 'JobId' }
/** SHA-256 of an encoded log entry, hex. */
export type EntryHash = string & { readonly __brand: 'EntryHash' }
/** SHA-256 of a blob's bytes, hex. */
export type BlobHash = string & { readonly __brand: 'BlobHash' }

/** Half-open: lo <= item < hi. */
export interface Range {
  readonly lo: number
  readonly hi: number
}

// ---------------------------------------------------------------- the job

/** Where the items come from. Items are always numbered 0..count-1; of a range, item i has the value start + i. */
export type JobInput =
  | { readonly kind: 'range'; readonly start: number; readonly count: number }
  | { readonly kind: 'pieces'; readonly count: number; readonly manifest: BlobHash }
  /** A few small items ride in the JOB itself: one encoded segment (src/runtime/segment.ts) as hex. */
  | { readonly kind: 'inline'; readonly count: number; readonly segment: string }

export interface ModuleTask {
  readonly kind: 'module'
  readonly name: string
  /** The esbuild bundle, a blob. */
  readonly bundle: BlobHash
  readonly bundleBytes: number
}

/** A gpu.js function over the elements (or rows) of one output. */
export interface KernelTask {
  readonly kind: 'kernel'
  readonly name: string
  /** The kernel's specification (src/gpu/types.ts), a blob. */
  readonly bundle: BlobHash
  readonly bundleBytes: number
  /** Its array arguments, blobs. */
  readonly arrays: readonly { readonly hash: BlobHash; readonly sizeBytes: number }[]
  /** Extents of its output: [x], [x, y] or [x, y, z]; the items are elements of [x], else rows along x. */
  readonly output: readonly number[]
  /** Peers without a GPU leave it alone. */
  readonly requiresGpu: boolean
}

/** A composition: `bundle` is its plan (plan.ts), a blob; the items are those of all its nodes. */
export interface GraphTask {
  readonly kind: 'graph'
  readonly name: string
  readonly bundle: BlobHash
  readonly bundleBytes: number
  /** The plan itself, encoded, as hex: a small one rides in the JOB, so that nobody waits for the blob. */
  readonly plan?: string
}

export type JobTask = ModuleTask | KernelTask | GraphTask

/** Before attempt n + 1 an item waits delayMs × factor^(n-1), at most maxMs, less a random part of up to `jitter` of it. */
export interface Backoff {
  readonly delayMs: number
  /** In hundredths: 200 doubles. */
  readonly factorPercent: number
  readonly maxMs: number
  /** 0 to 100: how much of the wait is random. */
  readonly jitterPercent: number
}

/** What a peer must have to run a job. */
export interface Requires {
  readonly cores?: number
  readonly memoryBytes?: number
  readonly gpu?: boolean
  readonly labels?: Readonly<Record<string, string>>
}

export interface JobOptions {
  /** msgpack of the job's args (hex keeps the spec plain data); absent when none. */
  readonly args?: string
  /** Fixed chunk size in items; absent: chunks end by time. */
  readonly chunkSize?: number
  /** Milliseconds one item may take; absent: no limit. */
  readonly timeLimitMs?: number
  /** Memory cap of a worker, bytes. */
  readonly memoryBytes?: number
  /** How often an item that threw is tried again; default 0. */
  readonly retries?: number
  /** Waits between the tries of an item; absent: it is tried again at once. */
  readonly backoff?: Backoff
  /** Milliseconds after which an item's signal aborts; timeLimitMs kills. */
  readonly softTimeLimitMs?: number
  /** Milliseconds from the job's start (its submission, or its delayed start) after which it is cancelled. */
  readonly jobTimeLimitMs?: number
  /** 0 to 9, default 5; higher ones first. */
  readonly priority?: number
  /** Items started per 1 000 s in the whole mesh. */
  readonly ratePer1000s?: number
  /** The job is cancelled when more items than this failed. */
  readonly maxFailures?: number
  /** The same, in millionths of its items. */
  readonly maxFailuresPpm?: number
  /** Nothing starts before: milliseconds since 1970 by the median of the live peers' clocks. */
  readonly startAt?: number
  /** Nothing starts before so many milliseconds after the submission (its JOB's `at`). */
  readonly delayMs?: number
  /** Kept so long after its end, in place of the peer's own time. */
  readonly resultTtlMs?: number
  readonly requires?: Requires
  /** Peers that may cancel, pause and resume it; absent: every member. */
  readonly controllers?: readonly PeerId[]
  /** Idempotency key: the nonce follows from it. */
  readonly key?: string
  /** A worker is replaced after so many items. */
  readonly maxItemsPerWorker?: number
  /** Peers that shall hold each result; default 2. Fewer hold it while there are fewer. */
  readonly replicas?: number
  /** false: no idle peer runs a copy of a chunk that is slow elsewhere (the task has side effects). */
  readonly speculate?: boolean
}

export interface JobSpec {
  readonly v: 1
  readonly task: JobTask
  readonly input: JobInput
  readonly options: JobOptions
  /** 16 random bytes, hex; makes two submissions of the same work two jobs. */
  readonly nonce: string
}

export interface Seed extends Range {
  readonly to: SessionId
}

// ---------------------------------------------------------------- the log

/** A grant of a range out of the entry `parent`, which made the granter its owner. */
export interface GrantedRange extends Range {
  readonly parent: EntryHash
  /** Equal to the parent's epoch. */
  readonly epoch: number
  /** The parent's hop + 1. */
  readonly hop: number
}

/** Supersedes `parent` over a range: epoch is exactly the parent's + 1, hop is 0. */
export interface ReclaimedRange extends Range {
  readonly parent: EntryHash
  readonly epoch: number
}

/** Where the values of a DONE are: in the entry itself (≤ 1 KiB a DONE), or a blob on its keepers. */
export type ResultRef =
  | { readonly kind: 'inline'; readonly bytes: Uint8Array }
  | {
      readonly kind: 'blob'
      readonly hash: BlobHash
      readonly sizeBytes: number
      readonly keepers: readonly PeerId[]
    }

export interface DoneRange extends Range {
  /** The entry that made the author own the range; ZERO_HASH: a speculative copy of what another owns. */
  readonly parent: EntryHash
  /** How many of the items failed for good; their errors stand in the result in place of values. */
  readonly failed: number
  /** Worker time spent, ms. */
  readonly elapsedMs: number
  /** How many chunks (runs of one worker) this range was done in. */
  readonly chunks: number
  readonly result: ResultRef
}

export type EntryBody =
  | {
      readonly type: 'job'
      readonly spec: JobSpec
      readonly at: number
      readonly seeds: readonly Seed[]
    }
  | { readonly type: 'grant'; readonly to: SessionId; readonly ranges: readonly GrantedRange[] }
  | { readonly type: 'reclaim'; readonly ranges: readonly ReclaimedRange[] }
  | { readonly type: 'release'; readonly ranges: readonly GrantedRange[] }
  | { readonly type: 'start'; readonly ranges: readonly (Range & { readonly parent: EntryHash })[] }
  | { readonly type: 'done'; readonly ranges: readonly DoneRange[] }
  | {
      readonly type: 'fail'
      readonly ranges: readonly (Range & { readonly code: string; readonly message: string })[]
    }
  | { readonly type: 'lost'; readonly ranges: readonly (Range & { readonly done: EntryHash })[] }
  | { readonly type: 'cancel'; readonly reason: string }
  | { readonly type: 'pause' }
  /** Ends the PAUSEs that it names: those that its author had seen. */
  | { readonly type: 'resume'; readonly pauses: readonly EntryHash[] }
  | { readonly type: 'fork'; readonly first: Uint8Array; readonly second: Uint8Array }

export type EntryType = EntryBody['type']

/** One feed = one (session, job). `seq` starts at 1; `prev` is the hash of entry seq-1, 64 zeros for the first. */
export interface EntryHeader {
  readonly author: PeerId
  readonly session: SessionId
  readonly job: JobId
  readonly seq: number
  readonly prev: EntryHash
}

export interface Entry extends EntryHeader {
  readonly hash: EntryHash
  readonly body: EntryBody
}

export const ZERO_HASH = '0'.repeat(64) as EntryHash

/** Computes an entry's hash: canonical CBOR, SHA-256 (src/store/entry-codec.ts); the simulator may inject a cheaper one. */
export type Seal = (header: EntryHeader, body: EntryBody) => Entry

// ---------------------------------------------------------------- events and effects

/** What a peer says of itself, as far as the scheduler cares. */
export interface PeerFacts {
  readonly peer: PeerId
  readonly session: SessionId
  /** Grows by one with each start of that peer: the newer session wins. */
  readonly sessionNumber: number
  /** Worker slots it lends; 0 lends nothing. */
  readonly slots: number
  /** Relative speed of one slot (1 = a reference core), from a short spin at start. */
  readonly speed: number
  /** How fast its GPU runs kernels, in reference cores; absent: it has none, and kernels run on its slots. */
  readonly kernelSpeed?: number
  /** What a job may require of it; absent: not known, and then it has what is asked for. */
  readonly cores?: number
  readonly memoryBytes?: number
  readonly labels?: Readonly<Record<string, string>>
}

/** A chunk that runs somewhere, as told to an idle thief. */
export interface RunningChunk extends Range {
  readonly ageMs: number
}

export type SchedulerEvent =
  /** A live connection to a peer exists and its advert is known; repeated when the advert changes. */
  | { readonly type: 'peerSeen'; readonly facts: PeerFacts }
  /** The connection closed. `refused`: a re-dial was refused, so the process is gone, and its lease ends at once. */
  | { readonly type: 'peerGone'; readonly peer: PeerId; readonly refused: boolean }
  /** An advert of a peer that is not connected: a sign of life by hearsay. */
  | { readonly type: 'peerHeard'; readonly facts: PeerFacts }
  /** A sign of life of a connected peer. `last`: it reports to others from now on, its silence here says nothing. */
  | { readonly type: 'heartbeat'; readonly from: PeerId; readonly last: boolean }
  /** `from` says that the lease of that session ended there. */
  | {
      readonly type: 'suspected'
      readonly from: PeerId
      readonly peer: PeerId
      readonly session: SessionId
    }
  /** That peer has the JOB. */
  | { readonly type: 'jobAcknowledged'; readonly job: JobId; readonly from: PeerId }
  /** What a connected peer has of a job that was taken up from the store is here. */
  | { readonly type: 'jobSynced'; readonly job: JobId }
  /** Proof that a feed forked: both halves as a FORK entry carries them. */
  | {
      readonly type: 'forkFound'
      readonly job: JobId
      readonly first: Uint8Array
      readonly second: Uint8Array
    }
  /** No live peer holds the values of that accepted DONE over lo..hi-1 any more: its items run again. */
  | {
      readonly type: 'resultLost'
      readonly job: JobId
      readonly lo: number
      readonly hi: number
      readonly done: EntryHash
    }
  /** This peer lends its slots, or (its disk is full) does not for now: it starts nothing and hands on what it has not started. */
  | { readonly type: 'lending'; readonly on: boolean }
  /** The job's task does not run on this peer: it hands on what it has not started, and takes nothing of it for `ms`. */
  | { readonly type: 'unfit'; readonly job: JobId; readonly ms: number }
  /** This peer's GPU was found, and runs kernels so fast (reference cores). */
  | { readonly type: 'gpuFound'; readonly kernelSpeed: number }
  /** A local caller submits; the job id is the hash of the spec. */
  | {
      readonly type: 'submitted'
      readonly job: JobId
      readonly spec: JobSpec
      readonly at: number
      /** Of a composition. */
      readonly plan?: Plan
    }
  /** The plan of a composition is here. */
  | { readonly type: 'planLoaded'; readonly job: JobId; readonly plan: Plan }
  /** The plan makes no sense: what this peer owns of the job FAILs so. */
  | {
      readonly type: 'planInvalid'
      readonly job: JobId
      readonly code: string
      readonly message: string
    }
  /** A local caller cancels, pauses or resumes; ignored where the job is over, or this peer no controller of it. */
  | { readonly type: 'cancelled'; readonly job: JobId; readonly reason: string }
  | { readonly type: 'paused'; readonly job: JobId }
  | { readonly type: 'resumed'; readonly job: JobId }
  /** The mesh's wall clock (the median of the live peers') is `now` + offsetMs. */
  | { readonly type: 'clockSet'; readonly offsetMs: number }
  /** Verified entries, new to this peer, staged for writing; any job, any author, JOB included, feed order within a feed. */
  | {
      readonly type: 'entriesReceived'
      readonly entries: readonly Entry[]
      readonly from: PeerId | undefined
    }
  | {
      readonly type: 'stealRequested'
      readonly from: PeerId
      readonly session: SessionId
      readonly job: JobId
      readonly nonce: number
      /** The thief's items/s for this job, or undefined when it has not run any. */
      readonly rate: number | undefined
      /** How many slots the thief has idle. */
      readonly idle: number
    }
  /** Granted entries came in an entriesReceived just before. */
  | {
      readonly type: 'stealAnswered'
      readonly from: PeerId
      readonly job: JobId
      readonly nonce: number
      readonly granted: boolean
      readonly running: readonly RunningChunk[]
    }
  | {
      readonly type: 'lifelineReceived'
      readonly from: PeerId
      readonly session: SessionId
      readonly job: JobId
      readonly rate: number | undefined
      readonly idle: number
    }
  /** The worker says how far it came: items lo..reached-1 of the chunk are finished. */
  | { readonly type: 'chunkProgressed'; readonly chunk: number; readonly reached: number }
  /** The worker stopped: lo..reached-1 finished; the rest of the chunk goes back. The slot is free. `result` is there when it fits inline. */
  | {
      readonly type: 'chunkEnded'
      readonly chunk: number
      readonly reached: number
      readonly failed: number
      readonly elapsedMs: number
      readonly outputBytes: number
      readonly inline?: Uint8Array
      /** Item `reached` threw, and is tried again here in `delayMs`, for the `attempt`-th time, alone. */
      readonly retry?: { readonly delayMs: number; readonly attempt: number }
    }
  /** The output of an ended chunk is on its keepers. */
  | { readonly type: 'chunkPlaced'; readonly chunk: number; readonly result: ResultRef }
  /** The chunk could not be run here (bundle or input not to be had, keeper gone…): its items go back to this peer's own ranges; `retryMs` says how long to leave the job alone here. */
  | {
      readonly type: 'chunkReturned'
      readonly chunk: number
      readonly retryMs: number
      /** What its items up to `hi` need is on no peer any more: they FAIL, unless someone has done them after all (DONE beats FAIL). */
      readonly lost?: { readonly hi: number; readonly code: string; readonly message: string }
    }
  | { readonly type: 'timerFired'; readonly timer: string }
  /** A peer starts again: everything the store holds of a job. */
  | { readonly type: 'jobLoaded'; readonly entries: readonly Entry[] }
  /** This peer stops: hand over what is not started (RELEASE), start nothing more. */
  | { readonly type: 'stopping' }

/** Key-level changes of a job's views, for the store to write in the same batch as the entries that caused them. */
export interface OwnerSpan extends Range {
  readonly epoch: number
  readonly hop: number
  readonly hash: EntryHash
  readonly owner: SessionId
}
export interface DoneSpan extends Range {
  /** The lo of the DoneRange this span is a part of: values of the result are numbered from there. */
  readonly originLo: number
  readonly hash: EntryHash
  readonly author: PeerId
  readonly failed: number
  readonly result: ResultRef
}
export interface ViewChange {
  readonly job: JobId
  /** lo keys to delete, then spans to put (keyed by their lo). */
  readonly ownersRemoved: readonly number[]
  readonly ownersPut: readonly OwnerSpan[]
  readonly doneRemoved: readonly number[]
  readonly donePut: readonly DoneSpan[]
}

export type SchedulerEffect =
  /** Write it before any later effect of the same handle() call leaves this peer. */
  | { readonly type: 'append'; readonly entry: Entry }
  | { readonly type: 'changeView'; readonly change: ViewChange }
  /** Send `to` what it lacks of this peer's own feed for the job (the JOB's author: JOB included), over the direct stream. */
  | { readonly type: 'push'; readonly to: PeerId; readonly job: JobId }
  /** Gossip what has not been gossiped of this peer's own feed for the job. */
  | { readonly type: 'publish'; readonly job: JobId }
  | {
      readonly type: 'sendSteal'
      readonly to: PeerId
      readonly job: JobId
      readonly nonce: number
      readonly rate: number | undefined
      readonly idle: number
    }
  /** The interpreter adds the run of this peer's feed that the thief lacks. */
  | {
      readonly type: 'answerSteal'
      readonly to: PeerId
      readonly job: JobId
      readonly nonce: number
      readonly granted: boolean
      readonly running: readonly RunningChunk[]
    }
  | {
      readonly type: 'sendLifeline'
      readonly to: PeerId
      readonly job: JobId
      readonly rate: number | undefined
      readonly idle: number
    }
  | {
      readonly type: 'startChunk'
      readonly chunk: number
      readonly job: JobId
      readonly lo: number
      readonly hi: number
      readonly budgetMs: number
      /** Only when everything appended before is written: a START must be there before what it announces. */
      readonly afterWrite: boolean
      /** A copy of what another peer is slow at. */
      readonly speculative: boolean
      /** Which try of the chunk's one item this is, from 1; more: it threw before. */
      readonly attempt: number
      /** Of a composition: the node of the items, and its first item. */
      readonly node?: number
      readonly nodeLo?: number
    }
  | { readonly type: 'abortChunk'; readonly chunk: number }
  /**
   * Put the output of an ended chunk on `keepers` (this peer may be one), at least on one of them or on this peer, then answer
   * chunkPlaced with those that have it: their receipts.
   */
  | {
      readonly type: 'placeResult'
      readonly chunk: number
      readonly job: JobId
      readonly keepers: readonly PeerId[]
    }
  /** A sign of life to each of them; `last`: the next ones go to others. */
  | { readonly type: 'sendHeartbeat'; readonly to: readonly PeerId[]; readonly last: boolean }
  | {
      readonly type: 'sendSuspicion'
      readonly to: readonly PeerId[]
      readonly peer: PeerId
      readonly session: SessionId
    }
  /** Compare version vectors of the job with these peers: what a dead session wrote last may be there. */
  | { readonly type: 'resync'; readonly job: JobId; readonly with: readonly PeerId[] }
  /** The session is taken for dead here (`restarted`: a newer one of its peer lives), until it is heard of again. */
  | {
      readonly type: 'leaseEnded'
      readonly peer: PeerId
      readonly session: SessionId
      readonly restarted: boolean
    }
  /** Fires timerFired at that time; the same name again replaces it. */
  | { readonly type: 'setTimer'; readonly timer: string; readonly at: number }
  | { readonly type: 'clearTimer'; readonly timer: string }
  /** Bring the plan of that composition here (from `from` first), then answer planLoaded or planInvalid; try until the job is over. */
  | {
      readonly type: 'loadPlan'
      readonly job: JobId
      readonly plan: BlobHash
      readonly from: PeerId
    }
  /** For local watchers: the job's fold changed. */
  | { readonly type: 'jobChanged'; readonly job: JobId }
  | { readonly type: 'jobFinished'; readonly job: JobId }
  /** A peer broke a rule of the log; counted against it. */
  | { readonly type: 'breach'; readonly peer: PeerId; readonly reason: string }

// ---------------------------------------------------------------- read model

export interface FailedSpan extends Range {
  readonly code: string
  readonly message: string
}

export interface Liveness {
  /** `lost`: its lease is over, others take what it held. `unknown`: never heard of. */
  readonly state: 'live' | 'lost' | 'unknown'
  /** Since it was last heard of, ms. */
  readonly silentMs: number
}

export type JobState = 'running' | 'finished' | 'cancelled' | 'paused'

/** Who cancelled, and why. */
export interface Cancellation {
  readonly by: PeerId
  readonly reason: string
}

export interface JobView {
  readonly job: JobId
  readonly spec: JobSpec
  readonly author: PeerId
  readonly submittedAt: number
  readonly state: JobState
  readonly items: number
  readonly done: number
  readonly failed: number
  /** Items owned by this peer, not started. */
  readonly mine: number
  readonly runningHere: readonly (RunningChunk & {
    readonly chunk: number
    readonly reached: number
  })[]
  /** Counts of this job's log as folded here. */
  readonly entries: number
  readonly chunks: number
  readonly grants: number
  readonly reclaims: number
  /** Items owned by sessions whose lease is over. */
  readonly orphaned: number
  /** Items/s seen on this peer for this job; undefined before any ran. */
  readonly rate: number | undefined
  /** Items done by author. */
  readonly doneBy: ReadonlyMap<PeerId, number>
  /** Of a job that requires something: connected peers, this one too, that lend slots and have it. */
  readonly eligible?: number | undefined
  /** Of the CANCELs the one with the smallest hash; undefined: none. */
  readonly cancellation?: Cancellation | undefined
  /** Ms since 1970 before which nothing of it starts; undefined: no such time. */
  readonly startsAt?: number | undefined
  /** Of a composition whose plan is here. */
  readonly plan?: Plan | undefined
}

export interface SchedulerConfig {
  readonly self: PeerFacts
  /** How long a session may be silent before it is taken for dead, ms; default 10 000. */
  readonly leaseMs?: number
  /** Other peers are known from before: after a start they have a moment to say what became of this peer's ranges meanwhile. */
  readonly expectsPeers?: boolean
  readonly seal: Seal
  /** Uniform in [0, 1); seeded in the simulator. */
  readonly random: () => number
  /** Sessions of earlier starts of this peer, as far as it remembers: what they hold is reclaimed at once. Those that wrote entries are known anyway. */
  readonly predecessors?: readonly SessionId[]
  /** Where the two encoded entries of a FORK split their feed; undefined when they prove nothing. Absent: FORK is kept and cuts nothing. */
  readonly readFork?: (first: Uint8Array, second: Uint8Array) => ForkPoint | undefined
}

/** The feed that a FORK proves forked, and the first seq that two entries of it have. */
export interface ForkPoint {
  readonly author: PeerId
  readonly session: SessionId
  readonly job: JobId
  readonly seq: number
}

/** The state machine. `now` is monotonic milliseconds. Total: a peer's bad message is a `breach` effect, never a throw. */
export interface SchedulerCore {
  handle(event: SchedulerEvent, now: number): SchedulerEffect[]
  job(id: JobId): JobView | undefined
  jobs(): JobView[]
  /** The accepted DONE over an item, if any. */
  doneAt(job: JobId, item: number): DoneSpan | undefined
  /** All accepted DONE spans in item order. */
  doneSpans(job: JobId): Iterable<DoneSpan>
  /** Items that are final by a FAIL and have no DONE, in item order. */
  failures(job: JobId): Iterable<FailedSpan>
  /** How this peer sees another one: its lease runs, runs out, or is over. */
  liveness(peer: PeerId): Liveness
  /** Drops a finished job's fold from memory; entries that still come for it are ignored. */
  forget(job: JobId): void
}
