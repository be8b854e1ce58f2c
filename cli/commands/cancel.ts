import type { Command } from 'commander'
import { MeshError } from '../../src/base/errors.ts'
import type { MeshBackend } from '../../src/node/types.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { plural } from '../lib/format.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { reached } from '../lib/reached.ts'
import { attachOrRead, dataDirOf, withSession } from '../lib/session.ts'
import { unknownJob } from '../lib/which-job.ts'

interface CancelFlags extends CommonOptions {
  readonly reason?: string
}

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('cancel')
      .description('end jobs on all peers; what is done stays readable')
      .argument('<jobs...>', 'job ids, or unique prefixes of them, or `last`; `all`: every job')
      .option('--reason <text>', 'why, for whoever asks'),
  ).action(async (jobs: string[], flags: CancelFlags) =>
    app.finish(await cancel(app.context, jobs, flags)),
  )
}

async function cancel(
  context: Context,
  ids: readonly string[],
  flags: CancelFlags,
): Promise<number> {
  if (ids.includes('all') && ids.some((id) => id !== 'all')) {
    throw new MeshError('ERR_MESH_OPTION_INVALID', '`all` is every job: name jobs, or say all', {
      details: { option: 'jobs' },
    })
  }
  const session = await attachOrRead(context, await dataDirOf(context, flags))
  if (session === undefined) throw unknownJob(ids[0]!)
  return await withSession(session, async ({ backend }) => {
    const all = ids.includes('all')
    const cancelled = await backend.cancel(all ? 'all' : ids, flags.reason ?? '')
    if (flags.json) {
      printJson(context, { cancelled })
      return EXIT.ok
    }
    const names = cancelled.map((id) => id.slice(0, 8))
    if (names.length > 0) {
      note(context, `${plural(names.length, 'job')} cancelled: ${names.join(', ')}`)
      for (const line of await reached(session)) note(context, line)
    }
    const over = new Set(all ? [] : ids).size - cancelled.length
    if (over > 0) note(context, `${plural(over, 'job')} ${over === 1 ? 'was' : 'were'} over before`)
    if (all) await tellLeft(context, backend, cancelled.length)
    return EXIT.ok
  })
}

async function tellLeft(context: Context, backend: MeshBackend, cancelled: number): Promise<void> {
  // A peer inside another command ends when its job does, maybe before it is asked this.
  const jobs = await backend.jobs().catch(() => [])
  const left = jobs.filter(({ state }) => state === 'running' || state === 'paused').length
  if (left > 0) {
    note(context, `${plural(left, 'job')} left alone: this peer is no controller of them`)
  } else if (cancelled === 0) note(context, 'no job was running')
}
