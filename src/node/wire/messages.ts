/** What two peers say to each other over the direct stream (docs/protocol.md, "Messages"): plain data. */
import type { JobId, PeerId, RunningChunk, SessionId } from '../../scheduler/types.ts'
import type { FeedHead, FeedId, Run } from '../../store/types.ts'
import type { LogLine } from '../types.ts'

/** The number that a kind has on the wire. */
export const KINDS = {
  hello: 0,
  advert: 1,
  entries: 2,
  steal: 3,
  stealAnswer: 4,
  lifeline: 5,
  heads: 6,
  pull: 7,
  jobAck: 8,
  jobWanted: 9,
  logsWanted: 10,
  logs: 11,
  heartbeat: 12,
  suspect: 13,
  findJobs: 14,
  foundJobs: 15,
  clock: 16,
  findNonce: 17,
} as const

/** A feed, and the first entry of it that is wanted. */
export type FeedFrom = FeedId & { readonly from: number }

export type WireMessage =
  /** First on a new connection: who this is, and which running jobs it knows. */
  | {
      readonly kind: 'hello'
      readonly version: string
      /** A signed advert (advert.ts). */
      readonly advert: Uint8Array
      readonly jobs: readonly JobId[]
    }
  | { readonly kind: 'advert'; readonly bytes: Uint8Array }
  | { readonly kind: 'entries'; readonly runs: readonly Run[] }
  /** Give me work. */
  | {
      readonly kind: 'steal'
      readonly job: JobId
      readonly session: SessionId
      readonly nonce: number
      /** The thief's items/s for this job, to a thousandth; undefined: it has run none. */
      readonly rate: number | undefined
      /** Slots that wait. */
      readonly idle: number
      /** The last seq of the victim's feed that the thief has; 0: none. */
      readonly head: number
    }
  | {
      readonly kind: 'stealAnswer'
      readonly job: JobId
      readonly nonce: number
      readonly granted: boolean
      readonly running: readonly RunningChunk[]
      /** The part of the victim's feed that the thief lacks. */
      readonly runs: readonly Run[]
    }
  /** I have nothing left: push work to me when you have some. */
  | {
      readonly kind: 'lifeline'
      readonly job: JobId
      readonly session: SessionId
      readonly rate: number | undefined
      readonly idle: number
    }
  /** What I hold of each feed of a job; `reply` asks for the other's. */
  | {
      readonly kind: 'heads'
      readonly job: JobId
      readonly heads: readonly FeedHead[]
      readonly reply: boolean
    }
  /** Send me these feeds, as `entries`. */
  | { readonly kind: 'pull'; readonly job: JobId; readonly feeds: readonly FeedFrom[] }
  /** `held`: I have the JOB, its input and its bundle. */
  | { readonly kind: 'jobAck'; readonly job: JobId; readonly held: boolean }
  | { readonly kind: 'jobWanted'; readonly job: JobId }
  | {
      readonly kind: 'logsWanted'
      readonly job: JobId
      readonly follow: boolean
      readonly id: number
    }
  | {
      readonly kind: 'logs'
      readonly id: number
      readonly lines: readonly LogLine[]
      readonly end: boolean
    }
  /** I am alive. `last`: from now on I report to others; my silence says nothing to you. */
  | { readonly kind: 'heartbeat'; readonly last: boolean }
  /** The lease of that session ended here. */
  | { readonly kind: 'suspect'; readonly peer: PeerId; readonly session: SessionId }
  /** Which jobs do you know whose id starts so (4 to 64 hex characters)? */
  | { readonly kind: 'findJobs'; readonly id: number; readonly prefix: string }
  | { readonly kind: 'foundJobs'; readonly id: number; readonly jobs: readonly JobId[] }
  /** What my wall clock says: ms since 1970. */
  | { readonly kind: 'clock'; readonly ms: number }
  /** Which jobs with an idempotency key do you know whose nonce this is? Answered by foundJobs. */
  | { readonly kind: 'findNonce'; readonly id: number; readonly nonce: string }
