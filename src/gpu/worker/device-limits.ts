/** A kernel against what this device can do: said before it runs, in the kernel's own words. */

import { MeshError } from '../../base/errors.ts'
import { elementsOf } from '../../base/extents.ts'
import type { Box } from '../rewrite.ts'
import { arrayArguments, ELEMENT_BYTES, type Plan, sliceOf } from './engine.ts'

/** gpu.js computes 64 elements of a 1-D output in one workgroup, else 8 × 8 × 1. */
const GROUP_1D = [64]
const GROUP_2D = [8, 8, 1]
const AXES = 'xyz'

export interface DeviceLimits {
  readonly maxStorageBuffersPerShaderStage: number
  readonly maxStorageBufferBindingSize: number
  readonly maxBufferSize: number
  readonly maxComputeWorkgroupsPerDimension: number
}

/** @throws ERR_MESH_KERNEL_FAILED: another device may have room for it */
export function checkDeviceLimits(plan: Plan, boxes: readonly Box[], limits: DeviceLimits): void {
  const arrays = arrayArguments(plan)
  // The output takes one more.
  const buffers = limits.maxStorageBuffersPerShaderStage - 1
  if (arrays.length > buffers) {
    throw tooMuch(
      `the kernel ${plan.name} takes ${arrays.length} arrays, and this device ${buffers} at most: put some of them into one array`,
    )
  }
  const maxBytes = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize)
  for (const arg of arrays) {
    const whole = elementsOf(arg.size) * ELEMENT_BYTES
    const bytes = arg.perItem ? Math.max(...boxes.map((box) => sliceOf(arg, box).bytes)) : whole
    if (bytes > maxBytes) {
      const remedy = arg.perItem ? 'launch fewer items at once' : 'split it, or make it perItem'
      throw tooMuch(
        `the array ${arg.name} needs ${bytes} bytes, and this device takes ${maxBytes} in one buffer: ${remedy}`,
      )
    }
  }
  for (const box of boxes) checkBox(plan, box, maxBytes, limits.maxComputeWorkgroupsPerDimension)
}

function checkBox(plan: Plan, box: Box, maxBytes: number, maxGroups: number): void {
  const bytes = elementsOf(box.extent) * ELEMENT_BYTES
  if (bytes > maxBytes) {
    throw tooMuch(
      `${bytes} bytes of output are more than the ${maxBytes} that this device takes in one buffer: launch fewer items at once`,
    )
  }
  const is1d = plan.output.length === 1
  const groups = is1d ? GROUP_1D : GROUP_2D
  // What does not fit along x of a 1-D output goes on along y.
  const most = is1d ? maxGroups ** 2 : maxGroups
  box.extent.forEach((extent, axis) => {
    const group = groups[axis]!
    if (Math.ceil(extent / group) <= most) return
    throw tooMuch(
      `an output of ${extent} along ${AXES[axis]} is more than the ${most * group} that this device computes at once: ${axis === plan.output.length - 1 ? 'launch fewer items at once' : 'make that axis the last one'}`,
    )
  })
}

function tooMuch(message: string): MeshError {
  return new MeshError('ERR_MESH_KERNEL_FAILED', message)
}
