/** Arrays of one to three dimensions, by their extents: [x], [x, y] or [x, y, z]; x runs fastest. */

export function elementsOf(size: readonly number[]): number {
  return size.reduce((product, extent) => product * extent, 1)
}

/** Items of a kernel's output: elements in 1-D, else rows along x. */
export function itemsOf([x = 0, y, z = 1]: readonly number[]): number {
  return y === undefined ? x : y * z
}

/** Elements of one item. */
export function rowOf(output: readonly number[]): number {
  return output.length === 1 ? 1 : (output[0] ?? 0)
}
