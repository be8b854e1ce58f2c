import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { adviseNoGpu, type GpuFacts, gatherGpuFacts } from '../../../src/gpu/advice.ts'
import { adaptersIn, describeInfo, wantedDevice } from '../../../src/gpu/boot.ts'
import { judge, probeGpu } from '../../../src/gpu/probe.ts'
import type { GpuJs } from '../../../src/gpu/worker/gpujs.ts'
import { tryKnownAnswers } from '../../../src/gpu/worker/known-answers.ts'
import { SWIFTSHADER, useSwiftShader } from './swiftshader.ts'

describe('the probe', () => {
  it('comes back with a reason and advice where there is no such GPU', async () => {
    const found = await probeGpu({ device: 'a device that nobody has' })
    expect(found.state).toBe('none')
    expect(found.reason).not.toBe('')
    expect(found.advice.length).toBeGreaterThan(0)
    expect(found.gflops).toBe(0)
  })

  it('comes back in time from a driver that hangs', async () => {
    const found = await probeGpu({ timeLimitMs: 1 })
    expect(found).toMatchObject({ state: 'none', reason: expect.stringContaining('no answer') })
  })

  it('comes back when it is stopped', async () => {
    const stop = new AbortController()
    const probing = probeGpu({ signal: stop.signal })
    stop.abort()
    expect(await probing).toMatchObject({ state: 'none' })
    expect(await probeGpu({ signal: stop.signal })).toMatchObject({ state: 'none' })
  })

  it('takes no device that computes wrong', () => {
    const probed = {
      ...{ name: 'GPU', deviceClass: 'c', software: false, adapters: ['vulkan:GPU'] },
      ...{ gflops: 0, upMBs: 0, downMBs: 0, maxBufferBytes: 1, maxStorageBuffers: 8 },
    }
    const wrong = judge({ kind: 'probed', probed: { ...probed, wrong: 'it computes wrong: sums' } })
    expect(wrong).toMatchObject({ state: 'none', reason: 'it computes wrong: sums', name: 'GPU' })
    expect(wrong.advice).toHaveLength(1)
    expect(judge({ kind: 'probed', probed: { ...probed, wrong: '' } }).state).toBe('hardware')
  })
})

describe.skipIf(SWIFTSHADER === undefined)('the probe of a software adapter', () => {
  let restore = (): void => {}
  beforeAll(() => {
    restore = useSwiftShader(SWIFTSHADER!)
  })
  afterAll(() => restore())

  it('finds it, and measures', async () => {
    const found = await probeGpu()
    expect(found).toMatchObject({ state: 'software', reason: '', advice: [] })
    expect(found.deviceClass).toMatch(/swiftshader/)
    expect(found.adapters).toContain(`vulkan:${found.name}`)
    expect(found.gflops).toBeGreaterThan(0.01)
    expect(found.upMBs).toBeGreaterThan(1)
    expect(found.downMBs).toBeGreaterThan(1)
    expect(found.maxBufferBytes).toBeGreaterThan(2 ** 26)
    expect(found.maxStorageBuffers).toBeGreaterThanOrEqual(8)
  })

  it('says which there are when it has another name', async () => {
    const { reason, advice } = await probeGpu({ device: 'Voodoo' })
    expect(reason).toMatch(/no GPU is called "Voodoo"; there is vulkan:SwiftShader/)
    expect(advice[0]).toMatch(/--gpu-device one of: vulkan:SwiftShader/)
  })
})

describe('known answers', () => {
  it('tell a device that is off by one', async () => {
    const kernel = Object.assign(async () => [new Float32Array(67).fill(1)], {
      kernel: { constructor: { mode: 'webgpu' }, componentCount: 1, build: () => {} },
      setOutput: () => {},
      destroy: () => {},
    })
    const gpu: GpuJs = { createKernel: () => kernel }
    expect(await tryKnownAnswers(gpu)).toMatch(/^it computes wrong: .* \d+ of 4489 results$/)
  })
})

describe('adapters', () => {
  it('are read from what Dawn says of those it has', () => {
    const message =
      "no suitable backends found\nAvailable adapters:\n * backend: 'vulkan', name: 'A (1)'\n * backend: 'opengles', name: 'B'\n"
    expect(adaptersIn(message)).toEqual(['vulkan:A (1)', 'opengles:B'])
    expect(adaptersIn('something else')).toEqual([])
  })

  it('are chosen by backend and name', () => {
    expect(wantedDevice(undefined)).toEqual({ backend: undefined, name: undefined })
    expect(wantedDevice('H200')).toEqual({ backend: undefined, name: 'H200' })
    expect(wantedDevice('vulkan:NVIDIA H200')).toEqual({ backend: 'vulkan', name: 'NVIDIA H200' })
    expect(wantedDevice('Vulkan')).toEqual({ backend: 'vulkan', name: undefined })
    expect(wantedDevice('AMD: the one')).toEqual({ backend: undefined, name: 'AMD: the one' })
  })

  const info = {
    vendor: '',
    architecture: '',
    device: '',
    description: '',
    isFallbackAdapter: false,
  }
  it.each([
    [{ vendor: 'mesa', architecture: 'software', description: 'llvmpipe' }, true],
    [{ vendor: 'google', architecture: 'swiftshader' }, true],
    [{ device: 'llvmpipe (LLVM 15.0.6, 256 bits)' }, true],
    [{ device: 'Microsoft Basic Render Driver' }, true],
    [{ vendor: 'nvidia', architecture: 'hopper', device: 'nvidia-h200' }, false],
    [{ vendor: 'intel', architecture: 'gen-12lp', device: 'warpdrive' }, false],
    [{ vendor: 'x', isFallbackAdapter: true }, true],
  ])('%o: software is %s', (words, software) => {
    expect(describeInfo({ ...info, ...words }, []).software).toBe(software)
  })

  it('have a class of vendor, architecture and driver, and the name that lists them', () => {
    const words = { vendor: 'nvidia', architecture: 'hopper', device: 'nvidia-h200' }
    const adapter = { ...info, ...words, description: 'NVIDIA: 570.86.15' }
    expect(describeInfo(adapter, ['opengles:other', 'vulkan:NVIDIA H200'])).toEqual({
      name: 'NVIDIA H200',
      deviceClass: 'nvidia / hopper / NVIDIA: 570.86.15',
      software: false,
    })
    expect(describeInfo(adapter, []).name).toBe('nvidia-h200')
  })
})

describe('advice', () => {
  const facts: GpuFacts = {
    platform: 'linux-x64',
    glibc: '2.36',
    cards: ['NVIDIA'],
    vulkanLoader: true,
    drivers: ['/etc/vulkan/icd.d/nvidia_icd.json'],
    hiddenDrivers: [],
    egl: true,
    renderNodes: 'open',
    nvidiaModule: true,
  }
  const adviceOf = (changed: Partial<GpuFacts>) =>
    adviseNoGpu({ kind: 'noAdapter' }, { ...facts, ...changed }, []).join('\n')

  it.each<[string, Partial<GpuFacts>, RegExp]>([
    ['no card', { cards: [], renderNodes: 'none', nvidiaModule: false }, /no graphics card/],
    ['no loader', { vulkanLoader: false }, /^install the Vulkan loader.*libvulkan1/],
    ['no permission', { renderNodes: 'forbidden' }, /usermod -aG render,video/],
    ['no driver for NVIDIA', { nvidiaModule: false, drivers: [] }, /install NVIDIA's driver/],
    ['no ICD of NVIDIA', { drivers: [] }, /VK_DRIVER_FILES=/],
    [
      'an ICD elsewhere',
      { drivers: [], hiddenDrivers: ['/a/b.json'] },
      /VK_DRIVER_FILES=\/a\/b.json/,
    ],
    ['no EGL for NVIDIA', { egl: false }, /libegl1 libglvnd0/],
    ['no ICD of Mesa', { cards: ['AMD'], nvidiaModule: false, drivers: [] }, /mesa-vulkan-drivers/],
    ['all there', {}, /update them/],
    ['a Mac', { platform: 'darwin-arm64' }, /newest driver/],
  ])('%s', (_, changed, expected) => {
    expect(adviceOf(changed)).toMatch(expected)
  })

  it.each<[string, string, Partial<GpuFacts>, RegExp]>([
    [
      'an old glibc',
      "version `GLIBC_2.34' not found",
      { glibc: '2.31' },
      /glibc 2\.34.*glibc 2\.31/,
    ],
    ['musl', 'Error relocating', { glibc: undefined }, /image based on Debian/],
    ['a platform without it', 'Cannot find module', { platform: 'freebsd-x64' }, /freebsd-x64/],
    ['a package that is missing', "Cannot find package 'webgpu'", {}, /npm install/],
  ])('the library does not load: %s', (_, message, changed, expected) => {
    const why = { kind: 'library', message } as const
    expect(adviseNoGpu(why, { ...facts, ...changed }, []).join('\n')).toMatch(expected)
  })

  it('looks at this machine', () => {
    expect(gatherGpuFacts().platform).toBe(`${process.platform}-${process.arch}`)
  })
})
