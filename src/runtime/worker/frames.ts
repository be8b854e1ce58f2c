/**
 * The language of a peer and a worker: frames `u32 length · u8 type · payload` (length counts type and payload, little-endian).
 * The worker reads frames on fd 3 and writes them on fd 4; stdin, stdout and stderr belong to the task.
 */
import { MeshError } from '../../base/errors.ts'
import { MAX_FRAME_BYTES } from '../limits.ts'
import type { Backoff, ChunkInput, ChunkNode, ChunkStep } from '../types.ts'

export const COMMAND_FD = 3
export const REPORT_FD = 4
/** Held open by the peer alone: its end tells the launcher that the peer is gone (launch.ts). */
export const LIFELINE_FD = 5

export const FRAME = {
  // peer -> worker
  init: 1,
  run: 2,
  abort: 3,
  check: 4,
  gpuResult: 5,
  gpuFailed: 6,
  load: 7,
  // worker -> peer
  ready: 16,
  loadFailed: 17,
  output: 18,
  mark: 19,
  ended: 20,
  log: 21,
  itemProgress: 22,
  dying: 23,
  checked: 24,
  gpuArray: 25,
  gpuForget: 26,
  gpuCall: 27,
  gpuCancel: 28,
} as const

/** A task as a worker finds it: the default export of a bundle, or with `pick` the task of that name. */
export type TaskRef = Pick<ChunkStep, 'bundle' | 'pick'>

/** What tells tasks apart, for a peer and its workers. */
export function taskKey({ bundle, pick }: TaskRef): string {
  return pick === undefined ? bundle.hash : `${bundle.hash} ${pick}`
}

export interface InitFrame {
  readonly tasks: readonly TaskRef[]
  readonly args: Uint8Array | undefined
  readonly peer: { readonly id: string; readonly name: string }
  /** Load and look, without setup(). */
  readonly checkOnly: boolean
}
/** More tasks for a worker that has some; answered as init is. */
export interface LoadFrame {
  readonly tasks: readonly TaskRef[]
}
export interface ReadyFrame {
  /** undefined: a plain function without a name. */
  readonly name: string | undefined
  readonly kind: 'task' | 'function'
  readonly hasSchema: boolean
}
export interface ErrorFrame {
  readonly code: string
  readonly name: string
  readonly message: string
  readonly stack?: string
}
export interface RunFrame {
  readonly run: number
  readonly lo: number
  readonly hi: number
  readonly budgetMs: number
  readonly outputBytes: number
  readonly input: ChunkInput
  /** The task of a plain job; absent with `node`. */
  readonly task: TaskRef | undefined
  readonly node: ChunkNode | undefined
  readonly retries: number
  readonly backoff: Backoff | undefined
  readonly softTimeLimitMs: number | undefined
  readonly timeLimitMs: number | undefined
  /** The worker's cap, for messages. */
  readonly memoryBytes: number
  /** Announce every item and hand over every value at once: somebody in here kills workers. */
  readonly careful: boolean
  /** Attempts spent in other runs, by item. */
  readonly attempts: readonly (readonly [item: number, attempts: number])[]
}
export interface EndedFrame {
  readonly run: number
  readonly reached: number
  readonly failed: number
  readonly elapsedMs: number
  readonly ended: 'range' | 'time' | 'output' | 'aborted' | 'inputLost' | 'retry'
  readonly rssBytes: number
  /** What went wrong with the input. */
  readonly message?: string
  /** Of 'retry': when item `reached` is tried again, and for the how manieth time. */
  readonly retry?: { readonly delayMs: number; readonly attempt: number } | undefined
}
export interface LogFrame {
  readonly stream: 'stdout' | 'stderr' | 'log'
  readonly text: string
  readonly item?: number
}
export interface DyingFrame {
  readonly item: number | undefined
  readonly exitCode: number
  readonly error?: ErrorFrame
}
export interface CheckedFrame {
  readonly refused: readonly { readonly index: number; readonly issues: readonly string[] }[]
  readonly error?: ErrorFrame
}

const LENGTH_BYTES = 4
const HEAD_BYTES = LENGTH_BYTES + 1

/** The first bytes of a frame whose payload is `payloadBytes` long. */
export function frameHead(type: number, payloadBytes: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES)
  head.writeUInt32LE(payloadBytes + 1, 0)
  head[LENGTH_BYTES] = type
  return head
}

/** output: run u32 · failed u32 · lo f64 · hi f64, then segments. */
export const OUTPUT_HEAD_BYTES = 24
export function writeOutputHead(run: number, failed: number, lo: number, hi: number): Buffer {
  const bytes = Buffer.allocUnsafe(OUTPUT_HEAD_BYTES)
  bytes.writeUInt32LE(run, 0)
  bytes.writeUInt32LE(failed, 4)
  bytes.writeDoubleLE(lo, 8)
  bytes.writeDoubleLE(hi, 16)
  return bytes
}

/** mark: run u32 · exact u8 · item f64. Items before `item` are finished; exact: no other item starts without a mark. */
export const MARK_BYTES = 13

/** Cuts a byte stream into frames. The payload handed on is the receiver's own: never reused. */
export class FrameReader {
  private readonly onFrame: (type: number, payload: Buffer) => void
  private parts: Buffer[] = []
  private have = 0
  private need = LENGTH_BYTES
  private inBody = false

  constructor(onFrame: (type: number, payload: Buffer) => void) {
    this.onFrame = onFrame
  }

  /** @throws ERR_MESH_PROTOCOL when a frame says that it is empty or larger than MAX_FRAME_BYTES: close the stream. */
  push(chunk: Buffer): void {
    this.parts.push(chunk)
    this.have += chunk.length
    while (this.have >= this.need) {
      const bytes = this.take(this.need)
      if (this.inBody) {
        this.inBody = false
        this.need = LENGTH_BYTES
        this.onFrame(bytes[0]!, bytes.subarray(1))
        continue
      }
      const length = bytes.readUInt32LE(0)
      if (length === 0 || length > MAX_FRAME_BYTES) {
        throw new MeshError('ERR_MESH_PROTOCOL', `a worker's frame of ${length} bytes`)
      }
      this.inBody = true
      this.need = length
    }
  }

  private take(size: number): Buffer {
    const first = this.parts[0]!
    if (first.length === size) this.parts.shift()
    else if (first.length > size) this.parts[0] = first.subarray(size)
    if (first.length >= size) {
      this.have -= size
      return first.subarray(0, size)
    }
    const all = Buffer.concat(this.parts, this.have)
    this.parts = all.length > size ? [all.subarray(size)] : []
    this.have -= size
    return all.subarray(0, size)
  }
}
