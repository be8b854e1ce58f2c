import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import type { MeshBackend } from '../../../src/node/types.ts'
import { fakeBackend, JOB_ID, jobInfo, mesh, meshStatus, peerInfo, WALL_CLOCK } from './helpers.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-cli-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

const other = peerInfo({
  id: '77777777'.repeat(8),
  name: 'tower\u001b[2J',
  self: false,
  address: '/ip4/127.0.0.1/tcp/9',
  rttMs: 1.26,
  speed: 0.5,
  itemsPerSecond: 0,
})

describe('mesh status', () => {
  test('says what is going on', async () => {
    const running = fakeBackend([{ info: jobInfo() }, { info: jobInfo({ state: 'finished' }) }], {
      status: async () =>
        meshStatus({
          warnings: ['the clock is 3 s off'],
          strikes: [{ peer: '77777777'.repeat(8), reason: 'garbage', count: 2 }],
        }),
    })
    const run = await mesh(['status'], { running })
    expect(run).toMatchObject({ code: 0, err: '', started: [] })
    expect(run.out).toBe(
      [
        'peer 3fa9c1d2 laptop, meshwork 0.1.0',
        '  mesh        9a8b7c6d5e4f3a2b, 1 other peer',
        '  lends       4 cores: 3 busy, 1 free',
        '  memory      12 GiB free of 32 GiB',
        '  gpu         none is used: kernels run on the CPU (`mesh doctor` says more)',
        '  jobs        1 running, 2 finished',
        '  workers     3 busy of 4 alive; 6 started, 1 recycled, 0 died',
        '  loop delay  p50 1 ms, p99 4.3 ms, max 9 ms',
        '  folder      /srv/mesh-data',
        '  disk        93.1 GiB free, 512 MiB are left alone',
        '  keeps       finished jobs for 7 d 0 h of running time, 9.31 GiB at most',
        '  process     4242, up 3 min 20 s',
        '  listens     /ip4/127.0.0.1/tcp/4001',
        '  strikes     77777777: 2 x garbage',
        '  warnings    the clock is 3 s off',
        '',
        'ab12ab12  primes  ██████████████░░░░░░░░░░  61 %  612 340/1 000 000  48.2k/s  ETA 9 s  2 peers',
        '',
      ].join('\n'),
    )
    expect(running.closed).toBe(1)
  })

  test('says who is missing, a full disk, and what a leaving peer hands on', async () => {
    const gone = peerInfo({
      ...other,
      state: 'away',
      connected: false,
      lastSeenMs: 180_000,
      lost: true,
    })
    const mute = peerInfo({
      id: '55'.repeat(32),
      name: 'mute',
      self: false,
      state: 'silent',
      lastSeenMs: 12_000,
    })
    const left = peerInfo({ id: '66'.repeat(32), name: 'bye', self: false, state: 'left' })
    const running = fakeBackend([], {
      peers: async () => [peerInfo(), gone, mute, left],
      status: async () =>
        meshStatus({
          disk: { freeBytes: 100 * 1024 ** 2, reserveBytes: 512 * 1024 ** 2, short: true },
          handingOn: { bytesLeft: 3 * 1024 ** 2, bytesTotal: 9 * 1024 ** 2 },
        }),
    })
    const { out } = await mesh(['status'], { running })
    expect(out).toContain('missing     tower (lost, away 3 min 00 s), mute (silent 12 s)\n')
    expect(out).toContain('disk        full: 100 MiB free, 512 MiB are left alone\n')
    expect(out).toContain('leaves      hands on 3 MiB of results that only it has\n')
  })

  test('--json is the status itself', async () => {
    const run = await mesh(['status', '--json'], { running: fakeBackend() })
    expect(JSON.parse(run.out)).toEqual(meshStatus())
  })

  test('with no peer running: exit 3, in words and in JSON', async () => {
    const run = await mesh(['status'])
    expect(run).toMatchObject({ code: 3, out: '', started: [] })
    expect(run.err).toMatch(
      /^mesh: no peer runs on \/srv\/mesh-data\n {6}start one with `mesh join`/,
    )
    const json = await mesh(['status', '--json'])
    expect(json).toMatchObject({ code: 3, err: '' })
    expect(JSON.parse(json.out).error.code).toBe('ERR_MESH_NO_PEER_RUNNING')
  })
})

describe('mesh peers', () => {
  const running = fakeBackend([], { peers: async () => [other, peerInfo()] })

  test('a table, this peer first, no control characters', async () => {
    const run = await mesh(['peers'], { running })
    expect(run.out.split('\n')).toEqual([
      'PEER      NAME    SLOTS  BUSY  ITEMS/S  SPEED  GPU  MEMORY FREE     RTT  STATE      ADDRESS',
      '3fa9c1d2  laptop      4     3    48.2k   1.00  -         12 GiB       -  this peer',
      '77777777  tower       4     3        -   0.50  -         12 GiB  1.3 ms  connected  /ip4/127.0.0.1/tcp/9',
      '',
    ])
  })

  test('--json is an array with this peer', async () => {
    const list = JSON.parse((await mesh(['peers', '--json'], { running })).out)
    expect(list).toHaveLength(2)
    expect(list.filter((peer: { self: boolean }) => peer.self)).toHaveLength(1)
  })

  test('colours on a terminal only', async () => {
    expect((await mesh(['peers'], { running, tty: true })).out).toContain('\u001b[1m3fa9c1d2')
  })

  test('no peer: exit 1', async () => {
    const run = await mesh(['peers'])
    expect(run.code).toBe(1)
    expect(run.err).toContain('no peer runs on')
  })
})

describe('mesh jobs and mesh job', () => {
  const old = jobInfo({
    id: 'cd34'.repeat(16),
    name: 'words',
    state: 'finished',
    items: 100,
    done: 100,
    failed: 3,
    submittedAt: new Date(WALL_CLOCK - 7200_000).toISOString(),
    finishedAt: new Date(WALL_CLOCK - 7190_000).toISOString(),
    peersAtWork: 0,
    etaSeconds: null,
    itemsPerSecond: 0,
  })
  const running = fakeBackend([{ info: old }, { info: jobInfo() }])

  test('newest first', async () => {
    const run = await mesh(['jobs'], { running, defaultDataDir: folder })
    expect(run.out).toBe('') // an empty folder is not asked
    await writeFile(join(folder, 'identity'), '')
    expect((await mesh(['jobs', '--data', folder], { running })).out.split('\n')).toEqual([
      'JOB       TASK    STATE     PROGRESS              ITEMS     RATE      TIME       SUBMITTED',
      'ab12ab12  primes  running   ██████░░░░ 61 %   1 000 000  48.2k/s  9 s left  1 min 20 s ago',
      'cd34cd34  words   3 failed  ██████████ 100 %        100     10/s      10 s  2 h 00 min ago',
      '',
    ])
    const json = JSON.parse((await mesh(['jobs', '--data', folder, '--json'], { running })).out)
    expect(json.map((job: { name: string }) => job.name)).toEqual(['primes', 'words'])
  })

  test('a folder without a peer: no jobs, and none is made', async () => {
    const run = await mesh(['jobs', '--json'], { defaultDataDir: join(folder, 'none') })
    expect(run).toMatchObject({ code: 0, out: '[]\n', started: [] })
    const job = await mesh(['job', 'last'], { defaultDataDir: join(folder, 'none') })
    expect(job).toMatchObject({ code: 2, out: '', started: [] })
    expect(job.err).toContain('no job has been submitted here yet')
  })

  test('with no peer running, one that lends nothing reads the folder', async () => {
    await writeFile(join(folder, 'identity'), '')
    const embedded = fakeBackend([{ info: old }])
    const run = await mesh(['jobs', '--data', folder], { embedded })
    expect(run.code).toBe(0)
    expect(run.started).toEqual([{ dataDir: folder, cores: 0, mdns: false, embedded: true }])
    expect(embedded.closed).toBe(1)
  })

  test('one job: shares, options, log', async () => {
    await writeFile(join(folder, 'identity'), '')
    const info = jobInfo({ options: { chunkSize: 1000, timeLimitMs: 2500, retries: 2 } })
    const line = { job: JOB_ID, peer: '77777777'.repeat(8), at: '2030-01-02T03:04:05.678Z' }
    const backend = fakeBackend([
      { info, logs: [{ ...line, stream: 'stderr', text: 'hello\u001b[2J', item: 17 }] },
    ])
    const run = await mesh(['job', 'ab12', '--data', folder], { running: backend })
    expect(run.out.split('\n')).toEqual([
      `job ${JOB_ID}`,
      '',
      'ab12ab12  primes  ██████████████░░░░░░░░░░  61 %  612 340/1 000 000  48.2k/s  ETA 9 s  2 peers',
      '',
      '  task       primes',
      '  state      running',
      '  items      612 340 of 1 000 000 (61 %)',
      '  submitted  1 min 20 s ago by 3fa9c1d2 (2030-01-02T03:02:45.000Z)',
      '  time       1 min 20 s so far',
      '  input      range 0..1000000',
      '  options    chunk size 1 000, time limit 2.5 s, retries 2',
      '  log        40 entries: 44 chunks, 3 grants, 0 reclaims',
      '',
      'PEER      NAME      ITEMS  SHARE',
      '3fa9c1d2  laptop  400 000   65 %  ████████████████████',
      '77777777  tower   212 340   34 %  ██████████',
      '',
      'last of `mesh logs ab12ab12`:',
      '  03:04:05.678  77777777  item 17  hello',
      '',
    ])
    expect(
      JSON.parse(
        (await mesh(['job', 'last', '--data', folder, '--json'], { running: backend })).out,
      ),
    ).toEqual(info)
  })

  test('an unknown or ambiguous id: exit 2, with the way on', async () => {
    await writeFile(join(folder, 'identity'), '')
    const refuse = (code: 'ERR_MESH_JOB_UNKNOWN' | 'ERR_MESH_JOB_AMBIGUOUS'): MeshBackend =>
      fakeBackend([], {
        job: async () => {
          throw new MeshError(code, 'which job?', { details: { job: 'zz' } })
        },
      })
    const unknown = await mesh(['job', 'zz', '--data', folder], {
      running: refuse('ERR_MESH_JOB_UNKNOWN'),
    })
    expect(unknown.code).toBe(2)
    expect(unknown.err).toBe(
      'mesh: which job?\n      `mesh jobs` lists the jobs that are known here\n',
    )
    const ambiguous = await mesh(['results', 'zz', '--data', folder, '--json'], {
      running: refuse('ERR_MESH_JOB_AMBIGUOUS'),
    })
    expect(ambiguous.code).toBe(2)
    expect(JSON.parse(ambiguous.out)).toEqual({
      error: { code: 'ERR_MESH_JOB_AMBIGUOUS', message: 'which job?', details: { job: 'zz' } },
    })
  })
})

describe('mesh logs', () => {
  const line = { job: JOB_ID, peer: '77777777'.repeat(8), at: '2030-01-02T03:04:05.678Z' }
  const running = fakeBackend([
    {
      info: jobInfo(),
      logs: [
        { ...line, stream: 'stdout', text: 'one' },
        { ...line, stream: 'log', text: 'two', item: 3 },
      ],
    },
  ])

  test('lines, or one array', async () => {
    const run = await mesh(['logs', 'last'], { running })
    expect(run.out).toBe('03:04:05.678  77777777  one\n03:04:05.678  77777777  item 3  two\n')
    const json = await mesh(['logs', 'last', '--json'], { running })
    expect(JSON.parse(json.out).map((entry: { text: string }) => entry.text)).toEqual([
      'one',
      'two',
    ])
  })
})

describe('mesh ticket and mesh leave', () => {
  test('ticket', async () => {
    await writeFile(join(folder, 'identity'), '')
    const running = fakeBackend()
    expect(await mesh(['ticket', '--data', folder], { running })).toMatchObject({
      code: 0,
      out: 'mesh1ticket\n',
      err: '',
    })
    const json = await mesh(['ticket', '--json', '--data', folder], { running })
    expect(JSON.parse(json.out)).toEqual({ ticket: 'mesh1ticket' })
    const embedded = await mesh(['ticket', '--data', folder], { embedded: fakeBackend() })
    expect(embedded.err).toContain('the ticket works while one does')
    expect((await mesh(['ticket'], { defaultDataDir: join(folder, 'none') })).code).toBe(1)
  })

  test('leave stops the peer and waits until it is gone', async () => {
    const backend = fakeBackend()
    // Gone once it was asked to.
    const world = {
      get running() {
        return backend.leaves > 0 ? undefined : backend
      },
    }
    const run = await mesh(['leave', '--json'], world)
    expect(JSON.parse(run.out)).toMatchObject({ left: true, pid: 4242 })
    expect(run.code).toBe(0)
    expect(backend.leaves).toBe(1)
  })

  test('leave with none running: exit 1', async () => {
    const run = await mesh(['leave', '--json'])
    expect(run.code).toBe(1)
    expect(JSON.parse(run.out).error.code).toBe('ERR_MESH_NO_PEER_RUNNING')
  })
})

describe('mesh join', () => {
  test('says who it is, what it lends, the line for the next machine, the danger, and how to stop', async () => {
    const embedded = fakeBackend([{ info: jobInfo() }], { peers: async () => [peerInfo(), other] })
    let interrupt: () => void = () => {}
    const running = mesh(
      [
        'join',
        'mesh join mesh1abc',
        '--cores',
        '4',
        '--no-mdns',
        '--listen',
        '/a',
        '--listen',
        '/b',
      ],
      {
        embedded,
        signals: (send) => {
          interrupt = () => send('SIGINT')
        },
      },
    )
    embedded.jobs = async () => {
      // The first look at jobs is the baseline, the second prints; then the user stops it.
      setImmediate(interrupt)
      return [jobInfo(), jobInfo({ id: 'cd34'.repeat(16), items: 5 })]
    }
    const run = await running
    expect(run).toMatchObject({
      code: 0,
      err: 'mesh: leaving (Ctrl-C again: at once)\nmesh: left the mesh\n',
    })
    expect(run.started).toEqual([
      {
        dataDir: '/srv/mesh-data',
        ticket: 'mesh1abc',
        mdns: false,
        cores: 4,
        listen: ['/a', '/b'],
      },
    ])
    expect(run.out).toMatch(
      /^peer 3fa9c1d2 laptop is in mesh 9a8b7c6d5e4f3a2b\n {2}lends +4 cores, 32 GiB memory\n/,
    )
    expect(run.out).toMatch(/^ {2}mesh join mesh1ticket$/m)
    expect(run.out).toMatch(/Members can run code on this machine as its user/)
    expect(run.out).toMatch(/Stop: Ctrl-C, or `mesh leave`/)
    expect(run.out).toMatch(/^\d\d:\d\d:\d\d \+ peer 77777777 tower is here, lends 4 cores/m)
    expect(embedded.closed).toBe(1)
  })

  test('--json: one document when ready; ends when the peer was told to leave', async () => {
    const left = Promise.resolve()
    const embedded = Object.assign(fakeBackend(), { left }) as unknown as MeshBackend
    const run = await mesh(['join', '--json'], { embedded })
    expect(JSON.parse(run.out)).toMatchObject({
      short: '3fa9c1d2',
      ticket: 'mesh1ticket',
      cores: 4,
    })
    expect(run).toMatchObject({ code: 0, err: '' })
  })

  test('a peer that cannot start: its error', async () => {
    const run = await mesh(['join'], {
      get embedded(): MeshBackend {
        throw new MeshError('ERR_MESH_PORT_IN_USE', '/ip4/0.0.0.0/tcp/80 is in use')
      },
    })
    expect(run).toMatchObject({ code: 1, out: '' })
    expect(run.err).toBe('mesh: /ip4/0.0.0.0/tcp/80 is in use\n')
  })
})
