import { MeshError } from '../base/errors.ts'
import type { JobInfo, LogLine, MeshBackend, ResultsOptions } from '../node/types.ts'
import type { TaskBundle } from '../runtime/bundle.ts'
import type { Plan } from '../scheduler/plan.ts'
import type { JobId } from '../scheduler/types.ts'
import {
  allFailures,
  type CompositionFailure,
  compositionFailed,
  firstFailures,
  Output,
  renumbered,
} from './compose/read.ts'
import { entriesOf, type ItemFailed, type ItemResult } from './entries.ts'
import { createStackMapper, FailureTally, itemsFailed } from './failures.ts'
import { flatten } from './iterate.ts'
import { arrayOf, type KernelResult } from './kernel-array.ts'
import { stoppedEarly, whyMissing } from './missing.ts'
import type { SubmitOptions } from './options.ts'
import { Progress, type ProgressListener } from './progress.ts'
import { type ItemFailure, type ResultBatch, readBatches } from './results.ts'
import { planRetry } from './retry.ts'
import { SpanSet } from './span-set.ts'

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
  readonly attached?: boolean | undefined
  readonly retried?: readonly number[] | undefined
  readonly bundle?: TaskBundle | readonly TaskBundle[] | undefined
  /** Its items are those of a plan's nodes. */
  readonly composed?: boolean
  /** Its plan, where it is at hand. */
  readonly plan?: Plan | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * A submitted job. Its results may be read as often as one likes, also by another process (`mesh.job(id)`), while it runs or after.
 *
 * `for await (const { index, value } of job)` gives the values as they come. When some items failed, the iteration gives the good
 * ones first and then throws ERR_MESH_ITEMS_FAILED; `results({ failures: 'yield' })` gives `{ index, error }` instead.
 *
 * Of a composition the items are those that its value is made of, numbered from 0, and `collect()` gives the value.
 */
export class Job<O = unknown, V = O[]> implements AsyncIterable<ItemResult<O>> {
  /** 64 hex characters: what `mesh job`, `mesh results` and `mesh.job()` take (or a unique prefix of it). */
  readonly id: string
  /** How many items it has. */
  readonly items: number
  /** It is that of a composition. */
  readonly composed: boolean
  /** Ids of the other peers that held the job when `submit` returned. */
  readonly heldBy: readonly string[]
  /** It was there before `submit`, which found it by its `key`. */
  readonly attached: boolean
  /** Of a job that `retry` made: its item i was item `retried[i]` of the old job; undefined of others. */
  readonly retried: readonly number[] | undefined
  private readonly backend: MeshBackend
  private readonly bundle: JobParts['bundle']
  private readonly job: JobId
  private readonly signal: AbortSignal | undefined
  private readonly progress: Progress
  private readonly mapped: (failure: ItemFailure) => ItemFailure
  private planned: Promise<Plan> | undefined

  /** Jobs come from `mesh.submit()` and `mesh.job()`. */
  constructor(parts: JobParts) {
    this.id = parts.id
    this.job = parts.id
    this.items = parts.items
    this.heldBy = parts.heldBy ?? []
    this.attached = parts.attached ?? false
    this.retried = parts.retried
    this.bundle = parts.bundle
    this.backend = parts.backend
    this.signal = parts.signal
    this.progress = new Progress(parts.backend, parts.id)
    this.mapped = createStackMapper(parts.bundle)
    this.composed = parts.composed ?? parts.plan !== undefined
    if (parts.plan !== undefined) this.planned = Promise.resolve(parts.plan)
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
    const output = this.composed ? new Output(await this.plan()) : undefined
    const request: ResultsOptions = {
      order,
      wait,
      ...(recompute && { recompute }),
      ...(signal !== undefined && { signal }),
      ...(output !== undefined && { ranges: output.ranges }),
    }
    for await (const batch of readBatches<O>(this.backend, this.job, request, seen)) {
      const mapped =
        batch.failures.length === 0
          ? batch
          : { ...batch, failures: batch.failures.map(this.mapped) }
      if (output === undefined) yield mapped
      else yield* renumbered(mapped, output)
    }
    const items = output?.size ?? this.items
    if (wait && seen.size < items) throw await whyMissing(this.id, this.info(), seen.size, items)
  }

  /** Of a composition. @throws ERR_MESH_INPUT_LOST when no connected peer has it */
  private plan(): Promise<Plan> {
    this.planned ??= this.backend.plan(this.job)
    this.planned.catch(() => {
      this.planned = undefined
    })
    return this.planned
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
   * All values, in item order; of a composition its value.
   * @throws ERR_MESH_ITEMS_FAILED when items failed: `details.values` holds the values (undefined where an item failed),
   * `details.failures` every failure as { index, code, name, message, stack, attempts }, of a composition what failed first, with
   * { task, item } beside; and as `batches()`
   */
  async collect(options: { readonly signal?: AbortSignal } = {}): Promise<V> {
    const values: (O | undefined)[] = []
    const failures: ItemFailure[] = []
    for await (const batch of this.batches({ ...options, order: 'item' })) {
      while (values.length < batch.lo) values.push(undefined)
      for (const value of batch.values) values.push(value)
      for (const failure of batch.failures) failures.push(failure)
    }
    if (this.composed) return (await this.valueOf(values, failures)) as V
    if (failures.length > 0) {
      throw itemsFailed(this.items, failures.length, failures, { job: this.id, values })
    }
    return values as V
  }

  /** The value of a composition, of those of its output's items. */
  private async valueOf(values: unknown[], failures: ItemFailure[]): Promise<unknown> {
    const output = new Output(await this.plan())
    if (failures.length === 0) return output.build(values)
    const first = await this.failedFirst(failures)
    throw compositionFailed(first, { job: this.id, value: output.build(values) })
  }

  /**
   * Of a composition: what failed first, of failures of its output as `batches()` gives them; each with its task, and its number among the
   * items of that. What cannot be read now is told by what failed with it.
   * @throws ERR_MESH_INPUT_LOST
   */
  async failedFirst(failures: readonly ItemFailure[]): Promise<CompositionFailure[]> {
    const plan = await this.plan()
    const output = new Output(plan)
    const own = failures.map((failure) => output.toJob(failure))
    const found = await firstFailures(this.backend, this.job, plan, own)
    return found.map((failure) => ({ ...failure, ...this.mapped(failure) }))
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
    const { result, failures } = await arrayOf(this.batches(options), size, this.items)
    if (failures.length === 0) return result
    const { data } = result
    throw itemsFailed(this.items, failures.length, failures, { job: this.id, data })
  }

  /**
   * Waits for the job's end and gives every item that failed, in item order; empty when all went well. Of a composition what failed first,
   * with { task, item } beside and `index` the number in the job, and also what `allowFailures` left out (the first 1 000).
   * @throws as `batches()`
   */
  async failures(options: { readonly signal?: AbortSignal } = {}): Promise<ItemFailure[]> {
    const failures: ItemFailure[] = []
    for await (const batch of this.batches({ ...options, order: 'item' })) {
      for (const failure of batch.failures) failures.push(failure)
    }
    if (!this.composed) return failures
    const plan = await this.plan()
    const output = new Output(plan)
    const own = failures.map((failure) => output.toJob(failure))
    const found = await allFailures(this.backend, this.job, plan, own)
    return found.map((failure) => ({ ...failure, ...this.mapped(failure) }))
  }

  /**
   * Ends the job for all peers: what runs is aborted, what is done stays readable. Nothing happens to one that is over.
   * @returns whether it was not over
   * @throws ERR_MESH_NOT_CONTROLLER, ERR_MESH_OPTION_INVALID (a reason of more than 1 KiB), ERR_MESH_STOPPED
   */
  async cancel(reason = ''): Promise<boolean> {
    return (await this.backend.cancel([this.id], reason)).length > 0
  }

  /** No item starts any more until `resume()`; what runs ends. @throws ERR_MESH_JOB_OVER, ERR_MESH_NOT_CONTROLLER, ERR_MESH_STOPPED */
  async pause(): Promise<void> {
    await this.backend.pause(this.id)
  }

  /** Goes on after `pause()`. @throws as `pause()` */
  async resume(): Promise<void> {
    await this.backend.resume(this.id)
  }

  /**
   * A new job over the items that failed (of a cancelled job also those without a result), with the same task and options, but for those
   * given here; `retried` of it says which items they were. Its key and delayed start are not taken over.
   * @returns undefined when nothing failed
   * @throws ERR_MESH_JOB_RUNNING when the job is not over, ERR_MESH_UNSUPPORTED for a kernel or a composition, ERR_MESH_INPUT_LOST,
   * ERR_MESH_RESULT_LOST, and as `submit`
   */
  async retry(options: SubmitOptions = {}): Promise<Job<O> | undefined> {
    const { backend, bundle } = this
    const plan = await planRetry(backend, await this.info(), options)
    if (plan === undefined) return undefined
    const { request, items: retried } = plan
    const { signal, detach = false, onProgress } = options
    signal?.throwIfAborted()
    const reply = await backend.submit({ ...request, ...(detach && { detach }) })
    const { job: id, heldBy, attached } = reply
    const items = retried.length
    const job = new Job<O>({ backend, id, items, heldBy, attached, retried, bundle, signal })
    if (onProgress !== undefined) job.onProgress(onProgress)
    return job
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
}
