import type { Stream, StreamMessageEvent } from '@libp2p/interface'
import { FrameReader, frame } from './framing.ts'
import { MAX_MESSAGE_BYTES, MAX_QUEUED_BYTES, MAX_WRITE_BYTES } from './limits.ts'

/** The sending half of a direct stream: messages of one tick go out in one write; a slow peer's queue is bounded. */
export class DirectSender {
  private readonly stream: Stream
  private readonly queue: Uint8Array[] = []
  private queuedBytes = 0
  private scheduled = false
  private blocked = false

  constructor(stream: Stream) {
    this.stream = stream
    stream.addEventListener('drain', () => {
      this.blocked = false
      this.write()
    })
  }

  get open(): boolean {
    return this.stream.status === 'open'
  }

  /** False when the queue is full or the stream is gone. */
  send(message: Uint8Array): boolean {
    if (!this.open || message.byteLength > MAX_MESSAGE_BYTES) return false
    if (this.queuedBytes + message.byteLength > MAX_QUEUED_BYTES) return false
    this.queue.push(...frame(message))
    this.queuedBytes += message.byteLength + 4
    if (!this.scheduled && !this.blocked) {
      this.scheduled = true
      setImmediate(() => {
        this.scheduled = false
        this.write()
      })
    }
    return true
  }

  /** Writes what is queued and resolves when the stream has taken it. */
  async close(): Promise<void> {
    this.write()
    if (this.open) await this.stream.close({ signal: AbortSignal.timeout(500) })
  }

  abort(error: Error): void {
    this.queue.length = 0
    this.stream.abort(error)
  }

  private write(): void {
    while (this.queue.length > 0 && !this.blocked && this.open) {
      const batch: Uint8Array[] = []
      let bytes = 0
      while (this.queue.length > 0 && bytes < MAX_WRITE_BYTES) {
        const part = this.queue.shift()!
        batch.push(part)
        bytes += part.byteLength
      }
      this.queuedBytes -= bytes
      try {
        this.blocked = !this.stream.send(batch.length === 1 ? batch[0]! : Buffer.concat(batch))
      } catch {
        return
      }
    }
  }
}

/** Reads the messages of a peer's direct stream; `onFault` for garbage, an oversized frame, or an end in mid-frame. */
export function readDirect(
  stream: Stream,
  onMessage: (message: Uint8Array) => boolean,
  onFault: (reason: string) => void,
): void {
  const reader = new FrameReader(MAX_MESSAGE_BYTES)
  let faulty = false
  const fail = (reason: string) => {
    if (faulty) return
    faulty = true
    onFault(reason)
  }
  stream.addEventListener('message', (event: StreamMessageEvent) => {
    if (faulty) return
    try {
      for (const message of reader.push(event.data.subarray())) {
        if (!onMessage(message)) fail('message refused')
        if (faulty) return
      }
    } catch (error) {
      fail(error instanceof Error ? error.message : String(error))
    }
  })
  stream.addEventListener('remoteCloseWrite', () => {
    if (!reader.empty) fail('stream ended within a frame')
  })
}
