import { MeshError, type MeshErrorCode } from '../../src/base/errors.ts'
import type { Context } from './context.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import { printable } from './format.ts'
import { styleFor } from './style.ts'

/** A second line that says what to do, where the message alone does not. */
const HINTS: Partial<Record<MeshErrorCode, string>> = {
  ERR_MESH_NO_PEER_RUNNING: 'start one with `mesh join`, or name its folder with --data',
  ERR_MESH_JOB_UNKNOWN: '`mesh jobs` lists the jobs that are known here',
  ERR_MESH_JOB_AMBIGUOUS: 'give more characters of the id, or `last` for the newest',
  ERR_MESH_TICKET_DAMAGED: 'copy the whole line that `mesh ticket` prints on a peer of that mesh',
  ERR_MESH_TICKET_MISMATCH:
    'use another folder for another mesh: mesh join TICKET --data DIR; one folder belongs to one mesh',
  ERR_MESH_INTERNAL:
    'this is a fault of Meshwork: run it again with --verbose and report what it prints',
}

export interface FailureView {
  readonly json: boolean
  readonly verbose: boolean
}

/** Tells the user of an error that ended a command, once, and returns the exit code. */
export async function reportFailure(
  context: Context,
  error: unknown,
  view: FailureView,
): Promise<number> {
  const known = asMeshError(error)
  if (view.json) {
    context.stdout.write(`${JSON.stringify({ error: errorDocument(known) })}\n`)
    if (view.verbose) context.stderr.write(`${storyOf(known)}\n`)
    return exitCodeOf(known.code)
  }
  const style = await styleFor(context, context.stderr)
  const message = printableLines(known.message)
  const code = view.verbose ? ` (${known.code})` : ''
  context.stderr.write(`${style.red('mesh:')} ${message}${code}\n`)
  const hint = HINTS[known.code]
  if (hint !== undefined && !known.message.includes(hint)) {
    context.stderr.write(`${style.dim(`      ${hint}`)}\n`)
  }
  if (view.verbose) context.stderr.write(`${style.dim(storyOf(known))}\n`)
  return exitCodeOf(known.code)
}

/** A usage error of the command line itself: what commander found, with the way to the help. */
export function reportUsage(
  context: Context,
  message: string,
  command: string,
  json: boolean,
): number {
  if (json) {
    const document = { error: { code: 'ERR_MESH_OPTION_INVALID', message, details: {} } }
    context.stdout.write(`${JSON.stringify(document)}\n`)
  } else {
    context.stderr.write(`mesh: ${message}\n      \`${command} --help\` shows what it takes\n`)
  }
  return EXIT.usage
}

export function errorDocument(error: MeshError): Record<string, unknown> {
  return { code: error.code, message: error.message, details: plainDetails(error.details) }
}

/** Any thrown thing as a MeshError: what is not one is a fault of ours, or the operating system's word. */
export function asMeshError(error: unknown): MeshError {
  if (error instanceof Error && error.name === 'MeshError') return error as MeshError
  if (error instanceof Error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOSPC') {
      return new MeshError('ERR_MESH_DISK_FULL', `the disk is full: ${error.message}`, {
        cause: error,
      })
    }
    return new MeshError('ERR_MESH_INTERNAL', `unexpected ${error.name}: ${error.message}`, {
      cause: error,
    })
  }
  return new MeshError('ERR_MESH_INTERNAL', `unexpected throw of ${String(error)}`)
}

/** Details are plain data by contract; what JSON cannot say must not hide the error itself. */
function plainDetails(details: Readonly<Record<string, unknown>>): unknown {
  try {
    return JSON.parse(
      JSON.stringify(details, (_, value: unknown) =>
        typeof value === 'bigint' ? String(value) : value,
      ),
    )
  } catch {
    return {}
  }
}

function storyOf(error: MeshError): string {
  const lines: string[] = []
  let at: unknown = error
  for (let depth = 0; at instanceof Error && depth < 5; depth += 1) {
    lines.push(`${depth === 0 ? '' : 'caused by: '}${at.stack ?? at.message}`)
    at = at.cause
  }
  return lines.join('\n')
}

function printableLines(text: string): string {
  return text
    .split('\n')
    .map((line) => printable(line))
    .join('\n')
}
