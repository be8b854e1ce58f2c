import type { Command } from 'commander'
import type { Job } from '../../src/client/job.ts'
import type { App, Context, PeerOptions } from '../lib/context.ts'
import { type ControlFlags, controlOptions, withControlOptions } from '../lib/control-options.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { inFlags } from '../lib/flag-words.ts'
import { formatCount, plural } from '../lib/format.ts'
import { type Interrupt, listenForInterrupt } from '../lib/interrupt.ts'
import type { Library, SubmitOptions } from '../lib/library.ts'
import { ITEMS_MAPPED } from '../lib/limits.ts'
import {
  type CommonOptions,
  coresOption,
  type GpuFlags,
  gpuOptions,
  parseArgs,
  withCommonOptions,
  withPeerOptions,
} from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { attachOrStart, dataDirOf, holdsPeer, type Session, withSession } from '../lib/session.ts'
import { checkOutputs } from '../lib/sink.ts'
import { followSubmitted, tellDetached } from '../lib/submitted.ts'
import { unknownJob } from '../lib/which-job.ts'

interface RetryFlags extends CommonOptions, ControlFlags, GpuFlags {
  readonly out?: string
  readonly errors?: string
  readonly quiet?: boolean
  readonly cores?: number
  readonly name?: string
  readonly mdns: boolean
}

export function register(program: Command, app: App): void {
  const command = program
    .command('retry')
    .description('a new job over the items of a job that failed, with its task and its options')
    .argument('<job>', 'a job id, a unique prefix of one (4 characters or more), or `last`')
    .option('--args <json>', "a JSON value for every item, in place of the old job's: ctx.args")
    .option('--out <file>', 'write the results here, not to stdout')
    .option('--errors <file>', 'write failed items here, as NDJSON')
    .option('--detach', "print the new job's id and leave it to the mesh")
    .option('-q, --quiet', 'no progress and no notes, only errors')
    .addOption(
      coresOption(0, 'cores to lend while no other peer runs here; 0 only submits (default: all)'),
    )
  withCommonOptions(withPeerOptions(withControlOptions(command))).action(
    async (job: string, flags: RetryFlags) => app.finish(await retry(app.context, job, flags)),
  )
}

async function retry(context: Context, id: string, flags: RetryFlags): Promise<number> {
  const options: SubmitOptions = {
    ...(flags.args === undefined ? {} : { args: parseArgs(flags.args) }),
    ...controlOptions(context, flags),
  }
  await checkOutputs(flags)
  const { library } = await import('../lib/library.ts')
  const dataDir = await dataDirOf(context, flags)
  if (!holdsPeer(dataDir)) throw unknownJob(id)
  const interrupt = listenForInterrupt(context)
  try {
    const peer: Omit<PeerOptions, 'dataDir'> = {
      mdns: flags.mdns,
      ...gpuOptions(flags),
      ...(flags.cores === undefined ? {} : { cores: flags.cores }),
      ...(flags.name === undefined ? {} : { name: flags.name }),
      ...(flags.verbose === undefined ? {} : { verbose: flags.verbose }),
    }
    const session = await attachOrStart(context, dataDir, peer)
    return await withSession(session, () =>
      run(context, session, library, { id, options, flags, peer, interrupt }),
    )
  } finally {
    interrupt.dispose()
  }
}

interface Work {
  readonly id: string
  readonly options: SubmitOptions
  readonly flags: RetryFlags
  readonly peer: Omit<PeerOptions, 'dataDir'>
  readonly interrupt: Interrupt
}

async function run(
  context: Context,
  session: Session,
  library: Library,
  { id, options, flags, peer, interrupt }: Work,
): Promise<number> {
  const { job: old } = await library.findJob(session.backend, id)
  const made = await submitAgain(old, options, interrupt)
  if (made === 'interrupted') {
    note(context, 'interrupted before the job was submitted: nothing runs')
    return interrupt.code ?? EXIT.interrupted
  }
  const silent = flags.json === true || flags.quiet === true
  const short = old.id.slice(0, 8)
  if (made === undefined) {
    if (flags.json) printJson(context, { job: null })
    else note(context, `no item of job ${short} failed: nothing to do`, flags.quiet)
    return EXIT.ok
  }
  if (made.attached) {
    note(context, `job ${made.id.slice(0, 8)} was submitted before with this key`, silent)
  } else {
    const what = `${plural(made.items, 'item')} of job ${short}`
    note(context, `job ${made.id.slice(0, 8)} submitted, over ${what}`, silent)
  }
  if (!silent) for (const line of mappingLines(made.retried ?? [])) note(context, line)
  if (flags.detach === true) return await tellDetached(context, session, made, flags)
  return await followSubmitted(context, session, library, made, { flags, peer }, interrupt)
}

async function submitAgain(
  old: Job,
  options: SubmitOptions,
  interrupt: Interrupt,
): Promise<Job | undefined | 'interrupted'> {
  try {
    return await old.retry({ ...options, signal: interrupt.signal })
  } catch (error) {
    if (interrupt.code !== undefined) return 'interrupted'
    throw inFlags(error)
  }
}

/** 'item 0 of the new job was item 17', or of several in a row 'items 0 to 9 … were items 20 to 29'. */
export function mappingLines(items: readonly number[]): string[] {
  const runs: { readonly at: number; readonly item: number; count: number }[] = []
  for (const [at, item] of items.entries()) {
    const last = runs.at(-1)
    if (last !== undefined && last.item + last.count === item) last.count += 1
    else runs.push({ at, item, count: 1 })
  }
  const shown = runs
    .slice(0, ITEMS_MAPPED)
    .map(({ at, item, count }) =>
      count === 1
        ? `item ${formatCount(at)} of the new job was item ${formatCount(item)}`
        : `items ${span(at, count)} of the new job were items ${span(item, count)}`,
    )
  const more = runs.length - shown.length
  return more === 0
    ? shown
    : [...shown, `… and ${formatCount(more)} more; --json with --detach lists all of them`]
}

function span(first: number, count: number): string {
  return `${formatCount(first)} to ${formatCount(first + count - 1)}`
}
