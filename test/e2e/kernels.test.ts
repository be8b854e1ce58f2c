/** Kernels through the real command: a file in, a picture out, on two joined peers. */
import { readFile } from 'node:fs/promises'
import { PNG } from 'pngjs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { viridis } from '../../src/client/colour-map.ts'
import { SWIFTSHADER, useSwiftShader } from '../unit/gpu/swiftshader.ts'
import { Bench, type Running } from './cli-helper.ts'

const WIDTH = 120
const HEIGHT = 90

let bench: Bench
let first: Running & { readonly ticket: string }
beforeAll(async () => {
  bench = await Bench.create()
  first = await bench.join('first', '--cores', '1', '--gpu', 'off')
  await bench.join('second', first.ticket, '--cores', '1', '--gpu', 'off')
  await first.saysOut(/\+ peer \w{8} second is here, lends 1 core/)
})
afterAll(async () => {
  await bench.dispose()
})

/** Submits from a third folder, which lends nothing. */
function submit(...argv: string[]) {
  const flags = [
    '--ticket',
    first.ticket,
    '--cores',
    '0',
    '--no-mdns',
    '--data',
    bench.path('third'),
  ]
  return bench.mesh(['submit', ...argv, ...flags])
}

function results(...argv: string[]) {
  return bench.mesh([
    'results',
    'last',
    ...argv,
    '--cores',
    '0',
    '--no-mdns',
    '--data',
    bench.path('third'),
  ])
}

/** A sum that takes a while, of whole numbers: exact in f32 in any order, and so the same on every device. */
async function ramp(): Promise<string> {
  return await bench.file(
    'ramp.ts',
    `import { defineKernel } from 'meshwork'

export default defineKernel({
  name: 'ramp',
  kernel: function (by: number[]) {
    let sum = 0
    for (let i = 0; i < 50000; i++) {
      sum = sum + by[i % 2]
    }
    return sum + this.thread.x + 1000 * this.thread.y
  },
  output: [${WIDTH}, ${HEIGHT}],
  args: [[0, 0]],
})
`,
  )
}

function expected(sum = 0): Float32Array {
  return Float32Array.from({ length: WIDTH * HEIGHT }, (_, at) => {
    const x = at % WIDTH
    return sum + x + (1000 * (at - x)) / WIDTH
  })
}

function f32(bytes: Buffer): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer)
}

describe('a kernel file on two peers', () => {
  test('--out picture.png: the picture, with both at work', async () => {
    const out = bench.path('picture.png')
    const run = await submit(await ramp(), '--out', out, '--chunk-size', '5', '--json')
    expect(run).toMatchObject({ code: 0, err: '' })
    const document = JSON.parse(run.out)
    expect(document).toMatchObject({
      out,
      format: 'png',
      items: HEIGHT,
      output: [WIDTH, HEIGHT],
      numbers: { least: 0, greatest: WIDTH - 1 + 1000 * (HEIGHT - 1), nan: 0, infinite: 0 },
      failed: 0,
    })
    expect(document.peers).toHaveLength(2)
    // One class of devices on one machine: the CPU.
    expect(document.devices).toEqual([expect.stringContaining('webasm')])
    const picture = PNG.sync.read(await readFile(out))
    expect([picture.width, picture.height]).toEqual([WIDTH, HEIGHT])
    // The least value is the darkest, the greatest the brightest: the ends of viridis.
    const colours = viridis(255)
    expect([...picture.data.subarray(0, 4)]).toEqual([...colours.subarray(0, 3), 255])
    expect([...picture.data.subarray(-4)]).toEqual([...colours.subarray(-3), 255])
  })

  test('the same job again as .npy and .f32, later, and in words', async () => {
    const npy = bench.path('data.npy')
    expect(await results('--out', npy, '--quiet')).toMatchObject({ code: 0, out: '', err: '' })
    const bytes = await readFile(npy)
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from('\x93NUMPY\x01\x00', 'latin1'))
    const header = 10 + bytes.readUInt16LE(8)
    expect(bytes.subarray(10, header).toString().trim()).toBe(
      `{'descr': '<f4', 'fortran_order': False, 'shape': (${HEIGHT}, ${WIDTH}), }`,
    )
    expect(f32(bytes.subarray(header))).toEqual(expected())
    const raw = bench.path('data.f32')
    expect((await results('--out', raw)).code).toBe(0)
    expect(f32(await readFile(raw))).toEqual(expected())
    const words = await results()
    expect(words.code).toBe(0)
    expect(words.out).toContain(`ramp: ${WIDTH} x ${HEIGHT} numbers\n  least     0\n`)
    expect(words.err).toContain('--out FILE.png')
  })

  test('--args in the place of its own', async () => {
    const out = bench.path('args.f32')
    const run = await submit(await ramp(), '--args', '[[1, 3]]', '--out', out)
    expect(run.code).toBe(0)
    expect(run.err).toMatch(/mesh: ramp: 90 rows in .* on [12] peers?\n/)
    expect(f32(await readFile(out))).toEqual(expected(100_000))
  })

  test('mesh job, and what join tells, speak of rows', async () => {
    const job = await bench.mesh(['job', 'last', '--data', bench.path('third')])
    expect(job.out).toContain(
      `  output     ${WIDTH} x ${HEIGHT} numbers of a kernel; an item is a row\n`,
    )
    await first.saysOut(/> job \w{8} ramp: 90 rows/)
    const peers = await bench.mesh(['peers', '--data', bench.path('first')])
    expect(peers.out).toMatch(/^PEER .* GPU /)
  })
})

describe.skipIf(SWIFTSHADER === undefined)('a peer with a GPU (SwiftShader from npm)', () => {
  let restore: () => void = () => {}
  beforeAll(() => {
    restore = useSwiftShader(SWIFTSHADER!)
  })
  afterAll(() => restore())

  test("requires: 'gpu' waits for it, and runs on it alone", async () => {
    const file = await bench.file(
      'needs.ts',
      `import { defineKernel } from 'meshwork'
export default defineKernel({
  name: 'needs',
  requires: 'gpu',
  kernel: function () {
    return 2 * this.thread.x
  },
  output: [64],
})
`,
    )
    const out = bench.path('needs.f32')
    const flags = ['--ticket', first.ticket, '--cores', '0', '--no-mdns', '--gpu', 'off']
    const waiting = bench.start([
      'submit',
      file,
      '--out',
      out,
      ...flags,
      '--data',
      bench.path('third'),
    ])
    await waiting.saysErr(/the kernel needs a GPU, and no peer has told of one yet/)
    const stands = await bench.mesh(['job', 'last', '--data', bench.path('third')])
    expect(stands.out).toContain('0/64  0/s  waiting for a peer with a GPU\n')
    // A software adapter is used, and advertised, only where it is named.
    const gifted = await bench.join(
      'gifted',
      first.ticket,
      '--cores',
      '1',
      '--gpu-device',
      'swiftshader',
    )
    await gifted.saysOut(/~ this peer has a GPU: .*SwiftShader.* \(software\), [\d.]+ [MG]FLOP\/s/)
    await first.saysOut(/peer \w{8} gifted (has a GPU: |is here.* GPU: ).*SwiftShader/)
    expect(await waiting.end).toMatchObject({ code: 0, out: '' })
    expect(f32(await readFile(out))).toEqual(Float32Array.from({ length: 64 }, (_, x) => 2 * x))
    const done = JSON.parse((await results('--json')).out)
    expect(done.devices).toEqual([expect.stringMatching(/swiftshader/i)])
    const peers = await bench.mesh(['peers', '--data', bench.path('gifted')])
    expect(peers.out).toMatch(/gifted .*SwiftShader.*\(software\), [\d.]+ [MG]FLOP\/s/)
    const status = await bench.mesh(['status', '--data', bench.path('gifted')])
    expect(status.out).toMatch(/^ {2}gpu .*SwiftShader.*; up [\d.]+ [kMG]B\/s, down/m)
  })

  test('--gpu require starts with one, and not without', async () => {
    const peer = await bench.join('must', '--gpu', 'require', '--gpu-device', 'swiftshader')
    expect(peer.out()).toMatch(/^ {2}gpu .*SwiftShader/m)
    peer.child.kill('SIGTERM')
    expect((await peer.end).code).toBe(0)
  })
})

describe('what goes wrong', () => {
  test('--gpu require where there is no such GPU: no peer, and why', async () => {
    const flags = ['--gpu', 'require', '--gpu-device', 'no such device', '--no-mdns', '--json']
    const run = await bench.mesh(['join', ...flags, '--data', bench.path('none')])
    expect(run).toMatchObject({ code: 1, err: '' })
    expect(JSON.parse(run.out).error).toMatchObject({
      code: 'ERR_MESH_NO_GPU',
      message: expect.stringMatching(/^this machine has no GPU to compute on: /),
    })
  })

  test('a file name that says no format; a range', async () => {
    const file = await ramp()
    const wrong = await submit(file, '--out', 'picture.jpg')
    expect(wrong).toMatchObject({ code: 2, out: '' })
    expect(wrong.err).toMatch(/^mesh: picture\.jpg ends in \.jpg: an array is written as \.png/)
    const range = await submit(file, '--range', '0..10')
    expect(range.code).toBe(2)
    expect(range.err).toMatch(/^mesh: --range is not for a kernel/)
  })

  test('a kernel that cannot run: where, and what to write instead; exit 2', async () => {
    const file = await bench.file(
      'bad.ts',
      "import { defineKernel } from 'meshwork'\n\nexport default defineKernel({\n  name: 'bad',\n  kernel: function () {\n    const a = 1\n    return a + Math.random()\n  },\n  output: [8],\n})\nconsole.log('loaded')\n",
    )
    const run = await submit(file, '--json')
    // What the file prints while it is loaded is no part of the one document.
    expect(run).toMatchObject({ code: 2, err: 'loaded\n' })
    const { error } = JSON.parse(run.out)
    expect(error.code).toBe('ERR_MESH_KERNEL_INVALID')
    expect(error.message).toMatch(`the kernel "bad", ${file}:7:16: Math.random would give`)
    expect(error.details).toEqual({ path: file, line: 7, column: 16 })
  })

  test('one that fails where it runs: the items and why; exit 1', async () => {
    const file = await bench.file(
      'slow.ts',
      `import { defineKernel } from 'meshwork'
export default defineKernel({
  name: 'slow',
  kernel: function () {
    let sum = 0
    for (let i = 0; i < 4000000; i++) {
      sum = sum + Math.sin(i + this.thread.x)
    }
    return sum
  },
  output: [2],
  loopMaxIterations: 4000000,
})
`,
    )
    const out = bench.path('slow.npy')
    const run = await submit(file, '--time-limit', '0.001', '--out', out)
    expect(run.code).toBe(1)
    expect(run.err).toMatch(/mesh: item 0 failed after \d attempts: /)
    expect(run.err).toContain(`mesh: ${out} is not written\n`)
  })
})
