/**
 * A composition (chain, group, chord, reduce, any DAG) as one job: its nodes are ranges of the job's items, in topological order,
 * and what an item needs is final items before it. The plan is a blob that the JOB names (docs/protocol.md, "Plan").
 */
import type { BlobHash, JobOptions, Range } from './types.ts'

export interface Plan {
  readonly tasks: readonly PlanTask[]
  /** Node k has the items after those of node k-1; the first node begins at item 0. */
  readonly nodes: readonly PlanNode[]
  /** What the composition's value is made of. */
  readonly output: Shape
}

/** The code of a task: a bundle, and with `pick` the name of one of the tasks that it defines. */
export interface PlanTask {
  readonly name: string
  readonly bundle: BlobHash
  readonly bundleBytes: number
  readonly pick: boolean
}

export interface PlanNode {
  /** Items of the job that this node has, at least 1. */
  readonly count: number
  readonly input: NodeInput
  /** The tasks that a value goes through, one after another; none only where there is `combine`. */
  readonly steps: readonly Step[]
  /**
   * An item is a list: its elements go through `steps`, then are combined pairwise, left to right, to one value. Elements are those
   * of `input` by `grain` (item i of the node: elements i × grain and up; the last has fewer), of `total`.
   */
  readonly combine?: { readonly step: Step; readonly grain: number; readonly total: number }
  /** What failed among its inputs is left out of lists (of `call` and `combine`) instead of failing the item. */
  readonly allowFailures?: boolean
  /** In the place of the job's. */
  readonly options?: NodeOptions
}

export type NodeOptions = Pick<
  JobOptions,
  'retries' | 'backoff' | 'timeLimitMs' | 'softTimeLimitMs' | 'chunkSize' | 'speculate'
>

export interface Step {
  /** Index in the plan's tasks. */
  readonly task: number
  /**
   * Arguments bound beside the value that comes in: an encoded list (msgpack). The item of run() is [value, ...bound], or the value
   * alone when nothing is bound. With `immutable` it is the bound arguments alone (one: itself, none: undefined).
   */
  readonly bound?: Uint8Array
  readonly immutable?: boolean
}

export type NodeInput =
  /** Element i is start + i. */
  | { readonly kind: 'range'; readonly start: number }
  /** Encoded segment(s) of the elements (src/runtime/segment.ts), numbered from 0. */
  | { readonly kind: 'values'; readonly segment: Uint8Array }
  | { readonly kind: 'pieces'; readonly manifest: BlobHash }
  /** Element i is the value of the i-th item of these ranges of the job, all before this node; item by item as they are final. */
  | { readonly kind: 'each'; readonly from: readonly Range[] }
  /** One item: a call with these arguments; an item of run() is made of them as by Step's `bound`. */
  | { readonly kind: 'call'; readonly args: readonly Arg[] }

export type Arg =
  | { readonly kind: 'value'; readonly bytes: Uint8Array }
  | { readonly kind: 'shape'; readonly shape: Shape }

/** A value made of items' values. */
export type Shape =
  | { readonly kind: 'item'; readonly item: number }
  /** The values of items lo..hi-1 in a list; with `size` in lists of so many (the last has fewer). */
  | { readonly kind: 'list'; readonly lo: number; readonly hi: number; readonly size?: number }
  | { readonly kind: 'tuple'; readonly parts: readonly Shape[] }
