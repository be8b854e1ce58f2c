import { defineKernel } from 'meshwork'

const SIDE = 2048
/** The part of the plane that is shown: the whole set. */
const LEFT = -2.15
const TOP = -1.4
const WIDTH = 2.8

/** How many steps each point of the plane takes to escape, smoothed and on a scale that shows both ends; 0 where it never does. */
export default defineKernel({
  name: 'mandelbrot',
  output: [SIDE, SIDE],
  constants: { left: LEFT, top: TOP, step: WIDTH / SIDE },
  // Beside the set's edge one rounding more or less is another number of steps: devices differ in few cells, but there by much.
  tolerance: { absolute: 0.01, cells: 0.02 },
  kernel: function () {
    const cx = this.constants.left + this.thread.x * this.constants.step
    const cy = this.constants.top + this.thread.y * this.constants.step
    let x = 0
    let y = 0
    let xx = 0
    let yy = 0
    let steps = 0
    for (let i = 0; i < 256; i++) {
      if (xx + yy <= 256) {
        y = 2 * x * y + cy
        x = xx - yy + cx
        xx = x * x
        yy = y * y
        steps = steps + 1
      }
    }
    if (xx + yy <= 256) return 0
    // The fraction of a step by which it passed the bound makes the bands a slope.
    const smooth = steps + 4 - Math.log2(Math.log2(xx + yy))
    return Math.log2(1 + smooth)
  },
})
