// How often each word stands in a text: counted line by line, and the counts combined where they are. Only the last ones move.
//
//   mesh submit examples/compose/word-count.ts --args '{"file":"README.md"}'

import { defineTask, map, reduce } from 'meshwork'

type Counts = Record<string, number>

const count = defineTask({
  name: 'count',
  module: import.meta.url,
  run(line: string): Counts {
    const counts: Counts = Object.create(null)
    for (const word of line.toLowerCase().match(/\p{L}+/gu) ?? []) {
      counts[word] = (counts[word] ?? 0) + 1
    }
    return counts
  },
})

const add = defineTask({
  name: 'add',
  module: import.meta.url,
  run([a, b]: [Counts, Counts]): Counts {
    for (const [word, times] of Object.entries(b)) a[word] = (a[word] ?? 0) + times
    return a
  },
})

/** Lines that are counted and combined in one go: a line is far too little to hand around. */
const GRAIN = 50

export default ({ file = 'README.md' }: { file?: string } = {}) =>
  reduce(map(count, { lines: file }), add, { grain: GRAIN })
