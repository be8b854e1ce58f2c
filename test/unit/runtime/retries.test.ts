import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Backoff } from '../../../src/runtime/types.ts'
import { waitAfter } from '../../../src/runtime/worker/backoff.ts'
import { Harness } from './harness.ts'

let harness: Harness
beforeEach(() => {
  harness = new Harness({ slots: 2 })
})
afterEach(() => harness.close())

const backoff = (delayMs: number, more: Partial<Backoff> = {}): Backoff => ({
  delayMs,
  factorPercent: 200,
  maxMs: 3_600_000,
  jitterPercent: 0,
  ...more,
})

describe('the wait before a retry', () => {
  it('grows by its factor up to its maximum', () => {
    const waits = [1, 2, 3, 4].map((attempt) => waitAfter(backoff(100, { maxMs: 500 }), attempt, 0))
    expect(waits).toEqual([100, 200, 400, 500])
    expect(waitAfter(backoff(100, { factorPercent: 100 }), 9, 0)).toBe(100)
    // 2^5000 is no number.
    expect(waitAfter(backoff(100, { maxMs: 500 }), 5000, 0.5)).toBe(500)
    expect(waitAfter(backoff(0), 5000, 0.5)).toBe(0)
  })

  it('is less by a random part of up to its jitter', () => {
    const half = backoff(100, { jitterPercent: 50 })
    expect([0, 0.5, 0.999].map((random) => waitAfter(half, 1, random))).toEqual([100, 75, 50.05])
    expect(waitAfter(backoff(100, { jitterPercent: 100 }), 1, 0.999)).toBeCloseTo(0.1)
  })
})

describe('a retry with backoff', () => {
  const stubborn =
    'run(x, ctx) { (globalThis.times ??= []).push(performance.now()); if (x === 2 && ctx.attempt < 3) throw new Error("not yet"); return x === 3 ? globalThis.times : ctx.attempt }'

  it('waits in the worker when that is short', async () => {
    const { outcome, values } = await harness.run(stubborn, {
      hi: 4,
      retries: 2,
      backoff: backoff(15),
    })
    expect(outcome).toMatchObject({ reached: 4, failed: 0, ended: 'range' })
    expect(values.slice(0, 3)).toEqual([1, 1, 3])
    const [, , first, second, third] = values[3] as number[]
    // A timer may fire a little early.
    expect(second! - first!).toBeGreaterThanOrEqual(14)
    expect(third! - second!).toBeGreaterThanOrEqual(29)
  })

  it('ends the chunk before the item when that is long, after what came before', async () => {
    const { outcome, values } = await harness.run(stubborn, {
      hi: 4,
      retries: 2,
      backoff: backoff(51),
    })
    expect(outcome).toMatchObject({ reached: 2, failed: 0, ended: 'retry' })
    expect(outcome.retry).toEqual({ delayMs: 51, attempt: 2 })
    expect(values).toEqual([1, 1])
  })

  it('goes on where it was: the attempt travels', async () => {
    const fields =
      'run(x, ctx) { if (x < 8) throw new Error("attempt " + ctx.attempt); return ctx.attempt }'
    const request = { lo: 7, hi: 9, retries: 4, backoff: backoff(1000) }
    const next = await harness.run(fields, { ...request, attempt: 4 })
    expect(next.outcome).toMatchObject({
      reached: 7,
      ended: 'retry',
      retry: { delayMs: 8000, attempt: 5 },
    })
    const last = await harness.run(fields, { ...request, attempt: 5 })
    expect(last.failures).toMatchObject([{ index: 7, message: 'attempt 5', attempts: 5 }])
    expect(last.values).toEqual([null, 1])
  })

  it('counts deaths as attempts, whichever chunk they were in', async () => {
    const fields = 'run(x, ctx) { if (ctx.attempt < 5) process.exit(1); return ctx.attempt }'
    const { values } = await harness.run(fields, { hi: 1, retries: 9, attempt: 3 })
    expect(values).toEqual([5])
    const { failures } = await harness.run(fields, { hi: 1, retries: 3, attempt: 3 })
    expect(failures).toMatchObject([{ code: 'ERR_MESH_WORKER_DIED', attempts: 4 }])
  })

  it('ends the chunk once it has waited for long in it', async () => {
    const fields = 'run(x, ctx) { if (ctx.attempt === 1) throw new Error("not yet"); return x }'
    const { outcome, values } = await harness.run(fields, {
      hi: 1000,
      retries: 1,
      backoff: backoff(40),
    })
    expect(outcome).toMatchObject({
      reached: 6,
      ended: 'retry',
      retry: { delayMs: 40, attempt: 2 },
    })
    expect(values).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('is no part of the time limit of the item', async () => {
    const fields =
      'run(x, ctx) { if (ctx.attempt < 5) throw new Error("not yet"); return ctx.attempt }'
    const { values } = await harness.run(fields, {
      hi: 1,
      retries: 5,
      backoff: backoff(45, { factorPercent: 100 }),
      softTimeLimitMs: 59,
      timeLimitMs: 60,
    })
    expect(values).toEqual([5])
  })

  it('goes on counting in the next chunk when this one ends by time', async () => {
    const fields =
      'run(x, ctx) { const end = performance.now() + 450 * x; while (performance.now() < end); if (x === 1) throw new Error("no"); return x }'
    const { outcome, values } = await harness.run(fields, { hi: 3, retries: 5, budgetMs: 400 })
    const retry = { delayMs: 0, attempt: 2 }
    expect(outcome).toMatchObject({ reached: 1, ended: 'retry', retry })
    expect(values).toEqual([0])
  })

  it('is cut short by an abort', async () => {
    const started = harness.start(
      'run(x) { if (x === 1) { console.log("threw"); throw new Error("no") } return x }',
      { hi: 3, retries: 1000, backoff: backoff(50, { factorPercent: 100 }) },
    )
    await started.line('threw')
    started.handle.abort(10_000)
    const { outcome, values } = await started.finished
    expect(outcome).toMatchObject({ reached: 1, failed: 0, ended: 'aborted' })
    expect(values).toEqual([0])
    expect(harness.runtime.stats().died).toBe(0)
  })

  it('is refused of a worker that has none to ask for', async () => {
    const { failures } = await harness.run(
      `async run(x) {
        const fs = await import('node:fs');
        const { encode } = { encode: (run) => Buffer.from([0x87, ...text('run'), run, ...text('reached'), 0, ...text('failed'), 0, ...text('elapsedMs'), 0, ...text('ended'), ...text('retry'), ...text('rssBytes'), 0, ...text('retry'), 0x82, ...text('delayMs'), 1, ...text('attempt'), 2]) };
        const text = (t) => [0xa0 + t.length, ...Buffer.from(t)];
        for (let run = 1; run < 128; run++) {
          const payload = encode(run);
          const head = Buffer.alloc(5); head.writeUInt32LE(payload.length + 1, 0); head[4] = 20;
          fs.writeSync(4, Buffer.concat([head, payload]));
        }
        await new Promise(() => {});
      }`,
      { hi: 1 },
    )
    expect(failures).toMatchObject([{ message: expect.stringContaining('wrote on the pipes') }])
  })
})

describe('retryOn', () => {
  it('says which errors are worth another try', async () => {
    const fields = `
      retryOn: (error) => error.code === 'EAGAIN',
      run(x, ctx) {
        if (ctx.attempt === 3) return 'done';
        throw Object.assign(new Error('no'), { code: x === 0 ? 'EAGAIN' : 'EPERM' })
      }`
    const { values, failures } = await harness.run(fields, { hi: 2, retries: 5 })
    expect(values).toEqual(['done', null])
    expect(failures).toMatchObject([{ index: 1, message: 'no', attempts: 1 }])
  })

  it('that throws means no, and says so', async () => {
    const fields = 'retryOn() { throw new Error("oops") }, run() { throw new Error("no") }'
    const { failures, lines } = await harness.run(fields, { hi: 1, retries: 5 })
    expect(failures).toMatchObject([{ message: 'no', attempts: 1 }])
    expect(lines[0]).toMatch(/^log@0 retryOn threw.*oops/)
  })

  it('is asked of the step that threw', async () => {
    const never = harness.bundle(
      'retryOn: () => false, run: (x, ctx) => { if (x === 1 && ctx.attempt === 1) throw new Error("never"); return x }',
    )
    const always = harness.bundle(
      'run: async (x, ctx) => { if (x === 2 && ctx.attempt === 1) throw new Error("again"); return [x, ctx.attempt] }',
    )
    const steps = [{ bundle: never }, { bundle: always }]
    const { values, failures } = await harness.run(never, {
      hi: 3,
      retries: 1,
      node: { lo: 0, steps, allowFailures: false },
    })
    expect(values).toEqual([[0, 1], null, [2, 2]])
    expect(failures).toMatchObject([{ index: 1, message: 'never', attempts: 1 }])
  })
})

describe('a soft time limit', () => {
  it('aborts the signal; the item may still end with a value', async () => {
    const fields = `
      async run(x, ctx) {
        if (x !== 1) return process.pid;
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve));
        return ctx.signal.reason.code;
      }`
    const { values, failures } = await harness.run(fields, { hi: 3, softTimeLimitMs: 50 })
    expect(failures).toEqual([])
    expect(values).toEqual([values[0], 'ERR_MESH_SOFT_TIME_LIMIT', values[0]])
  })

  it.each([
    [
      'listens',
      'await new Promise((_, no) => ctx.signal.addEventListener("abort", () => no(ctx.signal.reason)))',
    ],
    [
      'never looks',
      'const end = performance.now() + 80; while (performance.now() < end); throw new Error("tired")',
    ],
  ])('fails the item that throws after it: one that %s', async (_, code) => {
    const { values, failures } = await harness.run(
      `async run(x, ctx) { if (x === 1) { ${code} } return x }`,
      { hi: 3, softTimeLimitMs: 50, timeLimitMs: 60_000 },
    )
    expect(values).toEqual([0, null, 2])
    expect(failures).toMatchObject([
      {
        index: 1,
        code: 'ERR_MESH_SOFT_TIME_LIMIT',
        message: expect.stringMatching(/soft limit of 0\.05 s \(--soft-time-limit\)/),
      },
    ])
    expect(harness.runtime.stats().died).toBe(0)
  })

  it('is an error like any other for retryOn', async () => {
    const fields = `
      retryOn: (error) => error.code === 'ERR_MESH_SOFT_TIME_LIMIT',
      async run(x, ctx) {
        if (ctx.attempt === 2) return 'second';
        await new Promise((_, no) => ctx.signal.addEventListener('abort', () => no(ctx.signal.reason)));
      }`
    const { values } = await harness.run(fields, { hi: 1, retries: 1, softTimeLimitMs: 30 })
    expect(values).toEqual(['second'])
  })

  it('leaves the kill to the hard one', async () => {
    const fields = `
      async run(x, ctx) {
        if (x !== 1) return x;
        ctx.signal.addEventListener('abort', () => console.log('warned', ctx.signal.reason.code));
        await new Promise(() => {});
      }`
    const { values, failures, lines } = await harness.run(fields, {
      hi: 3,
      softTimeLimitMs: 50,
      timeLimitMs: 200,
    })
    expect(values).toEqual([0, null, 2])
    expect(failures).toMatchObject([{ index: 1, code: 'ERR_MESH_TIME_LIMIT' }])
    expect(lines).toEqual(['stdout@1 warned ERR_MESH_SOFT_TIME_LIMIT'])
  })
})
