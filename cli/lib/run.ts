/** What one run of `submit` or `results` is made of: shared by what reads a job and by what becomes of its results. */
import type { MeshError } from '../../src/base/errors.ts'
import type { PictureOptions } from '../../src/client/array-files.ts'
import type { Job } from '../../src/client/job.ts'
import type { JobInfo } from '../../src/node/types.ts'
import type { Context } from './context.ts'
import type { FailureTeller } from './failures.ts'
import type { Interrupt } from './interrupt.ts'
import type { Library } from './library.ts'
import type { Progress } from './progress.ts'
import type { ResultBatch } from './result-lines.ts'
import type { Session } from './session.ts'

export interface FollowOptions {
  readonly job: Job
  /** Extents of a kernel's output: its results are one array; undefined: they are lines. */
  readonly size?: readonly number[]
  /** false: print what is there and end. */
  readonly wait: boolean
  /** Run the items again whose results nobody has any more. */
  readonly recompute?: boolean
  readonly out?: string
  /** How the array of a kernel becomes a picture there. */
  readonly picture?: PictureOptions
  readonly errors?: string
  readonly json: boolean
  readonly quiet: boolean
  /** Set when the peer is one that another command runs for itself: it may end before the job does, and this goes on then. */
  readonly reopen?: () => Promise<Session>
}

/** What is held while a job is read. */
export interface Run {
  readonly context: Context
  readonly library: Library
  /** The caller's, which the caller closes. */
  readonly first: Session
  session: Session
  job: Job
  readonly options: FollowOptions
  readonly interrupt: Interrupt
  readonly progress: Progress
  readonly teller: FailureTeller
  readonly output: Output
  /** A note beside the progress; nothing with --quiet and --json. */
  readonly tell: (text: string) => void
}

/** How the reading ended. */
export interface End {
  readonly code: number
  readonly info: JobInfo
  readonly error?: MeshError
}

/** What becomes of the results. */
export interface Output {
  open(): Promise<void>
  write(batch: ResultBatch): Promise<void>
  /** Hands on what waits. */
  flush(): Promise<void>
  /** Items so far that have a value or failed. */
  readonly present: number
  /** How many there are in the end; absent: all items of the job. */
  readonly expected?: number
  /** The reading broke in a way that has no End. Returns the exit code, or throws the error on. */
  fail(error: unknown): Promise<number>
  /** Tells the end, in words or as the document of --json; returns the exit code. */
  finish(run: Run, end: End): Promise<number>
  close(): Promise<void>
}
