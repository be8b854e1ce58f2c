/** A plan while it is made: nodes that know each other by reference, and values that are made of their items. */
import { MeshError } from '../../base/errors.ts'
import type { NodeOptions } from '../../scheduler/plan.ts'
import type { BlobHash } from '../../scheduler/types.ts'
import type { TaskRef } from './tasks.ts'

export interface DraftStep {
  readonly task: TaskRef
  /** An encoded list. */
  readonly bound?: Uint8Array
  readonly immutable?: boolean
}

/** Items lo..hi-1 of a node, numbered within it. */
export interface Part {
  readonly draft: Draft
  readonly lo: number
  readonly hi: number
}

export type DraftInput =
  | { readonly kind: 'range'; readonly start: number }
  | { readonly kind: 'values'; readonly items: unknown[] }
  | { readonly kind: 'pieces'; readonly manifest: BlobHash }
  | { readonly kind: 'each'; from: readonly Part[] }
  | { readonly kind: 'call'; readonly args: readonly DraftArg[] }

export type DraftArg =
  | { readonly kind: 'literal'; readonly value: unknown }
  | { readonly kind: 'made'; readonly value: Value }

/** What a composition gives. */
export type Value =
  | { readonly kind: 'item'; readonly draft: Draft; readonly at: number }
  /** The items of the parts, one after another; with `size` in lists of so many. */
  | { readonly kind: 'list'; readonly parts: readonly Part[]; readonly size?: number }
  | { readonly kind: 'tuple'; readonly values: readonly Value[]; readonly depth: number }

export interface Draft {
  input: DraftInput
  steps: readonly DraftStep[]
  readonly combine?: { readonly step: DraftStep; readonly grain: number; readonly total: number }
  /** A level of a reduce: what it combines stays on its own, so that it runs in parallel. */
  readonly apart?: boolean
  allowFailures: boolean
  readonly options: OptionSet
  count: number
  /** Where its items are now: it was merged into another node, or into the one that follows it. */
  moved?: { readonly to: Draft; readonly by: number }
  /** Longest way from a node that needs nothing; of `ordered()`. */
  level: number
}

/** Options of a node, and what tells two such sets apart. */
export interface OptionSet {
  readonly options: NodeOptions | undefined
  readonly key: string
}

/** No composition needs half as many: one that does holds a mistake, and would take all memory. */
const MAX_DRAFTS = 1_048_576
/** Groups within groups; peers refuse more than 64 (src/scheduler/limits.ts). */
const MAX_DEPTH = 32

export class Drafts {
  readonly all: Draft[] = []

  add(draft: Omit<Draft, 'level' | 'allowFailures'> & { readonly allowFailures?: boolean }): Draft {
    if (this.all.length >= MAX_DRAFTS) {
      throw tooLarge(`the composition has more than ${MAX_DRAFTS} calls: map a task over items`)
    }
    const made: Draft = { ...draft, allowFailures: draft.allowFailures ?? false, level: 0 }
    this.all.push(made)
    return made
  }
}

export function tooLarge(message: string): MeshError {
  return new MeshError('ERR_MESH_TOO_LARGE', message)
}

export const NOTHING: Value = { kind: 'list', parts: [] }

export function itemValue(draft: Draft, at = 0): Value {
  return { kind: 'item', draft, at }
}

/** All items of a node. */
export function listValue(draft: Draft, size?: number): Value {
  const parts = [{ draft, lo: 0, hi: draft.count }]
  return size === undefined ? { kind: 'list', parts } : { kind: 'list', parts, size }
}

/** Values beside each other: a plain list when each is one item. @throws ERR_MESH_TOO_LARGE */
export function together(values: readonly Value[]): Value {
  if (values.every((it) => it.kind === 'item')) {
    const parts: Part[] = []
    for (const { draft, at } of values) addPart(parts, draft, at, at + 1)
    return { kind: 'list', parts }
  }
  let depth = 1
  for (const it of values) if (it.kind === 'tuple') depth = Math.max(depth, it.depth + 1)
  if (depth > MAX_DEPTH) throw tooLarge(`groups within groups may be ${MAX_DEPTH} deep`)
  return { kind: 'tuple', values, depth }
}

/** Adds items, as a part of their own unless they follow the last part's. */
export function addPart(parts: Part[], draft: Draft, lo: number, hi: number): void {
  const last = parts.at(-1)
  if (last?.draft === draft && last.hi === lo) parts[parts.length - 1] = { draft, lo: last.lo, hi }
  else if (lo < hi) parts.push({ draft, lo, hi })
}

/** What a value that is a list has in it, element by element; undefined for the value of one item. */
export function elementsOf(value: Value): Value[] | undefined {
  if (value.kind === 'item') return undefined
  if (value.kind === 'tuple') return [...value.values]
  const { parts, size } = value
  const elements: Value[] = []
  if (size === undefined) {
    for (const { draft, lo, hi } of parts) {
      for (let at = lo; at < hi; at++) elements.push(itemValue(draft, at))
    }
    return elements
  }
  const total = lengthOf(parts)
  for (let at = 0; at < total; at += size) {
    elements.push({ kind: 'list', parts: slice(parts, at, Math.min(total, at + size)) })
  }
  return elements
}

export function lengthOf(parts: readonly Part[]): number {
  return parts.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
}

function slice(parts: readonly Part[], from: number, to: number): Part[] {
  const found: Part[] = []
  let at = 0
  for (const { draft, lo, hi } of parts) {
    const first = Math.max(from, at)
    const last = Math.min(to, at + hi - lo)
    if (first < last) found.push({ draft, lo: lo + first - at, hi: lo + last - at })
    at += hi - lo
  }
  return found
}

/** A value that needs no item: a list without elements, or of such lists; undefined for others. */
export function literalOf(value: Value): { readonly value: unknown } | undefined {
  if (value.kind === 'item') return undefined
  if (value.kind === 'list') return value.parts.length === 0 ? { value: [] } : undefined
  const values: unknown[] = []
  for (const each of value.values) {
    const literal = literalOf(each)
    if (literal === undefined) return undefined
    values.push(literal.value)
  }
  return { value: values }
}

/** Where items of a node are after what was merged. */
export function resolve(draft: Draft): { readonly draft: Draft; readonly by: number } {
  let found = draft
  let by = 0
  while (found.moved !== undefined) {
    by += found.moved.by
    found = found.moved.to
  }
  // Chains of moves become one, so that they stay short.
  if (draft.moved !== undefined) draft.moved = { to: found, by }
  return { draft: found, by }
}
