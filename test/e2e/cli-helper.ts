import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: string
  readonly err: string
}

export interface Running {
  readonly child: ChildProcess
  readonly pid: number
  /** What came on stdout and stderr so far. */
  out(): string
  err(): string
  /** Resolves when stdout (or stderr) matches; rejects when the process ends before. */
  saysOut(pattern: RegExp): Promise<RegExpExecArray>
  saysErr(pattern: RegExp): Promise<RegExpExecArray>
  readonly end: Promise<Finished>
}

/** Longest wait for words; shorter than a test may take, so that a failure shows what was said instead. */
const SAYS_MS = 40_000

/** Real `mesh` processes and temporary folders, all gone after `dispose()`. */
export class Bench {
  readonly dir: string
  private readonly running = new Set<ChildProcess>()

  private constructor(dir: string) {
    this.dir = dir
  }

  static async create(): Promise<Bench> {
    if (!existsSync(CLI)) throw new Error(`${CLI} is not built: run \`npm run build\` first`)
    return new Bench(await mkdtemp(join(tmpdir(), 'mesh-e2e-')))
  }

  path(name: string): string {
    return join(this.dir, name)
  }

  async file(name: string, text: string): Promise<string> {
    await writeFile(this.path(name), text)
    return this.path(name)
  }

  /** A task file; `body` is what run(item, ctx) does. */
  async task(name: string, body: string, more = ''): Promise<string> {
    return await this.file(
      `${name}.ts`,
      `import { defineTask } from 'meshwork'\nexport default defineTask({\n  name: '${name}',\n  ${more}\n  async run(item: any, ctx: any) {\n    ${body}\n  },\n})\n`,
    )
  }

  /** Starts `mesh …`; `stdin` undefined: closed at once. `clockHours`: its wall clock is so far ahead. */
  start(
    argv: readonly string[],
    options: { stdin?: string | 'open'; clockHours?: number } = {},
  ): Running {
    const { MESH_DATA: _, ...env } = process.env
    const child = spawn(process.execPath, [CLI, ...argv], {
      cwd: this.dir,
      env: { ...env, XDG_DATA_HOME: this.path('xdg'), ...wrongClock(options.clockHours) },
      stdio: 'pipe',
    })
    this.running.add(child)
    if (options.stdin !== 'open') child.stdin.end(options.stdin ?? '')
    const text = { out: '', err: '' }
    const waiting = new Set<() => void>()
    const take = (which: 'out' | 'err') => (chunk: Buffer) => {
      text[which] += chunk.toString()
      for (const look of waiting) look()
    }
    child.stdout.on('data', take('out'))
    child.stderr.on('data', take('err'))
    const end = new Promise<Finished>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => {
        this.running.delete(child)
        resolve({ code, signal, ...text })
      })
    })
    const says = (which: 'out' | 'err', pattern: RegExp): Promise<RegExpExecArray> =>
      new Promise((resolve, reject) => {
        const fail = (how: string): void => {
          const said = `${text.out}\n${text.err}`
          reject(new Error(`\`mesh ${argv.join(' ')}\` ${how} ${pattern}:\n${said}`))
        }
        const timer = setTimeout(() => fail('has not said'), SAYS_MS)
        const look = (): void => {
          const match = pattern.exec(text[which])
          if (match === null) return
          clearTimeout(timer)
          waiting.delete(look)
          resolve(match)
        }
        waiting.add(look)
        look()
        void end.then(() => {
          clearTimeout(timer)
          fail('ended without')
        })
      })
    return {
      child,
      pid: child.pid ?? -1,
      out: () => text.out,
      err: () => text.err,
      saysOut: (pattern) => says('out', pattern),
      saysErr: (pattern) => says('err', pattern),
      end,
    }
  }

  /** Runs `mesh …` to its end. */
  async mesh(argv: readonly string[], options: { stdin?: string } = {}): Promise<Finished> {
    return await this.start(argv, options).end
  }

  /** A peer that is ready, and its ticket. */
  join(folder: string, ...flags: string[]): Promise<Running & { readonly ticket: string }> {
    return this.joinWith({}, folder, ...flags)
  }

  async joinWith(
    options: { clockHours?: number },
    folder: string,
    ...flags: string[]
  ): Promise<Running & { readonly ticket: string }> {
    const folderFlags = ['--data', this.path(folder), '--name', folder]
    const listen = ['--no-mdns', '--listen', '/ip4/127.0.0.1/tcp/0']
    const peer = this.start(['join', ...flags, ...folderFlags, ...listen], options)
    const [, ticket] = await peer.saysOut(/^ {2}mesh join (\S+)$/m)
    return { ...peer, ticket: ticket! }
  }

  async dispose(): Promise<void> {
    for (const child of this.running) child.kill('SIGKILL')
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Date in every process that is started with this is wrong by so much. */
function wrongClock(hours: number | undefined): Record<string, string> {
  if (hours === undefined) return {}
  const code = `const R=Date,o=${hours * 3_600_000};globalThis.Date=class extends R{constructor(...a){a.length===0?super(R.now()+o):super(...a)}static now(){return R.now()+o}}`
  return { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` }
}

export function lines(text: string): unknown[] {
  return text
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown)
}
