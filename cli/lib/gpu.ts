import type { GpuFacts } from '../../src/node/types.ts'
import { formatSi, printable } from './format.ts'

/** 'NVIDIA H200, 51.2 TFLOP/s'; a software adapter says that it is one. `chars`: of the name, at most. */
export function gpuText({ name, state, gflops }: GpuFacts, chars: number): string {
  const software = state === 'software' ? ' (software)' : ''
  return `${printable(name, chars)}${software}, ${withUnit(gflops * 1e9, 'FLOP/s')}`
}

/** 'up 11.8 GB/s, down 9.2 GB/s': to the device's memory and back. */
export function gpuTransferText({ upMBs, downMBs }: GpuFacts): string {
  return `up ${withUnit(upMBs * 1e6, 'B/s')}, down ${withUnit(downMBs * 1e6, 'B/s')}`
}

/** 33e9, 'FLOP/s' -> '33 GFLOP/s' */
function withUnit(value: number, unit: string): string {
  const [, number, prefix] = /^(.*?)([kMGT]?)$/.exec(formatSi(value)) ?? []
  return `${number} ${prefix}${unit}`
}
