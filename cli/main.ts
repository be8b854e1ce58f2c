#!/usr/bin/env node
import { EXIT } from './lib/exit-codes.ts'
import { processContext } from './lib/process-context.ts'
import { runCli } from './lib/program.ts'

process.on('uncaughtException', (error) => {
  process.stderr.write(`mesh: a fault of Meshwork itself; please report this:\n${error.stack}\n`)
  process.exit(EXIT.internal)
})
const code = await runCli(process.argv.slice(2), processContext())
// What a pipe has not taken yet must not be lost; then nothing that lingers (a socket, a timer) may hold the shell.
await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
process.exit(code)
