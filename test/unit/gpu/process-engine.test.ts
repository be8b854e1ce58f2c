/** The parts inside a GPU process that need none to be tested. */
import { describe, expect, it } from 'vitest'
import { isMeshError } from '../../../src/base/errors.ts'
import { encodeKernelSpec } from '../../../src/gpu/kernel-codec.ts'
import { boxesOf } from '../../../src/gpu/rewrite.ts'
import type { Size } from '../../../src/gpu/types.ts'
import { checkDeviceLimits, type DeviceLimits } from '../../../src/gpu/worker/device-limits.ts'
import {
  type Engine,
  outOfMemory,
  type Plan,
  type PlanArgument,
  refuseFallback,
} from '../../../src/gpu/worker/engine.ts'
import { Kept } from '../../../src/gpu/worker/kept.ts'
import { Planner } from '../../../src/gpu/worker/plan.ts'
import { compute } from '../../../src/gpu/worker/run-launch.ts'
import { WebasmEngine } from '../../../src/gpu/worker/webasm.ts'
import { specOf } from './kernels.ts'

function planOf(source: string, output: Size, args: readonly PlanArgument[] = []): Plan {
  return {
    ...{ key: source, name: 'k', source, wholeSource: source, output, args },
    settings: {
      constants: {},
      argumentTypes: args.map(({ kind }) => (kind === 'array' ? 'Input' : 'Float')),
      loopMaxIterations: 1000,
      precision: 'single',
      onRequestFallback: refuseFallback,
    },
  }
}

const array = (name: string, size: Size, perItem = false): PlanArgument => ({
  ...{ kind: 'array', name, hash: name, size, perItem },
  inner: size.slice(0, -1).reduce((a, b) => a * b, 1),
})

describe('a source that nobody checked', () => {
  // The second line of defence: what gpu.js would run as JavaScript is refused by it being asked to.
  it.each([
    ['eval', 'function () { return eval("1"); }'],
    ['a constructor', 'function () { return (0).constructor.constructor("return 1")(); }'],
    ['a global', 'function () { process.exit(3); return 1; }'],
    ['a default parameter', 'function (a = process.exit(3)) { return 1; }'],
    ['a boolean', 'function () { return true; }'],
    ['two numbers', 'function () { return [1, 2]; }'],
    ['nothing', 'function () { }'],
  ])('is not compiled: %s', async (_, source) => {
    const engine = new WebasmEngine()
    const launch = { plan: planOf(source, [4]), boxes: boxesOf([4], 0, 4), files: {} }
    await expect(engine.prepare(launch)).rejects.toMatchObject({ code: 'ERR_MESH_KERNEL_INVALID' })
    expect(engine.residentBytes).toBe(0)
  })
})

describe('a launch', () => {
  const { spec } = specOf({
    name: 'k',
    kernel: 'function () { return this.thread.x; }',
    output: [4],
  })
  const message = { key: 'k', spec: encodeKernelSpec(spec), lo: 1, hi: 3, files: {} }

  /** Has no memory until it forgot what it keeps, and then `times` more. */
  function fullEngine(times: number): Engine & { readonly story: string[] } {
    const story: string[] = []
    let full = times
    return {
      ...{ backend: 'webgpu', deviceClass: '', residentBytes: 0, story },
      forget: () => void story.push('forget'),
      prepare: async ({ plan }) => {
        story.push('prepare')
        if (full-- > 0) throw outOfMemory(plan)
        return { isWarm: true, run: async () => Uint8Array.of(1, 2) }
      },
    }
  }

  it('that finds no memory gets what is kept for others', async () => {
    const engine = fullEngine(1)
    const { parts } = await compute(engine, new Planner(), message, () => engine.story.push('run'))
    expect(parts).toEqual([Uint8Array.of(1, 2)])
    expect(engine.story).toEqual(['prepare', 'forget', 'prepare', 'run'])
  })

  it('that finds none then either fails', async () => {
    const engine = fullEngine(2)
    const computing = compute(engine, new Planner(), message, () => engine.story.push('run'))
    await expect(computing).rejects.toMatchObject({ code: 'ERR_MESH_KERNEL_FAILED' })
    expect(engine.story).toEqual(['prepare', 'forget', 'prepare'])
  })

  it('may not give one key to two kernels', async () => {
    const planner = new Planner()
    planner.planOf(message)
    const other = encodeKernelSpec({ ...spec, name: 'other' })
    expect(() => planner.planOf({ key: 'k', spec: other })).toThrow('two kernels have one key')
    expect(planner.planOf(message).name).toBe('k')
  })
})

describe('the limits of a device', () => {
  const limits: DeviceLimits = {
    maxStorageBuffersPerShaderStage: 4,
    maxStorageBufferBindingSize: 4096,
    maxBufferSize: 8192,
    maxComputeWorkgroupsPerDimension: 16,
  }
  const check = (output: Size, args: PlanArgument[] = [], lo = 0, hi?: number): string => {
    const items = output.length === 1 ? output[0] : output[1] * (output[2] ?? 1)
    try {
      checkDeviceLimits(planOf('', output, args), boxesOf(output, lo, hi ?? items), limits)
      return 'fits'
    } catch (error) {
      if (isMeshError(error, 'ERR_MESH_KERNEL_FAILED')) return error.message
      throw error
    }
  }

  it('count its buffers, the output being one', () => {
    const three = ['a', 'b', 'c'].map((name) => array(name, [4]))
    expect(check([4], three)).toBe('fits')
    expect(check([4], [...three, array('d', [4])])).toMatch(/takes 4 arrays, and this device 3/)
  })

  it('bound an array, and the slice of one', () => {
    expect(check([4], [array('a', [32, 32])])).toBe('fits')
    expect(check([4], [array('a', [32, 33])])).toMatch(/array a needs 4224 bytes.*make it perItem/)
    expect(check([33], [array('a', [32, 33], true)], 1)).toBe('fits')
    expect(check([33], [array('a', [32, 33], true)])).toMatch(/launch fewer items at once/)
  })

  it('bound the output, and its extent in workgroups', () => {
    expect(check([1024])).toBe('fits')
    expect(check([1025])).toMatch(/4100 bytes of output.*fewer items/)
    // 16 workgroups of 8, but in 1-D they go on in the next row.
    expect(check([8, 128])).toBe('fits')
    expect(check([7, 129])).toMatch(/129 along y is more than the 128.*fewer items/)
    expect(check([129, 7])).toMatch(/129 along x .*make that axis the last one/)
    expect(check([2, 2, 16])).toBe('fits')
    expect(check([2, 2, 17])).toMatch(/17 along z/)
  })
})

describe('what is kept', () => {
  const thing = (bytes: number, gone: string[], name: string) => ({
    bytes,
    destroy: () => void gone.push(name),
  })

  it('goes in the order of its last use, but for what is in use', () => {
    const gone: string[] = []
    const kept = new Kept(100, 10)
    for (const name of ['a', 'b', 'c']) kept.add(name, thing(30, gone, name))
    kept.get('a')
    kept.makeRoom(10, new Set())
    expect(gone).toEqual([])
    kept.makeRoom(30, new Set(['b']))
    expect(gone).toEqual(['c'])
    expect(kept.bytes).toBe(60)
    kept.makeRoom(1000, new Set())
    expect(gone).toEqual(['c', 'b', 'a'])
    expect(kept.size).toBe(0)
  })

  it('is bounded in number too, and replaced by what has its key', () => {
    const gone: string[] = []
    const kept = new Kept(100, 2)
    for (const name of ['a', 'b', 'c']) {
      kept.makeRoom(1, new Set())
      kept.add(name, thing(1, gone, name))
    }
    kept.makeRoom(1, new Set())
    expect(gone).toEqual(['a'])
    kept.add('c', thing(2, gone, 'other c'))
    expect(gone).toEqual(['a', 'c'])
    expect(kept.bytes).toBe(3)
  })
})
