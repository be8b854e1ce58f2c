/** From a kernel as it travels to what a back end compiles. Never trusts the peer that sent it: the source is checked here, too. */

import { invariant, MeshError } from '../../base/errors.ts'
import { elementsOf, itemsOf } from '../../base/extents.ts'
import { decodeKernelSpec } from '../kernel-codec.ts'
import { checkKernelSource } from '../kernel-source.ts'
import { MAX_KERNELS } from '../limits.ts'
import { type Box, boxesOf, rewriteKernel } from '../rewrite.ts'
import type { KernelSpec } from '../types.ts'
import { type Plan, type PlanArgument, refuseFallback } from './engine.ts'
import type { ArgumentType } from './gpujs.ts'
import type { LaunchMessage } from './messages.ts'

/** Checks and rewrites each kernel once. */
export class Planner {
  private readonly plans = new Map<string, { readonly plan: Plan; readonly spec: Uint8Array }>()

  /** @throws ERR_MESH_KERNEL_INVALID, ERR_MESH_PROTOCOL */
  planOf({ key, spec }: Pick<LaunchMessage, 'key' | 'spec'>): Plan {
    const known = this.plans.get(key)
    if (known !== undefined) {
      invariant(Buffer.compare(known.spec, spec) === 0, 'two kernels have one key')
      return known.plan
    }
    const plan = planKernel(decodeKernelSpec(spec))
    this.plans.set(key, { plan, spec })
    if (this.plans.size > MAX_KERNELS) this.plans.delete(this.plans.keys().next().value!)
    return plan
  }
}

function planKernel(spec: KernelSpec): Plan {
  const checked = checkKernelSource(spec.source, spec)
  const { source, wholeSource, params, offsets } = rewriteKernel(checked, spec)
  const own: PlanArgument[] = spec.args.map((arg, i) => {
    const name = params[i]!
    if (arg.kind === 'number') return { kind: 'number', name, value: arg.value }
    return { ...arg, name, inner: elementsOf(arg.size.slice(0, -1)) }
  })
  const added: PlanArgument[] = offsets.map((name, axis) => ({ kind: 'offset', name, axis }))
  const args = [...own, ...added]
  return {
    key: keyOf(source, spec),
    name: spec.name,
    source,
    wholeSource,
    output: spec.output,
    args,
    settings: {
      constants: spec.constants,
      argumentTypes: args.map(({ kind }) => ARGUMENT_TYPES[kind]),
      loopMaxIterations: spec.loopMaxIterations,
      precision: 'single',
      onRequestFallback: refuseFallback,
    },
  }
}

/** What is compiled: all of a kernel but its numbers and what its arrays hold, which each launch brings. */
function keyOf(source: string, { output, constants, args, loopMaxIterations }: KernelSpec): string {
  const shapes = args.map((arg) => (arg.kind === 'array' ? [...arg.size, arg.perItem] : 0))
  return JSON.stringify([
    source,
    output,
    Object.entries(constants).sort(),
    shapes,
    loopMaxIterations,
  ])
}

const ARGUMENT_TYPES: Readonly<Record<PlanArgument['kind'], ArgumentType>> = {
  array: 'Input',
  number: 'Float',
  offset: 'Integer',
}

/** What items [lo, hi) of a kernel are computed in. @throws ERR_MESH_KERNEL_INVALID */
export function boxesFor(plan: Plan, lo: number, hi: number): Box[] {
  const items = itemsOf(plan.output)
  const isRange = Number.isSafeInteger(lo) && Number.isSafeInteger(hi) && lo >= 0 && lo < hi
  if (!isRange || hi > items) {
    throw new MeshError(
      'ERR_MESH_KERNEL_INVALID',
      `a launch of the kernel ${plan.name} over items ${lo} to ${hi}: it has ${items}`,
    )
  }
  return boxesOf(plan.output, lo, hi)
}
