/** A peer on which a kernel does not run: what it gives back, what it hands on, and when items fail. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { MeshError, type MeshErrorCode } from '../../../src/base/errors.ts'
import { silentLogger } from '../../../src/base/logger.ts'
import { ChunkRunner, type ChunkRunnerParts } from '../../../src/node/chunk-runner.ts'
import { KERNEL_REFUSED_MS, KERNEL_UNFIT_MS } from '../../../src/node/limits.ts'
import type { JobId, SchedulerEffect, SchedulerEvent } from '../../../src/scheduler/types.ts'

const JOB = 'a'.repeat(64) as JobId

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** A runner whose kernels all fail so. `told`: what the scheduler hears. */
function peer(code: MeshErrorCode, others: number) {
  const told: SchedulerEvent[] = []
  const warned: string[] = []
  const view = { author: 'author', spec: { options: {}, task: { kind: 'kernel' } } }
  const parts = {
    scheduler: { job: () => view },
    inputs: { prepare: async () => ({ hi: 100, files: {}, bundle: {}, options: {} }) },
    kernels: { run: () => ({ done: Promise.reject(new MeshError(code, 'it does not')) }) },
    missing: { found: () => {}, retryMs: () => 0 },
    transport: () => ({ connected: () => new Array(others) }),
    dispatch: (event: SchedulerEvent) => told.push(event),
    warn: (message: string) => warned.push(message),
    log: silentLogger,
  }
  const runner = new ChunkRunner(parts as unknown as ChunkRunnerParts)
  const start = (chunk: number): void => {
    const effect = { type: 'startChunk', job: JOB, chunk, lo: 0, hi: 100, budgetMs: 1 }
    runner.start(effect as unknown as Extract<SchedulerEffect, { type: 'startChunk' }>)
  }
  return { told, warned, start }
}

const returned = (chunk: number) => ({
  type: 'chunkReturned',
  chunk,
  retryMs: expect.any(Number) as number,
})

test('a source that is refused is handed on at once, and fails when it comes back', async () => {
  const { told, warned, start } = peer('ERR_MESH_KERNEL_INVALID', 1)
  start(1)
  start(2)
  await vi.waitFor(() => expect(told).toHaveLength(3))
  // The two ran side by side: the second one's items are no worse than the first one's.
  expect(told).toEqual([
    returned(1),
    { type: 'unfit', job: JOB, ms: KERNEL_REFUSED_MS },
    returned(2),
  ])
  expect(warned).toEqual(['a kernel does not run here: it does not'])
  vi.advanceTimersByTime(KERNEL_REFUSED_MS)
  start(3)
  await vi.waitFor(() => expect(told).toHaveLength(4))
  const lost = { hi: 100, code: 'ERR_MESH_KERNEL_INVALID', message: 'it does not' }
  expect(told[3]).toEqual({ type: 'chunkReturned', chunk: 3, retryMs: 0, lost })
})

test('where there is nobody else it fails at once', async () => {
  const { told, start } = peer('ERR_MESH_KERNEL_INVALID', 0)
  start(1)
  await vi.waitFor(() => expect(told).toHaveLength(1))
  expect(told[0]).toMatchObject({ chunk: 1, lost: { code: 'ERR_MESH_KERNEL_INVALID' } })
})

test('what may be the machine is tried three times before', async () => {
  const { told, start } = peer('ERR_MESH_KERNEL_FAILED', 1)
  for (const [i, waitMs] of [1000, 2000, 4000].entries()) {
    start(i)
    await vi.waitFor(() => expect(told).toHaveLength(i + 1))
    expect(told[i]).toEqual({ type: 'chunkReturned', chunk: i, retryMs: waitMs })
    vi.advanceTimersByTime(waitMs)
  }
  start(3)
  await vi.waitFor(() => expect(told).toHaveLength(5))
  expect(told.slice(3)).toEqual([returned(3), { type: 'unfit', job: JOB, ms: KERNEL_UNFIT_MS }])
})
