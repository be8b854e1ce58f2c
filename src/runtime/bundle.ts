/** Makes of a task file, or of a task made in code, one ES module that is named by its hash. */
import { stat } from 'node:fs/promises'
import { basename, dirname, extname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { BuildFailure, BuildResult, Message } from 'esbuild'
import { sha256Hex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import { inspectBundle, schemaElsewhere } from './bundle-check.ts'
import { bundlePlugin, NATIVE_ADDON } from './bundle-plugin.ts'
import { MAX_BUNDLE_BYTES, MAX_INSPECTED_TASKS, MAX_MODULE_BUNDLES } from './limits.ts'
import { describe, isTask, type Task } from './task.ts'
import { pickTaskSource, RUNTIME_SYMBOL } from './task-stub.ts'
import type { TaskBundle } from './types.ts'

export { createItemChecker, type ItemChecker, type RefusedItem } from './bundle-check.ts'

export type { TaskBundle } from './types.ts'

// biome-ignore lint/suspicious/noExplicitAny: any function is accepted; its types are the caller's affair
export type InlineTask = Task<any, any> | ((...args: any[]) => unknown)

/**
 * Bundles a task file (TypeScript or JavaScript, with its imports), and loads it once in a process of its own to see its task.
 * A default export that is a plain function is a task named after the file.
 * @throws ERR_MESH_TASK_NOT_FOUND, ERR_MESH_TASK_SYNTAX, ERR_MESH_TASK_IMPORT, ERR_MESH_TASK_NATIVE_ADDON,
 *   ERR_MESH_TASK_NO_DEFAULT, ERR_MESH_TASK_INVALID
 */
export async function bundleTaskFile(path: string): Promise<TaskBundle> {
  const file = await existing(path)
  const built = await build(file)
  const { name, kind, hasSchema } = await inspectBundle(built, path)
  const named = kind === 'task' ? name : undefined
  const bundle = { ...built, name: named ?? basename(file, extname(file)) }
  return hasSchema
    ? { ...bundle, hasSchema, inputSchema: schemaElsewhere(bundle) }
    : { ...bundle, hasSchema }
}

async function existing(path: string): Promise<string> {
  const file = resolve(path)
  const found = await stat(file).catch(() => undefined)
  if (found?.isFile()) return file
  throw new MeshError(
    'ERR_MESH_TASK_NOT_FOUND',
    `there is no task file ${path}${found === undefined ? '' : ': it is a folder'}`,
    { details: { path: file } },
  )
}

const inlineBundles = new WeakMap<object, Promise<TaskBundle>>()

/**
 * Bundles a task made in code: its functions' source, which must be self-contained; with `module`, the module that defines it.
 * A bare function is a task of its own name.
 * @throws ERR_MESH_TASK_CLOSURE naming what it closes over, ERR_MESH_TASK_INVALID, and for `module` what bundleTaskFile throws.
 */
export function bundleInline(task: InlineTask): Promise<TaskBundle> {
  if (typeof task !== 'function' && !isTask(task)) {
    return Promise.reject(
      new MeshError(
        'ERR_MESH_TASK_INVALID',
        `a task is what defineTask() returns, or a function; this is ${describe(task)}`,
      ),
    )
  }
  let bundle = inlineBundles.get(task)
  if (bundle === undefined) {
    bundle =
      typeof task === 'object' && task.module !== undefined
        ? bundleModule(task, task.module)
        : bundleSource(task)
    inlineBundles.set(task, bundle)
    bundle.catch(() => inlineBundles.delete(task))
  }
  return bundle
}

async function bundleSource(task: InlineTask): Promise<TaskBundle> {
  const { selfContainedSource } = await import('./closure.ts')
  const name = task.name || 'function'
  const fields = [`name:${JSON.stringify(name)}`]
  if (typeof task === 'function') {
    fields.push(`run:${selfContainedSource(task, `the function ${task.name || 'given'}`)}`)
  } else {
    fields.push(`run:${selfContainedSource(task.run, `run() of the task "${name}"`)}`)
    if (task.setup !== undefined) {
      fields.push(`setup:${selfContainedSource(task.setup, `setup() of the task "${name}"`)}`)
    }
    if (task.retryOn !== undefined) {
      fields.push(`retryOn:${selfContainedSource(task.retryOn, `retryOn() of the task "${name}"`)}`)
    }
  }
  return inlineBundle(name, fields, schemaOf(task))
}

const spreadBundles = new WeakMap<object, Promise<TaskBundle>>()

/**
 * A function as a task whose item is the list of its arguments: in compositions.
 * @throws ERR_MESH_TASK_CLOSURE, ERR_MESH_TASK_INVALID
 */
export function bundleSpread(fn: (...args: never[]) => unknown): Promise<TaskBundle> {
  let bundle = spreadBundles.get(fn)
  if (bundle === undefined) {
    bundle = spreadSource(fn)
    spreadBundles.set(fn, bundle)
  }
  return bundle
}

async function spreadSource(fn: (...args: never[]) => unknown): Promise<TaskBundle> {
  const { selfContainedSource } = await import('./closure.ts')
  const name = fn.name || 'function'
  const own = selfContainedSource(fn, `the function ${fn.name || 'given'}`)
  const run = `(args,ctx)=>(${own})(...args,ctx)`
  return inlineBundle(name, [`name:${JSON.stringify(name)}`, `run:${run}`], { hasSchema: false })
}

function inlineBundle(
  name: string,
  fields: readonly string[],
  schema: Pick<TaskBundle, 'hasSchema' | 'inputSchema'>,
): TaskBundle {
  const source = `export default globalThis[Symbol.for("meshwork.runtime")].defineTask({${fields.join(',')}})\n`
  const code = new TextEncoder().encode(source)
  return { name, code, hash: sha256Hex(code), map: '', ...schema }
}

/** By the URL of the module; the oldest go. */
const moduleBundles = new Map<string, Promise<Built>>()

/**
 * The bundle of the module that defines a task, the same for all of its tasks: who runs it picks one by its name.
 * @throws ERR_MESH_TASK_INVALID, and what bundleTaskFile throws
 */
export async function bundleModuleTask(task: Task): Promise<TaskBundle> {
  const module = task.module!
  const file = moduleFile(task.name, module)
  let building = moduleBundles.get(module)
  if (building === undefined) {
    building = build(file)
    moduleBundles.set(module, building)
    building.catch(() => moduleBundles.delete(module))
    if (moduleBundles.size > MAX_MODULE_BUNDLES) {
      moduleBundles.delete(moduleBundles.keys().next().value!)
    }
  }
  const built = await building
  await inspectPick(built, task.name, file)
  return { ...built, name: task.name, ...schemaOf(task) }
}

/**
 * The bundle of a file for the tasks that it defines, as bundleModuleTask makes one.
 * @throws what bundleTaskFile throws
 */
export async function bundleFileTasks(path: string): Promise<TaskBundle> {
  const file = await existing(path)
  return { ...(await build(file)), name: basename(file, extname(file)), hasSchema: false }
}

/** Bundles and names of tasks that were found in them; the oldest go. */
const inspected = new Set<string>()

/** Whether the bundle defines the task where a worker finds it: at its top level. @throws ERR_MESH_TASK_INVALID */
async function inspectPick(built: Built, name: string, file: string): Promise<void> {
  const key = `${built.hash} ${name}`
  if (inspected.has(key)) return
  const code = Buffer.concat([Buffer.from(`${pickTaskSource(name)}\n`), built.code])
  await inspectBundle({ ...built, code, hash: sha256Hex(code) }, file)
  inspected.add(key)
  if (inspected.size > MAX_INSPECTED_TASKS) inspected.delete(inspected.keys().next().value!)
}

async function bundleModule(task: Task, module: string): Promise<TaskBundle> {
  const file = moduleFile(task.name, module)
  const built = await build(file, pickTaskSource(task.name))
  await inspectBundle(built, file)
  return { ...built, name: task.name, ...schemaOf(task) }
}

function moduleFile(name: string, module: string): string {
  if (module.startsWith('file:')) return fileURLToPath(module)
  throw new MeshError(
    'ERR_MESH_TASK_INVALID',
    `module of the task "${name}" must be import.meta.url (a file: URL), but is ${describe(module)}`,
  )
}

function schemaOf(task: InlineTask): Pick<TaskBundle, 'hasSchema' | 'inputSchema'> {
  const schema = typeof task === 'function' ? undefined : task.input
  return schema === undefined ? { hasSchema: false } : { hasSchema: true, inputSchema: schema }
}

// ---------------------------------------------------------------- esbuild

/** A file of the user's own that was run here: its exports, the text that was run, and the source map of that. */
export interface OwnFile {
  readonly exports: Readonly<Record<string, unknown>>
  readonly text: string
  readonly map: string
}

/** Files that importOwnFile has run. */
let ownFiles = 0

/**
 * A file of the user's own, bundled and run in this process, if `isWanted` says so of its bundle's text; undefined if not, and when it fails
 * there: bundleTaskFile runs it in a process of its own, and says why. What it imports from 'meshwork' is `meshwork`.
 * @throws ERR_MESH_TASK_*, and what isWanted throws
 */
export async function importOwnFile(
  path: string,
  isWanted: (text: string) => boolean,
  meshwork: object,
): Promise<OwnFile | undefined> {
  const file = await existing(path)
  // A data: URL has no neighbours: files beside this one are found by its own.
  const { code, map } = await build(file, undefined, {
    'import.meta.url': JSON.stringify(pathToFileURL(file).href),
  })
  const text = Buffer.from(code).toString()
  if (!isWanted(text)) return undefined
  const before = Reflect.get(globalThis, RUNTIME_SYMBOL) as unknown
  Reflect.set(globalThis, RUNTIME_SYMBOL, meshwork)
  try {
    // Run anew each time: what it reads may have changed.
    ownFiles += 1
    const url = `data:text/javascript;base64,${Buffer.from(code).toString('base64')}#${ownFiles}`
    return { exports: (await import(url)) as Record<string, unknown>, text, map }
  } catch (cause) {
    if (isMeshError(cause)) throw cause
    return undefined
  } finally {
    Reflect.set(globalThis, RUNTIME_SYMBOL, before)
  }
}

type Built = Pick<TaskBundle, 'code' | 'hash' | 'map'>

async function build(
  file: string,
  banner?: string,
  define?: Record<string, string>,
): Promise<Built> {
  const folder = dirname(file)
  let result: BuildResult<{ write: false }>
  try {
    result = await runEsbuild(file, folder, banner, define)
  } catch (error) {
    const errors = (error as Partial<BuildFailure>).errors
    if (errors === undefined || errors.length === 0) throw error
    throw explainFailure(errors, folder)
  }
  const map = result.outputFiles.find((it) => it.path.endsWith('.map'))
  const code = result.outputFiles.find((it) => !it.path.endsWith('.map'))!.contents
  if (code.length > MAX_BUNDLE_BYTES) {
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `the bundle of ${file} is ${code.length} bytes, and may be ${MAX_BUNDLE_BYTES}: large data belongs in the items`,
    )
  }
  return { code, hash: sha256Hex(code), map: absoluteSources(map?.text ?? '', folder) }
}

async function runEsbuild(
  file: string,
  folder: string,
  banner: string | undefined,
  define: Record<string, string> = {},
): Promise<BuildResult<{ write: false }>> {
  const esbuild = await import('esbuild')
  return await esbuild.build({
    entryPoints: [file],
    bundle: true,
    write: false,
    outfile: resolve(folder, 'task.mjs'),
    // Names of CommonJS modules stand in the output relative to this folder: a project that moves as a whole keeps its hashes.
    absWorkingDir: folder,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    charset: 'utf8',
    legalComments: 'none',
    // Comments with paths would make the hash depend on the folder.
    minifyWhitespace: true,
    sourcemap: 'external',
    sourcesContent: false,
    logLevel: 'silent',
    loader: { '.wasm': 'binary', '.txt': 'text', '.bin': 'binary' },
    plugins: [bundlePlugin],
    define,
    ...(banner === undefined ? {} : { banner: { js: banner } }),
  })
}

function explainFailure(errors: readonly Message[], folder: string): MeshError {
  const addon = errors.find((it) => it.text.startsWith(NATIVE_ADDON))
  if (addon !== undefined) {
    return new MeshError(
      'ERR_MESH_TASK_NATIVE_ADDON',
      `${place(addon, folder)}: the task imports the ${addon.text}; compiled code does not run on every peer, and tasks cannot carry it`,
      { details: placeDetails(addon, folder) },
    )
  }
  const syntax = errors.find((it) => importOf(it) === undefined)
  if (syntax !== undefined) {
    return new MeshError('ERR_MESH_TASK_SYNTAX', `${place(syntax, folder)}: ${syntax.text}`, {
      details: placeDetails(syntax, folder),
    })
  }
  const first = errors[0]!
  const name = importOf(first)!
  const advice = /^[./]/.test(name)
    ? 'which does not exist'
    : `which is not installed: npm install ${packageOf(name)}`
  return new MeshError(
    'ERR_MESH_TASK_IMPORT',
    `${place(first, folder)}: the task imports "${name}", ${advice}`,
    { details: { ...placeDetails(first, folder), import: name } },
  )
}

function importOf(message: Message): string | undefined {
  return /^Could not resolve "(.*)"/.exec(message.text)?.[1]
}

function packageOf(name: string): string {
  return name
    .split('/')
    .slice(0, name.startsWith('@') ? 2 : 1)
    .join('/')
}

function placeDetails(message: Message, folder: string): Record<string, unknown> {
  const at = message.location
  return at ? { file: resolve(folder, at.file), line: at.line, column: at.column + 1 } : {}
}

function place(message: Message, folder: string): string {
  const at = message.location
  return at ? `${resolve(folder, at.file)}:${at.line}:${at.column + 1}` : folder
}

/** The map never travels, so it may say where the files are. */
function absoluteSources(map: string, folder: string): string {
  if (map === '') return ''
  const parsed = JSON.parse(map) as { sources: string[] }
  parsed.sources = parsed.sources.map((source) =>
    /^[a-z-]+:/.test(source) ? source : pathToFileURL(resolve(folder, source)).href,
  )
  return JSON.stringify(parsed)
}
