// Orders as lines of text: each is read and taxed on its own, and a summary gets those that could be read.
//
//   mesh submit examples/compose/pipeline.ts --args '{"tax":19}'

import { chain, chord, defineTask, map } from 'meshwork'

export const LINES = [
  'books, 3, 12.50',
  'tea, 10, 4.20',
  'a line that nobody understands',
  'chairs, 2, 89.90',
]

export interface Order {
  readonly what: string
  readonly total: number
}

const read = defineTask({
  name: 'read',
  module: import.meta.url,
  run(line: string): Order {
    const [what = '', count, price] = line.split(', ')
    const total = Number(count) * Number(price)
    if (Number.isNaN(total)) throw new Error(`"${line}" is no order`)
    return { what, total }
  },
})

const tax = defineTask({
  name: 'tax',
  module: import.meta.url,
  run: ([order, percent]: [Order, number]): Order => ({
    ...order,
    total: Math.round(order.total * (100 + percent)) / 100,
  }),
})

const summary = defineTask({
  name: 'summary',
  module: import.meta.url,
  run: (orders: Order[]) => ({
    orders: orders.length,
    total: Math.round(orders.reduce((sum, { total }) => sum + total, 0) * 100) / 100,
  }),
})

export default ({ tax: percent = 20 }: { tax?: number } = {}) =>
  chord(chain(map(read, LINES), tax.s(percent)), summary, { allowFailures: true })
