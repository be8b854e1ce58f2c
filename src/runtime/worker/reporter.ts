/** Writes frames to the peer, synchronously: what was reported before a death has arrived. */
import { writeSync, writevSync } from 'node:fs'
import { encodeValue } from '../segment.ts'
import { FRAME, frameHead, MARK_BYTES, REPORT_FD, writeOutputHead } from './frames.ts'

/** Not process.exit: a task may have replaced it, and its handlers must not run when the peer is gone. */
const reallyExit = (process as unknown as { reallyExit(code: number): never }).reallyExit.bind(
  process,
)
const sleeper = new Int32Array(new SharedArrayBuffer(4))

/** Ends this process at once, silently: nobody is there to hear. */
export function exitNow(code: number): never {
  return reallyExit(code)
}

function writeAll(buffers: Uint8Array[]): void {
  let left = buffers
  while (left.length > 0) {
    let written: number
    try {
      written = left.length === 1 ? writeSync(REPORT_FD, left[0]!) : writevSync(REPORT_FD, left)
    } catch (error) {
      // The pipe blocks by itself; some platforms hand it over as non-blocking, then we wait for room.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') exitNow(1)
      Atomics.wait(sleeper, 0, 0, 1)
      continue
    }
    left = dropBytes(left, written)
  }
}

function dropBytes(buffers: Uint8Array[], count: number): Uint8Array[] {
  let rest = count
  let i = 0
  while (i < buffers.length && rest >= buffers[i]!.length) rest -= buffers[i++]!.length
  if (i === buffers.length) return []
  return rest === 0 ? buffers.slice(i) : [buffers[i]!.subarray(rest), ...buffers.slice(i + 1)]
}

/** A frame whose payload is one msgpack value. */
export function report(type: number, payload: unknown): void {
  const bytes = encodeValue(payload)
  writeAll([frameHead(type, bytes.length), bytes])
}

/** A frame whose payload is these bytes, one after another. */
export function reportParts(type: number, parts: readonly Uint8Array[]): void {
  let size = 0
  for (const part of parts) size += part.length
  writeAll([frameHead(type, size), ...parts])
}

/** Finished values: items lo..hi-1. */
export function reportOutput(
  run: number,
  failed: number,
  lo: number,
  hi: number,
  segment: Uint8Array[],
): void {
  reportParts(FRAME.output, [writeOutputHead(run, failed, lo, hi), ...segment])
}

const markFrame = Buffer.concat([frameHead(FRAME.mark, MARK_BYTES), Buffer.alloc(MARK_BYTES)])
const MARK_AT = markFrame.length - MARK_BYTES

/** Items before `item` are finished, and it starts now; about 2 µs. */
export function reportMark(run: number, item: number, exact: boolean): void {
  markFrame.writeUInt32LE(run, MARK_AT)
  markFrame[MARK_AT + 4] = exact ? 1 : 0
  markFrame.writeDoubleLE(item, MARK_AT + 5)
  writeAll([markFrame])
}
