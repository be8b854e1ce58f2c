// Compiles kernels as gpu.js does for WebGPU, by Dawn without a device: its null back end checks shaders and computes nothing.
// Standard input: a list of { source, output, constants, argumentTypes, sizes, loopMaxIterations }; the last line of output: what
// does not compile, as a list of { source, message }.
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'

const require = createRequire(import.meta.url)
const { create, globals } = await import('webgpu')
Object.assign(globalThis, globals)
const navigator = { gpu: create(['backend=null']) }
Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true })
const { GPU, input } = require('gpu.js')
const gpu = new GPU({ mode: 'webgpu' })

const failures = []
for (const { source, sizes, ...settings } of JSON.parse(await text(process.stdin))) {
  const args = sizes.map((size) =>
    size === null ? 1 : input(new Float32Array(size.reduce((a, b) => a * b)), size),
  )
  try {
    const kernel = gpu.createKernel(source, { ...settings, precision: 'single' })
    await kernel.kernel.build(...args)
    kernel.destroy()
  } catch (error) {
    failures.push({ source, message: String(error.message).split('--- generated')[0] })
  }
}
process.stdout.write(`\n${JSON.stringify(failures)}\n`, () => process.exit(0))
