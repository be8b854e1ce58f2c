import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodeSegment, encodeValue } from '../../../src/runtime/segment.ts'
import { Harness } from './harness.ts'
import { Watcher } from './watcher.ts'

let harness: Harness
let watcher: Watcher
beforeEach(async () => {
  harness = new Harness({ slots: 2 })
  watcher = await new Watcher().listen()
})
afterEach(async () => {
  await harness.close()
  await watcher.close()
})

const done = (reached: number, failed = 0): object => ({ reached, failed, ended: 'range' })

describe('a chunk', () => {
  it('runs over a range', async () => {
    const { outcome, values } = await harness.run('run: (x) => x * x', {
      lo: 3,
      hi: 6,
      input: { kind: 'range', start: 100 },
    })
    expect(outcome).toMatchObject(done(6))
    expect(values).toEqual([103 ** 2, 104 ** 2, 105 ** 2])
  })

  it('runs over pieces, which may begin before it and end after it', async () => {
    const pieces = [0, 4, 8].map((first) => {
      const path = join(harness.folder, `piece-${first}`)
      const items = [0, 1, 2, 3].map((i) => ({ id: first + i }))
      writeFileSync(
        path,
        Buffer.concat([encodeSegment(items.slice(0, 2)), encodeSegment(items.slice(2))]),
      )
      return { path, first, count: 4 }
    })
    const { values } = await harness.run('run: (x) => x.id', {
      lo: 2,
      hi: 11,
      input: { kind: 'pieces', pieces },
    })
    expect(values).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10])
  })

  it('rejects with ERR_MESH_INPUT_LOST when a piece cannot be read, after what came before', async () => {
    const path = join(harness.folder, 'piece')
    writeFileSync(path, encodeSegment([1, 2]))
    const pieces = [
      { path, first: 0, count: 2 },
      { path: join(harness.folder, 'gone'), first: 2, count: 2 },
    ]
    const { finished } = harness.start('run: (x) => x', {
      hi: 4,
      input: { kind: 'pieces', pieces },
    })
    await expect(finished).rejects.toMatchObject({ code: 'ERR_MESH_INPUT_LOST' })
  })

  it('gives the item its context', async () => {
    const fields = `
      setup(ctx) { return { base: ctx.args.base, of: ctx.peer.name } },
      run(x, ctx) { return [ctx.index, ctx.attempt, ctx.state, ctx.args, ctx.peer, ctx.signal.aborted] }`
    const { values } = await harness.run(fields, {
      lo: 5,
      hi: 6,
      input: { kind: 'range', start: 1 },
      args: encodeValue({ base: 7 }),
    })
    const peer = { id: 'peer-id', name: 'peer-name' }
    expect(values).toEqual([[5, 1, { base: 7, of: 'peer-name' }, { base: 7 }, peer, false]])
  })

  it('ends by time, at least one item on', async () => {
    const slow =
      'run(x) { const end = performance.now() + 2; while (performance.now() < end); return x }'
    const { outcome, values, progress } = await harness.run(slow, { hi: 1e6, budgetMs: 60 })
    expect(outcome.ended).toBe('time')
    expect(outcome.elapsedMs).toBeGreaterThanOrEqual(60)
    expect(outcome.reached).toBe(values.length)
    expect(progress).toEqual([...progress].sort((a, b) => a - b))
    expect(progress.length).toBeGreaterThan(1)
    const one = await harness.run(slow, { hi: 1e6, budgetMs: 0 })
    expect(one.outcome).toMatchObject({ reached: 1, ended: 'time' })
  })

  it('ends by output', async () => {
    const { outcome, values } = await harness.run('run: () => new Uint8Array(1 << 20)', { hi: 100 })
    expect(outcome).toMatchObject({ reached: 4, ended: 'output' })
    expect(values).toHaveLength(4)
  })

  it('hands over asynchronous values in order, one at a time', async () => {
    const fields = `
      setup: () => ({ running: 0, most: 0 }),
      async run(x, { state }) {
        state.most = Math.max(state.most, ++state.running);
        await new Promise((resolve) => setTimeout(resolve, x % 3));
        state.running--;
        return [x, state.most];
      }`
    const { values } = await harness.run(fields)
    expect(values).toEqual(Array.from({ length: 10 }, (_, i) => [i, 1]))
  })

  it('keeps exact order and content over a million trivial items', async () => {
    let lo = 0
    let sum = 0
    while (lo < 1_000_000) {
      const { outcome, values } = await harness.run('run: (x) => x', { lo, hi: 1_000_000 })
      for (let i = 0; i < values.length; i++) sum += values[i] === lo + i ? 1 : 0
      expect(outcome.reached).toBe(lo + values.length)
      lo = outcome.reached
    }
    expect(sum).toBe(1_000_000)
  })
})

describe('console output', () => {
  it('becomes lines of the item that runs, never protocol', async () => {
    const fields = `run(x) {
      console.log('one', { x });
      console.error('two\\nthree');
      process.stdout.write('half ');
      process.stdout.write(Buffer.from('line'));
      return x }`
    const { values, lines } = await harness.run(fields, { hi: 2 })
    expect(values).toEqual([0, 1])
    expect(lines).toEqual([
      'stdout@0 one { x: 0 }',
      'stderr@0 two',
      'stderr@0 three',
      'stdout@1 half lineone { x: 1 }',
      'stderr@1 two',
      'stderr@1 three',
      'stdout half line',
    ])
  })

  it('comes from ctx.log, setup() and child processes too', async () => {
    const fields = `
      setup(ctx) { ctx.log('preparing', 1) },
      async run(x, ctx) {
        const { spawnSync } = await import('node:child_process');
        spawnSync(process.execPath, ['-e', 'console.log("child")'], { stdio: 'inherit' });
        ctx.log('line', x);
        return x }`
    const { lines } = await harness.run(fields, { hi: 1 })
    expect(lines).toEqual(
      expect.arrayContaining(['log preparing 1', 'stdout child', 'log@0 line 0']),
    )
  })

  it('is bounded', async () => {
    const { lines } = await harness.run(
      `run(x) { for (let i = 0; i < 3000; i++) console.log('x'.repeat(1000)); return x }`,
      { hi: 1 },
    )
    expect(lines.length).toBeLessThan(1100)
    expect(lines.at(-1)).toMatch(/^log \d+ more lines of this chunk were dropped$/)
  })
})

describe('an item that throws', () => {
  it('fails alone, with its error, whatever it throws', async () => {
    const fields = `run(x) {
      if (x === 1) throw new TypeError('bad');
      if (x === 2) throw null;
      if (x === 3) throw undefined;
      if (x === 4) throw 'words';
      if (x === 5) throw { get message() { throw 1 }, toString: 5 };
      if (x === 6) return Promise.reject(new Error('later'));
      return x }`
    const { outcome, values, failures } = await harness.run(fields, { hi: 8 })
    expect(outcome).toMatchObject(done(8, 6))
    expect(values).toEqual([0, null, null, null, null, null, null, 7])
    expect(failures.map(({ index, name, message }) => [index, name, message])).toEqual([
      [1, 'TypeError', 'bad'],
      [2, 'null', 'null was thrown'],
      [3, 'undefined', 'undefined was thrown'],
      [4, 'string', '"words" was thrown'],
      [5, 'Error', 'something that cannot be read was thrown'],
      [6, 'Error', 'later'],
    ])
    expect(failures.every((it) => it.code === 'ERR_MESH_ITEM_THREW' && it.attempts === 1)).toBe(
      true,
    )
    expect(failures[0]!.stack).toMatch(/^TypeError: bad\n\s+at .*bundle-[0-9a-f]{12}\.mjs:\d+:\d+/)
  })

  it('is tried again as often as the job says', async () => {
    const fields = `run(x, ctx) { if (ctx.attempt <= x) throw new Error('attempt ' + ctx.attempt); return ctx.attempt }`
    const { values, failures } = await harness.run(fields, { hi: 4, retries: 2 })
    expect(values).toEqual([1, 2, 3, null])
    expect(failures).toMatchObject([{ index: 3, message: 'attempt 3', attempts: 3 }])
  })

  it('fails when its value cannot be sent', async () => {
    const { values, failures } = await harness.run('run: (x) => (x % 2 ? () => x : x)', { hi: 4 })
    expect(values).toEqual([0, null, 2, null])
    expect(failures).toMatchObject([
      { index: 1, code: 'ERR_MESH_VALUE_UNSENDABLE', message: expect.stringContaining('item 1 ') },
      { index: 3, code: 'ERR_MESH_VALUE_UNSENDABLE', message: expect.stringContaining('item 3 ') },
    ])
  })

  it('fails when its value is too large', async () => {
    const fields = 'run: (x) => (x === 1 ? new Uint8Array(65 * 2 ** 20) : x)'
    const { values, failures } = await harness.run(fields, { hi: 3 })
    expect(values).toEqual([0, null, 2])
    expect(failures).toMatchObject([{ index: 1, code: 'ERR_MESH_VALUE_TOO_LARGE' }])
  })
})

describe('a worker that dies', () => {
  it.each([
    ['process.exit', 'process.exit(3)', 'ERR_MESH_WORKER_DIED', /called process\.exit\(3\)/],
    [
      'an error nobody caught',
      'setTimeout(() => { throw new RangeError("late") }, 1); return new Promise(() => {})',
      'ERR_MESH_WORKER_DIED',
      /RangeError: late/,
    ],
    [
      'a rejection nobody caught',
      'Promise.reject(new Error("lost")); return new Promise((r) => setTimeout(r, 1000))',
      'ERR_MESH_WORKER_DIED',
      /Error: lost/,
    ],
    ['process.abort', 'process.abort()', 'ERR_MESH_WORKER_DIED', /SIGABRT/],
    [
      'a full heap',
      'const a = []; for (;;) a.push({ x: [x] })',
      'ERR_MESH_MEMORY_LIMIT',
      /cap of 96 MB.*--memory/,
    ],
    [
      'too many buffers',
      'const a = []; for (;;) a.push(new Uint8Array(1 << 22).fill(1))',
      'ERR_MESH_MEMORY_LIMIT',
      /cap of 96 MB.*--memory/,
    ],
    [
      'garbage on the pipe',
      'const fs = process.getBuiltinModule ? process.getBuiltinModule("fs") : require("fs"); fs.writeSync(4, Buffer.alloc(64, 0xff)); for (;;);',
      'ERR_MESH_WORKER_DIED',
      /wrote on the pipes/,
    ],
  ])('by %s blames its item alone', async (_, code, expected, message) => {
    const { outcome, values, failures } = await harness.run(
      `run(x) { if (x === 3) { ${code} } return x }`,
      { memoryBytes: 96 * 2 ** 20 },
    )
    expect(outcome).toMatchObject(done(10, 1))
    expect(values).toEqual([0, 1, 2, null, 4, 5, 6, 7, 8, 9])
    expect(failures).toMatchObject([
      { index: 3, code: expected, message: expect.stringMatching(message) },
    ])
  })

  it('in the middle of many fast items blames the right one', async () => {
    const fields = 'run(x) { if (x === 61234) process.kill(process.pid, "SIGSEGV"); return x }'
    const { outcome, values, failures } = await harness.run(fields, { hi: 70_000 })
    expect(outcome).toMatchObject(done(70_000, 1))
    expect(failures).toMatchObject([{ index: 61234, code: 'ERR_MESH_MEMORY_LIMIT' }])
    expect(values.filter((value, i) => value !== i)).toEqual([null])
  })

  it('takes several items with it, each blamed', async () => {
    const fields = 'run(x) { if (x % 3 === 1) process.exit(x); return x }'
    const { values, failures } = await harness.run(fields, { hi: 8 })
    expect(values).toEqual([0, null, 2, 3, null, 5, 6, null])
    expect(failures.map((it) => it.message)).toEqual(
      [1, 4, 7].map((i) => expect.stringContaining(`exit(${i})`)),
    )
  })

  it('costs its item an attempt, when the job has retries', async () => {
    const fields =
      'run(x, ctx) { if (x === 2 && ctx.attempt < 3) process.exit(1); return ctx.attempt }'
    const { values } = await harness.run(fields, { hi: 4, retries: 2 })
    expect(values).toEqual([1, 1, 3, 1])
  })

  it('by a signal from outside is not the fault of its item', async () => {
    const started = harness.start(
      `async run(x, ctx) { console.log('pid', process.pid, 'attempt', ctx.attempt); if (ctx.attempt === 1) await new Promise((r) => setTimeout(r, 60000)); return ctx.attempt }`,
      { hi: 1 },
    )
    const line = await started.line('pid ')
    process.kill(Number(/pid (\d+)/.exec(line)![1]), 'SIGKILL')
    const { values, failures } = await started.finished
    expect([values, failures]).toEqual([[2], []])
  })

  it('right after it loaded, again and again, ends in failures and not in a storm', async () => {
    const { outcome, failures } = await harness.run(
      'setup() { setTimeout(() => process.exit(9), 0) }, run: (x) => new Promise((r) => setTimeout(r, 100))',
      { hi: 2 },
    )
    expect(outcome).toMatchObject(done(2, 2))
    expect(failures[0]!.message).toMatch(/process\.exit\(9\)/)
    expect(harness.runtime.stats().started).toBeLessThanOrEqual(8)
  })
})

describe('a time limit', () => {
  it.each([
    ['spins', 'for (;;);'],
    ['waits for ever', 'return new Promise(() => {})'],
  ])('ends an item that %s, and only that', async (_, code) => {
    const { values, failures } = await harness.run(`run(x) { if (x === 5) { ${code} } return x }`, {
      timeLimitMs: 150,
    })
    expect(values).toEqual([0, 1, 2, 3, 4, null, 6, 7, 8, 9])
    expect(failures).toMatchObject([
      {
        index: 5,
        code: 'ERR_MESH_TIME_LIMIT',
        message: expect.stringMatching(/0\.15 s.*--time-limit/),
      },
    ])
  })

  it('finds the item among many fast ones', async () => {
    const { outcome, failures } = await harness.run(
      'run(x) { if (x === 54321) for (;;); return x }',
      { hi: 60_000, timeLimitMs: 150 },
    )
    expect(outcome).toMatchObject(done(60_000, 1))
    expect(failures).toMatchObject([{ index: 54321, code: 'ERR_MESH_TIME_LIMIT' }])
  })

  it('aborts ctx.signal first: a task that listens keeps its worker', async () => {
    const fields = `
      async run(x, ctx) {
        if (x !== 1) return process.pid;
        await new Promise((_, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason)));
      }`
    const { values, failures } = await harness.run(fields, { hi: 3, timeLimitMs: 100 })
    expect(values[0]).toBe(values[2])
    expect(failures).toMatchObject([{ index: 1, code: 'ERR_MESH_TIME_LIMIT' }])
  })

  it('can be seen by a task that never waits', async () => {
    const fields = `run(x, ctx) { let n = 0; while (!ctx.signal.aborted) n++; return 'stopped' }`
    const { values } = await harness.run(fields, { hi: 2, timeLimitMs: 50 })
    expect(values).toEqual(['stopped', 'stopped'])
  })
})

describe('ctx.signal', () => {
  it('is each item’s own: listeners do not gather', async () => {
    const fields = `run(x, { signal }) { const before = globalThis.last; globalThis.last = signal; signal.addEventListener('abort', () => {}); return before !== signal }`
    const { values, lines } = await harness.run(fields, { hi: 20 })
    expect(values).toEqual(new Array(20).fill(true))
    expect(lines).toEqual([])
  })
})

describe('an abort', () => {
  it('stops between items and keeps the worker', async () => {
    const fields = 'run(x) { if (x === 0) console.log("pid", process.pid); return x }'
    const bundle = harness.bundle(fields)
    const first = harness.start(
      'run(x) { const end = performance.now() + 1; while (performance.now() < end); if (x === 3) console.log("going"); return x }',
      { hi: 1e9 },
    )
    await first.line('going')
    first.handle.abort(5000)
    const { outcome, values } = await first.finished
    expect(outcome.ended).toBe('aborted')
    expect(outcome.reached).toBe(values.length)
    expect(harness.runtime.stats()).toMatchObject({ started: 1, died: 0 })
    expect((await harness.run(bundle, { hi: 1 })).values).toEqual([0])
  })

  it('kills an item that does not stop', async () => {
    const started = harness.start(
      'run(x) { if (x === 2) { console.log("spinning"); for (;;); } return x }',
    )
    await started.line('spinning')
    started.handle.abort()
    const { outcome, values, failures } = await started.finished
    expect(outcome).toMatchObject({ ended: 'aborted', failed: 0 })
    expect(values.length).toBe(outcome.reached)
    expect(outcome.reached).toBeLessThanOrEqual(2)
    expect(failures).toEqual([])
  })

  it('aborts the signal of the item that runs', async () => {
    const started = harness.start(
      `async run(x, ctx) { console.log('waiting'); await new Promise((r) => ctx.signal.addEventListener('abort', r)); console.log('aborted', ctx.signal.reason.code); return x }`,
    )
    await started.line('waiting')
    started.handle.abort(10_000)
    await started.line('aborted ERR_MESH_JOB_CANCELLED')
    expect((await started.finished).outcome.ended).toBe('aborted')
  })

  it('before the worker is ready ends the chunk at once', async () => {
    const started = harness.start('run: (x) => x')
    started.handle.abort()
    expect((await started.finished).outcome).toMatchObject({ reached: 0, ended: 'aborted' })
  })
})

describe('a bundle that cannot be loaded', () => {
  it.each([
    [
      'top level',
      'throw new Error("no luck"); export default () => 1',
      /cannot be loaded: no luck/,
    ],
    ['syntax', 'export default (', /cannot be loaded/],
    ['exit', 'process.exit(4); export default () => 1', /process\.exit\(4\)/],
  ])('fails every item with its error, in one process: %s', async (_, code, message) => {
    const bundle = harness.raw(code)
    for (const lo of [0, 10]) {
      const { outcome, failures } = await harness.run(bundle, { lo, hi: lo + 10 })
      expect(outcome).toMatchObject(done(lo + 10, 10))
      expect(failures.map((it) => it.index)).toEqual(Array.from({ length: 10 }, (_, i) => lo + i))
      expect(failures.every((it) => message.test(it.message))).toBe(true)
    }
    expect(harness.runtime.stats().started).toBe(1)
  })

  it('in setup() too, and in bounded pieces', async () => {
    const { outcome, failures } = await harness.run(
      'setup() { throw new Error("no model") }, run: (x) => x',
      { hi: 10_000_000 },
    )
    expect(outcome.ended).toBe('output')
    expect(failures[0]!.message).toMatch(/no model/)
    expect(failures.length).toBe(outcome.reached)
  })

  it('is refused when it is damaged, absent, or no task', async () => {
    const good = harness.bundle('run: (x) => x')
    writeFileSync(good.path, randomBytes(10))
    await expect(harness.run(good)).rejects.toMatchObject({ code: 'ERR_MESH_TASK_INVALID' })
    const gone = { hash: 'a'.repeat(64), path: join(harness.folder, 'gone') }
    await expect(harness.run(gone)).rejects.toMatchObject({ code: 'ERR_MESH_TASK_NOT_FOUND' })
    const none = harness.raw('export default 5')
    await expect(harness.run(none)).rejects.toMatchObject({ code: 'ERR_MESH_TASK_INVALID' })
  })
})

describe('workers', () => {
  const pid = 'run: () => process.pid'

  it('are kept warm, one process for one bundle', async () => {
    const a = harness.bundle(pid)
    const b = harness.bundle(`${pid}, setup() {}`)
    const [first] = (await harness.run(a)).values
    expect(new Set((await harness.run(a)).values)).toEqual(new Set([first]))
    expect((await harness.run(b)).values).not.toContain(first)
    expect((await harness.run(a)).values[0]).toBe(first)
    expect(harness.runtime.stats()).toMatchObject({ started: 2, recycled: 0 })
  })

  it('are started ahead by warm()', async () => {
    const bundle = harness.bundle(pid)
    harness.runtime.warm!({
      bundle,
      job: 'job',
      args: undefined,
      memoryBytes: undefined,
      peer: { id: 'peer-id', name: 'peer-name' },
    })
    expect(harness.runtime.stats()).toMatchObject({ started: 1, busy: 0 })
    await harness.run(bundle)
    expect(harness.runtime.stats().started).toBe(1)
  })

  it('are replaced after so many items', async () => {
    const { values } = await harness.run(pid, { hi: 10, maxItemsPerWorker: 4 })
    const [a, b, c] = [...new Set(values)]
    expect(values).toEqual([a, a, a, a, b, b, b, b, c, c])
    expect(harness.runtime.stats()).toMatchObject({ recycled: 2, died: 0 })
  })

  it('are replaced once they hold much memory', async () => {
    const bundle = harness.bundle(`
      setup: () => [],
      run(x, { state }) { if (state.length < 32) state.push(Buffer.alloc(16 << 20, 1)); const end = performance.now() + 50; while (performance.now() < end); return process.pid }`)
    const seen = new Set<unknown>()
    // A worker lives at least ten times its start, which may be slow here.
    for (let lo = 0; lo < 400 && harness.runtime.stats().recycled === 0; lo++) {
      const { values, failures } = await harness.run(bundle, {
        lo,
        hi: lo + 1,
        memoryBytes: 512 * 2 ** 20,
      })
      expect(failures).toEqual([])
      seen.add(values[0])
    }
    expect(seen.size).toBe(1)
    expect(harness.runtime.stats()).toMatchObject({ recycled: 1, died: 0 })
  })

  it('end when they were idle for long', async () => {
    const short = new Harness({ idleMs: 10 })
    await short.run(`async setup() { ${watcher.connect} }, run: (x) => x`, { hi: 1 })
    await (await watcher.next()).ended
    await short.close()
  })

  it('take the processes they started with them', async () => {
    const fields = `
      async run(x) {
        const { spawn } = await import('node:child_process');
        const child = spawn(process.execPath, ['--input-type=module', '-e', ${JSON.stringify(watcher.connect)} + 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
        await new Promise((resolve) => child.once('spawn', resolve));
        await new Promise(() => {});
      }`
    const started = harness.start(fields, { hi: 1 })
    const grandchild = await watcher.next()
    started.handle.abort()
    await started.finished
    await grandchild.ended
  })

  it('see none of the secrets of the peer', async () => {
    process.env.MESH_TEST_SECRET = 'secret'
    try {
      const { values } = await harness.run(
        'run: () => [Object.keys(process.env), process.env.PATH]',
        { hi: 1 },
      )
      const [keys, path] = values[0] as [string[], string]
      expect(keys).not.toContain('MESH_TEST_SECRET')
      expect(path).toBe(process.env.PATH)
    } finally {
      delete process.env.MESH_TEST_SECRET
    }
  })

  it('stop with the runtime: what runs is rejected with ERR_MESH_STOPPED', async () => {
    const own = new Harness()
    const started = own.start(`async setup() { ${watcher.connect} }, run() { for (;;); }`)
    const worker = await watcher.next()
    await own.runtime.close()
    await expect(started.finished).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await worker.ended
    await expect(own.run(pid)).rejects.toMatchObject({ code: 'ERR_MESH_STOPPED' })
    await own.close()
  })
})
