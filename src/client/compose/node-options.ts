import type { SignatureOptions } from '../../runtime/composition.ts'
import type { NodeOptions } from '../../scheduler/plan.ts'
import { toJobOptions } from '../options.ts'
import type { OptionSet } from './draft.ts'

const NONE: OptionSet = { options: undefined, key: '' }
/** Signatures made of one another share their options. */
const made = new WeakMap<SignatureOptions, OptionSet>()

/** The options of a signature as a node has them. @throws ERR_MESH_OPTION_INVALID */
export function nodeOptions(given: SignatureOptions): OptionSet {
  let set = made.get(given)
  if (set === undefined) {
    set = read(given)
    made.set(given, set)
  }
  return set
}

function read({ collect: _, ...given }: SignatureOptions): OptionSet {
  if (Object.keys(given).length === 0) return NONE
  const options = toJobOptions(given) as NodeOptions
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1))
  return { options, key: JSON.stringify(sorted) }
}
