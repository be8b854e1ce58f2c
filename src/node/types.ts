/** The one face of a running peer: in this process (src/node/local-backend.ts), or over its control socket (src/node/control/client.ts). */
import type { Plan } from '../scheduler/plan.ts'
import type {
  BlobHash,
  JobId,
  JobInput,
  JobOptions,
  JobState,
  JobTask,
  Range,
} from '../scheduler/types.ts'

/** A GPU that a peer runs kernels on. */
export interface GpuFacts {
  readonly name: string
  /** A software adapter is used where its owner asked for it by name. */
  readonly state: 'hardware' | 'software'
  /** f32, by a short test. */
  readonly gflops: number
  /** Transfers to the device and back, MB/s. */
  readonly upMBs: number
  readonly downMBs: number
}

export interface PeerInfo {
  /** 64 hex characters; `short` is its first 8. */
  readonly id: string
  readonly short: string
  /** Its process, in 32 hex characters: another one each time that it starts. */
  readonly session: string
  readonly name: string
  readonly self: boolean
  /** 'direct' or the address of a relay some day; '' for self. */
  readonly address: string
  readonly connected: boolean
  readonly version: string
  readonly cores: number
  readonly slots: number
  readonly freeSlots: number
  readonly memoryBytes: number
  readonly freeMemoryBytes: number
  readonly gpu: GpuFacts | null
  /** Relative speed of one slot. */
  readonly speed: number
  /** Items/s over the last seconds, all jobs. */
  readonly itemsPerSecond: number
  readonly rttMs: number | null
  readonly lastSeenMs: number
  /** `silent`: connected, but nothing has been heard for `lastSeenMs`; `away`: not connected, it did not say good-bye; `left`: it did. */
  readonly state: 'connected' | 'silent' | 'away' | 'left'
  /** Its lease is over: others take what it held. */
  readonly lost: boolean
  /** Its disk is full: it takes no work and keeps nothing. */
  readonly diskFull: boolean
  /** What its user says of it, for jobs that require it. */
  readonly labels: Readonly<Record<string, string>>
}

/** A peer that was lost while it had a part in a job. */
export interface PeerLossInfo {
  readonly id: string
  readonly name: string
  /** Its items that others take over. */
  readonly items: number
  readonly at: string
  /** It came back as a new process. */
  readonly restarted: boolean
}

/** On how many live peers a job's results are, as this one knows. Results inside the log are on every peer of the job. */
export interface CopiesInfo {
  /** Peers that shall hold each result. */
  readonly wanted: number
  /** Results that are blobs, and their bytes. */
  readonly results: number
  readonly bytes: number
  /** Of those, on fewer live peers than wanted, and on none. */
  readonly tooFew: number
  readonly none: number
  /** There are more than were looked at. */
  readonly partial: boolean
}

/** A node of a composition: items lo..lo+items-1. */
export interface NodeInfo {
  readonly name: string
  readonly lo: number
  readonly items: number
  readonly done: number
  readonly failed: number
  /** Indices of the nodes that it takes values of. */
  readonly needs: readonly number[]
}

export interface JobInfo {
  readonly id: string
  readonly short: string
  readonly name: string
  readonly state: JobState
  readonly items: number
  readonly done: number
  readonly failed: number
  readonly submittedAt: string
  readonly finishedAt: string | null
  readonly author: string
  readonly itemsPerSecond: number
  readonly etaSeconds: number | null
  /** Peers that finished items or run some now. */
  readonly peers: readonly { readonly id: string; readonly name: string; readonly done: number }[]
  readonly peersAtWork: number
  readonly log: {
    readonly entries: number
    readonly chunks: number
    readonly grants: number
    readonly reclaims: number
  }
  /** Peers lost while this job ran here, oldest first. */
  readonly peersLost: readonly PeerLossInfo[]
  /** Of a cancelled job. */
  readonly cancelled: { readonly by: string; readonly name: string; readonly reason: string } | null
  /** Before that time nothing of it starts; null: it may start. */
  readonly startsAt: string | null
  /** Of a composition, the nodes in order (at most 1 000, `nodesTotal` of all); null for other tasks, and in lists. */
  readonly nodes: readonly NodeInfo[] | null
  readonly nodesTotal: number
  readonly task: JobTask
  /** When this peer's copy of an ended job goes, if it runs on until then; null: the job is not over. */
  readonly expiresAt: string | null
  /** Null in lists and in what `watch` tells: it takes a walk over all results. */
  readonly copies: CopiesInfo | null
  readonly options: JobOptions
  readonly input: JobInput
  /** What the job cannot go on without, in words, such as `a peer with a GPU`; null: nothing. */
  readonly waitsFor: string | null
  /** Of a kernel: the extents of its output, [x], [x, y] or [x, y, z]; null for other tasks. */
  readonly output: readonly number[] | null
}

export interface MeshStatus {
  readonly version: string
  readonly peer: PeerInfo
  readonly mesh: string
  readonly dataDir: string
  readonly addresses: readonly string[]
  readonly peers: number
  readonly jobs: { readonly running: number; readonly finished: number }
  readonly uptimeSeconds: number
  readonly pid: number
  readonly embedded: boolean
  /** Event-loop delay of the peer's process, ms. */
  readonly loopDelayMs: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly workers: {
    readonly busy: number
    readonly alive: number
    readonly started: number
    readonly recycled: number
    readonly died: number
  }
  /** How far this machine's clock is ahead of the mesh's (the median of the live peers'), ms; 0 with no other peer. */
  readonly clockAheadMs: number
  readonly strikes: readonly {
    readonly peer: string
    readonly reason: string
    readonly count: number
  }[]
  readonly warnings: readonly string[]
  /** The disk that holds the data folder; null while it cannot be asked. */
  readonly disk: {
    readonly freeBytes: number
    readonly reserveBytes: number
    /** Below the reserve: no work is taken. */
    readonly short: boolean
  } | null
  /** How long (of this peer's running time), and how much, of finished jobs is kept. */
  readonly keep: { readonly ms: number; readonly bytes: number }
  /** What opening a damaged store mended; null: nothing. */
  readonly repair: {
    readonly reason: string
    readonly copy: string
    readonly entriesKept: number
    readonly entriesDropped: number
    readonly jobs: number
  } | null
  /** While the peer leaves: results that only it holds, being handed on. */
  readonly handingOn: { readonly bytesLeft: number; readonly bytesTotal: number } | null
}

export interface JobRequest {
  readonly task: JobTask
  readonly input: JobInput
  readonly options: JobOptions
  /** Return only when job, input and bundle are on another peer too, if there is one. */
  readonly detach?: boolean
  /** Of a composition: its plan. The backend stores it, and puts its hash and size in place of task.bundle and task.bundleBytes. */
  readonly plan?: Plan | undefined
}

export interface SubmitReply {
  readonly job: JobId
  /** Peers (ids) that acknowledged the job; empty: no other peer has it. */
  readonly heldBy: readonly string[]
  /** It was there before, submitted with the same key; absent: it is new. */
  readonly attached?: boolean
}

/** A piece of the results: encoded segments (src/runtime/segment.ts) that start at item `originLo`; only items [lo, hi) of them count. */
export interface ResultSpan {
  readonly lo: number
  readonly hi: number
  readonly originLo: number
  readonly bytes: Uint8Array
}

export interface LogLine {
  readonly job: string
  readonly peer: string
  readonly at: string
  readonly stream: 'stdout' | 'stderr' | 'log'
  readonly text: string
  readonly item?: number
}

export interface ResultsOptions {
  /** In item order (default), else as they come. */
  readonly order: 'item' | 'arrival'
  /** Wait for the job's end (default); else end at what is there. */
  readonly wait: boolean
  /** Run the items again whose results are on no connected peer. */
  readonly recompute?: boolean
  /** Only items of these ranges, in ascending order; ends when they are final. */
  readonly ranges?: readonly Range[]
  readonly signal?: AbortSignal
}

export interface MeshBackend {
  status(): Promise<MeshStatus>
  peers(): Promise<PeerInfo[]>
  jobs(): Promise<JobInfo[]>
  /**
   * An id, a unique prefix (≥ 4 characters), or 'last'. What is not known here is asked of the connected peers.
   * ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS, ERR_MESH_JOB_COLLECTED.
   */
  job(id: string): Promise<JobInfo>
  ticket(): Promise<string>
  putBlob(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }>
  /** A blob that this peer or a connected one holds; it stays here for a job that shall name it. ERR_MESH_INPUT_LOST. */
  readBlob(hash: BlobHash): Promise<Uint8Array>
  /** The plan of a composition, from a connected peer if it is not here. ERR_MESH_OPTION_INVALID for another job, ERR_MESH_INPUT_LOST. */
  plan(job: JobId): Promise<Plan>
  /** A key that a job has: that job when it is the same work. ERR_MESH_KEY_REUSED, ERR_MESH_JOB_COLLECTED, ERR_MESH_DISK_FULL. */
  submit(request: JobRequest): Promise<SubmitReply>
  /** The job's info at once, then on changes (at most 10 a second), until it ends or `signal` aborts. */
  watch(job: JobId, signal?: AbortSignal): AsyncIterable<JobInfo>
  results(job: JobId, options: ResultsOptions): AsyncIterable<ResultSpan>
  logs(job: JobId, options: { follow: boolean; signal?: AbortSignal }): AsyncIterable<LogLine>
  /** Drops this peer's copy of an ended job, at once; its id. ERR_MESH_JOB_RUNNING, and as `job`. */
  forget(id: string): Promise<JobId>
  /**
   * Ends a job for all peers: what runs is aborted, what is done stays readable. `all`: every job that is not over.
   * @returns ids of the jobs that were not over. ERR_MESH_NOT_CONTROLLER, and as `job`.
   */
  cancel(ids: readonly string[] | 'all', reason: string): Promise<JobId[]>
  /** No item starts any more until `resume`; what runs ends. As `cancel`; ERR_MESH_JOB_OVER. */
  pause(id: string): Promise<JobId>
  resume(id: string): Promise<JobId>
  /** Stop the peer process cleanly (`mesh leave`). */
  leave(): Promise<void>
  /** Let go of this handle; an in-process peer stops. */
  close(): Promise<void>
}
