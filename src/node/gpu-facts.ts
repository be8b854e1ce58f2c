import type { ChosenGpu } from '../gpu/chosen-gpu.ts'
import { CORE_GFLOPS, MIN_KERNEL_SPEED } from './limits.ts'
import type { GpuFacts } from './types.ts'

/** What the mesh is told of this peer's GPU; null: it has none that it computes on, or does not know yet. */
export function gpuFactsOf(gpu: ChosenGpu): GpuFacts | null {
  const { found } = gpu
  if (found === undefined || found.state === 'none' || !gpu.uses(found)) return null
  const { name, state, gflops, upMBs, downMBs } = found
  return { name, state, gflops, upMBs, downMBs }
}

/** In reference cores, so that it compares with slots × speed. */
export function kernelSpeedOf({ gflops }: Pick<GpuFacts, 'gflops'>): number {
  return Math.max(MIN_KERNEL_SPEED, gflops / CORE_GFLOPS)
}
