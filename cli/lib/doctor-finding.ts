import type { GpuFound } from '../../src/gpu/types.ts'
import type { MeshStatus } from '../../src/node/types.ts'
import type { MachineFacts } from './doctor-facts.ts'

export interface Finding {
  /** What was looked at: one word. */
  readonly check: string
  /** `problem`: a peer here does not work, or loses what it keeps; `warning`: it works, less well than it could. */
  readonly level: 'ok' | 'warning' | 'problem'
  readonly found: string
  /** Why that matters; '' when it is well. */
  readonly means: string
  /** What to do, a line each. */
  readonly advice: readonly string[]
}

export function finding(
  check: string,
  level: Finding['level'],
  found: string,
  means = '',
  ...advice: readonly string[]
): Finding {
  return { check, level, found, means, advice }
}

/** All that `mesh doctor` looked at. */
export interface Looked {
  readonly facts: MachineFacts
  /** The peer that runs on the folder. */
  readonly peer: MeshStatus | undefined
  /** A peer seems to run there, but does not answer as one should. */
  readonly peerError: string | undefined
  readonly gpu: GpuFound | undefined
  /** The probe itself failed. */
  readonly gpuError: string | undefined
  /** Of this command. */
  readonly version: string
}
