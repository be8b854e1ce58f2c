import type { Backoff } from '../types.ts'

/** Ms between the try number `attempt` (from 1), which threw, and the next one. `random`: uniform in [0, 1). */
export function waitAfter(backoff: Backoff, attempt: number, random: number): number {
  const { delayMs, factorPercent, maxMs, jitterPercent } = backoff
  // Nothing times an infinite factor is no number.
  if (delayMs === 0) return 0
  const full = Math.min(maxMs, delayMs * (factorPercent / 100) ** (attempt - 1))
  return Math.max(0, full * (1 - (random * jitterPercent) / 100))
}
