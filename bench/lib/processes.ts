import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { joinMesh, type Mesh } from '../../src/index.ts'

const MESH = fileURLToPath(new URL('../../cli/main.js', import.meta.url))

export interface PeerProcess {
  readonly pid: number
  readonly dataDir: string
  readonly ticket: string
  readonly child: ChildProcess
  stop(): Promise<void>
}

const started = new Set<ChildProcess>()

/** A `mesh join` of this checkout as a real process on loopback, with a folder of its own. */
export async function startPeer(options: {
  cores: number
  ticket?: string
  name?: string
}): Promise<PeerProcess> {
  const dataDir = await mkdtemp(join(tmpdir(), 'mesh-bench-'))
  const args = ['join', ...(options.ticket === undefined ? [] : [options.ticket])]
  args.push('--data', dataDir, '--cores', String(options.cores), '--no-mdns', '--json')
  args.push('--listen', '/ip4/127.0.0.1/tcp/0', '--name', options.name ?? 'bench')
  const child = spawn(process.execPath, [MESH, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  started.add(child)
  const ticket = await readTicket(child)
  return {
    pid: child.pid!,
    dataDir,
    ticket,
    child,
    stop: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit')
        child.kill('SIGINT')
        await exited
      }
      started.delete(child)
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** Two peers of one core each as processes of their own, and a submitter here that lends nothing; all end with `use`. */
export async function withTwoPeers(
  use: (mesh: Mesh, first: PeerProcess, second: PeerProcess) => Promise<void>,
): Promise<void> {
  const first = await startPeer({ cores: 1, name: 'one' })
  const second = await startPeer({ cores: 1, ticket: first.ticket, name: 'two' })
  const dataDir = await mkdtemp(join(tmpdir(), 'mesh-bench-submit-'))
  const mesh = await joinMesh({
    dataDir,
    ticket: first.ticket,
    cores: 0,
    mdns: false,
    listen: ['/ip4/127.0.0.1/tcp/0'],
  })
  try {
    await use(mesh, first, second)
  } finally {
    await mesh.stop()
    await Promise.all([first.stop(), second.stop()])
    await rm(dataDir, { recursive: true, force: true })
  }
}

async function readTicket(child: ChildProcess): Promise<string> {
  let text = ''
  for await (const line of createInterface({ input: child.stdout! })) {
    text += `${line}\n`
    const match = /mesh1[0-9A-Za-z]+/.exec(text)
    if (match !== null) return match[0]
  }
  throw new Error(`mesh join ended early: ${text}`)
}

/** Resident memory of a process in MB, from /proc (Linux). */
export async function residentMb(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024
}

/** CPU seconds a process has used, from /proc (Linux). */
export async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}

export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN
}

process.on('exit', () => {
  for (const child of started) child.kill('SIGKILL')
})
