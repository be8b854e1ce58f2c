/** The loop over a node's elements against the plain words of src/scheduler/plan.ts. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ChunkNode } from '../../../src/runtime/types.ts'
import type { WorkerContext } from '../../../src/runtime/worker/context.ts'
import { Failed } from '../../../src/runtime/worker/failed.ts'
import type { Items } from '../../../src/runtime/worker/items.ts'
import { NodeWork } from '../../../src/runtime/worker/node-work.ts'
import { Step } from '../../../src/runtime/worker/work.ts'

/** How one call of a task ends. */
type Way = 'value' | 'promise' | 'throws' | 'rejects'
const way = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Way>('value') },
  { weight: 2, arbitrary: fc.constantFrom<Way>('promise', 'throws', 'rejects') },
)

interface Case {
  /** Of each element: whether it failed before. */
  readonly elements: readonly boolean[]
  /** For each step (the last: of combine), by element. */
  readonly ways: readonly (readonly Way[])[]
  readonly grain: number
  readonly isFold: boolean
  readonly allowFailures: boolean
  readonly isLast: boolean
}

const cases: fc.Arbitrary<Case> = fc.integer({ min: 1, max: 80 }).chain((total) =>
  fc.record({
    elements: fc.array(
      fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
      { minLength: total, maxLength: total },
    ),
    ways: fc.array(fc.array(way, { minLength: total, maxLength: total }), {
      minLength: 2,
      maxLength: 4,
    }),
    grain: fc.integer({ min: 1, max: total }),
    isFold: fc.boolean(),
    allowFailures: fc.boolean(),
    isLast: fc.boolean(),
  }),
)

/** Each value is the text of how it came about, and begins with its element's number. */
function call(name: string, value: string, way: Way): unknown {
  const made = `${value}.${name}`
  if (way === 'value') return made
  if (way === 'promise') return Promise.resolve(made)
  if (way === 'throws') throw new Error(`${made}!`)
  return Promise.reject(new Error(`${made}!`))
}

/** What the plan says that item i comes to: its value, or the message of what it fails with. */
function expected(it: Case, steps: readonly (readonly Way[])[], item: number): string {
  const { elements, grain, isFold, allowFailures, isLast, ways } = it
  const fold = ways.at(-1)!
  const isGood = (w: Way): boolean => w === 'value' || w === 'promise'
  const [lo, hi] = isFold
    ? [item * grain, Math.min(elements.length, (item + 1) * grain)]
    : [item, item + 1]
  let sum: string | undefined
  for (let at = lo; at < hi; at++) {
    let value = String(at)
    let error = elements[at] ? `input ${at}` : undefined
    // What failed before fails again; what threw may do better in another try.
    let isFinal = error !== undefined || isLast
    for (const [s, step] of steps.entries()) {
      if (error !== undefined) break
      value = `${value}.${s}`
      if (!isGood(step[at]!)) error = `${value}!`
      if (error !== undefined) isFinal = isLast
    }
    if (error !== undefined) {
      if (isFold && allowFailures && isFinal) continue
      return error
    }
    if (sum === undefined) sum = value
    else {
      sum = `(${sum}+${value}).sum`
      if (!isGood(fold[at]!)) return `${sum}!`
    }
  }
  return sum ?? 'ERR_MESH_NOTHING_LEFT'
}

function workOf(it: Case, stepWays: readonly (readonly Way[])[]): NodeWork {
  const ctx = { index: -1, attempt: 0, signal: new AbortController().signal, log: () => {} }
  const stepOf = (run: (item: unknown) => unknown): Step =>
    new Step({ task: { run }, ctx: ctx as unknown as WorkerContext })
  const steps = stepWays.map((ways, s) =>
    stepOf((value) =>
      call(String(s), value as string, ways[Number.parseInt(value as string, 10)]!),
    ),
  )
  const fold = it.ways.at(-1)!
  const combine = stepOf((pair) => {
    const [a, b] = pair as [string, string]
    return call('sum', `(${a}+${b})`, fold[Number.parseInt(b, 10)]!)
  })
  const items: Items = {
    get: (at) => (it.elements[at] ? new Failed('ERR', 'Error', `input ${at}`) : String(at)),
  }
  const bundle = { hash: '', path: '' }
  const node: ChunkNode = {
    lo: 7,
    steps: [],
    allowFailures: it.allowFailures,
    ...(it.isFold
      ? { combine: { step: { bundle }, grain: it.grain, total: it.elements.length } }
      : {}),
  }
  return new NodeWork(node, steps, it.isFold ? combine : undefined, items)
}

async function outcome(work: NodeWork, item: number): Promise<unknown> {
  try {
    return await work.compute(item)
  } catch (thrown) {
    if (!(thrown instanceof Failed)) return (thrown as Error).message
    const { code, message } = thrown.error
    return code === 'ERR_MESH_NOTHING_LEFT' ? code : message
  }
}

describe('the items of a node', () => {
  it.each([
    ['with steps', false],
    ['without', true],
  ])(
    'come to what the plan says, whatever is a promise and whatever fails: %s',
    async (_, plain) => {
      await fc.assert(
        fc.asyncProperty(cases, async (it) => {
          const isFold = it.isFold || plain
          const steps = plain ? [] : it.ways.slice(0, -1)
          const of = { ...it, isFold }
          const work = workOf(of, steps)
          const count = isFold ? Math.ceil(it.elements.length / it.grain) : it.elements.length
          for (let item = 0; item < count; item++) {
            work.begin(7 + item, 1, it.isLast)
            expect(await outcome(work, 7 + item)).toBe(expected(of, steps, item))
          }
        }),
        { numRuns: 200 },
      )
    },
  )

  it('that are synchronous need no promise', () => {
    const it: Case = {
      elements: new Array(1000).fill(false),
      ways: [new Array(1000).fill('value'), new Array(1000).fill('value')],
      ...{ grain: 10, isFold: true, allowFailures: false, isLast: true },
    }
    const work = workOf(it, it.ways.slice(0, 1))
    const values = Array.from({ length: 10 }, (_, item) => {
      work.begin(7 + item, 1, true)
      return work.compute(7 + item)
    })
    expect(values.every((value) => typeof value === 'string')).toBe(true)
  })
})
