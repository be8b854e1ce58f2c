import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mappingLines } from '../../../cli/commands/retry.ts'
import { duration, timeOf } from '../../../cli/lib/durations.ts'
import { MeshError } from '../../../src/base/errors.ts'
import type { JobInfo, JobRequest, MeshBackend } from '../../../src/node/types.ts'
import { encodeSegment } from '../../../src/runtime/segment.ts'
import type { BlobHash, JobId } from '../../../src/scheduler/types.ts'
import {
  fakeBackend,
  JOB_ID,
  jobInfo,
  mesh,
  meshStatus,
  peerInfo,
  WALL_CLOCK,
  type World,
} from './helpers.ts'

const OTHER = 'cd34'.repeat(16)
let folder: string
let task: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-cli-'))
  task = join(folder, 'echo.ts')
  await writeFile(
    task,
    "import { defineTask } from 'meshwork'\nexport default defineTask({ name: 'echo', run: (item) => item })\n",
  )
})
afterAll(async () => {
  await rm(folder, { recursive: true })
})

/** Takes whatever is submitted. */
function receiver(change: Partial<MeshBackend> = {}, info: Partial<JobInfo> = {}) {
  const requests: JobRequest[] = []
  const job = jobInfo({ state: 'finished', items: 1, done: 1, peersAtWork: 0, ...info })
  const backend = fakeBackend([{ info: job, spans: [{ lo: 0, values: ['x'] }] }], {
    putBlob: async (bytes) => ({ hash: 'ee'.repeat(32) as BlobHash, sizeBytes: bytes.byteLength }),
    readBlob: async () => new Uint8Array(1),
    submit: async (request) => {
      requests.push(request)
      return { job: JOB_ID as JobId, heldBy: [] }
    },
    ...change,
  })
  return { backend, requests }
}

function submit(flags: string[], world: World) {
  const where = ['--range', '0..1', '--data', join(folder, 'data')]
  return mesh(['submit', task, ...where, ...flags], world)
}

describe('submit', () => {
  test('every option of control', async () => {
    const { backend, requests } = receiver()
    const run = await submit(
      [
        ...[
          '--retries',
          '3',
          '--backoff',
          '500ms',
          '--soft-time-limit',
          '1m',
          '--time-limit',
          '2m',
        ],
        ...['--job-time-limit', '2h', '--priority', '9', '--rate-limit', '30/m'],
        ...['--max-failures', '2.5%', '--in', '1d', '--expires', '90', '--key', 'nightly'],
        ...['--requires', 'cores=4,memory=8GiB', '--requires', 'gpu,label.zone=eu, label.fast'],
        ...['--controllers', 'me,77777777'],
      ],
      {
        running: Object.assign(backend, {
          peers: async () => [peerInfo(), peerInfo({ id: '7'.repeat(64), self: false })],
        }),
      },
    )
    expect(run).toMatchObject({ code: 0, out: '"x"\n' })
    expect(requests[0]!.options).toEqual({
      retries: 3,
      backoff: { delayMs: 500, factorPercent: 200, maxMs: 600_000, jitterPercent: 50 },
      softTimeLimitMs: 60_000,
      timeLimitMs: 120_000,
      jobTimeLimitMs: 7_200_000,
      priority: 9,
      ratePer1000s: 500,
      maxFailuresPpm: 25_000,
      delayMs: 86_400_000,
      resultTtlMs: 90_000,
      key: 'nightly',
      requires: {
        cores: 4,
        memoryBytes: 8 * 2 ** 30,
        gpu: true,
        labels: { zone: 'eu', fast: '' },
      },
      controllers: ['3fa9c1d2'.repeat(8), '7'.repeat(64)],
    })
  })

  test('a backoff in full, and an ISO time', async () => {
    const { backend, requests } = receiver()
    await submit(
      [
        ...['--retries', '1', '--backoff', '2s,factor=3,max=5m,jitter=0.2'],
        ...['--at', '2030-02-01T10:00:00Z', '--max-failures', '0', '--rate-limit', '0.5'],
      ],
      { running: backend },
    )
    expect(requests[0]!.options).toEqual({
      retries: 1,
      backoff: { delayMs: 2000, factorPercent: 300, maxMs: 300_000, jitterPercent: 20 },
      startAt: Date.parse('2030-02-01T10:00:00Z'),
      maxFailures: 0,
      ratePer1000s: 500,
    })
  })

  test('a key that was known: it attaches, and says so', async () => {
    const { backend } = receiver({
      submit: async () => ({ job: JOB_ID as JobId, heldBy: [], attached: true }),
    })
    const run = await submit(['--key', 'k'], { running: backend })
    expect(run).toMatchObject({ code: 0, out: '"x"\n' })
    expect(run.err).toContain('job ab12ab12 was submitted before with this key: its results follow')
    const detached = await submit(['--key', 'k', '--detach', '--json'], { running: backend })
    expect(JSON.parse(detached.out)).toEqual({ job: JOB_ID, heldBy: [], attached: true })
  })

  test('a key of other work: exit 2, with the way on', async () => {
    const { backend } = receiver({
      submit: async () => {
        throw new MeshError('ERR_MESH_KEY_REUSED', 'the key "k" is that of job 77aa', {
          details: { job: OTHER },
        })
      },
    })
    const run = await submit(['--key', 'k'], { running: backend })
    expect(run).toMatchObject({ code: 2, out: '' })
    expect(run.err).toContain('the key "k" is that of job 77aa')
  })

  test('says when it starts, and what is missing', async () => {
    const startsAt = new Date(WALL_CLOCK + 7_200_000).toISOString()
    const { backend } = receiver({}, { startsAt, waitsFor: 'a peer with 64 cores' })
    const run = await submit(['--in', '2h', '--requires', 'cores=64'], { running: backend })
    expect(run.err).toMatch(/mesh: it starts at 2030-01-0\d \d\d:04:05 \(in 2 h 00 min\)\n/)
    expect(run.err).toContain(
      'the job needs a peer with 64 cores, and no peer is there that has that; the job starts when one does',
    )
    const missing = receiver({}, { waitsFor: 'a peer with labels fast and zone=a b' })
    const labels = ['--requires', 'label.zone=a b,label.fast']
    const told = await submit(labels, { running: missing.backend })
    expect(told.err).toMatch(/mesh join \S+ --label 'zone=a b' --label fast\n/)
    const detached = await submit(['--detach', ...labels], { running: missing.backend })
    expect(detached.err).toContain('the job needs a peer with labels fast and zone=a b')
    const quiet = await submit(['--detach', '-q', ...labels], { running: missing.backend })
    expect(quiet.err).not.toContain('the job needs')
  })

  test('a cancelled job: exit 1, by whom and why', async () => {
    const cancelled = { by: OTHER, name: 'tower', reason: 'wrong\u001b[2J file' }
    const { backend } = receiver({}, { state: 'cancelled', cancelled })
    const run = await submit([], { running: backend })
    expect(run.code).toBe(1)
    expect(run.err).toContain('job ab12ab12 was cancelled by tower: wrong file')
    const json = await submit(['--json'], { running: backend })
    expect(JSON.parse(json.out)).toMatchObject({
      state: 'cancelled',
      error: { code: 'ERR_MESH_JOB_CANCELLED', details: { cancelled } },
    })
  })

  test.each<[string[], RegExp]>([
    [['--backoff', 'x'], /--backoff must be a time, and after it factor=, max=, jitter=/],
    [['--backoff', '1s,factor'], /--backoff must be a time/],
    [
      ['--backoff', '1s'],
      /--backoff is the wait before a retry, and there is none: give --retries/,
    ],
    [
      ['--soft-time-limit', '5', '--time-limit', '5s'],
      /--soft-time-limit \(5 s\) must be below --time-limit/,
    ],
    [['--job-time-limit', '0'], /--job-time-limit must be a time above 0/],
    [['--priority', '10'], /--priority must be at most 9/],
    [['--rate-limit', '0'], /--rate-limit must be items per second above 0/],
    [['--rate-limit', '10/y'], /--rate-limit must be items per second above 0/],
    [['--max-failures', '5.5'], /--max-failures must be a count such as 10, or a share/],
    [['--max-failures', '200%'], /--max-failures must be a whole number from 0 up, or a share/],
    [['--at', '25:00'], /--at must be a time such as 14:30/],
    [['--at', 'tomorrow'], /--in takes a delay such as 2h/],
    [['--at', '14:30', '--in', '1h'], /--at and --in both say when to start/],
    [['--in', '5 parsecs'], /--in must be a time such as 500ms/],
    [['--requires', 'cpus=4'], /'cpus=4' is none of cores=N, memory=SIZE, gpu/],
    [['--requires', 'cores=x'], /--requires: 'cores=x' must be a whole number/],
    [['--requires', 'memory=lots'], /--requires: 'memory=lots' must be a size/],
    [['--requires', 'label.=x'], /has no name/],
    [['--controllers', 'you'], /"you" is no peer: give its id/],
    [['--key', ''], /--key must be a string of 1 to 200 bytes/],
  ])('%j is a usage error, and nothing is submitted', async (flags, message) => {
    const { backend, requests } = receiver()
    const run = await submit(flags, { running: backend })
    expect(run.err).toMatch(message)
    expect(run).toMatchObject({ code: 2, out: '' })
    expect(requests).toEqual([])
  })
})

describe('times', () => {
  test.each([
    ['500ms', 0.5],
    ['10s', 10],
    ['5m', 300],
    ['5min', 300],
    ['2h', 7200],
    ['1d', 86_400],
    ['1.5', 1.5],
    ['0', 0],
  ])('%s', (text, seconds) => {
    expect(duration(text)).toBe(seconds)
  })

  test('HH:MM is the next time that the clock says so, here', () => {
    const now = new Date(2030, 0, 2, 14, 0, 0).getTime()
    expect(timeOf('14:30', now)).toEqual(new Date(2030, 0, 2, 14, 30))
    expect(timeOf('13:59:30', now)).toEqual(new Date(2030, 0, 3, 13, 59, 30))
    expect(timeOf('14:00', now)).toEqual(new Date(2030, 0, 3, 14, 0))
  })

  test('an ISO time without a zone is of this machine', () => {
    expect(timeOf('2030-03-01T14:30', 0)).toEqual(new Date(2030, 2, 1, 14, 30))
    expect(timeOf('2030-03-01 14:30', 0)).toEqual(new Date(2030, 2, 1, 14, 30))
    expect(timeOf('2030-03-01T14:30+02:00', 0)).toEqual(new Date('2030-03-01T12:30:00Z'))
  })
})

describe('cancel, pause, resume', () => {
  const running = jobInfo()
  const over = jobInfo({ id: OTHER, state: 'finished' })

  function controlled(cancelled: string[], jobs = [running, over]) {
    const asked: unknown[] = []
    const backend = fakeBackend(
      jobs.map((info) => ({ info })),
      {
        cancel: async (...args) => {
          asked.push(args)
          return cancelled as JobId[]
        },
        pause: async (id) => {
          asked.push(['pause', id])
          return JOB_ID as JobId
        },
        resume: async (id) => {
          asked.push(['resume', id])
          return JOB_ID as JobId
        },
        peers: async () => [peerInfo(), peerInfo({ id: '7'.repeat(64), self: false })],
      },
    )
    return { backend, asked }
  }
  const at = () => ['--data', folder]

  test('several, one of them over, with a reason', async () => {
    const { backend, asked } = controlled([JOB_ID])
    const run = await mesh(['cancel', 'ab12', 'cd34', '--reason', 'why', ...at()], {
      running: backend,
    })
    expect(asked).toEqual([[['ab12', 'cd34'], 'why']])
    expect(run).toMatchObject({ code: 0, out: '' })
    expect(run.err).toBe(
      'mesh: 1 job cancelled: ab12ab12\n' +
        'mesh: told to 1 other peer; those that are away hear of it when they are back\n' +
        'mesh: 1 job was over before\n',
    )
    const json = await mesh(['cancel', 'ab12', '--json', ...at()], { running: backend })
    expect(json).toMatchObject({ code: 0, err: '', out: `{"cancelled":["${JOB_ID}"]}\n` })
  })

  test('all; jobs of other controllers stay', async () => {
    const { backend, asked } = controlled([])
    const run = await mesh(['cancel', 'all', ...at()], { running: backend })
    expect(asked).toEqual([['all', '']])
    expect(run.err).toBe('mesh: 1 job left alone: this peer is no controller of them\n')
    const none = await mesh(['cancel', 'all', ...at()], { running: controlled([], [over]).backend })
    expect(none).toMatchObject({ code: 0, err: 'mesh: no job was running\n' })
    const both = await mesh(['cancel', 'all', 'ab12', ...at()], { running: backend })
    expect(both).toMatchObject({ code: 2, err: expect.stringContaining('name jobs, or say all') })
    expect(asked).toHaveLength(1)
  })

  test('pause and resume', async () => {
    const { backend, asked } = controlled([])
    const pause = await mesh(['pause', 'last', ...at()], { running: backend })
    expect(pause.err).toContain('job ab12ab12 is paused; `mesh resume ab12ab12` lets it go on')
    const notPaused = await mesh(['resume', 'last', ...at()], { running: controlled([]).backend })
    expect(notPaused).toMatchObject({ code: 0, err: 'mesh: job ab12ab12 was not paused\n' })
    const paused = controlled([], [jobInfo({ state: 'paused' })]).backend
    const goesOn = await mesh(['resume', 'last', ...at()], { running: paused })
    expect(goesOn.err).toContain('job ab12ab12 goes on')
    const resume = await mesh(['resume', 'last', '--json', ...at()], { running: backend })
    expect(resume).toMatchObject({ code: 0, out: `{"resumed":"${JOB_ID}"}\n` })
    expect(asked).toEqual([
      ['pause', 'last'],
      ['resume', 'last'],
    ])
  })

  test('with no peer running one that lends nothing writes it, and says who hears of it', async () => {
    const { backend } = controlled([JOB_ID])
    Object.assign(backend, { peers: async () => [peerInfo()] })
    const run = await mesh(['cancel', 'last', ...at()], { embedded: backend })
    expect(run.started).toEqual([{ dataDir: folder, cores: 0, mdns: false, embedded: true }])
    expect(run.err).toContain('no other peer is connected: others hear of it when a peer runs here')
  })

  test('a folder without a peer knows no job', async () => {
    for (const words of [
      ['cancel', 'all'],
      ['pause', 'last'],
      ['resume', 'last'],
      ['retry', 'last'],
    ]) {
      const run = await mesh([...words, '--data', join(folder, 'none')])
      expect(run).toMatchObject({ code: 2, out: '', started: [] })
      expect(run.err).toMatch(/^mesh: no job/)
    }
  })

  test('what the peer refuses: exit 1', async () => {
    const { backend } = controlled([])
    const refuse = async () => {
      throw new MeshError('ERR_MESH_JOB_OVER', 'job ab12ab12 is finished')
    }
    Object.assign(backend, { pause: refuse })
    const run = await mesh(['pause', 'last', ...at()], { running: backend })
    expect(run).toMatchObject({ code: 1, err: 'mesh: job ab12ab12 is finished\n' })
  })
})

describe('retry', () => {
  const failure = {
    index: 1,
    code: 'ERR_MESH_ITEM_THREW',
    name: 'Error',
    message: 'no',
    attempts: 1,
  }

  /** Items 1, 3 and 4 of five failed. */
  function failed(info: Partial<JobInfo> = {}) {
    const { backend, requests } = receiver(
      {},
      { items: 5, done: 5, failed: 3, options: { retries: 2 }, input: range(5), ...info },
    )
    async function* results(id: string) {
      if (requests.length > 0) {
        yield { lo: 0, hi: 3, originLo: 0, bytes: encodeSegment(['a', 'b', 'c'], []) }
        return
      }
      expect(id).toBe(JOB_ID)
      const values = ['v', null, 'v', null, null]
      const failures = [1, 3, 4].map((index) => ({ ...failure, index }))
      yield { lo: 0, hi: 5, originLo: 0, bytes: encodeSegment(values, failures) }
    }
    return { backend: Object.assign(backend, { results }), requests }
  }
  const range = (count: number) => ({ kind: 'range', start: 0, count }) as const

  test('a new job over what failed, and which items it has', async () => {
    const { backend, requests } = failed()
    const run = await mesh(['retry', 'last', '--memory', '128', '--data', folder], {
      running: backend,
    })
    expect(run).toMatchObject({ code: 0, out: '"a"\n"b"\n"c"\n' })
    expect(run.err).toContain('job ab12ab12 submitted, over 3 items of job ab12ab12\n')
    expect(run.err).toContain('mesh: item 0 of the new job was item 1\n')
    expect(run.err).toContain('mesh: items 1 to 2 of the new job were items 3 to 4\n')
    expect(requests[0]).toMatchObject({
      input: { kind: 'inline', count: 3 },
      options: { retries: 2, memoryBytes: 2 ** 27 },
    })
  })

  test('--detach --json names all of them', async () => {
    const run = await mesh(['retry', 'last', '--detach', '--json', '--data', folder], {
      running: failed().backend,
    })
    expect(run).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(run.out)).toEqual({ job: JOB_ID, heldBy: [], retried: [1, 3, 4] })
  })

  test('nothing failed: says so, exit 0', async () => {
    const { backend, requests } = receiver()
    const run = await mesh(['retry', 'last', '--data', folder], { running: backend })
    expect(run).toMatchObject({ code: 0, out: '' })
    expect(run.err).toBe('mesh: no item of job ab12ab12 failed: nothing to do\n')
    const json = await mesh(['retry', 'last', '--json', '--data', folder], { running: backend })
    expect(json).toMatchObject({ code: 0, err: '', out: '{"job":null}\n' })
    expect(requests).toEqual([])
  })

  test('a job that runs, and a composition: refused', async () => {
    const runs = await mesh(['retry', 'last', '--data', folder], {
      running: failed({ state: 'running' }).backend,
    })
    expect(runs).toMatchObject({ code: 1, out: '' })
    expect(runs.err).toContain('is not over')
    const composed = await mesh(['retry', 'last', '--data', folder], {
      running: failed({ task: { ...jobInfo().task, kind: 'graph' } as JobInfo['task'] }).backend,
    })
    expect(composed.err).toContain('is a composition')
    expect(composed.code).toBe(1)
  })

  test('long lists are cut', () => {
    const items = Array.from({ length: 9 }, (_, i) => i * 10)
    const lines = mappingLines(items)
    expect(lines).toHaveLength(6)
    expect(lines[4]).toBe('item 4 of the new job was item 40')
    expect(lines[5]).toMatch(/^… and 4 more; --json/)
    expect(mappingLines([])).toEqual([])
  })
})

describe('what is shown', () => {
  const job = (info: Partial<JobInfo>) => fakeBackend([{ info: jobInfo(info) }])
  const show = async (info: Partial<JobInfo>) =>
    (await mesh(['job', 'last', '--data', folder], { running: job(info) })).out

  test('the state of a job, and what it waits for', async () => {
    const later = new Date(WALL_CLOCK + 60_000).toISOString()
    expect(await show({ startsAt: later })).toMatch(
      /state +scheduled for 2030-01-0\d \d\d:05:05 \(in 1 min 00 s\)\n/,
    )
    expect(await show({ state: 'paused' })).toContain(
      'paused (`mesh resume ab12ab12` lets it go on)',
    )
    expect(await show({ waitsFor: 'a peer with label zone=eu', peersAtWork: 0 })).toContain(
      'running, waits for a peer with label zone=eu',
    )
    const cancelled = { by: OTHER, name: 'tower', reason: '' }
    const text = await show({ state: 'cancelled', cancelled, failed: 0, done: 3 })
    expect(text).toContain('state      cancelled by tower\n')
    expect(text).toContain('mesh retry ab12ab12\n')
    expect(await show({ state: 'cancelled' })).toContain('state      cancelled\n')
  })

  test('its options', async () => {
    const text = await show({
      options: {
        softTimeLimitMs: 500,
        backoff: { delayMs: 2000, factorPercent: 200, maxMs: 60_000, jitterPercent: 50 },
        priority: 9,
        ratePer1000s: 2500,
        jobTimeLimitMs: 60_000,
        maxFailuresPpm: 25_000,
        maxFailures: 7,
        requires: { cores: 4, memoryBytes: 2 ** 33, gpu: true, labels: { zone: 'eu', fast: '' } },
        controllers: [OTHER as never],
        key: 'nightly\u0007',
        resultTtlMs: 7_200_000,
      },
    })
    const options = text.split('\n').find((line) => line.trimStart().startsWith('options'))
    expect(options?.trim()).toBe(
      'options    soft time limit 500 ms, backoff 2 s × 2 up to 1 min 00 s less 50 % at random, priority 9, at most 2.5 items/s, ends after 1 min 00 s, ends at more than 7 failed, ends at more than 2.5 % failed, requires 4 cores and 8 GiB memory and a GPU and zone=eu, fast, controlled by cd34cd34, key nightly',
    )
    expect(text).toContain('kept       for 2 h 00 min after its end\n')
  })

  test('until when it is kept', async () => {
    const expiresAt = new Date(WALL_CLOCK + 3_600_000).toISOString()
    const ended = { state: 'finished', expiresAt, peersAtWork: 0 } as const
    expect(await show(ended)).toMatch(/kept +until 2030-01-0\d \d\d:04:05 \(in 1 h 00 min\)\n/)
    const backend = fakeBackend([
      { info: jobInfo({ ...ended, options: { resultTtlMs: 3_600_000 } }) },
      { info: jobInfo({ id: OTHER, options: { resultTtlMs: 60_000 } }) },
      { info: jobInfo({ id: '99'.repeat(32) }) },
    ])
    const { out } = await mesh(['jobs', '--data', folder], { running: backend })
    const [head, ...rows] = out.trimEnd().split('\n')
    expect(head).toMatch(/SUBMITTED +EXPIRES$/)
    expect(rows.map((row) => row.slice(head!.indexOf('SUBMITTED') + 9).trim())).toEqual([
      '-',
      'in 1 h 00 min',
      '1 min 00 s after its end',
    ])
    expect((await mesh(['jobs', '--data', folder], { running: job(ended) })).out).not.toContain(
      'EXPIRES',
    )
  })

  test('jobs: scheduled, paused, cancelled', async () => {
    const startsAt = new Date(WALL_CLOCK + 60_000).toISOString()
    const backend = fakeBackend([
      { info: jobInfo({ startsAt, etaSeconds: null, itemsPerSecond: 0 }) },
    ])
    const { out } = await mesh(['jobs', '--data', folder], { running: backend })
    expect(out).toMatch(/scheduled .* starts in 1 min 00 s/)
  })

  test('the nodes of a composition', async () => {
    const node = { name: 'square', lo: 0, items: 10, done: 10, failed: 0, needs: [] }
    const nodes = [
      node,
      { ...node, name: 'half', lo: 10, done: 5, failed: 2, needs: [0] },
      { ...node, name: 'sum', lo: 20, items: 1, done: 0, needs: [0, 1, 2, 3, 4, 5] },
    ]
    const text = await show({
      nodes,
      nodesTotal: 5,
      items: 21,
      task: { ...jobInfo().task, kind: 'graph' } as JobInfo['task'],
    })
    expect(text).toContain(
      [
        'NODE  TASK    AFTER                  PROGRESS            ITEMS  FAILED',
        '   0  square  -                      ████████████ 100 %  10/10       -',
        '   1  half    0                      ██████░░░░░░ 50 %    5/10       2',
        '   2  sum     0, 1, 2, 3 and 2 more  ░░░░░░░░░░░░ 0 %      0/1       -',
        '… and 2 more nodes',
        '',
      ].join('\n'),
    )
    expect(text).toContain('21 items of a composition')
  })

  test('labels and a clock that is off', async () => {
    const labels = { zone: 'eu', fast: '' }
    const backend = fakeBackend([], {
      peers: async () => [
        peerInfo({ labels }),
        peerInfo({ id: '7'.repeat(64), self: false, address: '/ip4/1.2.3.4/tcp/5' }),
      ],
      status: async () => meshStatus({ peer: peerInfo({ labels }), clockAheadMs: -125_000 }),
    })
    const { out } = await mesh(['peers', '--data', folder], { running: backend })
    expect(out).toMatch(/STATE +LABELS +ADDRESS\n/)
    expect(out).toContain('this peer  zone=eu, fast')
    const status = await mesh(['status', '--data', folder], { running: backend })
    expect(status.out).toContain('labels      zone=eu, fast\n')
    expect(status.out).toContain("clock       this machine's is 2 min 05 s behind the mesh's\n")
  })
})

describe('join --label', () => {
  test('is told to the peer, and shown', async () => {
    const left = Promise.resolve()
    const backend = Object.assign(
      fakeBackend([], {
        status: async () => meshStatus({ peer: peerInfo({ labels: { zone: 'eu' } }) }),
      }),
      { left },
    )
    const run = await mesh(['join', '--label', 'zone=eu', '--label', 'fast', '--json'], {
      embedded: backend,
    })
    expect(run.started[0]).toMatchObject({ labels: { zone: 'eu', fast: '' } })
    expect(JSON.parse(run.out)).toMatchObject({ labels: { zone: 'eu' } })
    expect(await mesh(['join', '--label', '=x'])).toMatchObject({ code: 2 })
  })
})
