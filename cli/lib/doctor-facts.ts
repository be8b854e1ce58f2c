/** What `mesh doctor` looks at on this machine. Looking only: what it means is said in doctor-machine.ts and doctor-mesh.ts. */
import { createSocket } from 'node:dgram'
import { existsSync } from 'node:fs'
import { access, constants, mkdtemp, open, readFile, rm, stat, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { availableParallelism, freemem, networkInterfaces, tmpdir, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { GpuFound } from '../../src/gpu/types.ts'

/** Fields that are undefined could not be found out here. */
export interface MachineFacts {
  readonly nodeVersion: string
  readonly platform: NodeJS.Platform
  readonly arch: string
  readonly glibc: string | undefined
  readonly root: boolean
  readonly cores: number
  /** CPUs' worth of time that a container may use. */
  readonly coreQuota: number | undefined
  readonly memoryBytes: number
  readonly freeMemoryBytes: number
  /** What a container may use. */
  readonly memoryLimitBytes: number | undefined
  readonly limits: ProcessLimits
  readonly folder: FolderFacts
  readonly tempFolder: { readonly path: string; readonly error: string | undefined }
  readonly network: NetworkFacts
  readonly wallClockMs: number
  /** When this program's own files were written. */
  readonly installedMs: number | undefined
  /** Parts in machine code that do not load, and why. */
  readonly nativeFailures: readonly { readonly name: string; readonly error: string }[]
}

/** Of this process and those it starts; undefined: unlimited, or not known. */
export interface ProcessLimits {
  readonly openFiles: number | undefined
  readonly processes: number | undefined
  readonly addressSpaceBytes: number | undefined
  readonly dataBytes: number | undefined
  readonly fileBytes: number | undefined
  readonly cpuSeconds: number | undefined
}

export interface FolderFacts {
  readonly path: string
  readonly exists: boolean
  /** The folder itself, or the nearest one above it that is there. */
  readonly lookedAt: string
  readonly writeError: string | undefined
  readonly freeBytes: number | undefined
  readonly totalBytes: number | undefined
  readonly freeFiles: number | undefined
  /** 'ext4', 'nfs', …; a hexadecimal number when it has no name here. */
  readonly fileSystem: string | undefined
  /** Permission bits; undefined on Windows. */
  readonly mode: number | undefined
  /** One small write that is forced to the disk. */
  readonly syncMs: number | undefined
}

export interface NetworkFacts {
  /** Of this machine, other than loopback. */
  readonly addresses: readonly string[]
  readonly listenError: string | undefined
  readonly mdnsError: string | undefined
}

/** Linux' magic numbers (statfs(2)) of file systems that matter to a store. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, 'ext4'],
  [0x58465342, 'xfs'],
  [0x9123683e, 'btrfs'],
  [0x2fc12fc1, 'zfs'],
  [0xf2f52010, 'f2fs'],
  [0x794c7630, 'overlay'],
  [0x01021994, 'tmpfs'],
  [0x858458f6, 'ramfs'],
  [0x6969, 'nfs'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb'],
  [0x517b, 'smb'],
  [0x65735546, 'fuse'],
  [0x01021997, '9p'],
  [0x00c36400, 'ceph'],
  [0x5346414f, 'afs'],
  [0x4d44, 'vfat'],
  [0x2011bab0, 'exfat'],
  [0x5346544e, 'ntfs'],
  [0x73717368, 'squashfs'],
])

const MDNS_PORT = 5353

/** Looks at this machine. Writes one small file in the data folder, when that is there, and one in the temporary folder, and removes them. */
export async function lookAtMachine(dataDir: string): Promise<MachineFacts> {
  const [folder, tempFolder, network, installedMs, nativeFailures, coreQuota] = await Promise.all([
    lookAtFolder(dataDir),
    lookAtTempFolder(),
    lookAtNetwork(),
    installed(),
    nativeParts(),
    quotaOfCores(),
  ])
  const { glibc, limits } = systemReport()
  return {
    nodeVersion: process.versions.node,
    platform: process.platform,
    arch: process.arch,
    glibc,
    root: process.getuid?.() === 0,
    cores: availableParallelism(),
    coreQuota,
    memoryBytes: totalmem(),
    freeMemoryBytes: freemem(),
    memoryLimitBytes: memoryLimit(),
    limits,
    folder,
    tempFolder,
    network,
    wallClockMs: Date.now(),
    installedMs,
    nativeFailures,
  }
}

/** In a process of its own, with a time-out: a driver that hangs or crashes does neither here. */
export async function lookForGpu(device?: string): Promise<GpuFound> {
  const { probeGpu } = await import('../../src/gpu/probe.ts')
  return await probeGpu({ device })
}

// ---------------------------------------------------------------- the system

interface Limit {
  readonly soft: number | string
}

function systemReport(): { glibc: string | undefined; limits: ProcessLimits } {
  const { report } = process
  // Else it asks the name of each peer that this process is connected to.
  Object.assign(report, { excludeNetwork: true })
  const { header, userLimits } = report.getReport() as {
    readonly header?: { readonly glibcVersionRuntime?: string }
    readonly userLimits?: Readonly<Record<string, Limit>>
  }
  const soft = (name: string): number | undefined => {
    const value = userLimits?.[name]?.soft
    return typeof value === 'number' && Number.isFinite(value) ? value : undefined
  }
  return {
    glibc: header?.glibcVersionRuntime,
    limits: {
      openFiles: soft('open_files'),
      processes: soft('max_user_processes'),
      // Whatever their names say, Node.js gives these in bytes.
      addressSpaceBytes: soft('virtual_memory_kbytes'),
      dataBytes: soft('data_seg_size_kbytes'),
      fileBytes: soft('file_size_blocks'),
      cpuSeconds: soft('cpu_time_seconds'),
    },
  }
}

function memoryLimit(): number | undefined {
  // 0, or more than there is, where nothing is limited.
  const limit = process.constrainedMemory()
  return limit > 0 && limit < totalmem() ? limit : undefined
}

/** The time that a container may use, from cgroup v2 ("max 100000" or "150000 100000") or v1. */
async function quotaOfCores(): Promise<number | undefined> {
  const read = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '')
  const [v2, quota, period] = await Promise.all([
    read('/sys/fs/cgroup/cpu.max'),
    read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us'),
    read('/sys/fs/cgroup/cpu/cpu.cfs_period_us'),
  ])
  const [used, of] = v2 === '' ? [quota, period] : v2.trim().split(' ')
  const cores = Number(used) / Number(of)
  return Number.isFinite(cores) && cores > 0 ? cores : undefined
}

async function installed(): Promise<number | undefined> {
  const facts = await stat(fileURLToPath(import.meta.url)).catch(() => undefined)
  return facts?.mtimeMs
}

/** The store and the bundler are partly machine code, chosen for a platform when they were installed. */
async function nativeParts(): Promise<{ name: string; error: string }[]> {
  const parts: readonly [string, () => Promise<unknown>][] = [
    ['the store (level)', () => import('level')],
    ['the bundler (esbuild)', async () => (await import('esbuild')).transform('1')],
  ]
  const failures: { name: string; error: string }[] = []
  for (const [name, use] of parts) {
    try {
      await use()
    } catch (error) {
      failures.push({ name, error: (error as Error).message.split('\n')[0] ?? '' })
    }
  }
  return failures
}

// ---------------------------------------------------------------- folders

async function lookAtFolder(dataDir: string): Promise<FolderFacts> {
  const path = resolve(dataDir)
  const exists = existsSync(path)
  const lookedAt = nearest(path)
  const [space, facts] = await Promise.all([
    statfs(lookedAt).catch(() => undefined),
    stat(lookedAt).catch(() => undefined),
  ])
  const write = exists ? await tryWriting(path) : await tryAccess(lookedAt)
  return {
    path,
    exists,
    lookedAt,
    writeError: facts?.isDirectory() === false ? `${lookedAt} is not a folder` : write.error,
    syncMs: write.syncMs,
    freeBytes: space && space.bavail * space.bsize,
    totalBytes: space && space.blocks * space.bsize,
    // Some file systems count no files: they say 0 of 0.
    freeFiles: space === undefined || space.files === 0 ? undefined : space.ffree,
    fileSystem: space === undefined || process.platform !== 'linux' ? undefined : named(space.type),
    mode: process.platform === 'win32' || !exists ? undefined : facts && facts.mode & 0o777,
  }
}

function nearest(path: string): string {
  let at = path
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at)
  return at
}

function named(type: number): string {
  const magic = type >>> 0
  return FILE_SYSTEMS.get(magic) ?? `0x${magic.toString(16)}`
}

interface WriteTried {
  readonly error: string | undefined
  readonly syncMs: number | undefined
}

async function tryWriting(folder: string): Promise<WriteTried> {
  const path = join(folder, `.doctor-${process.pid}`)
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile('x'.repeat(4096))
      const started = performance.now()
      await file.sync()
      return { error: undefined, syncMs: performance.now() - started }
    } finally {
      await file.close()
      await rm(path, { force: true })
    }
  } catch (error) {
    return { error: (error as Error).message, syncMs: undefined }
  }
}

async function tryAccess(folder: string): Promise<WriteTried> {
  const error = await access(folder, constants.W_OK).then(
    () => undefined,
    (refused: Error) => refused.message,
  )
  return { error, syncMs: undefined }
}

async function lookAtTempFolder(): Promise<MachineFacts['tempFolder']> {
  const path = tmpdir()
  try {
    await rm(await mkdtemp(join(path, 'meshwork-doctor-')), { recursive: true })
    return { path, error: undefined }
  } catch (error) {
    return { path, error: (error as Error).message }
  }
}

// ---------------------------------------------------------------- the network

async function lookAtNetwork(): Promise<NetworkFacts> {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    // Link-local ones need a zone, which no ticket carries.
    .filter((each) => !each.internal && !/^(fe80:|169\.254\.)/i.test(each.address))
    .map((each) => each.address)
  const [listenError, mdnsError] = await Promise.all([tryListening(), tryMdns()])
  return { addresses, listenError, mdnsError }
}

/** As a peer does by default: on every interface, on a free port; for a moment. */
function tryListening(): Promise<string | undefined> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', (error) => done(error.message))
    server.listen({ host: '0.0.0.0', port: 0 }, () => server.close(() => done(undefined)))
  })
}

/** Binds the port of multicast DNS, which programs share, and sends nothing. */
function tryMdns(): Promise<string | undefined> {
  return new Promise((done) => {
    const socket = createSocket({ type: 'udp4', reuseAddr: true })
    const end = (error?: string): void => {
      try {
        socket.close()
      } catch {
        // It never opened.
      }
      done(error)
    }
    socket.once('error', (error) => end(error.message))
    socket.bind(MDNS_PORT, () => end())
  })
}
