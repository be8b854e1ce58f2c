import { describe, expect, it } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import { readBatches } from '../../../src/client/results.ts'
import { SpanSet } from '../../../src/client/span-set.ts'
import type { BlobExchange } from '../../../src/node/blob-exchange.ts'
import { JobWatch } from '../../../src/node/job-watch.ts'
import { type ResultsParts, streamResults } from '../../../src/node/results.ts'
import type { ResultsOptions } from '../../../src/node/types.ts'
import { encodeSegment } from '../../../src/runtime/segment.ts'
import type {
  DoneSpan,
  EntryHash,
  FailedSpan,
  JobState,
  JobView,
  SchedulerCore,
} from '../../../src/scheduler/types.ts'
import type { Store } from '../../../src/store/types.ts'
import { JOB, peerId } from './small-mesh.ts'

const span = (lo: number, hi: number): DoneSpan => ({
  lo,
  hi,
  originLo: lo,
  hash: lo.toString(16).padStart(64, '0') as EntryHash,
  author: peerId(1),
  failed: 0,
  result: {
    kind: 'inline',
    bytes: encodeSegment(Array.from({ length: hi - lo }, (_, i) => lo + i)),
  },
})
const fail = (lo: number, hi: number): FailedSpan => ({
  lo,
  hi,
  code: 'ERR_MESH_WORKER_DIED',
  message: 'killed three workers',
})

class Rig {
  dones: DoneSpan[] = []
  fails: FailedSpan[] = []
  state: JobState = 'finished'
  inMemory = true
  readonly watch = new JobWatch(() => 0)
  ensure: BlobExchange['ensure'] = async () => undefined
  private readonly items: number

  constructor(items: number) {
    this.items = items
  }

  view(): JobView {
    return { job: JOB, items: this.items, state: this.state, done: 0, doneBy: new Map() } as never
  }

  changed(): void {
    for (const put of [this.dones]) {
      const change = { job: JOB, ownersRemoved: [], ownersPut: [], doneRemoved: [] }
      this.watch.viewChanged({ ...change, donePut: put })
    }
    this.watch.jobChanged(this.view())
  }

  async read(options: Partial<ResultsOptions> = {}) {
    const request: ResultsOptions = { order: 'item', wait: true, ...options }
    const values: unknown[] = []
    const failed: { index: number; code: string; message: string }[] = []
    const backend = { results: () => streamResults(this.parts(), JOB, request) }
    for await (const batch of readBatches(backend, JOB, request, new SpanSet())) {
      for (let i = 0; i < batch.values.length; i += 1) values[batch.lo + i] = batch.values[i]
      for (const { index, code, message } of batch.failures) failed.push({ index, code, message })
    }
    return { values, failed }
  }

  private parts(): ResultsParts {
    const scheduler = {
      job: () => (this.inMemory ? this.view() : undefined),
      doneAt: (_job: string, item: number) => this.dones.find((s) => s.lo <= item && item < s.hi),
      doneSpans: () => this.dones,
      failures: () => this.fails,
    } as unknown as SchedulerCore
    const { dones, fails } = this
    const store = {
      async *doneSpans(_job: string, from = 0) {
        for (const one of dones) if (one.hi > from) yield one
      },
      async *entries() {
        yield { body: { type: 'cancel', reason: '' } }
        yield { body: { type: 'fail', ranges: fails } }
        yield { body: { type: 'fail', ranges: fails } }
      },
      blobs: { get: async () => encodeSegment([7, 8, 9]) },
    } as unknown as Store
    return {
      scheduler,
      store,
      watch: this.watch,
      exchange: { ensure: this.ensure } as BlobExchange,
      self: peerId(0),
      presence: { live: () => false, awayMs: () => 200_000, everSeen: () => true },
      name: () => 'box2',
    }
  }
}

const died = (index: number) => ({
  index,
  code: 'ERR_MESH_WORKER_DIED',
  message: 'killed three workers',
})

describe.each(['item', 'arrival'] as const)(
  'items that only a FAIL made final, order %s',
  (order) => {
    it.each([true, false])('come out as failed, in memory: %s', async (inMemory) => {
      const rig = new Rig(10)
      rig.inMemory = inMemory
      rig.dones = [span(0, 3), span(5, 9)]
      rig.fails = [fail(3, 5), fail(9, 10)]
      const { values, failed } = await rig.read({ order })
      expect(values).toEqual([0, 1, 2, undefined, undefined, 5, 6, 7, 8, undefined])
      expect(failed.sort((a, b) => a.index - b.index)).toEqual([3, 4, 9].map(died))
    })

    it('do not end the reading while the job runs', async () => {
      const rig = new Rig(4)
      rig.state = 'running'
      rig.dones = [span(0, 1)]
      rig.fails = [fail(1, 3)]
      const reading = rig.read({ order })
      await new Promise((resolve) => setImmediate(resolve))
      rig.dones = [span(0, 1), span(3, 4)]
      rig.state = 'finished'
      rig.changed()
      const { values, failed } = await reading
      expect(values[3]).toBe(3)
      expect(failed).toEqual([1, 2].map(died))
    })

    it('many at once are cut into parts', async () => {
      const rig = new Rig(2_500)
      rig.fails = [fail(0, 2_500)]
      expect((await rig.read({ order })).failed).toHaveLength(2_500)
    })

    it('without waiting, what is there', async () => {
      const rig = new Rig(10)
      rig.state = 'running'
      rig.dones = [span(6, 8)]
      rig.fails = [fail(2, 3)]
      const { values, failed } = await rig.read({ order, wait: false })
      expect(values.slice(6)).toEqual([6, 7])
      expect(failed).toEqual([died(2)])
    })
  },
)

describe('a result on keepers that are away', () => {
  const blob = (lo: number): DoneSpan => ({
    ...span(lo, lo + 3),
    result: { kind: 'blob', hash: 'ab'.repeat(32) as never, sizeBytes: 1, keepers: [peerId(2)] },
  })

  it('of a finished job: an error that names them and since when they are away', async () => {
    const rig = new Rig(3)
    rig.dones = [blob(0)]
    rig.ensure = async () => {
      throw new MeshError('ERR_MESH_INPUT_LOST', 'nobody has it')
    }
    await expect(rig.read({ wait: false })).rejects.toMatchObject({
      code: 'ERR_MESH_RESULT_LOST',
      message: expect.stringMatching(
        /items 0\.\.3 were left with box2 \(away for 3 min\).*--recompute/,
      ),
      details: { keepers: [{ name: 'box2', awayMs: 200_000 }] },
    })
  })

  it('of a running job: the reader stays, and gets the items when they ran again', async () => {
    const rig = new Rig(3)
    rig.state = 'running'
    rig.dones = [blob(0)]
    rig.ensure = async () => {
      // Declared LOST while the reader asks, and done again.
      rig.dones = [{ ...span(0, 3), hash: 'f'.repeat(64) as EntryHash }]
      rig.state = 'finished'
      throw new MeshError('ERR_MESH_INPUT_LOST', 'nobody has it')
    }
    await expect(rig.read()).resolves.toMatchObject({ values: [0, 1, 2] })
  })
})

describe.each(['item', 'arrival'] as const)('some ranges of items, order %s', (order) => {
  const ranges = [
    { lo: 1, hi: 3 },
    { lo: 4, hi: 8 },
  ]

  it.each([true, false])('come alone, in memory: %s', async (inMemory) => {
    const rig = new Rig(10)
    rig.inMemory = inMemory
    rig.dones = [span(0, 5), span(7, 10)]
    rig.fails = [fail(5, 7)]
    const { values, failed } = await rig.read({ order, ranges })
    expect(Object.entries(values).map(([at, value]) => [Number(at), value])).toEqual([
      [1, 1],
      [2, 2],
      [4, 4],
      [5, undefined],
      [6, undefined],
      [7, 7],
    ])
    expect(failed).toEqual([died(5), died(6)])
  })

  it('end when they are final, though the job goes on', async () => {
    const rig = new Rig(1_000)
    rig.state = 'running'
    rig.dones = [span(0, 5)]
    rig.fails = [fail(6, 7)]
    const reading = rig.read({ order, ranges })
    await new Promise((resolve) => setImmediate(resolve))
    rig.dones = [span(0, 5), span(5, 6), span(7, 8), span(900, 950)]
    rig.changed()
    const { values, failed } = await reading
    expect(Object.keys(values)).toEqual(['1', '2', '4', '5', '6', '7'])
    expect(failed).toEqual([died(6)])
  })

  it('are nothing when there are none', async () => {
    const rig = new Rig(10)
    rig.state = 'running'
    rig.dones = [span(0, 5)]
    expect((await rig.read({ order, ranges: [] })).values).toEqual([])
  })
})

it('results that are not asked for are not fetched', async () => {
  const rig = new Rig(10)
  const result = { kind: 'blob', hash: 'ff'.repeat(32), sizeBytes: 9, keepers: [] } as never
  rig.dones = [{ ...span(0, 3), result }, span(3, 10)]
  rig.ensure = async () => {
    throw new MeshError('ERR_MESH_INPUT_LOST', 'gone')
  }
  for (const order of ['item', 'arrival'] as const) {
    for (rig.inMemory of [true, false]) {
      const { values } = await rig.read({ order, ranges: [{ lo: 4, hi: 6 }] })
      expect(values.filter((value) => value !== undefined)).toEqual([4, 5])
    }
  }
})
