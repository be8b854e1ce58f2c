import { isMeshError, MeshError } from '../../src/base/errors.ts'
import type { JobInfo } from '../../src/node/types.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import { openArrayOutput } from './array-output.ts'
import type { Context } from './context.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { tellFailures, tellOrigins } from './failures.ts'
import { lossTeller, pauseTeller, tellSleep } from './happenings.ts'
import type { Interrupt } from './interrupt.ts'
import { cancelledText } from './job-view.ts'
import type { Library } from './library.ts'
import { closeSink, openLineOutput } from './line-output.ts'
import { note } from './output.ts'
import { createProgress } from './progress.ts'
import type { End, FollowOptions, Run } from './run.ts'
import type { Session } from './session.ts'
import { isPipeClosed, nowhere, openFileSink } from './sink.ts'
import { openValueOutput } from './value-output.ts'

/**
 * Reads a job's results into --out or stdout with progress on stderr, until the job ends or the user interrupts.
 * Returns the exit code. Lines are written as they come; the array of a kernel is held, and written at the end.
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
  const errorSink =
    options.errors === undefined ? nowhere : await openFileSink(options.errors, '--errors')
  const plain = tellFailures({
    context,
    sink: errorSink,
    file: options.errors,
    silent: options.json,
    aside,
  })
  const origins = options.job.composed ? tellOrigins(plain) : undefined
  const teller = origins ?? plain
  const { size } = options
  const lines = { context, library, follow: options, teller, aside }
  const output =
    size !== undefined
      ? openArrayOutput({ size, items: options.job.items, teller })
      : options.job.composed
        ? await openValueOutput(lines, session.backend)
        : await openLineOutput(lines)
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
    output,
    tell: (text) => aside(() => note(context, text, silent)),
  }
  try {
    await output.open()
    const end = await stream(run).catch((error: unknown): Promise<number> => output.fail(error))
    if (typeof end === 'number') return end
    progress.end()
    await origins?.settle(run.job)
    teller.summary()
    return await output.finish(run, end)
  } finally {
    progress.end()
    if (run.session !== session) await run.session.backend.close()
    await output.close()
    await closeSink(errorSink)
  }
}

async function stream(run: Run): Promise<End> {
  const { options, interrupt } = run
  let broken = await streamOnce(run)
  while (
    isMeshError(broken, 'ERR_MESH_STOPPED') &&
    options.reopen &&
    interrupt.code === undefined
  ) {
    await takeUp(run, await options.reopen())
    broken = await streamOnce(run)
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
async function streamOnce(run: Run): Promise<unknown> {
  const { options, interrupt } = run
  const watching = new AbortController()
  const stop = (): void => watching.abort()
  interrupt.signal.addEventListener('abort', stop)
  const seen = options.wait ? watch(run, watching.signal) : Promise.resolve()
  const awake = options.wait ? tellSleep(run.context, run.tell) : () => {}
  try {
    const { wait, recompute = false } = options
    const reading = { order: 'item', wait, recompute, signal: interrupt.signal } as const
    for await (const batch of run.job.batches(reading)) {
      await run.output.write(batch)
      if (interrupt.signal.aborted) break
    }
    await run.output.flush()
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
  run.job = (await run.library.findJob(session.backend, run.options.job.id)).job
}

/** Feeds the bar, and hands on what waits in the buffer, so that a slow job's results do not wait for 64 KiB. */
async function watch(run: Run, signal: AbortSignal): Promise<void> {
  const tellLosses = lossTeller(run.tell)
  const tellPauses = pauseTeller(run.tell)
  try {
    for await (const info of run.session.backend.watch(run.job.id as JobId, signal)) {
      tellLosses(info)
      tellPauses(info)
      run.progress.update(info)
      await run.output.flush()
    }
  } catch {
    // Whatever is wrong with the peer or the sink, the stream of results meets it too, and tells.
  }
}

function verdict({ options, output, teller }: Run, info: JobInfo): End {
  if (info.state === 'cancelled') {
    const how = cancelledText(info) || 'cancelled'
    const error = new MeshError('ERR_MESH_JOB_CANCELLED', `job ${info.short} was ${how}`, {
      details: { job: info.id, ...(info.cancelled !== null && { cancelled: info.cancelled }) },
    })
    return { code: EXIT.failed, info, error }
  }
  if (!options.wait && output.present < (output.expected ?? info.items))
    return { code: EXIT.notYet, info }
  return { code: teller.count > 0 ? EXIT.failed : EXIT.ok, info }
}
