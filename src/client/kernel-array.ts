import { MeshError } from '../base/errors.ts'
import { elementsOf } from '../base/extents.ts'
import type { ItemFailure, ResultBatch } from './results.ts'

/** What a kernel job gives. */
export interface KernelResult {
  readonly data: Float32Array
  /** [x], [x, y] or [x, y, z]; x runs fastest. */
  readonly size: readonly number[]
  /** Classes of devices that computed it, such as `webasm`. */
  readonly devices: readonly string[]
}

/** The output of a kernel of `items` rows, of whatever order its batches come in; 0 where an item failed. @throws ERR_MESH_PROTOCOL, and as `batches` */
export async function arrayOf(
  batches: AsyncIterable<ResultBatch<unknown>>,
  size: readonly number[],
  items: number,
): Promise<{ readonly result: KernelResult; readonly failures: readonly ItemFailure[] }> {
  const data = new Float32Array(elementsOf(size))
  const width = data.length / items
  const failures: ItemFailure[] = []
  const devices = new Set<string>()
  for await (const { lo, hi, numbers, device, failures: failed } of batches) {
    for (const failure of failed) failures.push(failure)
    if (device !== undefined) devices.add(device)
    if (numbers?.length === (hi - lo) * width) data.set(numbers, lo * width)
    else if (numbers !== undefined || failed.length < hi - lo) throw wrongRow(lo)
  }
  return { result: { data, size, devices: [...devices].sort() }, failures }
}

function wrongRow(index: number): MeshError {
  return new MeshError(
    'ERR_MESH_PROTOCOL',
    `the result of item ${index} is no row of the kernel's output`,
    { details: { index } },
  )
}
