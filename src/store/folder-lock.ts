import { readFileSync } from 'node:fs'
import { mkdir, realpath, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Level } from 'level'
import { MeshError } from '../base/errors.ts'
import { parseObject, writeFileAtomic } from './atomic-file.ts'
import {
  damaged,
  diskFull,
  errorCode,
  isDiskFull,
  isReadOnly,
  readOnly,
  writeError,
} from './fs-errors.ts'

/** Who runs on a data folder. */
export interface LockOwner {
  readonly pid: number
  /** ISO 8601, by that process's clock. */
  readonly startedAt: string
  /** What it was started as: `mesh join`. */
  readonly role: string
  /** Its control socket, once it listens. */
  readonly socket?: string
}

export interface FolderLock {
  readonly dir: string
  readonly owner: LockOwner
  /** Tell others more about this process. */
  update(extra: { readonly socket?: string; readonly role?: string }): Promise<void>
  release(): Promise<void>
}

/** Folders locked by this process: the operating system does not keep a process from itself. */
const lockedHere = new Set<string>()

/** How long to wait for the owner of a held lock to write its name. */
const OWNER_WAIT_MS = 1000
const OWNER_POLL_MS = 20

/**
 * Takes a data folder for this process, and makes it (mode 0700) if need be. ERR_MESH_FOLDER_LOCKED names who has it.
 *
 * The lock itself is that of an empty LevelDB in `<dir>/lock`: a lock of the operating system, which ends with its process, however
 * that ends. So there is no stale lock to take over and no pid to mistake. `<dir>/peer.json` only says who the owner is.
 */
export async function lockFolder(
  dir: string,
  options: { readonly role?: string } = {},
): Promise<FolderLock> {
  await mkdir(dir, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw writeError(dir, error)
  })
  const name = await realpath(dir)
  if (lockedHere.has(name)) throw lockedError(dir, ownOwner(options.role), true)
  lockedHere.add(name)
  try {
    const guard = await openGuard(dir)
    return await ownLock(dir, name, guard, ownOwner(options.role))
  } catch (error) {
    lockedHere.delete(name)
    throw error
  }
}

/** Who runs, or ran, on a folder; `alive` tells which. undefined when nobody left a word. */
export async function readLock(dir: string): Promise<(LockOwner & { alive: boolean }) | undefined> {
  const stored = readOwner(dir)
  if (stored === undefined) return undefined
  const { startTicks, ...owner } = stored
  const ticks = processStart(owner.pid)
  const alive = ticks !== undefined && (startTicks === null || ticks === startTicks)
  return { ...owner, alive }
}

// ---------------------------------------------------------------- the lock

type Guard = Level<string, string>

async function openGuard(dir: string): Promise<Guard> {
  const folder = join(dir, 'lock')
  try {
    return await openEmpty(folder)
  } catch (error) {
    if (isLocked(error)) throw lockedError(dir, await livingOwner(dir), false)
    if (isDiskFull(error)) throw diskFull(dir, error)
    if (isReadOnly(error)) throw readOnly(dir, error)
  }
  // Damaged by a power cut, say. It holds nothing; destroy() takes the lock itself before it removes anything.
  try {
    await destroy(folder)
    return await openEmpty(folder)
  } catch (error) {
    if (isLocked(error)) throw lockedError(dir, await livingOwner(dir), false)
    throw damaged(folder, String(error), error, 'Remove that folder and start again.')
  }
}

/** Level is ClassicLevel on Node.js; the types that it shares with browsers leave `destroy` out. */
const { destroy } = Level as unknown as { destroy(location: string): Promise<void> }

async function openEmpty(folder: string): Promise<Guard> {
  const guard: Guard = new Level(folder, { writeBufferSize: 64 * 1024, cacheSize: 0 })
  await guard.open()
  return guard
}

function isLocked(error: unknown): boolean {
  return errorCode((error as { cause?: unknown }).cause ?? error) === 'LEVEL_LOCKED'
}

async function ownLock(
  dir: string,
  name: string,
  guard: Guard,
  first: LockOwner,
): Promise<FolderLock> {
  const path = ownerPath(dir)
  let owner = first
  let writing: Promise<void> = Promise.resolve()
  let released: Promise<void> | undefined
  const write = (): Promise<void> => {
    const text = `${JSON.stringify({ ...owner, startTicks: processStart(owner.pid) || null })}\n`
    // One after the other, so that the last word stands.
    writing = writing.catch(() => {}).then(() => writeFileAtomic(path, text))
    return writing
  }
  const free = async (): Promise<void> => {
    await writing.catch(() => {})
    await rm(path, { force: true })
    await guard.close()
    lockedHere.delete(name)
  }
  try {
    await write()
  } catch (error) {
    await guard.close()
    throw error
  }
  return {
    dir,
    get owner() {
      return owner
    },
    update: async (extra) => {
      if (released !== undefined) return
      owner = { ...owner, ...extra }
      await write()
    },
    release: () => (released ??= free()),
  }
}

// ---------------------------------------------------------------- who has it

function ownerPath(dir: string): string {
  return join(dir, 'peer.json')
}

function ownOwner(role: string | undefined): LockOwner {
  const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString()
  return { pid: process.pid, startedAt, role: role ?? commandRole(process.argv) }
}

/** `mesh join` of `node …/main.js join --cores 2`: enough to know it by, no arguments (a ticket is a secret). */
function commandRole(argv: readonly string[]): string {
  const program = basename(argv[1] ?? 'node').replace(/\.[cm]?[jt]s$/, '')
  const command = argv[2]
  return command !== undefined && /^[a-z]{1,20}$/.test(command) ? `${program} ${command}` : program
}

/** `startTicks` is null where the system does not tell when a process started. */
function readOwner(dir: string): (LockOwner & { startTicks: string | null }) | undefined {
  let source: string
  try {
    source = readFileSync(ownerPath(dir), 'utf8')
  } catch {
    return undefined
  }
  const { pid, startedAt, role, socket, startTicks } = parseObject(source) ?? {}
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined
  return {
    pid,
    startedAt: typeof startedAt === 'string' ? startedAt : '',
    role: typeof role === 'string' ? role : '',
    ...(typeof socket === 'string' ? { socket } : {}),
    startTicks: typeof startTicks === 'string' ? startTicks : null,
  }
}

/** The owner of a lock that is held; it may be about to write its name over that of a dead one. */
async function livingOwner(dir: string): Promise<LockOwner | undefined> {
  for (let waited = 0; waited < OWNER_WAIT_MS; waited += OWNER_POLL_MS) {
    const owner = await readLock(dir)
    if (owner?.alive === true) return owner
    await delay(OWNER_POLL_MS)
  }
  return undefined
}

/**
 * When a process started, in the system's own unit: with the pid it names a process for good. '' where the system does not say;
 * undefined when there is no such process.
 */
function processStart(pid: number): string | undefined {
  if (process.platform === 'linux') {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      // "pid (any name) state …": the start time is field 22; a zombie has ended.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19]
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ESRCH') return undefined
    }
  }
  try {
    process.kill(pid, 0)
    return ''
  } catch (error) {
    return errorCode(error) === 'EPERM' ? '' : undefined
  }
}

function lockedError(dir: string, owner: LockOwner | undefined, here: boolean): MeshError {
  const details = { dir, ...owner }
  if (here) {
    const message = `the data folder ${dir} is open in this process already: use that peer, or give this one another folder`
    return new MeshError('ERR_MESH_FOLDER_LOCKED', message, { details })
  }
  const who = owner === undefined ? 'another process' : describe(owner)
  return new MeshError(
    'ERR_MESH_FOLDER_LOCKED',
    `the data folder ${dir} is in use by ${who}. ` +
      `Talk to that peer (mesh status --data ${dir}), stop it (mesh leave --data ${dir}), or use another folder with --data DIR.`,
    { details },
  )
}

function describe({ pid, role, startedAt, socket }: LockOwner): string {
  const name = role === '' ? 'process' : `"${role}", process`
  const since = startedAt === '' ? '' : `, since ${startedAt}`
  return `${name} ${pid}${since}${socket === undefined ? '' : `, control socket ${socket}`}`
}
