import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { eventsBetween, viewOf } from '../../../cli/lib/mesh-events.ts'
import { MeshError } from '../../../src/base/errors.ts'
import type { JobRequest, ResultsOptions } from '../../../src/node/types.ts'
import type { JobId } from '../../../src/scheduler/types.ts'
import { fakeBackend, JOB_ID, jobInfo, mesh, meshStatus, peerInfo } from './helpers.ts'

const MIB = 1024 ** 2
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-keep-'))
  await writeFile(join(folder, 'identity'), '')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** Runs `mesh join` until it is ready, then interrupts it. */
async function joined(argv: string[], embedded = fakeBackend()) {
  let interrupt: () => void = () => {}
  const { jobs } = embedded
  embedded.jobs = async () => {
    setImmediate(interrupt)
    return await jobs()
  }
  return await mesh(['join', ...argv], {
    embedded,
    signals: (send) => {
      interrupt = () => send('SIGINT')
    },
  })
}

describe('mesh join', () => {
  test('says how long and how much is kept, and what stays free', async () => {
    const run = await joined(['--keep', '12h', '--keep-size', '2GB', '--min-free', '100MiB'])
    expect(run.started).toMatchObject([{ keep: { days: 0.5, bytes: 2e9 }, minFree: 100 * MIB }])
    expect((await joined([])).started[0]).not.toHaveProperty('keep')
  })

  test('refuses what is no time or size', async () => {
    const run = await mesh(['join', '--keep', '7'], {})
    expect(run).toMatchObject({ code: 2, started: [] })
    expect(run.err).toMatch(/^mesh: --keep must be a time such as 7d/)
    expect((await mesh(['join', '--min-free', 'all'], {})).err).toMatch(/--min-free must be a size/)
  })

  test('tells a repaired store', async () => {
    const repair = { reason: 'a table is missing', copy: '/data/db.damaged', jobs: 2 }
    const status = meshStatus({ repair: { ...repair, entriesKept: 1234, entriesDropped: 5 } })
    const run = await joined([], fakeBackend([], { status: async () => status }))
    expect(run.err).toContain(
      'mesh: the store was damaged (a table is missing) and was repaired: 1 234 entries kept, 5 dropped; what is missing is pulled from other peers\n' +
        'mesh: the damaged one is kept in /data/db.damaged\n',
    )
  })

  test('tells a disk that fills', async () => {
    const disk = { freeBytes: 100 * MIB, reserveBytes: 512 * MIB, short: true }
    const run = await joined([], fakeBackend([], { status: async () => meshStatus({ disk }) }))
    expect(run.out).toContain('! the disk is nearly full (100 MiB free, 512 MiB are left alone)')
  })

  test('tells what it hands on while it leaves', async () => {
    let tell: (progress: { bytesLeft: number; bytesTotal: number }) => void = () => {}
    const embedded = Object.assign(
      fakeBackend([], {
        close: async () => {
          tell({ bytesLeft: 120 * MIB, bytesTotal: 120 * MIB })
          tell({ bytesLeft: 0, bytesTotal: 120 * MIB })
        },
      }),
      {
        onHandOn: (listener: typeof tell) => {
          tell = listener
          return () => {}
        },
      },
    )
    const run = await joined([], embedded)
    expect(run.err).toBe(
      'mesh: leaving (Ctrl-C again: at once)\n' +
        'mesh: waiting to hand on 120 MiB of results that only this peer has; Ctrl-C again to leave at once\n' +
        'mesh: left the mesh\n',
    )
  })

  test('events: lost, heard of again, left, disks', () => {
    const other = peerInfo({ id: '77'.repeat(32), name: 'box2', self: false })
    const between = (before: object, after: object) =>
      eventsBetween(viewOf([{ ...other, ...before }], []), [{ ...other, ...after }], [], 0)
    expect(between({}, { lost: true, lastSeenMs: 10_400 })).toEqual([
      '~ peer 77777777 box2 is lost: silent for 10 s',
    ])
    expect(between({ lost: true }, {})).toEqual(['~ peer 77777777 box2 is heard of again'])
    expect(between({}, { connected: false, state: 'left' })).toEqual(['- peer 77777777 box2 left'])
    expect(between({}, { connected: false, state: 'away' })).toEqual([
      '- peer 77777777 box2 is gone',
    ])
    expect(between({}, { diskFull: true })[0]).toMatch(/has a full disk/)
    expect(between({ diskFull: true }, {})[0]).toMatch(/has disk space again/)
  })
})

describe('mesh submit', () => {
  async function request(argv: string[]): Promise<JobRequest> {
    const task = join(folder, 'task.ts')
    await writeFile(
      task,
      "import { defineTask } from 'meshwork'\nexport default defineTask({ name: 't', run: (x: number) => x })\n",
    )
    const requests: JobRequest[] = []
    const running = fakeBackend([{ info: jobInfo({ state: 'finished', items: 0 }) }], {
      putBlob: async () => ({ hash: 'ab'.repeat(32) as never, sizeBytes: 1 }),
      submit: async (one) => {
        requests.push(one)
        return { job: JOB_ID as JobId, heldBy: [] }
      },
    })
    await mesh(['submit', task, '--range', '0..3', '--detach', ...argv], { running })
    return requests[0]!
  }

  test('--replicas and --no-speculate travel with the job; without them nothing does', async () => {
    expect((await request(['--replicas', '3', '--no-speculate'])).options).toEqual({
      replicas: 3,
      speculate: false,
    })
    expect((await request([])).options).toEqual({})
  })

  test.each(['0', '9', 'two'])('--replicas %s is refused', async (text) => {
    const run = await mesh(['submit', 'x.ts', '--range', '0..1', '--replicas', text], {})
    expect(run.code).toBe(2)
    expect(run.err).toMatch(/^mesh: --replicas must be/)
  })
})

describe('mesh results', () => {
  test('--recompute asks for it, and not together with --no-wait', async () => {
    const asked: ResultsOptions[] = []
    const running = fakeBackend([{ info: jobInfo({ state: 'finished', items: 0, done: 0 }) }], {
      // biome-ignore lint/correctness/useYield: an empty stream
      results: async function* (_id, options) {
        asked.push(options)
      },
    })
    expect(
      (await mesh(['results', 'last', '--recompute', '--data', folder], { running })).code,
    ).toBe(0)
    expect((await mesh(['results', 'last', '--data', folder], { running })).code).toBe(0)
    expect(asked.map(({ recompute }) => recompute)).toEqual([true, undefined])
    const both = await mesh(['results', 'last', '--recompute', '--no-wait', '--data', folder], {
      running,
    })
    expect(both.code).toBe(2)
    expect(both.err).toMatch(/leave --no-wait out/)
  })

  test('tells a peer that is lost meanwhile, beside the results', async () => {
    const loss = { id: '77'.repeat(32), name: 'box2', items: 7, at: 'now', restarted: false }
    const info = jobInfo({ state: 'finished', items: 0, done: 0 })
    const running = fakeBackend([{ info }], {
      async *watch() {
        yield jobInfo()
        yield jobInfo({ peersLost: [loss] })
      },
    })
    const run = await mesh(['results', 'last', '--data', folder], { running })
    expect(run.err).toContain('mesh: peer box2 lost: its 7 items go to others\n')
    const quiet = await mesh(['results', 'last', '--quiet', '--data', folder], { running })
    expect(quiet.err).toBe('')
  })
})

describe('mesh job', () => {
  const copies = { wanted: 2, results: 40, bytes: 3 * MIB, tooFew: 0, none: 0, partial: false }
  const shown = async (change: object) =>
    (
      await mesh(['job', 'last', '--data', folder], {
        running: fakeBackend([{ info: jobInfo(change) }]),
      })
    ).out

  test('on how many peers the results are', async () => {
    expect(await shown({ copies })).toContain('copies     40 results, 3 MiB: each on 2 peers\n')
    expect(await shown({ copies: { ...copies, tooFew: 5, none: 1, partial: true } })).toContain(
      'copies     at least 40 results, 3 MiB: 5 on fewer than 2 peers, 1 of them on none that is here\n',
    )
    expect(await shown({ copies: { ...copies, results: 0 } })).not.toContain('copies')
  })

  test('which peers it lost', async () => {
    const loss = (name: string) => ({
      id: '77'.repeat(32),
      name,
      items: 3,
      at: '2030-01-02T03:04:05.000Z',
      restarted: false,
    })
    const out = await shown({ peersLost: Array.from({ length: 10 }, (_, i) => loss(`box${i}`)) })
    expect(out).toContain('lost       … and 2 earlier\n')
    expect(out).toContain('           03:04:05 peer box9 lost: its 3 items go to others\n')
    expect(out).not.toContain('box1 ')
  })
})

describe('mesh forget', () => {
  test('drops each once, and says so', async () => {
    const forgotten: string[] = []
    const running = fakeBackend([{ info: jobInfo() }], {
      forget: async (id) => {
        forgotten.push(id)
        return id as JobId
      },
    })
    const run = await mesh(['forget', 'ab12', JOB_ID, '--data', folder], { running })
    expect(run).toMatchObject({ code: 0, out: '' })
    expect(run.err).toBe('mesh: 1 job forgotten here; other peers keep theirs\n')
    expect(forgotten).toEqual([JOB_ID])
    const json = await mesh(['forget', 'ab12', '--json', '--data', folder], { running })
    expect(JSON.parse(json.out)).toEqual({ forgotten: [JOB_ID] })
  })

  test('a mistyped id drops nothing', async () => {
    const forgotten: string[] = []
    const running = fakeBackend([], {
      job: async (id) => {
        if (id === 'good') return jobInfo()
        throw new MeshError('ERR_MESH_JOB_UNKNOWN', 'no such job')
      },
      forget: async (id) => {
        forgotten.push(id)
        return id as JobId
      },
    })
    const run = await mesh(['forget', 'good', 'bad0', '--data', folder], { running })
    expect(run.code).toBe(2)
    expect(forgotten).toEqual([])
  })
})
