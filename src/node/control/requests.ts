import type { IncomingMessage } from 'node:http'
import { MeshError } from '../../base/errors.ts'
import type { BlobHash, JobInput, JobOptions, JobTask, KernelTask } from '../../scheduler/types.ts'
import { MAX_KERNEL_ARRAYS } from '../../store/limits.ts'
import { MAX_REPLICAS } from '../limits.ts'
import type { JobRequest } from '../types.ts'
import { MAX_BLOB_UPLOAD_BYTES, MAX_JSON_BODY_BYTES } from './limits.ts'
import { HttpError } from './wire-error.ts'

/** The whole body, at most `maxBytes` of it. What is more is not kept, and the request is refused (413). */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const tooLarge = () =>
    new HttpError(413, 'ERR_MESH_TOO_LARGE', `the body is larger than ${maxBytes} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > maxBytes) return Promise.reject(tooLarge())
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let sizeBytes = 0
    const settle = (act: () => void) => {
      request.off('data', onData)
      request.off('end', onEnd)
      request.off('close', onClose)
      act()
    }
    const onData = (part: Buffer) => {
      sizeBytes += part.byteLength
      if (sizeBytes <= maxBytes) parts.push(part)
      // The rest is read and dropped, so that the other end gets to read the answer.
      else settle(() => reject(tooLarge()))
    }
    const onEnd = () => settle(() => resolve(parts.length === 1 ? parts[0]! : Buffer.concat(parts)))
    const onClose = () =>
      settle(() => reject(new HttpError(400, 'ERR_MESH_PROTOCOL', 'the body was cut off')))
    request.on('data', onData)
    request.on('end', onEnd)
    request.on('close', onClose)
  })
}

export function readBlob(request: IncomingMessage): Promise<Uint8Array> {
  return readBody(request, MAX_BLOB_UPLOAD_BYTES)
}

/** @throws ERR_MESH_PROTOCOL, ERR_MESH_OPTION_INVALID, ERR_MESH_TOO_LARGE */
export async function readJobRequest(request: IncomingMessage): Promise<JobRequest> {
  const bytes = await readBody(request, MAX_JSON_BODY_BYTES)
  let body: unknown
  try {
    body = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'the body is not JSON', { cause })
  }
  return checkJobRequest(body)
}

type Fields = Record<string, unknown>

/** A submission in the form that the scheduler relies on; unknown fields are refused, since they would be lost silently. */
export function checkJobRequest(body: unknown): JobRequest {
  const { task, input, options, detach } = fields('the body', body, [
    'task',
    'input',
    'options',
    'detach',
  ])
  if (detach !== undefined && typeof detach !== 'boolean') throw wrong('detach', 'true or false')
  return {
    task: checkTask(task),
    input: checkInput(input),
    options: checkOptions(options),
    ...(detach === true && { detach }),
  }
}

const KERNEL_FIELDS = ['arrays', 'output', 'requiresGpu']

function checkTask(value: unknown): JobTask {
  const task = fields('task', value, ['kind', 'name', 'bundle', 'bundleBytes', ...KERNEL_FIELDS])
  if (task.kind !== 'module' && task.kind !== 'kernel') {
    throw wrong('task.kind', '"module" or "kernel"')
  }
  if (typeof task.name !== 'string' || task.name.length === 0 || task.name.length > 128) {
    throw wrong('task.name', 'a string of 1 to 128 characters')
  }
  const common = {
    name: task.name,
    bundle: hash('task.bundle', task.bundle),
    bundleBytes: whole('task.bundleBytes', task.bundleBytes, 1),
  }
  if (task.kind === 'module') return { kind: 'module', ...common }
  const { output, requiresGpu } = task
  if (!Array.isArray(output) || output.length < 1 || output.length > 3) {
    throw wrong('task.output', '1 to 3 extents')
  }
  if (typeof requiresGpu !== 'boolean') throw wrong('task.requiresGpu', 'true or false')
  return {
    kind: 'kernel',
    ...common,
    arrays: checkArrays(task.arrays),
    output: output.map((extent) => whole('task.output', extent, 1)),
    requiresGpu,
  }
}

function checkArrays(value: unknown): KernelTask['arrays'] {
  if (!Array.isArray(value) || value.length > MAX_KERNEL_ARRAYS) {
    throw wrong('task.arrays', `a list of at most ${MAX_KERNEL_ARRAYS}`)
  }
  return value.map((one: unknown) => {
    const array = fields('task.arrays', one, ['hash', 'sizeBytes'])
    return {
      hash: hash('task.arrays', array.hash),
      sizeBytes: whole('task.arrays', array.sizeBytes, 1),
    }
  })
}

function checkInput(value: unknown): JobInput {
  const input = fields('input', value, ['kind', 'start', 'count', 'manifest', 'segment'])
  const count = whole('input.count', input.count, 0)
  if (input.kind === 'pieces') {
    return { kind: 'pieces', count, manifest: hash('input.manifest', input.manifest) }
  }
  if (input.kind === 'inline') {
    const { segment } = input
    if (typeof segment !== 'string' || !/^(?:[0-9a-f]{2}){12,2048}$/.test(segment)) {
      throw wrong('input.segment', 'the hex of a segment of at most 2048 bytes')
    }
    return { kind: 'inline', count, segment }
  }
  if (input.kind !== 'range') throw wrong('input.kind', '"range", "inline" or "pieces"')
  const start = whole('input.start', input.start, Number.MIN_SAFE_INTEGER)
  if (!Number.isSafeInteger(start + count)) throw wrong('input', 'a range of safe integers')
  return { kind: 'range', start, count }
}

const COUNTS = {
  chunkSize: 1,
  timeLimitMs: 1,
  memoryBytes: 1,
  retries: 0,
  maxItemsPerWorker: 1,
  replicas: 1,
} as const

function checkOptions(value: unknown): JobOptions {
  const names = ['args', 'speculate', ...Object.keys(COUNTS)]
  const options = fields('options', value, names)
  const { args, speculate } = options
  if (speculate !== undefined && typeof speculate !== 'boolean') {
    throw wrong('options.speculate', 'true or false', 'ERR_MESH_OPTION_INVALID')
  }
  if (args !== undefined && !(typeof args === 'string' && /^(?:[0-9a-f]{2})*$/.test(args))) {
    throw wrong('options.args', 'msgpack bytes in lower-case hex', 'ERR_MESH_OPTION_INVALID')
  }
  const out: Fields = {
    ...(args !== undefined && { args }),
    ...(speculate !== undefined && { speculate }),
  }
  for (const [name, min] of Object.entries(COUNTS)) {
    const count = options[name]
    if (count === undefined) continue
    out[name] = whole(`options.${name}`, count, min, 'ERR_MESH_OPTION_INVALID')
  }
  if (typeof out.replicas === 'number' && out.replicas > MAX_REPLICAS) {
    throw wrong('options.replicas', `at most ${MAX_REPLICAS}`, 'ERR_MESH_OPTION_INVALID')
  }
  return out as JobOptions
}

function fields(name: string, value: unknown, known: readonly string[]): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(name, 'an object')
  }
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw wrong(`${name}.${key}`, `one of ${known.join(', ')}`)
  }
  return value as Fields
}

function hash(name: string, value: unknown): BlobHash {
  if (typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)) return value as BlobHash
  throw wrong(name, 'a SHA-256 as 64 lower-case hex characters')
}

function whole(
  name: string,
  value: unknown,
  min: number,
  code: 'ERR_MESH_PROTOCOL' | 'ERR_MESH_OPTION_INVALID' = 'ERR_MESH_PROTOCOL',
): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min) return value
  throw wrong(name, min < 0 ? 'a whole number' : `a whole number from ${min} up`, code)
}

function wrong(
  name: string,
  right: string,
  code: 'ERR_MESH_PROTOCOL' | 'ERR_MESH_OPTION_INVALID' = 'ERR_MESH_PROTOCOL',
): MeshError {
  return new MeshError(code, `${name} is wrong: it must be ${right}`, { details: { field: name } })
}
