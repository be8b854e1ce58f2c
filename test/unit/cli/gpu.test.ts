/** What the command line says of GPUs, and takes. */
import { expect, test } from 'vitest'
import { gpuText, gpuTransferText } from '../../../cli/lib/gpu.ts'
import { MeshError } from '../../../src/base/errors.ts'
import { fakeBackend, HARDWARE, jobInfo, mesh, meshStatus, peerInfo } from './helpers.ts'

const SOFTWARE = {
  ...HARDWARE,
  name: 'SwiftShader\u001b[2J',
  state: 'software',
  gflops: 0.93,
} as const

/** Runs `mesh join` until it has looked `looks` times, then interrupts it. */
async function joined(argv: string[], embedded = fakeBackend(), looks = 1) {
  let interrupt: () => void = () => {}
  const { jobs } = embedded
  let left = looks
  embedded.jobs = async () => {
    if (left-- === 0) setImmediate(interrupt)
    return await jobs()
  }
  const signals = (send: (signal: 'SIGINT') => void): void => {
    interrupt = () => send('SIGINT')
  }
  return await mesh(['join', ...argv], { embedded, signals })
}

test.each([
  [['--gpu', 'auto'], { mode: 'auto' }],
  [['--gpu', 'off'], { mode: 'off' }],
  [['--gpu', 'require'], { mode: 'require' }],
  [['--gpu-device', ' vulkan:H200 '], { mode: 'auto', device: 'vulkan:H200' }],
  [['--gpu', 'require', '--gpu-device', 'H200'], { mode: 'require', device: 'H200' }],
])('join %j', async (flags, gpu) => {
  expect((await joined(flags)).started).toMatchObject([{ gpu }])
})

test('without either, the peer has its own default', async () => {
  expect((await joined([])).started[0]).not.toHaveProperty('gpu')
})

test('join --gpu require on a machine without one: why, exit 1', async () => {
  const run = await mesh(['join', '--gpu', 'require'], {
    get embedded(): never {
      throw new MeshError('ERR_MESH_NO_GPU', 'this machine has no GPU to compute on: no driver')
    },
  })
  expect(run).toMatchObject({ code: 1, out: '' })
  expect(run.err).toBe('mesh: this machine has no GPU to compute on: no driver\n')
})

test('join tells the GPU when the probe has found it, once', async () => {
  let asked = 0
  const status = async () => {
    asked += 1
    // Asked for the welcome, and once before the probe has ended.
    return meshStatus({ peer: peerInfo({ gpu: asked > 2 ? HARDWARE : null }) })
  }
  const run = await joined([], fakeBackend([], { status }), 3)
  expect(run.out).not.toContain('  gpu ')
  expect(run.out.match(/^\S+ ~ this peer has a GPU: NVIDIA H200, 51\.2 TFLOP\/s$/gm)).toHaveLength(
    1,
  )
})

test('join: a GPU that is known at once is part of the welcome', async () => {
  const status = async () => meshStatus({ peer: peerInfo({ gpu: HARDWARE }) })
  const run = await joined([], fakeBackend([], { status }))
  expect(run.out).toMatch(/^ {2}gpu {6}NVIDIA H200, 51\.2 TFLOP\/s$/m)
  expect(run.out).not.toContain('this peer has a GPU')
  const left = Object.assign(fakeBackend([], { status }), { left: Promise.resolve() })
  const json = await mesh(['join', '--json'], { embedded: left })
  expect(JSON.parse(json.out).gpu).toEqual(HARDWARE)
})

test('join tells what the peer warns of, once', async () => {
  let asked = 0
  const status = async () => {
    asked += 1
    return meshStatus({ warnings: asked > 2 ? ['no GPU is used here: none is called x'] : [] })
  }
  const run = await joined(['--gpu-device', 'x'], fakeBackend([], { status }), 4)
  expect(run.out.match(/^\S+ ! no GPU is used here: none is called x$/gm)).toHaveLength(1)
})

test('status and peers show it', async () => {
  const gifted = peerInfo({ gpu: HARDWARE })
  const slow = peerInfo({ id: '7'.repeat(64), name: 'tower', self: false, gpu: SOFTWARE })
  const running = fakeBackend([], {
    status: async () => meshStatus({ peer: gifted }),
    peers: async () => [gifted, slow],
  })
  const status = await mesh(['status'], { running })
  expect(status.out).toMatch(
    /^ {2}gpu {9}NVIDIA H200, 51\.2 TFLOP\/s; up 11\.8 GB\/s, down 9\.24 GB\/s$/m,
  )
  const [title, first, second] = (await mesh(['peers'], { running })).out.split('\n')
  const at = title!.indexOf('GPU')
  expect(first!.slice(at)).toMatch(/^NVIDIA H200, 51\.2 TFLOP\/s +12 GiB/)
  expect(second!.slice(at)).toMatch(/^SwiftShader \(software\), 930 MFLOP\/s +12 GiB/)
})

test('the text of a GPU', () => {
  expect(gpuText({ ...HARDWARE, gflops: 33 }, 32)).toBe('NVIDIA H200, 33 GFLOP/s')
  expect(gpuText({ ...HARDWARE, name: 'x'.repeat(40), gflops: 0 }, 8)).toBe('xxxxxxx…, 0 FLOP/s')
  expect(gpuTransferText({ ...HARDWARE, upMBs: 0.5, downMBs: 999 })).toBe(
    'up 500 kB/s, down 999 MB/s',
  )
})

test('mesh job of a kernel: its output, and how to write it', async () => {
  const info = jobInfo({ state: 'finished', items: 200, done: 200, output: [300, 200] })
  const running = fakeBackend([{ info }])
  const world = { running, defaultDataDir: import.meta.dirname }
  const { out } = await mesh(['job', 'last'], world)
  expect(out).toContain('  output     300 x 200 numbers of a kernel; an item is a row\n')
  expect(out).not.toContain('  input')
  expect(out).toContain('\nmesh results ab12ab12 --out FILE.png\n')
  const flat = fakeBackend([{ info: { ...info, output: [200] } }])
  const { out: text } = await mesh(['job', 'last'], { ...world, running: flat })
  expect(text).toContain('  output     200 numbers of a kernel; an item is one of them\n')
  expect(text).toContain('--out FILE.npy\n')
})
