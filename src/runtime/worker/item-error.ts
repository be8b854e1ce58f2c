/** What a task threw, as plain data. Anything may be thrown, and its getters may throw in turn. */
import { MAX_MESSAGE_CHARS, MAX_STACK_CHARS } from '../limits.ts'
import type { ErrorFrame } from './frames.ts'

/** How files of bundles begin in stacks, and what stands in their place. */
const bundleFiles: { readonly url: string; readonly path: string; readonly shown: string }[] = []
export function showBundleAs(url: string, path: string, shown: string): void {
  bundleFiles.push({ url, path, shown })
}

const OUT_OF_MEMORY =
  /array buffer allocation failed|could not allocate memory|invalid array buffer length/i

export function toErrorFrame(thrown: unknown, code = 'ERR_MESH_ITEM_THREW'): ErrorFrame {
  try {
    if (thrown instanceof Error || isErrorLike(thrown)) return fromError(thrown as Error, code)
    return { code, name: typeName(thrown), message: `${show(thrown)} was thrown` }
  } catch {
    return { code, name: 'Error', message: 'something that cannot be read was thrown' }
  }
}

/** What an item fails with whose task threw. `limit`: the time limit that it had passed. */
export function explainThrown(
  thrown: unknown,
  limit: { readonly isSoft: boolean; readonly ms: number } | undefined,
  memoryBytes: number,
): ErrorFrame {
  const error = toErrorFrame(thrown)
  if (limit !== undefined) {
    const [code, what, flag] = limit.isSoft
      ? ['ERR_MESH_SOFT_TIME_LIMIT', 'soft limit', '--soft-time-limit']
      : ['ERR_MESH_TIME_LIMIT', 'limit', '--time-limit']
    const message = `the item ran longer than its ${what} of ${limit.ms / 1000} s (${flag}) and stopped with: ${error.message}`
    return { ...error, code, name: 'MeshError', message }
  }
  if (!isOutOfMemory(thrown)) return error
  const capMiB = Math.round(memoryBytes / 2 ** 20)
  const message = `the task needed more memory than its cap of ${capMiB} MB; --memory sets the cap (${error.message})`
  return { ...error, code: 'ERR_MESH_MEMORY_LIMIT', name: 'MeshError', message }
}

/** True for the RangeError of an allocation that the memory cap refused. */
function isOutOfMemory(thrown: unknown): boolean {
  return thrown instanceof RangeError && OUT_OF_MEMORY.test(thrown.message)
}

function fromError(error: Error, code: string): ErrorFrame {
  const name = String(error.name || 'Error').slice(0, 256)
  const message = String(error.message).slice(0, MAX_MESSAGE_CHARS)
  const stack = typeof error.stack === 'string' ? cleanStack(error.stack) : undefined
  return stack === undefined ? { code, name, message } : { code, name, message, stack }
}

const INTERNAL = /node:internal\/|\/src\/runtime\/worker\//

/** Drops the frames of the worker itself and the temporary folder's name. */
function cleanStack(stack: string): string {
  const lines = stack.split('\n').filter((line) => !/^\s+at /.test(line) || !INTERNAL.test(line))
  let text = lines.join('\n').slice(0, MAX_STACK_CHARS)
  for (const { url, path, shown } of bundleFiles) {
    text = text.replaceAll(url, shown).replaceAll(path, shown)
  }
  return text
}

function isErrorLike(thrown: unknown): boolean {
  return Object.prototype.toString.call(thrown) === '[object Error]'
}

function typeName(thrown: unknown): string {
  return thrown === null ? 'null' : typeof thrown
}

function show(thrown: unknown): string {
  if (typeof thrown === 'string') return JSON.stringify(thrown).slice(0, MAX_MESSAGE_CHARS)
  if (typeof thrown === 'object' && thrown !== null) {
    return (JSON.stringify(thrown) ?? 'an object').slice(0, MAX_MESSAGE_CHARS)
  }
  return String(thrown).slice(0, MAX_MESSAGE_CHARS)
}
