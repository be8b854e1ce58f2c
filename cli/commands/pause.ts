import type { Command } from 'commander'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { reached } from '../lib/reached.ts'
import { attachOrRead, dataDirOf, withSession } from '../lib/session.ts'
import { unknownJob } from '../lib/which-job.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('pause')
      .description('no item of a job starts any more until `mesh resume`; what runs ends')
      .argument('<job>', 'a job id, a unique prefix of one (4 characters or more), or `last`'),
  ).action(async (job: string, options: CommonOptions) =>
    app.finish(await pause(app.context, job, options)),
  )
}

async function pause(context: Context, id: string, options: CommonOptions): Promise<number> {
  const session = await attachOrRead(context, await dataDirOf(context, options))
  if (session === undefined) throw unknownJob(id)
  return await withSession(session, async ({ backend }) => {
    const job = await backend.pause(id)
    if (options.json) printJson(context, { paused: job })
    else {
      const short = job.slice(0, 8)
      note(context, `job ${short} is paused; \`mesh resume ${short}\` lets it go on`)
      for (const line of await reached(session)) note(context, line)
    }
    return EXIT.ok
  })
}
