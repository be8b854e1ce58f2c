/** The task's console becomes lines of the job's log. */
import { MAX_LOG_CHARS_PER_CHUNK, MAX_LOG_LINE_CHARS } from '../limits.ts'
import { FRAME, type LogFrame } from './frames.ts'
import { report } from './reporter.ts'

type Stream = LogFrame['stream']

export class Console {
  /** The item that runs, if any. */
  item: (() => number | undefined) | undefined
  private readonly partial = { stdout: '', stderr: '' }
  private chars = 0
  private dropped = 0

  /** Takes over process.stdout and process.stderr; what native code writes to the pipes, the peer reads itself. */
  install(): void {
    this.take('stdout')
    this.take('stderr')
  }

  /** One message of any number of lines. */
  line(stream: Stream, text: string): void {
    for (const line of text.split('\n')) this.emit(stream, line)
  }

  /** A chunk ends: half lines are whole now, and the next chunk may write as much again. */
  endChunk(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const rest = this.partial[stream]
      this.partial[stream] = ''
      if (rest !== '') this.emit(stream, rest)
    }
    if (this.dropped > 0) {
      this.send('log', `${this.dropped} more lines of this chunk were dropped`, undefined)
    }
    this.chars = 0
    this.dropped = 0
  }

  private take(stream: 'stdout' | 'stderr'): void {
    process[stream].write = ((
      chunk: string | Uint8Array,
      encoding?: BufferEncoding | ((error?: Error) => void),
      done?: (error?: Error) => void,
    ): boolean => {
      const text =
        typeof chunk === 'string'
          ? chunk
          : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString()
      this.write(stream, text)
      const callback = typeof encoding === 'function' ? encoding : done
      if (callback !== undefined) process.nextTick(callback)
      return true
    }) as typeof process.stdout.write
  }

  private write(stream: 'stdout' | 'stderr', text: string): void {
    const lines = (this.partial[stream] + text).split('\n')
    this.partial[stream] = lines.pop()!.slice(0, MAX_LOG_LINE_CHARS)
    for (const line of lines) this.emit(stream, line)
  }

  private emit(stream: Stream, text: string): void {
    this.chars += text.length + 1
    if (this.chars > MAX_LOG_CHARS_PER_CHUNK) {
      this.dropped += 1
      return
    }
    this.send(stream, text, this.item?.())
  }

  private send(stream: Stream, text: string, item: number | undefined): void {
    const cut =
      text.length > MAX_LOG_LINE_CHARS ? `${text.slice(0, MAX_LOG_LINE_CHARS)}… (cut)` : text
    const frame: LogFrame = item === undefined ? { stream, text: cut } : { stream, text: cut, item }
    report(FRAME.log, frame)
  }
}
