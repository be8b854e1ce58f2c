/** Loads a bundle in a process of its own, on the submitter: what does it export, and do the items pass its schema? */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MeshError, type MeshErrorCode } from '../base/errors.ts'
import { silentLogger } from '../base/logger.ts'
import { explainDeath } from './death.ts'
import {
  CHECK_BATCH_BYTES,
  CHECK_BATCH_ITEMS,
  CHECK_MEMORY_BYTES,
  CHECK_TIMEOUT_MS,
} from './limits.ts'
import { encodeSegment, encodeValue } from './segment.ts'
import { mapStack } from './stacks.ts'
import { describeIssues, type StandardSchema } from './task.ts'
import type { TaskBundle } from './types.ts'
import type { CheckedFrame, ErrorFrame, ReadyFrame } from './worker/frames.ts'
import { WorkerProcess } from './worker-process.ts'

type Loadable = Pick<TaskBundle, 'code' | 'hash' | 'map'>

export interface RefusedItem {
  /** Position in the items that were given. */
  readonly index: number
  /** What the schema says, each as `path: message`. */
  readonly issues: readonly string[]
}

export interface ItemChecker {
  /** The items that the task's schema refuses; an empty list is good. Rejects with ERR_MESH_TASK_INVALID when the schema itself fails. */
  check(items: readonly unknown[]): Promise<RefusedItem[]>
  close(): Promise<void>
}

/** Name and schema of the bundle's task. `path` is for messages. */
export async function inspectBundle(bundle: Loadable, path: string): Promise<ReadyFrame> {
  const { worker, ready } = await loadInWorker(bundle, path)
  worker.kill('retired')
  await worker.ended
  return ready
}

const elsewhere = new WeakSet<StandardSchema>()

/** The schema of a task file, which only the process that loads the file has: each validate() starts one. */
export function schemaElsewhere(bundle: Loadable & { readonly name: string }): StandardSchema {
  const schema: StandardSchema = {
    '~standard': {
      version: 1,
      vendor: 'meshwork',
      validate: async (value) => {
        const checker = await createItemChecker({ ...bundle, inputSchema: schema })
        try {
          const [refused] = await checker.check([value])
          return refused === undefined
            ? { value }
            : { issues: refused.issues.map((message) => ({ message })) }
        } finally {
          await checker.close()
        }
      },
    },
  }
  elsewhere.add(schema)
  return schema
}

/** Checks items before they are sent: with the schema at hand, or in a process that has loaded the bundle. */
export async function createItemChecker(
  bundle: Loadable & Pick<TaskBundle, 'name' | 'inputSchema'>,
): Promise<ItemChecker> {
  const schema = bundle.inputSchema
  if (schema === undefined) return { check: async () => [], close: async () => {} }
  if (!elsewhere.has(schema)) return checkHere(schema)
  const { worker } = await loadInWorker(bundle, `the task "${bundle.name}"`)
  return {
    check: async (items) => {
      const refused: RefusedItem[] = []
      for (const { first, segment } of batches(items)) {
        const answer = await ask(worker, segment, bundle)
        for (const it of answer) refused.push({ ...it, index: first + it.index })
      }
      return refused
    },
    close: async () => {
      worker.kill('retired')
      await worker.ended
    },
  }
}

async function loadInWorker(
  bundle: Loadable,
  path: string,
): Promise<{ worker: WorkerProcess; ready: ReadyFrame }> {
  const folder = await mkdtemp(join(tmpdir(), 'mesh-check-'))
  const worker = new WorkerProcess({
    memoryBytes: CHECK_MEMORY_BYTES,
    loadTimeoutMs: CHECK_TIMEOUT_MS,
    nice: false,
    log: silentLogger,
  })
  try {
    const file = join(folder, 'bundle')
    await writeFile(file, bundle.code)
    worker.init({
      tasks: [{ bundle: { hash: bundle.hash, path: file } }],
      args: undefined,
      peer: { id: '', name: '' },
      checkOnly: true,
    })
    const loaded = await worker.loaded
    if (loaded.ok) return { worker, ready: loaded.ready }
    worker.kill('retired')
    await worker.ended
    if ('error' in loaded) throw refusal(loaded.error, bundle, path)
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      loaded.death.killed === 'loadTime'
        ? `${path} did not finish loading in ${CHECK_TIMEOUT_MS / 1000} s: long preparations belong in setup()`
        : `${path} ended the process that loaded it: ${explainDeath(loaded.death, undefined).error.message}`,
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function refusal(error: ErrorFrame, bundle: Loadable, path: string): MeshError {
  if (error.code.startsWith('ERR_MESH_TASK_')) {
    return new MeshError(error.code as MeshErrorCode, `${path}: ${error.message}`)
  }
  const stack = mapStack(error.stack ?? '', bundle.map, bundle.hash)
  const at = /\(?([^\s()]+:\d+:\d+)\)?/.exec(
    stack.split('\n').find((it) => /^\s+at /.test(it)) ?? '',
  )
  return new MeshError(
    'ERR_MESH_TASK_INVALID',
    `${path} threw while it was loaded: ${error.name}: ${error.message}${at ? ` (${at[1]})` : ''}`,
    { details: { stack } },
  )
}

async function ask(
  worker: WorkerProcess,
  segment: Uint8Array,
  bundle: Loadable,
): Promise<CheckedFrame['refused']> {
  const answered = new Promise<CheckedFrame>((resolve) => {
    worker.onChecked = resolve
  })
  worker.check(segment)
  const answer = await Promise.race([answered, worker.ended])
  if (answer === undefined) {
    throw new MeshError('ERR_MESH_TASK_INVALID', 'the process that checks items has ended')
  }
  if (answer.error !== undefined) {
    throw new MeshError(
      'ERR_MESH_TASK_INVALID',
      `the task's input schema threw: ${answer.error.message}`,
      { details: { stack: mapStack(answer.error.stack ?? '', bundle.map, bundle.hash) } },
    )
  }
  return answer.refused
}

function* batches(items: readonly unknown[]): Generator<{ first: number; segment: Uint8Array }> {
  let first = 0
  let count = CHECK_BATCH_ITEMS
  while (first < items.length) {
    const slice = items.slice(first, first + count)
    const segment = encodeBatch(slice, first)
    // Large items: fewer at a time, so that neither side holds much.
    if (segment.length > CHECK_BATCH_BYTES && count > 1 && slice.length > 1) {
      count = Math.max(1, Math.floor((slice.length * CHECK_BATCH_BYTES) / segment.length / 2))
      continue
    }
    yield { first, segment }
    first += slice.length
  }
}

function encodeBatch(slice: readonly unknown[], first: number): Uint8Array {
  try {
    return encodeSegment(slice)
  } catch (error) {
    const index = error instanceof MeshError ? error.details.index : undefined
    if (typeof index !== 'number') throw error
    // Again by itself, for a message that counts from the first of all items.
    throw new MeshError((error as MeshError).code, numbered(slice[index], first + index), {
      details: { index: first + index },
    })
  }
}

function numbered(item: unknown, index: number): string {
  try {
    encodeValue(item)
  } catch (error) {
    if (error instanceof Error) return error.message.replace('the value', `item ${index}`)
  }
  return `item ${index} cannot be sent`
}

function checkHere(schema: StandardSchema): ItemChecker {
  return {
    check: async (items) => {
      const refused: RefusedItem[] = []
      for (let index = 0; index < items.length; index++) {
        const result = schema['~standard'].validate(items[index])
        const { issues } = result instanceof Promise ? await result : result
        if (issues !== undefined) refused.push({ index, issues: describeIssues(issues) })
      }
      return refused
    },
    close: async () => {},
  }
}
