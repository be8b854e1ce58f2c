import type { Context } from './context.ts'

/** Prints the one JSON document of --json. */
export function printJson(context: Context, document: unknown): void {
  context.stdout.write(`${JSON.stringify(document)}\n`)
}

/** Notes for people go to stderr; none with --json or --quiet. */
export function note(context: Context, text: string, silent = false): void {
  if (!silent) context.stderr.write(`mesh: ${text}\n`)
}
