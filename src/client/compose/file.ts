/**
 * A file whose default export is a composition, or a function that gives one. It is run in this process: a composition holds functions,
 * and sources that are read as they come, which no other process could hand over. What is sent is the file's bundle, of which workers
 * pick the tasks that it defines (docs/adr/0023).
 */
import { isMeshError, MeshError } from '../../base/errors.ts'
import { defineKernel, perItem } from '../../gpu/define-kernel.ts'
import * as compose from '../../runtime/compose.ts'
import { type AnyComposition, isComposition } from '../../runtime/composition.ts'
import { defineTask, describe, isTask, type Task, type TaskDefinition } from '../../runtime/task.ts'
import type { TaskBundle } from '../task-code.ts'
import type { OwnTasks } from './tasks.ts'

/** Where compositions came from: their tasks are those of the file. */
const files = new WeakMap<AnyComposition, OwnTasks>()

/** The file's tasks, when the composition is a file's. */
export function ownTasksOf(composition: AnyComposition): OwnTasks | undefined {
  return files.get(composition)
}

export interface CompositionFile {
  readonly composition: AnyComposition
  /** `args` went to the function that gives it. */
  readonly usesArgs: boolean
}

/**
 * The composition that a file gives; undefined when it gives another thing, or fails when it is run (bundleTaskFile says why).
 * A function is called only in a file that composes: it may be a task.
 * @throws ERR_MESH_TASK_INVALID when its function throws, and what composing or bundling throws
 */
export async function compositionFile(
  path: string,
  args: unknown,
): Promise<CompositionFile | undefined> {
  const [{ bundleFileTasks, importOwnFile }, { defaultExportOf }] = await Promise.all([
    import('../../runtime/bundle.ts'),
    import('../../runtime/default-export.ts'),
  ])
  const tasks = new Set<Task>()
  let loading = true
  const define = (definition: TaskDefinition<unknown, unknown, unknown>): Task => {
    const task = defineTask(definition)
    // Later ones a worker does not find: it runs the top level alone.
    if (loading) tasks.add(task)
    return task
  }
  const { chain, chord, chunks, group, map, reduce, signature, starmap } = compose
  const meshwork = {
    ...{ chain, chord, chunks, group, map, reduce, signature, starmap },
    ...{ defineTask: define, defineKernel, perItem, isTask, MeshError, isMeshError },
  }
  const isWanted = (text: string): boolean => {
    const { kind } = defaultExportOf(text)
    return kind === 'unknown' || (kind === 'function' && COMPOSES.test(text))
  }
  const file = await importOwnFile(path, isWanted, meshwork)
  loading = false
  const found = file?.exports.default
  const composition = typeof found === 'function' ? await called(found, args, path) : found
  if (!isComposition(composition)) return undefined
  const bundle = (await bundleFileTasks(path)) as TaskBundle
  files.set(composition, { tasks, bundle })
  return { composition, usesArgs: typeof found === 'function' }
}

/** A use of what composes, as it stands in a bundle. */
const COMPOSES =
  /import_meshwork\w*\.map\b|\.(chain|chord|chunks|group|reduce|signature|starmap)\)\(|\.si?\(/

async function called(make: unknown, args: unknown, path: string): Promise<unknown> {
  let made: unknown
  try {
    made = await (make as (args: unknown) => unknown)(args)
  } catch (cause) {
    if (isMeshError(cause)) throw cause
    const what = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `${path}: its default export is a function, which threw${args === undefined ? ' (there are no --args)' : ''}: ${what}`,
      { cause },
    )
  }
  if (isComposition(made)) return made
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    `${path}: its default export is a function, which gave ${describe(made)} and no composition: a task over items needs items`,
  )
}
