/**
 * A kernel is compiled once and computes any slice of its output: the device counts threads from 0 in each launch, and the
 * rewritten source adds where the launch begins. Sources are changed by place, so that nothing else in them changes.
 */

import { AXIS_NAMES, type Axis, type Site } from './kernel-scope.ts'
import type { CheckedKernel } from './kernel-source.ts'
import { OWN_PREFIX } from './kernel-words.ts'
import type { KernelSpec, Size } from './types.ts'

export interface RewrittenKernel {
  readonly source: string
  /** The same without the offsets in it, for a device that counts threads from where a launch begins by itself. Takes the same parameters. */
  readonly wholeSource: string
  /** Its own parameters, then `offsets`. */
  readonly params: readonly string[]
  /** The parameters that were added, one for each axis of the output, x first: where a launch begins, i32. */
  readonly offsets: readonly string[]
}

/** A part of the output that one launch computes: `extent` elements from `offset` on, per axis. */
export interface Box {
  readonly offset: readonly number[]
  readonly extent: Size
  /** The items that it holds are [firstItem, firstItem + items). */
  readonly firstItem: number
  readonly items: number
}

/**
 * The source with one parameter more for each axis of the output. this.thread.* become global indices, this.output.* the
 * extents of the whole output, and perItem arrays are indexed from the slice's begin.
 */
export function rewriteKernel(
  checked: CheckedKernel,
  spec: Pick<KernelSpec, 'output'>,
): RewrittenKernel {
  const offsets = spec.output.map((_, axis) => offsetName(axis as Axis))
  // Rows are whole: along x, only a 1-D output is cut.
  const cuts = (axis: Axis) => axis > 0 || spec.output.length === 1
  return {
    source: edited(checked, offsets, cuts),
    wholeSource: edited(checked, offsets, () => false),
    params: [...checked.params, ...offsets],
    offsets,
  }
}

function edited(
  { source, params, listEnd, sites }: CheckedKernel,
  offsets: readonly string[],
  cuts: (axis: Axis) => boolean,
): string {
  const added = [...(params.length > 0 ? [''] : []), ...offsets].join(', ')
  const edits = sites.map((site) => ({ ...site, text: textOf(site, cuts) }))
  edits.push({ ...listEnd, text: added })
  edits.sort((a, b) => a.start - b.start)
  let text = ''
  let at = 0
  for (const { start, end, text: replacement } of edits) {
    const before = source.slice(at, start)
    // `return-1` must not become `return1`.
    const joins = /[\w$]$/.test(before) && /^[\w$.]/.test(replacement)
    text += before + (joins ? ' ' : '') + replacement
    at = end
  }
  return text + source.slice(at)
}

function offsetName(axis: Axis): string {
  return `${OWN_PREFIX}${AXIS_NAMES[axis]}`
}

function textOf(site: Site, cuts: (axis: Axis) => boolean): string {
  if ('text' in site) return site.text
  if ('thread' in site) {
    const read = `this.thread.${AXIS_NAMES[site.thread]}`
    return cuts(site.thread) ? `(${read} + ${offsetName(site.thread)})` : read
  }
  return cuts(site.local) ? `(${site.name} - ${offsetName(site.local)})` : site.name
}

/**
 * The at most 3 boxes that items [lo, hi) fall into, in item order: planes of a 3-D output that are not whole are boxes of their
 * own. Bounds are whole numbers, 0 <= lo <= hi <= itemsOf(size).
 */
export function boxesOf(size: Size, lo: number, hi: number): Box[] {
  if (hi <= lo) return []
  const items = hi - lo
  const [x, y, z] = size
  if (y === undefined) return [{ offset: [lo], extent: [items], firstItem: lo, items }]
  if (z === undefined) return [{ offset: [0, lo], extent: [x, items], firstItem: lo, items }]
  const boxes: Box[] = []
  for (let at = lo; at < hi; ) {
    const row = at % y
    const whole = row === 0 ? Math.floor((hi - at) / y) : 0
    const rows = whole > 0 ? y : Math.min(y - row, hi - at)
    const planes = Math.max(1, whole)
    boxes.push({
      offset: [0, row, Math.floor(at / y)],
      extent: [x, rows, planes],
      firstItem: at,
      items: rows * planes,
    })
    at += rows * planes
  }
  return boxes
}
