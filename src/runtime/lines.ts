import { StringDecoder } from 'node:string_decoder'
import { MAX_LOG_LINE_CHARS } from './limits.ts'

/** Cuts a byte stream into lines; longer ones than MAX_LOG_LINE_CHARS come in pieces. */
export class LineSplitter {
  private readonly onLine: (text: string) => void
  private readonly decoder = new StringDecoder('utf8')
  private rest = ''

  constructor(onLine: (text: string) => void) {
    this.onLine = onLine
  }

  push(bytes: Buffer): void {
    const lines = (this.rest + this.decoder.write(bytes)).split('\n')
    this.rest = lines.pop()!
    for (const line of lines) this.onLine(line.slice(0, MAX_LOG_LINE_CHARS))
    if (this.rest.length > MAX_LOG_LINE_CHARS) {
      this.onLine(this.rest)
      this.rest = ''
    }
  }
}
