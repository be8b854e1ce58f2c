import { PassThrough, Writable } from 'node:stream'
import type { Context, PeerOptions, StopSignal } from '../../../cli/lib/context.ts'
import { runCli } from '../../../cli/lib/program.ts'
import type {
  GpuFacts,
  JobInfo,
  LogLine,
  MeshBackend,
  MeshStatus,
  PeerInfo,
} from '../../../src/node/types.ts'
import { encodeSegment } from '../../../src/runtime/segment.ts'
import type { ItemError } from '../../../src/runtime/types.ts'
import type { BlobHash } from '../../../src/scheduler/types.ts'

export const WALL_CLOCK = Date.parse('2030-01-02T03:04:05.000Z')
export const DATA_DIR = '/srv/mesh-data'
export const JOB_ID = 'ab12'.repeat(16)

export function peerInfo(change: Partial<PeerInfo> = {}): PeerInfo {
  const id = change.id ?? '3fa9c1d2'.repeat(8)
  return {
    id,
    short: id.slice(0, 8),
    session: 'a'.repeat(32),
    name: 'laptop',
    self: true,
    address: '',
    connected: true,
    version: '0.1.0',
    cores: 4,
    slots: 4,
    freeSlots: 1,
    memoryBytes: 32 * 1024 ** 3,
    freeMemoryBytes: 12 * 1024 ** 3,
    gpu: null,
    speed: 1,
    itemsPerSecond: 48_211,
    rttMs: null,
    lastSeenMs: 0,
    state: 'connected',
    lost: false,
    diskFull: false,
    labels: {},
    ...change,
  }
}

export const HARDWARE: GpuFacts = {
  name: 'NVIDIA H200',
  state: 'hardware',
  gflops: 51_234,
  upMBs: 11_800,
  downMBs: 9_240,
}

export function jobInfo(change: Partial<JobInfo> = {}): JobInfo {
  const id = change.id ?? JOB_ID
  return {
    id,
    short: id.slice(0, 8),
    name: 'primes',
    state: 'running',
    items: 1_000_000,
    done: 612_340,
    failed: 0,
    submittedAt: new Date(WALL_CLOCK - 80_000).toISOString(),
    finishedAt: null,
    author: '3fa9c1d2'.repeat(8),
    itemsPerSecond: 48_211,
    etaSeconds: 8.04,
    peers: [
      { id: '3fa9c1d2'.repeat(8), name: 'laptop', done: 400_000 },
      { id: '77777777'.repeat(8), name: 'tower', done: 212_340 },
    ],
    peersAtWork: 2,
    log: { entries: 40, chunks: 44, grants: 3, reclaims: 0 },
    peersLost: [],
    copies: null,
    options: {},
    input: { kind: 'range', start: 0, count: 1_000_000 },
    waitsFor: null,
    output: null,
    task: { kind: 'module', name: 'primes', bundle: 'cd'.repeat(32) as BlobHash, bundleBytes: 9 },
    cancelled: null,
    startsAt: null,
    nodes: null,
    nodesTotal: 0,
    expiresAt: null,
    ...change,
  }
}

export function meshStatus(change: Partial<MeshStatus> = {}): MeshStatus {
  return {
    version: '0.1.0',
    peer: peerInfo(),
    mesh: '9a8b7c6d5e4f3a2b',
    dataDir: DATA_DIR,
    addresses: ['/ip4/127.0.0.1/tcp/4001'],
    peers: 1,
    jobs: { running: 1, finished: 2 },
    uptimeSeconds: 200,
    pid: 4242,
    embedded: false,
    loopDelayMs: { p50: 1, p99: 4.25, max: 9 },
    workers: { busy: 3, alive: 4, started: 6, recycled: 1, died: 0 },
    clockAheadMs: 0,
    strikes: [],
    warnings: [],
    disk: { freeBytes: 100e9, reserveBytes: 512 * 1024 ** 2, short: false },
    keep: { ms: 7 * 86_400_000, bytes: 10e9 },
    repair: null,
    handingOn: null,
    ...change,
  }
}

export interface FakeJob {
  readonly info: JobInfo
  /** Pieces of the result in item order: first item, values, failures (index within the piece). */
  readonly spans?: readonly { lo: number; values: unknown[]; failures?: ItemError[] }[]
  readonly logs?: readonly LogLine[]
}

/** A peer with canned answers: what commands print is compared with them. */
export function fakeBackend(
  jobs: readonly FakeJob[] = [],
  change: Partial<MeshBackend> = {},
): MeshBackend & { closed: number; leaves: number } {
  const find = (id: string): FakeJob => {
    const found = jobs.find((job) => job.info.id.startsWith(id) || id === 'last')
    if (found === undefined) throw new Error(`the test has no job ${id}`)
    return found
  }
  const backend = {
    closed: 0,
    leaves: 0,
    status: async () => meshStatus(),
    peers: async () => [peerInfo()],
    jobs: async () => jobs.map((job) => job.info),
    job: async (id: string) => find(id).info,
    ticket: async () => 'mesh1ticket',
    putBlob: async () => {
      throw new Error('not in this test')
    },
    submit: async () => {
      throw new Error('not in this test')
    },
    async *watch(id: string) {
      yield find(id).info
    },
    async *results(id: string) {
      for (const { lo, values, failures } of find(id).spans ?? []) {
        const bytes = encodeSegment(values, failures)
        yield { lo, hi: lo + values.length, originLo: lo, bytes }
      }
    },
    async *logs(id: string) {
      yield* find(id).logs ?? []
    },
    forget: async (id: string) => find(id).info.id,
    leave: async () => {
      backend.leaves += 1
    },
    close: async () => {
      backend.closed += 1
    },
    ...change,
  }
  return backend as MeshBackend & { closed: number; leaves: number }
}

export interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
  readonly started: readonly PeerOptions[]
}

export interface World {
  /** The peer that runs on the folder; undefined: none does. */
  readonly running?: MeshBackend | undefined
  /** What an embedded peer would be. */
  readonly embedded?: MeshBackend
  readonly stdin?: string
  readonly stdinStream?: PassThrough
  readonly tty?: boolean
  readonly stdout?: Writable
  readonly signals?: (send: (signal: StopSignal) => void) => void
  readonly defaultDataDir?: string
}

/** Runs one command line in a made-up world. */
export async function mesh(argv: readonly string[], world: World = {}): Promise<Run> {
  const out = collector(world.tty)
  const err = collector(world.tty)
  const started: PeerOptions[] = []
  const stdin = world.stdinStream ?? new PassThrough()
  if (world.stdinStream === undefined) stdin.end(world.stdin ?? '')
  const context: Context = {
    stdin,
    stdout: world.stdout ?? out.stream,
    stderr: err.stream,
    env: {},
    now: () => performance.now(),
    wallClock: () => WALL_CLOCK,
    onSignal: (listener) => {
      world.signals?.(listener)
      return () => {}
    },
    exitNow: () => {},
    defaultDataDir: async () => world.defaultDataDir ?? DATA_DIR,
    attach: async () => world.running,
    startPeer: async (options) => {
      started.push(options)
      if (world.embedded === undefined) throw new Error('this test starts no peer')
      return world.embedded
    },
  }
  const code = await runCli(argv, context)
  return { code, out: out.text(), err: err.text(), started }
}

export function collector(tty = false): {
  stream: NodeJS.WritableStream & { isTTY: boolean; columns: number }
  text: () => string
} {
  const parts: string[] = []
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      parts.push(chunk.toString())
      done()
    },
  })
  return {
    stream: Object.assign(stream, { isTTY: tty, columns: 100 }),
    text: () => parts.join(''),
  }
}
