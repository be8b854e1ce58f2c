import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, existsSync, mkdirSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { connectMesh, type Mesh } from '../../../src/index.ts'
import type { ChaosNetwork } from './network.ts'

/** The folder that holds dist/: this file runs from the sources and from dist/. */
export const ROOT = rootFolder()
const MESH = join(ROOT, 'dist', 'cli', 'main.js')
const READY_TIMEOUT_MS = 40_000
const LEAVE_TIMEOUT_MS = 15_000

/** A peer of the run: a folder that one process after the other runs on. */
export interface SwarmPeer {
  readonly index: number
  readonly dataDir: string
  readonly log: string
  child: ChildProcess | undefined
  stopped: boolean
  starts: number
}

/** Real `mesh join` processes in a network that can be cut, all ended by `close()`. */
export class Swarm {
  readonly peers: readonly SwarmPeer[]
  /** Told to end. */
  private readonly ending = new WeakSet<ChildProcess>()
  private readonly names = new Map<number, string>()
  private readonly network: ChaosNetwork
  private ticket: string | undefined

  constructor(network: ChaosNetwork, folder: string) {
    this.network = network
    if (!existsSync(MESH)) throw new Error(`${MESH} is missing: run \`npm run build\` first`)
    mkdirSync(join(folder, 'logs'), { recursive: true })
    this.peers = network.places.map((_, index) => ({
      index,
      dataDir: join(folder, `peer-${index}`),
      log: join(folder, 'logs', `peer-${index}.log`),
      child: undefined,
      stopped: false,
      starts: 0,
    }))
  }

  /** The process id of a peer that runs. */
  pid(index: number): number {
    const pid = this.peers[index]!.child?.pid
    if (pid === undefined) throw new Error(`peer ${index} does not run`)
    return pid
  }

  /** Lets others join, once a peer has been started. */
  get someTicket(): string {
    if (this.ticket === undefined) throw new Error('no peer was started yet')
    return this.ticket
  }

  /** Which peer a process was. */
  nameOf(pid: number): string {
    return this.names.get(pid) ?? `process ${pid}`
  }

  /** Runs and answers: neither killed nor stopped. */
  isUp(index: number): boolean {
    const { child, stopped } = this.peers[index]!
    return child !== undefined && !stopped
  }

  /** Starts `mesh join` on the peer's folder; resolves when it is ready. */
  async start(index: number, cores = 1): Promise<void> {
    const peer = this.peers[index]!
    const place = this.network.places[index]!
    const first = peer.starts === 0
    peer.starts += 1
    const ticket = first && this.ticket !== undefined ? [this.ticket] : []
    const own = ['--data', peer.dataDir, '--name', `peer-${index}`, '--cores', String(cores)]
    const flags = ['--no-mdns', '--json', '--verbose', ...place.flags]
    const [command, args] = place.command(process.execPath, [
      ...[MESH, 'join', ...ticket, ...own],
      ...flags,
    ])
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    peer.child = child
    peer.stopped = false
    this.names.set(child.pid ?? 0, `peer ${index}, start ${peer.starts}`)
    living.add(child)
    const log = createWriteStream(peer.log, { flags: 'a' })
    log.write(`--- start ${peer.starts}, process ${child.pid}, ${new Date().toISOString()}\n`)
    child.stdout!.pipe(log, { end: false })
    child.stderr!.pipe(log, { end: false })
    child.once('exit', (code, signal) => {
      log.end(`--- ended: ${signal ?? code} ${new Date().toISOString()}\n`)
      living.delete(child)
      if (peer.child === child) peer.child = undefined
    })
    await this.network.occupied(index, child.pid)
    try {
      const found = await printed(child, /mesh1[0-9A-Za-z]+/)
      this.ticket ??= found
    } catch (error) {
      // The next fault came before it was ready.
      if (!this.ending.has(child)) throw error
    }
  }

  async kill(index: number): Promise<void> {
    const { child } = this.peers[index]!
    if (child === undefined) return
    const exited = once(child, 'exit')
    this.ending.add(child)
    child.kill('SIGKILL')
    await exited
    await this.network.occupied(index, undefined)
  }

  /** Ctrl-C: a clean leave. */
  async leave(index: number): Promise<void> {
    const { child } = this.peers[index]!
    if (child === undefined) return
    const exited = once(child, 'exit')
    this.ending.add(child)
    child.kill('SIGINT')
    const timer = setTimeout(() => child.kill('SIGKILL'), LEAVE_TIMEOUT_MS)
    await exited
    clearTimeout(timer)
    await this.network.occupied(index, undefined)
  }

  /** SIGSTOP; with its workers, as when the machine sleeps, or the peer's process alone. */
  async stop(index: number, workersToo: boolean): Promise<void> {
    const peer = this.peers[index]!
    const pid = this.pid(index)
    peer.stopped = true
    process.kill(pid, 'SIGSTOP')
    if (workersToo) for (const worker of await childrenOf(pid)) signal(worker, 'SIGSTOP')
  }

  async continue(index: number): Promise<void> {
    const peer = this.peers[index]!
    const { child } = peer
    if (child?.pid === undefined) return
    for (const worker of await childrenOf(child.pid)) signal(worker, 'SIGCONT')
    signal(child.pid, 'SIGCONT')
    peer.stopped = false
  }

  cut(index: number): Promise<void> {
    return this.network.cut(index)
  }

  heal(index: number): Promise<void> {
    return this.network.heal(index)
  }

  /** Talks to a peer through its control socket; `stop()` of the handle lets go of it. */
  connect(index: number): Promise<Mesh> {
    return connectMesh({ dataDir: this.peers[index]!.dataDir })
  }

  async close(): Promise<void> {
    for (const peer of this.peers) {
      if (peer.child === undefined) continue
      if (peer.stopped) await this.continue(peer.index)
      await this.kill(peer.index)
    }
    await this.network.close()
  }
}

const living = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of living) child.kill('SIGKILL')
})

function rootFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself.
  }
}

/** From /proc (Linux); elsewhere none, and a stop is that of the peer alone. */
async function childrenOf(pid: number): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid)
      found.push(Number(name))
  }
  return found
}

function printed(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const timer = setTimeout(() => fail('is not ready'), READY_TIMEOUT_MS)
    const fail = (what: string): void => {
      clearTimeout(timer)
      reject(new Error(`a peer ${what}, having printed: ${text}`))
    }
    const take = (chunk: Buffer): void => {
      text += chunk.toString()
      const match = pattern.exec(text)
      if (match === null) return
      clearTimeout(timer)
      child.stdout?.off('data', take)
      resolve(match[0])
    }
    child.stdout?.on('data', take)
    child.once('exit', (code, name) => fail(`ended with ${name ?? code}`))
  })
}
