import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Bench, lines } from './cli-helper.ts'

let bench: Bench
let squares: string
beforeAll(async () => {
  bench = await Bench.create()
  squares = await bench.task('squares', 'return item * item')
})
afterAll(async () => {
  await bench.dispose()
})

/** `mesh submit` with no peer running: all on this machine, in the folder `data`. */
function submit(task: string, flags: string[], options: { stdin?: string; data?: string } = {}) {
  const data = bench.path(options.data ?? 'data')
  const argv = ['submit', task, ...flags, '--data', data, '--no-mdns', '--cores', '2']
  return bench.mesh(argv, options)
}

describe('submit works at once, with no peer running', () => {
  test('a range, exact and in order', async () => {
    const run = await submit(squares, ['--range', '0..1000'])
    expect(run.err).toMatch(/mesh: squares: 1 000 items in /)
    expect(run.code).toBe(0)
    expect(run.out).toBe(Array.from({ length: 1000 }, (_, n) => `${n * n}\n`).join(''))
  })

  test('NDJSON and lines, from files and from a pipe', async () => {
    const echo = await bench.task('echo', 'return item')
    const ndjson = await bench.file('in.ndjson', '{"a":1}\n\n"two"\r\n[3]\n')
    const text = await bench.file('in.txt', 'alpha\nbeta gamma\n')
    const results = await Promise.all([
      submit(echo, ['--items', ndjson], { data: 'd1' }),
      submit(echo, ['--lines', text], { data: 'd2' }),
    ])
    expect(results.map((run) => run.out)).toEqual([
      '{"a":1}\n"two"\n[3]\n',
      '"alpha"\n"beta gamma"\n',
    ])
    const piped = await submit(echo, ['-'], { stdin: '1\n2\n' })
    expect(piped.out).toBe('1\n2\n')
    const words = await submit(echo, ['-'], { stdin: 'one\ntwo\n' })
    expect(words.out).toBe('"one"\n"two"\n')
  })

  test('args, --out and --json', async () => {
    const scale = await bench.task('scale', 'return item * ctx.args.by')
    const out = bench.path('scaled.ndjson')
    const run = await submit(scale, [
      '--range',
      '1..4',
      '--args',
      '{"by":10}',
      '--out',
      out,
      '--json',
    ])
    expect(run.code).toBe(0)
    expect(JSON.parse(run.out)).toMatchObject({ out, items: 3, state: 'finished', failed: 0 })
    expect(await readFile(out, 'utf8')).toBe('10\n20\n30\n')
  })

  test('empty input: a finished job with no results, exit 0', async () => {
    expect(await submit(squares, ['--range', '5..5'])).toMatchObject({ code: 0, out: '' })
    expect(await submit(squares, ['-'], { stdin: '' })).toMatchObject({ code: 0, out: '' })
  })

  test('it leaves no process and no socket behind, and the folder can be read', async () => {
    const data = bench.path('data')
    const status = await bench.mesh(['status', '--data', data])
    expect(status.code).toBe(3)
    const jobs = await bench.mesh(['jobs', '--json', '--data', data])
    const names = (JSON.parse(jobs.out) as { name: string }[]).map((job) => job.name)
    expect(names).toContain('scale')
    const last = await bench.mesh(['results', 'last', '--data', data])
    expect(last).toMatchObject({ code: 0, out: '' })
  })
})

describe('items that fail', () => {
  test('a throw costs its own item: null, the error mapped to the source, exit 1', async () => {
    const task = await bench.task(
      'picky',
      "if (item % 4 === 1) throw new TypeError('not ' + item)\n    return item",
    )
    const errors = bench.path('errors.ndjson')
    const run = await submit(task, ['--range', '0..8', '--errors', errors])
    expect(run.code).toBe(1)
    expect(run.out).toBe('0\nnull\n2\n3\n4\nnull\n6\n7\n')
    expect(run.err).toMatch(/mesh: item 1 failed: TypeError: not 1 \(.*picky\.ts:6:\d+/)
    expect(run.err).toContain('; 2 failed')
    expect(lines(await readFile(errors, 'utf8'))).toMatchObject([
      { index: 1, code: 'ERR_MESH_ITEM_THREW', name: 'TypeError', message: 'not 1', attempts: 1 },
      { index: 5, code: 'ERR_MESH_ITEM_THREW', name: 'TypeError', message: 'not 5', attempts: 1 },
    ])
  })

  test('process.exit, throw null, and an item that spins for ever', async () => {
    const task = await bench.task(
      'wild',
      'if (item === 1) process.exit(3)\n    if (item === 2) throw null\n    if (item === 3) for (;;);\n    return item',
    )
    const run = await submit(task, ['--range', '0..6', '--time-limit', '0.5', '--json'])
    expect(run.code).toBe(1)
    const document = JSON.parse(run.out)
    expect(document.results).toEqual([0, null, null, null, 4, 5])
    expect(
      document.failures.map((f: { index: number; code: string }) => [f.index, f.code]),
    ).toEqual([
      [1, 'ERR_MESH_WORKER_DIED'],
      [2, 'ERR_MESH_ITEM_THREW'],
      [3, 'ERR_MESH_TIME_LIMIT'],
    ])
  })

  test('--retries', async () => {
    const task = await bench.task(
      'flaky',
      "if (ctx.attempt < 3) throw new Error('again')\n    return ctx.attempt",
    )
    expect(await submit(task, ['--range', '0..2', '--retries', '2'])).toMatchObject({
      code: 0,
      out: '3\n3\n',
    })
  })
})

describe('what is wrong is told in one line, and nothing runs', () => {
  test.each([
    ['syntax.ts', 'export default {{', 2, 'ERR_MESH_TASK_SYNTAX', /syntax\.ts:1:\d+/],
    ['none.ts', 'export const a = 1', 2, 'ERR_MESH_TASK_NO_DEFAULT', /none\.ts/],
    ['number.ts', 'export default 17', 2, 'ERR_MESH_TASK_INVALID', /17|number/],
    [
      'import.ts',
      "import x from 'not-installed-anywhere'\nexport default x",
      2,
      'ERR_MESH_TASK_IMPORT',
      /not-installed-anywhere/,
    ],
  ])('%s', async (name, text, code, error, message) => {
    const task = await bench.file(name, text)
    const run = await submit(task, ['--range', '0..3', '--json'])
    expect(run.code).toBe(code)
    const document = JSON.parse(run.out) as { error: { code: string; message: string } }
    expect(document.error.code).toBe(error)
    expect(document.error.message).toMatch(message)
  })

  test('a malformed NDJSON line: its number', async () => {
    const file = await bench.file('bad.ndjson', '{"a":1}\n{"a":\n')
    const run = await submit(squares, ['--items', file])
    expect(run.code).toBe(2)
    expect(run.err).toMatch(/^mesh: .*bad\.ndjson.*line 2|^mesh: .*line 2.*bad\.ndjson/)
    expect(run.err).not.toMatch(/\n\s+at /)
  })

  test('usage errors touch no folder', async () => {
    const data = bench.path('untouched')
    const run = await bench.mesh(['submit', squares, '--range', '9..1', '--data', data])
    expect(run.code).toBe(2)
    expect(run.err).toContain('did you mean 1..9?')
    expect(existsSync(data)).toBe(false)
  })
})

describe('leaving and coming back', () => {
  test('--detach on one machine keeps the job; results takes it up again', async () => {
    const data = bench.path('detached')
    const run = await bench.mesh([
      'submit',
      squares,
      '--range',
      '0..50',
      '--detach',
      '--json',
      '--cores',
      '0',
      '--no-mdns',
      '--data',
      data,
    ])
    expect(run.code).toBe(0)
    const { job } = JSON.parse(run.out) as { job: string }
    expect(job).toMatch(/^[0-9a-f]{64}$/)
    const early = await bench.mesh(['results', job.slice(0, 8), '--no-wait', '--data', data])
    expect(early).toMatchObject({ code: 3, out: '' })
    const results = await bench.mesh(['results', job.slice(0, 8), '--data', data, '--no-mdns'])
    expect(results.code).toBe(0)
    expect(lines(results.out)).toEqual(Array.from({ length: 50 }, (_, n) => n * n))
  })

  test('Ctrl-C says what becomes of the job, and results finishes it', async () => {
    const data = bench.path('interrupted')
    const slow = await bench.task(
      'slow',
      'await new Promise((r) => setTimeout(r, 100))\n    return item',
    )
    const running = bench.start([
      'submit',
      slow,
      '--range',
      '0..60',
      '--cores',
      '2',
      '--no-mdns',
      '--data',
      data,
    ])
    await running.saysOut(/^0\n/)
    running.child.kill('SIGINT')
    const run = await running.end
    expect(run.code).toBe(130)
    expect(run.err).toMatch(/it is kept in .*interrupted/)
    const [, again] = /get the results: mesh (.*)$/m.exec(run.err)!
    const results = await bench.mesh([...again!.split(' '), '--no-mdns'])
    expect(results.code).toBe(0)
    expect(lines(results.out)).toEqual(Array.from({ length: 60 }, (_, n) => n))
  })

  test("a submit that used another one's peer goes on when that one ends", async () => {
    const data = bench.path('shared')
    const slow = await bench.task(
      'steady',
      'await new Promise((r) => setTimeout(r, 40))\n    return item',
    )
    const flags = ['--cores', '2', '--no-mdns', '--data', data]
    const owner = bench.start(['submit', slow, '--range', '0..5000', ...flags])
    await owner.saysOut(/^0\n/)
    const guest = bench.start(['submit', slow, '--range', '0..100', ...flags])
    await guest.saysOut(/^0\n/)
    owner.child.kill('SIGINT')
    expect((await owner.end).code).toBe(130)
    const run = await guest.end
    expect(run).toMatchObject({ code: 0 })
    expect(lines(run.out)).toEqual(Array.from({ length: 100 }, (_, n) => n))
  })

  test('a reader that has enough ends it: exit 141', async () => {
    const running = bench.start([
      'submit',
      squares,
      '--range',
      '0..3000000',
      '--cores',
      '2',
      '--no-mdns',
      '--data',
      bench.path('piped'),
    ])
    await running.saysOut(/^0\n/)
    running.child.stdout!.destroy()
    expect(await running.end).toMatchObject({ code: 141 })
  })
})
