import { nodeName } from '../runtime/failed-inputs.ts'
import type { Plan } from '../scheduler/plan.ts'
import { neededItems, nodeAt, nodeStarts } from '../scheduler/plan-check.ts'
import type { JobView, Range, SchedulerCore } from '../scheduler/types.ts'
import { MAX_NODES_TOLD } from './limits.ts'
import type { JobInfo, NodeInfo } from './types.ts'

interface Outline {
  readonly starts: Float64Array
  readonly nodes: readonly Omit<NodeInfo, 'done' | 'failed'>[]
}

const outlines = new WeakMap<Plan, Outline>()

/** What people see of the nodes of a composition; null while its plan is not here, and of other jobs. */
export function nodesOf(
  scheduler: Pick<SchedulerCore, 'doneSpans' | 'failures'>,
  { job, plan }: Pick<JobView, 'job' | 'plan'>,
): Pick<JobInfo, 'nodes' | 'nodesTotal'> {
  if (plan === undefined) return { nodes: null, nodesTotal: 0 }
  const { starts, nodes } = outlineOf(plan)
  const done = new Float64Array(nodes.length)
  const failed = new Float64Array(nodes.length)
  const end = starts[nodes.length]!
  for (const span of scheduler.doneSpans(job)) {
    if (span.lo >= end) break
    count(starts, span, done, span.hi - span.lo)
    // Of a DONE that holds failures all items are of one node.
    if (span.failed > 0) count(starts, span, failed, span.failed)
  }
  for (const span of scheduler.failures(job)) {
    count(starts, span, done, span.hi - span.lo)
    count(starts, span, failed, span.hi - span.lo)
  }
  return {
    nodes: nodes.map((node, k) => ({ ...node, done: done[k]!, failed: failed[k]! })),
    nodesTotal: plan.nodes.length,
  }
}

/** Adds what each node has of a span, `most` at most. */
function count(starts: Float64Array, { lo, hi }: Range, counts: Float64Array, most: number): void {
  for (let k = nodeAt(starts, lo); k < counts.length && starts[k]! < hi; k += 1) {
    const items = Math.min(hi, starts[k + 1]!) - Math.max(lo, starts[k]!)
    counts[k]! += Math.min(items, most)
  }
}

function outlineOf(plan: Plan): Outline {
  let outline = outlines.get(plan)
  if (outline === undefined) {
    const starts = nodeStarts(plan)
    const told = plan.nodes.slice(0, MAX_NODES_TOLD)
    const nodes = told.map(({ count: items }, k) => {
      const needs = nodesNeeded(plan, k, starts)
      return { name: nodeName(plan.tasks, plan.nodes[k]!), lo: starts[k]!, items, needs }
    })
    outlines.set(plan, (outline = { starts, nodes }))
  }
  return outline
}

/** Nodes that a node takes values of, in ascending order. */
function nodesNeeded(plan: Plan, node: number, starts: Float64Array): number[] {
  // A plan may name an item a million times: each node is come by once.
  const found: number[] = []
  const ranges = [...neededItems(plan.nodes[node]!)].sort((a, b) => a.lo - b.lo)
  let next = 0
  for (const { lo, hi } of ranges) {
    if (hi <= starts[next]!) continue
    for (let k = Math.max(next, nodeAt(starts, lo)); starts[k]! < hi; k += 1) {
      found.push(k)
      next = k + 1
    }
  }
  return found
}
