/** From a composition to what a peer is asked to run. */
import type { JobRequest, MeshBackend } from '../../node/types.ts'
import type { AnyComposition } from '../../runtime/composition.ts'
import type { BlobHash, JobOptions } from '../../scheduler/types.ts'
import type { TaskBundle } from '../task-code.ts'
import { compile, toPlan } from './compile.ts'
import { ownTasksOf } from './file.ts'
import { nameOf } from './name.ts'
import { checkCalls, mapsOf, spoolSources, spoolValues } from './sources.ts'
import { TaskBook } from './tasks.ts'

/** The backend puts the plan's own hash in its place. */
const NO_BLOB = '0'.repeat(64) as BlobHash

export interface PreparedComposition {
  readonly request: JobRequest
  /** For the stacks of what fails. */
  readonly bundles: readonly TaskBundle[]
}

/**
 * Bundles the tasks, reads the sources, makes the plan; bundles and pieces are with the backend then.
 * @throws ERR_MESH_OPTION_INVALID, ERR_MESH_INPUT_*, ERR_MESH_RANGE_INVALID, ERR_MESH_TASK_*, ERR_MESH_ITEM_REFUSED,
 * ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE, ERR_MESH_TOO_LARGE
 */
export async function prepareComposition(
  backend: Pick<MeshBackend, 'putBlob'>,
  composition: AnyComposition,
  options: JobOptions,
  signal?: AbortSignal,
): Promise<PreparedComposition> {
  const book = new TaskBook(ownTasksOf(composition))
  const sources = await spoolSources(backend, mapsOf(composition), book, signal)
  const compiled = compile(composition, sources, book, options)
  const codes = await book.allCode(compiled.tasks)
  signal?.throwIfAborted()
  await checkCalls(compiled.drafts, codes)
  const bundles = new Map([...codes.values()].map(({ bundle }) => [bundle.hash, bundle]))
  const [inputs] = await Promise.all([
    spoolValues(backend, compiled.drafts, signal),
    ...[...bundles.values()].map(({ code }) => backend.putBlob(code)),
  ])
  const { plan, items } = toPlan(compiled, codes, inputs)
  const name = nameOf(composition)
  return {
    request: {
      task: { kind: 'graph', name, bundle: NO_BLOB, bundleBytes: 0 },
      input: { kind: 'range', start: 0, count: items },
      options,
      plan,
    },
    bundles: [...bundles.values()],
  }
}
