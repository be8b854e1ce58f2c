/** Starts a worker's process: in its own group, under its caps, with a clean environment, and so that it dies with this one. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setPriority, tmpdir } from 'node:os'
import type { Duplex, Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../base/errors.ts'
import { MIN_MEMORY_BYTES, NODE_OVERHEAD_BYTES, V8_RESERVED_BYTES } from './limits.ts'
import { COMMAND_FD, LIFELINE_FD, REPORT_FD } from './worker/frames.ts'

/** What a task may see of the peer's environment: how to find programs and format text, no secrets. */
const KEPT_ENV = [
  ...['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TMPDIR', 'LANG', 'LANGUAGE', 'TZ'],
  ...['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR'],
  ...['SystemRoot', 'SYSTEMROOT', 'windir', 'PATHEXT', 'TEMP', 'TMP', 'USERPROFILE', 'COMSPEC'],
]
/** Weaker than a peer, so that the peer's event loop goes first; still all of an idle core. */
const NICENESS = 5

/**
 * $0 is the data cap in KiB (0: none), "$@" the command. A helper in the same process group sleeps on the lifeline, which only the peer
 * holds open: when the peer is gone, even by SIGKILL, it kills the group, also a task that spins. `ulimit -d` (RLIMIT_DATA) is
 * the cap that holds for ArrayBuffers and WebAssembly too; where the system knows no such limit, --max-old-space-size remains.
 */
const LAUNCHER = `{ read -r line; kill -9 -$$; } <&${LIFELINE_FD} ${COMMAND_FD}<&- ${REPORT_FD}>&- ${LIFELINE_FD}<&- >/dev/null 2>&1 &
exec ${LIFELINE_FD}<&-
ulimit -c 0
[ "$0" = 0 ] || ulimit -d "$0" 2>/dev/null
exec "$@"`

export interface WorkerChannels {
  readonly child: ChildProcess
  readonly stdout: Readable
  readonly stderr: Readable
  readonly commands: Writable
  readonly reports: Readable
  /** Destroy it once the process has ended, and the helper goes too. */
  readonly lifeline: Duplex
}

/** The worker's entry: next to this file when built; from the sources (tests), the one in dist/. */
export function workerEntry(): string {
  const here = import.meta.url
  if (!here.endsWith('.ts')) return fileURLToPath(new URL('./worker/main.js', here))
  const entry = fileURLToPath(new URL('../../dist/src/runtime/worker/main.js', here))
  if (!existsSync(entry)) {
    throw new MeshError('ERR_MESH_INTERNAL', `${entry} is missing: run \`npm run build\` first`)
  }
  return entry
}

/** Never throws for a process that cannot start: `child` emits 'error'. */
export function launchWorker(options: { memoryBytes: number; nice?: boolean }): WorkerChannels {
  const memoryBytes = Math.max(MIN_MEMORY_BYTES, options.memoryBytes)
  const heapMiB = Math.floor(memoryBytes / 2 ** 20)
  const dataBytes = memoryBytes + NODE_OVERHEAD_BYTES + V8_RESERVED_BYTES
  return launchGroup([`--max-old-space-size=${heapMiB}`, workerEntry()], {
    dataBytes,
    env: cleanEnvironment(process.env),
    nice: options.nice !== false,
  })
}

/**
 * Node with these arguments, in a process group that dies with this process. `dataBytes` caps its data segment (0: no cap).
 * Never throws for a process that cannot start: `child` emits 'error'.
 */
export function launchGroup(
  nodeArgs: readonly string[],
  options: { dataBytes: number; env: NodeJS.ProcessEnv; nice: boolean },
): WorkerChannels {
  const capKiB = Math.ceil(options.dataBytes / 1024)
  const [command, args] =
    process.platform === 'win32'
      ? [process.execPath, nodeArgs]
      : ['/bin/sh', ['-c', LAUNCHER, String(capKiB), process.execPath, ...nodeArgs]]
  const child = spawn(command, args, {
    cwd: tmpdir(),
    env: options.env,
    // Its own process group: a task that signals its group does not reach us, and we can end all it started.
    detached: process.platform !== 'win32',
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
    windowsHide: true,
  })
  if (options.nice && child.pid !== undefined) lowerPriority(child.pid)
  const stdio: readonly unknown[] = child.stdio
  return {
    child,
    stdout: child.stdout!,
    stderr: child.stderr!,
    commands: stdio[COMMAND_FD] as Writable,
    reports: stdio[REPORT_FD] as Readable,
    lifeline: stdio[LIFELINE_FD] as Duplex,
  }
}

/** SIGKILL for the process and all that it started. */
export function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    if (process.platform === 'win32') child.kill('SIGKILL')
    else process.kill(-child.pid, 'SIGKILL')
  } catch {
    // ESRCH: it has ended by itself.
  }
}

export function cleanEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(env)) {
    if (KEPT_ENV.includes(name) || name.startsWith('LC_')) kept[name] = value
  }
  return kept
}

function lowerPriority(pid: number): void {
  try {
    setPriority(pid, NICENESS)
  } catch {
    // A system that forbids it: the worker competes as an equal.
  }
}

let guarded = false
/** A task may send its parent SIGUSR1, which opens Node's inspector and with it this process: take the signal for ourselves. */
export function guardInspector(): void {
  if (guarded || process.platform === 'win32') return
  guarded = true
  process.on('SIGUSR1', () => {})
}
