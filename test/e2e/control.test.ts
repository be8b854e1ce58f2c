import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Bench, type Running } from './cli-helper.ts'

const SLOW = 'await new Promise((resolve) => setTimeout(resolve, 20))\n    return item'

let bench: Bench
let first: Running & { readonly ticket: string }
let slow: string
beforeAll(async () => {
  bench = await Bench.create()
  slow = await bench.task('slow', SLOW)
  first = await bench.join('first', '--cores', '1', '--label', 'zone=eu', '--label', 'fast')
  await bench.join('second', first.ticket, '--cores', '1')
  await first.saysOut(/\+ peer \w{8} second is here, lends 1 core/)
})
afterAll(async () => {
  await bench.dispose()
})

function at(folder: string, ...argv: string[]) {
  return bench.mesh([...argv, '--data', bench.path(folder)])
}

async function idOf(folder: string, ...argv: string[]): Promise<string> {
  const run = await at(folder, 'submit', ...argv, '--detach')
  expect(run).toMatchObject({ code: 0 })
  return run.out.trim()
}

async function jobOf(folder: string, id: string) {
  return JSON.parse((await at(folder, 'job', id, '--json')).out)
}

/** Looks again until the job is as it should be; a job's state travels between processes. */
async function until(folder: string, id: string, state: string) {
  for (let tries = 0; tries < 60; tries += 1) {
    const job = await jobOf(folder, id)
    if (job.state === state) return job
  }
  throw new Error(`job ${id} is not ${state} at ${folder}`)
}

describe('with two peers', () => {
  test('cancel from another machine: the submit that waits ends with the reason', async () => {
    const submit = bench.start([
      ...['submit', slow, '--range', '0..100_000', '--data', bench.path('first')],
    ])
    const [, short] = await submit.saysErr(/job (\w{8}) submitted/)
    const cancel = await at('second', 'cancel', short!, '--reason', 'wrong file')
    expect(cancel).toMatchObject({ code: 0, out: '' })
    expect(cancel.err).toBe(
      `mesh: 1 job cancelled: ${short}\nmesh: told to 1 other peer; those that are away hear of it when they are back\n`,
    )
    const end = await submit.end
    expect(end.code).toBe(1)
    expect(end.err).toMatch(
      /cancelled by second \(wrong file\): \d+ of 100000 items have no result/,
    )
    await first.saysOut(new RegExp(`x job ${short} slow was cancelled by second: wrong file`))
    const shown = await at('first', 'job', short!)
    expect(shown.out).toContain('cancelled by second: wrong file')
    expect(await at('first', 'cancel', short!)).toMatchObject({
      code: 0,
      err: 'mesh: 1 job was over before\n',
    })
    expect(await at('first', 'results', short!, '--no-wait')).toMatchObject({ code: 1 })
  })

  test('pause, resume, and what they refuse', async () => {
    const id = await idOf('first', slow, '--range', '0..200')
    const pause = await at('second', 'pause', id.slice(0, 10))
    expect(pause.err).toContain(`job ${id.slice(0, 8)} is paused; \`mesh resume`)
    await until('first', id, 'paused')
    expect((await at('first', 'jobs')).out).toMatch(new RegExp(`${id.slice(0, 8)} .* paused`))
    expect(await at('first', 'resume', id, '--json')).toMatchObject({
      code: 0,
      out: `{"resumed":"${id}"}\n`,
    })
    const results = await at('first', 'results', id)
    expect(results.code).toBe(0)
    expect(results.out.trimEnd().split('\n')).toHaveLength(200)
    const late = await at('first', 'pause', id, '--json')
    expect(late.code).toBe(1)
    expect(JSON.parse(late.out).error).toMatchObject({ code: 'ERR_MESH_JOB_OVER' })
  })

  test('a label: it runs there alone, and what nobody has is named', async () => {
    const peers = await at('second', 'peers')
    expect(peers.out).toMatch(/first .*zone=eu, fast/)
    const id = await idOf('second', slow, '--range', '0..50', '--requires', 'label.zone=eu,cores=1')
    expect(await at('second', 'results', id)).toMatchObject({ code: 0 })
    const job = await jobOf('second', id)
    expect(job.peers.map((peer: { name: string }) => peer.name)).toEqual(['first'])
    const run = await at(
      'second',
      'submit',
      slow,
      '--range',
      '0..5',
      '--requires',
      'label.zone=mars',
      '--detach',
    )
    const waits = await at('second', 'job', run.out.trim())
    expect(waits.out).toContain('running, waits for a peer with label zone=mars')
    expect(await at('second', 'cancel', 'all')).toMatchObject({ code: 0 })
  })

  test('a key: once, whoever submits; other work is refused', async () => {
    const words = [slow, '--range', '0..20', '--key', 'nightly']
    const once = await at('first', 'submit', ...words)
    const again = await at('second', 'submit', ...words)
    expect(again).toMatchObject({ code: 0, out: once.out })
    expect(again.err).toMatch(/job \w{8} was submitted before with this key: its results follow/)
    const other = await at('second', 'submit', slow, '--range', '0..21', '--key', 'nightly')
    expect(other).toMatchObject({ code: 2, out: '' })
    expect(other.err).toMatch(/the key "nightly" is that of job \w{8}, which is other work/)
  })

  test('retry: what failed, once more', async () => {
    const task = await bench.task(
      'picky',
      "if (item % 10 === 7 && ctx.args !== 'calm') throw new Error('no')\n    return item",
    )
    const failed = await at('first', 'submit', task, '--range', '0..30', '--retries', '1')
    expect(failed.code).toBe(1)
    const [, short] = /job (\w{8}) submitted/.exec(failed.err)!
    const retry = await at('second', 'retry', short!, '--args', '"calm"')
    expect(retry).toMatchObject({ code: 0, out: '7\n17\n27\n' })
    expect(retry.err).toContain('mesh: item 2 of the new job was item 27\n')
    const [, made] = /job (\w{8}) submitted/.exec(retry.err)!
    const nothing = await at('first', 'retry', made!)
    expect(nothing).toMatchObject({ code: 0, out: '' })
    expect(nothing.err).toContain('nothing to do')
  })

  test('a delayed start, with a submitter whose clock is hours ahead', async () => {
    const before = Date.now()
    const run = bench.start(
      [
        ...['submit', slow, '--range', '0..10', '--in', '1500ms', '--ticket', first.ticket],
        ...['--cores', '1', '--no-mdns', '--data', bench.path('ahead')],
      ],
      { clockHours: 5 },
    )
    await run.saysErr(/it starts at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d/)
    const end = await run.end
    expect(end.code).toBe(0)
    expect(end.out.trimEnd().split('\n')).toHaveLength(10)
    const took = Date.now() - before
    expect(took).toBeGreaterThan(1_400)
    expect(took).toBeLessThan(30_000)
  })
})

describe('with one folder', () => {
  test('cancel of a job whose peer is inside another command', async () => {
    const submit = bench.start([
      ...['submit', slow, '--range', '0..100_000', '--cores', '1', '--no-mdns'],
      ...['--data', bench.path('alone')],
    ])
    await submit.saysErr(/job \w{8} submitted/)
    expect(await at('alone', 'cancel', 'last', '--reason', 'enough')).toMatchObject({ code: 0 })
    const end = await submit.end
    expect(end.code).toBe(1)
    expect(end.err).toContain('(enough)')
    // With no peer running it is read from the folder; results that expire are gone.
    expect((await at('alone', 'job', 'last')).out).toContain(': enough')
  })

  test('Ctrl-C says how to end the job, and it can be ended with no peer running', async () => {
    const submit = bench.start([
      ...['submit', slow, '--range', '0..100_000', '--cores', '1', '--no-mdns'],
      ...['--data', bench.path('left')],
    ])
    await submit.saysErr(/job \w{8} submitted/)
    submit.child.kill('SIGINT')
    const end = await submit.end
    expect(end.code).toBe(130)
    const [, short] = /or end it: mesh cancel (\w{8}) --data /.exec(end.err)!
    const cancel = await at('left', 'cancel', short!)
    expect(cancel).toMatchObject({ code: 0 })
    expect(cancel.err).toContain('no other peer is connected: others hear of it when a peer runs')
    expect((await jobOf('left', short!)).state).toBe('cancelled')
  })
})
