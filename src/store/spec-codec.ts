import { hash } from 'node:crypto'
import { itemsOf } from '../base/extents.ts'
import type { BlobHash, GraphTask, JobId, JobInput, JobSpec, JobTask } from '../scheduler/types.ts'
import { type CborReader, protocolError } from './cbor-reader.ts'
import { type CborValue, encodeCbor, hexBytes, int, text, uint } from './cbor-values.ts'
import {
  MAX_INLINE_INPUT_BYTES,
  MAX_INLINE_PLAN_BYTES,
  MAX_KERNEL_ARRAYS,
  MAX_NAME_BYTES,
  MAX_SPEC_BYTES,
} from './limits.ts'
import { optionsValue, readOptions } from './options-codec.ts'

const SPEC_VERSION = 1
const KIND_MODULE = 0
const KIND_KERNEL = 1
const KIND_GRAPH = 2
/** How many fields a task of each kind has. */
const FIELDS = [4, 7, 5]
const INPUT_RANGE = 0
const INPUT_PIECES = 1
const INPUT_INLINE = 2

/**
 * The id of a job: SHA-256 of the canonical CBOR of its spec (docs/protocol.md, "JOB").
 * ERR_MESH_PROTOCOL for a spec that no peer would take (a count that is not an integer, args above 4 KiB…).
 */
export function jobIdOf(spec: JobSpec): JobId {
  return hash('sha256', encodeCbor(specValue(spec)), 'hex') as JobId
}

/** Bytes of the encoded spec. ERR_MESH_PROTOCOL as jobIdOf(). */
export function specBytes(spec: JobSpec): number {
  return encodeCbor(specValue(spec)).length
}

/** `[1, task, input, options, nonce]` */
export function specValue(spec: JobSpec): CborValue[] {
  if (spec.v !== SPEC_VERSION) throw protocolError(`job spec has version ${spec.v}`)
  checkItems(spec.task, spec.input)
  const value = [
    SPEC_VERSION,
    taskValue(spec.task),
    inputValue(spec.input),
    optionsValue(spec.options),
    hexBytes(spec.nonce, 16, 'nonce'),
  ]
  checkSize(encodeCbor(value).length)
  return value
}

export function readSpec(reader: CborReader): JobSpec {
  const start = reader.position
  reader.array('job spec', 5, 5)
  if (reader.uint('job spec version') !== SPEC_VERSION) {
    throw protocolError('job spec has an unknown version')
  }
  const task = readTask(reader)
  const input = readInput(reader)
  checkItems(task, input)
  const options = readOptions(reader)
  const nonce = reader.hex('nonce', 16)
  checkSize(reader.position - start)
  return { v: SPEC_VERSION, task, input, options, nonce }
}

function checkSize(bytes: number): void {
  if (bytes <= MAX_SPEC_BYTES) return
  throw protocolError(`job spec has ${bytes} bytes, at most ${MAX_SPEC_BYTES} are allowed`)
}

/** A kernel's items are those of its output: elements, or rows along x. A composition's are numbered from 0. */
function checkItems(task: JobTask, input: JobInput): void {
  if (task.kind === 'graph' && (input.kind !== 'range' || input.start !== 0)) {
    throw protocolError('the items of a composition are a range from 0')
  }
  if (task.kind !== 'kernel') return
  const items = itemsOf(task.output)
  if (input.kind === 'range' && input.start === 0 && input.count === items) return
  throw protocolError(`the items of a kernel of ${task.output.join(' x ')} are 0..${items}`)
}

function taskValue(task: JobTask): CborValue[] {
  const name = text(task.name, 'task name', MAX_NAME_BYTES)
  const bundle = hexBytes(task.bundle, 32, 'bundle')
  const bundleBytes = uint(task.bundleBytes, 'bundleBytes')
  if (task.kind === 'module') return [KIND_MODULE, name, bundle, bundleBytes]
  if (task.kind === 'graph') return [KIND_GRAPH, name, bundle, bundleBytes, inlinePlan(task)]
  if (task.arrays.length > MAX_KERNEL_ARRAYS) {
    throw protocolError(`a kernel has ${task.arrays.length} arrays, at most ${MAX_KERNEL_ARRAYS}`)
  }
  const arrays = task.arrays.map(({ hash, sizeBytes }) => [
    hexBytes(hash, 32, 'array'),
    uint(sizeBytes, 'sizeBytes'),
  ])
  const output = task.output.map((extent) => uint(extent, 'output'))
  return [KIND_KERNEL, name, bundle, bundleBytes, arrays, output, Number(task.requiresGpu)]
}

function inlinePlan(task: GraphTask): CborValue {
  if (task.plan === undefined) return null
  const bytes = hexBytes(task.plan, task.plan.length >> 1, 'plan')
  if (bytes.length > MAX_INLINE_PLAN_BYTES) {
    throw protocolError(`the plan has ${bytes.length} bytes, at most ${MAX_INLINE_PLAN_BYTES}`)
  }
  checkPlanHash(bytes, task)
  return bytes
}

/** The blob is the same plan: those who have either must not run another. */
function checkPlanHash(bytes: Uint8Array, task: Pick<GraphTask, 'bundle' | 'bundleBytes'>): void {
  if (bytes.length === task.bundleBytes && hash('sha256', bytes, 'hex') === task.bundle) return
  throw protocolError('the plan in the job spec is not the one that it names')
}

function readTask(reader: CborReader): JobTask {
  const fields = reader.array('task', 4, 7)
  const kind = reader.uint('task kind', KIND_GRAPH)
  if (fields !== FIELDS[kind]) throw protocolError('task has a wrong length')
  const common = {
    name: reader.text('task name', MAX_NAME_BYTES),
    bundle: reader.hex('bundle', 32) as BlobHash,
    bundleBytes: reader.uint('bundleBytes'),
  }
  if (kind === KIND_MODULE) return { kind: 'module', ...common }
  if (kind === KIND_GRAPH) {
    if (reader.null()) return { kind: 'graph', ...common }
    const bytes = reader.bytes('plan', MAX_INLINE_PLAN_BYTES)
    checkPlanHash(bytes, common)
    return { kind: 'graph', ...common, plan: Buffer.from(bytes).toString('hex') }
  }
  const count = reader.array('arrays', 0, MAX_KERNEL_ARRAYS)
  const arrays = Array.from({ length: count }, () => {
    reader.array('array', 2, 2)
    return { hash: reader.hex('array', 32) as BlobHash, sizeBytes: reader.uint('sizeBytes') }
  })
  const axes = reader.array('output', 1, 3)
  const output = Array.from({ length: axes }, () => reader.uint('output'))
  const requiresGpu = reader.uint('requires', 1) === 1
  return { kind: 'kernel', ...common, arrays, output, requiresGpu }
}

function inputValue(input: JobInput): CborValue[] {
  if (input.kind === 'range') {
    return [INPUT_RANGE, int(input.start, 'start'), uint(input.count, 'count')]
  }
  const count = uint(input.count, 'count')
  if (input.kind === 'pieces')
    return [INPUT_PIECES, count, hexBytes(input.manifest, 32, 'manifest')]
  const segment = hexBytes(input.segment, input.segment.length >> 1, 'items')
  if (segment.length > MAX_INLINE_INPUT_BYTES) {
    throw protocolError(`items have ${segment.length} bytes, at most ${MAX_INLINE_INPUT_BYTES}`)
  }
  return [INPUT_INLINE, count, segment]
}

function readInput(reader: CborReader): JobInput {
  reader.array('input', 3, 3)
  const kind = reader.uint('input kind', INPUT_INLINE)
  if (kind === INPUT_PIECES) {
    const count = reader.uint('count')
    return { kind: 'pieces', count, manifest: reader.hex('manifest', 32) as BlobHash }
  }
  if (kind === INPUT_INLINE) {
    const count = reader.uint('count', MAX_INLINE_INPUT_BYTES)
    const segment = Buffer.from(reader.bytes('items', MAX_INLINE_INPUT_BYTES)).toString('hex')
    return { kind: 'inline', count, segment }
  }
  const start = reader.int('start')
  const count = reader.uint('count')
  if (!Number.isSafeInteger(start + count)) {
    throw protocolError('the end of the input range is not a safe integer')
  }
  return { kind: 'range', start, count }
}
