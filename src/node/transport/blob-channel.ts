import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../base/errors.ts'
import { type BlobFrame, decodeBlobFrame, encodeBlobFrame } from './blob-frames.ts'
import { abortStream } from './close.ts'
import type { Piece } from './compression.ts'
import { drained } from './drain.ts'
import { FrameParser, frameHeader } from './frames.ts'
import {
  BLOB_CLOSE_TIMEOUT_MS,
  BLOB_CREDIT_STEP_BYTES,
  BLOB_IDLE_TIMEOUT_MS,
  BLOB_WINDOW_BYTES,
  MAX_BLOB_FRAME_BYTES,
  PIECE_OVERHEAD_BYTES,
} from './limits.ts'

type DataFrame = Extract<BlobFrame, { type: 'data' }>
type ControlFrame = Exclude<BlobFrame, { type: 'data' | 'credit' }>

/** Larger pieces are written as they are, smaller ones are copied behind what goes before them: one write less. */
const COPY_BYTES = 16 * 1024

/**
 * One blob stream: frames both ways, with back pressure of its own. libp2p's streams take in whatever comes, so the sender
 * stops at a window of 2 MiB that the receiver's consumer has not taken yet.
 *
 * It carries one transfer after the other, each begun by its opener:
 *
 *     resting -> busy -> resting -> … -> closed
 */
export class BlobChannel {
  private readonly stream: Stream
  private readonly data: DataFrame[] = []
  private readonly control: ControlFrame[] = []
  /** Small frames that go out with the next write. */
  private held: Uint8Array[] = []
  /** Bytes that the other side may still send. */
  private granted = BLOB_WINDOW_BYTES
  private taken = 0
  /** Bytes that this side may still send. */
  private credit = BLOB_WINDOW_BYTES
  private discarding = false
  private closing = false
  /** The other side has ended its half. */
  private ended = false
  private failure: Error | undefined
  private readonly wakers = new Set<() => void>()
  private timer: NodeJS.Timeout | undefined
  /** Called when the stream has closed, whatever closed it. */
  onClose: (() => void) | undefined

  /** @param onFault the other side broke the protocol: the stream is reset, the caller counts it */
  constructor(stream: Stream, onFault: (reason: string) => void) {
    this.stream = stream
    this.begin()
    const parser = new FrameParser(MAX_BLOB_FRAME_BYTES, (frame) => this.receive(frame))
    const fault = (reason: string): void => {
      if (this.failure !== undefined || this.closing) return
      this.abort(new MeshError('ERR_MESH_PROTOCOL', reason))
      onFault(reason)
    }
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      if (this.failure !== undefined) return
      this.timer?.refresh()
      try {
        parser.push(event.data)
      } catch (error) {
        fault(`blob stream: ${(error as Error).message}`)
      }
      this.nudge()
    })
    stream.addEventListener('remoteCloseWrite', () => {
      if (parser.partial) fault('blob stream: truncated frame')
      this.ended = true
      this.nudge()
    })
    stream.addEventListener('close', (event: StreamCloseEvent) => {
      clearTimeout(this.timer)
      // Without an end of the other side's half the connection was lost, or the other side gave up.
      if (!this.ended || event.error !== undefined) this.failure ??= closedByPeer()
      this.ended = true
      this.nudge()
      this.onClose?.()
    })
  }

  get failed(): boolean {
    return this.failure !== undefined
  }

  /** A transfer may begin: both ends stand, and nothing of the one before is left. */
  get reusable(): boolean {
    return (
      this.failure === undefined &&
      !this.ended &&
      !this.closing &&
      this.stream.writeStatus === 'writable' &&
      this.control.length + this.data.length === 0
    )
  }

  /** resting -> busy: whole windows both ways. The opener calls it; at the other end a request does. */
  begin(): void {
    this.granted = BLOB_WINDOW_BYTES
    this.credit = BLOB_WINDOW_BYTES
    this.taken = 0
    this.discarding = false
    this.data.length = 0
    this.watch(BLOB_IDLE_TIMEOUT_MS, 'a transfer did not move for 30 s')
  }

  /** busy -> resting, for at most `maxMs`. */
  rest(maxMs: number): void {
    if (this.failure === undefined && !this.closing) this.watch(maxMs, 'no transfer any more')
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
    this.taken += costOf(frame.bytes)
    if (this.taken >= BLOB_CREDIT_STEP_BYTES && !this.ended) {
      this.granted += this.taken
      this.write({ type: 'credit', bytes: this.taken })
      this.taken = 0
    }
    return frame
  }

  /** Control frames are small: they are not waited for. A stream that is closing drops them. */
  write(frame: BlobFrame): void {
    this.hold(frame)
    this.flush()
  }

  /** Goes out with what is written next: a piece, or flush(). */
  hold(frame: BlobFrame): void {
    const bytes = encodeBlobFrame(frame)
    this.held.push(frameHeader(bytes.length), bytes)
  }

  flush(): void {
    if (this.held.length > 0 && this.stream.writeStatus === 'writable') this.put([])
  }

  /** Sends pieces as fast as the other side takes them, until `enough` says that it wants no more. */
  async writePieces(pieces: AsyncIterable<Piece>, enough: () => boolean): Promise<void> {
    for await (const { encoding, bytes } of pieces) {
      const cost = costOf(bytes)
      await this.until(() => this.credit >= cost || enough() || this.stream.status !== 'open')
      if (enough()) return
      this.credit -= cost
      const head = encodeBlobFrame({ type: 'data', encoding, bytes })
      this.held.push(frameHeader(head.length + bytes.length), head)
      if (!this.put([bytes])) {
        await drained(this.stream).catch(() => Promise.reject(this.failure ?? closedByPeer()))
      }
    }
    this.flush()
  }

  /** What still comes of this transfer is dropped: this side has its answer. */
  discard(): void {
    this.discarding = true
    this.data.length = 0
  }

  /** Both sides are done; resets the stream if the other one does not close it too. */
  async close(): Promise<void> {
    if (this.closing) return
    this.closing = true
    this.discard()
    this.watch(BLOB_CLOSE_TIMEOUT_MS, 'not closed in time')
    try {
      await this.stream.close()
      if (this.stream.status !== 'open') clearTimeout(this.timer)
    } catch (error) {
      this.abort(error as Error)
    }
  }

  abort(error: Error): void {
    clearTimeout(this.timer)
    this.failure ??= error
    this.data.length = 0
    abortStream(this.stream, error)
    this.nudge()
  }

  /** Who waits looks again: what `enough` says may have changed. */
  nudge(): void {
    for (const waker of this.wakers) waker()
    this.wakers.clear()
  }

  /** Writes what is held and `parts`; false when the stream wants no more for now. */
  private put(parts: Uint8Array[]): boolean {
    if (this.stream.writeStatus !== 'writable') throw this.failure ?? closedByPeer()
    this.timer?.refresh()
    const small = this.held
    this.held = []
    let goOn = true
    for (const part of parts) {
      if (part.length <= COPY_BYTES) small.push(part)
      else {
        this.stream.send(Buffer.concat(small.splice(0)))
        goOn = this.stream.send(part)
      }
    }
    if (small.length > 0) goOn = this.stream.send(Buffer.concat(small))
    return goOn
  }

  private receive(bytes: Uint8Array): void {
    const frame = decodeBlobFrame(bytes)
    if (frame.type === 'credit') {
      this.credit = Math.min(this.credit + frame.bytes, BLOB_WINDOW_BYTES)
    } else if (frame.type === 'data') {
      this.granted -= costOf(frame.bytes)
      if (this.granted < 0) throw new MeshError('ERR_MESH_PROTOCOL', 'more data than was allowed')
      if (!this.discarding) this.data.push(frame)
    } else if (this.control.length > 0) {
      // A request and its answer: no side has two under way.
      throw new MeshError('ERR_MESH_PROTOCOL', 'too many frames')
    } else {
      // Its data may follow at once: the windows are whole from here on.
      if (frame.type === 'fetch' || frame.type === 'offer') this.begin()
      this.control.push(frame)
    }
  }

  private async until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.failure !== undefined) throw this.failure
      if (condition()) return
      await new Promise<void>((resolve) => this.wakers.add(resolve))
    }
  }

  private watch(timeoutMs: number, message: string): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.abort(new MeshError('ERR_MESH_TIMEOUT', message)), timeoutMs)
  }
}

/** What a piece takes of the window: as many tiny ones as fit into it by their bytes alone would cost far more memory. */
function costOf(bytes: Uint8Array): number {
  return bytes.length + PIECE_OVERHEAD_BYTES
}

function closedByPeer(): MeshError {
  return new MeshError('ERR_MESH_UNREACHABLE', 'the other side ended the transfer')
}
