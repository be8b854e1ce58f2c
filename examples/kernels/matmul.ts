import { defineKernel, perItem } from 'meshwork'

/** 4096: two matrices of 64 MiB. MATMUL_SIZE=512 is a quick one. */
const SIZE = Number(process.env.MATMUL_SIZE ?? 4096)

/** How many waves a row has at most. */
const WAVES = 9

/** The product of two n × n matrices of waves, which interfere. A peer is sent the rows of `a` that it works on, and all of `b` once. */
export function product(n: number) {
  return defineKernel({
    name: `matmul ${n}`,
    output: [n, n],
    constants: { n },
    args: [perItem(rowWaves(n)), columnWaves(n)],
    loopMaxIterations: n,
    // Sums of n terms of at most 1/n: a device that adds in another order, or rounds once less, is off by less.
    tolerance: { absolute: 1e-4 },
    kernel: function (a, b) {
      let sum = 0
      for (let k = 0; k < this.constants.n; k++) {
        sum += a[this.thread.y][k] * b[k][this.thread.x]
      }
      return sum
    },
  })
}

/** Row y: a wave along k, the shorter the farther y is from the middle. */
export function rowWaves(n: number) {
  return matrix(n, (y, k) => (fromMiddle(y, n) ** 2 * k) / n)
}

/** Column x: a wave along k, the longer the farther x is from the middle. It meets that of row y in step where both are on a circle. */
export function columnWaves(n: number) {
  return matrix(n, (k, x) => ((1 - fromMiddle(x, n) ** 2) * k) / n)
}

function matrix(n: number, phase: (row: number, column: number) => number) {
  const data = new Float32Array(n * n)
  for (let at = 0; at < data.length; at++) {
    const turns = WAVES * phase(Math.floor(at / n), at % n)
    data[at] = Math.cos(2 * Math.PI * turns) / Math.sqrt(n)
  }
  return { data, size: [n, n] as const }
}

/** -1 to 1. */
function fromMiddle(at: number, n: number): number {
  return (2 * at) / n - 1
}

export default product(SIZE)
