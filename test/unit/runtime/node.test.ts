import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MAX_TASKS_PER_WORKER } from '../../../src/runtime/limits.ts'
import { encodeF32Segment, encodeSegment, encodeValue } from '../../../src/runtime/segment.ts'
import type { ChunkInput, ChunkNode, ChunkRequest, ItemError } from '../../../src/runtime/types.ts'
import { Harness } from './harness.ts'

type BundleFile = ChunkRequest['bundle']

let harness: Harness
beforeEach(() => {
  harness = new Harness({ slots: 2 })
})
afterEach(() => harness.close())

const node = (more: Partial<ChunkNode>): ChunkNode => ({
  lo: 0,
  steps: [],
  allowFailures: false,
  ...more,
})
const range = (start: number): ChunkInput => ({ kind: 'range', start })
const failure = (index: number, message = 'bad', code = 'ERR_MESH_ITEM_THREW'): ItemError => ({
  index,
  code,
  name: 'TypeError',
  message,
  stack: 'TypeError: bad\n    at far away',
  attempts: 3,
})

function file(name: string, ...segments: Uint8Array[]): string {
  const path = join(harness.folder, name)
  writeFileSync(path, Buffer.concat(segments))
  return path
}

/** The chunk of a node whose first bundle is that of its first step. */
function run(of: ChunkNode, more: Partial<ChunkRequest> = {}): ReturnType<Harness['run']> {
  const bundle = of.steps[0]?.bundle ?? of.combine!.step.bundle
  return harness.run(bundle, { node: of, ...more })
}

describe('an input of parts', () => {
  const echo = 'run: (x) => x'

  it('is elements after the first few of segments, in files and here', async () => {
    const path = file('a', encodeSegment(['a', 'b', 'c']), encodeSegment(['d', 'e']))
    const f32 = new Uint8Array(new Float32Array([1.5, 2.5]).buffer)
    const parts = [
      { first: 0, count: 3, skip: 1, path },
      { first: 3, count: 2, skip: 0, bytes: encodeSegment([{ x: 1 }, null]) },
      { first: 5, count: 1, skip: 4, path },
      { first: 6, count: 1, skip: 1, bytes: encodeF32Segment(2, f32, 'cpu') },
    ]
    const all = ['b', 'c', 'd', { x: 1 }, null, 'e', 2.5]
    const whole = await harness.run(echo, { hi: 7, input: { kind: 'parts', parts } })
    expect(whole.values).toEqual(all)
    const some = await harness.run(echo, { lo: 2, hi: 6, input: { kind: 'parts', parts } })
    expect(some.values).toEqual(all.slice(2, 6))
  })

  it('fails the items whose elements failed, at once and briefly', async () => {
    const bytes = encodeSegment([0, null, 2, null], [failure(1), failure(3, 'x'.repeat(10_000))])
    const parts = [{ first: 10, count: 3, skip: 1, bytes }]
    const of = node({ lo: 90, steps: [{ bundle: harness.bundle(echo) }] })
    const request = { lo: 100, hi: 103, retries: 5, input: { kind: 'parts' as const, parts } }
    const { outcome, values, failures } = await run(of, request)
    expect(outcome).toMatchObject({ reached: 103, failed: 2, ended: 'range' })
    expect(values).toEqual([null, 2, null])
    expect(failures[0]).toEqual({
      index: 100,
      code: 'ERR_MESH_ITEM_THREW',
      name: 'TypeError',
      message: 'its input failed: bad',
      attempts: 1,
    })
    expect(failures[1]!.message).toMatch(/^its input failed: x+…$/)
    expect(failures[1]!.message.length).toBeLessThan(300)
  })

  it('does not say twice that an input failed', async () => {
    const bytes = encodeSegment([null], [failure(0, 'its input failed: bad')])
    const input: ChunkInput = { kind: 'parts', parts: [{ first: 0, count: 1, skip: 0, bytes }] }
    const { failures } = await harness.run(echo, { hi: 1, input })
    expect(failures[0]!.message).toBe('its input failed: bad')
  })

  it.each([
    ['no file', () => ({ first: 0, count: 2, skip: 0, path: join(harness.folder, 'gone') })],
    ['too few', () => ({ first: 0, count: 2, skip: 2, path: file('b', encodeSegment([1, 2, 3])) })],
    ['nothing', () => ({ first: 0, count: 2, skip: 0, path: file('c') })],
    [
      'damage',
      () => ({ first: 0, count: 2, skip: 0, path: file('d', new Uint8Array(20).fill(9)) }),
    ],
    ['a gap', () => ({ first: 5, count: 2, skip: 0, bytes: encodeSegment([1, 2]) })],
  ])('rejects with ERR_MESH_INPUT_LOST: %s', async (_, part) => {
    const input: ChunkInput = { kind: 'parts', parts: [part()] }
    await expect(harness.run(echo, { hi: 2, input })).rejects.toMatchObject({
      code: 'ERR_MESH_INPUT_LOST',
    })
  })

  it('gives each item an object of its own, also out of a file that is kept', async () => {
    const path = file('e', encodeSegment([{ n: 1 }, { n: 2 }, 3]))
    const input: ChunkInput = { kind: 'parts', parts: [{ first: 0, count: 3, skip: 0, path }] }
    const bundle = harness.bundle('run: (x) => typeof x === "object" ? (x.n += 10, x.n) : x')
    for (let i = 0; i < 3; i++) {
      expect((await harness.run(bundle, { hi: 3, input })).values).toEqual([11, 12, 3])
    }
    expect(harness.runtime.stats().started).toBe(1)
  })
})

describe('steps', () => {
  it('run one after another, each with its own state; setup() runs once', async () => {
    const a = harness.bundle(
      'setup: () => ({ name: "a", runs: 0 }), run: (x, { state }) => [x, state.name, ++state.runs]',
    )
    const b = harness.bundle(
      'setup: (ctx) => { ctx.log("setup b"); return { name: "b" } }, run: (x, ctx) => [...x, ctx.state.name, ctx.index]',
    )
    const of = node({ lo: 20, steps: [{ bundle: a }, { bundle: b }, { bundle: b }] })
    const { values, lines } = await run(of, { lo: 25, hi: 27, input: range(100) })
    expect(values).toEqual([
      [105, 'a', 1, 'b', 5, 'b', 5],
      [106, 'a', 2, 'b', 6, 'b', 6],
    ])
    expect(lines).toEqual(['log setup b'])
  })

  it('may be asynchronous, in any place', async () => {
    const now = harness.bundle('run: (x) => x + 1')
    const later = harness.bundle(
      'run: async (x) => { await new Promise((r) => setTimeout(r, x % 3)); return x * 2 }',
    )
    const of = node({ steps: [{ bundle: later }, { bundle: now }, { bundle: later }] })
    const { values } = await run(of, { hi: 5 })
    expect(values).toEqual([0, 1, 2, 3, 4].map((x) => (x * 2 + 1) * 2))
  })

  it('take what is bound to them', async () => {
    const bundle = harness.bundle('run: (x) => x ?? "none"')
    const bind = (...bound: unknown[]): { bound: Uint8Array } => ({ bound: encodeValue(bound) })
    const cases: [object, unknown][] = [
      [{}, 7],
      [bind(), 7],
      [bind('a', { b: 1 }), [7, 'a', { b: 1 }]],
      [{ immutable: true }, 'none'],
      [{ immutable: true, ...bind('a') }, 'a'],
      [{ immutable: true, ...bind('a', 'b') }, ['a', 'b']],
    ]
    for (const [more, value] of cases) {
      const of = node({ steps: [{ bundle, ...more }] })
      expect((await run(of, { hi: 1, input: range(7) })).values).toEqual([value])
      const twice = node({ steps: [{ bundle }, { bundle, ...more }] })
      expect((await run(twice, { hi: 1, input: range(7) })).values).toEqual([value])
    }
    expect(harness.runtime.stats().started).toBe(1)
  })

  it('are picked by name out of one bundle, which runs once', async () => {
    const bundle = harness.raw(`
      globalThis.loads = (globalThis.loads ?? 0) + 1;
      const { defineTask } = globalThis[Symbol.for("meshwork.runtime")];
      export const inc = defineTask({ name: "inc", run: (x) => x + 1 });
      export default defineTask({ name: "list", setup: () => "state", run: (x, { state }) => [x, state, globalThis.loads] })`)
    const of = node({ steps: [{ bundle, pick: 'inc' }, { bundle, pick: 'inc' }, { bundle }] })
    expect((await run(of, { hi: 1 })).values).toEqual([[2, 'state', 1]])
    const none = node({ steps: [{ bundle, pick: 'nobody' }] })
    await expect(run(none, { hi: 1 })).rejects.toMatchObject({
      code: 'ERR_MESH_TASK_INVALID',
      message: expect.stringContaining('"nobody"'),
    })
  })

  it('fail their item as a task does, with the stack of their own bundle', async () => {
    const first = harness.bundle('run: (x) => x')
    const second = harness.bundle(
      'run: (x) => { if (x === 1) throw new TypeError("bad"); return x }',
    )
    const { values, failures } = await run(
      node({ steps: [{ bundle: first }, { bundle: second }] }),
      { hi: 3 },
    )
    expect(values).toEqual([0, null, 2])
    expect(failures).toMatchObject([{ index: 1, name: 'TypeError', message: 'bad' }])
    expect(failures[0]!.stack).toContain(`bundle-${second.hash.slice(0, 12)}.mjs`)
  })
})

describe('combine', () => {
  let add: BundleFile
  beforeEach(() => {
    add = harness.bundle('run: ([a, b]) => a + b')
  })
  const strings = 'run: (x) => "(" + x + ")"'

  it('folds grains from left to right, the last of fewer elements', async () => {
    const join = harness.bundle('run: ([a, b], ctx) => a + b + "@" + ctx.index')
    const of = node({
      lo: 10,
      steps: [{ bundle: harness.bundle(strings) }],
      combine: { step: { bundle: join }, grain: 3, total: 7 },
    })
    const { values } = await run(of, { lo: 10, hi: 13, input: range(0) })
    expect(values).toEqual(['(0)(1)@0(2)@0', '(3)(4)@1(5)@1', '(6)'])
  })

  it('adds up ten million numbers', async () => {
    const total = 10_000_000
    const grain = 153
    const items = Math.ceil(total / grain)
    const of = node({ combine: { step: { bundle: add }, grain, total } })
    const { values, outcome } = await run(of, { hi: items })
    expect(outcome).toMatchObject({ reached: items, failed: 0, ended: 'range' })
    expect((values as number[]).reduce((a, b) => a + b, 0)).toBe((total * (total - 1)) / 2)
  })

  it('awaits what is a promise, and nothing else', async () => {
    const later = harness.bundle('run: async ([a, b]) => a + b')
    const sometimes = harness.bundle('run: (x) => (x % 3 === 0 ? Promise.resolve(x) : x)')
    const sums = [0, 1, 2].map((i) => [0, 1, 2, 3, 4].reduce((sum, k) => sum + i * 5 + k, 0))
    for (const steps of [[], [{ bundle: sometimes }]]) {
      for (const bundle of [add, later]) {
        const of = node({ steps, combine: { step: { bundle }, grain: 5, total: 15 } })
        expect((await run(of, { hi: 3 })).values).toEqual(sums)
      }
    }
  })

  it('fails with its input unless failures are allowed', async () => {
    const bytes = encodeSegment(
      [1, null, 3, null, null, 6],
      [failure(1), failure(3, 'late'), failure(4)],
    )
    const input: ChunkInput = { kind: 'parts', parts: [{ first: 0, count: 6, skip: 0, bytes }] }
    for (const steps of [[], [{ bundle: harness.bundle('run: (x) => x') }]]) {
      const of = node({ steps, combine: { step: { bundle: add }, grain: 3, total: 6 } })
      const strict = await run(of, { hi: 2, input })
      expect(strict.values).toEqual([null, null])
      expect(strict.failures.map((it) => it.message)).toEqual([
        'its input failed: bad',
        'its input failed: late',
      ])
      const lenient = await run({ ...of, allowFailures: true }, { hi: 2, input })
      expect(lenient.values).toEqual([4, 6])
    }
  })

  it('leaves out what fails in a step, once it has no other try', async () => {
    const steps = [
      {
        bundle: harness.bundle(
          'run: (x, ctx) => { if (x === 1 && ctx.attempt < 2 || x === 3) throw new Error("no"); return x }',
        ),
      },
    ]
    const of = node({
      steps,
      combine: { step: { bundle: add }, grain: 5, total: 5 },
      allowFailures: true,
    })
    expect((await run(of, { hi: 1 })).values).toEqual([0 + 2 + 4])
    expect((await run(of, { hi: 1, retries: 2 })).values).toEqual([0 + 1 + 2 + 4])
    const strict = await run({ ...of, allowFailures: false }, { hi: 1, retries: 2 })
    expect(strict.failures).toMatchObject([{ index: 0, message: 'no', attempts: 3 }])
  })

  it('fails with ERR_MESH_NOTHING_LEFT when everything was left out', async () => {
    const of = node({
      steps: [{ bundle: harness.bundle('run: () => { throw new Error("no") }') }],
      combine: { step: { bundle: add }, grain: 2, total: 3 },
      allowFailures: true,
    })
    const { failures } = await run(of, { hi: 2 })
    expect(failures).toMatchObject([
      { index: 0, code: 'ERR_MESH_NOTHING_LEFT' },
      { index: 1, code: 'ERR_MESH_NOTHING_LEFT' },
    ])
  })

  it('has failures of its own, which are never left out', async () => {
    const bad = harness.bundle('run: () => Promise.reject(new Error("cannot add"))')
    const of = node({ combine: { step: { bundle: bad }, grain: 2, total: 3 }, allowFailures: true })
    const { values, failures } = await run(of, { hi: 2 })
    expect(values).toEqual([null, 2])
    expect(failures).toMatchObject([{ index: 0, message: 'cannot add' }])
  })

  it('has one time limit for all elements of an item', async () => {
    const slow = harness.bundle(
      'run: async (x) => { await new Promise((r) => setTimeout(r, 60)); return x }',
    )
    const of = node({
      steps: [{ bundle: slow }],
      combine: { step: { bundle: add }, grain: 50, total: 51 },
    })
    const { values, failures } = await run(of, { hi: 2, timeLimitMs: 400 })
    expect(values).toEqual([null, 50])
    expect(failures).toMatchObject([{ index: 0, code: 'ERR_MESH_TIME_LIMIT' }])
  })

  it('stops between elements when it is aborted, and keeps its worker', async () => {
    const slow = harness.bundle(
      'run(x) { const end = performance.now() + 3; while (performance.now() < end); if (x === 5) console.log("going"); return x }',
    )
    const steps = [{ bundle: slow }]
    const step = { bundle: add }
    const of = node({ steps, combine: { step, grain: 1e9, total: 1e9 }, family: 'f' })
    const started = harness.start(slow, { node: of, hi: 1 })
    await started.line('going')
    started.handle.abort(10_000)
    expect((await started.finished).outcome).toMatchObject({ reached: 0, ended: 'aborted' })
    expect((await run(node({ steps, family: 'f' }), { hi: 1 })).values).toEqual([0])
    expect(harness.runtime.stats()).toMatchObject({ started: 1, died: 0 })
  })
})

describe('workers of a family', () => {
  const of = (bundle: BundleFile): ChunkNode => node({ steps: [{ bundle }], family: 'f' })
  const pid = (n: number): BundleFile => harness.bundle(`run: () => process.pid /* ${n} */`)

  it('load the tasks of each node as they come', async () => {
    const [a, b] = [pid(1), pid(2)]
    const both: ChunkNode = { ...of(a), steps: [{ bundle: a }, { bundle: b }] }
    const pids = []
    for (const each of [of(a), of(b), both, of(a)])
      pids.push((await run(each, { hi: 1 })).values[0])
    expect(new Set(pids).size).toBe(1)
    expect((await run({ ...of(a), family: 'g' }, { hi: 1 })).values).not.toContain(pids[0])
    expect((await harness.run(a, { hi: 1 })).values).not.toContain(pids[0])
  })

  it('are told apart by args and by the cap', async () => {
    const a = pid(1)
    const [first] = (await run(of(a), { hi: 1 })).values
    const others = [{ args: encodeValue(1) }, { memoryBytes: 256 * 2 ** 20 }]
    for (const more of others) {
      expect((await run(of(a), { hi: 1, ...more })).values).not.toContain(first)
    }
  })

  it('fail the node whose task cannot be loaded, and no other', async () => {
    const good = pid(1)
    const bad = harness.raw('throw new Error("no luck"); export default () => 1')
    await run(of(good), { hi: 1 })
    for (let i = 0; i < 2; i++) {
      const { failures } = await run(of(bad), { hi: 2 })
      expect(failures).toHaveLength(2)
      expect(failures[0]!.message).toMatch(/cannot be loaded: no luck/)
      expect((await run(of(good), { hi: 1 })).failures).toEqual([])
    }
    const exits = harness.raw('process.exit(4); export default () => 1')
    expect((await run(of(exits), { hi: 1 })).failures[0]!.message).toMatch(/process\.exit\(4\)/)
    expect((await run(of(good), { hi: 1 })).failures).toEqual([])
  })

  it('an abort while a task is loaded harms nobody', async () => {
    const slow = harness.raw('await new Promise((r) => setTimeout(r, 200)); export default () => 1')
    const good = pid(1)
    await run(of(good), { hi: 1 })
    const started = harness.start(slow, { node: of(slow), hi: 1 })
    started.handle.abort()
    expect((await started.finished).outcome.ended).toBe('aborted')
    expect((await run(of(good), { hi: 1 })).failures).toEqual([])
    expect((await run(of(slow), { hi: 1 })).values).toEqual([1])
  })

  it('are replaced by another one once they have loaded many tasks', async () => {
    for (let n = 0; n < MAX_TASKS_PER_WORKER; n++) await run(of(pid(n)), { hi: 1 })
    expect(harness.runtime.stats().started).toBe(1)
    await run(of(pid(MAX_TASKS_PER_WORKER)), { hi: 1 })
    expect(harness.runtime.stats().started).toBe(2)
    await run(of(pid(0)), { hi: 1 })
    expect(harness.runtime.stats().started).toBe(2)
  })

  it('are started ahead by warm()', async () => {
    const a = pid(1)
    harness.runtime.warm!({
      ...{ bundle: a, node: of(a), job: 'job', args: undefined, memoryBytes: undefined },
      peer: { id: 'peer-id', name: 'peer-name' },
    })
    await run(of(a), { hi: 1 })
    expect(harness.runtime.stats().started).toBe(1)
  })
})
