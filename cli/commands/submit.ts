import type { Command } from 'commander'
import type { Job } from '../../src/client/job.ts'
import type { App, Context, PeerOptions } from '../lib/context.ts'
import { type ControlFlags, controlOptions, withControlOptions } from '../lib/control-options.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { tellHandOn } from '../lib/hand-on.ts'
import { chooseInput, type InputFlags } from '../lib/input.ts'
import { type Interrupt, listenForInterrupt } from '../lib/interrupt.ts'
import { localTime, untilText } from '../lib/job-view.ts'
import type { Library, SubmitOptions } from '../lib/library.ts'
import {
  type CommonOptions,
  coresOption,
  type GpuFlags,
  gpuOptions,
  parseArgs,
  withCommonOptions,
  withPeerOptions,
} from '../lib/options.ts'
import { note } from '../lib/output.ts'
import { type PictureFlags, pictureOptions, withPictureOptions } from '../lib/picture.ts'
import { attachOrStart, dataDirOf, type Session, withSession } from '../lib/session.ts'
import { prepareSubmission, type Submission } from '../lib/submission.ts'
import { followSubmitted, tellDetached, tellSubmitted } from '../lib/submitted.ts'

interface SubmitFlags extends CommonOptions, InputFlags, GpuFlags, PictureFlags, ControlFlags {
  readonly args?: string
  readonly out?: string
  readonly errors?: string
  readonly quiet?: boolean
  readonly ticket?: string
  readonly cores?: number
  readonly name?: string
  readonly mdns: boolean
}

export function register(program: Command, app: App): void {
  const command = program
    .command('submit')
    .description('run a task over items on every core of the mesh')
    .argument(
      '<task>',
      'a TypeScript or JavaScript file whose default export is defineTask({ … }), defineKernel({ … }) or a composition',
    )
    .argument('[input]', '- reads items from a pipe: NDJSON if the first line is, else lines')
    .option('--range <A..B>', 'the whole numbers from A up to, not including, B')
    .option('--items <file>', 'NDJSON: one JSON value a line is one item (- is the pipe)')
    .option('--lines <file>', 'text: each line is one item, a string (- is the pipe)')
    .option(
      '--args <json>',
      "a JSON value for every item: ctx.args; a list, in a kernel's place of args",
    )
    .option(
      '--out <file>',
      'write the results here, not to stdout; of a kernel .png, .npy, .csv or .f32',
    )
    .option('--errors <file>', 'write failed items here, as NDJSON')
    .option('--detach', "print the job's id and leave it to the mesh")
    .option('-q, --quiet', 'no progress and no notes, only errors')
    .option('--ticket <ticket>', "join this mesh (needed once; the folder's own mesh by default)")
    .addOption(
      coresOption(0, 'cores to lend while no other peer runs here; 0 only submits (default: all)'),
    )
  withCommonOptions(withPeerOptions(withControlOptions(withPictureOptions(command)))).action(
    async (task: string, input: string | undefined, flags: SubmitFlags) =>
      app.finish(await submit(app.context, task, input, flags)),
  )
}

async function submit(
  context: Context,
  task: string,
  positional: string | undefined,
  flags: SubmitFlags,
): Promise<number> {
  const given = {
    task,
    source: chooseInput(flags, positional),
    options: submitOptions(context, flags),
  }
  const peer = peerOptions(flags)
  pictureOptions(flags)
  const { library } = await import('../lib/library.ts')
  // Before signals are listened for: a kernel's file is run here, and Ctrl-C must end it whatever it does.
  const submission = await prepareSubmission(library, given, flags)
  const interrupt = listenForInterrupt(context)
  try {
    const dataDir = await dataDirOf(context, flags)
    if (flags.ticket !== undefined) await library.checkTicket(flags.ticket)
    const session = await attachOrStart(context, dataDir, peer)
    return await withSession(
      session,
      async () => {
        if (!session.embedded && flags.ticket !== undefined) {
          await library.checkSameMesh(session.backend, flags.ticket)
        }
        return await run(context, session, library, { submission, flags, peer, interrupt })
      },
      () => tellHandOn(context, session.backend, flags.json === true),
    )
  } finally {
    interrupt.dispose()
  }
}

interface Work {
  readonly submission: Submission
  readonly flags: SubmitFlags
  readonly peer: Omit<PeerOptions, 'dataDir'>
  readonly interrupt: Interrupt
}

async function run(
  context: Context,
  session: Session,
  library: Library,
  work: Work,
): Promise<number> {
  const { flags, interrupt, submission } = work
  const silent = flags.json === true || flags.quiet === true
  if (interrupt.code !== undefined) return notSubmitted(context, interrupt.code)
  const submitted = await submitOrStop(context, session, library, work)
  if (submitted === undefined) return notSubmitted(context, interrupt.code ?? EXIT.interrupted)
  if (flags.detach === true) {
    const code = await tellDetached(context, session, submitted, flags)
    if (!silent && mayWait(submission)) await tellWaiting(context, session, submitted, submission)
    return code
  }
  tellSubmitted(context, submitted, silent)
  if (!silent && submitted.items > 0) await tellWaiting(context, session, submitted, submission)
  const follow = { flags, peer: work.peer, size: submission.kernel?.output }
  return await followSubmitted(context, session, library, submitted, follow, interrupt)
}

/** undefined when the user interrupted before there was a job. */
async function submitOrStop(
  context: Context,
  session: Session,
  library: Library,
  { submission, interrupt }: Work,
): Promise<Job | undefined> {
  // A pipe may stay silent for ever; closing it lets the reading of items end.
  const { task, source, options } = submission
  if (source !== undefined && source.kind !== 'range' && source.from === '-') {
    void interrupt.asked.then(() => context.stdin.destroy())
  }
  try {
    const withSignal = { ...options, signal: interrupt.signal }
    return await library.submit(context, session.backend, task, source, withSignal)
  } catch (error) {
    if (interrupt.code !== undefined) return undefined
    throw error
  }
}

function notSubmitted(context: Context, code: number): number {
  note(context, 'interrupted before the job was submitted: nothing runs')
  return code
}

/** It starts later, or not anywhere. */
function mayWait({ options }: Submission): boolean {
  return [options.startAt, options.startIn, options.requires].some((it) => it !== undefined)
}

/** Why nothing of it starts yet, if so. */
async function tellWaiting(
  context: Context,
  { backend }: Session,
  job: Job,
  submission: Submission,
): Promise<void> {
  const { kernel, options } = submission
  const info = mayWait(submission) ? await backend.job(job.id) : undefined
  if (typeof info?.startsAt === 'string') {
    const { startsAt } = info
    note(
      context,
      `it starts at ${localTime(startsAt)} (${untilText(startsAt, context.wallClock())})`,
    )
  }
  const needsGpu = kernel?.requires === 'gpu'
  const peers = (await backend.peers()).filter(
    (peer) => peer.slots > 0 && (peer.self || peer.connected),
  )
  const missing = info?.waitsFor ?? null
  if (peers.some((peer) => !needsGpu || peer.gpu !== null) && missing === null) return
  const why =
    peers.length === 0
      ? 'no peer lends cores yet'
      : missing === null
        ? `the kernel needs a GPU, and no peer has told of one yet`
        : `the job needs ${missing}, and no peer is there that has that`
  note(context, `${why}; the job starts when one does. On another machine run:`)
  const labels = Object.entries(options.requires?.labels ?? {})
  const flags =
    missing === null ? [] : labels.map(([name, value]) => ` --label ${wordOf(name, value)}`)
  note(context, `mesh join ${await backend.ticket()}${flags.join('')}`)
}

/** A label as a word of a command line. */
function wordOf(name: string, value: string): string {
  const text = value === '' ? name : `${name}=${value}`
  return /^[\w.=:@%+/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

function peerOptions(flags: SubmitFlags): Omit<PeerOptions, 'dataDir'> {
  return {
    mdns: flags.mdns,
    ...(flags.ticket === undefined ? {} : { ticket: flags.ticket }),
    ...(flags.cores === undefined ? {} : { cores: flags.cores }),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...gpuOptions(flags),
    ...(flags.verbose === undefined ? {} : { verbose: flags.verbose }),
  }
}

function submitOptions(context: Context, flags: SubmitFlags): SubmitOptions {
  return {
    ...(flags.args === undefined ? {} : { args: parseArgs(flags.args) }),
    ...controlOptions(context, flags),
  }
}
