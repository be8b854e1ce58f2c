import type { Command } from 'commander'
import type { LogLine } from '../../src/node/types.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import type { App, Context } from '../lib/context.ts'
import { EXIT } from '../lib/exit-codes.ts'
import { printable } from '../lib/format.ts'
import { listenForInterrupt } from '../lib/interrupt.ts'
import { type CommonOptions, withCommonOptions } from '../lib/options.ts'
import { attachOnly, withSession } from '../lib/session.ts'
import { openStdoutSink } from '../lib/sink.ts'
import { type Style, styleFor } from '../lib/style.ts'

interface LogsOptions extends CommonOptions {
  readonly follow?: boolean
}

export function register(program: Command, app: App): void {
  withCommonOptions(
    program
      .command('logs')
      .description("what a job's task printed, from every peer that still holds it")
      .argument('<job>', 'a job id, a unique prefix of one (4 characters or more), or `last`')
      .option('-f, --follow', 'wait for more until the job ends'),
  ).action(async (job: string, options: LogsOptions) =>
    app.finish(await logs(app.context, job, options)),
  )
}

async function logs(context: Context, id: string, options: LogsOptions): Promise<number> {
  return await withSession(await attachOnly(context, options), async ({ backend }) => {
    const info = await backend.job(id)
    const style = await styleFor(context, context.stdout)
    const interrupt = listenForInterrupt(context)
    const sink = openStdoutSink(context)
    try {
      const follow = options.follow === true
      const lines = backend.logs(info.id as JobId, { follow, signal: interrupt.signal })
      let first = true
      if (options.json) await sink.write('[')
      for await (const line of lines) {
        if (options.json) await sink.write(`${first ? '' : ','}${JSON.stringify(line)}`)
        else await sink.write(`${logText(line, style)}\n`)
        if (follow) await sink.flush()
        first = false
      }
      if (options.json) await sink.write(']\n')
    } catch (error) {
      if (!interrupt.signal.aborted) throw error
      if (options.json) await sink.write(']\n')
    } finally {
      interrupt.dispose()
      await sink.close()
    }
    return EXIT.ok
  })
}

/** '12:03:04.123  3fa9c1d2  item 17  text'; stderr in yellow. */
export function logText(line: LogLine, style: Style): string {
  const text = printable(line.text)
  const where = line.item === undefined ? '' : `  item ${line.item}`
  const head = `${line.at.slice(11, 23)}  ${line.peer.slice(0, 8)}${where}`
  return `${style.dim(head)}  ${line.stream === 'stderr' ? style.yellow(text) : text}`
}
