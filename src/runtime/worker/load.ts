/** Loads a bundle in the worker: checks its hash, imports it, finds its task. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire, isBuiltin } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sha256Hex } from '../../base/bytes.ts'
import { MeshError } from '../../base/errors.ts'
import { isComposition } from '../composition.ts'
import { MAX_BUNDLE_BYTES } from '../limits.ts'
import { describe, isTask, type Task } from '../task.ts'
import { PICK_SYMBOL } from '../task-stub.ts'
import { installBundleRuntime } from './bundle-runtime.ts'
import { loadKernels } from './gpu-calls.ts'
import { showBundleAs } from './item-error.ts'

/** What defineKernel marks its kernels with; its module is loaded for bundles that call it alone. */
const KERNEL_BRAND = Symbol.for('meshwork.kernel')

export interface LoadedTask {
  readonly kind: 'task' | 'function'
  readonly name: string | undefined
  readonly task: Pick<Task, 'run' | 'setup' | 'input' | 'retryOn'>
}

/** A bundle that was run. */
export interface LoadedBundle {
  /** The task of that name, or without a name the one that is meant. @throws ERR_MESH_TASK_INVALID, ERR_MESH_TASK_NO_DEFAULT */
  task(name: string | undefined): LoadedTask
}

/** @throws ERR_MESH_TASK_INVALID, ERR_MESH_TASK_NOT_FOUND, or what the bundle's top level throws. */
export async function loadBundle(bundle: { hash: string; path: string }): Promise<LoadedBundle> {
  const bytes = readBundle(bundle)
  const runtime = installBundleRuntime(await kernelExports(bytes))
  const globals = globalThis as { [PICK_SYMBOL]?: unknown }
  // Of a bundle before this one.
  delete globals[PICK_SYMBOL]
  const folder = mkdtempSync(join(tmpdir(), 'mesh-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  try {
    // The loader wants a file: URL, and a name that ends in .mjs for it to be an ES module whatever lies around it.
    const file = join(folder, `${bundle.hash}.mjs`)
    const url = pathToFileURL(file).href
    writeFileSync(file, bytes, { mode: 0o600 })
    showBundleAs(url, file, `bundle-${bundle.hash.slice(0, 12)}.mjs`)
    offerCommonJs(file)
    const exports = await Promise.race([
      import(url) as Promise<Record<string, unknown>>,
      runtime.parked.then(() => undefined),
    ])
    const own = globals[PICK_SYMBOL]
    const { tasks } = runtime
    return { task: (name) => chooseTask(exports, tasks, name ?? own) }
  } finally {
    remove()
    process.removeListener('exit', remove)
  }
}

/** Loaded now for a bundle that speaks of kernels: an item's time limit must not pass meanwhile. */
async function kernelExports(bundle: Uint8Array): Promise<Record<string, unknown>> {
  const text = Buffer.from(bundle.buffer, bundle.byteOffset, bundle.length)
  if (!text.includes('defineKernel') && !text.includes('gpu.run')) return {}
  const { defineKernel, perItem } = await loadKernels()
  return { defineKernel, perItem }
}

function readBundle(bundle: { hash: string; path: string }): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = readFileSync(bundle.path)
  } catch (error) {
    throw new MeshError('ERR_MESH_TASK_NOT_FOUND', `the bundle ${bundle.path} cannot be read`, {
      cause: error,
    })
  }
  if (bytes.length > MAX_BUNDLE_BYTES || sha256Hex(bytes) !== bundle.hash) {
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `the bundle ${bundle.path} is damaged: it does not have the hash that names it`,
    )
  }
  return bytes
}

/** npm packages written as CommonJS call require('fs') when they run; esbuild leaves that to a global `require`. */
function offerCommonJs(file: string): void {
  const real = createRequire(file)
  const require = (id: string): unknown => {
    if (isBuiltin(id)) return real(id)
    throw Object.assign(new Error(`Cannot find module '${id}': a bundle holds all that it needs`), {
      code: 'MODULE_NOT_FOUND',
    })
  }
  require.resolve = (id: string): string => real.resolve(id)
  Object.assign(globalThis, { require, __filename: file, __dirname: dirname(file) })
}

function isKernel(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Reflect.get(value, KERNEL_BRAND) === true
}

function chooseTask(
  exports: Record<string, unknown> | undefined,
  tasks: ReadonlyMap<string, Task>,
  pick: unknown,
): LoadedTask {
  if (typeof pick === 'string') {
    const task = tasks.get(pick)
    if (task !== undefined) return { kind: 'task', name: task.name, task }
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `the module does not define the task "${pick}" at its top level${exports === undefined ? ' before it calls joinMesh()' : ''}`,
    )
  }
  if (exports === undefined) {
    // joinMesh() at the top level of a task file: its exports never come, but a single task can only be the one that is meant.
    const [only, another] = tasks.values()
    if (only !== undefined && another === undefined)
      return { kind: 'task', name: only.name, task: only }
  }
  const found = exports?.default
  if (isTask(found)) return { kind: 'task', name: found.name, task: found }
  if (typeof found === 'function') {
    const run = found as Task['run']
    return { kind: 'function', name: found.name || undefined, task: { run } }
  }
  if (found === undefined) {
    const keys = Object.keys(exports ?? {})
    const named = keys.find((key) => isTask(exports![key]))
    const kernel = keys.find((key) => isKernel(exports![key]))
    const composed = keys.find((key) => isComposition(exports![key]))
    const [what, name] =
      composed !== undefined
        ? ['composition', composed]
        : named === undefined
          ? ['kernel', kernel]
          : ['task', named]
    throw new MeshError(
      'ERR_MESH_TASK_NO_DEFAULT',
      name === undefined
        ? 'it has no default export; write `export default defineTask({ name, run(item, ctx) { … } })`, or `export default` before a composition'
        : `it has no default export, but exports the ${what} "${name}"; write \`export default ${name}\``,
    )
  }
  if (isComposition(found)) {
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      'its default export is a composition, which brings its own items: submit it without others',
    )
  }
  const other = isKernel(found)
    ? ' (it is a kernel, which has no items)'
    : Array.isArray(found) && found.some(isComposition)
      ? ' (a list of compositions becomes one by group([…]))'
      : ''
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    `its default export is ${describe(found)} and no task${other}; write \`export default defineTask({ name, run(item, ctx) { … } })\``,
  )
}
