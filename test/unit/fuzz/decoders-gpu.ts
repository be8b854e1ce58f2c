import * as fc from 'fast-check'
import { decodeKernelSpec, encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import type { KernelArg, KernelSpec, Size } from '../../../src/gpu/types.ts'
import {
  gpuHash,
  gpuId,
  readGpuArray,
  readGpuCall,
  readGpuForget,
  readGpuId,
} from '../../../src/runtime/worker/gpu-frames.ts'
import { type Decoder, decoder } from './decoder.ts'

const size = fc
  .array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 3 })
  .map((extents) => extents as unknown as Size)
const f32 = fc.float({ noNaN: true, noDefaultInfinity: true })
const hash = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .map((bytes) => Buffer.from(bytes).toString('hex'))
const arg: fc.Arbitrary<KernelArg> = fc.oneof(
  fc.record({ kind: fc.constant('number' as const), value: f32 }),
  fc.record({
    kind: fc.constant('array' as const),
    hash,
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

const joined = (...parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts))

export const gpuDecoders: readonly Decoder[] = [
  decoder({
    name: 'kernel',
    covers: ['src/gpu/kernel-codec.ts#decodeKernelSpec'],
    form: 'cbor',
    values: spec,
    write: encodeKernelSpec,
    read: decodeKernelSpec,
  }),
  decoder({
    name: "a worker's array for kernels",
    covers: ['src/runtime/worker/gpu-frames.ts#readGpuArray'],
    form: 'bytes',
    values: fc.record({
      hash,
      bytes: fc
        .array(f32, { minLength: 1, maxLength: 20 })
        .map((list) => new Uint8Array(new Float32Array(list).buffer)),
    }),
    write: (array) => joined(gpuHash(array.hash), array.bytes),
    read: readGpuArray,
  }),
  decoder({
    name: "a worker's array that it needs no more",
    covers: ['src/runtime/worker/gpu-frames.ts#readGpuForget'],
    form: 'bytes',
    values: hash,
    write: gpuHash,
    read: readGpuForget,
  }),
  decoder({
    name: "a worker's call of a kernel",
    covers: [
      'src/runtime/worker/gpu-frames.ts#readGpuCall',
      'src/runtime/worker/gpu-frames.ts#readGpuId',
    ],
    form: 'bytes',
    values: fc.record({ id: fc.nat(), spec: spec.map(encodeKernelSpec) }),
    write: (call) => joined(gpuId(call.id), call.spec),
    read: (bytes) => ({ ...readGpuCall(bytes), id: readGpuId(bytes) }),
  }),
]
