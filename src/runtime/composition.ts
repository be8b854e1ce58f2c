/**
 * Compositions as the user builds them: immutable descriptions, which compute nothing. What they mean is written down where they
 * are made into a plan (src/client/compose/compile.ts); a worker has them too, since it runs the files that build them.
 */
import { MeshError } from '../base/errors.ts'

/** In the global registry, so that another copy of this package recognises them. */
export const COMPOSITION_BRAND: unique symbol = Symbol.for('meshwork.composition') as never

/** Of one task, in the place of the job's: as SubmitOptions (docs/library.md, "Options"). */
export interface SignatureOptions {
  readonly retries?: number
  /** The first wait in seconds, each next one twice as long; or all of it: `delay` and `max` in seconds, `jitter` 0 to 1. */
  readonly backoff?:
    | number
    | {
        readonly delay: number
        readonly factor?: number
        readonly max?: number
        readonly jitter?: number
      }
  /** Seconds. */
  readonly timeLimit?: number
  /** Seconds. */
  readonly softTimeLimit?: number
  readonly chunkSize?: number
  readonly speculate?: boolean
  /** In a chain: what precedes is handed on whole, as one list, and not item by item. */
  readonly collect?: boolean
}

const SIGNATURE_OPTIONS: ReadonlySet<string> = new Set([
  'retries',
  'backoff',
  'timeLimit',
  'softTimeLimit',
  'chunkSize',
  'speculate',
  'collect',
] satisfies (keyof SignatureOptions)[])

/** One object for all: most signatures have none. */
const NO_OPTIONS: SignatureOptions = Object.freeze({})

/** A task (defineTask), a function, or the path of a task file. Which one it is, who makes a composition checks. */
export type Runnable = object | string

/** Anything whose value a job computes. `V` is the type of that value. */
export abstract class Composition<out V = unknown> {
  declare readonly value?: V
  abstract readonly kind: string

  get [COMPOSITION_BRAND](): true {
    return true
  }
}

export type AnyComposition = Signature | Group | MapComposition | Chain | Chord | Reduce

/** A call of a task, not made yet: `task.s(...args)`. */
export class Signature<out V = unknown> extends Composition<V> {
  readonly kind = 'signature'
  readonly task: Runnable
  /** Values, and compositions whose values they are. */
  readonly args: readonly unknown[]
  /** It takes nothing of what precedes it in a chain. */
  readonly immutable: boolean
  readonly options: SignatureOptions

  constructor(
    task: Runnable,
    args: readonly unknown[],
    immutable: boolean,
    options: SignatureOptions = NO_OPTIONS,
  ) {
    super()
    this.task = task
    this.args = Object.freeze([...args])
    this.immutable = immutable
    this.options = options
    Object.freeze(this)
  }

  /**
   * The same call with other options: a new signature.
   * @throws ERR_MESH_OPTION_INVALID for an option that no signature has; wrong values are told by `submit`
   */
  set(options: SignatureOptions & { readonly collect: true }): Collecting<V>
  set(options: SignatureOptions): Signature<V>
  set(options: SignatureOptions): Signature<V> {
    const merged = { ...this.options, ...known(options) }
    return new Signature<V>(this.task, this.args, this.immutable, merged)
  }
}

/** One that takes a list whole. */
export interface Collecting<out V = unknown> extends Signature<V> {
  readonly options: SignatureOptions & { readonly collect: true }
}

/** Compositions that run beside each other; the value is the list of theirs. */
export class Group<out V = unknown> extends Composition<V> {
  readonly kind = 'group'
  readonly members: readonly AnyComposition[]

  constructor(members: readonly AnyComposition[]) {
    super()
    this.members = Object.freeze([...members])
    Object.freeze(this)
  }
}

/** A task over many items: map, starmap, chunks. */
export class MapComposition<out V = unknown> extends Composition<V> {
  readonly kind = 'map'
  readonly call: Signature
  /** A JobSource. */
  readonly source: unknown
  /** Each item is a list of the arguments. */
  readonly star: boolean
  /** The value is a list of lists of so many. */
  readonly size: number | undefined

  constructor(call: Signature, source: unknown, star = false, size?: number) {
    super()
    this.call = call
    this.source = source
    this.star = star
    this.size = size
    Object.freeze(this)
  }

  /** The same map with other options for its task. @throws ERR_MESH_OPTION_INVALID */
  set(options: SignatureOptions): MapComposition<V> {
    return new MapComposition<V>(this.call.set(options), this.source, this.star, this.size)
  }
}

/** Each link gets the value of the one before it. */
export class Chain<out V = unknown> extends Composition<V> {
  readonly kind = 'chain'
  readonly links: readonly AnyComposition[]
  /** Lists are handed on whole. */
  readonly collect: boolean

  constructor(links: readonly AnyComposition[], collect: boolean) {
    super()
    this.links = Object.freeze([...links])
    this.collect = collect
    Object.freeze(this)
  }

  /** The same chain, whose lists are handed on whole, or not. @throws ERR_MESH_OPTION_INVALID */
  set({ collect = this.collect, ...rest }: { readonly collect?: boolean }): Chain<V> {
    refuseOthers(rest, ['collect'], 'a chain')
    return new Chain<V>(this.links, collect)
  }
}

/** A callback over the list of what its header gives. */
export class Chord<out V = unknown> extends Composition<V> {
  readonly kind = 'chord'
  readonly header: AnyComposition
  readonly callback: AnyComposition
  readonly allowFailures: boolean

  constructor(header: AnyComposition, callback: AnyComposition, allowFailures: boolean) {
    super()
    this.header = header
    this.callback = callback
    this.allowFailures = allowFailures
    Object.freeze(this)
  }
}

/** The values of its source, combined two by two. */
export class Reduce<out V = unknown> extends Composition<V> {
  readonly kind = 'reduce'
  readonly source: AnyComposition
  readonly combiner: Signature
  readonly allowFailures: boolean
  /** Items that are combined where they are computed, in one go. */
  readonly grain: number | undefined
  /** A list of one: what stands before the first value. */
  readonly initial: readonly [unknown] | undefined

  constructor(
    source: AnyComposition,
    combiner: Signature,
    options: Pick<Reduce, 'allowFailures' | 'grain' | 'initial'>,
  ) {
    super()
    this.source = source
    this.combiner = combiner
    this.allowFailures = options.allowFailures
    this.grain = options.grain
    this.initial = options.initial
    Object.freeze(this)
  }
}

/** True for what task.s(), group(), map() and the like gave, here or in another copy of this package. */
export function isComposition(value: unknown): value is AnyComposition {
  return (
    typeof value === 'object' &&
    value !== null &&
    (value as { [COMPOSITION_BRAND]?: unknown })[COMPOSITION_BRAND] === true
  )
}

function known(options: SignatureOptions): SignatureOptions {
  if (typeof options !== 'object' || options === null) {
    throw new MeshError('ERR_MESH_OPTION_INVALID', 'set() takes an object of options')
  }
  refuseOthers(options, [...SIGNATURE_OPTIONS], 'a signature')
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}

/** @throws ERR_MESH_OPTION_INVALID naming what is there instead */
export function refuseOthers(options: object, names: readonly string[], whose: string): void {
  for (const option of Object.keys(options)) {
    if (names.includes(option)) continue
    throw new MeshError(
      'ERR_MESH_OPTION_INVALID',
      `${whose} has no option "${option}": there ${names.length === 1 ? 'is' : 'are'} ${names.join(', ')}`,
      { details: { option } },
    )
  }
}

// ---------------------------------------------------------------- types of arguments

/** A value, or what computes it; a list may be given as compositions of its elements. */
export type Bindable<T> =
  | T
  | Composition<T>
  | (T extends readonly (infer E)[] ? readonly Composition<E>[] : never)

type AllBindable<T extends readonly unknown[]> = { [K in keyof T]: Bindable<T[K]> }

/** The tuple itself, and what is left of it when others come before. */
type Tails<T extends readonly unknown[]> =
  | AllBindable<T>
  | (T extends readonly [unknown, ...infer Rest] ? Tails<Rest> : never)

/**
 * What `s()` of a task over `I` takes: the item; when the item is a tuple its elements, each as an argument, or the last ones of them:
 * what precedes in a chain is put first.
 */
export type SignatureArgs<I> = unknown extends I
  ? readonly unknown[]
  : [I] extends [readonly [unknown, ...unknown[]]]
    ? Tails<I> | [Bindable<I>]
    : [] | [Bindable<I>]
