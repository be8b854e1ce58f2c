import type { Command } from 'commander'
import type { Job } from '../../src/client/job.ts'
import { dataFlag, otherPeers } from '../lib/come-back.ts'
import type { App, Context, PeerOptions } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { followJob } from '../lib/follow.ts'
import { tellHandOn } from '../lib/hand-on.ts'
import { chooseInput, type InputFlags } from '../lib/input.ts'
import { type Interrupt, listenForInterrupt } from '../lib/interrupt.ts'
import type { Library, SubmitOptions } from '../lib/library.ts'
import { MAX_REPLICAS } from '../lib/limits.ts'
import {
  type CommonOptions,
  coresOption,
  type GpuFlags,
  gpuOptions,
  parseArgs,
  positiveNumber,
  wholeNumber,
  withCommonOptions,
  withPeerOptions,
} from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { attachOrStart, dataDirOf, reopenerOf, type Session, withSession } from '../lib/session.ts'
import { prepareSubmission, type Submission } from '../lib/submission.ts'

interface SubmitFlags extends CommonOptions, InputFlags, GpuFlags {
  readonly args?: string
  readonly out?: string
  readonly errors?: string
  readonly detach?: boolean
  readonly quiet?: boolean
  readonly ticket?: string
  readonly cores?: number
  readonly name?: string
  readonly mdns: boolean
  readonly chunkSize?: number
  readonly timeLimit?: number
  readonly memory?: number
  readonly retries?: number
  readonly maxItemsPerWorker?: number
  readonly replicas?: number
  readonly speculate: boolean
}

export function register(program: Command, app: App): void {
  const command = program
    .command('submit')
    .description('run a task over items on every core of the mesh')
    .argument(
      '<task>',
      'a TypeScript or JavaScript file whose default export is defineTask({ … }), or defineKernel({ … })',
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
    .option('--chunk-size <n>', 'items a worker takes at a time (default: by time)', wholeNumber(1))
    .option('--time-limit <seconds>', 'an item that runs longer fails', positiveNumber('seconds'))
    .option('--memory <MB>', 'memory cap of a worker', positiveNumber('megabytes'))
    .option(
      '--retries <n>',
      'run an item that threw so many times more (default: 0)',
      wholeNumber(0, 1_000),
    )
    .option('--max-items-per-worker <n>', 'replace a worker after so many items', wholeNumber(1))
    .option(
      '--replicas <n>',
      'peers that keep each result, 1 to 8 (default: 2)',
      wholeNumber(1, MAX_REPLICAS),
    )
    .option('--no-speculate', 'never run a second copy of what a slow peer still runs')
  withCommonOptions(withPeerOptions(command)).action(
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
  const given = { task, source: chooseInput(flags, positional), options: submitOptions(flags) }
  const peer = peerOptions(flags)
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
  if (flags.detach === true) return await detached(context, session, submitted, flags)
  note(context, `job ${submitted.id.slice(0, 8)} submitted`, silent)
  if (!silent && submitted.items > 0) await warnIfNobodyWorks(context, session, submission)
  const follow = {
    job: submitted,
    ...(submission.kernel === undefined ? {} : { size: submission.kernel.output }),
    wait: true,
    json: flags.json === true,
    quiet: flags.quiet === true,
    ...(await reopenerOf(context, session, work.peer)),
    ...(flags.out === undefined ? {} : { out: flags.out }),
    ...(flags.errors === undefined ? {} : { errors: flags.errors }),
  }
  return await followJob(context, session, library, follow, interrupt)
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

async function detached(
  context: Context,
  session: Session,
  { id, heldBy }: Job,
  flags: SubmitFlags,
): Promise<number> {
  if (flags.json) printJson(context, { job: id, heldBy })
  else context.stdout.write(`${id}\n`)
  const silent = flags.json === true || flags.quiet === true
  if (heldBy.length > 0) return EXIT.ok
  const where = await dataFlag(context, session.dataDir)
  if (session.embedded) {
    const why =
      (await otherPeers(session)) === 0
        ? 'no other peer is connected'
        : 'no other peer could take all of it'
    note(
      context,
      `${why}: the job is kept in ${session.dataDir} only, and runs when a peer does there: mesh join${where}`,
      silent,
    )
  } else {
    note(
      context,
      `no other peer has all of the job: it lives as long as the peer that runs here`,
      silent,
    )
  }
  return EXIT.ok
}

async function warnIfNobodyWorks(
  context: Context,
  { backend }: Session,
  { kernel }: Submission,
): Promise<void> {
  const needsGpu = kernel?.requires === 'gpu'
  const peers = (await backend.peers()).filter(
    (peer) => peer.slots > 0 && (peer.self || peer.connected),
  )
  if (peers.some((peer) => !needsGpu || peer.gpu !== null)) return
  const why =
    peers.length > 0
      ? `the kernel needs a GPU, and no peer has told of one yet`
      : 'no peer lends cores yet'
  note(context, `${why}; the job starts when one does. On another machine run:`)
  note(context, `mesh join ${await backend.ticket()}`)
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

function submitOptions(flags: SubmitFlags): SubmitOptions {
  return {
    ...(flags.args === undefined ? {} : { args: parseArgs(flags.args) }),
    ...(flags.chunkSize === undefined ? {} : { chunkSize: flags.chunkSize }),
    ...(flags.timeLimit === undefined ? {} : { timeLimit: flags.timeLimit }),
    ...(flags.memory === undefined ? {} : { memory: flags.memory }),
    ...(flags.retries === undefined ? {} : { retries: flags.retries }),
    ...(flags.maxItemsPerWorker === undefined
      ? {}
      : { maxItemsPerWorker: flags.maxItemsPerWorker }),
    ...(flags.replicas === undefined ? {} : { replicas: flags.replicas }),
    ...(flags.speculate ? {} : { speculate: false }),
    ...(flags.detach === undefined ? {} : { detach: flags.detach }),
  }
}
