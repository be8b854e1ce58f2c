import { isMeshError, MeshError } from '../base/errors.ts'
import { elementsOf } from '../base/extents.ts'
import type { JobInfo, LogLine, MeshBackend, ResultsOptions } from '../node/types.ts'
import type { TaskBundle } from '../runtime/bundle.ts'
import type { JobId } from '../scheduler/types.ts'
import { createStackMapper, FailureTally, itemsFailed } from './failures.ts'
import { flatten } from './iterate.ts'
import { Progress, type ProgressListener } from './progress.ts'
import { type ItemFailure, type ResultBatch, readBatches } from './results.ts'
import { SpanSet } from './span-set.ts'

/** The value of one item. */
export interface ItemResult<O> {
  readonly index: number
  readonly value: O
  readonly error?: undefined
}

/** One item that failed for good. */
export interface ItemFailed {
  readonly index: number
  readonly value?: undefined
  readonly error: ItemFailure
}

/** What a kernel job gives. */
export interface KernelResult {
  readonly data: Float32Array
  /** [x], [x, y] or [x, y, z]; x runs fastest. */
  readonly size: readonly number[]
  /** Classes of devices that computed it, such as `webasm`. */
  readonly devices: readonly string[]
}

export interface ReadOptions {
  /** 'arrival' (default of iteration): as they come; 'item': in item order. */
  readonly order?: 'arrival' | 'item'
  /** Wait for the job's end (default); false: end with what is there now. */
  readonly wait?: boolean
  /** Run the items again whose results are on no peer that is connected; without it they end the reading with ERR_MESH_RESULT_LOST. */
  readonly recompute?: boolean
  /** Ends the reading with the signal's reason; the job goes on. */
  readonly signal?: AbortSignal
}

export interface JobParts {
  readonly backend: MeshBackend
  readonly id: JobId
  readonly items: number
  readonly heldBy?: readonly string[]
  readonly bundle?: TaskBundle | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * A submitted job. Its results may be read as often as one likes, also by another process (`mesh.job(id)`), while it runs or after.
 *
 * `for await (const { index, value } of job)` gives the values as they come. When some items failed, the iteration gives the good
 * ones first and then throws ERR_MESH_ITEMS_FAILED; `results({ failures: 'yield' })` gives `{ index, error }` instead.
 */
export class Job<O = unknown> implements AsyncIterable<ItemResult<O>> {
  /** 64 hex characters: what `mesh job`, `mesh results` and `mesh.job()` take (or a unique prefix of it). */
  readonly id: string
  /** How many items it has. */
  readonly items: number
  /** Ids of the other peers that held the job when `submit` returned. */
  readonly heldBy: readonly string[]
  private readonly backend: MeshBackend
  private readonly job: JobId
  private readonly signal: AbortSignal | undefined
  private readonly progress: Progress
  private readonly mapped: (failure: ItemFailure) => ItemFailure

  /** Jobs come from `mesh.submit()` and `mesh.job()`. */
  constructor(parts: JobParts) {
    this.id = parts.id
    this.job = parts.id
    this.items = parts.items
    this.heldBy = parts.heldBy ?? []
    this.backend = parts.backend
    this.signal = parts.signal
    this.progress = new Progress(parts.backend, parts.id)
    this.mapped = createStackMapper(parts.bundle)
  }

  /** What the mesh knows of the job now. @throws ERR_MESH_JOB_UNKNOWN, ERR_MESH_STOPPED */
  info(): Promise<JobInfo> {
    return this.backend.job(this.id)
  }

  /** Tells `listener` how the job goes: at once, then at most 10 times a second until it ends. Returns what ends the telling. */
  onProgress(listener: ProgressListener): () => void {
    return this.progress.listen(listener, this.signal)
  }

  /** How the job goes, as an iteration: at once, then at most 10 times a second, until it ends. @throws as `info()` */
  watch(options: { readonly signal?: AbortSignal } = {}): AsyncIterable<JobInfo> {
    return this.backend.watch(this.job, this.signalOf(options))
  }

  /**
   * Resolves with the job's last state when it ends, also when items failed or it was cancelled.
   * @throws ERR_MESH_STOPPED when the peer stops before
   */
  async wait(options: { readonly signal?: AbortSignal } = {}): Promise<JobInfo> {
    const signal = this.signalOf(options)
    for await (const info of this.watch(options)) {
      if (info.state === 'finished' || info.state === 'cancelled') return info
    }
    signal?.throwIfAborted()
    throw stoppedEarly()
  }

  /**
   * The results as they are read: many items at a time, which is the fastest way through a large job. Failed items stand in
   * `failures`, with `undefined` in their place in `values`; nothing is thrown for them.
   * @throws ERR_MESH_JOB_CANCELLED, ERR_MESH_RESULT_LOST, ERR_MESH_STOPPED when items have no result at the end
   */
  async *batches(options: ReadOptions = {}): AsyncGenerator<ResultBatch<O>> {
    const seen = new SpanSet()
    const { wait = true, order = 'arrival', recompute = false } = options
    const signal = this.signalOf(options)
    const request: ResultsOptions = {
      order,
      wait,
      ...(recompute && { recompute }),
      ...(signal !== undefined && { signal }),
    }
    for await (const batch of readBatches<O>(this.backend, this.job, request, seen)) {
      if (batch.failures.length === 0) yield batch
      else yield { ...batch, failures: batch.failures.map(this.mapped) }
    }
    if (wait && seen.size < this.items) throw await this.whyMissing(seen.size)
  }

  /**
   * Results one by one. With `failures: 'yield'` a failed item comes as `{ index, error }`; else it is left out, and
   * ERR_MESH_ITEMS_FAILED is thrown after the last good one (`details.failed` is their number, `details.failures` the first 1 000).
   * @throws ERR_MESH_ITEMS_FAILED, and as `batches()`
   */
  results(
    options: ReadOptions & { readonly failures: 'yield' },
  ): AsyncIterableIterator<ItemResult<O> | ItemFailed>
  results(
    options?: ReadOptions & { readonly failures?: 'throw' },
  ): AsyncIterableIterator<ItemResult<O>>
  results(
    options: ReadOptions & { readonly failures?: 'throw' | 'yield' } = {},
  ): AsyncIterableIterator<ItemResult<O> | ItemFailed> {
    const yieldFailures = options.failures === 'yield'
    const tally = new FailureTally()
    return flatten(
      entriesOf(this.batches(options), tally, yieldFailures),
      (entries) => entries.length,
      (entries, i) => entries.at(i),
      () => {
        if (yieldFailures || tally.count === 0) return
        throw itemsFailed(this.items, tally.count, tally.first, { job: this.id })
      },
    )
  }

  /** Results as they come: `results()`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ItemResult<O>> {
    return this.results()
  }

  /** Results in item order: `results({ order: 'item' })`. */
  ordered(options: Omit<ReadOptions, 'order'> = {}): AsyncIterableIterator<ItemResult<O>> {
    return this.results({ ...options, order: 'item' })
  }

  /**
   * All values, in item order.
   * @throws ERR_MESH_ITEMS_FAILED when items failed: `details.values` holds the values (undefined where an item failed),
   * `details.failures` every failure as { index, code, name, message, stack, attempts }; and as `batches()`
   */
  async collect(options: { readonly signal?: AbortSignal } = {}): Promise<O[]> {
    const values: (O | undefined)[] = []
    const failures: ItemFailure[] = []
    for await (const batch of this.batches({ ...options, order: 'item' })) {
      while (values.length < batch.lo) values.push(undefined)
      for (const value of batch.values) values.push(value)
      for (const failure of batch.failures) failures.push(failure)
    }
    if (failures.length > 0) {
      throw itemsFailed(this.items, failures.length, failures, { job: this.id, values })
    }
    return values as O[]
  }

  /**
   * Of a kernel job: its whole output as one array, x running fastest, its extents, and the classes of devices that computed it (results are
   * the same bit for bit within one class).
   * @throws ERR_MESH_OPTION_INVALID when the job is no kernel's; ERR_MESH_ITEMS_FAILED; and as `batches()`
   */
  async array(options: { readonly signal?: AbortSignal } = {}): Promise<KernelResult> {
    const { output: size } = await this.info()
    if (size === null) {
      throw new MeshError(
        'ERR_MESH_OPTION_INVALID',
        'the job is not that of a kernel: it has values, item by item (collect()), and no array',
      )
    }
    const data = new Float32Array(elementsOf(size))
    const width = data.length / this.items
    const failures: ItemFailure[] = []
    const devices = new Set<string>()
    for await (const batch of this.batches(options)) {
      for (const failure of batch.failures) failures.push(failure)
      if (batch.device !== undefined) devices.add(batch.device)
      const { lo, hi, numbers } = batch
      if (numbers?.length === (hi - lo) * width) data.set(numbers, lo * width)
      else if (numbers !== undefined || batch.failures.length < hi - lo) throw wrongRow(lo)
    }
    if (failures.length === 0) return { data, size, devices: [...devices].sort() }
    throw itemsFailed(this.items, failures.length, failures, { job: this.id, data })
  }

  /** Waits for the job's end and gives every item that failed, in item order; empty when all went well. @throws as `batches()` */
  async failures(options: { readonly signal?: AbortSignal } = {}): Promise<ItemFailure[]> {
    const failures: ItemFailure[] = []
    for await (const batch of this.batches({ ...options, order: 'item' })) {
      for (const failure of batch.failures) failures.push(failure)
    }
    return failures
  }

  /** What the task printed, from every connected peer that still has it; with `follow` until the job ends. */
  logs(
    options: { readonly follow?: boolean; readonly signal?: AbortSignal } = {},
  ): AsyncIterable<LogLine> {
    const signal = this.signalOf(options)
    return this.backend.logs(this.job, {
      follow: options.follow ?? false,
      ...(signal !== undefined && { signal }),
    })
  }

  /** The reader's own signal, and that of the submission. */
  private signalOf(options: { readonly signal?: AbortSignal }): AbortSignal | undefined {
    const { signal } = options
    if (signal === undefined || this.signal === undefined) return signal ?? this.signal
    return AbortSignal.any([signal, this.signal])
  }

  /** Reading ended, but not all items came. */
  private async whyMissing(seen: number): Promise<MeshError> {
    const details = { job: this.id, items: this.items, missing: this.items - seen }
    const info = await this.info().catch((error: unknown) => error)
    if (isMeshError(info)) return info.code === 'ERR_MESH_JOB_UNKNOWN' ? info : stoppedEarly(info)
    const state = (info as Partial<JobInfo>).state
    const of = `${details.missing} of ${this.items} items`
    if (state === 'cancelled') {
      return new MeshError(
        'ERR_MESH_JOB_CANCELLED',
        `the job was cancelled: ${of} have no result`,
        { details },
      )
    }
    if (state === 'finished') {
      return new MeshError(
        'ERR_MESH_RESULT_LOST',
        `the job is finished, but the results of ${of} are on no peer that is connected now`,
        { details },
      )
    }
    return stoppedEarly(info)
  }
}

function wrongRow(index: number): MeshError {
  return new MeshError(
    'ERR_MESH_PROTOCOL',
    `the result of item ${index} is no row of the kernel's output`,
    { details: { index } },
  )
}

interface Entries<O> {
  readonly length: number
  at(i: number): ItemResult<O> | ItemFailed
}

/** Batches as lists of results; only batches with failures are copied. */
async function* entriesOf<O>(
  batches: AsyncIterable<ResultBatch<O>>,
  tally: FailureTally,
  yieldFailures: boolean,
): AsyncGenerator<Entries<O>> {
  for await (const { lo, values, failures } of batches) {
    if (failures.length === 0) {
      yield { length: values.length, at: (i) => ({ index: lo + i, value: values[i] as O }) }
      continue
    }
    tally.add(failures)
    const failed = new Map(failures.map((failure) => [failure.index, failure]))
    const entries: (ItemResult<O> | ItemFailed)[] = []
    values.forEach((value, i) => {
      const error = failed.get(lo + i)
      if (error === undefined) entries.push({ index: lo + i, value: value as O })
      else if (yieldFailures) entries.push({ index: lo + i, error })
    })
    yield { length: entries.length, at: (i) => entries[i]! }
  }
}

function stoppedEarly(cause?: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_STOPPED',
    'the peer stopped before the job ended: the job goes on where it is held; read it again with mesh.job(id)',
    cause instanceof Error ? { cause } : {},
  )
}
