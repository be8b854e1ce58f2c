import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createKernelProcess } from '../../../src/gpu/process.ts'
import { Bench, complianceOf, floats } from './compliance.ts'
import { SWIFTSHADER, useSwiftShader } from './swiftshader.ts'

describe.skipIf(SWIFTSHADER === undefined)(
  'kernels on a GPU (SwiftShader; skipped where @sparticuz/chromium is not installed)',
  () => {
    let restore = (): void => {}
    beforeAll(() => {
      restore = useSwiftShader(SWIFTSHADER!)
    })
    afterAll(() => restore())

    complianceOf({ backend: 'webgpu' }, { deviceClass: /swiftshader/, tolerance: 0.02 })

    it('takes as many arrays as the device has room for, and says how many those are', async () => {
      const bench = new Bench()
      const gpu = createKernelProcess({ backend: 'webgpu', device: 'vulkan:SwiftShader' })
      const sumOf = (count: number) => {
        const names = Array.from({ length: count }, (_, i) => `a${i}`)
        const terms = names.map((name) => `${name}[this.thread.x]`)
        return bench.given({
          name: 'many-arrays',
          kernel: `function (${names.join(', ')}) { return ${terms.join(' + ')}; }`,
          output: [3],
          args: names.map((_, i) => ({ data: Float32Array.of(i, 10 + i, 20 + i), size: [3] })),
        })
      }
      try {
        // SwiftShader has 12 buffers, and the output takes one.
        const { bytes } = await gpu.launch(sumOf(11))
        expect([...floats(bytes)]).toEqual([55, 165, 275])
        await expect(gpu.launch(sumOf(12))).rejects.toMatchObject({
          code: 'ERR_MESH_KERNEL_FAILED',
          message: expect.stringContaining('takes 12 arrays, and this device 11 at most'),
        })
      } finally {
        await gpu.close()
        bench.remove()
      }
    })
  },
)
