import { Command, CommanderError } from 'commander'
import { VERSION } from '../../src/base/version.ts'
import * as cancel from '../commands/cancel.ts'
import * as doctor from '../commands/doctor.ts'
import * as forget from '../commands/forget.ts'
import * as job from '../commands/job.ts'
import * as jobs from '../commands/jobs.ts'
import * as join from '../commands/join.ts'
import * as leave from '../commands/leave.ts'
import * as logs from '../commands/logs.ts'
import * as pause from '../commands/pause.ts'
import * as peers from '../commands/peers.ts'
import * as results from '../commands/results.ts'
import * as resume from '../commands/resume.ts'
import * as retry from '../commands/retry.ts'
import * as status from '../commands/status.ts'
import * as submit from '../commands/submit.ts'
import * as ticket from '../commands/ticket.ts'
import type { App, Context } from './context.ts'
import { EXIT } from './exit-codes.ts'
import { reportFailure, reportUsage } from './failure.ts'
import { isPipeClosed } from './sink.ts'

/** In the order of `mesh --help`: what a newcomer needs first. */
const COMMANDS = [
  join,
  submit,
  results,
  status,
  peers,
  jobs,
  job,
  logs,
  cancel,
  pause,
  resume,
  retry,
  forget,
  ticket,
  leave,
  doctor,
]

/** Runs one command line (without node and script); returns the exit code. Never throws. */
export async function runCli(argv: readonly string[], context: Context): Promise<number> {
  const view = { json: hasFlag(argv, '--json'), verbose: hasFlag(argv, '--verbose', '-v') }
  let code: number = EXIT.ok
  const program = buildProgram({ context, finish: (value) => (code = value) })
  if (argv.length === 0) {
    context.stderr.write(program.helpInformation())
    return EXIT.usage
  }
  try {
    await program.parseAsync([...argv], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return EXIT.ok
      return reportUsage(
        context,
        usageMessage(error.message),
        commandNamed(program, argv),
        view.json,
      )
    }
    if (isPipeClosed(error)) return EXIT.pipeClosed
    return await reportFailure(context, error, view)
  }
}

/** The whole command line, as commander knows it; tests compare it with docs/cli.md. */
export function buildProgram(app: App): Command {
  const program = new Command('mesh')
    .description('A peer-to-peer compute mesh: lend cores with `join`, use them with `submit`.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpCommand(false)
    .showSuggestionAfterError(true)
  for (const command of COMMANDS) command.register(program, app)
  program.addHelpText(
    'after',
    '\nExamples:\n' +
      '  mesh join                                  lend this machine; prints the ticket for others\n' +
      '  mesh submit task.ts --range 0..1000000     run it on every core of the mesh\n' +
      '  mesh results last --out results.ndjson     come back for the results\n',
  )
  const { stdout } = app.context
  for (const command of [program, ...program.commands]) {
    command.exitOverride()
    // What commander has to say of errors is said by reportUsage instead, once and as JSON where asked.
    command.configureOutput({
      writeOut: (text) => void stdout.write(text),
      writeErr: () => {},
      outputError: () => {},
      getOutHelpWidth: () => stdout.columns ?? 100,
      getErrHelpWidth: () => stdout.columns ?? 100,
    })
  }
  return program
}

/** "error: option '--cores <n>' argument '0' is invalid. must be…" -> "--cores must be…"; other messages lose their prefix. */
export function usageMessage(message: string): string {
  const text = message.replace(/^error: /, '').replaceAll('\n', ' ')
  const invalid =
    /^option '(?:-\w, )?(--[\w-]+)[^']*' argument '[\s\S]*?' is invalid\. ([\s\S]*)$/.exec(text)
  if (invalid !== null) return `${invalid[1]} ${invalid[2]}`
  return text
}

function commandNamed(program: Command, argv: readonly string[]): string {
  const name = argv[0]
  return program.commands.some((command) => command.name() === name) ? `mesh ${name}` : 'mesh'
}

function hasFlag(argv: readonly string[], ...flags: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end === -1 ? argv.length : end).some((word) => flags.includes(word))
}
