import { FAULT_KINDS, type FaultKind } from './chaos.ts'

/** A random scenario that failed once, and what it found. */
export interface KeptSeed {
  readonly seed: number
  readonly kinds: 'all' | readonly FaultKind[]
  readonly found: string
}

/** The kinds that there were when a seed was kept. */
const FAULT_KINDS_THEN = FAULT_KINDS.filter((kind) => kind !== 'control')

/** Each is replayed as a test (docs/failure-handling.md, "How it is proved"). */
export const KEPT_SEEDS: readonly KeptSeed[] = [
  {
    seed: 1973,
    kinds: FAULT_KINDS_THEN,
    found: 'losers of a race of RECLAIMs counted as deaths: an item failed',
  },
]
