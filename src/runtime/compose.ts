/** What a user builds compositions with: group, map, starmap, chunks, chain, chord, reduce, signature. */
import { MeshError } from '../base/errors.ts'
import {
  type AnyComposition,
  type Bindable,
  Chain,
  Chord,
  type Collecting,
  type Composition,
  Group,
  isComposition,
  MapComposition,
  Reduce,
  type Runnable,
  refuseOthers,
  Signature,
  type SignatureArgs,
} from './composition.ts'
import type { JobSource } from './source.ts'
import { describe, isTask, type Task, type TaskContext } from './task.ts'

/** What a kernel is known by (src/gpu/define-kernel.ts). */
const KERNEL_BRAND = Symbol.for('meshwork.kernel')

/** A function that needs nothing but its arguments; the last one that it gets is the context. */
// biome-ignore lint/suspicious/noExplicitAny: its arguments are whatever it is given
type AnyFunction<O> = (...args: any[]) => O

/** A part of a composition: another composition, or a task, function or path of a task file, which is called with what comes in. */
// biome-ignore lint/suspicious/noExplicitAny: what a task takes is not checked across links
export type Link<O = unknown> = Composition<O> | Task<any, O> | AnyFunction<O | Promise<O>>
/** The type of a part's value. */
export type ValueOf<L> =
  L extends Composition<infer V>
    ? V
    : // biome-ignore lint/suspicious/noExplicitAny: as in Link
      L extends Task<any, infer O>
      ? O
      : L extends AnyFunction<infer O>
        ? Awaited<O>
        : unknown

/** What runs over items: a task, a function `(item, ctx) => value`, the path of a task file, or a signature whose arguments follow the item. */
export type Mapper<I, O> =
  | Task<I, O>
  | ((item: I, ctx: TaskContext) => O | Promise<O>)
  | Signature<O>
  | string
  | URL

/**
 * A call of a bare function, which must be self-contained, with `args` and then the context: `signature((a, b) => a + b, 1, 2)`. Or of a task,
 * or of the task file at a path, like `task.s(...args)`.
 * @throws ERR_MESH_TASK_INVALID
 */
export function signature<I, O>(task: Task<I, O>, ...args: SignatureArgs<I>): Signature<O>
export function signature<A extends readonly unknown[], O>(
  fn: (...args: [...A, ctx: TaskContext]) => O | Promise<O>,
  ...args: { [K in keyof A]: Bindable<A[K]> }
): Signature<O>
export function signature<O>(fn: AnyFunction<O | Promise<O>>, ...args: unknown[]): Signature<O>
export function signature<O = unknown>(path: string | URL, ...args: unknown[]): Signature<O>
export function signature(task: Runnable, ...args: readonly unknown[]): Signature {
  return new Signature(checkRunnable(task, 'signature()'), args, false)
}

/**
 * Compositions that run beside each other, as one list or as several arguments. Its value is the list of theirs.
 * @throws ERR_MESH_TASK_INVALID
 */
export function group<const L extends readonly Link[]>(
  members: L,
): Group<{ -readonly [K in keyof L]: ValueOf<L[K]> }>
export function group<V>(members: Iterable<Link<V>>): Group<V[]>
export function group<const L extends readonly Link[]>(
  ...members: L
): Group<{ -readonly [K in keyof L]: ValueOf<L[K]> }>
export function group(...given: readonly unknown[]): Group<never> {
  return groupOf(listOf(given, 'group'), 'group()')
}

/**
 * A task over the items of a source, each on its own. Its value is the list of the results.
 * @throws ERR_MESH_TASK_INVALID; what is wrong with the source is told by `submit`
 */
export function map<I, O>(
  task: Mapper<I, O>,
  source: JobSource<NoInfer<I>>,
): MapComposition<Awaited<O>[]> {
  return new MapComposition(mapperOf(task, 'map()'), source)
}

/**
 * A task over lists of arguments: a task gets each list as its item, a function gets its elements one by one, and then the context.
 * @throws ERR_MESH_TASK_INVALID
 */
export function starmap<A extends readonly unknown[], O>(
  task: Task<A, O> | ((...args: A) => O | Promise<O>) | Signature<O>,
  source: JobSource<NoInfer<A>>,
): MapComposition<Awaited<O>[]>
export function starmap<A extends readonly unknown[], O>(
  fn: (...args: [...A, ctx: TaskContext]) => O | Promise<O>,
  source: JobSource<A>,
): MapComposition<Awaited<O>[]>
export function starmap<O>(task: unknown, source: unknown): MapComposition<Awaited<O>[]> {
  const call = mapperOf(task, 'starmap()')
  if (call.args.length > 0) {
    throw wrong('starmap() takes all arguments from its items: bind none')
  }
  return new MapComposition(call, source, true)
}

/**
 * A task over items, of which a worker takes `size` in one go. Its value is a list of lists of so many results (the last has fewer).
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_OPTION_INVALID
 */
export function chunks<I, O>(
  task: Mapper<I, O>,
  items: JobSource<NoInfer<I>>,
  size: number,
): MapComposition<Awaited<O>[][]> {
  if (!Number.isSafeInteger(size) || size < 1) {
    throw invalid(
      'size',
      `chunks(task, items, size) takes a number of items from 1 on last, not ${describe(size)}`,
    )
  }
  const call = mapperOf(task, 'chunks()')
  return new MapComposition(
    call.options.chunkSize === undefined ? call.set({ chunkSize: size }) : call,
    items,
    false,
    size,
  )
}

export interface ChainOptions {
  /** Lists are handed on whole, and not item by item. */
  readonly collect?: boolean
}

/**
 * Each link gets the value of the one before it, first among its arguments. The value of a group or a map is handed on item by item,
 * as its items are done, unless `collect` says that it goes whole. Links are compositions, tasks or functions.
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_OPTION_INVALID
 */
export function chain<const L extends readonly Link[]>(
  links: L,
  options: ChainOptions & { readonly collect: true },
): Chain<L extends readonly [...unknown[], infer Last] ? ValueOf<Last> : unknown>
export function chain<const L extends readonly Link[]>(
  links: L,
  options?: ChainOptions,
): Chain<ChainValue<L>>
export function chain<const L extends readonly Link[]>(...links: L): Chain<ChainValue<L>>
export function chain(...given: readonly unknown[]): Chain<never> {
  const [first, options = {}] = given as [unknown, object?]
  if (!Array.isArray(first)) return chainOf(given, false)
  if (given.length > 2 || typeof options !== 'object' || options === null) {
    throw wrong('chain() takes its links as arguments, or a list of them and options')
  }
  if (isTask(options) || isComposition(options) || typeof options === 'function') {
    throw wrong(
      'chain() takes its links as arguments, or all of them in one list, and no values: map(task, items) is a first link over items',
    )
  }
  refuseOthers(options, ['collect'], 'a chain')
  return chainOf(first, (options as ChainOptions).collect === true)
}

/** `any` where types do not tell what is handed on item by item. */
type ChainValue<L extends readonly unknown[]> = L extends readonly [infer First, ...infer Rest]
  ? First extends Chain
    ? Rest extends readonly []
      ? ValueOf<First>
      : // biome-ignore lint/suspicious/noExplicitAny: see above
        any
    : AfterLinks<ValueOf<First>, First extends MapComposition | Group ? true : false, Rest>
  : // biome-ignore lint/suspicious/noExplicitAny: see above
    any

/** What `Rest` makes of a value that is, or is not, a list of items. */
type AfterLinks<
  V,
  IsList extends boolean,
  Rest extends readonly unknown[],
> = Rest extends readonly [infer Next, ...infer More]
  ? Next extends Collecting | Chord | Reduce
    ? AfterLinks<ValueOf<Next>, false, More>
    : Next extends Group | MapComposition | Chain
      ? IsList extends true
        ? // biome-ignore lint/suspicious/noExplicitAny: see ChainValue
          any
        : AfterLinks<ValueOf<Next>, Next extends Group ? true : false, More>
      : IsList extends true
        ? AfterLinks<ValueOf<Next>[], true, More>
        : AfterLinks<ValueOf<Next>, false, More>
  : V

export interface ChordOptions {
  /** What failed is left out of the list that the callback gets; without it the callback fails with the first error. */
  readonly allowFailures?: boolean
}

/**
 * A callback that gets the list of all values of a header: a group, a map, a list of compositions.
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_OPTION_INVALID
 */
export function chord<O>(
  header: Composition | readonly Link[],
  callback: Link<O>,
  options: ChordOptions = {},
): Chord<O> {
  if (callback === undefined) throw wrong('chord(header, callback) takes its callback second')
  refuseOthers(options, ['allowFailures'], 'a chord')
  const all = Array.isArray(header) ? groupOf(header, 'chord()') : linkOf(header, 'chord()')
  const { allowFailures = false } = options
  return new Chord<O>(all, linkOf(callback, 'the callback of chord()'), allowFailures)
}

export interface ReduceOptions<T = unknown> {
  /** What failed is left out; without it the whole fails with the first error. */
  readonly allowFailures?: boolean
  /** Items that are combined where they are computed, in one go; default: as many as make at most 65 536 parts. */
  readonly grain?: number
  /** Comes before the first value, and is the value where there is none. */
  readonly initial?: T
}

/**
 * The values of a source, combined two by two to one, where they are: only the last value moves. The combiner gets them in order, but is
 * free in where it begins, so it must be associative: a task over [a, b], or a function (a, b) => value.
 * @throws ERR_MESH_TASK_INVALID, ERR_MESH_OPTION_INVALID; of nothing, without `initial`, by `submit`
 */
export function reduce<T>(
  source: Composition<readonly T[]> | readonly Link<T>[],
  combiner:
    | Task<[T, T], T>
    | ((a: NoInfer<T>, b: NoInfer<T>, ctx: TaskContext) => T | Promise<T>)
    | Signature<T>,
  options: ReduceOptions<NoInfer<T>> = {},
): Reduce<T> {
  refuseOthers(options, ['allowFailures', 'grain', 'initial'], 'a reduce')
  const { allowFailures = false, grain, initial } = options
  if (grain !== undefined && (!Number.isSafeInteger(grain) || grain < 1)) {
    throw invalid('grain', `grain must be a number of items from 1 on, not ${describe(grain)}`)
  }
  const call = mapperOf(combiner, 'the combiner of reduce()')
  if (call.args.length > 0) {
    throw wrong('the combiner of reduce() takes two values and nothing else: bind no arguments')
  }
  const all = Array.isArray(source) ? groupOf(source, 'reduce()') : linkOf(source, 'reduce()')
  return new Reduce<T>(all, call, {
    allowFailures,
    grain,
    initial: 'initial' in options ? [initial] : undefined,
  })
}

// ---------------------------------------------------------------- checks

/** A composition, or a call without arguments of what can be called. @throws ERR_MESH_TASK_INVALID */
function linkOf(value: unknown, where: string): AnyComposition {
  if (isComposition(value)) return value
  if (Array.isArray(value)) return groupOf(value, where)
  return new Signature(checkRunnable(value, where), [], false)
}

function mapperOf(value: unknown, where: string): Signature {
  if (!isComposition(value)) return new Signature(checkRunnable(value, where), [], false)
  if (value.kind === 'signature' && !value.immutable) return value
  throw wrong(
    value.kind === 'signature'
      ? `${where} hands items to its task, which si() refuses: use s()`
      : `${where} takes a task, a function or a signature, not a ${value.kind}`,
  )
}

function groupOf(members: readonly unknown[], where: string): Group<never> {
  return new Group<never>(members.map((member) => linkOf(member, where)))
}

function chainOf(links: readonly unknown[], collect: boolean): Chain<never> {
  if (links.length === 0) throw wrong('a chain has one link at least')
  return new Chain<never>(
    links.map((link) => linkOf(link, 'chain()')),
    collect,
  )
}

function listOf(given: readonly unknown[], where: string): readonly unknown[] {
  const [only] = given
  if (given.length !== 1 || typeof only !== 'object' || only === null) return given
  if (isComposition(only) || !(Symbol.iterator in only)) return given
  try {
    return Array.from(only as Iterable<unknown>)
  } catch (cause) {
    throw wrong(`${where}() takes a list of compositions, whose iteration failed`, cause)
  }
}

/** @throws ERR_MESH_TASK_INVALID */
export function checkRunnable(value: unknown, where: string): Runnable {
  if (typeof value === 'function' || typeof value === 'string' || value instanceof URL) return value
  if (isTask(value)) return value
  if (typeof value === 'object' && value !== null && Reflect.get(value, KERNEL_BRAND) === true) {
    throw wrong(
      `"${String((value as { name?: unknown }).name)}" is a kernel, which compositions do not run: define a task that calls ctx.gpu.run(kernel, args)`,
    )
  }
  throw wrong(
    `${where} takes what task.s(), group(), map() and the like give, a task or a function, not ${describe(value)}`,
  )
}

function wrong(message: string, cause?: unknown): MeshError {
  return new MeshError('ERR_MESH_TASK_INVALID', message, cause === undefined ? {} : { cause })
}

function invalid(option: string, message: string): MeshError {
  return new MeshError('ERR_MESH_OPTION_INVALID', message, { details: { option } })
}
