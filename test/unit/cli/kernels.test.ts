/** Kernels at the command line: what is sent, what is written, what is refused. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { StopSignal } from '../../../cli/lib/context.ts'
import { plainLine } from '../../../cli/lib/progress.ts'
import { sha256Hex } from '../../../src/base/bytes.ts'
import { MeshError } from '../../../src/base/errors.ts'
import { decodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import type { JobInfo, JobRequest } from '../../../src/node/types.ts'
import { encodeF32Segment } from '../../../src/runtime/segment.ts'
import type { ItemError } from '../../../src/runtime/types.ts'
import type { BlobHash, JobId } from '../../../src/scheduler/types.ts'
import {
  type FakeJob,
  fakeBackend,
  HARDWARE,
  JOB_ID,
  jobInfo,
  mesh,
  meshStatus,
  peerInfo,
  WALL_CLOCK,
  type World,
} from './helpers.ts'

let folder: string
let scale: string
let grid: string
let task: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mesh-cli-'))
  scale = await kernelFile(
    'scale',
    'return a[this.thread.x] * by',
    '[5]',
    'a: number[], by: number',
    ['args: [[1, 2, 3, 4, 5], 2]'],
  )
  grid = await kernelFile('grid', 'return this.thread.x + 10 * this.thread.y', '[3, 2]')
  task = join(folder, 'echo.ts')
  await writeFile(
    task,
    "import { defineTask } from 'meshwork'\nexport default defineTask({ name: 'echo', run: (item) => item })\n",
  )
  await writeFile(join(folder, 'identity'), '')
})
afterAll(async () => {
  await rm(folder, { recursive: true })
})

async function kernelFile(
  name: string,
  body: string,
  output: string,
  params = '',
  more: readonly string[] = [],
): Promise<string> {
  const path = join(folder, `${name}.ts`)
  const fields = [
    `name: '${name}'`,
    `kernel: function (${params}) {\n    ${body}\n  }`,
    `output: ${output}`,
    ...more,
  ]
  await writeFile(
    path,
    `import { defineKernel, perItem } from 'meshwork'\nexport default defineKernel({\n  ${fields.join(',\n  ')},\n})\n`,
  )
  return path
}

/** A finished job of a kernel that gives 0, 1, 2, 10, 11, 12 in two rows. */
function gridJob(change: Partial<JobInfo> = {}): FakeJob {
  return {
    info: finished({ name: 'grid', items: 2, done: 2, output: [3, 2], ...change }),
    spans: [
      { lo: 0, values: [Float32Array.of(0, 1, 2)] },
      { lo: 1, values: [Float32Array.of(10, 11, 12)] },
    ],
  }
}

function finished(change: Partial<JobInfo>): JobInfo {
  return jobInfo({
    state: 'finished',
    finishedAt: new Date(WALL_CLOCK - 70_000).toISOString(),
    peersAtWork: 0,
    etaSeconds: null,
    ...change,
  })
}

function failure(index: number): ItemError {
  return {
    index,
    code: 'ERR_MESH_KERNEL_FAILED',
    name: 'MeshError',
    message: 'no memory',
    attempts: 1,
  }
}

function receiver(job: FakeJob = gridJob()) {
  const requests: JobRequest[] = []
  const blobs = new Map<string, Uint8Array>()
  const backend = fakeBackend([job], {
    putBlob: async (bytes) => {
      const hash = sha256Hex(bytes) as BlobHash
      blobs.set(hash, Uint8Array.from(bytes))
      return { hash, sizeBytes: bytes.byteLength }
    },
    submit: async (request) => {
      requests.push(request)
      return { job: JOB_ID as JobId, heldBy: [] }
    },
  })
  const spec = () => {
    const sent = requests[0]!.task
    if (sent.kind !== 'kernel') throw new Error('no kernel was sent')
    return decodeKernelSpec(blobs.get(sent.bundle)!)
  }
  const numbers = (at: number): number[] => {
    const arg = spec().args[at]!
    if (arg.kind !== 'array') throw new Error('no array was sent')
    const bytes = blobs.get(arg.hash)!
    return [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)]
  }
  return { backend, requests, spec, numbers }
}

function submit(file: string, flags: string[], world: World) {
  return mesh(['submit', file, ...flags, '--data', folder], world)
}

function results(job: FakeJob, ...flags: string[]) {
  return mesh(['results', 'last', '--data', folder, ...flags], { running: fakeBackend([job]) })
}

const SCALED: FakeJob = {
  info: finished({ name: 'scale', items: 5, done: 5, output: [5] }),
  spans: [{ lo: 0, values: [2, 4, 6, 8, 10] }],
}

describe('what a peer is given', () => {
  test('a kernel and its arrays, without any --range', async () => {
    const { backend, requests, spec, numbers } = receiver(SCALED)
    const run = await submit(scale, ['--chunk-size', '2', '--quiet'], { running: backend })
    expect(run).toMatchObject({ code: 0, err: '' })
    expect(requests).toHaveLength(1)
    expect(requests[0]).toMatchObject({
      task: { kind: 'kernel', name: 'scale', output: [5], requiresGpu: false },
      input: { kind: 'range', start: 0, count: 5 },
      options: { chunkSize: 2 },
    })
    expect(requests[0]!.options).not.toHaveProperty('args')
    expect(numbers(0)).toEqual([1, 2, 3, 4, 5])
    expect(spec().args[1]).toEqual({ kind: 'number', value: 2 })
  })

  test("--args stand in the place of the kernel's own; null keeps one", async () => {
    const first = receiver(SCALED)
    await submit(scale, ['--args', '[[9, 8, 7, 6, 5.5], 3]'], { running: first.backend })
    expect(first.numbers(0)).toEqual([9, 8, 7, 6, 5.5])
    expect(first.spec().args[1]).toEqual({ kind: 'number', value: 3 })
    const second = receiver(SCALED)
    await submit(scale, ['--args', '[null, 3]'], { running: second.backend })
    expect(second.numbers(0)).toEqual([1, 2, 3, 4, 5])
    const sized = receiver(SCALED)
    await submit(scale, ['--args', '[{"data":[5,4,3,2,1],"size":[5]}, null]'], {
      running: sized.backend,
    })
    expect(sized.numbers(0)).toEqual([5, 4, 3, 2, 1])
  })

  test('more than the 4 KiB of a task are no trouble, and an array that is sliced stays one', async () => {
    const sliced = await kernelFile('sliced', 'return a[this.thread.x]', '[2000]', 'a: number[]', [
      'args: [perItem(new Float32Array(2000))]',
    ])
    const { backend, spec, numbers } = receiver({
      info: finished({ items: 2000, done: 2000, output: [2000] }),
    })
    const values = Array.from({ length: 2000 }, (_, i) => i + 0.5)
    await submit(sliced, ['--args', JSON.stringify([values]), '--detach'], { running: backend })
    expect(spec().args[0]).toMatchObject({ kind: 'array', size: [2000], perItem: true })
    expect(numbers(0)).toEqual(values)
  })

  test('the GPU of the peer in this process', async () => {
    const told = [{ dataDir: folder, mdns: true, embedded: true, gpu: { mode: 'off' } }]
    const run = await submit(scale, ['--gpu', 'off'], { embedded: receiver(SCALED).backend })
    expect(run.started).toEqual(told)
    const back = await mesh(['results', 'last', '--data', folder, '--gpu', 'off'], {
      embedded: fakeBackend([SCALED]),
    })
    expect(back.started).toEqual(told)
  })
})

describe('the array', () => {
  test('in words on stdout, with the way to the numbers on stderr', async () => {
    const run = await submit(grid, [], { running: receiver().backend })
    expect(run).toMatchObject({ code: 0 })
    expect(run.out).toBe(
      [
        'grid: 3 x 2 numbers',
        '  least     0',
        '  greatest  12',
        '  mean      6',
        '  computed  by laptop 65 %, tower 34 %',
        '  values    0 1 2 10 11 12',
        '',
      ].join('\n'),
    )
    expect(run.err).toBe(
      [
        'mesh: job ab12ab12 submitted',
        'mesh: grid: 2 rows in 10 s (0.2/s) on 2 peers',
        `mesh: the numbers themselves: mesh results ab12ab12 --data ${folder} --out FILE.png (or .npy, .csv, .f32)`,
        '',
      ].join('\n'),
    )
    const quiet = await results(SCALED, '--quiet')
    expect(quiet.err).toBe('')
    expect(quiet.out).toMatch(/^scale: 5 numbers\n/)
    expect((await results(SCALED)).err).toContain('--out FILE.npy (or .csv, .f32)')
  })

  test('what is no number is counted, not averaged', async () => {
    const values = [Number.NaN, 1, 3, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
    const run = await results({ ...SCALED, spans: [{ lo: 0, values }] })
    expect(run.out).toContain(
      '  least     1\n  greatest  3\n  mean      2\n  NaN       1\n  infinite  2\n',
    )
    const none = await results({
      ...SCALED,
      spans: [{ lo: 0, values: values.map(() => Number.NaN) }],
    })
    expect(none.out).toContain('scale: 5 numbers\n  NaN       5\n')
    expect(none.out).not.toContain('least')
  })

  test('its numbers are whole ones: each reads back as the f32 that it is', async () => {
    const values = [0.1, 1 / 3, 16777215, 1e-45, 5].map(Math.fround)
    const run = await results({ ...SCALED, spans: [{ lo: 0, values }] })
    expect(run.out).toContain('  values    0.1 0.33333334 16777215 1.4013e-45 5\n')
    expect(run.out).toContain('  least     1.4013e-45\n  greatest  16777215\n')
  })

  test.each(['submit', 'results'])('%s --colours and --range-of', async (command) => {
    const out = join(folder, `${command}-gray.png`)
    const flags = ['--out', out, '--colours', 'gray', '--range-of', '-1,10']
    const run =
      command === 'submit'
        ? await submit(grid, flags, { running: receiver().backend })
        : await results(gridJob(), ...flags)
    expect(run).toMatchObject({ code: 0, out: '' })
    expect(run.err).toContain(
      '; -1 is darkest, 10 brightest (gray); 2 outside of that shown as the nearer end',
    )
    // The colour type of PNG: 0 is grey.
    expect((await readFile(out))[25]).toBe(0)
  })

  test.each(['submit', 'results'])('%s --out writes .f32, .npy, .csv and .png', async (command) => {
    for (const extension of ['f32', 'npy', 'csv', 'png']) {
      const out = join(folder, `${command}.${extension}`)
      const run =
        command === 'submit'
          ? await submit(grid, ['--out', out], { running: receiver().backend })
          : await results(gridJob(), '--out', out)
      expect(run).toMatchObject({ code: 0, out: '' })
      expect(run.err).toContain(`mesh: ${out}: 3 x 2, `)
      const bytes = await readFile(out)
      const f32 = Buffer.from(Float32Array.of(0, 1, 2, 10, 11, 12).buffer)
      if (extension === 'f32') expect(bytes).toEqual(f32)
      if (extension === 'npy') {
        expect(bytes.subarray(0, 6).toString('latin1')).toBe('\x93NUMPY')
        expect(bytes.subarray(10, 128).toString()).toContain("'shape': (2, 3)")
        expect(bytes.subarray(128)).toEqual(f32)
      }
      if (extension === 'csv') expect(bytes.toString()).toBe('0,1,2\n10,11,12\n')
      if (extension === 'png') {
        expect(bytes.subarray(1, 4).toString()).toBe('PNG')
        expect([bytes.readUInt32BE(16), bytes.readUInt32BE(20)]).toEqual([3, 2])
        expect(run.err).toContain('0 is darkest, 12 brightest (viridis)')
      }
    }
  })

  test('--json: the numbers, x fastest; with --out where they are', async () => {
    const run = await submit(grid, ['--json'], { running: receiver().backend })
    expect(run).toMatchObject({ code: 0, err: '' })
    expect(JSON.parse(run.out)).toMatchObject({
      job: JOB_ID,
      array: { size: [3, 2], data: [0, 1, 2, 10, 11, 12] },
      numbers: { least: 0, greatest: 12, mean: 6, nan: 0, infinite: 0 },
      devices: [],
      state: 'finished',
      items: 2,
      failed: 0,
      seconds: 10,
    })
    const out = join(folder, 'json.npy')
    const file = JSON.parse((await results(gridJob(), '--json', '--out', out)).out)
    expect(file).toMatchObject({ job: JOB_ID, out, format: 'npy', sizeBytes: 152, output: [3, 2] })
    expect(file).not.toHaveProperty('array')
  })

  test('items that failed are NaN; exit 1', async () => {
    const job = gridJob({ failed: 1 })
    const failed = {
      ...job,
      spans: [job.spans![0]!, { lo: 1, values: [null], failures: [failure(0)] }],
    }
    const out = join(folder, 'failed.f32')
    const run = await results(failed, '--out', out)
    expect(run.code).toBe(1)
    expect(run.err).toContain('mesh: item 1 failed: no memory\n')
    const bytes = await readFile(out)
    expect([...new Float32Array(bytes.buffer, bytes.byteOffset, 6)]).toEqual([
      0,
      1,
      2,
      NaN,
      NaN,
      NaN,
    ])
    const words = await results(failed)
    expect(words.out).toContain('  mean      1\n  failed    1 row\n')
  })

  test('--no-wait: what is there, the rest NaN; exit 3', async () => {
    const half = {
      ...gridJob({ state: 'running', done: 1, finishedAt: null }),
      spans: [{ lo: 1, values: [Float32Array.of(7, 8, 9)] }],
    }
    const out = join(folder, 'half.f32')
    const run = await results(half, '--no-wait', '--out', out)
    expect(run.code).toBe(3)
    expect(run.err).toContain('mesh: 1 of 2 rows are there; the others are NaN\n')
    const bytes = await readFile(out)
    expect([...new Float32Array(bytes.buffer, bytes.byteOffset, 6)]).toEqual([
      NaN,
      NaN,
      NaN,
      7,
      8,
      9,
    ])
    expect((await results(half, '--no-wait')).out).toContain('  missing   1 row\n')
  })

  test('a job that was broken off leaves an older file as it is', async () => {
    const out = join(folder, 'old.npy')
    await writeFile(out, 'old')
    const cancelled = gridJob({ state: 'cancelled', done: 1 })
    const run = await results({ ...cancelled, spans: [cancelled.spans![0]!] }, '--out', out)
    expect(run.code).toBe(1)
    expect(run.err).toContain('was cancelled')
    expect(run.err).toContain(`mesh: ${out} is not written\n`)
    const nothing = gridJob({ failed: 2 })
    const spans = [{ lo: 0, values: [null, null], failures: [failure(0), failure(1)] }]
    expect((await results({ ...nothing, spans }, '--out', out)).err).toContain('is not written')
    expect(await readFile(out, 'utf8')).toBe('old')
  })

  test('rows that are none are a fault of a peer, not of the machine', async () => {
    const run = await results({
      ...gridJob(),
      spans: [{ lo: 0, values: [Float32Array.of(1), 'x'] }],
    })
    expect(run).toMatchObject({ code: 1, out: '' })
    expect(run.err).toContain("the result of item 0 is no row of the kernel's output")
    const shape = await results(gridJob({ items: 3 }))
    expect(shape).toMatchObject({ code: 1, out: '' })
    expect(shape.err).toContain('the job has 3 items, which are not the rows of 3 x 2 numbers')
  })
})

test('Ctrl-C: no file, and how to come back', async () => {
  let interrupt: (signal: StopSignal) => void = () => {}
  const { info } = gridJob({ state: 'running', done: 1, finishedAt: null })
  const backend = fakeBackend([{ info, spans: [{ lo: 0, values: [Float32Array.of(1, 2, 3)] }] }])
  const { results: spans } = backend
  backend.results = async function* (job, options) {
    yield* spans(job, options)
    const aborted = new Promise<void>((resolve) => {
      options.signal?.addEventListener('abort', () => resolve())
    })
    interrupt('SIGINT')
    await aborted
  }
  const out = join(folder, 'interrupted.npy')
  const world = {
    running: backend,
    signals: (send: (signal: StopSignal) => void) => {
      interrupt = send
    },
  }
  const run = await mesh(['results', 'last', '--data', folder, '--out', out], world)
  expect(run).toMatchObject({ code: 130, out: '' })
  expect(run.err).toBe(
    `mesh: job ab12ab12 goes on without this command; come back with: mesh results ab12ab12 --data ${folder}\n` +
      `mesh: or end it: mesh cancel ab12ab12 --data ${folder}\n`,
  )
  await expect(readFile(out)).rejects.toMatchObject({ code: 'ENOENT' })
})

test("when another command's peer ends first, this one reads on, and tells each failure once", async () => {
  const info = gridJob({ failed: 1, items: 3, done: 3, output: [1, 3] }).info
  const begin = { lo: 0, values: [null, Float32Array.of(5)], failures: [failure(0)] }
  const ending = fakeBackend([{ info, spans: [begin] }], {
    status: async () => meshStatus({ embedded: true }),
    job: async () => {
      if (gone) throw new MeshError('ERR_MESH_STOPPED', 'gone')
      gone = true
      return info
    },
  })
  let gone = false
  const all = {
    lo: 0,
    values: [null, Float32Array.of(5), Float32Array.of(6)],
    failures: [failure(0)],
  }
  const world = {
    get running() {
      return gone ? undefined : ending
    },
    embedded: fakeBackend([{ info, spans: [all] }]),
  }
  const run = await mesh(['results', 'last', '--data', folder], world)
  expect(run.code).toBe(1)
  expect(run.err.match(/item 0 failed/g)).toHaveLength(1)
  expect(run.out).toMatch(/\n {2}mean {6}5\.5\n {2}failed {4}1 row\n/)
})

test('the devices that computed it', async () => {
  const bytes = Buffer.concat([
    encodeF32Segment(1, Buffer.from(Float32Array.of(0, 1, 2).buffer), 'webgpu nvidia'),
    encodeF32Segment(1, Buffer.from(Float32Array.of(3, 4, 5).buffer), 'webasm\u001b[2J'),
  ])
  const backend = fakeBackend([gridJob()])
  backend.results = async function* () {
    yield { lo: 0, hi: 2, originLo: 0, bytes }
  }
  const run = await mesh(['results', 'last', '--data', folder], { running: backend })
  expect(run.out).toContain('\n  on        webasm, webgpu nvidia\n')
  const json = await mesh(['results', 'last', '--json', '--data', folder], { running: backend })
  expect(JSON.parse(json.out)).toMatchObject({
    array: { data: [0, 1, 2, 3, 4, 5] },
    devices: ['webasm\u001b[2J', 'webgpu nvidia'],
  })
})

test('progress counts rows, and says what a job waits for', () => {
  const { info } = gridJob({
    state: 'running',
    done: 1,
    peersAtWork: 0,
    waitsFor: 'a peer with a GPU',
  })
  expect(plainLine(info)).toBe('grid: 1/2 rows (50 %), 48.2k/s, waiting for a peer with a GPU')
})

describe('what is refused, before any peer is started or asked', () => {
  const big = () => kernelFile('big', 'return 1', '[101, 100]')
  const cases: [string, () => Promise<string> | string, string[], RegExp][] = [
    [
      '--range',
      () => grid,
      ['--range', '0..3'],
      /^mesh: --range is not for a kernel: the output of "grid"/,
    ],
    ['a pipe', () => grid, ['-'], /^mesh: - \(a pipe\) is not for a kernel/],
    [
      'a file that is no array',
      () => grid,
      ['--out', 'x.ndjson'],
      /^mesh: x\.ndjson ends in \.ndjson: an array is written as/,
    ],
    ['stdout', () => grid, ['--out', '-'], /^mesh: the array of a kernel goes to a file/],
    [
      'a picture of one axis',
      () => scale,
      ['--out', 'x.png'],
      /it has one axis; a picture has two/,
    ],
    [
      'too many numbers',
      big,
      ['--json'],
      /^--json prints at most 10000 numbers, and the output has 101 x 100/,
    ],
    [
      'options of workers',
      () => grid,
      ['--memory', '100', '--retries', '1'],
      /^mesh: --memory and --retries: only tasks have workers/,
    ],
    [
      'args that are no list',
      () => scale,
      ['--args', '{"a":1}'],
      /--args of the kernel "scale" must be a list/,
    ],
    ['too few args', () => scale, ['--args', '[[1,2]]'], /the kernel "scale"/],
    [
      'args that are no numbers',
      () => scale,
      ['--args', '[["x"],1]'],
      /args\[0\] of the kernel "scale"/,
    ],
    [
      'an array for a task',
      () => task,
      ['--range', '0..3', '--out', 'x.png'],
      /--out x\.png is a file for the array of a kernel/,
    ],
    [
      'a kernel that cannot run',
      () => kernelFile('bad', 'return Math.random()', '[4]'),
      [],
      /^mesh: the kernel "bad", \S+bad\.ts:5:12: Math\.random/,
    ],
    ['no items for a task', () => task, [], /^mesh: no items: give one of --range/],
  ]
  test.each(cases)('%s', async (_, file, flags, message) => {
    const run = await submit(await file(), flags, {})
    const said = flags.includes('--json') ? JSON.parse(run.out).error.message : run.err
    expect(said).toMatch(message)
    expect(run).toMatchObject({ code: 2, started: [] })
  })

  test('a file that fails when it is run says why, not that items are missing', async () => {
    const path = join(folder, 'fails.ts')
    await writeFile(
      path,
      "import { defineKernel } from 'meshwork'\nif (Date.now() > 0) throw new Error('no photograph')\nexport default defineKernel({ name: 'x', kernel() { return 1 }, output: [4] })\n",
    )
    const run = await submit(path, [], {})
    expect(run.err).toMatch(/^mesh: .*no photograph/)
    expect(run).toMatchObject({ code: 2, started: [] })
  })

  test('results: the wrong file for the job', async () => {
    const values = await results(
      { info: finished({ items: 1, done: 1 }), spans: [{ lo: 0, values: [1] }] },
      '--out',
      join(folder, 'v.npy'),
    )
    expect(values).toMatchObject({ code: 2, out: '' })
    expect(values.err).toContain(
      "this job's results are values, one a line: write --out FILE.ndjson",
    )
    const array = await results(gridJob(), '--out', join(folder, 'a.txt'))
    expect(array.code).toBe(2)
    expect(array.err).toContain('a.txt ends in .txt')
  })
})

test('a kernel that needs a GPU says that it waits, until a peer has told of one', async () => {
  const needs = await kernelFile('needs', 'return 1', '[3, 2]', '', ["requires: 'gpu'"])
  const without = receiver()
  const run = await submit(needs, [], { running: without.backend })
  expect(without.requests[0]!.task).toMatchObject({ requiresGpu: true })
  expect(run.err).toContain(
    'mesh: the kernel needs a GPU, and no peer has told of one yet; the job starts when one does',
  )
  expect(run.err).toContain('mesh: mesh join mesh1ticket\n')
  const { backend } = receiver()
  backend.peers = async () => [
    peerInfo(),
    peerInfo({ id: '7'.repeat(64), self: false, gpu: HARDWARE }),
  ]
  expect((await submit(needs, [], { running: backend })).err).not.toContain('needs a GPU')
})

test("a file that gives another one's kernel on is told that a range is not for it", async () => {
  const path = join(folder, 'again.ts')
  await writeFile(path, "export { default } from './grid.ts'\n")
  const ranged = await submit(path, ['--range', '0..3'], { running: receiver().backend })
  expect(ranged.code).toBe(2)
  expect(ranged.err).toMatch(/^mesh: --range is not for a kernel: the output of "grid"/)
  const { backend, requests } = receiver()
  expect((await submit(path, ['--quiet'], { running: backend })).code).toBe(0)
  expect(requests[0]!.task).toMatchObject({ kind: 'kernel', name: 'grid' })
})
