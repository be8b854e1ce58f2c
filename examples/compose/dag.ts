// A diamond: one series is made, its mean and its spread are computed beside each other, a report needs all three.
//
//   mesh submit examples/compose/dag.ts

import { defineTask } from 'meshwork'

const series = defineTask({
  name: 'series',
  module: import.meta.url,
  run: (length: number) => Array.from({ length }, (_, i) => ((i * 7919) % 1009) / 10),
})

const mean = defineTask({
  name: 'mean',
  module: import.meta.url,
  run: (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length,
})

const spread = defineTask({
  name: 'spread',
  module: import.meta.url,
  run: ([values, middle]: [number[], number]) =>
    Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / values.length),
})

const outliers = defineTask({
  name: 'outliers',
  module: import.meta.url,
  run: ([values, middle, deviation]: [number[], number, number]) => ({
    mean: middle,
    spread: deviation,
    outliers: values.filter((value) => Math.abs(value - middle) > 1.7 * deviation).length,
  }),
})

// The same object in two places is computed once.
const values = series.s(10_000)
const middle = mean.s(values)

export default outliers.s(values, middle, spread.s(values, middle))
