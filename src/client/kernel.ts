import { MeshError } from '../base/errors.ts'
import {
  defineKernel,
  isKernel,
  type Kernel,
  type KernelInput,
  perItem,
} from '../gpu/define-kernel.ts'
import { encodeKernelSpec } from '../gpu/kernel-codec.ts'
import { kernelSpec } from '../gpu/kernel-spec.ts'
import { itemsOf } from '../gpu/size.ts'
import type { MeshBackend } from '../node/types.ts'
import { defineTask, describe } from '../runtime/task.ts'
import type { BlobHash, JobInput, JobTask } from '../scheduler/types.ts'
import { pathOf } from './task-code.ts'

/** What a kernel file imports from 'meshwork'. */
const OWN_EXPORTS = { defineKernel, perItem, defineTask }

/** The kernel that `task` is, or that the file it names has as its default export; undefined when it is none. @throws ERR_MESH_TASK_* */
export async function kernelOf(task: unknown): Promise<Kernel | undefined> {
  if (isKernel(task)) return task
  if (typeof task !== 'string' && !(task instanceof URL)) return undefined
  const { importOwnFile } = await import('../runtime/bundle.ts')
  const found = (await importOwnFile(pathOf(task), 'defineKernel', OWN_EXPORTS))?.default
  return isKernel(found) ? found : undefined
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
  const { spec, arrays } = kernelSpec(kernel, args as readonly KernelInput[] | undefined)
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
