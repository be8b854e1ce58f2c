import type { Command } from 'commander'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { plural } from '../lib/format.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { attachOrRead, dataDirOf, withSession } from '../lib/session.ts'
import { unknownJob } from '../lib/which-job.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('forget')
      .description("drop this peer's copy of jobs that are over, their results too, now")
      .argument('<jobs...>', 'job ids, or unique prefixes of them (4 characters or more)'),
  ).action(async (jobs: string[], options: CommonOptions) =>
    app.finish(await forget(app.context, jobs, options)),
  )
}

async function forget(
  context: Context,
  ids: readonly string[],
  options: CommonOptions,
): Promise<number> {
  const session = await attachOrRead(context, await dataDirOf(context, options))
  if (session === undefined) throw unknownJob(ids[0]!)
  return await withSession(session, async ({ backend }) => {
    // All are looked up before any is dropped, so that a mistyped one costs nothing.
    const found: string[] = []
    for (const id of ids) found.push((await backend.job(id)).id)
    const forgotten: string[] = []
    for (const id of new Set(found)) forgotten.push(await backend.forget(id))
    if (options.json) printJson(context, { forgotten })
    else note(context, `${plural(forgotten.length, 'job')} forgotten here; other peers keep theirs`)
    return EXIT.ok
  })
}
