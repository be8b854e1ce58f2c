import { Prng } from '../sim/prng.ts'
import type { Bounds } from './bounds.ts'
import type { Invariant, Move } from './context.ts'
import type { Broken } from './explore.ts'
import { Model } from './model.ts'

/** A model remembers every set of entries that it met; after so many walks a new one starts. */
const WALKS_PER_MODEL = 2_000
/** After at most so many steps there are no more faults, and the walk goes on to its end. */
const MAX_WILD_STEPS = 40
/** How often a step is a fault or a grant where it could be a delivery, a run or a RECLAIM. */
const WILD = 0.3

export interface WalkResult {
  readonly walks: number
  readonly steps: number
  readonly broken: (Broken & { readonly seed: number }) | undefined
}

interface Choice {
  readonly row: Int32Array
  readonly move: Move
  readonly helpful: boolean
  readonly broken: Invariant | undefined
}

/**
 * Random ways through worlds too large to explore, each to its end. Deliveries, runs and due RECLAIMs only ever add entries, and
 * there are finitely many: so a way with nothing else ends, and I6 says that it ends with all items final.
 */
export function walk(bounds: Bounds, seed: number, walks: number): WalkResult {
  let model = new Model(bounds)
  let steps = 0
  for (let i = 0; i < walks; i += 1) {
    if (i % WALKS_PER_MODEL === WALKS_PER_MODEL - 1) model = new Model(bounds)
    const way = walkOnce(model, seed + i)
    steps += way.trace.length
    if (way.broken === undefined) continue
    const broken = { invariant: way.broken, trace: way.trace, seed: seed + i }
    return { walks: i + 1, steps, broken }
  }
  return { walks, steps, broken: undefined }
}

function walkOnce(model: Model, seed: number): { trace: string[]; broken: Invariant | undefined } {
  const prng = new Prng(seed)
  const wildSteps = prng.int(MAX_WILD_STEPS)
  const trace: string[] = []
  let row = model.first()
  while (!model.over(row)) {
    const choices = choicesOf(model, row)
    const helpful = choices.filter((choice) => choice.helpful)
    const wild = choices.filter((choice) => !choice.helpful)
    const isWild = trace.length < wildSteps && (helpful.length === 0 || prng.chance(WILD))
    const choice = prng.pick(isWild && wild.length > 0 ? wild : helpful)
    if (choice === undefined) {
      if (model.goal(row)) break
      return { trace: [...trace, 'nothing more can happen'], broken: 'I6' }
    }
    trace.push(model.describe(choice.move))
    if (choice.broken !== undefined) return { trace, broken: choice.broken }
    row = choice.row
  }
  return { trace, broken: undefined }
}

function choicesOf(model: Model, row: Int32Array): Choice[] {
  const choices: Choice[] = []
  model.successors(row, (next, move, helpful, broken) => {
    choices.push({ row: next.slice(), move, helpful, broken })
  })
  return choices
}
