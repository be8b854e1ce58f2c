import type { Command } from 'commander'
import { MeshError } from '../../src/base/errors.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { followJob } from '../lib/follow.ts'
import { listenForInterrupt } from '../lib/interrupt.ts'
import {
  type CommonOptions,
  coresOption,
  type GpuFlags,
  gpuOptions,
  withCommonOptions,
  withGpuOptions,
} from '../lib/options.ts'
import { type PictureFlags, pictureOptions, withPictureOptions } from '../lib/picture.ts'
import { attachOrStart, dataDirOf, holdsPeer, reopenerOf, withSession } from '../lib/session.ts'
import { checkOutputs } from '../lib/sink.ts'
import { checkResultFile } from '../lib/submission.ts'
import { unknownJob } from '../lib/which-job.ts'

interface ResultsFlags extends CommonOptions, GpuFlags, PictureFlags {
  readonly out?: string
  readonly errors?: string
  readonly wait: boolean
  readonly recompute?: boolean
  readonly quiet?: boolean
  readonly cores?: number
  readonly mdns: boolean
}

export function register(program: Command, app: App): void {
  const command = withPictureOptions(
    program
      .command('results')
      .description("a job's results, one line per item in item order; waits for a running job")
      .argument('<job>', 'a job id, a unique prefix of one (4 characters or more), or `last`')
      .option('--out <file>', 'write the results here, not to stdout')
      .option('--errors <file>', 'write failed items here, as NDJSON')
      .option('--no-wait', 'print what is there; exit 3 if the job has not finished')
      .option('--recompute', 'run the items again whose results are on no connected peer')
      .option('-q, --quiet', 'no progress and no notes, only errors')
      .addOption(
        coresOption(
          0,
          'cores to lend while no other peer runs here; 0 only collects (default: all)',
        ),
      )
      .option('--no-mdns', 'do not look for peers on the local network'),
  )
  withCommonOptions(withGpuOptions(command)).action(async (job: string, flags: ResultsFlags) =>
    app.finish(await results(app.context, job, flags)),
  )
}

async function results(context: Context, id: string, flags: ResultsFlags): Promise<number> {
  await checkOutputs(flags)
  const picture = pictureOptions(flags)
  const gpu = gpuOptions(flags)
  if (flags.recompute === true && !flags.wait) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      '--recompute waits for the items that it runs again: leave --no-wait out',
    )
  }
  const dataDir = await dataDirOf(context, flags)
  if (!holdsPeer(dataDir)) throw unknownJob(id)
  const interrupt = listenForInterrupt(context)
  try {
    const { library } = await import('../lib/library.ts')
    // An embedded peer works too: a job that stands still because nobody runs goes on.
    const cores = flags.wait ? flags.cores : 0
    const peer = { mdns: flags.mdns, ...gpu, ...(cores === undefined ? {} : { cores }) }
    const session = await attachOrStart(context, dataDir, peer)
    return await withSession(session, async ({ backend }) => {
      if (interrupt.code !== undefined) return interrupt.code ?? EXIT.interrupted
      const { job, size } = await library.findJob(backend, id)
      await checkResultFile(library, flags, size)
      const follow = {
        job,
        ...(size === null ? {} : { size }),
        wait: flags.wait,
        recompute: flags.recompute === true,
        json: flags.json === true,
        quiet: flags.quiet === true,
        ...picture,
        ...(await reopenerOf(context, session, peer)),
        ...(flags.out === undefined ? {} : { out: flags.out }),
        ...(flags.errors === undefined ? {} : { errors: flags.errors }),
      }
      return await followJob(context, session, library, follow, interrupt)
    })
  } finally {
    interrupt.dispose()
  }
}
