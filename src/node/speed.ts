/** Iterations per millisecond of the spin below on the core that counts as speed 1. */
const REFERENCE_ITERATIONS_PER_MS = 600_000
const SPIN_MS = 12

/**
 * Relative speed of one core of this machine, from a spin of about 12 ms at start: only good for a first split of the work,
 * since rates that are seen replace it.
 */
export function measureSpeed(): number {
  const started = performance.now()
  let iterations = 0
  let x = 1
  let elapsedMs = 0
  do {
    for (let i = 0; i < 50_000; i += 1) x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0
    iterations += 50_000
    elapsedMs = performance.now() - started
  } while (elapsedMs < SPIN_MS)
  if (x === 0) iterations += 1
  return Math.max(0.05, Math.min(20, iterations / elapsedMs / REFERENCE_ITERATIONS_PER_MS))
}
