import type { Command } from 'commander'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { formatBytes } from '../lib/format.ts'
import { peerTable } from '../lib/job-view.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { printJson } from '../lib/output.ts'
import { attachOnly, withSession } from '../lib/session.ts'
import { styleFor } from '../lib/style.ts'

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('peers')
      .description('the peers of the mesh, this one too, and what each lends'),
  ).action(async (options: CommonOptions) => app.finish(await peers(app.context, options)))
}

async function peers(context: Context, options: CommonOptions): Promise<number> {
  return await withSession(await attachOnly(context, options), async ({ backend }) => {
    const list = await backend.peers()
    if (options.json) printJson(context, list)
    else context.stdout.write(peerTable(list, formatBytes, await styleFor(context, context.stdout)))
    return EXIT.ok
  })
}
