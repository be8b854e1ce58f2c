import { promisify } from 'node:util'
import { constants, deflateRaw, inflateRaw } from 'node:zlib'
import type { Stream, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../base/errors.ts'
import { FrameReader, frame } from './framing.ts'
import {
  MAX_PIECE_BYTES,
  MIN_COMPRESS_BYTES,
  MIN_GAIN,
  PAUSE_ABOVE_BYTES,
  RESUME_BELOW_BYTES,
  SAMPLE_BYTES,
  STALL_TIMEOUT_MS,
} from './limits.ts'

const deflate = promisify<Uint8Array, { level: number }, Buffer>(deflateRaw)
const inflate = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflateRaw)

const RAW = 0
const DEFLATED = 1

/** Cuts and joins a byte source into pieces of at most 256 KiB. */
export async function* pieces(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength; at += MAX_PIECE_BYTES) {
      const part = chunk.subarray(at, at + MAX_PIECE_BYTES)
      if (bytes + part.byteLength > MAX_PIECE_BYTES) {
        yield join(held)
        held = []
        bytes = 0
      }
      held.push(part)
      bytes += part.byteLength
    }
  }
  if (bytes > 0) yield join(held)
}

/** Marks each piece raw or deflated; compresses only when a sample of the first says that it pays. */
export function compress(enabled: boolean) {
  return async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let pays: boolean | undefined = enabled ? undefined : false
    for await (const piece of source) {
      pays ??= await worthwhile(piece)
      const body = pays ? await deflate(piece, { level: constants.Z_BEST_SPEED }) : undefined
      yield body !== undefined && body.byteLength < piece.byteLength
        ? tagged(DEFLATED, body)
        : tagged(RAW, piece)
    }
  }
}

export async function* decompress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    const body = piece.subarray(1)
    if (piece[0] === RAW) yield body
    else if (piece[0] === DEFLATED) yield await inflated(body)
    else throw new MeshError('ERR_MESH_PROTOCOL', 'piece of a blob in an unknown form')
  }
}

export async function* framed(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const piece of source) yield Buffer.concat(frame(piece))
}

export async function* unframed(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new FrameReader(MAX_PIECE_BYTES + 1)
  for await (const chunk of source) yield* reader.push(chunk)
  if (!reader.empty) throw new MeshError('ERR_MESH_PROTOCOL', 'blob ended within a piece')
}

/** Ends after exactly `sizeBytes`; more or less is ERR_MESH_PROTOCOL. */
export function exactly(sizeBytes: number) {
  return async function* (source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    let left = sizeBytes
    if (left > 0) {
      for await (const piece of source) {
        left -= piece.byteLength
        if (left < 0) throw new MeshError('ERR_MESH_PROTOCOL', 'blob is longer than it said')
        yield piece
        if (left === 0) return
      }
    }
    if (left > 0) throw new MeshError('ERR_MESH_PROTOCOL', `blob ended ${left} bytes early`)
  }
}

/** A sink that waits while the stream's send buffer is full. */
export function sendTo(stream: Stream) {
  return async (source: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of source) {
      if (stream.status !== 'open') throw closed()
      if (!stream.send(chunk)) await drained(stream)
    }
  }
}

/** The bytes of a stream, with back pressure: it is paused while more than 1 MiB waits here. */
export async function* receiveFrom(stream: Stream): AsyncGenerator<Uint8Array> {
  const queue: Uint8Array[] = []
  let bytes = 0
  let ended = stream.readableEnded
  let error: Error | undefined
  let paused = false
  let wake: () => void = () => undefined
  const onMessage = (event: StreamMessageEvent) => {
    const chunk = event.data.subarray()
    queue.push(chunk)
    bytes += chunk.byteLength
    if (!paused && bytes > PAUSE_ABOVE_BYTES) {
      paused = true
      // A pause within the handler is undone by the stream itself.
      queueMicrotask(() => paused && stream.pause())
    }
    wake()
  }
  const onEnd = () => {
    ended = true
    wake()
  }
  const onClose = (event: { error?: Error }) => {
    error ??= event.error
    onEnd()
  }
  stream.addEventListener('message', onMessage)
  stream.addEventListener('end', onEnd)
  stream.addEventListener('remoteCloseWrite', onEnd)
  stream.addEventListener('close', onClose)
  try {
    for (;;) {
      const chunk = queue.shift()
      if (chunk !== undefined) {
        bytes -= chunk.byteLength
        if (paused && bytes < RESUME_BELOW_BYTES) {
          paused = false
          stream.resume()
        }
        yield chunk
        continue
      }
      if (error !== undefined) throw error
      if (ended && stream.readBufferLength === 0) return
      await wakeUp((resolve) => {
        wake = resolve
      })
    }
  } finally {
    stream.removeEventListener('message', onMessage)
    stream.removeEventListener('end', onEnd)
    stream.removeEventListener('remoteCloseWrite', onEnd)
    stream.removeEventListener('close', onClose)
  }
}

async function drained(stream: Stream): Promise<void> {
  let done: () => void = () => undefined
  try {
    await wakeUp((resolve) => {
      done = resolve
      stream.addEventListener('drain', done)
      stream.addEventListener('close', done)
      if (!stream.writableNeedsDrain || stream.status !== 'open') resolve()
    })
  } finally {
    stream.removeEventListener('drain', done)
    stream.removeEventListener('close', done)
  }
  if (stream.status !== 'open') throw closed()
}

/** Waits for `resolve`, but not for ever. */
function wakeUp(register: (resolve: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new MeshError('ERR_MESH_TIMEOUT', 'a transfer made no progress')),
      STALL_TIMEOUT_MS,
    )
    register(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

async function worthwhile(piece: Uint8Array): Promise<boolean> {
  if (piece.byteLength < MIN_COMPRESS_BYTES) return false
  const sample = piece.subarray(0, SAMPLE_BYTES)
  const small = await deflate(sample, { level: constants.Z_BEST_SPEED })
  return small.byteLength < sample.byteLength * (1 - MIN_GAIN)
}

async function inflated(body: Uint8Array): Promise<Uint8Array> {
  try {
    return await inflate(body, { maxOutputLength: MAX_PIECE_BYTES })
  } catch (cause) {
    throw new MeshError('ERR_MESH_PROTOCOL', 'piece of a blob does not inflate', { cause })
  }
}

function tagged(tag: number, body: Uint8Array): Uint8Array {
  const piece = Buffer.allocUnsafe(body.byteLength + 1)
  piece[0] = tag
  piece.set(body, 1)
  return piece
}

function join(parts: Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

function closed(): MeshError {
  return new MeshError('ERR_MESH_UNREACHABLE', 'the connection closed during a transfer')
}
