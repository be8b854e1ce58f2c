import { defineKernel } from 'meshwork'
import { photograph } from './photograph.ts'

const REACH = 4
const SIDE = 2 * REACH + 1

/**
 * A Laplacian of a Gaussian (Marr and Hildreth 1980): nothing where the picture is even, a dark and a bright line on either side of an
 * edge. Its elements add up to 0.
 */
export function edges(sigma: number) {
  const cells = Array.from({ length: SIDE * SIDE }, (_, at) => {
    const x = (at % SIDE) - REACH
    const y = Math.floor(at / SIDE) - REACH
    const share = (x * x + y * y) / (2 * sigma * sigma)
    return (1 - share) * Math.exp(-share)
  })
  const excess = cells.reduce((sum, cell) => sum + cell, 0) / cells.length
  return { data: Float32Array.from(cells, (cell) => cell - excess), size: [SIDE, SIDE] as const }
}

const photo = photograph()

/** The edges of a photograph: each pixel is the sum of the 9 × 9 around it, weighted by a filter. */
export default defineKernel({
  name: 'convolution',
  output: photo.size,
  args: [photo, edges(1.4)],
  tolerance: { absolute: 1e-4 },
  kernel: function (photo, filter) {
    let sum = 0
    for (let dy = 0; dy < 9; dy++) {
      for (let dx = 0; dx < 9; dx++) {
        // Beyond the border the picture goes on as it ends.
        const x = Math.min(this.output.x - 1, Math.max(0, this.thread.x + dx - 4))
        const y = Math.min(this.output.y - 1, Math.max(0, this.thread.y + dy - 4))
        sum += photo[y][x] * filter[dy][dx]
      }
    }
    return sum
  },
})
