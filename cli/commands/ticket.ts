import type { Command } from 'commander'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { note, printJson } from '../lib/output.ts'
import { attachOrRead, dataDirOf, noPeer, withSession } from '../lib/session.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('ticket')
      .description('print the ticket that lets another machine join this mesh'),
  ).action(async (options: CommonOptions) => app.finish(await ticket(app.context, options)))
}

async function ticket(context: Context, options: CommonOptions): Promise<number> {
  const dataDir = await dataDirOf(context, options)
  const session = await attachOrRead(context, dataDir)
  if (session === undefined) throw noPeer(dataDir)
  return await withSession(session, async ({ backend, embedded }) => {
    const text = await backend.ticket()
    if (options.json) printJson(context, { ticket: text })
    else context.stdout.write(`${text}\n`)
    if (embedded) {
      note(
        context,
        'no peer runs here now: the ticket works while one does (`mesh join`)',
        options.json,
      )
    }
    return EXIT.ok
  })
}
