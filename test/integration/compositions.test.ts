import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pause } from '../../src/base/pause.ts'
import { type LocalBackend, openLocalBackend } from '../../src/node/local-backend.ts'
import type { JobRequest } from '../../src/node/types.ts'
import { decodeSegments, encodeSegment, encodeValue } from '../../src/runtime/segment.ts'
import type { Plan, PlanNode, PlanTask, Shape } from '../../src/scheduler/plan.ts'
import type { BlobHash, JobId, Range } from '../../src/scheduler/types.ts'

const LOOPBACK = ['/ip4/127.0.0.1/tcp/0']
const folders: string[] = []

async function open(options: { cores: number; name: string; ticket?: string }) {
  const dataDir = await mkdtemp(join(tmpdir(), 'mesh-graph-'))
  folders.push(dataDir)
  return openLocalBackend({
    dataDir,
    mdns: false,
    listen: LOOPBACK,
    gpu: { mode: 'off' },
    ...options,
  })
}

const range = { kind: 'range', start: 0 } as const
const list = (lo: number, hi: number): Shape => ({ kind: 'list', lo, hi })
const item = (at: number): Shape => ({ kind: 'item', item: at })
const each = (lo: number, hi: number) => ({ kind: 'each', from: [{ lo, hi }] }) as const

const TASKS = {
  square: 'run: (x) => x * x',
  plus: 'run: ([x, y]) => x + y',
  sum: 'run: (list) => list.reduce((a, b) => a + b, 0)',
  odd: 'run: (x) => { if (x % 2 === 0) throw new Error(x + " is even"); return x }',
  big: 'run: (x) => "x".repeat(5000) + x',
  size: 'run: (list) => list.map((text) => text.length)',
  slow: 'run: async (x) => { await new Promise((done) => setTimeout(done, 20)); return x }',
}

describe('a composition on two lending peers and a submitter', () => {
  let one: LocalBackend
  let two: LocalBackend
  let sub: LocalBackend
  const tasks = new Map<string, PlanTask>()

  beforeAll(async () => {
    one = await open({ cores: 1, name: 'one' })
    const ticket = await one.ticket()
    two = await open({ cores: 1, name: 'two', ticket })
    sub = await open({ cores: 0, name: 'sub', ticket })
    await bothSeen(sub)
    await putTasks(sub)
  })

  afterAll(async () => {
    await sub?.close()
    await two?.close()
    await one?.close()
    for (const dir of folders) await rm(dir, { recursive: true, force: true })
  })

  async function putTasks(by: LocalBackend): Promise<void> {
    for (const [name, fields] of Object.entries(TASKS)) {
      const code = `export default globalThis[Symbol.for("meshwork.runtime")].defineTask({ name: "${name}", ${fields} })`
      const { hash, sizeBytes } = await by.putBlob(Buffer.from(code))
      tasks.set(name, { name, bundle: hash, bundleBytes: sizeBytes, pick: false })
    }
  }

  /** Nodes say their tasks by name. */
  function planOf(output: Shape, ...nodes: (Omit<PlanNode, 'steps'> & { run?: string })[]): Plan {
    const names = [...tasks.keys()]
    return {
      tasks: [...tasks.values()],
      output,
      nodes: nodes.map(({ run, ...node }) => {
        return { ...node, steps: run === undefined ? [] : [{ task: names.indexOf(run) }] }
      }),
    }
  }
  const stepOf = (name: string) => ({ task: [...tasks.keys()].indexOf(name) })

  async function submit(plan: Plan): Promise<JobId> {
    return (await sub.submit(requestOf(plan))).job
  }

  const values = (job: JobId, ...ranges: Range[]) => valuesOf(sub, job, ranges)

  async function valuesOf(by: LocalBackend, job: JobId, ranges: Range[]): Promise<unknown[]> {
    const found: unknown[] = []
    for await (const span of by.results(job, { order: 'item', wait: true, ranges })) {
      for (const { lo, values, failures } of decodeSegments(span.bytes, span.originLo)) {
        const failed = new Map(failures.map((failure) => [failure.index, failure]))
        for (const [i, value] of values.entries()) {
          if (lo + i < span.lo || lo + i >= span.hi) continue
          const failure = failed.get(lo + i)
          found.push(failure === undefined ? value : `${failure.code}: ${failure.message}`)
        }
      }
    }
    return found
  }

  it('chains item by item, reduces where the data is, and calls with what came of it', async () => {
    const n = 5_000
    const plan = planOf(
      item(2 * n + 50 + 1),
      { count: n, input: range, run: 'square' },
      { count: n, input: each(0, n), run: 'square' },
      { count: 50, input: each(n, 2 * n), combine: { step: stepOf('plus'), grain: 100, total: n } },
      {
        count: 1,
        input: each(2 * n, 2 * n + 50),
        combine: { step: stepOf('plus'), grain: 50, total: 50 },
      },
      {
        count: 1,
        input: { kind: 'call', args: [{ kind: 'shape', shape: list(2 * n, 2 * n + 50) }] },
        run: 'sum',
      },
    )
    const job = await submit(plan)
    let wanted = 0
    for (let i = 0; i < n; i += 1) wanted += i ** 4
    const [combined, called] = await values(job, { lo: 2 * n + 50, hi: 2 * n + 52 })
    expect(combined).toBeCloseTo(wanted, -4)
    expect(called).toBeCloseTo(wanted, -4)
    const info = await sub.job(job)
    expect(info.nodes?.map(({ name, items, done, needs }) => [name, items, done, needs])).toEqual([
      ['square', n, n, []],
      ['square', n, n, [0]],
      ['plus', 50, 50, [1]],
      ['plus', 1, 1, [2]],
      ['sum', 1, 1, [2]],
    ])
  })

  it('a failed item ends what needs it, and a chord may go on without', async () => {
    const call = { kind: 'call', args: [{ kind: 'shape', shape: list(0, 4) }] } as const
    const plan = planOf(
      list(0, 11),
      { count: 4, input: range, run: 'odd' },
      { count: 4, input: each(0, 4), run: 'square' },
      { count: 1, input: call, run: 'sum' },
      { count: 1, input: call, run: 'sum', allowFailures: true },
      {
        count: 1,
        input: { kind: 'call', args: [{ kind: 'shape', shape: item(8) }] },
        run: 'square',
      },
    )
    const job = await submit(plan)
    const found = await values(job, { lo: 0, hi: 11 })
    const even = 'ERR_MESH_ITEM_THREW: its input failed: odd (item 0): 0 is even'
    expect(found.slice(4, 8)).toEqual([
      'ERR_MESH_ITEM_THREW: its input failed: 0 is even',
      1,
      'ERR_MESH_ITEM_THREW: its input failed: 2 is even',
      9,
    ])
    expect(found.slice(8)).toEqual([even, 4, even])
    expect(await sub.job(job)).toMatchObject({ state: 'finished', failed: 6 })
  })

  it('large values go from peer to peer, and not to the submitter', async () => {
    const n = 60
    const plan = planOf(
      item(2 * n),
      { count: n, input: range, run: 'big' },
      { count: n, input: each(0, n), run: 'slow' },
      {
        count: 1,
        input: { kind: 'call', args: [{ kind: 'shape', shape: list(n, 2 * n) }] },
        run: 'size',
      },
    )
    const job = await submit(plan)
    const [sizes] = (await values(job, { lo: 2 * n, hi: 2 * n + 1 })) as [number[]]
    expect(sizes).toEqual(Array.from({ length: n }, (_, i) => 5_000 + String(i).length))
    for (const { lo, result } of sub.peer.scheduler.doneSpans(job)) {
      if (result.kind !== 'blob') continue
      expect(result.keepers.includes(sub.peer.id)).toBe(lo >= 2 * n)
    }
  })

  it('values and bound arguments ride in the plan', async () => {
    const segment = encodeSegment([10, 20, 30])
    const steps = [{ ...stepOf('plus'), bound: encodeValue([5]) }, stepOf('square')]
    const plan = planOf(list(0, 3), { count: 3, input: { kind: 'values', segment } })
    const [node] = plan.nodes
    const job = await submit({ ...plan, nodes: [{ ...node!, steps }] })
    expect(await values(job, { lo: 0, hi: 3 })).toEqual([225, 625, 1_225])
  })

  it('a diamond of calls runs in its order', async () => {
    const call = (...at: number[]) => {
      const args = at.map((one) => ({ kind: 'shape', shape: item(one) }) as const)
      return { kind: 'call', args } as const
    }
    const plan = planOf(
      item(3),
      {
        count: 1,
        input: { kind: 'call', args: [{ kind: 'value', bytes: encodeValue(3) }] },
        run: 'square',
      },
      { count: 1, input: call(0), run: 'square' },
      { count: 1, input: call(0), run: 'slow' },
      { count: 1, input: call(1, 2), run: 'plus' },
    )
    const job = await submit(plan)
    expect(await values(job, { lo: 3, hi: 4 })).toEqual([90])
  })

  it('a plan that makes no sense is refused', async () => {
    const plan = planOf(item(0), { count: 1, input: each(0, 1), run: 'square' })
    await expect(submit(plan)).rejects.toMatchObject({ code: 'ERR_MESH_PLAN_INVALID' })
  })

  it('goes on where it was when its only peer starts again', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'mesh-graph-'))
    folders.push(dataDir)
    const start = () =>
      openLocalBackend({ dataDir, cores: 1, mdns: false, listen: LOOPBACK, gpu: { mode: 'off' } })
    const before = await start()
    await putTasks(before)
    const plan = planOf(
      item(60),
      { count: 30, input: range, run: 'slow' },
      { count: 30, input: each(0, 30), run: 'slow' },
      {
        count: 1,
        input: { kind: 'call', args: [{ kind: 'shape', shape: list(30, 60) }] },
        run: 'sum',
      },
    )
    const { job } = await before.submit(requestOf(plan))
    while ((await before.job(job)).done < 10) await pause(20)
    await before.close()
    const after = await start()
    expect((await after.job(job)).done).toBeLessThan(61)
    expect(await valuesOf(after, job, [{ lo: 60, hi: 61 }])).toEqual([435])
    await after.close()
  })

  it('a chord outlives its submitter', async () => {
    const leaver = await open({ cores: 0, name: 'leaver', ticket: await one.ticket() })
    await bothSeen(leaver)
    const plan = planOf(
      item(40),
      { count: 40, input: range, run: 'slow' },
      {
        count: 1,
        input: { kind: 'call', args: [{ kind: 'shape', shape: list(0, 40) }] },
        run: 'sum',
      },
    )
    await putTasks(leaver)
    const { job, heldBy } = await leaver.submit({ ...requestOf(plan), detach: true })
    expect(heldBy.length).toBeGreaterThan(0)
    await leaver.close()
    expect(await values(job, { lo: 40, hi: 41 })).toEqual([780])
  })
})

function requestOf(plan: Plan): JobRequest {
  const count = plan.nodes.reduce((sum, node) => sum + node.count, 0)
  return {
    task: { kind: 'graph', name: 'plan', bundle: '0'.repeat(64) as BlobHash, bundleBytes: 0 },
    input: { kind: 'range', start: 0, count },
    options: {},
    plan,
  }
}

async function bothSeen(backend: LocalBackend): Promise<void> {
  const deadline = Date.now() + 20_000
  while ((await backend.peers()).filter((peer) => peer.connected).length < 3) {
    if (Date.now() > deadline) throw new Error('the peers did not find each other')
    await pause(20)
  }
}
