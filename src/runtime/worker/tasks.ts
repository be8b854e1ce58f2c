/** The tasks that a worker has loaded: each bundle is run once, and setup() of each task. */
import { type Surroundings, WorkerContext } from './context.ts'
import { type TaskRef, taskKey } from './frames.ts'
import { type LoadedBundle, type LoadedTask, loadBundle } from './load.ts'

export interface ReadyTask extends LoadedTask {
  readonly ctx: WorkerContext
}

export class Tasks {
  private readonly surroundings: Surroundings
  private readonly bundles = new Map<string, LoadedBundle>()
  private readonly ready = new Map<string, ReadyTask>()

  constructor(surroundings: Surroundings) {
    this.surroundings = surroundings
  }

  /** @throws what loadBundle throws, ERR_MESH_TASK_INVALID, ERR_MESH_TASK_NO_DEFAULT, or what setup() throws */
  async load(ref: TaskRef, checkOnly: boolean): Promise<ReadyTask> {
    const key = taskKey(ref)
    const known = this.ready.get(key)
    if (known !== undefined) return known
    const { bundle, pick } = ref
    let loaded = this.bundles.get(bundle.hash)
    if (loaded === undefined) {
      loaded = await loadBundle(bundle)
      this.bundles.set(bundle.hash, loaded)
    }
    const found = loaded.task(pick)
    const ctx = new WorkerContext(this.surroundings)
    if (!checkOnly && found.task.setup !== undefined) ctx.state = await found.task.setup(ctx)
    const task: ReadyTask = { ...found, ctx }
    this.ready.set(key, task)
    return task
  }

  /** One that is loaded. */
  get(ref: TaskRef): ReadyTask {
    const task = this.ready.get(taskKey(ref))
    if (task === undefined) throw new Error(`the task ${taskKey(ref)} is not loaded`)
    return task
  }
}
