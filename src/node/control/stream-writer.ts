import type { ServerResponse } from 'node:http'
import { STREAM_WRITE_BYTES } from './limits.ts'

/** Writes a long answer: gathers small parts to fewer writes, and waits for a slow reader. */
export class StreamWriter {
  private readonly response: ServerResponse
  private waiting: Uint8Array[] = []
  private waitingBytes = 0
  private scheduled: NodeJS.Immediate | undefined

  constructor(response: ServerResponse) {
    this.response = response
  }

  /** False when the reader is gone. A promise when it is behind: wait for it. */
  write(parts: readonly Uint8Array[]): boolean | Promise<boolean> {
    for (const part of parts) {
      this.waiting.push(part)
      this.waitingBytes += part.byteLength
    }
    if (this.waitingBytes >= STREAM_WRITE_BYTES) return this.flush()
    this.scheduled ??= setImmediate(() => void this.flush())
    return !this.response.destroyed
  }

  end(last: Uint8Array): void {
    if (this.response.destroyed) return
    this.flushNow()
    this.response.end(last)
  }

  private flush(): boolean | Promise<boolean> {
    if (this.flushNow() || this.response.destroyed) return !this.response.destroyed
    return new Promise((resolve) => {
      const settle = () => {
        this.response.off('drain', settle)
        this.response.off('close', settle)
        resolve(!this.response.destroyed)
      }
      this.response.on('drain', settle)
      this.response.on('close', settle)
    })
  }

  /** False when the reader is behind. */
  private flushNow(): boolean {
    clearImmediate(this.scheduled)
    this.scheduled = undefined
    const parts = this.waiting
    if (parts.length === 0 || this.response.destroyed) return true
    this.waiting = []
    this.waitingBytes = 0
    return this.response.write(parts.length === 1 ? parts[0] : Buffer.concat(parts))
  }
}
