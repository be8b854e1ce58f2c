import { MeshError } from '../base/errors.ts'
import { rowOf } from '../base/extents.ts'
import type { Launch } from './types.ts'

/** What is wrong with the length of a launch's output, as it came from the process: what is longer or shorter is of no item that is known. */
export function lengthFault(bytes: Uint8Array, { spec, lo, hi }: Launch): MeshError | undefined {
  const right = (hi - lo) * rowOf(spec.output) * Float32Array.BYTES_PER_ELEMENT
  if (bytes.byteLength === right) return undefined
  return new MeshError(
    'ERR_MESH_KERNEL_FAILED',
    `the GPU process gave ${bytes.byteLength} bytes for items ${lo} to ${hi} of the kernel ${spec.name}, which are ${right}, and was killed`,
  )
}
