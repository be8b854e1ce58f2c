/** The one face of a running peer: in this process (src/node/local-backend.ts), or over its control socket (src/node/control/client.ts). */
import type {
  BlobHash,
  JobId,
  JobInput,
  JobOptions,
  JobState,
  JobTask,
} from '../scheduler/types.ts'

export interface GpuFacts {
  readonly name: string
}

export interface PeerInfo {
  /** 64 hex characters; `short` is its first 8. */
  readonly id: string
  readonly short: string
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
  readonly options: JobOptions
  readonly input: JobInput
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
  readonly strikes: readonly {
    readonly peer: string
    readonly reason: string
    readonly count: number
  }[]
  readonly warnings: readonly string[]
}

export interface JobRequest {
  readonly task: JobTask
  readonly input: JobInput
  readonly options: JobOptions
  /** Return only when job, input and bundle are on another peer too, if there is one. */
  readonly detach?: boolean
}

export interface SubmitReply {
  readonly job: JobId
  /** Peers (ids) that acknowledged the job; empty: no other peer has it. */
  readonly heldBy: readonly string[]
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
  readonly signal?: AbortSignal
}

export interface MeshBackend {
  status(): Promise<MeshStatus>
  peers(): Promise<PeerInfo[]>
  jobs(): Promise<JobInfo[]>
  /** An id, a unique prefix (≥ 4 characters), or 'last'. ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS. */
  job(id: string): Promise<JobInfo>
  ticket(): Promise<string>
  putBlob(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }>
  submit(request: JobRequest): Promise<SubmitReply>
  /** The job's info at once, then on changes (at most 10 a second), until it ends or `signal` aborts. */
  watch(job: JobId, signal?: AbortSignal): AsyncIterable<JobInfo>
  results(job: JobId, options: ResultsOptions): AsyncIterable<ResultSpan>
  logs(job: JobId, options: { follow: boolean; signal?: AbortSignal }): AsyncIterable<LogLine>
  /** Stop the peer process cleanly (`mesh leave`). */
  leave(): Promise<void>
  /** Let go of this handle; an in-process peer stops. */
  close(): Promise<void>
}
