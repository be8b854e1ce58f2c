/** A kernel is compiled once for all its numbers and arrays: each launch computes with its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sha256Hex } from '../../../src/base/bytes.ts'
import { encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import { createKernelProcess } from '../../../src/gpu/process.ts'
import type { KernelProcess } from '../../../src/gpu/types.ts'
import { bytesOf, hashOf, specOf } from './kernels.ts'
import { SWIFTSHADER, useSwiftShader } from './swiftshader.ts'

const N = 64
const data = (seed: number): Float32Array =>
  Float32Array.from({ length: N }, (_, i) => (i * seed) % 17)

describe.each(['webasm', 'webgpu'] as const)('on %s', (backend) => {
  const skip = backend === 'webgpu' && SWIFTSHADER === undefined
  let folder: string
  let restore = (): void => {}
  let process: KernelProcess

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'mesh-warm-'))
    if (backend === 'webgpu' && !skip) restore = useSwiftShader(SWIFTSHADER!)
    process = createKernelProcess({
      backend,
      ...(backend === 'webgpu' && { device: 'SwiftShader' }),
    })
  })
  afterAll(async () => {
    await process.close()
    restore()
    rmSync(folder, { recursive: true, force: true })
  })

  async function launch(
    shared: Float32Array,
    own: Float32Array,
    by: number,
  ): Promise<Float32Array> {
    const { spec, arrays } = specOf({
      name: 'warm',
      kernel: 'function (a, b, by) { return a[63 - this.thread.x] * by + b[this.thread.x]; }',
      output: [N],
      args: [{ data: shared, size: [N] }, { data: own, size: [N], perItem: true }, by],
    })
    const files: Record<string, string> = {}
    for (const array of arrays) {
      const path = join(folder, hashOf(array))
      writeFileSync(path, bytesOf(array))
      files[hashOf(array)] = path
    }
    const key = sha256Hex(encodeKernelSpec(spec))
    const { bytes } = await process.launch({ spec, key, lo: 0, hi: N, files })
    return new Float32Array(bytes.slice().buffer)
  }

  it.skipIf(skip)('each launch has its own', async () => {
    for (const [shared, own, by] of [
      [3, 5, 2],
      [4, 5, 2],
      [4, 6, 2],
      [4, 6, 7],
      [3, 5, 2],
    ] as const) {
      const [a, b] = [data(shared), data(own)]
      const expected = Float32Array.from({ length: N }, (_, x) => a[N - 1 - x]! * by + b[x]!)
      expect(await launch(a, b, by)).toEqual(expected)
    }
  })
})
