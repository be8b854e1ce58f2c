/** Compositions as plans, with tasks that are known by their names alone. */
import { sha256Hex } from '../../../src/base/bytes.ts'
import { compile, toPlan } from '../../../src/client/compose/compile.ts'
import type { Source } from '../../../src/client/compose/evaluate.ts'
import { mapsOf } from '../../../src/client/compose/sources.ts'
import { TaskBook, type TaskCode, type TaskRef } from '../../../src/client/compose/tasks.ts'
import type {
  AnyComposition,
  Composition,
  MapComposition,
} from '../../../src/runtime/composition.ts'
import type { NodeOptions, Plan } from '../../../src/scheduler/plan.ts'

/** The plan of a composition whose sources are arrays and ranges, and its items. */
export function compiled(
  composition: Composition,
  job: NodeOptions = {},
): { plan: Plan; items: number } {
  const root = composition as AnyComposition
  const result = compile(root, sourcesOf(root), new TaskBook(), job)
  return toPlan(result, new Map(result.tasks.map((ref) => [ref, codeOf(ref)])))
}

/** As spoolSources gives them. */
function sourcesOf(composition: AnyComposition): Map<MapComposition, Source> {
  return new Map(
    mapsOf(composition).map((over): [MapComposition, Source] => {
      const source = over.source as unknown[] | { range: [number, number] }
      if (Array.isArray(source)) {
        return [over, { input: { kind: 'values', items: [...source] }, count: source.length }]
      }
      const [start, end] = source.range
      return [over, { input: { kind: 'range', start }, count: end - start }]
    }),
  )
}

function codeOf({ name }: TaskRef): TaskCode {
  const code = new TextEncoder().encode(name)
  const bundle = { name, code, hash: sha256Hex(code), map: '', hasSchema: false }
  return { name, bundle: bundle as TaskCode['bundle'], pick: false }
}
