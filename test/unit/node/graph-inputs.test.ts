import { beforeEach, describe, expect, test } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import type { BlobExchange } from '../../../src/node/blob-exchange.ts'
import { nodesOf } from '../../../src/node/graph-info.ts'
import { Inputs } from '../../../src/node/inputs.ts'
import { encodeManifest } from '../../../src/runtime/manifest.ts'
import { decodeSegments, encodeSegment, encodeValue } from '../../../src/runtime/segment.ts'
import type { ElementPart, ItemError } from '../../../src/runtime/types.ts'
import type { Arg, NodeInput, Plan, PlanNode, Shape } from '../../../src/scheduler/plan.ts'
import { nodeAt, nodeStarts } from '../../../src/scheduler/plan-check.ts'
import type {
  BlobHash,
  DoneSpan,
  EntryHash,
  FailedSpan,
  JobSpec,
} from '../../../src/scheduler/types.ts'
import { createMemoryBlobs } from '../../../src/store/memory-blobs.ts'
import { encodePlan } from '../../../src/store/plan-codec.ts'
import { itemsOfPlan } from '../../helpers/random-plan.ts'
import { JOB, peerId } from './small-mesh.ts'

const steps = [{ task: 0 }]
const range: NodeInput = { kind: 'range', start: 5 }
const item = (at: number): Shape => ({ kind: 'item', item: at })
const list = (lo: number, hi: number, size?: number): Shape =>
  size === undefined ? { kind: 'list', lo, hi } : { kind: 'list', lo, hi, size }
const each = (...from: [number, number][]): NodeInput => ({
  kind: 'each',
  from: from.map(([lo, hi]) => ({ lo, hi })),
})
const shapeArg = (shape: Shape): Arg => ({ kind: 'shape', shape })

function node(count: number, input: NodeInput, more: Partial<PlanNode> = {}): PlanNode {
  return { count, input, steps, ...more }
}

function callOf(args: readonly Arg[], more: Partial<PlanNode> = {}): PlanNode {
  return node(1, { kind: 'call', args }, more)
}

const error = (index: number, message = 'boom'): ItemError => ({
  index,
  code: 'ERR_MESH_ITEM_THREW',
  name: 'Error',
  message,
  attempts: 1,
})

/** One peer: what it has on its disk, and what has become of the job's items. */
class Rig {
  readonly blobs = createMemoryBlobs()
  readonly away = new Map<BlobHash, Uint8Array>()
  readonly fetched: BlobHash[] = []
  readonly dones: DoneSpan[] = []
  readonly fails: FailedSpan[] = []
  readonly inputs: Inputs
  plan: Plan = { tasks: [], nodes: [], output: item(0) }

  constructor() {
    const store = { ...this.blobs, path: (hash: BlobHash) => `/blobs/${hash}` }
    const ensure = async (hash: BlobHash): Promise<void> => {
      if (await this.blobs.has(hash)) return
      const bytes = this.away.get(hash)
      if (bytes === undefined) throw new MeshError('ERR_MESH_INPUT_LOST', 'nobody has it')
      this.fetched.push(hash)
      await this.blobs.put(bytes)
    }
    this.inputs = new Inputs(store, { ensure } as unknown as BlobExchange, {
      doneAt: (_job, at) => this.dones.find(({ lo, hi }) => lo <= at && at < hi),
      failures: () => this.fails,
    })
  }

  async use(...nodes: PlanNode[]): Promise<void> {
    const { hash: bundle } = await this.blobs.put(Buffer.from('the task'))
    const tasks = ['square', 'sum'].map((name, i) => ({
      name,
      bundle,
      bundleBytes: 8,
      pick: i === 1,
    }))
    this.plan = { tasks, nodes, output: item(0) }
  }

  /** Items lo.. are done; `parts` segments one after the other. */
  async done(
    lo: number,
    values: unknown[],
    how: 'inline' | 'here' | 'away' = 'inline',
    failures: ItemError[] = [],
    originLo = lo,
  ): Promise<DoneSpan> {
    const bytes = encodeSegment(values, failures)
    const { hash } = await createMemoryBlobs().put(bytes)
    if (how === 'here') await this.blobs.put(bytes)
    if (how === 'away') this.away.set(hash, bytes)
    const span: DoneSpan = {
      lo,
      hi: originLo + values.length,
      originLo,
      hash: String(this.dones.length).padStart(64, '0') as EntryHash,
      author: peerId(1),
      failed: failures.length,
      result:
        how === 'inline'
          ? { kind: 'inline', bytes }
          : { kind: 'blob', hash, sizeBytes: bytes.length, keepers: [peerId(1)] },
    }
    this.dones.push(span)
    return span
  }

  spec(): JobSpec {
    const bundle = 'ee'.repeat(32) as BlobHash
    return {
      v: 1,
      task: { kind: 'graph', name: 'g', bundle, bundleBytes: 1 },
      input: { kind: 'range', start: 0, count: itemsOfPlan(this.plan) },
      options: { retries: 1, chunkSize: 7 },
      nonce: '00'.repeat(16),
    }
  }

  prepare(lo: number, hi: number) {
    const starts = nodeStarts(this.plan)
    const at = nodeAt(starts, lo)
    const of = { plan: this.plan, node: at, nodeLo: starts[at]! }
    return this.inputs.prepare(JOB, this.spec(), peerId(0), lo, hi, of)
  }

  /** The one value of a call, or its failure. */
  async call(at: number): Promise<{ value?: unknown; failure?: ItemError }> {
    const { input } = await this.prepare(at, at + 1)
    if (input.kind !== 'parts') throw new Error(input.kind)
    const [part] = input.parts
    expect(part).toMatchObject({ first: 0, count: 1, skip: 0 })
    const [segment] = decodeSegments(part!.bytes!, 0)
    const [failure] = segment!.failures
    return failure === undefined ? { value: segment!.values[0] } : { failure }
  }
}

/** What a worker would read of parts: the elements' values. */
async function elementsOf(rig: Rig, parts: readonly ElementPart[]): Promise<unknown[]> {
  const elements: unknown[] = []
  for (const { first, count, skip, path, bytes } of parts) {
    const whole = bytes ?? (await rig.blobs.get(path!.slice('/blobs/'.length) as BlobHash))
    const values: unknown[] = []
    for (const segment of decodeSegments(whole, 0)) {
      const failed = new Set(segment.failures.map(({ index }) => index))
      values.push(
        ...segment.values.map((value, i) => (failed.has(segment.lo + i) ? 'failed' : value)),
      )
    }
    for (let i = 0; i < count; i += 1) elements[first + i] = values[skip + i]
  }
  return elements
}

let rig: Rig
beforeEach(() => {
  rig = new Rig()
})

describe('input of a node', () => {
  test('a range is numbered in the node; its steps are code that is here', async () => {
    const bound = encodeValue([2])
    await rig.use(node(3, range), node(4, range, { steps: [{ task: 0, bound }, { task: 1 }] }))
    const ready = await rig.prepare(4, 6)
    expect(ready.input).toEqual({ kind: 'range', start: 5 })
    expect(ready.hi).toBe(6)
    const bundle = { hash: ready.bundle.hash, path: `/blobs/${ready.bundle.hash}` }
    expect(ready.node).toEqual({
      lo: 3,
      steps: [
        { bundle, bound },
        { bundle, pick: 'sum' },
      ],
      allowFailures: false,
    })
  })

  test('options of the node stand in the place of the job’s', async () => {
    await rig.use(node(3, range, { options: { retries: 4, timeLimitMs: 9 } }))
    expect((await rig.prepare(0, 1)).options).toEqual({ retries: 4, timeLimitMs: 9, chunkSize: 7 })
  })

  test('values of the plan come as the segments that hold them', async () => {
    const segment = Buffer.concat([
      encodeSegment(['a', 'b']),
      encodeSegment(['c', 'd']),
      encodeSegment(['e']),
    ])
    await rig.use(node(5, { kind: 'values', segment }))
    const { input } = await rig.prepare(2, 4)
    if (input.kind !== 'parts') throw new Error(input.kind)
    expect(input.parts).toMatchObject([{ first: 2, count: 2 }])
    expect(await elementsOf(rig, input.parts)).toEqual([undefined, undefined, 'c', 'd'])
  })

  test('pieces are fetched; of a combine those of a whole item at least', async () => {
    const pieces: { hash: string; count: number; sizeBytes: number }[] = []
    for (let i = 0; i < 30; i += 1) {
      const bytes = encodeSegment([i, i])
      const put = await createMemoryBlobs().put(bytes)
      rig.away.set(put.hash, bytes)
      pieces.push({ hash: put.hash, count: 2, sizeBytes: put.sizeBytes })
    }
    const { hash: manifest } = await rig.blobs.put(encodeManifest(pieces))
    const combine = { step: { task: 1 }, grain: 24, total: 60 }
    await rig.use(
      node(3, { kind: 'pieces', manifest }, { combine }),
      node(60, { kind: 'pieces', manifest }),
    )
    const first = await rig.prepare(0, 3)
    if (first.input.kind !== 'pieces') throw new Error(first.input.kind)
    expect(first.input.pieces.map((piece) => piece.first)).toEqual([
      0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22,
    ])
    expect(first.hi).toBe(1)
    const items = await rig.prepare(3 + 10, 3 + 60)
    expect(items.hi).toBe(3 + 26)
    expect(await rig.inputs.blobsOf(JOB, await stored(rig), peerId(0))).toEqual(
      expect.arrayContaining([manifest, ...pieces.map((piece) => piece.hash)]),
    )
  })

  test('each element is where the result of its item is', async () => {
    await rig.use(node(10, range), node(8, each([6, 10], [1, 5])))
    await rig.done(0, [0, 1, 2, 3], 'here')
    await rig.done(4, [4, 5, 6], 'away', [error(2)])
    await rig.done(7, [7, 8, 9])
    const ready = await rig.prepare(10, 18)
    if (ready.input.kind !== 'parts') throw new Error(ready.input.kind)
    expect(ready.hi).toBe(18)
    expect(ready.input.parts.map(({ first, count, skip }) => [first, count, skip])).toEqual([
      [0, 1, 2],
      [1, 3, 0],
      [4, 3, 1],
      [7, 1, 0],
    ])
    expect(await elementsOf(rig, ready.input.parts)).toEqual(['failed', 7, 8, 9, 1, 2, 3, 4])
    expect(rig.fetched).toHaveLength(1)
  })

  test('items that failed without a result are elements that failed', async () => {
    await rig.use(node(5, range), node(5, each([0, 5])))
    await rig.done(0, [0, 1])
    rig.fails.push({ lo: 2, hi: 5, code: 'ERR_MESH_WORKER_DIED', message: 'gone' })
    const { input } = await rig.prepare(6, 10)
    if (input.kind !== 'parts') throw new Error(input.kind)
    expect(await elementsOf(rig, input.parts)).toEqual([undefined, 1, 'failed', 'failed', 'failed'])
  })

  test('one chunk has so many results at most, but all of its first item', async () => {
    const combine = { step: { task: 1 }, grain: 20, total: 40 }
    await rig.use(node(40, range), node(40, each([0, 40])), node(2, each([0, 40]), { combine }))
    for (let i = 0; i < 40; i += 1) await rig.done(i, [i], 'away')
    expect((await rig.prepare(40, 80)).hi).toBe(56)
    const ready = await rig.prepare(80, 82)
    expect(ready.hi).toBe(81)
    if (ready.input.kind !== 'parts') throw new Error(ready.input.kind)
    expect(ready.input.parts).toHaveLength(20)
  })

  test('what is not final any more, or not to be had, is waited for and fails nothing', async () => {
    await rig.use(node(2, range), node(2, each([0, 2])), callOf([shapeArg(list(0, 2))]))
    const lost = { code: 'ERR_MESH_RESULT_LOST' }
    await expect(rig.prepare(2, 4)).rejects.toMatchObject(lost)
    await rig.done(0, [0, 1], 'away')
    rig.away.clear()
    await expect(rig.prepare(2, 4)).rejects.toMatchObject(lost)
    await expect(rig.prepare(4, 5)).rejects.toMatchObject(lost)
  })
})

test('an item of a combiner that names a result too often is given up', async () => {
  const combine = { step: { task: 1 }, grain: 10_000_000, total: 10_000_000 }
  const from = new Array<[number, number]>(100_000).fill([0, 100])
  await rig.use(node(100, range), { ...node(1, each(...from)), steps: [], combine })
  for (let lo = 0; lo < 100; lo += 10) await rig.done(lo, new Array(10).fill(lo))
  await expect(rig.prepare(100, 101)).rejects.toMatchObject({ code: 'ERR_MESH_PLAN_INVALID' })
})

describe('the item of a call', () => {
  const args = (...list: Arg[]) => callOf(list)

  test.each<[string, Arg[], unknown]>([
    ['no argument', [], undefined],
    ['one value', [{ kind: 'value', bytes: encodeValue({ a: 1 }) }], { a: 1 }],
    [
      'an item and a value',
      [shapeArg(item(3)), { kind: 'value', bytes: encodeValue('x') }],
      [3, 'x'],
    ],
    ['a list', [shapeArg(list(1, 5))], [1, 2, 3, 4]],
    ['an empty list', [shapeArg(list(2, 2))], []],
    ['lists of two', [shapeArg(list(0, 5, 2))], [[0, 1], [2, 3], [4]]],
    ['an empty list of lists', [shapeArg(list(0, 0, 2))], []],
    ['a tuple', [shapeArg({ kind: 'tuple', parts: [item(0), list(3, 5)] })], [0, [3, 4]]],
    ['an empty tuple', [shapeArg({ kind: 'tuple', parts: [] })], []],
  ])('%s', async (_, list, value) => {
    await rig.use(node(6, range), args(...list))
    await rig.done(0, [0, 1], 'here')
    await rig.done(2, [null, null, 2, 3], 'away', [], 0)
    await rig.done(4, [4, 5])
    expect(await rig.call(6)).toEqual({ value })
  })

  test('fails with what it needs, by its name and number', async () => {
    await rig.use(
      node(1, range),
      node(3, range, { steps: [{ task: 0 }, { task: 1 }] }),
      args(shapeArg(list(1, 4))),
    )
    await rig.done(0, [0])
    await rig.done(1, [1, null, null], 'inline', [error(1), error(2, 'later')])
    const message = 'its input failed: square | sum (item 1): boom'
    expect((await rig.call(4)).failure).toMatchObject({
      code: 'ERR_MESH_ITEM_THREW',
      name: 'Error',
      message,
    })
  })

  test('that takes a thousand values many thousand times is given up, and others have their turn meanwhile', async () => {
    const all = shapeArg(list(0, 1_000))
    await rig.use(node(1_000, range), args(...new Array(50_000).fill(all)))
    await rig.done(0, new Array(1_000).fill(1), 'here')
    let turns = 0
    const timer = setInterval(() => (turns += 1), 1)
    await expect(rig.call(1_000)).rejects.toMatchObject({ code: 'ERR_MESH_PLAN_INVALID' })
    clearInterval(timer)
    expect(turns).toBeGreaterThan(20)
  })

  test('tells of a failure once, however long the way', async () => {
    await rig.use(node(1, range), args(shapeArg(item(0))))
    const message = 'its input failed: square (item 0): boom'
    await rig.done(0, [null], 'inline', [error(0, message)])
    expect((await rig.call(1)).failure).toMatchObject({ message })
  })

  test('with allowFailures lists are of what succeeded; a lone item still fails', async () => {
    const more = { allowFailures: true }
    const tuple: Shape = { kind: 'tuple', parts: [item(0), item(1), list(0, 3)] }
    await rig.use(
      node(4, range),
      callOf([shapeArg(list(0, 4))], more),
      callOf([shapeArg(list(0, 4, 2))], more),
      callOf([shapeArg(tuple)], more),
      callOf([shapeArg(item(1))], more),
    )
    await rig.done(0, [0, null, 2], 'inline', [error(1)])
    rig.fails.push({ lo: 3, hi: 4, code: 'ERR_MESH_WORKER_DIED', message: 'gone' })
    expect(await rig.call(4)).toEqual({ value: [0, 2] })
    expect(await rig.call(5)).toEqual({ value: [[0], [2]] })
    expect(await rig.call(6)).toEqual({ value: [0, [0, 2]] })
    expect((await rig.call(7)).failure).toMatchObject({ code: 'ERR_MESH_ITEM_THREW' })
  })
})

/** The plan as a blob, as a job names it. */
async function stored(rig: Rig): Promise<JobSpec> {
  const spec = rig.spec()
  const { hash } = await rig.blobs.put(encodePlan(rig.plan))
  return { ...spec, task: { ...spec.task, bundle: hash } as JobSpec['task'] }
}

test('a plan and all that it names are the job’s blobs', async () => {
  const { hash: manifest } = await rig.blobs.put(
    encodeManifest([{ hash: 'ab'.repeat(32), count: 1, sizeBytes: 9 }]),
  )
  await rig.use(node(1, { kind: 'pieces', manifest }), node(1, each([0, 1])))
  const spec = await stored(rig)
  const all = [spec.task.bundle, rig.plan.tasks[0]!.bundle, manifest, 'ab'.repeat(32)]
  expect(await rig.inputs.blobsOf(JOB, spec, peerId(0))).toEqual(all)
  expect(await rig.inputs.localBlobsOf(spec)).toEqual(all)
  // Before the plan is here, nothing else is known.
  await rig.blobs.delete(spec.task.bundle)
  expect(await rig.inputs.localBlobsOf(spec)).toEqual([spec.task.bundle])
})

test('a plan that rides in the JOB is no blob that others must have; what it names is', async () => {
  const { hash: manifest } = await rig.blobs.put(
    encodeManifest([{ hash: 'ab'.repeat(32), count: 1, sizeBytes: 9 }]),
  )
  await rig.use(node(1, { kind: 'pieces', manifest }))
  const { task, ...spec } = rig.spec()
  const plan = Buffer.from(encodePlan(rig.plan)).toString('hex')
  const inline = { ...spec, task: { ...task, plan } as JobSpec['task'] }
  const named = [rig.plan.tasks[0]!.bundle, manifest, 'ab'.repeat(32)]
  expect(await rig.inputs.blobsOf(JOB, inline, peerId(0))).toEqual(named)
  expect(await rig.inputs.localBlobsOf(inline)).toEqual([task.bundle, ...named])
})

test('who runs some of a composition fetches the code of the rest too, once', async () => {
  await rig.use(node(2, range), node(2, each([0, 2])))
  const later = Buffer.from('the code of what comes later')
  const { hash } = await createMemoryBlobs().put(later)
  rig.away.set(hash, later)
  const [first, second] = rig.plan.tasks
  rig.plan = { ...rig.plan, tasks: [first!, { ...second!, bundle: hash }] }
  await rig.prepare(0, 1)
  await rig.prepare(1, 2)
  expect(rig.fetched).toEqual([hash])
})

test('people see what each node has done', async () => {
  await rig.use(
    node(4, range),
    node(4, each([0, 4])),
    callOf([shapeArg(item(1)), shapeArg(list(4, 8))]),
  )
  await rig.done(0, [0, null, 2, 3], 'inline', [error(1)])
  await rig.done(4, [4, 5])
  rig.fails.push({ lo: 6, hi: 7, code: 'ERR_MESH_WORKER_DIED', message: 'gone' })
  const scheduler = { doneSpans: () => rig.dones, failures: () => rig.fails }
  expect(nodesOf(scheduler, { job: JOB, plan: rig.plan })).toEqual({
    nodesTotal: 3,
    nodes: [
      { name: 'square', lo: 0, items: 4, done: 4, failed: 1, needs: [] },
      { name: 'square', lo: 4, items: 4, done: 3, failed: 1, needs: [0] },
      { name: 'square', lo: 8, items: 1, done: 0, failed: 0, needs: [0, 1] },
    ],
  })
  expect(nodesOf(scheduler, { job: JOB })).toEqual({ nodes: null, nodesTotal: 0 })
})

test('people see a node of a thousand steps, or of a million inputs, in few words and at once', async () => {
  await rig.use(node(1, range))
  const nodes: PlanNode[] = [node(1_000, range)]
  for (let k = 1; k < 900; k += 1) nodes.push(node(1, range))
  const all = shapeArg(list(0, 1_899))
  nodes.push(callOf(new Array(100_000).fill(all)))
  nodes.push({ ...node(1, range), steps: new Array(1_000).fill({ task: 0 }) })
  const scheduler = { doneSpans: () => [], failures: () => [] }
  const started = performance.now()
  const told = nodesOf(scheduler, { job: JOB, plan: { ...rig.plan, nodes } }).nodes!
  expect(performance.now() - started).toBeLessThan(1_000)
  expect(told[900]!.needs).toEqual(Array.from({ length: 900 }, (_, k) => k))
  expect(told[901]!.name).toMatch(/^square \| .* \| … \(1000 steps\)$/)
  expect(told[901]!.name.length).toBeLessThan(200)
})
