import * as fc from 'fast-check'
import { decodeKernelSpec, encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import type { KernelArg, KernelSpec, Size } from '../../../src/gpu/types.ts'
import { type Decoder, decoder } from './decoder.ts'

const size = fc
  .array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 3 })
  .map((extents) => extents as unknown as Size)
const f32 = fc.float({ noNaN: true, noDefaultInfinity: true })
const arg: fc.Arbitrary<KernelArg> = fc.oneof(
  fc.record({ kind: fc.constant('number' as const), value: f32 }),
  fc.record({
    kind: fc.constant('array' as const),
    hash: fc
      .uint8Array({ minLength: 32, maxLength: 32 })
      .map((bytes) => Buffer.from(bytes).toString('hex')),
    size,
    perItem: fc.constant(false),
  }),
)
const tolerance = fc.record(
  {
    absolute: fc.constantFrom(0, 1e-6, 0.5),
    relative: fc.constantFrom(0, 1e-3),
    cells: fc.constantFrom(0.01, 1),
  },
  { requiredKeys: [] },
)
const spec: fc.Arbitrary<KernelSpec> = fc.record({
  v: fc.constant(1 as const),
  name: fc.constantFrom('a', 'mandelbrot', 'ein Kern'),
  source: fc.oneof(fc.constant('function (a) { return a[this.thread.x] }'), fc.string()),
  output: size,
  constants: fc.dictionary(fc.constantFrom('n', 'width', 'dt', 'a1'), f32, {
    noNullPrototype: true,
  }),
  args: fc.array(arg, { maxLength: 4 }),
  loopMaxIterations: fc.nat(5000),
  tolerance,
  requiresGpu: fc.boolean(),
})

export const gpuDecoders: readonly Decoder[] = [
  decoder({
    name: 'kernel',
    covers: ['src/gpu/kernel-codec.ts#decodeKernelSpec'],
    form: 'cbor',
    values: spec,
    write: encodeKernelSpec,
    read: decodeKernelSpec,
  }),
]
