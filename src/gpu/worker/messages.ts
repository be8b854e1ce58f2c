/**
 * The language of a peer and its GPU process, in the frames of src/runtime/worker/frames.ts: one launch goes in, and of it come `started`
 * and `done` or `failed`. What the process says is checked field by field: it runs what other peers sent.
 */
import { MeshError, type MeshErrorCode } from '../../base/errors.ts'
import { decodeValue } from '../../runtime/segment.ts'
import type { NoGpu } from '../boot.ts'
import { MAX_ADAPTERS, MAX_MESSAGE_CHARS, MAX_NAME_CHARS } from '../limits.ts'

export const MESSAGE = {
  // peer -> process
  launch: 1,
  // process -> peer
  ready: 16,
  noGpu: 17,
  started: 18,
  done: 19,
  failed: 20,
  probed: 21,
} as const

export interface LaunchMessage {
  readonly id: number
  readonly key: string
  /** As kernel-codec.ts encodes it. */
  readonly spec: Uint8Array
  readonly lo: number
  readonly hi: number
  readonly files: Readonly<Record<string, string>>
}

export interface ReadyMessage {
  readonly deviceClass: string
}
export interface NoGpuMessage {
  readonly why: NoGpu
  readonly adapters: readonly string[]
}
/** All is compiled and uploaded: now it runs. */
export interface StartedMessage {
  readonly id: number
}
export interface DoneMessage extends Usage {
  readonly id: number
  readonly preparedMs: number
  readonly elapsedMs: number
  readonly bytes: Uint8Array
}
export interface FailedMessage extends Usage {
  readonly id: number
  readonly code: MeshErrorCode
  readonly message: string
}
/** Memory of the process, in bytes: what it has, and what it keeps on purpose. */
export interface Usage {
  readonly rssBytes: number
  readonly residentBytes: number
}

/** What the probe measured. */
export interface ProbedMessage {
  readonly name: string
  readonly deviceClass: string
  readonly software: boolean
  readonly adapters: readonly string[]
  /** '' when every known answer came out right. */
  readonly wrong: string
  readonly gflops: number
  readonly upMBs: number
  readonly downMBs: number
  readonly maxBufferBytes: number
  readonly maxStorageBuffers: number
}

/**
 * done: 3 bytes 0 · id u32 · preparedMs f64 · elapsedMs f64 · rssBytes f64 · residentBytes f64 · 4 bytes 0, then the output: with the frame's
 * type it lies at a multiple of 4.
 */
const DONE_HEAD_BYTES = 43
const AT = { id: 3, preparedMs: 7, elapsedMs: 15, rssBytes: 23, residentBytes: 31 } as const

export function writeDoneHead(done: Omit<DoneMessage, 'bytes'>): Buffer {
  const head = Buffer.alloc(DONE_HEAD_BYTES)
  head.writeUInt32LE(done.id, AT.id)
  head.writeDoubleLE(done.preparedMs, AT.preparedMs)
  head.writeDoubleLE(done.elapsedMs, AT.elapsedMs)
  head.writeDoubleLE(done.rssBytes, AT.rssBytes)
  head.writeDoubleLE(done.residentBytes, AT.residentBytes)
  return head
}

/** All readers throw ERR_MESH_PROTOCOL, and nothing else. */
export function readDone(payload: Buffer): DoneMessage {
  if (payload.length < DONE_HEAD_BYTES) throw wrong('a short output')
  return {
    id: payload.readUInt32LE(AT.id),
    preparedMs: amount(payload.readDoubleLE(AT.preparedMs), 'preparedMs'),
    elapsedMs: amount(payload.readDoubleLE(AT.elapsedMs), 'elapsedMs'),
    rssBytes: amount(payload.readDoubleLE(AT.rssBytes), 'rssBytes'),
    residentBytes: amount(payload.readDoubleLE(AT.residentBytes), 'residentBytes'),
    bytes: aligned(payload.subarray(DONE_HEAD_BYTES)),
  }
}

/** Fit for a Float32Array over it, and no Buffer, whose slice() is none. Large ones are as they came. */
function aligned(bytes: Buffer): Uint8Array {
  const { buffer, byteOffset, length } = bytes
  return byteOffset % 4 === 0 ? new Uint8Array(buffer, byteOffset, length) : Uint8Array.from(bytes)
}

export function readReady(payload: Uint8Array): ReadyMessage {
  const { deviceClass } = fields(decodeValue(payload), 'ready')
  return { deviceClass: text(deviceClass, 'deviceClass', MAX_NAME_CHARS) }
}

export function readStarted(payload: Uint8Array): StartedMessage {
  const { id } = fields(decodeValue(payload), 'started')
  return { id: amount(id, 'id') }
}

const LAUNCH_ERRORS: readonly MeshErrorCode[] = [
  'ERR_MESH_KERNEL_INVALID',
  'ERR_MESH_KERNEL_FAILED',
  'ERR_MESH_PROTOCOL',
  'ERR_MESH_INTERNAL',
]

export function readFailed(payload: Uint8Array): FailedMessage {
  const it = fields(decodeValue(payload), 'a failure')
  const code = LAUNCH_ERRORS.find((known) => known === it.code)
  if (code === undefined) throw wrong('code')
  return {
    id: amount(it.id, 'id'),
    code,
    message: text(it.message, 'message', MAX_MESSAGE_CHARS),
    rssBytes: amount(it.rssBytes, 'rssBytes'),
    residentBytes: amount(it.residentBytes, 'residentBytes'),
  }
}

export function readNoGpu(payload: Uint8Array): NoGpuMessage {
  const { why, adapters } = fields(decodeValue(payload), 'no GPU')
  const { kind, message, wanted } = fields(why, 'why')
  const names = list(adapters)
  switch (kind) {
    case 'noAdapter':
      return { why: { kind }, adapters: names }
    case 'otherName':
      return { why: { kind, wanted: text(wanted, 'wanted', MAX_NAME_CHARS) }, adapters: names }
    case 'library':
    case 'compiler':
    case 'broken':
      return { why: { kind, message: text(message, 'why', MAX_MESSAGE_CHARS) }, adapters: names }
    default:
      throw wrong('why')
  }
}

export function readProbed(payload: Uint8Array): ProbedMessage {
  const it = fields(decodeValue(payload), 'a probe')
  if (typeof it.software !== 'boolean') throw wrong('software')
  return {
    name: text(it.name, 'name', MAX_NAME_CHARS),
    deviceClass: text(it.deviceClass, 'deviceClass', MAX_NAME_CHARS),
    software: it.software,
    adapters: list(it.adapters),
    wrong: text(it.wrong, 'wrong', MAX_MESSAGE_CHARS),
    gflops: amount(it.gflops, 'gflops'),
    upMBs: amount(it.upMBs, 'upMBs'),
    downMBs: amount(it.downMBs, 'downMBs'),
    maxBufferBytes: amount(it.maxBufferBytes, 'maxBufferBytes'),
    maxStorageBuffers: amount(it.maxStorageBuffers, 'maxStorageBuffers'),
  }
}

function list(value: unknown): string[] {
  if (!Array.isArray(value)) throw wrong('adapters')
  return value.slice(0, MAX_ADAPTERS).map((name) => text(name, 'adapters', MAX_NAME_CHARS))
}

function fields(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw wrong(what)
  return value as Record<string, unknown>
}

function amount(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return value
  throw wrong(what)
}

/** Cut to `maxChars`: it is for people. */
function text(value: unknown, what: string, maxChars: number): string {
  if (typeof value !== 'string') throw wrong(what)
  return value.slice(0, maxChars)
}

function wrong(what: string): MeshError {
  return new MeshError('ERR_MESH_PROTOCOL', `a GPU process's report is wrong: ${what}`)
}
