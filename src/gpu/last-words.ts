/** How a process of this room ended, in words. */
export function howItEnded(
  exitCode: number | null,
  signal: NodeJS.Signals | null,
  stderr: string,
): string {
  const how = signal === null ? `it ended with code ${exitCode}` : `it was ended by ${signal}`
  const last = lastWords(stderr)
  return last === '' ? how : `${how}; its last words: ${last.slice(0, 300)}`
}

/** What it said of its end: the error that Node shows with where it was thrown, else the last line, which a driver prints before it aborts. */
function lastWords(stderr: string): string {
  const lines = stderr.split('\n').map((line) => line.trim())
  const shown = lines.filter((line) => line !== '')
  const error = lines.findLast((line) => /^(Uncaught )?\w*Error( \[\w+\])?: ./.test(line))
  const isNodes = /^Node\.js v\d/.test(shown.at(-1) ?? '')
  return (isNodes ? error : undefined) ?? shown.at(-1) ?? ''
}
