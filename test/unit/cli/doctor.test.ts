import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest'
import { doctor } from '../../../cli/commands/doctor.ts'
import type { Context, Terminal } from '../../../cli/lib/context.ts'
import { lookAtMachine, type MachineFacts } from '../../../cli/lib/doctor-facts.ts'
import type { Finding, Looked } from '../../../cli/lib/doctor-finding.ts'
import { machineFindings } from '../../../cli/lib/doctor-machine.ts'
import { meshFindings } from '../../../cli/lib/doctor-mesh.ts'
import { VERSION } from '../../../src/base/version.ts'
import type { GpuFound } from '../../../src/gpu/types.ts'
import type { MeshBackend, MeshStatus } from '../../../src/node/types.ts'
import { fakeBackend, meshStatus, peerInfo } from './helpers.ts'

const GIB = 1024 ** 3
const NOW = Date.parse('2026-05-04T03:02:01Z')

/** A machine on which all is well. */
const WELL: MachineFacts = {
  nodeVersion: '22.20.0',
  platform: 'linux',
  arch: 'x64',
  glibc: '2.36',
  root: false,
  cores: 4,
  coreQuota: undefined,
  memoryBytes: 16 * GIB,
  freeMemoryBytes: 8 * GIB,
  memoryLimitBytes: undefined,
  limits: {
    openFiles: 20_000,
    processes: 90_000,
    addressSpaceBytes: undefined,
    dataBytes: undefined,
    fileBytes: undefined,
    cpuSeconds: undefined,
  },
  folder: {
    path: '/data/mesh',
    exists: true,
    lookedAt: '/data/mesh',
    writeError: undefined,
    freeBytes: 100 * GIB,
    totalBytes: 500 * GIB,
    freeFiles: 1_000_000,
    fileSystem: 'ext4',
    mode: 0o700,
    syncMs: 4,
  },
  tempFolder: { path: '/tmp', error: undefined },
  network: { addresses: ['192.0.2.7'], listenError: undefined, mdnsError: undefined },
  wallClockMs: NOW,
  installedMs: NOW - 86_400_000,
  nativeFailures: [],
}

const NO_GPU: GpuFound = {
  state: 'none',
  name: '',
  deviceClass: '',
  reason: 'there is no Vulkan loader',
  advice: ['apt install libvulkan1'],
  adapters: [],
  gflops: 0,
  upMBs: 0,
  downMBs: 0,
  maxBufferBytes: 0,
  maxStorageBuffers: 0,
}
const A_GPU: GpuFound = {
  ...NO_GPU,
  state: 'hardware',
  name: 'ACME 9000',
  reason: '',
  advice: [],
  adapters: ['vulkan:ACME 9000'],
  gflops: 12_345.6,
  upMBs: 4000.4,
  downMBs: 3000,
  maxBufferBytes: 2 * GIB,
}

type Change = Partial<Omit<Looked, 'facts'>> & { readonly facts?: Partial<MachineFacts> }

function findings({ facts, ...rest }: Change = {}): Finding[] {
  const looked: Looked = {
    peer: undefined,
    peerError: undefined,
    gpu: A_GPU,
    gpuError: undefined,
    version: '0.1.0',
    ...rest,
    facts: { ...WELL, ...facts },
  }
  return [...machineFindings(looked), ...meshFindings(looked)]
}

/** What is not well, as `check level`, and its text. */
function unwell(change: Change): { readonly is: string[]; readonly text: string } {
  const found = findings(change).filter(({ level }) => level !== 'ok')
  return {
    is: found.map(({ check, level }) => `${check} ${level}`),
    text: found.flatMap(({ found, means, advice }) => [found, means, ...advice]).join('\n'),
  }
}

const folder = (change: Partial<MachineFacts['folder']>): Change => ({
  facts: { folder: { ...WELL.folder, ...change } },
})
const limits = (change: Partial<MachineFacts['limits']>): Change => ({
  facts: { limits: { ...WELL.limits, ...change } },
})
const network = (change: Partial<MachineFacts['network']>): Change => ({
  facts: { network: { ...WELL.network, ...change } },
})

describe('what the facts mean', () => {
  it('on a machine where all is well, each check once, with what was found', () => {
    const all = findings()
    expect(all.map(({ check }) => check)).toEqual([
      'node',
      'cores',
      'memory',
      'folder',
      'disk',
      'limits',
      'clock',
      'network',
      'peer',
      'gpu',
    ])
    expect(all.filter(({ level, advice }) => level !== 'ok' || advice.length > 0)).toEqual([])
    expect(all.map(({ found }) => found)).toEqual([
      'Node.js 22.20.0, linux x64, glibc 2.36',
      '4 cores',
      '8 GiB free of 16 GiB',
      '/data/mesh (ext4), a write is on the disk in 4 ms',
      '100 GiB free of 500 GiB',
      '20000 open files',
      '2026-05-04 03:02 UTC',
      'can listen; addresses 192.0.2.7',
      'none runs on this folder; `mesh join` starts one',
      'ACME 9000, 12.3 TFLOP/s, up 4 GB/s, down 3 GB/s, buffers up to 2 GiB',
    ])
  })

  test.each<[string, Change, string, RegExp]>([
    [
      'an old Node.js',
      { facts: { nodeVersion: '20.18.3' } },
      'node problem',
      /needs Node.js 20.19/,
    ],
    [
      'an older one',
      { facts: { nodeVersion: '18.20.0' } },
      'node problem',
      /install a current LTS/,
    ],
    [
      'a part that does not load',
      { facts: { nativeFailures: [{ name: 'the store (level)', error: 'no native build' }] } },
      'parts problem',
      /the store \(level\) does not load: no native build[\s\S]*npm install/,
    ],
    [
      'a container with less time than cores',
      { facts: { coreQuota: 2.5 } },
      'cores warning',
      /4 cores, but .* the time of 2\.5[\s\S]*--cores 2$/,
    ],
    [
      'one with less than a core',
      { facts: { coreQuota: 0.3 } },
      'cores warning',
      /time of 0\.3[\s\S]*--cores 1$/,
    ],
    [
      'a container with little memory for its cores',
      { facts: { memoryLimitBytes: 0.3 * GIB } },
      'memory warning',
      /307 MiB free of 307 MiB that this container may use[\s\S]*--cores 2$/,
    ],
    [
      'a machine with no memory',
      { facts: { memoryBytes: 0.2 * GIB, freeMemoryBytes: 0.1 * GIB } },
      'memory problem',
      /too little for a peer and one worker/,
    ],
    [
      'memory that others use',
      { facts: { freeMemoryBytes: 0.1 * GIB } },
      'memory warning',
      /Other programs use nearly all/,
    ],
    [
      'a folder that cannot be written',
      folder({ writeError: 'EACCES: permission denied' }),
      'folder problem',
      /EACCES[\s\S]*make \/data\/mesh a folder that this user may write/,
    ],
    [
      'a folder that cannot be made',
      folder({ exists: false, lookedAt: '/data', writeError: 'EROFS', mode: undefined }),
      'folder problem',
      /\/data\/mesh \(ext4\): EROFS[\s\S]*make \/data a folder .* --data DIR/,
    ],
    [
      'NFS',
      folder({ fileSystem: 'nfs' }),
      'folder warning',
      /\(nfs\) .* another machine[\s\S]*--data/,
    ],
    ['tmpfs', folder({ fileSystem: 'tmpfs' }), 'folder warning', /\(tmpfs\) is in memory/],
    ['FAT', folder({ fileSystem: 'vfat' }), 'folder warning', /\(vfat\) knows no permissions/],
    [
      'a folder that others can read',
      folder({ mode: 0o755 }),
      'folder warning',
      /mode 755\)[\s\S]*key[\s\S]*chmod 700 \/data\/mesh/,
    ],
    ['a slow disk', folder({ syncMs: 900 }), 'folder warning', /took 900 ms to reach the disk/],
    [
      'a full disk',
      folder({ freeBytes: 0.4 * GIB }),
      'disk problem',
      /Below 512 MiB a peer takes no work[\s\S]*--min-free/,
    ],
    ['a nearly full disk', folder({ freeBytes: GIB }), 'disk warning', /keep-size/],
    ['no inodes', folder({ freeFiles: 12 }), 'disk warning', /only 12 files more[\s\S]*inodes/],
    [
      'a temporary folder that cannot be written',
      { facts: { tempFolder: { path: '/tmp', error: 'EROFS' } } },
      'temp problem',
      /\/tmp: EROFS[\s\S]*TMPDIR/,
    ],
    [
      'few open files',
      limits({ openFiles: 512 }),
      'limits warning',
      /at most 512 open files[\s\S]*ulimit -n 4096/,
    ],
    ['far too few', limits({ openFiles: 128 }), 'limits problem', /at most 128 open files/],
    [
      'few processes',
      limits({ processes: 50 }),
      'limits warning',
      /50 processes[\s\S]*ulimit -u 192/,
    ],
    [
      'little address space',
      limits({ addressSpaceBytes: 4 * GIB }),
      'limits warning',
      /4 GiB of address space[\s\S]*ulimit -v unlimited/,
    ],
    [
      'several limits, on one line',
      limits({ dataBytes: 0.5 * GIB, fileBytes: 5e6, cpuSeconds: 60 }),
      'limits warning',
      /at most 512 MiB of data; files of 4\.77 MiB; 1 min 00 s of CPU time[\s\S]*-d[\s\S]*-f[\s\S]*-t/,
    ],
    [
      'a clock that was set back',
      { facts: { wallClockMs: 0 } },
      'clock warning',
      /1970-01-01 00:00 UTC, before .* \(2026-05-03\)[\s\S]*NTP/,
    ],
    ['root', { facts: { root: true } }, 'user warning', /as root\./],
    [
      'no port to listen on',
      network({ listenError: 'EPERM' }),
      'network problem',
      /cannot listen on a port: EPERM/,
    ],
    [
      'no network',
      network({ addresses: [] }),
      'network warning',
      /no address but loopback[\s\S]*--announce/,
    ],
    [
      'mDNS held by another program',
      network({ mdnsError: 'EADDRINUSE' }),
      'network warning',
      /5353 \(mDNS\): EADDRINUSE[\s\S]*--no-mdns/,
    ],
    [
      'a peer that does not answer',
      { peerError: 'it hangs' },
      'peer problem',
      /does not answer: it hangs/,
    ],
    [
      'a peer of another version',
      outward(usingTheGpu({ version: '9.9.9' })),
      'peer warning',
      /it is meshwork 9\.9\.9, this command 0\.1\.0[\s\S]*mesh leave/,
    ],
    [
      'a peer that gets too little time',
      outward(usingTheGpu({ loopDelayMs: { p50: 1, p99: 1500, max: 4000 } })),
      'peer warning',
      /late by 1\.5 s/,
    ],
    [
      'what the peer itself warns of',
      outward(usingTheGpu({ warnings: ['the moon is\u001b[31m full'] })),
      'peer warning',
      /the moon is full\nThe peer says so itself/,
    ],
    [
      'a peer that was struck',
      outward(usingTheGpu({ strikes: [{ peer: 'ab'.repeat(32), reason: 'bad', count: 3 }] })),
      'peer warning',
      /abababab broke the rules: 3 x bad/,
    ],
    [
      'a peer on loopback alone',
      { peer: usingTheGpu() },
      'network warning',
      /listens on \/ip4\/127\.0\.0\.1\/tcp\/4001[\s\S]*--listen \/ip4\/0\.0\.0\.0/,
    ],
    [
      'a probe that failed',
      { gpu: undefined, gpuError: 'it crashed' },
      'gpu warning',
      /the probe failed: it crashed[\s\S]*webasm/,
    ],
    [
      'a GPU that the peer does not use',
      outward(meshStatus()),
      'gpu warning',
      /ACME 9000, .*; the peer that runs does not use it[\s\S]*--gpu off[\s\S]*mesh leave/,
    ],
    [
      'a GPU that computes wrong',
      { gpu: { ...A_GPU, state: 'none', reason: 'it computes wrong', advice: ['new driver'] } },
      'gpu warning',
      /ACME 9000: it computes wrong; adapters: vulkan:ACME 9000\n[\s\S]*new driver/,
    ],
    [
      'gpu.js that does not load',
      { gpu: { ...NO_GPU, broken: true, reason: 'gpu.js does not load', advice: ['npm install'] } },
      'gpu problem',
      /none: gpu\.js does not load\n[\s\S]*on the CPU neither[\s\S]*npm install/,
    ],
  ])('%s', (_, change, is, text) => {
    const found = unwell(change)
    expect(found.is).toEqual([is])
    expect(found.text).toMatch(text)
  })

  it('a running peer: who it is, and its own reserve of the disk', () => {
    const peer = {
      ...outward().peer!,
      disk: { freeBytes: 5 * GIB, reserveBytes: 2 * GIB, short: false },
    }
    const all = findings({ peer, ...folder({ freeBytes: 5 * GIB }) })
    const of = (check: string) => all.find((each) => each.check === check)
    expect(of('peer')?.found).toMatch(/ runs \(process 4242, up 3 min 20 s\) in mesh 9a8b/)
    expect(of('network')?.found).toBe('the peer listens on /ip4/192.0.2.7/tcp/4001')
    expect(of('disk')).toMatchObject({ level: 'warning', means: expect.stringMatching(/2 GiB/) })
    const short = { ...peer, disk: { ...peer.disk, short: true } }
    expect(unwell({ peer: short }).is).toEqual(['disk problem'])
  })

  it('several adapters are named, to choose from', () => {
    const adapters = ['vulkan:ACME 9000', 'vulkan:soft', 'opengles:a', 'opengles:b']
    expect(findings({ gpu: { ...A_GPU, adapters } }).at(-1)?.found).toMatch(
      /; adapters: vulkan:ACME 9000, vulkan:soft, opengles:a and 1 more$/,
    )
  })

  it('no GPU is not a fault: what to install is said all the same', () => {
    const [gpu] = findings({ gpu: NO_GPU }).slice(-1)
    expect(gpu).toEqual({
      check: 'gpu',
      level: 'ok',
      found: 'none: there is no Vulkan loader',
      means: 'Kernels run on the CPU here (webasm).',
      advice: ['apt install libvulkan1'],
    })
    const software = { ...A_GPU, state: 'software', name: 'soft' } as const
    expect(findings({ gpu: software }).at(-1)).toMatchObject({
      level: 'ok',
      found: expect.stringMatching(/^soft \(software\), 12\.3 TFLOP\/s/),
      means: expect.stringMatching(/only where --gpu-device names it/),
    })
  })

  it('more cores than the quota, or a quota for all of them, is well', () => {
    expect(unwell({ facts: { coreQuota: 4 } }).is).toEqual([])
  })
})

/** A peer that listens on an address that others reach. */
function outward(status = usingTheGpu()): { readonly peer: NonNullable<Looked['peer']> } {
  return { peer: { ...status, addresses: ['/ip4/192.0.2.7/tcp/4001'] } }
}

function usingTheGpu(change: Partial<MeshStatus> = {}): MeshStatus {
  const { name, gflops, upMBs, downMBs } = A_GPU
  const gpu = { name, state: 'hardware', gflops, upMBs, downMBs } as const
  return meshStatus({ peer: peerInfo({ gpu }), ...change })
}

describe('mesh doctor', () => {
  interface Told {
    readonly code: number
    readonly out: string
    readonly lookedAt: string[]
  }

  async function run(
    change: Partial<MachineFacts>,
    options: { json?: boolean; tty?: boolean; attach?: Context['attach']; gpu?: () => never } = {},
  ): Promise<Told> {
    const stdout = new PassThrough() as PassThrough & Terminal
    Object.assign(stdout, { isTTY: options.tty === true })
    const lookedAt: string[] = []
    const context = {
      stdout,
      env: {},
      defaultDataDir: async () => '/data/default',
      attach: options.attach ?? (async () => undefined),
    } as unknown as Context
    const code = await doctor(context, options.json === true ? { json: true } : {}, {
      machine: async (dataDir) => {
        lookedAt.push(dataDir)
        return { ...WELL, ...change }
      },
      gpu: options.gpu ?? (async () => NO_GPU),
    })
    stdout.end()
    return { code, out: (await stdout.toArray()).join(''), lookedAt }
  }

  it('says that all is well, and ends with 0', async () => {
    const { code, out, lookedAt } = await run({})
    expect(code).toBe(0)
    expect(lookedAt).toEqual(['/data/default'])
    expect(out.split('\n')[0]).toBe('  ok       node     Node.js 22.20.0, linux x64, glibc 2.36')
    expect(out).toMatch(/\n\nall is well\n$/)
    expect(out).not.toContain('\u001b')
  })

  it('counts what is not, says what it means and what to do under it, and ends with 1 for a problem', async () => {
    const { code, out } = await run({ nodeVersion: '18.0.0', root: true })
    expect(code).toBe(1)
    expect(out).toContain('  problem  node     Node.js 18.0.0, linux x64')
    expect(out).toContain('\n                    Meshwork needs Node.js 20.19 or later.\n')
    expect(out).toContain('\n                    - install a current LTS of Node.js\n')
    expect(out).toMatch(/\n\n1 problem, 1 warning\n$/)
  })

  it('ends with 0 for warnings alone, in colours on a terminal', async () => {
    const { code, out } = await run({ root: true }, { tty: true })
    expect(code).toBe(0)
    expect(out).toContain('\u001b[33mwarning')
    expect(out).toMatch(/\n\n1 warning\n$/)
  })

  it('--json is one document', async () => {
    const backend: MeshBackend & { closed: number } = fakeBackend()
    const { code, out } = await run(
      { nodeVersion: '18.0.0' },
      { json: true, attach: async () => backend },
    )
    const document = JSON.parse(out)
    expect(code).toBe(1)
    // The canned peer listens on loopback alone.
    expect(document).toMatchObject({ ok: false, problems: 1, warnings: 1, gpu: NO_GPU })
    expect(document.peer).toEqual({
      id: expect.any(String),
      pid: 4242,
      mesh: '9a8b7c6d5e4f3a2b',
    })
    expect(document.findings[0]).toEqual({
      check: 'node',
      level: 'problem',
      found: 'Node.js 18.0.0, linux x64, glibc 2.36',
      means: 'Meshwork needs Node.js 20.19 or later.',
      advice: ['install a current LTS of Node.js'],
    })
    expect(backend.closed).toBe(1)
    expect(meshStatus().version).toBe(VERSION)
  })

  it('hands on the adapter that is asked for', async () => {
    const asked: unknown[] = []
    const context = {
      stdout: { write() {} },
      env: {},
      attach: async () => undefined,
      defaultDataDir: async () => '/x',
    }
    await doctor(
      context as unknown as Context,
      { data: '/x', gpuDevice: 'ACME' },
      {
        machine: async () => WELL,
        gpu: async (device) => {
          asked.push(device)
          return A_GPU
        },
      },
    )
    expect(asked).toEqual(['ACME'])
    const empty = doctor(context as unknown as Context, { gpuDevice: ' ' })
    await expect(empty).rejects.toMatchObject({ code: 'ERR_MESH_OPTION_INVALID' })
  })

  it('survives a probe that throws and a peer that does not answer', async () => {
    const { code, out } = await run(
      {},
      {
        gpu: () => {
          throw new Error('no probe')
        },
        attach: () => Promise.reject(new Error('the socket is deaf')),
      },
    )
    expect(code).toBe(1)
    expect(out).toContain('the probe failed: no probe')
    expect(out).toContain('does not answer: the socket is deaf')
  })
})

describe('a peer that hangs', () => {
  afterEach(() => vi.useRealTimers())

  it('is given up after 5 s; one on a folder that is not there is not asked', async () => {
    vi.useFakeTimers()
    let asked = 0
    const lines: string[] = []
    const context = {
      stdout: { write: (text: string) => lines.push(text) },
      env: {},
      defaultDataDir: async () => '/data/mesh',
      attach: () => {
        asked++
        return new Promise<undefined>(() => {})
      },
    } as unknown as Context
    const look = (facts: MachineFacts) =>
      doctor(context, {}, { machine: async () => facts, gpu: async () => NO_GPU })
    const told = look(WELL)
    await vi.advanceTimersByTimeAsync(4_999)
    expect(lines).toEqual([])
    await vi.advanceTimersByTimeAsync(1)
    expect(await told).toBe(1)
    expect(lines.join('')).toContain('does not answer: no answer after 5 s')
    expect(vi.getTimerCount()).toBe(0)
    expect(await look({ ...WELL, folder: { ...WELL.folder, exists: false } })).toBe(0)
    expect(asked).toBe(1)
  })
})

describe('looking at this machine', () => {
  let root: string
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'meshwork-doctor-test-'))
  })
  afterEach(() => rmSync(root, { recursive: true, force: true }))

  it('finds what Node.js, the system and the folder say, and leaves nothing', async () => {
    chmodSync(root, 0o750)
    const facts = await lookAtMachine(root)
    expect(facts).toMatchObject({
      nodeVersion: process.versions.node,
      arch: process.arch,
      nativeFailures: [],
      folder: {
        path: root,
        exists: true,
        lookedAt: root,
        writeError: undefined,
        freeBytes: expect.any(Number),
        syncMs: expect.any(Number),
      },
      tempFolder: { path: tmpdir(), error: undefined },
      network: { listenError: undefined },
    })
    if (process.platform === 'win32') expect(facts.folder.mode).toBeUndefined()
    else expect(facts.folder.mode).toBe(0o750)
    expect(facts.cores).toBeGreaterThan(0)
    expect(facts.memoryBytes).toBeGreaterThan(facts.freeMemoryBytes)
    expect(facts.installedMs).toBeLessThan(facts.wallClockMs)
    expect(readdirSync(root)).toEqual([])
  })

  it('makes no folder', async () => {
    const path = join(root, 'a', 'b')
    const { folder } = await lookAtMachine(path)
    expect(folder).toMatchObject({ path, exists: false, lookedAt: root, mode: undefined })
    expect(existsSync(join(root, 'a'))).toBe(false)
  })

  it('a file in the way is told', async () => {
    const path = join(root, 'file')
    writeFileSync(path, '')
    for (const at of [path, join(path, 'below')]) {
      const { folder } = await lookAtMachine(at)
      expect(folder.writeError).toBe(`${path} is not a folder`)
    }
  })
})
