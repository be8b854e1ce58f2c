import { MeshError } from '../base/errors.ts'
import { scanSegments } from '../runtime/segment.ts'
import type { ChunkInput, ChunkNode, ChunkStep, ElementPart } from '../runtime/types.ts'
import type { Plan, PlanNode, Step } from '../scheduler/plan.ts'
import type { BlobHash, JobId, PeerId, Range } from '../scheduler/types.ts'
import { callSegment } from './graph-call.ts'
import { elementMapOf, type GraphParts, GraphValues, type ValuePart } from './graph-values.ts'
import {
  MAX_PARTS_PER_CHUNK,
  MAX_PARTS_PER_ITEM,
  MAX_RESULTS_PER_CHUNK,
  PREFETCH_PIECES,
} from './limits.ts'

/** Some items of a node of a composition. */
export interface NodeItems extends Range {
  readonly job: JobId
  readonly author: PeerId
  readonly plan: Plan
  readonly node: number
  /** The node's first item. */
  readonly nodeLo: number
}

export interface PreparedNode {
  readonly node: ChunkNode
  readonly input: ChunkInput
  /** The chunk must end here. */
  readonly hi: number
}

/** Pieces of a manifest that hold elements, as far as they are here; from `first` to `must` they are all. */
export type BringPieces = (
  manifest: BlobHash,
  elements: Range & { readonly must: number },
) => Promise<{ readonly input: ChunkInput; readonly end: number }>

/** What a worker needs for items lo..hi-1 of a node. Rejects with ERR_MESH_INPUT_LOST, ERR_MESH_RESULT_LOST, ERR_MESH_PLAN_INVALID. */
export async function prepareNode(
  parts: GraphParts,
  bringPieces: BringPieces,
  at: NodeItems,
): Promise<PreparedNode> {
  const node = at.plan.nodes[at.node]!
  const chunkNode = await stepsOf(parts, at, node)
  const { input, combine } = node
  const grain = combine?.grain ?? 1
  const total = combine?.total ?? node.count
  const lo = (at.lo - at.nodeLo) * grain
  // An item is computed from all of its elements: those of the first must be here.
  const elements = {
    lo,
    hi: Math.min(total, (at.hi - at.nodeLo) * grain),
    must: Math.min(total, lo + grain),
  }
  const ready = (end: number, chunkInput: ChunkInput): PreparedNode => {
    const whole = end >= elements.hi ? at.hi : at.nodeLo + Math.floor(end / grain)
    return { node: chunkNode, input: chunkInput, hi: whole }
  }
  switch (input.kind) {
    case 'range':
      return ready(elements.hi, { kind: 'range', start: input.start })
    case 'values':
      return ready(elements.hi, partsInput([segmentPart(input.segment, elements)]))
    case 'pieces': {
      const brought = await bringPieces(input.manifest, elements)
      return ready(brought.end, brought.input)
    }
    case 'each': {
      const brought = await bringValues(parts, at, node, elements)
      return ready(brought.end, partsInput(brought.parts))
    }
    case 'call': {
      const values = new GraphValues(parts, at.job)
      const { allowFailures = false } = node
      const bytes = await callSegment(values, { plan: at.plan, args: input.args, allowFailures })
      return ready(1, partsInput([{ first: 0, count: 1, skip: 0, bytes }]))
    }
  }
}

function partsInput(parts: readonly ElementPart[]): ChunkInput {
  return { kind: 'parts', parts }
}

/** The segments that hold some of the elements, as they lie in the plan. */
function segmentPart(bytes: Uint8Array, { lo, hi }: Range): ElementPart {
  const spans = [...scanSegments(bytes, 0)].filter((span) => span.lo < hi && span.hi > lo)
  const [first, last] = [spans[0], spans.at(-1)]
  if (first === undefined || last === undefined || first.lo > lo || last.hi < hi) {
    throw new MeshError('ERR_MESH_PLAN_INVALID', `the plan lacks values of elements ${lo}..${hi}`)
  }
  return {
    first: first.lo,
    count: last.hi - first.lo,
    skip: 0,
    bytes: bytes.subarray(first.start, last.end),
  }
}

/** The code of each step, on this machine. */
async function stepsOf(
  { blobs, exchange }: GraphParts,
  { plan, nodeLo, author }: NodeItems,
  node: PlanNode,
): Promise<ChunkNode> {
  const { steps, combine, allowFailures = false } = node
  const all = combine === undefined ? steps : [...steps, combine.step]
  const bundles = new Set(all.map(({ task }) => plan.tasks[task]!.bundle))
  await Promise.all([...bundles].map((hash) => exchange.ensure(hash, [author])))
  const made = ({ task, bound, immutable }: Step): ChunkStep => {
    const { bundle: hash, pick, name } = plan.tasks[task]!
    return {
      bundle: { hash, path: blobs.path(hash) },
      ...(pick ? { pick: name } : {}),
      ...(bound === undefined ? {} : { bound }),
      ...(immutable === true ? { immutable } : {}),
    }
  }
  return {
    lo: nodeLo,
    steps: steps.map(made),
    ...(combine === undefined ? {} : { combine: { ...combine, step: made(combine.step) } }),
    allowFailures,
  }
}

/** Results of the items that the elements are: brought here, as many as one chunk may have; the next ones are on their way. */
async function bringValues(
  parts: GraphParts,
  at: NodeItems,
  node: PlanNode,
  { lo, hi, must }: Range & { readonly must: number },
): Promise<{ parts: ElementPart[]; end: number }> {
  const values = new GraphValues(parts, at.job)
  const sources = elementMapOf(node)
  const found: ValuePart[] = []
  const blobs = new Map<BlobHash, ValuePart>()
  let end = lo
  for (const part of values.partsOf(sources.items(lo, hi), lo)) {
    const isNew = part.result.kind === 'blob' && !blobs.has(part.result.hash)
    const full =
      found.length >= MAX_PARTS_PER_CHUNK || (isNew && blobs.size >= MAX_RESULTS_PER_CHUNK)
    if (full && part.first >= must) break
    if (found.length === MAX_PARTS_PER_ITEM) {
      throw new MeshError(
        'ERR_MESH_PLAN_INVALID',
        `an item is computed from more than ${MAX_PARTS_PER_ITEM} results: make the grain smaller`,
      )
    }
    if (part.result.kind === 'blob') blobs.set(part.result.hash, part)
    found.push(part)
    end = part.first + part.count
  }
  await Promise.all([...blobs.values()].map((part) => values.bring(part)))
  prefetch(values, sources.items(end, end + (hi - lo)), end)
  return { parts: found.map((part) => values.elementPart(part)), end }
}

function prefetch(values: GraphValues, sources: readonly Range[], first: number): void {
  let left = PREFETCH_PIECES
  try {
    for (const part of values.partsOf(sources, first)) {
      if (part.result.kind !== 'blob') continue
      if (left-- === 0) return
      values.expect(part)
    }
  } catch {
    // Not final yet.
  }
}

/** Code and manifests that a plan names. */
export function blobsOfPlan({ tasks, nodes }: Plan): { code: BlobHash[]; manifests: BlobHash[] } {
  const manifests = new Set<BlobHash>()
  for (const { input } of nodes) if (input.kind === 'pieces') manifests.add(input.manifest)
  return { code: [...new Set(tasks.map(({ bundle }) => bundle))], manifests: [...manifests] }
}
