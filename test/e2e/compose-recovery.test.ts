import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Bench, type Running } from './cli-helper.ts'

type Joined = Running & { readonly ticket: string }

const ITEMS = 300
/** A chord, a reduce and a chain in one; about 20 ms an item, and values too large to ride in the log. */
const PIPELINE = `import { chain, chord, defineTask, group, map, reduce } from 'meshwork'
const padded = defineTask({
  name: 'padded',
  run(x: number) {
    const end = performance.now() + 20
    while (performance.now() < end);
    return String(x).padEnd(2_000, ' ')
  },
})
const parsed = defineTask({ name: 'parsed', run: (text: string) => Number(text) })
const add = defineTask({ name: 'add', run: ([a, b]: [number, number]) => a + b })
const texts = map(padded, { range: [0, ${ITEMS}] })
export default group([
  chord(texts, (all: string[]) => all.reduce((sum, text) => sum + text.length, 0)),
  reduce(chain(texts, parsed), add),
])
`
const VALUE = [ITEMS * 2_000, (ITEMS * (ITEMS - 1)) / 2]

let bench: Bench
let pipeline: string
beforeEach(async () => {
  bench = await Bench.create()
  pipeline = await bench.file('pipeline.ts', PIPELINE)
})
afterEach(async () => {
  await bench.dispose()
})

function at(folder: string, ...argv: string[]) {
  return bench.mesh([...argv, '--data', bench.path(folder)])
}

async function three(): Promise<[Joined, Joined, Joined]> {
  const first = await bench.join('first', '--cores', '1')
  const second = await bench.join('second', first.ticket, '--cores', '1')
  const third = await bench.join('third', first.ticket, '--cores', '1')
  await Promise.all([
    first.saysOut(/\+ peer \w{8} third is here/),
    second.saysOut(/\+ peer \w{8} third is here/),
  ])
  return [first, second, third]
}

/** Resolves with the job when so much of it is done, as that peer knows. */
async function underWay(folder: string, atLeast: number): Promise<string> {
  for (;;) {
    const { out } = await at(folder, 'jobs', '--json')
    const [job] = JSON.parse(out) as { id: string; done: number }[]
    if (job !== undefined && job.done >= atLeast) return job.id
  }
}

describe('a composition', () => {
  test('whose submitter is killed with -9, and its folder with it, ends; another member has its value', async () => {
    const [first] = await three()
    const submit = bench.start([
      ...['submit', pipeline, '--data', bench.path('laptop'), '--name', 'laptop', '--cores', '0'],
      ...['--ticket', first.ticket, '--no-mdns'],
    ])
    await submit.saysErr(/job \w{8} submitted/)
    const job = await underWay('first', 20)
    submit.child.kill('SIGKILL')
    const { signal, out } = await submit.end
    expect([signal, out]).toEqual(['SIGKILL', ''])
    await rm(bench.path('laptop'), { recursive: true })
    for (const folder of ['first', 'third']) {
      const results = await at(folder, 'results', job, '--json')
      expect(results, results.out + results.err).toMatchObject({ code: 0 })
      expect(JSON.parse(results.out).value).toEqual(VALUE)
    }
  })

  test('survives the death of one who holds values that others need', async () => {
    const [first, second] = await three()
    const submit = bench.start(['submit', pipeline, '--json', '--data', bench.path('first')])
    await underWay('first', 150)
    second.child.kill('SIGKILL')
    await second.end
    await rm(bench.path('second'), { recursive: true })
    await first.saysOut(/second .*(lost|gone|left)/)
    const { code, out, err } = await submit.end
    expect(code, err).toBe(0)
    expect(JSON.parse(out).value).toEqual(VALUE)
    const [job] = JSON.parse((await at('first', 'jobs', '--json')).out)
    expect(job.log.reclaims).toBeGreaterThan(0)
  })

  test('left to the mesh with --detach', async () => {
    const [first] = await three()
    const left = await bench.mesh([
      ...['submit', pipeline, '--detach', '--data', bench.path('laptop'), '--cores', '0'],
      ...['--ticket', first.ticket, '--no-mdns'],
    ])
    expect(left, left.err).toMatchObject({ code: 0 })
    await rm(bench.path('laptop'), { recursive: true })
    const results = await at('first', 'results', left.out.trim(), '--json')
    expect(results, results.out + results.err).toMatchObject({ code: 0 })
    expect(JSON.parse(results.out).value).toEqual(VALUE)
  })
})
