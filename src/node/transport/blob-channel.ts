import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../base/errors.ts'
import { type BlobFrame, decodeBlobFrame, encodeBlobFrame } from './blob-frames.ts'
import type { Piece } from './compression.ts'
import { drained } from './drain.ts'
import { FrameParser, frameHeader } from './frames.ts'
import {
  BLOB_CLOSE_TIMEOUT_MS,
  BLOB_CREDIT_STEP_BYTES,
  BLOB_IDLE_TIMEOUT_MS,
  BLOB_WINDOW_BYTES,
  MAX_BLOB_FRAME_BYTES,
} from './limits.ts'

type DataFrame = Extract<BlobFrame, { type: 'data' }>
type ControlFrame = Exclude<BlobFrame, { type: 'data' | 'credit' }>

/**
 * One blob stream: frames both ways, with back pressure of its own. libp2p's streams take in whatever comes, so the sender
 * stops at a window of 2 MiB that the receiver's consumer has not taken yet.
 */
export class BlobChannel {
  private readonly stream: Stream
  private readonly data: DataFrame[] = []
  private readonly control: ControlFrame[] = []
  /** Bytes that the other side may still send. */
  private granted = BLOB_WINDOW_BYTES
  private taken = 0
  /** Bytes that this side may still send. */
  private credit = BLOB_WINDOW_BYTES
  private discarding = false
  /** The other side has ended its half. */
  private ended = false
  private failure: Error | undefined
  private readonly wakers = new Set<() => void>()
  private readonly idle: NodeJS.Timeout

  /** @param onFault the other side broke the protocol: the stream is reset, the caller counts it */
  constructor(stream: Stream, onFault: (reason: string) => void) {
    this.stream = stream
    this.idle = setTimeout(() => {
      this.abort(new MeshError('ERR_MESH_TIMEOUT', 'a transfer did not move for 30 s'))
    }, BLOB_IDLE_TIMEOUT_MS)
    const parser = new FrameParser(MAX_BLOB_FRAME_BYTES, (frame) => this.receive(frame))
    const fault = (reason: string): void => {
      if (this.failure !== undefined || this.discarding) return
      this.abort(new MeshError('ERR_MESH_PROTOCOL', reason))
      onFault(reason)
    }
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      if (this.failure !== undefined) return
      this.idle.refresh()
      try {
        parser.push(event.data)
      } catch (error) {
        fault(`blob stream: ${(error as Error).message}`)
      }
      this.wake()
    })
    stream.addEventListener('remoteCloseWrite', () => {
      if (parser.partial) fault('blob stream: truncated frame')
      this.ended = true
      this.wake()
    })
    stream.addEventListener('close', (event: StreamCloseEvent) => {
      clearTimeout(this.idle)
      // Without an end of the other side's half the connection was lost, or the other side gave up.
      if (!this.ended || event.error !== undefined) this.fail(closedByPeer())
      this.ended = true
      this.wake()
    })
  }

  get failed(): boolean {
    return this.failure !== undefined
  }

  /** The next frame that is not data; undefined at the end of the stream. */
  async readControl(): Promise<ControlFrame | undefined> {
    await this.until(() => this.control.length > 0 || this.ended)
    return this.control.shift()
  }

  /** The next piece; undefined at the end of the stream. Taking it lets the other side send more. */
  async readData(): Promise<DataFrame | undefined> {
    await this.until(() => this.data.length > 0 || this.ended)
    const frame = this.data.shift()
    if (frame === undefined) return undefined
    this.taken += frame.bytes.length
    if (this.taken >= BLOB_CREDIT_STEP_BYTES && !this.ended) {
      this.granted += this.taken
      this.write({ type: 'credit', bytes: this.taken })
      this.taken = 0
    }
    return frame
  }

  /** Control frames are small: they are not waited for. */
  write(frame: BlobFrame): void {
    if (this.stream.writeStatus !== 'writable') return
    this.idle.refresh()
    const bytes = encodeBlobFrame(frame)
    this.stream.send(Buffer.concat([frameHeader(bytes.length), bytes]))
  }

  /** Sends pieces as fast as the other side takes them, until `enough` says that it wants no more. */
  async writePieces(pieces: AsyncIterable<Piece>, enough: () => boolean): Promise<void> {
    for await (const { encoding, bytes } of pieces) {
      await this.until(() => this.credit >= bytes.length || enough())
      if (enough()) return
      this.credit -= bytes.length
      this.idle.refresh()
      const head = encodeBlobFrame({ type: 'data', encoding, bytes })
      const prefix = Buffer.concat([frameHeader(head.length + bytes.length), head])
      this.stream.send(prefix)
      if (!this.stream.send(bytes)) await drained(this.stream)
    }
  }

  /** What still comes is dropped: this side has its answer. */
  discard(): void {
    this.discarding = true
    this.data.length = 0
  }

  /** Both sides are done; resets the stream if the other one does not close it too. */
  async close(): Promise<void> {
    this.discard()
    const giveUp = setTimeout(
      () => this.stream.abort(new Error('not closed')),
      BLOB_CLOSE_TIMEOUT_MS,
    )
    this.stream.addEventListener('close', () => clearTimeout(giveUp))
    clearTimeout(this.idle)
    try {
      await this.stream.close()
      if (this.stream.status === 'closed') clearTimeout(giveUp)
    } catch (error) {
      this.stream.abort(error as Error)
    }
  }

  abort(error: Error): void {
    clearTimeout(this.idle)
    this.fail(error)
    this.stream.abort(error)
    this.wake()
  }

  private fail(error: Error): void {
    this.failure ??= error
  }

  private receive(bytes: Uint8Array): void {
    const frame = decodeBlobFrame(bytes)
    if (frame.type === 'credit') {
      this.credit = Math.min(this.credit + frame.bytes, BLOB_WINDOW_BYTES)
    } else if (frame.type === 'data') {
      this.granted -= frame.bytes.length
      if (this.granted < 0) throw new MeshError('ERR_MESH_PROTOCOL', 'more data than was allowed')
      if (!this.discarding) this.data.push(frame)
    } else if (this.control.length < MAX_CONTROL_FRAMES) {
      this.control.push(frame)
    } else {
      throw new MeshError('ERR_MESH_PROTOCOL', 'too many frames')
    }
  }

  private async until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure
      if (condition()) return
      await new Promise<void>((resolve) => this.wakers.add(resolve))
    }
  }

  private wake(): void {
    for (const waker of this.wakers) waker()
    this.wakers.clear()
  }

  /** Waiting writers look again: what `enough` says may have changed. */
  nudge(): void {
    this.wake()
  }
}

/** A request and its answer; no side sends more. */
const MAX_CONTROL_FRAMES = 2

function closedByPeer(): MeshError {
  return new MeshError('ERR_MESH_UNREACHABLE', 'the other side ended the transfer')
}
