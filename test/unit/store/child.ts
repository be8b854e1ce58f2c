import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { onTestFinished } from 'vitest'

const here = fileURLToPath(new URL('.', import.meta.url))
const root = fileURLToPath(new URL('../../..', import.meta.url))

/** Bundles a script of this folder for a process of its own: Node 20 runs no TypeScript. Remove it after. */
export async function buildScript(name: string): Promise<string> {
  // Inside the checkout, so that the packages it leaves out are found.
  const outfile = join(root, 'node_modules/.cache', `${name}-${randomBytes(6).toString('hex')}.mjs`)
  await build({
    entryPoints: [join(here, `${name}.ts`)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'error',
  })
  return outfile
}

export function removeScript(path: string): Promise<void> {
  return rm(path, { force: true })
}

export interface Child {
  readonly pid: number
  /** The next line of its stdout; undefined at its end. */
  line(): Promise<string | undefined>
  /** Lines that are there already, and all until its end. */
  rest(): Promise<string[]>
  send(line: string): void
  /** SIGKILL, or another signal; resolves when it has ended. */
  kill(signal?: NodeJS.Signals): Promise<void>
  readonly ended: Promise<void>
}

/** Starts a built script; it is killed at the end of the test. */
export function startChild(script: string, ...args: string[]): Child {
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(
    process.execPath,
    [script, ...args],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  child.stdin.on('error', () => {})
  const kill = async (signal: NodeJS.Signals = 'SIGKILL'): Promise<void> => {
    child.kill(signal)
    await ended
  }
  const line = async (): Promise<string | undefined> => {
    const next = await lines.next()
    return next.done === true ? undefined : next.value
  }
  onTestFinished(() => kill())
  return {
    pid: child.pid!,
    line,
    rest: async () => {
      const all: string[] = []
      for (let next = await line(); next !== undefined; next = await line()) all.push(next)
      return all
    },
    send: (text) => void child.stdin.write(`${text}\n`),
    kill,
    ended,
  }
}
