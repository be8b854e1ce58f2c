import { fileURLToPath } from 'node:url'
import { MeshError } from '../base/errors.ts'
import type { ItemChecker, TaskBundle as RuntimeBundle } from '../runtime/bundle.ts'
import { describe, isTask } from '../runtime/task.ts'
import type { BlobHash } from '../scheduler/types.ts'
import { itemRefused } from './spool.ts'

/** A task's code, bundled. */
export type TaskBundle = RuntimeBundle & { readonly hash: BlobHash }

/** Loaded when first used: programs that only read results need neither esbuild nor a parser. */
const bundler = () => import('../runtime/bundle.ts')

/** @throws ERR_MESH_TASK_* */
export async function bundleOf(task: object | string): Promise<TaskBundle> {
  if (typeof task === 'string' || task instanceof URL) {
    const path = pathOf(task)
    return (await (await bundler()).bundleTaskFile(path)) as TaskBundle
  }
  if (typeof task !== 'function' && !isTask(task)) {
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `a task is what defineTask returns, a function, or the path of a task file, not ${describe(task)}`,
    )
  }
  const { bundleInline } = await bundler()
  return (await bundleInline(task as Parameters<typeof bundleInline>[0])) as TaskBundle
}

/** Runs `use` with what checks items against the task's schema; undefined when it has none. */
export async function withChecker<T>(
  bundle: TaskBundle,
  use: (checker: ItemChecker | undefined) => Promise<T>,
): Promise<T> {
  if (!bundle.hasSchema) return use(undefined)
  const { createItemChecker } = await bundler()
  const checker = await createItemChecker(bundle)
  try {
    return await use(checker)
  } finally {
    await checker.close()
  }
}

/** A range is not sent item by item: its two ends tell whether the task takes such numbers at all. */
export async function checkRangeEnds(
  checker: ItemChecker,
  range: { readonly start: number; readonly count: number },
): Promise<void> {
  if (range.count === 0) return
  const ends = range.count === 1 ? [0] : [0, range.count - 1]
  const [refused] = await checker.check(ends.map((item) => range.start + item))
  if (refused !== undefined) throw itemRefused(ends[refused.index] ?? 0, refused)
}

export function pathOf(task: string | URL): string {
  if (typeof task === 'string' && !task.startsWith('file:')) return task
  try {
    return fileURLToPath(task)
  } catch (cause) {
    throw new MeshError(
      'ERR_MESH_TASK_NOT_FOUND',
      `${String(task)} is no file URL of a task file`,
      {
        cause,
      },
    )
  }
}
