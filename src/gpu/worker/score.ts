/** How fast a device computes and copies, found out in less than a second: enough to tell a GPU from a CPU that plays one. */
import { performance } from 'node:perf_hooks'
import { SCORE_MS } from '../limits.ts'

const STORAGE = 0x0080
const UNIFORM = 0x0040
const COPY_DST = 0x0008
const COPY_SRC = 0x0004
const MAP_READ = 0x0001

const GROUP = 64
/** Per iteration and thread: four fma of four f32 each, two operations apiece. */
const OPERATIONS = 32
const SHADER = `
@group(0) @binding(0) var<storage, read_write> result : array<f32>;
@group(0) @binding(1) var<uniform> iterations : vec4<u32>;
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) id : vec3<u32>) {
  let x = f32(id.x) * 1e-6;
  var a = vec4<f32>(x);
  var b = vec4<f32>(x + 1.0);
  var c = vec4<f32>(x + 2.0);
  var d = vec4<f32>(x + 3.0);
  for (var i = 0u; i < iterations.x; i++) {
    a = fma(a, vec4<f32>(0.999), b);
    b = fma(b, vec4<f32>(0.998), c);
    c = fma(c, vec4<f32>(0.997), d);
    d = fma(d, vec4<f32>(0.996), a);
  }
  let sum = a + b + c + d;
  result[id.x] = sum.x + sum.y + sum.z + sum.w;
}`

/** A run that takes so long is measured well enough; a busy desktop does not notice it. */
const LONG_ENOUGH_MS = 20
const FIRST = { groups: 256, iterations: 16 }
/** More threads than any device runs at once; from here on each computes more. */
const MAX_GROUPS = 16_384
const COPY_BYTES = 16 * 1024 * 1024
const COPIES = 3

export interface Score {
  readonly gflops: number
  readonly upMBs: number
  readonly downMBs: number
}

export async function scoreDevice(device: GPUDevice): Promise<Score> {
  const result = device.createBuffer({
    size: COPY_BYTES,
    usage: STORAGE | COPY_SRC | COPY_DST,
  })
  try {
    const gflops = await compute(device, result)
    const { upMBs, downMBs } = await copy(device, result)
    return { gflops, upMBs, downMBs }
  } finally {
    result.destroy()
  }
}

/** The best of runs that grow until one is long enough, in GFLOP/s. */
async function compute(device: GPUDevice, result: GPUBuffer): Promise<number> {
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code: SHADER }), entryPoint: 'main' },
  })
  const uniform = device.createBuffer({ size: 16, usage: UNIFORM | COPY_DST })
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [
      { binding: 0, resource: { buffer: result } },
      { binding: 1, resource: { buffer: uniform } },
    ],
  })
  const run = async (groups: number, iterations: number): Promise<number> => {
    device.queue.writeBuffer(uniform, 0, new Uint32Array([iterations, 0, 0, 0]))
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, bindGroup)
    pass.dispatchWorkgroups(groups)
    pass.end()
    const from = performance.now()
    device.queue.submit([encoder.finish()])
    await device.queue.onSubmittedWorkDone()
    return performance.now() - from
  }
  try {
    let { groups, iterations } = FIRST
    // The first run compiles.
    await run(1, 1)
    let best = 0
    const end = performance.now() + SCORE_MS
    while (performance.now() < end) {
      const elapsedMs = await run(groups, iterations)
      best = Math.max(best, (groups * GROUP * iterations * OPERATIONS) / elapsedMs / 1e6)
      if (elapsedMs > LONG_ENOUGH_MS) break
      if (groups < MAX_GROUPS) groups *= 4
      else iterations *= 4
    }
    return best
  } finally {
    uniform.destroy()
  }
}

/** To the device and back, in MB/s; the best of a few. */
async function copy(
  device: GPUDevice,
  there: GPUBuffer,
): Promise<{ upMBs: number; downMBs: number }> {
  const back = device.createBuffer({ size: COPY_BYTES, usage: MAP_READ | COPY_DST })
  const bytes = new Uint8Array(COPY_BYTES)
  const speed = (from: number): number => COPY_BYTES / 1000 / (performance.now() - from)
  let upMBs = 0
  let downMBs = 0
  for (let i = 0; i < COPIES; i++) {
    let from = performance.now()
    device.queue.writeBuffer(there, 0, bytes)
    await device.queue.onSubmittedWorkDone()
    upMBs = Math.max(upMBs, speed(from))
    from = performance.now()
    const encoder = device.createCommandEncoder()
    encoder.copyBufferToBuffer(there, 0, back, 0, COPY_BYTES)
    device.queue.submit([encoder.finish()])
    await back.mapAsync(1)
    bytes.set(new Uint8Array(back.getMappedRange()))
    back.unmap()
    downMBs = Math.max(downMBs, speed(from))
  }
  back.destroy()
  return { upMBs, downMBs }
}
