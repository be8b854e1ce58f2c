import { isMeshError, MeshError } from '../../src/base/errors.ts'
import type { Job } from '../../src/client/job.ts'
import type { JobInfo } from '../../src/node/types.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import { comeBack } from './come-back.ts'
import type { Context } from './context.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { asMeshError, errorDocument } from './failure.ts'
import { type FailureTeller, failureRecord, tellFailures } from './failures.ts'
import { formatCount, formatDuration, formatRate, plural, printable } from './format.ts'
import { lossTeller, tellSleep } from './happenings.ts'
import type { Interrupt } from './interrupt.ts'
import { secondsOf } from './job-view.ts'
import type { Library } from './library.ts'
import { NAME_CHARS } from './limits.ts'
import { note } from './output.ts'
import { createProgress, type Progress } from './progress.ts'
import { type LineWriter, writeLines } from './result-lines.ts'
import type { Session } from './session.ts'
import { isPipeClosed, nowhere, openFileSink, openStdoutSink, type Sink } from './sink.ts'

export interface FollowOptions {
  readonly job: Job
  /** false: print what is there and end. */
  readonly wait: boolean
  /** Run the items again whose results nobody has any more. */
  readonly recompute?: boolean
  readonly out?: string
  readonly errors?: string
  readonly json: boolean
  readonly quiet: boolean
  /** Set when the peer is one that another command runs for itself: it may end before the job does, and this goes on then. */
  readonly reopen?: () => Promise<Session>
}

/** What one run of `submit` or `results` holds while it streams. */
interface Run {
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
  readonly writer: LineWriter
  /** A note beside the progress; nothing with --quiet and --json. */
  readonly tell: (text: string) => void
}

/**
 * Streams a job's results to --out or stdout with progress on stderr, until the job ends or the user interrupts.
 * Returns the exit code. What is in memory is one span of results, whatever the job's size.
 */
export async function followJob(
  context: Context,
  session: Session,
  library: Library,
  options: FollowOptions,
  interrupt: Interrupt,
): Promise<number> {
  const silent = options.quiet || options.json
  const progress = createProgress({
    stream: context.stderr,
    now: () => context.now(),
    silent: silent || !options.wait,
  })
  const aside = (write: () => void): void => progress.aside(write)
  const toFile = options.out !== undefined && options.out !== '-'
  const errorSink =
    options.errors === undefined ? nowhere : await openFileSink(options.errors, '--errors')
  const outSink = toFile
    ? await openFileSink(options.out, '--out')
    : openStdoutSink(context, context.stdout.isTTY === true ? aside : undefined)
  const document = options.json ? jsonDocument(context, outSink, options, toFile) : undefined
  const teller = tellFailures({
    context,
    sink: errorSink,
    file: options.errors,
    silent: options.json,
    aside,
  })
  const writer = writeLines({
    sink: outSink,
    format: library.formatValue,
    layout: options.json && !toFile ? 'array' : 'ndjson',
    onFailure: (failure) => teller.tell(failure),
  })
  const run: Run = {
    context,
    library,
    first: session,
    session,
    job: options.job,
    options,
    interrupt,
    progress,
    teller,
    writer,
    tell: (text) => aside(() => note(context, text, silent)),
  }
  try {
    await document?.open()
    const end = await stream(run, outSink).catch(async (error: unknown): Promise<number> => {
      // A document that has begun must end, with the error inside it.
      if (document === undefined || toFile) throw error
      return await document.fail(asMeshError(error))
    })
    if (typeof end === 'number') return end
    progress.end()
    teller.summary()
    if (end.code === EXIT.pipeClosed || document === undefined) await say(run, end)
    else await document.close(run, end)
    return end.code
  } finally {
    progress.end()
    if (run.session !== session) await run.session.backend.close()
    await closeAll(outSink, errorSink)
  }
}

/** How the streaming ended. */
interface End {
  readonly code: number
  readonly info: JobInfo
  readonly error?: MeshError
}

async function stream(run: Run, outSink: Sink): Promise<End> {
  const { options, interrupt } = run
  let broken = await streamOnce(run, outSink)
  while (
    isMeshError(broken, 'ERR_MESH_STOPPED') &&
    options.reopen &&
    interrupt.code === undefined
  ) {
    await takeUp(run, await options.reopen())
    broken = await streamOnce(run, outSink)
  }
  const { backend } = run.session
  const pipeClosed = isPipeClosed(broken)
  if (interrupt.code === undefined && !pipeClosed && broken !== undefined && !isMeshError(broken)) {
    throw broken
  }
  // Of a peer that is gone nothing more can be asked; what broke says more than that.
  const info = await backend.job(options.job.id).catch((error: unknown) => {
    throw broken ?? error
  })
  if (pipeClosed) return { code: EXIT.pipeClosed, info }
  if (interrupt.code !== undefined) return { code: interrupt.code, info }
  if (isMeshError(broken)) return { code: exitCodeOf(broken.code), info, error: broken }
  return verdict(run, info)
}

/** Reads the job's results to their end; returns what broke that, if anything did. */
async function streamOnce(run: Run, outSink: Sink): Promise<unknown> {
  const { options, interrupt } = run
  const watching = new AbortController()
  const stop = (): void => watching.abort()
  interrupt.signal.addEventListener('abort', stop)
  const seen = options.wait ? watch(run, watching.signal, outSink) : Promise.resolve()
  const awake = options.wait ? tellSleep(run.context, run.tell) : () => {}
  try {
    const { wait, recompute = false } = options
    const reading = { order: 'item', wait, recompute, signal: interrupt.signal } as const
    for await (const batch of run.job.batches(reading)) {
      await run.writer.write(batch)
      if (interrupt.signal.aborted) break
    }
    await outSink.flush()
    return undefined
  } catch (error) {
    return error
  } finally {
    interrupt.signal.removeEventListener('abort', stop)
    awake()
    watching.abort()
    await seen
  }
}

/** The peer that was attached to is gone; the same folder has the job, and another peer goes on with it. */
async function takeUp(run: Run, session: Session): Promise<void> {
  if (run.session !== run.first) await run.session.backend.close()
  run.session = session
  run.job = await run.library.findJob(session.backend, run.options.job.id)
}

/** Feeds the bar, and hands on what waits in the buffer, so that a slow job's results do not wait for 64 KiB. */
async function watch(run: Run, signal: AbortSignal, outSink: Sink): Promise<void> {
  const tellLosses = lossTeller(run.tell)
  try {
    for await (const info of run.session.backend.watch(run.job.id as JobId, signal)) {
      tellLosses(info)
      run.progress.update(info)
      await outSink.flush()
    }
  } catch {
    // Whatever is wrong with the peer or the sink, the stream of results meets it too, and tells.
  }
}

function verdict({ options, writer, teller }: Run, info: JobInfo): End {
  if (info.state === 'cancelled') {
    const error = new MeshError('ERR_MESH_JOB_CANCELLED', `job ${info.short} was cancelled`, {
      details: { job: info.id },
    })
    return { code: EXIT.failed, info, error }
  }
  if (!options.wait && writer.present < info.items) return { code: EXIT.notYet, info }
  return { code: teller.count > 0 ? EXIT.failed : EXIT.ok, info }
}

async function say(run: Run, end: End): Promise<void> {
  const { context, session, options, writer, teller } = run
  const { info } = end
  const quiet = options.quiet
  if (end.error !== undefined) {
    note(context, end.error.message)
    if (end.error.code === 'ERR_MESH_STOPPED') {
      for (const line of await comeBack(context, session, info.short)) note(context, line)
    }
  } else if (end.code === EXIT.notYet) {
    note(
      context,
      `${formatCount(writer.present)} of ${plural(info.items, 'item')} are there; the others' lines, up to the last of them, are null`,
      quiet,
    )
  } else if (end.code >= EXIT.internal) {
    for (const line of await comeBack(context, session, info.short)) note(context, line)
  } else {
    note(context, summaryLine(info, teller.count, context.wallClock()), quiet)
  }
}

/** 'primes: 1 000 000 items in 12.3 s (81.3k/s) on 3 peers; 2 failed' */
export function summaryLine(info: JobInfo, failed: number, wallClock: number): string {
  const seconds = secondsOf(info, wallClock)
  const rate = seconds > 0 && info.items > 0 ? ` (${formatRate(info.items / seconds)})` : ''
  const peers = info.peers.length > 0 ? ` on ${plural(info.peers.length, 'peer')}` : ''
  const failures = failed > 0 ? `; ${formatCount(failed)} failed` : ''
  return `${printable(info.name, NAME_CHARS)}: ${plural(info.items, 'item')}${Number.isNaN(seconds) ? '' : ` in ${formatDuration(seconds)}`}${rate}${peers}${failures}`
}

interface JsonDocument {
  open(): Promise<void>
  fail(error: MeshError): Promise<number>
  close(run: Run, end: End): Promise<void>
}

/** The document of --json, streamed: { job, results?, state, items, done, failed, … }. */
function jsonDocument(
  context: Context,
  outSink: Sink,
  options: FollowOptions,
  toFile: boolean,
): JsonDocument {
  const sink = toFile ? openStdoutSink(context) : outSink
  return {
    async open() {
      if (!toFile) await sink.write(`{"job":${JSON.stringify(options.job.id)},"results":[`)
    },
    async fail(error) {
      await sink.write(`],"error":${JSON.stringify(errorDocument(error))}}\n`)
      await sink.flush()
      return exitCodeOf(error.code)
    },
    async close(run, end) {
      const { info, error } = end
      const rest = {
        ...(toFile ? { job: info.id, out: options.out } : {}),
        ...(options.errors === undefined ? {} : { errorsFile: options.errors }),
        name: info.name,
        state: info.state,
        items: info.items,
        done: info.done,
        failed: run.teller.count,
        failures: run.teller.first.map(failureRecord),
        seconds: secondsOf(info, context.wallClock()),
        peers: info.peers,
        ...(run.interrupt.code === undefined ? {} : { interrupted: true }),
        ...(error === undefined ? {} : { error: errorDocument(error) }),
      }
      const text = JSON.stringify(rest)
      await sink.write(toFile ? `${text}\n` : `],${text.slice(1)}\n`)
      await sink.flush()
    },
  }
}

async function closeAll(...sinks: readonly Sink[]): Promise<void> {
  for (const sink of sinks) {
    try {
      await sink.close()
    } catch (error) {
      // A closed pipe has been told by its exit code; a full disk has not.
      if (isMeshError(error)) throw error
    }
  }
}
