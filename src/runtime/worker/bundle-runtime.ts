/** What `import … from 'meshwork'` gives inside a worker, and what its tasks leave there. */
import { isMeshError, MeshError } from '../../base/errors.ts'
import { chain, chord, chunks, group, map, reduce, signature, starmap } from '../compose.ts'
import { defineTask, isTask, type Task, type TaskDefinition } from '../task.ts'
import { RUNTIME_SYMBOL } from '../task-stub.ts'

export interface BundleRuntime {
  /** Every task defined so far, by name. */
  readonly tasks: ReadonlyMap<string, Task>
  /** Resolves when the bundle's top level called joinMesh(): it goes no further, and all tasks above are defined. */
  readonly parked: Promise<void>
}

/** Puts it in place, before the bundle is loaded. `more`: what else it may import. */
export function installBundleRuntime(more: Readonly<Record<string, unknown>> = {}): BundleRuntime {
  const tasks = new Map<string, Task>()
  let park = (): void => {}
  const parked = new Promise<void>((resolve) => {
    park = resolve
  })
  const define = (definition: TaskDefinition<unknown, unknown, unknown>): Task => {
    const task = defineTask(definition)
    tasks.set(task.name, task)
    return task
  }
  Object.assign(globalThis, {
    [RUNTIME_SYMBOL]: {
      defineTask: define,
      isTask,
      MeshError,
      isMeshError,
      // A file of a composition builds it at its top level, on a worker too.
      ...{ chain, chord, chunks, group, map, reduce, signature, starmap },
      ...more,
      // A worker is no peer. The module that defines the task may be a whole program, which waits here for ever.
      joinMesh: () => {
        park()
        return new Promise(() => {})
      },
    },
  })
  return { tasks, parked }
}
