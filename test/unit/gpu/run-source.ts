/** A kernel's source run by hand: as the JavaScript that it is, and rewritten, over one slice after another. */
import { itemsOf } from '../../../src/base/extents.ts'
import type { KernelFacts } from '../../../src/gpu/kernel-scope.ts'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { boxesOf, rewriteKernel } from '../../../src/gpu/rewrite.ts'
import type { Size } from '../../../src/gpu/types.ts'

/** An argument: a number, or flat numbers with their size. */
export type Given =
  | number
  | { readonly data: readonly number[]; readonly size: Size; readonly perItem: boolean }

/** What is called with `this`: the output's elements in the order of their places. */
type Compute = (extent: Size, args: readonly Given[]) => number[]

export function elementsOf(size: Size): number {
  return size.reduce<number>((product, extent) => product * extent, 1)
}

/** Every element by JavaScript, in f64. */
export function asJavaScript(source: string, constants: Record<string, number>): Compute {
  const fn = new Function(`return ${source}`)() as (...args: unknown[]) => number
  return (extent, args) => {
    const nested = args.map(nest)
    const [width, height = 1] = extent
    const output = { x: extent[0], y: extent[1], z: extent[2] }
    return Array.from({ length: elementsOf(extent) }, (_, i) => {
      const row = Math.floor(i / width)
      const thread = { x: i % width, y: row % height, z: Math.floor(row / height) }
      return fn.call({ thread, output, constants }, ...nested)
    })
  }
}

/** The rewritten source over slices that end at each of `cuts`. */
export function inSlices(
  source: string,
  facts: KernelFacts,
  args: readonly Given[],
  cuts: readonly number[],
  compile: (rewritten: string) => Compute,
): number[] {
  const { output } = facts
  const rewritten = rewriteKernel(checkKernelSource(source, facts), facts)
  const compute = compile(rewritten.source)
  const ends = [
    ...new Set([0, ...cuts.filter((cut) => cut < itemsOf(output)), itemsOf(output)]),
  ].sort((a, b) => a - b)
  const values: number[] = []
  for (let i = 0; i + 1 < ends.length; i++) {
    for (const box of boxesOf(output, ends[i]!, ends[i + 1]!)) {
      const from = box.offset.at(-1)!
      const slices = args.map((arg) => sliceOf(arg, from, box.extent.at(-1)!))
      values.push(...compute(box.extent, [...slices, ...box.offset]))
    }
  }
  return values
}

function sliceOf(arg: Given, from: number, count: number): Given {
  if (typeof arg === 'number' || !arg.perItem) return arg
  const inner = arg.size.slice(0, -1)
  const step = elementsOf(inner as unknown as Size)
  const data = arg.data.slice(from * step, (from + count) * step)
  return { data, size: [...inner, count] as unknown as Size, perItem: true }
}

function nest(arg: Given): unknown {
  if (typeof arg === 'number') return arg
  const { data, size } = arg
  const rows = (values: readonly unknown[], length: number) =>
    Array.from({ length: values.length / length }, (_, i) =>
      values.slice(i * length, (i + 1) * length),
    )
  return size
    .slice(0, -1)
    .reduce<readonly unknown[]>((values, extent) => rows(values, extent), data)
}
