import { isMeshError, MeshError } from '../base/errors.ts'
import { itemsOf } from '../base/extents.ts'
import {
  defineKernel,
  isKernel,
  isPerItem,
  type Kernel,
  type KernelArray,
  type KernelInput,
  perItem,
} from '../gpu/define-kernel.ts'
import { encodeKernelSpec } from '../gpu/kernel-codec.ts'
import { kernelSpec } from '../gpu/kernel-spec.ts'
import type { MeshBackend } from '../node/types.ts'
import type { OwnFile } from '../runtime/bundle.ts'
import type { DefaultExport } from '../runtime/default-export.ts'
import { sourcePlace } from '../runtime/stacks.ts'
import { defineTask, describe, isTask } from '../runtime/task.ts'
import type { BlobHash, JobInput, JobTask } from '../scheduler/types.ts'
import { pathOf } from './task-code.ts'

/** What a kernel file imports from 'meshwork'. */
const OWN_EXPORTS = { defineKernel, perItem, defineTask }

const USE_DEFINE_KERNEL =
  "write `defineKernel({ name, kernel: function (a, b) { … }, output })`, from 'meshwork'"

/** The files that kernels were read from: what is wrong with one is told at its place there. */
const files = new WeakMap<Kernel, OwnFile>()

/**
 * The kernel that `task` is, or that the file it names has as its default export; undefined when it is none. The file is run in this
 * process, unless its text tells that its default export is another thing.
 * @throws ERR_MESH_TASK_*
 */
export async function kernelOf(task: unknown): Promise<Kernel | undefined> {
  if (isKernel(task)) return task
  if (typeof task !== 'string' && !(task instanceof URL)) {
    refuseFields(task)
    return undefined
  }
  const [{ importOwnFile }, { defaultExportOf }] = await Promise.all([
    import('../runtime/bundle.ts'),
    import('../runtime/default-export.ts'),
  ])
  const path = pathOf(task)
  const isWanted = (text: string): boolean =>
    text.includes('kernel') && mayBeKernel(path, defaultExportOf(text))
  const file = await importOwnFile(path, isWanted, OWN_EXPORTS)
  const found = file?.exports.default
  if (file === undefined || !isKernel(found)) return undefined
  files.set(found, file)
  return found
}

/** @throws ERR_MESH_TASK_INVALID, ERR_MESH_TASK_NO_DEFAULT for a kernel that is there, and cannot be submitted so */
function mayBeKernel(path: string, { kind, kernels }: DefaultExport): boolean {
  if (kind === 'fields') {
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `${path}: its default export is an object with a kernel, which is not yet a kernel: ${USE_DEFINE_KERNEL}`,
    )
  }
  const [name] = kernels
  if (kind === 'none' && name !== undefined) {
    throw new MeshError(
      'ERR_MESH_TASK_NO_DEFAULT',
      `${path}: its default export must be the kernel, and it has none; it exports a kernel as ${name}: write \`export default ${name}\``,
    )
  }
  return kind === 'kernel' || kind === 'unknown'
}

/** For what is submitted with items. @throws ERR_MESH_TASK_INVALID for a kernel, and for the fields of one */
export function refuseKernel(task: unknown): void {
  refuseFields(task)
  if (!isKernel(task)) return
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    `"${task.name}" is a kernel, whose items are the elements (or rows) of its output: submit it without items`,
  )
}

/** @throws ERR_MESH_TASK_INVALID for an object that has a kernel, and that nobody gave to defineKernel */
function refuseFields(task: unknown): void {
  if (typeof task !== 'object' || task === null || isTask(task)) return
  if (typeof (task as { kernel?: unknown }).kernel !== 'function') return
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    `an object with a kernel is not yet a kernel: ${USE_DEFINE_KERNEL}`,
  )
}

/**
 * `kernelSpec()`, whose complaint about a kernel that was read from a file names the place in that file.
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_KERNEL_INVALID
 */
export function specOf(
  kernel: Kernel,
  args: readonly KernelInput[] | undefined,
): ReturnType<typeof kernelSpec> {
  try {
    return kernelSpec(kernel, args)
  } catch (error) {
    const file = files.get(kernel)
    throw file !== undefined && isMeshError(error, 'ERR_MESH_KERNEL_INVALID')
      ? inFile(error, kernel.source, file)
      : error
  }
}

/**
 * A kernel's arguments as JSON says them: a value for each parameter, null the kernel's own. JSON has no perItem(): an array in the place
 * of one that launches get slices of is such a one too.
 * @param option what the user wrote them in
 * @throws ERR_MESH_OPTION_INVALID
 */
export function argsFromJson(
  { name, args: own }: Kernel,
  args: unknown,
  option: string,
): readonly KernelInput[] {
  if (!Array.isArray(args)) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `${option} of the kernel "${name}" must be a list with a value for each parameter, null for the kernel's own; as in ${option} '[[1, 2, 3], null]'`,
      { details: { option } },
    )
  }
  return args.map((value: unknown, i) => {
    const before = own[i]
    if (value === null && before !== undefined) return before
    // What it really is, kernelSpec tells.
    if (!isPerItem(before) || typeof value !== 'object') return value as KernelInput
    return perItem(value as KernelArray)
  })
}

/** The bundler joins lines: a place in the text that travels says nothing to its author. */
function inFile(error: MeshError, source: string, { text, map }: OwnFile): MeshError {
  const { line, column } = error.details
  if (typeof line !== 'number' || typeof column !== 'number') return error
  // What travels begins with a `function` that may be written otherwise in the file.
  const body = source.indexOf('(')
  const start = text.indexOf(source.slice(body))
  if (start === -1) return error
  const lines = source.split('\n')
  const at = lines.slice(0, line - 1).reduce((sum, { length }) => sum + length + 1, column - 1)
  const before = text.slice(0, start + Math.max(0, at - body)).split('\n')
  const place = sourcePlace(map, before.length, before.at(-1)!.length + 1)
  if (place === undefined) return error
  const message = error.message.replace(
    `, ${line}:${column}: `,
    () => `, ${place.path}:${place.line}:${place.column}: `,
  )
  return new MeshError(error.code, message, { cause: error, details: { ...place } })
}

/**
 * Writes a kernel and its arrays down, each once.
 * @param args in the place of the kernel's own
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_KERNEL_INVALID
 */
export async function prepareKernel(
  backend: Pick<MeshBackend, 'putBlob'>,
  kernel: Kernel,
  args: unknown,
): Promise<{ readonly task: JobTask; readonly input: JobInput }> {
  if (args !== undefined && !Array.isArray(args)) {
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `args of a kernel must be a list with a value for each parameter, not ${describe(args)}`,
    )
  }
  const { spec, arrays } = specOf(kernel, args as readonly KernelInput[] | undefined)
  const code = encodeKernelSpec(spec)
  const [bundle] = await Promise.all([
    backend.putBlob(code),
    ...[...arrays.values()].map((bytes) => backend.putBlob(bytes)),
  ])
  return {
    task: {
      kind: 'kernel',
      name: spec.name,
      bundle: bundle.hash,
      bundleBytes: bundle.sizeBytes,
      arrays: [...arrays].map(([hash, bytes]) => ({
        hash: hash as BlobHash,
        sizeBytes: bytes.byteLength,
      })),
      output: spec.output,
      requiresGpu: spec.requiresGpu,
    },
    input: { kind: 'range', start: 0, count: itemsOf(spec.output) },
  }
}
