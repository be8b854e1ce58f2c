import type { IncomingMessage } from 'node:http'
import { MeshError } from '../../base/errors.ts'
import type { BlobHash, JobInput, JobTask, KernelTask, Range } from '../../scheduler/types.ts'
import { MAX_KERNEL_ARRAYS } from '../../store/limits.ts'
import type { JobRequest } from '../types.ts'
import { fields, hash, whole, wrong } from './fields.ts'
import { checkOptions } from './job-options.ts'
import { MAX_BLOB_UPLOAD_BYTES, MAX_JSON_BODY_BYTES, MAX_RANGES_BODY_BYTES } from './limits.ts'
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

export function readUpload(request: IncomingMessage): Promise<Uint8Array> {
  return readBody(request, MAX_BLOB_UPLOAD_BYTES)
}

/** @throws ERR_MESH_PROTOCOL, ERR_MESH_OPTION_INVALID, ERR_MESH_TOO_LARGE */
export async function readJobRequest(request: IncomingMessage): Promise<JobRequest> {
  return checkJobRequest(await readJson(request))
}

export interface CancelRequest {
  readonly jobs: readonly string[] | 'all'
  readonly reason: string
}

/** @throws ERR_MESH_PROTOCOL, ERR_MESH_TOO_LARGE */
export async function readCancelRequest(request: IncomingMessage): Promise<CancelRequest> {
  return checkCancelRequest(await readJson(request))
}

export function checkCancelRequest(body: unknown): CancelRequest {
  const { jobs, reason = '' } = fields('the body', body, ['jobs', 'reason'])
  if (typeof reason !== 'string') throw wrong('reason', 'a string')
  if (jobs === 'all') return { jobs, reason }
  if (Array.isArray(jobs) && jobs.every((job) => typeof job === 'string')) return { jobs, reason }
  throw wrong('jobs', '"all", or a list of job ids')
}

/** @throws ERR_MESH_PROTOCOL */
export function checkHash(text: string): BlobHash {
  return hash('the hash', text)
}

/** @throws ERR_MESH_PROTOCOL, ERR_MESH_TOO_LARGE */
export async function readRanges(request: IncomingMessage): Promise<Range[]> {
  return checkRanges(await readJson(request, MAX_RANGES_BODY_BYTES))
}

export function checkRanges(body: unknown): Range[] {
  const { ranges } = fields('the body', body, ['ranges'])
  if (!Array.isArray(ranges)) throw wrong('ranges', 'a list of { lo, hi }')
  let last = 0
  return ranges.map((one: unknown) => {
    const range = fields('ranges', one, ['lo', 'hi'])
    const lo = whole('ranges.lo', range.lo, last)
    last = whole('ranges.hi', range.hi, lo)
    return { lo, hi: last }
  })
}

async function readJson(
  request: IncomingMessage,
  maxBytes = MAX_JSON_BODY_BYTES,
): Promise<unknown> {
  const bytes = await readBody(request, maxBytes)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'the body is not JSON', { cause })
  }
}

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
  if (task.kind !== 'module' && task.kind !== 'kernel' && task.kind !== 'graph') {
    throw wrong('task.kind', '"module", "kernel" or "graph"')
  }
  if (typeof task.name !== 'string' || task.name.length === 0 || task.name.length > 128) {
    throw wrong('task.name', 'a string of 1 to 128 characters')
  }
  const common = {
    name: task.name,
    bundle: hash('task.bundle', task.bundle),
    bundleBytes: whole('task.bundleBytes', task.bundleBytes, 1),
  }
  if (task.kind !== 'kernel') return { kind: task.kind, ...common }
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
