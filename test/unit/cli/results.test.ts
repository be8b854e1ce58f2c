import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { StopSignal } from '../../../cli/lib/context.ts'
import { MeshError } from '../../../src/base/errors.ts'
import type { JobInfo } from '../../../src/node/types.ts'
import type { ItemError } from '../../../src/runtime/types.ts'
import {
  type FakeJob,
  fakeBackend,
  JOB_ID,
  jobInfo,
  mesh,
  meshStatus,
  peerInfo,
  WALL_CLOCK,
} from './helpers.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-cli-'))
  await writeFile(join(folder, 'identity'), '')
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

function finished(items: number, change: Partial<JobInfo> = {}): JobInfo {
  return jobInfo({
    state: 'finished',
    items,
    done: items,
    finishedAt: new Date(WALL_CLOCK - 70_000).toISOString(),
    peersAtWork: 0,
    etaSeconds: null,
    ...change,
  })
}

function failure(index: number, change: Partial<ItemError> = {}): ItemError {
  return {
    index,
    code: 'ERR_MESH_ITEM_THREW',
    name: 'TypeError',
    message: 'no',
    attempts: 1,
    ...change,
  }
}

function results(jobs: readonly FakeJob[], ...flags: string[]) {
  return mesh(['results', 'last', '--data', folder, ...flags], { running: fakeBackend(jobs) })
}

const SQUARES: FakeJob = {
  info: finished(5),
  spans: [
    { lo: 0, values: [0, 1, 4] },
    { lo: 3, values: [9, 16] },
  ],
}

describe('a job that went well', () => {
  test('one line per item on stdout, a summary on stderr, exit 0', async () => {
    const run = await results([SQUARES])
    expect(run).toMatchObject({
      code: 0,
      out: '0\n1\n4\n9\n16\n',
      err: 'mesh: primes: 5 items in 10 s (0.5/s) on 2 peers\n',
    })
  })

  test('--out: the file has them, and what was there before is gone', async () => {
    const out = join(folder, 'out.ndjson')
    await writeFile(out, 'something old and longer than the new')
    const run = await results([SQUARES], '--out', out, '--quiet')
    expect(run).toMatchObject({ code: 0, out: '', err: '' })
    expect(await readFile(out, 'utf8')).toBe('0\n1\n4\n9\n16\n')
  })

  test('--json: one document', async () => {
    const run = await results([SQUARES], '--json')
    expect(run).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(run.out)).toMatchObject({
      job: JOB_ID,
      results: [0, 1, 4, 9, 16],
      state: 'finished',
      items: 5,
      failed: 0,
      failures: [],
      seconds: 10,
    })
    const file = join(folder, 'out')
    const toFile = JSON.parse((await results([SQUARES], '--json', '--out', file)).out)
    expect(toFile).toMatchObject({ job: JOB_ID, out: file, items: 5 })
    expect(toFile).not.toHaveProperty('results')
    expect(await readFile(file, 'utf8')).toBe('0\n1\n4\n9\n16\n')
  })

  test('no items: no results, exit 0', async () => {
    const job = { info: finished(0) }
    expect(await results([job])).toMatchObject({ code: 0, out: '' })
    expect(JSON.parse((await results([job], '--json')).out).results).toEqual([])
  })

  test('values that JSON lacks', async () => {
    const values = [
      undefined,
      10n ** 20n,
      new Uint8Array([1, 2, 3]),
      Number.NaN,
      { a: [undefined] },
      'é\n',
    ]
    const run = await results([{ info: finished(6), spans: [{ lo: 0, values }] }])
    expect(run.out).toBe('null\n"100000000000000000000"\n"AQID"\nnull\n{"a":[null]}\n"é\\n"\n')
    const circular: Record<string, unknown> = { a: 1 }
    circular.self = circular
    const bad = await results([{ info: finished(2), spans: [{ lo: 0, values: [circular, 2] }] }])
    expect(bad).toMatchObject({ code: 1, out: 'null\n2\n' })
    expect(bad.err).toMatch(/^mesh: item 0 failed: .*cannot be written as JSON/)
  })

  test('a hundred thousand lines in many spans stay in order', async () => {
    const spans = Array.from({ length: 100 }, (_, at) => ({
      lo: at * 1000,
      values: Array.from({ length: 1000 }, (_, i) => at * 1000 + i),
    }))
    const run = await results([{ info: finished(100_000), spans }], '-q')
    expect(run.out).toBe(Array.from({ length: 100_000 }, (_, i) => `${i}\n`).join(''))
  })
})

describe('failed items', () => {
  const job: FakeJob = {
    info: finished(4, { failed: 2 }),
    spans: [
      {
        lo: 0,
        values: [1, null, 3, null],
        failures: [
          failure(1, { stack: 'TypeError: no\n    at run (task.ts:3:9)\n    at x', attempts: 3 }),
          failure(3, { name: 'Error', message: 'multi\nline\u001b[2J' }),
        ],
      },
    ],
  }

  test('null in their place, the error on stderr and whole in --errors, exit 1', async () => {
    const errors = join(folder, 'errors.ndjson')
    const run = await results([job], '--errors', errors)
    expect(run.code).toBe(1)
    expect(run.out).toBe('1\nnull\n3\nnull\n')
    expect(run.err).toBe(
      'mesh: item 1 failed after 3 attempts: TypeError: no (at run (task.ts:3:9))\n' +
        'mesh: item 3 failed: Error: multi line\n' +
        'mesh: primes: 4 items in 10 s (0.4/s) on 2 peers; 2 failed\n',
    )
    const lines = (await readFile(errors, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines).toEqual([
      {
        index: 1,
        code: 'ERR_MESH_ITEM_THREW',
        name: 'TypeError',
        message: 'no',
        stack: 'TypeError: no\n    at run (task.ts:3:9)\n    at x',
        attempts: 3,
      },
      {
        index: 3,
        code: 'ERR_MESH_ITEM_THREW',
        name: 'Error',
        message: 'multi\nline\u001b[2J',
        stack: null,
        attempts: 1,
      },
    ])
  })

  test('--json has them in the document, and nothing on stderr', async () => {
    const run = await results([job], '--json')
    expect(run).toMatchObject({ code: 1, err: '' })
    expect(JSON.parse(run.out)).toMatchObject({
      results: [1, null, 3, null],
      failed: 2,
      failures: [{ index: 1 }, { index: 3 }],
    })
  })

  test('the first 20 are shown, the rest counted', async () => {
    const many: FakeJob = {
      info: finished(1000, { failed: 1000 }),
      spans: [
        {
          lo: 0,
          values: new Array(1000).fill(null),
          failures: Array.from({ length: 1000 }, (_, i) => failure(i)),
        },
      ],
    }
    const lines = (await results([many])).err.trimEnd().split('\n')
    expect(lines).toHaveLength(22)
    expect(lines[19]).toContain('item 19 failed')
    expect(lines[20]).toBe('mesh: … and 980 more failed items; --errors FILE keeps them all')
    const document = JSON.parse((await results([many], '--json')).out)
    expect(document.failed).toBe(1000)
    expect(document.failures).toHaveLength(100)
  })
})

describe('a job that is not there in whole', () => {
  const half: FakeJob = {
    info: jobInfo({ items: 6, done: 3 }),
    spans: [
      { lo: 1, values: ['b'] },
      { lo: 3, values: ['d', 'e'] },
    ],
  }

  test('--no-wait: what is there, each on its own line number, exit 3', async () => {
    const run = await results([half], '--no-wait')
    expect(run).toMatchObject({ code: 3, out: 'null\n"b"\nnull\n"d"\n"e"\n' })
    expect(run.err).toContain('3 of 6 items are there')
    const json = await results([half], '--no-wait', '--json')
    expect(json.code).toBe(3)
    expect(JSON.parse(json.out)).toMatchObject({
      state: 'running',
      results: [null, 'b', null, 'd', 'e'],
    })
  })

  test('--no-wait on a finished job: exit 0', async () => {
    expect((await results([SQUARES], '--no-wait')).code).toBe(0)
  })

  test('cancelled: what is there, and exit 1', async () => {
    const cancelled = { ...half, info: jobInfo({ items: 6, done: 3, state: 'cancelled' }) }
    const run = await results([cancelled])
    expect(run).toMatchObject({ code: 1, out: 'null\n"b"\nnull\n"d"\n"e"\n' })
    expect(run.err).toMatch(/was cancelled/)
    const json = await results([cancelled], '--json')
    expect(json.code).toBe(1)
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'ERR_MESH_JOB_CANCELLED' } })
  })

  test('the peer stopped before the end: exit 1, and how to come back', async () => {
    const run = await results([half])
    expect(run.code).toBe(1)
    expect(run.err).toMatch(/the peer stopped/)
    expect(run.err).toContain(`mesh results ab12ab12 --data ${folder}`)
  })
})

test("when another command's peer ends first, this one goes on where it was", async () => {
  const info = finished(4, { failed: 1 })
  const all: FakeJob = { info, spans: [{ lo: 0, values: [1, null, 3, 4], failures: [failure(1)] }] }
  const ending = fakeBackend(
    [{ info, spans: [{ lo: 0, values: [1, null, 3], failures: [failure(1)] }] }],
    {
      status: async () => meshStatus({ embedded: true }),
      // As a control socket that closes: nothing can be asked any more.
      job: async () => {
        if (asked) throw new MeshError('ERR_MESH_STOPPED', 'gone')
        asked = true
        return info
      },
    },
  )
  let asked = false
  const world = {
    get running() {
      return asked ? undefined : ending
    },
    embedded: fakeBackend([all]),
  }
  const run = await mesh(['results', 'last', '--data', folder], world)
  expect(run).toMatchObject({ code: 1, out: '1\nnull\n3\n4\n' })
  expect(run.err.match(/item 1 failed/g)).toHaveLength(1)
  expect(world.embedded.closed).toBe(1)
  expect(ending.closed).toBe(1)
})

describe('leaving a job that runs', () => {
  /** A job whose results never end by themselves; the signal comes once the first ones are out. */
  function endless(peers = [peerInfo()]) {
    let interrupt: (signal: StopSignal) => void = () => {}
    const info = jobInfo({ items: 100, done: 2 })
    const backend = fakeBackend([{ info, spans: [{ lo: 0, values: ['a', 'b'] }] }], {
      peers: async () => peers,
    })
    const { results: spans } = backend
    backend.results = async function* (job, options) {
      yield* spans(job, options)
      const aborted = new Promise<void>((resolve) => {
        options.signal?.addEventListener('abort', () => resolve())
      })
      interrupt('SIGINT')
      await aborted
    }
    const signals = (send: (signal: StopSignal) => void): void => {
      interrupt = send
    }
    return { backend, signals }
  }

  test('Ctrl-C with a running peer: the job goes on', async () => {
    const { backend, signals } = endless()
    const run = await mesh(['results', 'last', '--data', folder], { running: backend, signals })
    expect(run).toMatchObject({ code: 130, out: '"a"\n"b"\n' })
    expect(run.err).toBe(
      `mesh: job ab12ab12 goes on without this command; come back with: mesh results ab12ab12 --data ${folder}\n` +
        `mesh: or end it: mesh cancel ab12ab12 --data ${folder}\n`,
    )
    expect(backend.closed).toBe(1)
  })

  test('Ctrl-C with the peer in this process and others in the mesh', async () => {
    const other = peerInfo({ id: '7'.repeat(64), self: false })
    const { backend, signals } = endless([peerInfo(), other])
    const run = await mesh(['results', 'last', '--data', folder], { embedded: backend, signals })
    expect(run.code).toBe(130)
    expect(run.err).toContain('goes on on 1 other peer; come back with: mesh results ab12ab12')
  })

  test('Ctrl-C with nobody else: kept on disk, and how it goes on', async () => {
    const { backend, signals } = endless()
    const run = await mesh(['results', 'last', '--data', folder], { embedded: backend, signals })
    expect(run.code).toBe(130)
    expect(run.err).toContain(`it is kept in ${folder} and stands still`)
    expect(run.err).toContain(`mesh results ab12ab12 --data ${folder}`)
    expect(run.err).toContain(`mesh join --data ${folder}`)
  })

  test('Ctrl-C with --json still gives one whole document', async () => {
    const { backend, signals } = endless()
    const run = await mesh(['results', 'last', '--json', '--data', folder], {
      running: backend,
      signals,
    })
    expect(run).toMatchObject({ code: 130, err: '' })
    expect(JSON.parse(run.out)).toMatchObject({
      results: ['a', 'b'],
      interrupted: true,
      state: 'running',
    })
  })

  test('a reader of stdout that goes away ends it quietly', async () => {
    const backend = fakeBackend([SQUARES])
    const closed = new Writable({
      write(_chunk, _encoding, done) {
        done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
      },
    })
    closed.on('error', () => {})
    const run = await mesh(['results', 'last', '--data', folder], {
      running: backend,
      stdout: closed,
    })
    expect(run.code).toBe(141)
    expect(run.err).not.toContain('EPIPE')
  })
})

test('a terminal shows a bar and no colour reaches a file', async () => {
  const out = join(folder, 'out')
  const run = await mesh(['results', 'last', '--data', folder, '--out', out], {
    running: fakeBackend([SQUARES]),
    tty: true,
  })
  expect(run.err).toContain('primes  ████████████████████████  5/5  100 %')
  expect(run.err).toContain('\r\u001b[2Kmesh: primes: 5 items in 10 s')
  expect(await readFile(out, 'utf8')).toBe('0\n1\n4\n9\n16\n')
})
