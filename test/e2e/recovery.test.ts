import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Bench, type Running } from './cli-helper.ts'

type Joined = Running & { readonly ticket: string }

const ITEMS = 300
/** About 20 ms an item. */
const BODY =
  'const until = performance.now() + 20\n    while (performance.now() < until);\n    return item * item'
const SQUARES = Array.from({ length: ITEMS }, (_, item) => item * item)

let bench: Bench
beforeEach(async () => {
  bench = await Bench.create()
})
afterEach(async () => {
  await bench.dispose()
})

function at(folder: string, ...argv: string[]) {
  return bench.mesh([...argv, '--data', bench.path(folder)])
}

async function two(): Promise<[Joined, Joined]> {
  const first = await bench.join('first', '--cores', '1')
  const second = await bench.join('second', first.ticket, '--cores', '1')
  await first.saysOut(/\+ peer \w{8} second is here/)
  return [first, second]
}

async function submitAt(folder: string, ...flags: string[]): Promise<Running> {
  const task = await bench.task('squares', BODY)
  const range = `0..${ITEMS}`
  return bench.start([
    'submit',
    task,
    '--range',
    range,
    '--json',
    ...flags,
    '--data',
    bench.path(folder),
  ])
}

/** Resolves when some of the job is done. */
async function underWay(folder: string, atLeast: number): Promise<void> {
  for (;;) {
    const { out } = await at(folder, 'jobs', '--json')
    const [job] = JSON.parse(out) as { done: number }[]
    if (job !== undefined && job.done >= atLeast) return
  }
}

describe('a peer killed with -9', () => {
  test('its items go to the others at once; the result is exact', async () => {
    const [first, second] = await two()
    const run = await submitAt('first')
    await underWay('first', 60)
    second.child.kill('SIGKILL')
    await second.end
    await first.saysOut(/second .*(lost|gone|left)/)
    const { code, out } = await run.end
    expect(code).toBe(0)
    expect(JSON.parse(out).results).toEqual(SQUARES)
    expect((await at('first', 'peers')).out).toMatch(/second .*lost/)
    const [job] = JSON.parse((await at('first', 'jobs', '--json')).out)
    expect(job.log.reclaims).toBeGreaterThan(0)
  })

  test('and started again on its folder, it works on in the same job', async () => {
    const [first, second] = await two()
    const run = await submitAt('first')
    await underWay('first', 30)
    second.child.kill('SIGKILL')
    await second.end
    const again = await bench.join('second', '--cores', '1')
    await first.saysOut(/second is here[\s\S]*second (is here|has started again)/)
    const { code, out } = await run.end
    expect(code).toBe(0)
    expect(JSON.parse(out).results).toEqual(SQUARES)
    await again.saysOut(/= job \w{8} squares finished/)
  })
})

describe('the submitter', () => {
  test('leaves a job to the mesh, and dies with its folder; a third member collects by the id', async () => {
    const [first] = await two()
    const flags = ['--ticket', first.ticket, '--cores', '0', '--no-mdns', '--detach']
    const submitted = await (await submitAt('laptop', ...flags)).end
    expect(submitted.code).toBe(0)
    const { job } = JSON.parse(submitted.out) as { job: string }
    await rm(bench.path('laptop'), { recursive: true })
    const third = await bench.join('third', first.ticket, '--cores', '1')
    await third.saysOut(/\+ peer \w{8} first is here/)
    const collected = await at('third', 'results', job, '--json')
    expect(collected).toMatchObject({ code: 0 })
    expect(JSON.parse(collected.out).results).toEqual(SQUARES)
  })
})

describe('clocks that are wrong by hours', () => {
  test('change nothing', async () => {
    const first = await bench.joinWith({ clockHours: 7 }, 'first', '--cores', '1')
    const second = await bench.joinWith({ clockHours: -30 }, 'second', first.ticket, '--cores', '1')
    await first.saysOut(/\+ peer \w{8} second is here/)
    const run = await submitAt('second')
    await underWay('second', 60)
    first.child.kill('SIGKILL')
    await first.end
    const { code, out } = await run.end
    expect(code).toBe(0)
    expect(JSON.parse(out).results).toEqual(SQUARES)
    expect((await at('second', 'results', 'last', '--json')).code).toBe(0)
    second.child.kill('SIGINT')
    expect((await second.end).code).toBe(0)
  })
})
