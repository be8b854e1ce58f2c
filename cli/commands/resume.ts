import type { Command } from 'commander'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { localTime } from '../lib/job-view.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { reached } from '../lib/reached.ts'
import { attachOrRead, dataDirOf, withSession } from '../lib/session.ts'
import { unknownJob } from '../lib/which-job.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('resume')
      .description('let a paused job go on')
      .argument('<job>', 'a job id, a unique prefix of one (4 characters or more), or `last`'),
  ).action(async (job: string, options: CommonOptions) =>
    app.finish(await resume(app.context, job, options)),
  )
}

async function resume(context: Context, id: string, options: CommonOptions): Promise<number> {
  const session = await attachOrRead(context, await dataDirOf(context, options))
  if (session === undefined) throw unknownJob(id)
  return await withSession(session, async ({ backend }) => {
    const { state, startsAt } = await backend.job(id)
    const job = await backend.resume(id)
    const short = job.slice(0, 8)
    if (options.json) printJson(context, { resumed: job })
    else if (state === 'running') {
      const later = startsAt === null ? '' : `: it starts at ${localTime(startsAt)}`
      note(context, `job ${short} was not paused${later}`)
    } else {
      note(context, `job ${short} goes on`)
      for (const line of await reached(session)) note(context, line)
    }
    return EXIT.ok
  })
}
