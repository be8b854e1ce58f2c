import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '..', '..', '..')
export const MESH = join(ROOT, 'dist', 'cli', 'main.js')
/** What keeps a peer on loopback. */
export const LOOPBACK = ['--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns']

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A temporary folder and the processes started for a test: `end()` ends them by their id and removes the folder. */
export class Scene {
  readonly folder = mkdtempSync(join(tmpdir(), 'meshwork-e2e-'))
  readonly #children: ChildProcess[] = []

  path(name: string): string {
    return join(this.folder, name)
  }

  start(
    command: string,
    args: readonly string[],
    options: { cwd?: string; env?: Record<string, string> } = {},
  ): ChildProcess {
    const child = spawn(command, args, {
      cwd: options.cwd ?? this.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that what it starts in turn can be ended with it.
      detached: true,
      env: { ...process.env, MESH_DATA: this.path('default-data'), ...options.env },
    })
    this.#children.push(child)
    return child
  }

  /** Runs to the end; a failure to start rejects, an exit code does not. */
  async run(
    command: string,
    args: readonly string[],
    options: { cwd?: string } = {},
  ): Promise<Finished> {
    const child = this.start(command, args, options)
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
    const [code] = (await once(child, 'close')) as [number | null]
    return {
      code,
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
    }
  }

  /** Node running a file of this repository. */
  node(file: string, args: readonly string[], options: { cwd?: string } = {}): Promise<Finished> {
    return this.run(process.execPath, [file, ...args], options)
  }

  /** Starts `mesh join` and waits for its ticket. */
  async join(name: string, ticket?: string): Promise<{ child: ChildProcess; ticket: string }> {
    const args = [MESH, 'join', ...(ticket === undefined ? [] : [ticket])]
    args.push('--data', this.path(name), '--name', name, '--cores', '1', ...LOOPBACK)
    const child = this.start(process.execPath, args)
    const line = await printed(child, /mesh join (mesh1\S+)/)
    return { child, ticket: line[1]! }
  }

  async end(): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
        const closed = once(child, 'close')
        interrupt(child, 'SIGINT')
        const timer = setTimeout(() => interrupt(child, 'SIGKILL'), 8_000)
        await closed
        clearTimeout(timer)
      }),
    )
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Signals a process that a scene started, and those it started in turn: what a terminal does on Ctrl-C. */
export function interrupt(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal)
  } catch {
    // It ended meanwhile.
  }
}

/** Resolves with the first match in what a process prints; rejects with all of it if the process ends without. */
export function printed(child: ChildProcess, pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    let text = ''
    const onText = (chunk: Buffer): void => {
      text += chunk.toString()
      const match = pattern.exec(text)
      if (match !== null) resolve(match)
    }
    child.stdout?.on('data', onText)
    child.stderr?.on('data', onText)
    child.once('error', reject)
    child.once('close', (code) =>
      reject(new Error(`ended with ${code}, without ${pattern}, having printed:\n${text}`)),
    )
  })
}
