/** What a chunk asks of the runtime, and what the scheduler hears of its end. */
import { expect, test, vi } from 'vitest'
import { silentLogger } from '../../../src/base/logger.ts'
import { ChunkRunner, type ChunkRunnerParts } from '../../../src/node/chunk-runner.ts'
import type { ChunkOutcome, ChunkRequest } from '../../../src/runtime/types.ts'
import type { Plan } from '../../../src/scheduler/plan.ts'
import type { SchedulerEffect, SchedulerEvent } from '../../../src/scheduler/types.ts'

type StartChunk = Extract<SchedulerEffect, { type: 'startChunk' }>

const planOf = (...names: string[]): Plan =>
  ({
    tasks: names.map((name) => ({ name, bundle: 'b', pick: true })),
    nodes: [],
  }) as unknown as Plan

/** Starts a chunk whose worker ends so. */
async function chunkOf(more: {
  readonly plan?: Plan
  readonly options?: object
  readonly effect?: Partial<StartChunk>
  readonly outcome?: Partial<ChunkOutcome>
}): Promise<{ request: ChunkRequest; told: SchedulerEvent[] }> {
  const told: SchedulerEvent[] = []
  const requests: ChunkRequest[] = []
  const outcome = { reached: 5, failed: 0, elapsedMs: 1, ended: 'range', ...more.outcome }
  const spec = { options: {}, task: { kind: more.plan ? 'graph' : 'module' } }
  const ready = { hi: 9, files: {}, bundle: {}, options: more.options ?? {} }
  const node = more.plan && { lo: 2, steps: [], allowFailures: false }
  const parts = {
    scheduler: { job: () => ({ author: 'author', spec, plan: more.plan }) },
    inputs: { prepare: async () => ({ ...ready, node }) },
    runtime: {
      run: (request: ChunkRequest) => {
        requests.push(request)
        return { done: Promise.resolve(outcome) }
      },
    },
    missing: { found: () => {} },
    dispatch: (event: SchedulerEvent) => told.push(event),
    log: silentLogger,
  }
  const runner = new ChunkRunner(parts as unknown as ChunkRunnerParts)
  const effect = { type: 'startChunk', job: 'j', chunk: 1, lo: 5, hi: 9, budgetMs: 250, attempt: 1 }
  runner.start({ ...effect, ...more.effect } as StartChunk)
  await vi.waitFor(() => expect(told).toHaveLength(1))
  return { request: requests[0]!, told }
}

test('limits, retries and the attempt come with the request', async () => {
  const backoff = { delayMs: 100, factorPercent: 200, maxMs: 1000, jitterPercent: 0 }
  const options = { retries: 3, backoff, softTimeLimitMs: 40, timeLimitMs: 50, memoryBytes: 9 }
  const { request } = await chunkOf({ options, effect: { attempt: 2 } })
  expect(request).toMatchObject({ ...options, attempt: 2, node: undefined })
})

test('a retry that is to wait is told with the end of the chunk', async () => {
  const retry = { delayMs: 700, attempt: 3 }
  const { told } = await chunkOf({ outcome: { ended: 'retry', retry } })
  expect(told).toMatchObject([{ type: 'chunkEnded', chunk: 1, reached: 5, retry }])
  const { told: other } = await chunkOf({})
  expect(other[0]).not.toHaveProperty('retry')
})

test('nodes of compositions of the same tasks are one family', async () => {
  const familyOf = async (plan: Plan): Promise<string | undefined> =>
    (await chunkOf({ plan, effect: { node: 0, nodeLo: 2 } })).request.node!.family
  const family = await familyOf(planOf('a', 'b'))
  expect(family).toMatch(/^[0-9a-f]{64}$/)
  expect(await familyOf(planOf('b', 'a'))).toBe(family)
  expect(await familyOf(planOf('a'))).not.toBe(family)
})
