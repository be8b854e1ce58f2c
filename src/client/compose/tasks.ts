/** The tasks of a composition and their code: each is bundled once, those of one module share a bundle. */
import { MeshError } from '../../base/errors.ts'
import type { Runnable } from '../../runtime/composition.ts'
import { isTask, type Task } from '../../runtime/task.ts'
import { bundleOf, type TaskBundle } from '../task-code.ts'

/** A task that a composition calls. */
export interface TaskRef {
  readonly task: Runnable
  readonly name: string
  /** A function that gets the elements of its item as arguments of its own. */
  readonly spread: boolean
}

export interface TaskCode {
  readonly name: string
  readonly bundle: TaskBundle
  /** It is one of those that the bundle defines, and not its default export. */
  readonly pick: boolean
}

/** Tasks that a file defined while it was run here, and the file's bundle. */
export interface OwnTasks {
  readonly tasks: ReadonlySet<Task>
  readonly bundle: TaskBundle
}

/** Loaded when first used, as in task-code.ts. */
const bundler = () => import('../../runtime/bundle.ts')

/** Tells tasks apart: by identity, functions by their text, since they hold nothing else. */
export class TaskBook {
  private readonly refs = new Map<unknown, TaskRef>()
  private readonly codes = new Map<TaskRef, Promise<TaskCode>>()
  private readonly own: OwnTasks | undefined

  constructor(own?: OwnTasks) {
    this.own = own
  }

  /** `spread`: if it is a function. */
  ref(task: Runnable, spread = false): TaskRef {
    const isFunction = typeof task === 'function'
    const key = isFunction ? `${spread ? 's' : 'f'}${String(task)}` : task
    let ref = this.refs.get(key)
    if (ref === undefined) {
      ref = { task, name: taskName(task), spread: spread && isFunction }
      this.refs.set(key, ref)
    }
    return ref
  }

  /** @throws ERR_MESH_TASK_* */
  code(ref: TaskRef): Promise<TaskCode> {
    let code = this.codes.get(ref)
    if (code === undefined) {
      code = this.bundle(ref)
      this.codes.set(ref, code)
    }
    return code
  }

  /** All of them, in the order in which they are told of. @throws ERR_MESH_TASK_* */
  async allCode(refs: Iterable<TaskRef>): Promise<Map<TaskRef, TaskCode>> {
    const list = [...refs]
    this.refuseTwins(list)
    const codes = await Promise.all(list.map((ref) => this.code(ref)))
    return new Map(list.map((ref, i) => [ref, codes[i]!]))
  }

  private async bundle(ref: TaskRef): Promise<TaskCode> {
    const { task, spread } = ref
    if (isTask(task) && this.own?.tasks.has(task)) {
      const { bundle } = this.own
      const { input } = task
      const schema = input === undefined ? {} : { inputSchema: input }
      const code = { ...bundle, hasSchema: input !== undefined, ...schema }
      return { name: task.name, bundle: code, pick: true }
    }
    if (isTask(task) && task.module !== undefined) {
      const bundle = (await (await bundler()).bundleModuleTask(task)) as TaskBundle
      return { name: task.name, bundle, pick: true }
    }
    if (spread) {
      const bundle = await (await bundler()).bundleSpread(task as (...args: never[]) => unknown)
      return { name: bundle.name, bundle: bundle as TaskBundle, pick: false }
    }
    const bundle = await bundleOf(task)
    return { name: bundle.name, bundle, pick: false }
  }

  /** Of two tasks with one name in a bundle, which one is meant cannot be told. */
  private refuseTwins(refs: readonly TaskRef[]): void {
    const seen = new Set<string>()
    for (const { task } of refs) {
      if (!isTask(task)) continue
      const own = this.own?.tasks.has(task) === true
      if (!own && task.module === undefined) continue
      const key = `${own ? '' : task.module}\n${task.name}`
      if (seen.has(key)) {
        throw new MeshError(
          'ERR_MESH_TASK_INVALID',
          `two tasks of one file are named "${task.name}": give each a name of its own`,
        )
      }
      seen.add(key)
    }
  }
}

/** What people call it before its code is read. */
export function taskName(task: Runnable): string {
  if (typeof task === 'string' || task instanceof URL) {
    return /([^/\\]+?)(\.[cm]?[jt]s)?$/.exec(String(task))?.[1] ?? 'task'
  }
  return (task as { readonly name?: string }).name || 'function'
}
