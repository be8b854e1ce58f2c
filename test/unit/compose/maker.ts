/** Random compositions, and the tasks that they are made of. */
import { chain, chord, chunks, defineTask, group, map, reduce } from '../../../src/index.ts'
import type { AnyComposition, Composition, Signature } from '../../../src/runtime/composition.ts'

/** Throws for every eleventh argument or so, the same ones each time. By its text: it must be self-contained. */
function touchy(name: string) {
  const run = new Function(
    'item',
    `const text = '${name}(' + (JSON.stringify(item) ?? '') + ')'
    let hash = 0
    for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0
    if (hash % 11 === 0) throw new Error('no ' + text)
    return text.length > 60 ? '${name}#' + hash : text`,
  )
  return defineTask({ name, run: run as (item: unknown) => string })
}

const tasks = ['f', 'g', 'h'].map(touchy)
const join = defineTask({
  name: 'join',
  run: (pair: [unknown, unknown]) =>
    pair.map((value) => (typeof value === 'string' ? value : JSON.stringify(value))).join('·'),
})

/** What each task of a plan computes, by its name. */
export const runs = new Map<string, (item: never) => unknown>([
  ...tasks.map((task): [string, (item: never) => unknown] => [task.name, task.run as never]),
  ['join', join.run as never],
  ['same', (x) => x],
  ['rest', (x: unknown[]) => (x.length === 2 ? x[1] : x.slice(1))],
])

/** Random compositions, which share parts. `next(n)` is a number below n. */
export class Maker {
  private readonly made: AnyComposition[] = []
  private readonly next: (n: number) => number

  constructor(next: (n: number) => number) {
    this.next = next
  }

  any(depth: number): AnyComposition {
    if (this.made.length > 0 && this.next(6) === 0) return this.pick(this.made)
    const it = this.fresh(depth) as AnyComposition
    this.made.push(it)
    return it
  }

  private fresh(depth: number): Composition {
    switch (depth <= 0 ? this.next(2) : this.next(8)) {
      case 0:
        return this.call(depth)
      case 1:
        return this.map(depth)
      case 2:
        return group(this.some(4, () => this.any(depth - 1)))
      case 3:
        return this.chain(depth)
      case 4:
        return chord(this.list(depth - 1), this.link(depth - 1), {
          allowFailures: this.next(2) === 0,
        })
      case 5:
        return this.reduce(depth)
      default:
        return this.call(depth)
    }
  }

  private call(depth: number): Signature {
    const args = this.some(2, () => this.arg(depth))
    const task = this.pick(tasks)
    return this.options(this.next(8) === 0 ? task.si(...args) : task.s(...args))
  }

  private options(call: Signature): Signature {
    const which = this.next(10)
    if (which === 0) return call.set({ retries: 1 })
    return which === 1 ? call.set({ collect: true }) : call
  }

  private arg(depth: number): unknown {
    if (depth <= 0 || this.next(3) === 0) return this.literal()
    return this.next(4) === 0 ? [this.any(depth - 1), this.any(depth - 1)] : this.any(depth - 1)
  }

  private map(depth: number): Composition {
    const items = this.some(5, () => this.literal())
    const task = this.options(this.pick(tasks).s(...this.some(1, () => this.arg(depth - 1))))
    return this.next(3) === 0 ? chunks(task, items, 1 + this.next(3)) : map(task, items)
  }

  private reduce(depth: number): Composition {
    const options = {
      allowFailures: this.next(2) === 0,
      initial: 'i',
      ...(this.next(2) === 0 && { grain: 1 + this.next(3) }),
    }
    return reduce(this.list(depth - 1) as Composition<unknown[]>, join as never, options)
  }

  private list(depth: number): Composition {
    return this.next(2) === 0 ? this.map(depth) : group(this.some(5, () => this.any(depth - 1)))
  }

  private chain(depth: number): Composition {
    const links = [this.any(depth - 1), ...this.some(3, () => this.link(depth - 1))]
    return chain(links, { collect: this.next(4) === 0 })
  }

  /** What may stand behind another: no map. */
  private link(depth: number): Composition {
    const which = depth <= 0 ? 0 : this.next(6)
    if (which === 1) return group(this.some(3, () => this.link(depth - 1)))
    if (which === 2) return chain([this.link(depth - 1), this.call(depth - 1)])
    if (which === 3) return chord(this.link(depth - 1), this.call(depth - 1))
    return this.call(depth)
  }

  private literal(): unknown {
    return [this.next(5), `s${this.next(3)}`, [this.next(3), 'x'], { k: this.next(3) }, null][
      this.next(5)
    ]
  }

  private some<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.next(most + 1) }, make)
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.next(list.length)]!
  }
}

/** xorshift32 */
export function randomOf(seed: number): (n: number) => number {
  let x = seed | 1
  return (n) => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return (x >>> 0) % n
  }
}
