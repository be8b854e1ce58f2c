import { expect, onTestFinished, test, vi } from 'vitest'
import { silentLogger } from '../../../src/base/logger.ts'
import { ChosenGpu } from '../../../src/gpu/chosen-gpu.ts'
import { defineKernel } from '../../../src/gpu/define-kernel.ts'
import { kernelSpec } from '../../../src/gpu/kernel-spec.ts'
import { howItEnded } from '../../../src/gpu/last-words.ts'
import { lengthFault } from '../../../src/gpu/output-length.ts'
import { judge } from '../../../src/gpu/probe.ts'

const NO_GPU = judge({ kind: 'noGpu', message: { why: { kind: 'noAdapter' }, adapters: [] } })

const CRASH = `node:internal/modules/cjs/loader:1228
  throw err;
  ^

Error: Cannot find module 'gpu.js'
Require stack:
- /app/dist/src/gpu/worker/gpujs.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15) {
  code: 'MODULE_NOT_FOUND'
}

Node.js v20.19.0
`

test.each([
  [1, null, '', 'it ended with code 1'],
  [null, 'SIGKILL', '', 'it was ended by SIGKILL'],
  [134, null, 'libGL: x\nno device\n\n', 'it ended with code 134; its last words: no device'],
  [1, null, CRASH, "it ended with code 1; its last words: Error: Cannot find module 'gpu.js'"],
] as const)('an end with code %s, signal %s: its reason is told', (code, signal, stderr, told) => {
  expect(howItEnded(code, signal, stderr)).toBe(told)
})

test('gpu.js that does not load is no missing GPU: nothing runs', () => {
  const why = { kind: 'compiler', message: "Cannot find module 'gpu.js'\nRequire stack:" } as const
  expect(judge({ kind: 'noGpu', message: { why, adapters: [] } })).toMatchObject({
    state: 'none',
    broken: true,
    reason: "gpu.js, which compiles kernels, does not load: Cannot find module 'gpu.js'",
    advice: [expect.stringContaining('npm install')],
  })
})

test.each([
  [
    'one that was named and is not there',
    { adapters: ['vulkan:Y'], reason: 'none is X' },
    'X',
    true,
  ],
  [
    'one that computes wrong',
    { adapters: ['vulkan:Y'], reason: 'it computes wrong' },
    undefined,
    true,
  ],
  ['gpu.js that does not load', { broken: true, reason: 'gpu.js' }, undefined, true],
  ['none', { reason: 'no driver' }, undefined, false],
  [
    'a software adapter that nobody named',
    { state: 'software', adapters: ['y'] },
    undefined,
    false,
  ],
  ['a software adapter that was named', { state: 'software', adapters: ['y'] }, 'y', false],
  ['hardware', { state: 'hardware', adapters: ['y'] }, undefined, false],
] as const)('a peer warns of a GPU that it cannot use: %s', async (_, change, device, warns) => {
  const gpu = new ChosenGpu({ mode: 'auto', device }, silentLogger, async () => ({
    ...NO_GPU,
    ...change,
  }))
  // Without a driver no process is asked.
  vi.spyOn(process, 'platform', 'get').mockReturnValue('darwin')
  onTestFinished(() => void vi.restoreAllMocks())
  expect(gpu.unused).toBeUndefined()
  await gpu.look()
  expect(gpu.unused !== undefined).toBe(warns)
  if (warns) expect(gpu.unused).toBe(change.reason)
})

test.each([
  [[6], 2, 5, 12],
  [[4, 3], 0, 2, 32],
  [[4, 3, 2], 1, 6, 80],
] as const)('output of %j, items %i to %i: %i bytes and no other', (output, lo, hi, bytes) => {
  const kernel = defineKernel({
    name: 'k',
    kernel() {
      return 1
    },
    output,
  })
  const launch = { spec: kernelSpec(kernel).spec, key: '', lo, hi, files: {} }
  expect(lengthFault(new Uint8Array(bytes), launch)).toBeUndefined()
  for (const wrong of [0, bytes - 4, bytes + 4]) {
    expect(lengthFault(new Uint8Array(wrong), launch)).toMatchObject({
      code: 'ERR_MESH_KERNEL_FAILED',
      message: expect.stringContaining(`${wrong} bytes`),
    })
  }
})
