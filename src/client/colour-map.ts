/**
 * viridis (Smith, van der Walt and Firing 2015, CC0): a perceptually uniform colour map, dark violet to bright yellow, that keeps its order
 * in print and for colour-blind eyes. Per channel a polynomial of degree 6 fitted to it (Zucker 2019, CC0), lowest power first;
 * sRGB 0 to 1, within 5 of 255 of the original table.
 */
const VIRIDIS: readonly (readonly number[])[] = [
  [
    0.2777273272234177, 0.1050930431085774, -0.3308618287255563, -4.634230498983486,
    6.228269936347081, 4.776384997670288, -5.435455855934631,
  ],
  [
    0.005407344544966578, 1.404613529898575, 0.214847559468213, -5.799100973351585,
    14.17993336680509, -13.74514537774601, 4.645852612178535,
  ],
  [
    0.3340998053353061, 1.384590162594685, 0.09509516302823659, -19.33244095627987,
    56.69055260068105, -65.35303263337234, 26.3124352495832,
  ],
]

/** `count` colours from the map's dark end to its bright one, 3 bytes each. */
export function viridis(count: number): Uint8Array {
  const colors = new Uint8Array(count * 3)
  for (let step = 0; step < count; step++) {
    const t = count === 1 ? 0.5 : step / (count - 1)
    for (const [channel, coefficients] of VIRIDIS.entries()) {
      const value = coefficients.reduceRight((sum, coefficient) => sum * t + coefficient, 0)
      colors[step * 3 + channel] = Math.round(255 * Math.min(1, Math.max(0, value)))
    }
  }
  return colors
}
