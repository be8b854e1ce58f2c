import { MeshError } from '../base/errors.ts'
import type { Kernel } from '../gpu/define-kernel.ts'
import type { JobInfo, JobRequest, MeshBackend, MeshStatus, PeerInfo } from '../node/types.ts'
import { type AnyComposition, type Composition, isComposition } from '../runtime/composition.ts'
import type { Task, TaskContext } from '../runtime/task.ts'
import { controllersOf } from './controllers.ts'
import { checkSource, type JobSource } from './input.ts'
import { Job } from './job.ts'
import { kernelOf, prepareKernel, refuseKernel } from './kernel.ts'
import { MAX_REMEMBERED_BUNDLES } from './limits.ts'
import { type SubmitOptions, toJobOptions } from './options.ts'
import { spool } from './spool.ts'
import { bundleOf, checkRangeEnds, type TaskBundle, withChecker } from './task-code.ts'

/** A function that needs nothing but its arguments: its source is what is sent. */
export type ItemFunction<I, O> = (item: I, ctx: TaskContext) => O | Promise<O>

/** What `submit` and `map` run: a task, a bare self-contained function, or the path (or file URL) of a task file. */
export type TaskLike<I, O> = Task<I, O> | ItemFunction<I, O> | string | URL

/**
 * A mesh, as one peer of it sees it: from `joinMesh()`, which runs a peer in this process, or `connectMesh()`, which talks to a
 * running one. `await using mesh = await joinMesh()` stops it at the end of the block.
 */
export class Mesh implements AsyncDisposable {
  private readonly backend: MeshBackend
  /** By job: their source maps turn the stacks of failed items into the user's own lines. */
  private readonly bundles = new Map<string, TaskBundle | readonly TaskBundle[]>()
  private stopping: Promise<void> | undefined

  /** Over any backend; users have `joinMesh()` and `connectMesh()`. */
  constructor(backend: MeshBackend) {
    this.backend = backend
  }

  /**
   * Runs a task over many items on the mesh, and returns as soon as the job is written down; its results are read from the Job.
   * An (async) iterable is read to its end first: the job starts then.
   * @param task a task of `defineTask`, a bare self-contained function, or the path of a task file; or a kernel of `defineKernel`, or the
   *   path of a kernel file, whose items are the elements (or rows) of its output
   * @param input `{ range: [a, b] }`, `{ items }`, `{ lines }` or an (async) iterable; none for a kernel
   * @throws ERR_MESH_OPTION_INVALID, ERR_MESH_RANGE_INVALID, ERR_MESH_INPUT_INVALID, ERR_MESH_INPUT_NOT_FOUND, ERR_MESH_TASK_* (the
   * task's code), ERR_MESH_ITEM_REFUSED (its schema), ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE, ERR_MESH_TOO_LARGE,
   * ERR_MESH_STOPPED
   */
  submit(
    kernel: Kernel,
    input?: undefined,
    options?: SubmitOptions,
  ): Promise<Job<number | Float32Array>>
  /** A composition as one job, whose `collect()` gives its value (docs/library.md, "Compositions"). */
  submit<V>(composition: Composition<V>, options?: SubmitOptions): Promise<Job<unknown, V>>
  submit<I, O>(
    task: TaskLike<I, O>,
    input: JobSource<NoInfer<I>>,
    options?: SubmitOptions,
  ): Promise<Job<Awaited<O>>>
  async submit<I, O>(
    task: TaskLike<I, O> | Kernel | Composition,
    input: JobSource<NoInfer<I>> | SubmitOptions | undefined,
    options: SubmitOptions = {},
  ): Promise<unknown> {
    this.assertRunning()
    if (isComposition(task)) {
      checkComposed(input)
      return this.submitComposition(task, (input ?? options) as SubmitOptions)
    }
    checkTask(task)
    options.signal?.throwIfAborted()
    if (input === undefined) {
      const kernel = await kernelOf(task)
      if (kernel !== undefined) return this.submitKernel(kernel, options)
    }
    refuseKernel(task)
    return this.submitTask(task as TaskLike<I, O>, input as JobSource<I>, options)
  }

  private async submitTask<I, O>(
    task: TaskLike<I, O>,
    input: JobSource<I>,
    options: SubmitOptions,
  ): Promise<Job<Awaited<O>>> {
    const jobOptions = toJobOptions(options)
    const { signal } = options
    const source = await checkSource(input)
    const bundle = await bundleOf(task)
    signal?.throwIfAborted()
    const [jobInput] = await Promise.all([
      withChecker(bundle, async (checker) => {
        if (source.kind === 'items') return spool(this.backend, source.items, { checker, signal })
        if (checker !== undefined) await checkRangeEnds(checker, source)
        return source
      }),
      this.backend.putBlob(bundle.code),
    ])
    const { name, hash, code } = bundle
    const jobTask = { kind: 'module', name, bundle: hash, bundleBytes: code.byteLength } as const
    return this.begin({ task: jobTask, input: jobInput, options: jobOptions }, options, bundle)
  }

  private async submitComposition(
    composition: AnyComposition,
    options: SubmitOptions,
  ): Promise<Job<unknown, unknown>> {
    const jobOptions = toJobOptions(options)
    const { signal } = options
    signal?.throwIfAborted()
    const { prepareComposition } = await import('./compose/submission.ts')
    const { request, bundles } = await prepareComposition(
      this.backend,
      composition,
      jobOptions,
      signal,
    )
    return this.begin(request, options, bundles)
  }

  /**
   * The value of a composition: `submit` and `collect` in one.
   * @throws ERR_MESH_ITEMS_FAILED when what it needs failed, and as `submit`
   */
  async run<V>(
    composition: Composition<V>,
    options: Omit<SubmitOptions, 'detach'> = {},
  ): Promise<V> {
    const job = await this.submit(composition, options)
    return job.collect()
  }

  private async submitKernel<O>(kernel: Kernel, options: SubmitOptions): Promise<Job<Awaited<O>>> {
    const { args, ...rest } = options
    const jobOptions = toJobOptions(rest)
    const { task, input } = await prepareKernel(this.backend, kernel, args)
    return this.begin({ task, input, options: jobOptions }, options)
  }

  private async begin<O>(
    request: JobRequest,
    options: SubmitOptions,
    bundle?: TaskBundle | readonly TaskBundle[],
  ): Promise<Job<Awaited<O>>> {
    const { signal, detach = false, onProgress } = options
    signal?.throwIfAborted()
    const {
      job: id,
      heldBy,
      attached,
    } = await this.backend.submit({
      ...request,
      options: { ...request.options, ...(await controllersOf(this.backend, options.controllers)) },
      ...(detach && { detach }),
    })
    if (bundle !== undefined) this.remember(id, bundle)
    const items = request.input.count
    const { plan } = request
    const parts = { backend: this.backend, id, items, heldBy, attached, bundle, signal, plan }
    const job = new Job<Awaited<O>>(parts)
    if (onProgress !== undefined) job.onProgress(onProgress)
    return job
  }

  /**
   * The values of `task` over `items`, in order: `submit` and `collect` in one.
   * @throws ERR_MESH_ITEMS_FAILED when items failed (`details.values`, `details.failures`), and as `submit`
   */
  async map<I, O>(
    task: TaskLike<I, O>,
    items: Iterable<NoInfer<I>> | AsyncIterable<NoInfer<I>>,
    options: Omit<SubmitOptions, 'detach'> = {},
  ): Promise<Awaited<O>[]> {
    const job = await this.submit<I, O>(task, { items }, options)
    return job.collect()
  }

  /**
   * A job that was submitted before, here or on another peer, by this process or another.
   * @param id its id, a unique prefix of it (4 characters or more), or 'last'
   * @throws ERR_MESH_JOB_UNKNOWN (neither this peer nor a connected one knows it), ERR_MESH_JOB_AMBIGUOUS, ERR_MESH_JOB_COLLECTED
   */
  async job<O = unknown, V = O[]>(id: string): Promise<Job<O, V>> {
    this.assertRunning()
    if (typeof id !== 'string' || id === '') {
      throw new MeshError('ERR_MESH_JOB_UNKNOWN', `a job id is a string, or 'last'`)
    }
    const info = await this.backend.job(id)
    return new Job<O, V>({
      backend: this.backend,
      id: info.id as Job['id'] & Parameters<MeshBackend['watch']>[0],
      items: info.items,
      bundle: this.bundles.get(info.id),
      composed: info.task.kind === 'graph',
    })
  }

  /** The jobs that this peer knows, newest first. */
  async jobs(): Promise<JobInfo[]> {
    this.assertRunning()
    return this.backend.jobs()
  }

  /**
   * Drops this peer's copy of a finished or cancelled job at once: its log, its results and its input. Other peers keep theirs.
   * @returns its id
   * @throws ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS, ERR_MESH_JOB_RUNNING, ERR_MESH_JOB_COLLECTED
   */
  async forget(id: string): Promise<string> {
    this.assertRunning()
    return this.backend.forget(id)
  }

  /**
   * Ends jobs for all peers: what runs is aborted, what is done stays readable. `'all'`: every job that this peer knows and may control.
   * @param options `reason`: text that everyone sees, at most 1 KiB
   * @returns ids of those that were not over
   * @throws ERR_MESH_NOT_CONTROLLER (then none is cancelled), ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS, ERR_MESH_JOB_COLLECTED
   */
  async cancel(
    ids: string | readonly string[],
    options: { readonly reason?: string } = {},
  ): Promise<string[]> {
    this.assertRunning()
    const jobs = typeof ids === 'string' && ids !== 'all' ? [ids] : ids
    checkCancel(jobs, options)
    return this.backend.cancel(jobs as readonly string[] | 'all', options.reason ?? '')
  }

  /** No item of the job starts any more until `resume`; what runs ends. @returns its id @throws ERR_MESH_JOB_OVER, and as `cancel` */
  async pause(id: string): Promise<string> {
    this.assertRunning()
    return this.backend.pause(id)
  }

  /** Goes on after `pause`. @returns its id @throws as `pause` */
  async resume(id: string): Promise<string> {
    this.assertRunning()
    return this.backend.resume(id)
  }

  /** A new job over what failed of an old one: `job.retry()`. @throws as that, and as `job` */
  async retry<O = unknown>(id: string, options: SubmitOptions = {}): Promise<Job<O> | undefined> {
    return (await this.job<O>(id)).retry(options)
  }

  /** This peer, and those that it knows. */
  async peers(): Promise<PeerInfo[]> {
    this.assertRunning()
    return this.backend.peers()
  }

  /** How this peer does: its addresses, workers, loop delay, warnings. */
  async status(): Promise<MeshStatus> {
    this.assertRunning()
    return this.backend.status()
  }

  /** One line that lets another machine join: `mesh join <ticket>`, or `joinMesh({ ticket })`. It holds the mesh's key: a secret. */
  async ticket(): Promise<string> {
    this.assertRunning()
    return this.backend.ticket()
  }

  /** Leaves cleanly: a peer in this process stops (what it ran goes on elsewhere), a connection to a running peer closes. */
  stop(): Promise<void> {
    this.stopping ??= this.backend.close()
    return this.stopping
  }

  /** `stop()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  private assertRunning(): void {
    if (this.stopping === undefined) return
    throw new MeshError('ERR_MESH_STOPPED', 'this mesh was stopped: call joinMesh() again')
  }

  private remember(job: string, bundle: TaskBundle | readonly TaskBundle[]): void {
    this.bundles.set(job, bundle)
    if (this.bundles.size <= MAX_REMEMBERED_BUNDLES) return
    for (const oldest of this.bundles.keys()) {
      this.bundles.delete(oldest)
      return
    }
  }
}

/** What stands in the place of options beside a composition may be items. @throws ERR_MESH_INPUT_INVALID */
function checkComposed(input: unknown): void {
  if (typeof input !== 'object' || input === null) return
  const isInput = ['range', 'items', 'lines'].some((key) => key in input)
  if (!isInput && !(Symbol.iterator in input) && !(Symbol.asyncIterator in input)) return
  throw new MeshError(
    'ERR_MESH_INPUT_INVALID',
    'a composition (task.s(), group() and the like) brings its own items: map(task, items) runs a task over items, and map(task.s(…), items) with more arguments',
  )
}

/** @throws ERR_MESH_TASK_INVALID */
function checkTask(task: unknown): void {
  if (task !== undefined && !Array.isArray(task)) return
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    task === undefined
      ? 'there is nothing to run: give a task and its items, a kernel or a composition'
      : 'a list is no task: group([…]) runs the compositions in it beside each other, and items come second, submit(task, items)',
  )
}

/** @throws ERR_MESH_OPTION_INVALID */
function checkCancel(jobs: unknown, options: unknown): void {
  const wrong = (option: string, message: string): MeshError =>
    new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
  const ids = jobs === 'all' || (Array.isArray(jobs) && jobs.every((id) => typeof id === 'string'))
  if (!ids) throw wrong('ids', "cancel() takes a job's id, a list of ids, or 'all'")
  const reason = typeof options === 'object' && options !== null ? options : undefined
  const text = reason === undefined ? undefined : Reflect.get(reason, 'reason')
  if (reason === undefined || (text !== undefined && typeof text !== 'string')) {
    throw wrong('reason', "the reason is text among the options: cancel(ids, { reason: '…' })")
  }
}
