/** How a reduce is cut into nodes. */
import type { Draft, DraftStep, Drafts, OptionSet, Part, Value } from './draft.ts'
import { itemValue, lengthOf } from './draft.ts'

/** Partial values of a reduce: as many a peer can hold and hand on without thinking (docs/protocol.md, grains). */
const MAX_GRAINS = 65_536
/** Partial values that one item of a further level combines: few levels, and yet parallel. */
const MAX_FAN_IN = 256

interface Reduction {
  readonly step: DraftStep
  readonly options: OptionSet
  readonly allowFailures: boolean
  readonly grain: number | undefined
}

/**
 * Combines items to one: those of a grain where they are computed, then grains along a tree of a fixed fan-in, so that a sum of floats is
 * the same each time. `parts` has one item at least.
 */
export function reduceParts(
  drafts: Drafts,
  parts: readonly Part[],
  how: Reduction,
): Value & { kind: 'item' } {
  const n = lengthOf(parts)
  const grain = Math.max(how.grain ?? 1, Math.ceil(n / MAX_GRAINS))
  let from = parts
  let count = n
  const level = (by: number, apart: boolean): void => {
    const { step, options, allowFailures } = how
    const draft: Draft = drafts.add({
      input: { kind: 'each', from },
      steps: [],
      combine: { step, grain: by, total: count },
      options,
      allowFailures,
      apart,
      count: Math.ceil(count / by),
    })
    from = [{ draft, lo: 0, hi: draft.count }]
    count = draft.count
  }
  if (grain > 1 && count > 1) level(grain, false)
  while (count > 1) level(fanIn(count), true)
  const { draft, lo } = from[0]!
  return itemValue(draft, lo) as Value & { kind: 'item' }
}

/** As few levels as there can be, of about the same fan-in. */
function fanIn(count: number): number {
  const levels = Math.ceil(Math.log(count) / Math.log(MAX_FAN_IN) - 1e-9)
  return Math.min(MAX_FAN_IN, Math.max(2, Math.ceil(count ** (1 / Math.max(1, levels)))))
}
