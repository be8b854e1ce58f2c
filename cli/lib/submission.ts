/** What can be told wrong of a submit, or of the file that results go to, before any peer is asked. */

import { existsSync } from 'node:fs'
import { MeshError } from '../../src/base/errors.ts'
import { elementsOf } from '../../src/base/extents.ts'
import { checkInput, type InputSource, itemsOfKernel, noItems } from './input.ts'
import { sizeText } from './job-view.ts'
import type { Composition, Kernel, Library, SubmitOptions } from './library.ts'
import { MAX_JSON_ARRAY } from './limits.ts'
import { checkOutputs } from './sink.ts'

/** What is submitted: a task file over items, a kernel, or a composition. */
export interface Submission {
  readonly task: string | Kernel | Composition
  readonly source: InputSource | undefined
  readonly options: SubmitOptions
  readonly kernel: Kernel | undefined
}

interface Given {
  readonly task: string
  readonly source: InputSource | undefined
  readonly options: SubmitOptions
}

interface ResultFlags {
  readonly out?: string
  readonly errors?: string
  readonly json?: boolean
  readonly detach?: boolean
}

/** @throws ERR_MESH_TASK_*, ERR_MESH_KERNEL_INVALID, ERR_MESH_OPTION_INVALID, ERR_MESH_INPUT_NOT_FOUND */
export async function prepareSubmission(
  library: Library,
  { task, source, options }: Given,
  flags: ResultFlags,
): Promise<Submission> {
  if (!existsSync(task)) {
    throw new MeshError('ERR_MESH_TASK_NOT_FOUND', `there is no task file ${task}`, {
      details: { path: task },
    })
  }
  await checkInput(source)
  await checkOutputs(flags)
  const kernel = await library.kernelOf(task, source === undefined)
  if (kernel === undefined) {
    if (source === undefined) {
      const found = await library.compositionOf(task, options.args)
      if (found !== undefined) {
        const { composition, usesArgs } = found
        const { args, ...rest } = options
        const given = usesArgs ? rest : options
        library.checkOptions(given)
        await checkResultFile(library, flags, null)
        return { task: composition, source, options: given, kernel }
      }
      // A file that fails when it is run is neither, and says more than that items are missing.
      await library.checkTask(task)
      throw noItems()
    }
    library.checkOptions(options)
    await checkResultFile(library, flags, null)
    return { task, source, options, kernel }
  }
  if (source !== undefined) throw itemsOfKernel(kernel.name, source)
  refuseWorkerOptions(options)
  await checkResultFile(library, flags, kernel.output)
  return { task: kernel, source, options: library.kernelOptions(kernel, options), kernel }
}

/**
 * Whether --out (or --json) suits the results. `size`: extents of a kernel's output; null: of another task.
 * @throws ERR_MESH_OPTION_INVALID
 */
export async function checkResultFile(
  library: Library,
  { out, json, detach }: ResultFlags,
  size: readonly number[] | null,
): Promise<void> {
  if (size === null) {
    if (out === undefined || !library.isArrayFile(out)) return
    throw wrong(
      '--out',
      `--out ${out} is a file for the array of a kernel, and this job's results are values, one a line: write --out FILE.ndjson`,
    )
  }
  if (out === '-') {
    throw wrong(
      '--out',
      'the array of a kernel goes to a file, not to stdout: --out FILE.png, .npy, .csv or .f32',
    )
  }
  if (out !== undefined) {
    await library.checkArrayFile(out, size)
    return
  }
  const elements = elementsOf(size)
  if (json !== true || detach === true || elements <= MAX_JSON_ARRAY) return
  throw wrong(
    '--json',
    `--json prints at most ${MAX_JSON_ARRAY} numbers, and the output has ${sizeText(size)}: write them to a file with --out FILE.npy (or .png, .csv, .f32)`,
  )
}

/** They are of the workers that run tasks; a kernel runs in none. */
function refuseWorkerOptions(options: SubmitOptions): void {
  const { memory, retries, backoff, softTimeLimit, maxItemsPerWorker } = options
  const given = [
    memory === undefined ? [] : ['--memory'],
    retries === undefined ? [] : ['--retries'],
    backoff === undefined ? [] : ['--backoff'],
    softTimeLimit === undefined ? [] : ['--soft-time-limit'],
    maxItemsPerWorker === undefined ? [] : ['--max-items-per-worker'],
  ].flat()
  const [first] = given
  if (first === undefined) return
  throw wrong(
    first,
    `${given.join(' and ')}: only tasks have workers, a kernel runs in none; leave it out`,
  )
}

function wrong(option: string, message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
}
