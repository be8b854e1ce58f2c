/** What compositions mean, evaluated at once and by plain recursion: the reference for plans. */
import { type AnyComposition, isComposition } from '../../../src/runtime/composition.ts'

/** A value of one call, a list of values, or nothing since a call failed. */
export type Direct =
  | { readonly kind: 'one'; readonly value: unknown }
  | { readonly kind: 'many'; readonly elements: readonly Direct[] }
  | { readonly kind: 'failed'; readonly message: string }

interface Before {
  readonly value: Direct
  readonly whole: boolean
  readonly allowFailures: boolean
}

class Failed extends Error {}

/** Evaluates with the tasks' own run(). */
export class DirectEvaluator {
  calls = 0
  private readonly known = new Map<AnyComposition, Map<Before | undefined, Direct>>()

  of(composition: AnyComposition, before?: Before): Direct {
    let known = this.known.get(composition)
    if (known === undefined) this.known.set(composition, (known = new Map()))
    let value = known.get(before)
    if (value === undefined) {
      value = this.fresh(composition, before)
      known.set(before, value)
    }
    return value
  }

  private fresh(it: AnyComposition, before: Before | undefined): Direct {
    switch (it.kind) {
      case 'group':
        return { kind: 'many', elements: it.members.map((member) => this.of(member, before)) }
      case 'chain': {
        let value: Direct | undefined
        for (const link of it.links) {
          value = this.of(
            link,
            value === undefined ? before : { value, whole: it.collect, allowFailures: false },
          )
        }
        return value!
      }
      case 'chord': {
        const value = this.of(it.header, before)
        return this.of(it.callback, { value, whole: true, allowFailures: it.allowFailures })
      }
      case 'map': {
        const items = it.source as unknown[]
        const bound = it.call.args.map((arg) => this.argOf(arg))
        const elements = items.map((item) =>
          this.call(it.call.task, [{ kind: 'one', value: item }, ...bound], false),
        )
        if (it.size === undefined) return { kind: 'many', elements }
        const lists: Direct[] = []
        for (let at = 0; at < elements.length; at += it.size) {
          lists.push({ kind: 'many', elements: elements.slice(at, at + it.size) })
        }
        return { kind: 'many', elements: lists }
      }
      case 'reduce':
        return this.reduce(it, this.of(it.source, before))
      case 'signature':
        return this.signature(it, before)
    }
  }

  private signature(
    it: Extract<AnyComposition, { kind: 'signature' }>,
    before: Before | undefined,
  ): Direct {
    const args = it.args.map((arg) => this.argOf(arg))
    if (before === undefined) return this.call(it.task, args, false)
    const { value, allowFailures } = before
    const whole = before.whole || it.options.collect === true
    if (it.immutable) {
      const made = attempt(() => json(value, allowFailures))
      return made.kind === 'failed' ? made : this.call(it.task, args, allowFailures)
    }
    if (whole || value.kind !== 'many') return this.call(it.task, [value, ...args], allowFailures)
    return {
      kind: 'many',
      elements: value.elements.map((element) => this.call(it.task, [element, ...args], false)),
    }
  }

  private reduce(it: Extract<AnyComposition, { kind: 'reduce' }>, source: Direct): Direct {
    if (source.kind !== 'many') throw new Error('a reduce over no list')
    let total: Direct | undefined
    for (const element of source.elements) {
      const value = attempt(() => json(element, false))
      if (value.kind === 'failed') {
        if (!it.allowFailures) return value
        continue
      }
      total = total === undefined ? value : this.call(it.combiner.task, [total, value], false)
    }
    if (source.elements.length === 0) return { kind: 'one', value: it.initial![0] }
    if (total === undefined) return { kind: 'failed', message: 'all failed' }
    if (it.initial === undefined) return total
    return this.call(it.combiner.task, [{ kind: 'one', value: it.initial[0] }, total], false)
  }

  private argOf(arg: unknown): Direct {
    if (isComposition(arg)) return this.of(arg)
    if (Array.isArray(arg) && arg.length > 0 && arg.every(isComposition)) {
      return { kind: 'many', elements: arg.map((each) => this.of(each)) }
    }
    return { kind: 'one', value: arg }
  }

  private call(task: unknown, args: readonly Direct[], allowFailures: boolean): Direct {
    return attempt(() => {
      const values = args.map((arg) => json(arg, allowFailures))
      this.calls += 1
      return (task as { run(item: unknown): unknown }).run(values.length > 1 ? values : values[0])
    })
  }
}

/** The value; with `allowFailures` lists without what failed in them. @throws what failed */
export function json(it: Direct, allowFailures: boolean): unknown {
  if (it.kind === 'one') return it.value
  if (it.kind === 'failed') throw new Failed(it.message)
  return it.elements
    .filter((element) => !allowFailures || element.kind !== 'failed')
    .map((element) => json(element, allowFailures))
}

function attempt(make: () => unknown): Direct {
  try {
    return { kind: 'one', value: make() }
  } catch (error) {
    return { kind: 'failed', message: (error as Error).message }
  }
}
