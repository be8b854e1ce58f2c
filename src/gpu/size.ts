import type { Size } from './types.ts'

/** Items of an output: elements in 1-D, else rows along x. */
export function itemsOf(output: Size): number {
  return output.length === 1 ? output[0] : output[1] * (output[2] ?? 1)
}

/** Elements of one item. */
export function rowOf(output: Size): number {
  return output.length === 1 ? 1 : output[0]
}
