import type { KernelFacts } from '../../../src/gpu/kernel-scope.ts'
import type { KernelArg, Size } from '../../../src/gpu/types.ts'

export const array = (...size: number[]): KernelArg => ({
  kind: 'array',
  hash: '0'.repeat(64),
  size: size as unknown as Size,
  perItem: false,
})
export const slices = (...size: number[]): KernelArg => ({
  kind: 'array',
  hash: '0'.repeat(64),
  size: size as unknown as Size,
  perItem: true,
})
export const number = (value: number): KernelArg => ({ kind: 'number', value })

/** What a source is checked against: a 1-D output, nothing else, unless it says so. */
export function facts(changes: Partial<KernelFacts> = {}): KernelFacts {
  return { output: [64], constants: {}, args: [], loopMaxIterations: 0, ...changes }
}
