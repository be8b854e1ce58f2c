import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { toHex } from '../../src/base/bytes.ts'
import { isMeshError, MeshError } from '../../src/base/errors.ts'
import {
  type ArrayFileWritten,
  arrayFormatOf,
  checkArrayFile,
  type PictureOptions,
  type SizedArray,
  writeArrayFile,
} from '../../src/client/array-files.ts'
import { type CompositionFile, compositionFile } from '../../src/client/compose/file.ts'
import { Output } from '../../src/client/compose/read.ts'
import { toJsonLine } from '../../src/client/format.ts'
import type { JobSource } from '../../src/client/input.ts'
import { Job } from '../../src/client/job.ts'
import { argsFromJson, kernelOf, specOf } from '../../src/client/kernel.ts'
import { readLines, readNdjson } from '../../src/client/lines.ts'
import { Mesh } from '../../src/client/mesh.ts'
import { type SubmitOptions as LibraryOptions, toJobOptions } from '../../src/client/options.ts'
import { bundleOf } from '../../src/client/task-code.ts'
import type { Size } from '../../src/gpu/types.ts'
import type { Composition, Kernel } from '../../src/index.ts'
import type { MeshBackend } from '../../src/node/types.ts'
import type { JobId } from '../../src/scheduler/types.ts'
import type { Context } from './context.ts'
import { inFlags } from './flag-words.ts'
import { type InputSource, itemsOfKernel, openInput } from './input.ts'

export type { ArrayFileWritten } from '../../src/client/array-files.ts'
export type { CompositionFile } from '../../src/client/compose/file.ts'
export type { Composition, Kernel } from '../../src/index.ts'
export type SubmitOptions = Omit<LibraryOptions, 'onProgress'>

export interface FoundJob {
  readonly job: Job
  /** Extents of a kernel's output; null: of another task. */
  readonly size: readonly number[] | null
}

/** What the command uses of the library, in one place: it is imported only by the commands that need it. */
export interface Library {
  /** @throws ERR_MESH_OPTION_INVALID */
  checkOptions(options: SubmitOptions): void
  /** @throws ERR_MESH_TICKET_DAMAGED */
  checkTicket(ticket: string): Promise<void>
  /** @throws ERR_MESH_TICKET_MISMATCH when the running peer belongs to another mesh than the ticket */
  checkSameMesh(backend: MeshBackend, ticket: string): Promise<void>
  submit(
    context: Context,
    backend: MeshBackend,
    task: string | Kernel | Composition,
    source: InputSource | undefined,
    options: SubmitOptions,
  ): Promise<Job>
  /**
   * The kernel that a file has as its default export, which is run for that in this process; undefined when it has another, without
   * running it. `thorough` false: only if the file itself speaks of defineKernel. @throws ERR_MESH_TASK_*
   */
  kernelOf(path: string, thorough: boolean): Promise<Kernel | undefined>
  /**
   * The composition that a file has as its default export, or that the function there gives for `args`: the file is run in this process.
   * undefined when it has another. @throws ERR_MESH_TASK_*
   */
  compositionOf(path: string, args: unknown): Promise<CompositionFile | undefined>
  /** How the value of a composition is made of its items. @throws ERR_MESH_INPUT_LOST */
  outputOf(backend: MeshBackend, id: string): Promise<Output>
  /** Loads a task file in a process of its own, for what is wrong with it. @throws ERR_MESH_TASK_* */
  checkTask(path: string): Promise<void>
  /**
   * The options as a kernel is submitted with them: `args` are a value for each parameter, null the kernel's own.
   * @throws ERR_MESH_OPTION_INVALID, ERR_MESH_KERNEL_INVALID, ERR_MESH_TASK_INVALID
   */
  kernelOptions(kernel: Kernel, options: SubmitOptions): SubmitOptions
  /** Whether an array of this size can be written there, and is written as one at all. @throws ERR_MESH_OPTION_INVALID */
  checkArrayFile(path: string, size: readonly number[]): Promise<void>
  /** Whether a file is of a format that holds an array alone. */
  isArrayFile(path: string): boolean
  /** @throws ERR_MESH_OPTION_INVALID, ERR_MESH_DISK_FULL */
  writeArray(path: string, array: SizedArray, picture?: PictureOptions): Promise<ArrayFileWritten>
  /** A job that was submitted before. @throws ERR_MESH_JOB_UNKNOWN, ERR_MESH_JOB_AMBIGUOUS */
  findJob(backend: MeshBackend, id: string): Promise<FoundJob>
  /** One line of JSON: undefined -> null, bytes -> base64, BigInt -> string. */
  formatValue(value: unknown): string
}

export const library: Library = {
  checkOptions(options) {
    try {
      toJobOptions(options)
    } catch (error) {
      throw inFlags(error)
    }
  },
  checkTicket: async (ticket) => void (await decode(ticket)),
  async checkSameMesh(backend, ticket) {
    const { meshKey } = await decode(ticket)
    const meant = toHex(createHash('sha256').update(meshKey).digest().subarray(0, 8))
    const { mesh, dataDir, pid } = await backend.status()
    if (meant === mesh) return
    throw new MeshError(
      'ERR_MESH_TICKET_MISMATCH',
      `the ticket is of mesh ${meant.slice(0, 8)}, but the peer that runs on ${dataDir} (process ${pid}) is in mesh ${mesh.slice(0, 8)}: leave out --ticket, or use another folder (--data DIR)`,
      { details: { ticket: meant, folder: mesh } },
    )
  },
  async submit(context, backend, task, source, options) {
    const mesh = new Mesh(backend)
    if (typeof task !== 'string')
      return (await mesh.submit(task as Kernel, undefined, options)) as Job
    try {
      return await mesh.submit(task, await toSource(source!, context), options)
    } catch (error) {
      // A file that gives another one's kernel on has not told so before.
      const kernel =
        isMeshError(error, 'ERR_MESH_TASK_INVALID') && (await onStderr(() => kernelOf(task)))
      throw kernel ? itemsOfKernel(kernel.name, source!) : error
    }
  },
  async kernelOf(path, thorough) {
    // What cannot be read is told by the bundler, in its words.
    const text = thorough ? '' : await readFile(path, 'utf8').catch(() => '')
    if (!thorough && !text.includes('defineKernel')) return undefined
    return await onStderr(() => kernelOf(path))
  },
  compositionOf: (path, args) => onStderr(() => compositionFile(path, args)),
  outputOf: async (backend, id) => new Output(await backend.plan(id as JobId)),
  checkTask: async (path) => void (await bundleOf(path)),
  kernelOptions(kernel, options) {
    const { args, ...rest } = options
    toJobOptions(rest)
    const inputs = args === undefined ? undefined : argsFromJson(kernel, args, '--args')
    specOf(kernel, inputs)
    return { ...rest, ...(inputs === undefined ? {} : { args: inputs }) }
  },
  checkArrayFile: async (path, size) => void (await checkArrayFile(path, size as Size)),
  isArrayFile(path) {
    try {
      // NDJSON in a .csv opens somewhere; in these it opens nowhere.
      return arrayFormatOf(path) !== 'csv'
    } catch {
      return false
    }
  },
  writeArray: (path, array, picture) => writeArrayFile(path, array, picture),
  async findJob(backend, id) {
    const info = await backend.job(id)
    return {
      job: new Job({
        backend,
        id: info.id as JobId,
        items: info.items,
        composed: info.task.kind === 'graph',
      }),
      size: info.output,
    }
  },
  formatValue: toJsonLine,
}

/** What a kernel's file prints while it is run here must not stand among the results. */
async function onStderr<T>(use: () => Promise<T>): Promise<T> {
  const { log, info, debug, error } = console
  Object.assign(console, { log: error, info: error, debug: error })
  try {
    return await use()
  } finally {
    Object.assign(console, { log, info, debug })
  }
}

async function decode(ticket: string): Promise<{ readonly meshKey: Uint8Array }> {
  const { decodeTicket } = await import('../../src/node/wire/ticket.ts')
  return decodeTicket(ticket)
}

async function toSource(source: InputSource, context: Context): Promise<JobSource> {
  if (source.kind === 'range') return { range: source.range }
  const { kind, bytes } = await openInput(source, context)
  const name = source.from === '-' ? 'standard input' : source.from
  return { items: kind === 'lines' ? readLines(bytes, { name }) : readNdjson(bytes, { name }) }
}
