import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MeshError } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { checkPlan, Plans } from '../../../src/node/plans.ts'
import { encodeSegment } from '../../../src/runtime/segment.ts'
import type { Plan, PlanNode } from '../../../src/scheduler/plan.ts'
import type { BlobHash, JobState, SchedulerEvent } from '../../../src/scheduler/types.ts'
import { createMemoryBlobs } from '../../../src/store/memory-blobs.ts'
import { encodePlan } from '../../../src/store/plan-codec.ts'
import { taskNamed } from '../../helpers/random-plan.ts'
import { JOB, peerId } from './small-mesh.ts'

const node: PlanNode = { count: 3, input: { kind: 'range', start: 0 }, steps: [{ task: 0 }] }
const planOf = (...nodes: PlanNode[]): Plan => {
  return { tasks: [taskNamed('t')], nodes, output: { kind: 'item', item: 0 } }
}

class Rig {
  readonly blobs = createMemoryBlobs()
  readonly dispatched: SchedulerEvent[] = []
  state: JobState = 'running'
  items = 3
  tries = 0
  lostAfter = Number.POSITIVE_INFINITY
  /** What rides in the JOB. */
  inline: Buffer | undefined
  /** What another peer has. */
  away: Uint8Array | undefined
  readonly plans: Plans
  private goOn: () => void = () => undefined

  constructor() {
    const ensure = async (hash: BlobHash): Promise<void> => {
      this.tries += 1
      if (await this.blobs.has(hash)) return
      if (this.away === undefined) throw new MeshError('ERR_MESH_INPUT_LOST', 'nobody has it')
      await this.blobs.put(this.away)
    }
    this.plans = new Plans({
      blobs: this.blobs,
      exchange: { ensure },
      scheduler: {
        job: () => {
          const task = { kind: 'graph', plan: this.inline?.toString('hex') }
          return { state: this.state, items: this.items, spec: { task } } as never
        },
      },
      dispatch: (event) => this.dispatched.push(event),
      missing: {
        note: () => this.tries >= this.lostAfter,
        retryMs: () => 1_000,
        found: () => undefined,
      },
      wait: () =>
        new Promise((resolve) => {
          this.goOn = resolve
        }),
      log: silentLogger,
    })
  }

  /** The wait before the next try is over. */
  async next(): Promise<void> {
    const { goOn } = this
    this.goOn = () => undefined
    goOn()
    await settled()
  }

  async load(bytes: Uint8Array): Promise<void> {
    const { hash } = await createMemoryBlobs().put(bytes)
    this.plans.load({ type: 'loadPlan', job: JOB, plan: hash, from: peerId(1) })
    await settled()
  }
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

let rig: Rig
beforeEach(() => {
  rig = new Rig()
})
afterEach(() => {
  rig.plans.close()
})

describe('the plan of a job', () => {
  test('is read where it is', async () => {
    const plan = planOf(node)
    rig.away = encodePlan(plan)
    await rig.load(rig.away)
    expect(rig.dispatched).toEqual([{ type: 'planLoaded', job: JOB, plan }])
  })

  test('that rides in the JOB is not asked for', async () => {
    const plan = planOf(node)
    rig.inline = Buffer.from(encodePlan(plan))
    await rig.load(rig.inline)
    expect(rig.dispatched).toEqual([{ type: 'planLoaded', job: JOB, plan }])
    expect(rig.tries).toBe(0)
  })

  test('that rides in the JOB is refused when it is no plan', async () => {
    rig.inline = Buffer.from('no plan')
    await rig.load(rig.inline)
    expect(rig.dispatched).toMatchObject([{ type: 'planInvalid', code: 'ERR_MESH_PLAN_INVALID' }])
  })

  test('is tried for until it is there, once at a time', async () => {
    const bytes = encodePlan(planOf(node))
    await rig.load(bytes)
    await rig.load(bytes)
    expect(rig.tries).toBe(1)
    await rig.next()
    await rig.next()
    expect(rig.tries).toBe(3)
    expect(rig.dispatched).toEqual([])
    rig.away = bytes
    await rig.next()
    expect(rig.dispatched).toMatchObject([{ type: 'planLoaded' }])
    await rig.next()
    expect(rig.tries).toBe(4)
  })

  test('is not looked for any more when the job is over', async () => {
    await rig.load(encodePlan(planOf(node)))
    rig.state = 'cancelled'
    await rig.next()
    await rig.next()
    expect(rig.tries).toBe(2)
    expect(rig.dispatched).toEqual([])
    // Unless it goes on after all.
    rig.state = 'running'
    await rig.load(encodePlan(planOf(node)))
    expect(rig.tries).toBe(3)
  })

  test('that nobody has any more is given up', async () => {
    rig.lostAfter = 3
    await rig.load(encodePlan(planOf(node)))
    for (let i = 0; i < 4; i += 1) await rig.next()
    const told = { type: 'planInvalid', job: JOB, code: 'ERR_MESH_INPUT_LOST' }
    expect(rig.dispatched).toMatchObject([told])
    expect(rig.tries).toBe(3)
  })

  test.each<[string, () => Uint8Array, RegExp]>([
    ['no plan', () => Buffer.from('hello'), /makes no sense/],
    ['a plan for other items', () => encodePlan(planOf(node, node)), /6 items, and the job has 3/],
    [
      'too few values',
      () => encodePlan(planOf({ ...node, input: { kind: 'values', segment: encodeSegment([1]) } })),
      /node 0: it has 1 values for 3/,
    ],
    [
      'values that are no segment',
      () => encodePlan(planOf({ ...node, input: { kind: 'values', segment: Buffer.from('x') } })),
      /node 0: its values cannot be read/,
    ],
  ])('is refused when it is %s', async (_, make, reason) => {
    rig.away = make()
    await rig.load(rig.away)
    const told = { type: 'planInvalid', job: JOB, code: 'ERR_MESH_PLAN_INVALID' }
    expect(rig.dispatched).toMatchObject([{ ...told, message: expect.stringMatching(reason) }])
  })
})

test('values of a combine are its elements', () => {
  const combine = { step: { task: 0 }, grain: 2, total: 5 }
  const input = { kind: 'values', segment: encodeSegment([1, 2, 3, 4, 5]) } as const
  expect(() => checkPlan(planOf({ count: 3, input, steps: [], combine }), 3)).not.toThrow()
})
