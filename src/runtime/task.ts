/** What a user writes: `export default defineTask({ name, run(item, ctx) { … } })`. */
import { MeshError } from '../base/errors.ts'
import type { Kernel, KernelDefinition, KernelInput } from '../gpu/define-kernel.ts'
import { Signature, type SignatureArgs } from './composition.ts'
import { MAX_ISSUES_PER_ITEM } from './limits.ts'

/** The brand is in the global registry, so that the copy of this module inside a worker recognises its tasks too. */
export const TASK_BRAND: unique symbol = Symbol.for('meshwork.task') as never

/** The part of Standard Schema v1 (standardschema.dev) that we use: zod, valibot, arktype and others implement it. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }
export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** Kernels as a step of ordinary code: the peer computes them, on its GPU or on its CPU. */
export interface TaskGpu {
  /**
   * Computes all elements of a kernel, f32. Calls of one worker run one after another. What was compiled for a kernel
   * serves its next call, whatever its arguments hold, and an array that is given again is not sent again.
   *
   * The call ends when ctx.signal aborts, and then rejects with its reason. Arrays are read when the call's turn comes: leave them
   * unchanged until it resolves.
   * @param kernel what defineKernel() gave, or what it would be given
   * @param args one for each parameter, in the place of the kernel's own: a number, or an array of 1 to 3 dimensions (typed array, lists
   * of numbers, or `{ data, size: [x, y, z] }`), each up to 64 MiB as f32, 256 MiB together
   * @param options `output` in the place of the kernel's own, up to 64 MiB (2^24 elements); `constants` beside and over its own
   * @returns the output's elements, x running fastest, then y, then z
   * @throws (rejects with) ERR_MESH_KERNEL_INVALID with line and column of what no device can run; ERR_MESH_TASK_INVALID for a
   * wrong argument or option; ERR_MESH_TOO_LARGE; ERR_MESH_KERNEL_FAILED when memory or the device gave out; ERR_MESH_WORKER_DIED when
   * the process that computes died each time it was tried; ERR_MESH_NO_GPU for `requires: 'gpu'` on a peer without one;
   * ERR_MESH_TIME_LIMIT
   */
  run<const Constants extends Readonly<Record<string, number>>>(
    kernel: Kernel | KernelDefinition<Constants>,
    args?: readonly KernelInput[],
    options?: KernelCallOptions,
  ): Promise<Float32Array<ArrayBuffer>>
}

export interface KernelCallOptions {
  /** A number of elements, [x], [x, y] or [x, y, z]. */
  readonly output?: Kernel['output'] | number
  readonly constants?: Readonly<Record<string, number>>
}

/** What setup() is given: it runs once per worker process, before the first item. */
export interface SetupContext {
  /** The job's arguments (`mesh submit --args`, `submit(task, { args })`), or undefined. */
  // biome-ignore lint/suspicious/noExplicitAny: the task's author knows its type
  readonly args: any
  readonly peer: { readonly id: string; readonly name: string }
  /** A line of the job's log. */
  log(...parts: unknown[]): void
  /** Runs a kernel (docs/library.md, "Kernels"). */
  readonly gpu: TaskGpu
}

/** What run() is given beside the item. One object per worker, valid while the item runs. */
// biome-ignore lint/suspicious/noExplicitAny: the task's author knows its type
export interface TaskContext<State = any> extends SetupContext {
  /**
   * Aborts when the item passes its soft time limit (the item may still end with a value), or its time limit, or when its job is
   * cancelled; without a soft limit the process is killed a short grace after its time limit.
   */
  readonly signal: AbortSignal
  /** How far this item is, 0 to 1; shown, never stored. */
  progress(fraction: number): void
  /** 1 the first time, 2 for the first retry, and so on. */
  readonly attempt: number
  /** What setup() returned. */
  readonly state: State
  /** Number of the item within the job; in a composition, within its part of it (its map, its reduce…). */
  readonly index: number
}

export interface TaskDefinition<Item, Result, State> {
  /** Shown in lists and logs; 1 to 128 characters. */
  readonly name: string
  /** Once per worker process: load a model, open a database. Its result is `ctx.state`. */
  setup?(ctx: SetupContext): State | Promise<State>
  /** The function. Its result is the item's value: anything a structured clone can carry. */
  run(item: Item, ctx: TaskContext<State>): Result | Promise<Result>
  /** A Standard Schema that checks each item before it is sent. run() gets the item itself, not the schema's output. */
  readonly input?: StandardSchema<Item, unknown>
  /**
   * `import.meta.url` of the file that defines this task: the file is bundled, with its imports, instead of sending the source of
   * `run` alone. On a worker the file's top level runs too, up to `joinMesh()`, which never returns there: define tasks above it.
   */
  readonly module?: string
  /** Whether an item that threw this is worth another try, where the job has `retries`; without it every error is. */
  retryOn?(error: unknown): boolean
}

export interface Task<Item = unknown, Result = unknown> {
  readonly name: string
  // biome-ignore lint/suspicious/noExplicitAny: the state is the task's own affair
  run(item: Item, ctx: TaskContext<any>): Result | Promise<Result>
  setup?(ctx: SetupContext): unknown
  readonly input?: StandardSchema<Item, unknown>
  readonly module?: string
  retryOn?(error: unknown): boolean
  /**
   * A call of the task, not made yet, for `mesh.submit` and for compositions. One argument is the item; several are a tuple, which is
   * the item. In a chain what precedes is put first. An argument may be a composition: its value is handed in.
   */
  s(...args: SignatureArgs<Item>): Signature<Result>
  /** The same, but in a chain it takes nothing of what precedes: it runs after it. */
  si(...args: SignatureArgs<Item>): Signature<Result>
  readonly [TASK_BRAND]: true
}

const KEYS = new Set(['name', 'run', 'setup', 'input', 'module', 'retryOn'])
const MAX_NAME = 128

/**
 * Makes a task. The result is frozen and may be passed to `submit` and `map`, or be the default export of a task file.
 * @throws ERR_MESH_TASK_INVALID naming the field that is wrong and what it should be.
 */
export function defineTask<Item = unknown, Result = unknown, State = undefined>(
  definition: TaskDefinition<Item, Result, State>,
): Task<Item, Awaited<Result>> {
  if (typeof definition !== 'object' || definition === null) {
    throw invalid(
      `defineTask takes an object { name, run(item, ctx) { … } }, but got ${describe(definition)}`,
    )
  }
  const { name, run, setup, input, module, retryOn } = definition
  if (typeof name !== 'string' || name.length === 0 || name.length > MAX_NAME) {
    throw invalid(
      `a task's name must be a string of 1 to ${MAX_NAME} characters, but is ${describe(name)}`,
    )
  }
  if (hasControlCharacter(name)) throw invalid("a task's name must not hold control characters")
  const of = `of the task "${name}"`
  if (typeof run !== 'function') {
    throw invalid(`run ${of} must be a function (item, ctx) => value, but is ${describe(run)}`)
  }
  if (setup !== undefined && typeof setup !== 'function') {
    throw invalid(`setup ${of} must be a function (ctx) => state, but is ${describe(setup)}`)
  }
  if (input !== undefined && !isSchema(input)) {
    throw invalid(
      `input ${of} must be a Standard Schema (zod 3.24 or later, valibot, arktype…), but is ${describe(input)}`,
    )
  }
  if (retryOn !== undefined && typeof retryOn !== 'function') {
    throw invalid(
      `retryOn ${of} must be a function (error) => boolean, but is ${describe(retryOn)}`,
    )
  }
  if (module !== undefined && typeof module !== 'string') {
    throw invalid(`module ${of} must be import.meta.url, but is ${describe(module)}`)
  }
  for (const key of Object.keys(definition)) {
    if (KEYS.has(key)) continue
    throw invalid(
      `the task "${name}" has a field "${key}" that no task has; there are ${[...KEYS].join(', ')}`,
    )
  }
  const task = { ...definition, [TASK_BRAND]: true as const }
  // Beside the definition's own fields, which alone are listed.
  Object.defineProperties(task, {
    s: { value: (...args: unknown[]) => new Signature(task, args, false) },
    si: { value: (...args: unknown[]) => new Signature(task, args, true) },
  })
  return Object.freeze(task) as unknown as Task<Item, Awaited<Result>>
}

/** True for what defineTask returned, here or in another copy of this package. */
export function isTask(value: unknown): value is Task {
  return typeof value === 'object' && value !== null && (value as Task)[TASK_BRAND] === true
}

function isSchema(value: unknown): value is StandardSchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  const standard = (value as Partial<StandardSchema>)['~standard']
  return typeof standard === 'object' && typeof standard?.validate === 'function'
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}

function invalid(message: string): MeshError {
  return new MeshError('ERR_MESH_TASK_INVALID', message)
}

/** A value in a few words, for a message. */
export function describe(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  if (typeof value === 'string')
    return value.length > 40 ? `a string of ${value.length}` : `"${value}"`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'object') return 'an object'
  return `${typeof value} ${String(value)}`
}

/** The first issues of one item, each as `path: message`. */
export function describeIssues(issues: readonly SchemaIssue[]): string[] {
  return issues.slice(0, MAX_ISSUES_PER_ITEM).map(({ message, path = [] }) => {
    const keys = path.map((part) =>
      String(typeof part === 'object' && part !== null ? part.key : part),
    )
    return keys.length === 0 ? message : `${keys.join('.')}: ${message}`
  })
}
