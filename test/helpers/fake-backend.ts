import { fromHex, sha256Hex, toHex } from '../../src/base/bytes.ts'
import { MeshError } from '../../src/base/errors.ts'
import type {
  JobInfo,
  JobRequest,
  LogLine,
  MeshBackend,
  MeshStatus,
  PeerInfo,
  ResultSpan,
  ResultsOptions,
  SubmitReply,
} from '../../src/node/types.ts'
import { readManifest } from '../../src/runtime/manifest.ts'
import { decodeSegments, decodeValue, encodeSegment } from '../../src/runtime/segment.ts'
import * as task from '../../src/runtime/task.ts'
import { RUNTIME_SYMBOL } from '../../src/runtime/task-stub.ts'
import type { ItemError } from '../../src/runtime/types.ts'
import type { Plan } from '../../src/scheduler/plan.ts'
import type { BlobHash, JobId, JobOptions, JobState } from '../../src/scheduler/types.ts'
import { Signal } from './signal.ts'

export interface FakeOptions {
  /** Items in one result span; default 100. */
  readonly spanItems?: number
  /** Which span is run first; default the first. */
  readonly arrival?: 'forward' | 'backward'
  /** Give every span a second time, shifted by half a span, as two peers that ran the same items would. */
  readonly overlap?: boolean
  /** Do not run anything before release() is called. */
  readonly held?: boolean
}

interface FakeJob {
  readonly id: JobId
  readonly request: JobRequest
  readonly spans: ResultSpan[]
  readonly logs: LogLine[]
  state: JobState
  reason?: string
  done: number
  failed: number
}

type Run = (item: unknown, ctx: object) => unknown

/** A peer in memory that really runs the items it is given, one after another, in this process. */
export class FakeBackend implements MeshBackend {
  readonly blobs = new Map<string, Uint8Array>()
  /** What putBlob was given, in order, sizes in bytes. */
  readonly puts: number[] = []
  readonly requests: JobRequest[] = []
  readonly running: Promise<void>[] = []
  closed = false
  leaves = 0
  /** Readers that are being served; each must be gone at the end. */
  readers = 0
  /** When set, status() rejects with it. */
  refuse: unknown
  private readonly list: FakeJob[] = []
  private readonly options: FakeOptions
  private readonly changed = new Signal()
  private released: boolean

  constructor(options: FakeOptions = {}) {
    this.options = options
    this.released = options.held !== true
  }

  release(): void {
    this.released = true
    this.changed.fire()
  }

  async cancel(ids: readonly string[] | 'all', reason = ''): Promise<JobId[]> {
    const jobs = ids === 'all' ? this.list : ids.map((id) => this.find(id))
    const open = jobs.filter(({ state }) => state !== 'finished' && state !== 'cancelled')
    for (const job of open) {
      job.state = 'cancelled'
      job.reason = reason
    }
    this.changed.fire()
    return open.map(({ id }) => id)
  }

  async pause(id: string): Promise<JobId> {
    return this.turn(id, 'paused')
  }

  async resume(id: string): Promise<JobId> {
    return this.turn(id, 'running')
  }

  private turn(id: string, state: JobState): JobId {
    const job = this.find(id)
    if (job.state === 'finished' || job.state === 'cancelled') {
      throw new MeshError('ERR_MESH_JOB_OVER', `the job is ${job.state}`)
    }
    job.state = state
    this.changed.fire()
    return job.id
  }

  async plan(id: JobId): Promise<Plan> {
    const { plan } = this.find(id).request
    if (plan !== undefined) return plan
    throw new MeshError('ERR_MESH_OPTION_INVALID', 'the job is no composition')
  }

  async readBlob(hash: BlobHash): Promise<Uint8Array> {
    this.assertOpen()
    return this.blobOf(hash)
  }

  async status(): Promise<MeshStatus> {
    if (this.refuse !== undefined) throw this.refuse
    return {
      version: '0.0.0',
      peer: (await this.peers())[0]!,
      mesh: 'fake',
      dataDir: '/nowhere',
      addresses: ['/ip4/127.0.0.1/tcp/1'],
      peers: 0,
      jobs: { running: 0, finished: this.list.length },
      uptimeSeconds: 1,
      pid: process.pid,
      embedded: false,
      loopDelayMs: { p50: 0, p99: 0, max: 0 },
      workers: { busy: 0, alive: 0, started: 0, recycled: 0, died: 0 },
      clockAheadMs: 0,
      strikes: [],
      warnings: [],
      disk: null,
      keep: { ms: 1, bytes: 1 },
      repair: null,
      handingOn: null,
    }
  }

  async peers(): Promise<PeerInfo[]> {
    return [
      {
        id: 'ab'.repeat(32),
        session: 'a'.repeat(32),
        short: 'abababab',
        name: 'fäke',
        self: true,
        address: '',
        connected: true,
        version: '0.0.0',
        cores: 1,
        slots: 1,
        freeSlots: 1,
        memoryBytes: 1,
        freeMemoryBytes: 1,
        gpu: null,
        speed: 1,
        itemsPerSecond: 0,
        rttMs: null,
        lastSeenMs: 0,
        state: 'connected',
        lost: false,
        diskFull: false,
        labels: {},
      },
    ]
  }

  async jobs(): Promise<JobInfo[]> {
    return this.list.map((job) => this.infoOf(job)).reverse()
  }

  async job(id: string): Promise<JobInfo> {
    return this.infoOf(this.find(id))
  }

  async ticket(): Promise<string> {
    return 'mesh1fake'
  }

  async putBlob(bytes: Uint8Array): Promise<{ hash: BlobHash; sizeBytes: number }> {
    this.assertOpen()
    const hash = sha256Hex(bytes) as BlobHash
    this.blobs.set(hash, bytes.slice())
    this.puts.push(bytes.byteLength)
    return { hash, sizeBytes: bytes.byteLength }
  }

  async submit(request: JobRequest): Promise<SubmitReply> {
    this.assertOpen()
    this.requests.push(request)
    const id = sha256Hex(Buffer.from(`${this.list.length}${JSON.stringify(request)}`)) as JobId
    const job: FakeJob = {
      id,
      request,
      spans: [],
      logs: [],
      state: 'running',
      done: 0,
      failed: 0,
    }
    this.list.push(job)
    this.running.push(this.run(job))
    return { job: id, heldBy: request.detach === true ? ['cd'.repeat(32)] : [] }
  }

  async *watch(id: JobId, signal?: AbortSignal): AsyncGenerator<JobInfo> {
    const job = this.find(id)
    yield* this.follow(signal, function* (this: FakeBackend) {
      yield this.infoOf(job)
      return job.state !== 'running'
    })
  }

  async *results(id: JobId, options: ResultsOptions): AsyncGenerator<ResultSpan> {
    const job = this.find(id)
    let given = 0
    let cursor = 0
    yield* this.follow(options.signal, function* () {
      if (options.order === 'arrival') while (given < job.spans.length) yield job.spans[given++]!
      else {
        for (;;) {
          const next = job.spans.find((span) => span.lo <= cursor && span.hi > cursor)
          if (next === undefined) break
          cursor = next.hi
          yield next
        }
      }
      return job.state !== 'running' || !options.wait
    })
  }

  async *logs(
    id: JobId,
    options: { follow: boolean; signal?: AbortSignal },
  ): AsyncGenerator<LogLine> {
    const job = this.find(id)
    let given = 0
    yield* this.follow(options.signal, function* () {
      while (given < job.logs.length) yield job.logs[given++]!
      return job.state !== 'running' || !options.follow
    })
  }

  async forget(id: string): Promise<JobId> {
    const job = this.find(id)
    if (job.state === 'running') throw new MeshError('ERR_MESH_JOB_RUNNING', 'it is not over')
    this.list.splice(this.list.indexOf(job), 1)
    return job.id
  }

  async leave(): Promise<void> {
    this.leaves += 1
    await this.close()
  }

  async close(): Promise<void> {
    this.closed = true
    this.changed.fire()
    await Promise.all(this.running)
  }

  /** Calls `look` after every change until it returns true, the backend closes, or the signal aborts. */
  private async *follow<T>(
    signal: AbortSignal | undefined,
    look: (this: FakeBackend) => Generator<T, boolean>,
  ): AsyncGenerator<T> {
    this.readers += 1
    try {
      while (!this.closed && signal?.aborted !== true) {
        const change = this.changed.next(signal)
        if (yield* look.call(this)) return
        await change
      }
    } finally {
      this.readers -= 1
    }
  }

  private async run(job: FakeJob): Promise<void> {
    const { spanItems = 100, arrival = 'forward', overlap = false } = this.options
    while (!this.released && !this.closed) await this.changed.next()
    const items = this.itemsOf(job)
    const run = await this.load(job)
    const starts = Array.from(
      { length: Math.ceil(items.length / spanItems) },
      (_, i) => i * spanItems,
    )
    if (arrival === 'backward') starts.reverse()
    for (const lo of starts) {
      while (!this.closed && job.state === 'paused') await this.changed.next()
      if (this.closed || job.state !== 'running') return
      const hi = Math.min(lo + spanItems, items.length)
      const span = await this.runSpan(job, run, items, lo, hi)
      job.done += hi - lo
      job.spans.push(span)
      const half = lo + (hi - lo) / 2
      if (overlap) job.spans.push({ ...span, lo: Math.floor(half) }, { ...span })
      this.changed.fire()
      await new Promise((resolve) => setImmediate(resolve))
    }
    if (job.state === 'running') job.state = 'finished'
    this.changed.fire()
  }

  private async runSpan(
    job: FakeJob,
    run: Run,
    items: readonly unknown[],
    lo: number,
    hi: number,
  ): Promise<ResultSpan> {
    const values: unknown[] = []
    const failures: ItemError[] = []
    const { options, task } = job.request
    const { args } = options
    for (let index = lo; index < hi; index++) {
      const log = (...parts: unknown[]) => this.log(job, index, parts)
      const ctx = { index, log, args: args === undefined ? undefined : decodeValue(fromHex(args)) }
      try {
        values.push(await run(items[index], ctx))
      } catch (error) {
        values.push(null)
        failures.push(failureOf(error, index - lo, task.bundle))
      }
    }
    job.failed += failures.length
    return { lo, hi, originLo: lo, bytes: encodeSegment(values, failures) }
  }

  private log(job: FakeJob, item: number, parts: unknown[]): void {
    const text = parts.map(String).join(' ')
    const at = '2026-01-01T00:00:00.000Z'
    job.logs.push({ job: job.id, peer: 'ab'.repeat(32), at, stream: 'log', text, item })
  }

  private itemsOf(job: FakeJob): unknown[] {
    const { input } = job.request
    if (input.kind === 'range')
      return Array.from({ length: input.count }, (_, i) => input.start + i)
    if (input.kind === 'inline') {
      const values = [...decodeSegments(Buffer.from(input.segment, 'hex'), 0)].flatMap(
        (it) => it.values,
      )
      if (values.length !== input.count) throw new Error('the job has a wrong count')
      return values
    }
    const items: unknown[] = []
    for (const piece of readManifest(this.blobOf(input.manifest))) {
      const bytes = this.blobOf(piece.hash)
      if (bytes.byteLength !== piece.sizeBytes) throw new Error('the manifest has a wrong size')
      const before = items.length
      for (const segment of decodeSegments(bytes, 0)) for (const v of segment.values) items.push(v)
      if (items.length - before !== piece.count) throw new Error('the manifest has a wrong count')
    }
    if (items.length !== input.count) throw new Error('the job has a wrong count')
    return items
  }

  private async load(job: FakeJob): Promise<Run> {
    const code = this.blobOf(job.request.task.bundle)
    Object.assign(globalThis, { [RUNTIME_SYMBOL]: { ...task, MeshError } })
    const url = `data:text/javascript;base64,${Buffer.from(code).toString('base64')}`
    const loaded = (await import(/* @vite-ignore */ url)) as { default: Run | { run: Run } }
    const found = loaded.default
    return typeof found === 'function' ? found : found.run.bind(found)
  }

  private blobOf(hash: string): Uint8Array {
    const bytes = this.blobs.get(hash)
    if (bytes === undefined) throw new MeshError('ERR_MESH_INPUT_LOST', `there is no blob ${hash}`)
    return bytes
  }

  private find(id: string): FakeJob {
    this.assertOpen()
    const found = id === 'last' ? this.list.slice(-1) : this.list.filter((j) => j.id.startsWith(id))
    if (found.length === 1) return found[0]!
    if (found.length === 0)
      throw new MeshError('ERR_MESH_JOB_UNKNOWN', `no job "${id}" is known here`)
    throw new MeshError('ERR_MESH_JOB_AMBIGUOUS', `"${id}" fits ${found.length} jobs`, {
      details: { matches: found.map((job) => job.id) },
    })
  }

  private assertOpen(): void {
    if (this.closed) throw new MeshError('ERR_MESH_STOPPED', 'the peer stopped')
  }

  private infoOf(job: FakeJob): JobInfo {
    const { input, options, task } = job.request
    return {
      id: job.id,
      short: job.id.slice(0, 8),
      name: task.name,
      state: job.state,
      items: input.count,
      done: job.done,
      failed: job.failed,
      submittedAt: '2026-01-01T00:00:00.000Z',
      finishedAt: null,
      author: 'ab'.repeat(32),
      itemsPerSecond: 0,
      etaSeconds: null,
      peers: [],
      peersAtWork: 1,
      log: { entries: 1, chunks: job.spans.length, grants: 0, reclaims: 0 },
      peersLost: [],
      copies: null,
      options,
      input,
      waitsFor: null,
      output: null,
      task,
      cancelled:
        job.state === 'cancelled'
          ? { by: 'ab'.repeat(32), name: 'fäke', reason: job.reason ?? '' }
          : null,
      startsAt: null,
      nodes: null,
      nodesTotal: 0,
      expiresAt: null,
    }
  }
}

/** A job over `source` (the text of an ES module), submitted below the Mesh class. */
export async function submitSource(
  backend: MeshBackend,
  source: string,
  count: number,
  options: JobOptions = {},
): Promise<SubmitReply> {
  const code = Buffer.from(source)
  const { hash } = await backend.putBlob(code)
  return backend.submit({
    task: { kind: 'module', name: 'test', bundle: hash, bundleBytes: code.byteLength },
    input: { kind: 'range', start: 0, count },
    options,
  })
}

/** Stacks name the bundle as those of a worker do: by its hash. */
function failureOf(error: unknown, index: number, bundle: string): ItemError {
  const thrown = error instanceof Error ? error : new Error(String(error))
  const { name, message } = thrown
  const stack = thrown.stack?.replace(/data:[^\s()]*?(?=:\d+:\d+)/g, `/${bundle}.mjs`)
  const code = 'ERR_MESH_ITEM_THREW'
  return { index, code, name, message, ...(stack !== undefined && { stack }), attempts: 1 }
}

/** A job id that no job has. */
export const UNKNOWN_JOB = toHex(new Uint8Array(32).fill(7)) as JobId
