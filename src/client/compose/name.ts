import type { AnyComposition } from '../../runtime/composition.ts'
import { taskName } from './tasks.ts'

/** Of a job, beside which other things stand in a line. */
const MAX_NAME = 64
const MAX_NAMES = 4

/** 'chord(fetch, sum)', 'chain(fetch, parse, …)': what it is made of, one level deep. */
export function nameOf(composition: AnyComposition): string {
  const name = describe(composition)
  return name.length <= MAX_NAME ? name : `${name.slice(0, MAX_NAME - 1)}…`
}

function describe(composition: AnyComposition): string {
  switch (composition.kind) {
    case 'signature':
      return taskName(composition.task)
    case 'map':
      return `map(${taskName(composition.call.task)})`
    case 'group':
      return `group(${names(composition.members)})`
    case 'chain':
      return `chain(${names(composition.links)})`
    case 'chord':
      return `chord(${names([composition.header, composition.callback])})`
    case 'reduce':
      return `reduce(${names([composition.source, composition.combiner])})`
  }
}

/** Each name once in a row, and not all of many. */
function names(parts: readonly AnyComposition[]): string {
  const found: string[] = []
  for (const part of parts) {
    const name = short(part)
    if (found.at(-1) === name) continue
    if (found.length === MAX_NAMES) return `${found.join(', ')}, …`
    found.push(name)
  }
  return found.join(', ')
}

function short(part: AnyComposition): string {
  if (part.kind === 'signature') return taskName(part.task)
  return part.kind === 'map' ? taskName(part.call.task) : part.kind
}
