import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The built command, beside which the examples are built. */
const MESH = fileURLToPath(new URL('../../cli/main.js', import.meta.url))

const STOP_MS = 8_000

/** One `mesh join` that runs as a process of its own. */
export interface JoinedPeer {
  readonly name: string
  readonly ticket: string
  readonly pid: number
}

/** Starts real `mesh join` processes, and ends every one that it started, and no other, when asked to. */
export class JoinedPeers {
  readonly #children: ChildProcess[] = []
  #stopping = false

  /** Starts `mesh join` and waits for its ticket line; rejects with what it printed if it ends before. */
  async join(options: { name: string; dataDir: string; ticket?: string }): Promise<JoinedPeer> {
    if (this.#stopping) throw new Error('the demo is being stopped')
    const child = spawn(process.execPath, [MESH, ...joinArguments(options)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Not in the terminal's foreground group: Ctrl-C reaches the demo alone, which then ends its peers in order.
      detached: true,
    })
    this.#children.push(child)
    const ticket = await ticketOf(child, options.name)
    return { name: options.name, ticket, pid: child.pid! }
  }

  /** Asks every peer to leave, as Ctrl-C does; kills those that have not after 8 s. Safe to call twice. */
  async stop(): Promise<void> {
    this.#stopping = true
    await Promise.all(this.#children.map(endChild))
  }
}

function joinArguments(options: { name: string; dataDir: string; ticket?: string }): string[] {
  const args = ['join']
  if (options.ticket !== undefined) args.push(options.ticket)
  args.push('--data', options.dataDir, '--name', options.name, '--cores', '1')
  args.push('--listen', '/ip4/127.0.0.1/tcp/0', '--no-mdns')
  return args
}

function ticketOf(child: ChildProcess, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = ''
    const onText = (text: Buffer): void => {
      printed += text.toString()
      const ticket = /mesh join (mesh1\S+)/.exec(printed)?.[1]
      if (ticket !== undefined) resolve(ticket)
      // Only the start is of interest; what follows is read, so that the pipe never fills, and dropped.
      printed = printed.slice(-16_384)
    }
    child.stdout?.on('data', onText)
    child.stderr?.on('data', onText)
    child.once('error', reject)
    child.once('close', (code) => {
      reject(new Error(`${name} ended with code ${code} before it printed its ticket:\n${printed}`))
    })
  })
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = once(child, 'close')
  child.kill('SIGINT')
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await gone
  clearTimeout(timer)
}
