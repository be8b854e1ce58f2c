import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import type { KernelFacts } from '../../../src/gpu/kernel-scope.ts'
import { checkKernelSource } from '../../../src/gpu/kernel-source.ts'
import { rewriteKernel } from '../../../src/gpu/rewrite.ts'
import type { Size } from '../../../src/gpu/types.ts'
import { Random } from '../fuzz/random.ts'
import { SEED } from '../fuzz/seed.ts'
import { GOOD } from './good-kernels.ts'
import { CONSTANTS, RandomKernel } from './random-kernel.ts'
import { array, facts, number, slices } from './source-facts.ts'

const SCRIPT = fileURLToPath(new URL('./compile-wgsl.mjs', import.meta.url))
const RANDOM = Number(process.env.MESH_KERNELS ?? 100)

/** Dawn's binding needs no device, but a glibc that it was built for. */
const loads = await import('webgpu').then(
  () => true,
  () => false,
)

it.runIf(loads)(
  'kernels that are not refused compile for WebGPU (skipped where Dawn does not load)',
  () => {
    const good = Object.values(GOOD).map(({ source, given }) => jobOf(source, given))
    const random = Array.from({ length: RANDOM }, (_, i) => randomJob(i)).filter(
      (job) => job !== undefined,
    )
    const failures = compile([...good, ...random])
    expect(failures, `seed ${SEED}`).toEqual([])
    // It does tell one that does not: WGSL counts integers down alone.
    const wrong = {
      ...good[0]!,
      source: 'function () { for (let i = 3; i > 0; i--) { } return 1 }',
    }
    expect(compile([{ ...wrong, argumentTypes: [], sizes: [] }])).toHaveLength(1)
  },
  120_000,
)

function compile(jobs: readonly object[]): unknown[] {
  const output = execFileSync(process.execPath, [SCRIPT], {
    input: JSON.stringify(jobs),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  return JSON.parse(output.trimEnd().split('\n').at(-1)!)
}

function jobOf(source: string, given: KernelFacts) {
  const rewritten = rewriteKernel(checkKernelSource(source, given), given)
  const { output, constants, loopMaxIterations, args } = given
  const types = args.map((arg) => (arg.kind === 'array' ? 'Input' : 'Float'))
  return {
    source: rewritten.source,
    ...{ output, constants, loopMaxIterations },
    argumentTypes: [...types, ...rewritten.offsets.map(() => 'Integer')],
    sizes: [
      ...args.map((arg) => (arg.kind === 'array' ? arg.size : null)),
      ...rewritten.offsets.map(() => null),
    ],
  }
}

function randomJob(index: number) {
  const random = new Random(`${SEED} shader ${index}`)
  const output = [5, 4, 3].slice(0, 1 + random.int(3)) as unknown as Size
  const args = [array(8), array(4, 2), slices(output.at(-1)!), number(3), number(1.25)]
  const source = new RandomKernel(random, output.length).source()
  try {
    return jobOf(source, facts({ output, constants: CONSTANTS, args, loopMaxIterations: 50 }))
  } catch (error) {
    if (isMeshError(error, 'ERR_MESH_KERNEL_INVALID')) return undefined
    throw error
  }
}
