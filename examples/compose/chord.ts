// An estimate of π: 64 tasks throw darts, a callback gets all counts.
//
//   mesh submit examples/compose/chord.ts

import { chord, defineTask, map } from 'meshwork'

export const DARTS = 100_000

/** How many of the darts of one throw land in the quarter circle. A small generator, seeded: the same darts every time. */
export function hits(seed: number): number {
  let x = (seed + 1) * 2_654_435_761
  const next = () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) / 2 ** 32
  }
  let inside = 0
  for (let i = 0; i < DARTS; i++) if (next() ** 2 + next() ** 2 < 1) inside++
  return inside
}

const throwDarts = defineTask({ name: 'throw darts', module: import.meta.url, run: hits })

const estimate = defineTask({
  name: 'estimate',
  module: import.meta.url,
  run: (counts: number[]) =>
    (4 * counts.reduce((sum, count) => sum + count, 0)) / (counts.length * DARTS),
})

export default chord(map(throwDarts, { range: [0, 64] }), estimate)
