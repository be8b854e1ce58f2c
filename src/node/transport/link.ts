import type { Connection, Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../../base/errors.ts'
import type { PeerId } from '../../scheduler/types.ts'
import { abortConnection } from './close.ts'
import { ACCEPTED_ENCODINGS } from './compression.ts'
import { FrameParser, frameHeader, PING, PONG } from './frames.ts'
import {
  LINK_TIMEOUT_MS,
  MAX_EARLY_BYTES,
  MAX_MESSAGE_BYTES,
  MAX_SEND_QUEUE_BYTES,
} from './limits.ts'

export const DIRECT_PROTOCOL = '/meshwork/1/direct'
/** The first frame on a direct stream: the protocol's version, the encodings of blobs that its sender can read, and what else it can. */
const PREFACE_VERSION = 1
/** It answers pings. */
const ANSWERS_PINGS = 1

export interface LinkHooks {
  /** Both direct streams stand. */
  onReady(link: Link): void
  /** Returning false is the peer's fault. */
  onMessage(link: Link, bytes: Uint8Array): boolean
  /** The peer broke the protocol; the connection is being closed. */
  onFault(link: Link, reason: string): void
  /** Once, whatever the reason; never before onReady's return. */
  onClosed(link: Link): void
  /** Monotonic ms. */
  now(): number
}

/**
 * One connection with its two direct streams: each side opens one and sends on it only.
 *
 *     opening -> ready -> closed
 *     opening -> closed
 */
export class Link {
  readonly peer: PeerId
  readonly connection: Connection
  readonly since = Date.now()
  state: 'opening' | 'ready' | 'closed' = 'opening'
  /** Bits of the encodings that the peer reads; known once ready. */
  encodings = 0
  /** Whether it may be pinged; known once ready. */
  answersPings = false
  /** The last round trip, ms. */
  rttMs: number | undefined
  /** When the ping that is not answered yet was sent. */
  private pingedAt: number | undefined
  private pings = 0
  private answers = 0
  private confirmedBy = 0
  /** The peer was asked for a sign of life, and gave none in time (pulse.ts). */
  silent = false
  private readonly hooks: LinkHooks
  private outgoing: Stream | undefined
  private incoming: Stream | undefined
  private greeted = false
  private directBytes = 0
  private queue: Uint8Array[] = []
  private queuedBytes = 0
  private flushing = false
  private early: Uint8Array[] = []
  private earlyBytes = 0
  private readonly timer: NodeJS.Timeout

  constructor(peer: PeerId, connection: Connection, hooks: LinkHooks) {
    this.peer = peer
    this.connection = connection
    this.hooks = hooks
    this.timer = setTimeout(() => {
      this.abort('the direct stream was not opened in time')
    }, LINK_TIMEOUT_MS)
    connection.addEventListener('close', () => this.closed())
    if (connection.status === 'open') void this.open()
    else queueMicrotask(() => this.closed())
  }

  get address(): string {
    return this.connection.remoteAddr.toString()
  }

  /** Bytes that wait, here and in libp2p's stream. */
  get waitingBytes(): number {
    return this.queuedBytes + (this.outgoing?.writeBufferLength ?? 0)
  }

  /** Queues a message; all of one tick go out in one write. False when not ready, or the queue is full (then it is closed). */
  send(bytes: Uint8Array): boolean {
    if (this.state !== 'ready') return false
    if (bytes.length > MAX_MESSAGE_BYTES) {
      throw new MeshError(
        'ERR_MESH_TOO_LARGE',
        `a message has ${bytes.length} bytes, at most ${MAX_MESSAGE_BYTES} can be sent`,
      )
    }
    if (this.waitingBytes + bytes.length > MAX_SEND_QUEUE_BYTES) {
      // Who cannot be heard is no longer there, which is no fault of its own.
      if (this.silent) this.abort('nothing heard of it, and its queue is full')
      else this.fault('does not read what it is sent')
      return false
    }
    this.enqueue(bytes)
    return true
  }

  /**
   * Whether the peer has read all that was sent before confirm() was called, or never will. What is between the queue and the peer
   * (libp2p buffers at four places) does not show here: the answer to a ping comes after it.
   */
  get confirmed(): boolean {
    if (this.state !== 'ready' || this.silent) return true
    return this.waitingBytes === 0 && (!this.answersPings || this.answers >= this.confirmedBy)
  }

  confirm(): void {
    this.ping()
    this.confirmedBy = this.pings
  }

  /** Bytes that came over this connection so far, whatever they are. */
  get bytesHeard(): number {
    return (this.connection as Inner).maConn?.socket?.bytesRead ?? this.directBytes
  }

  /** Asks for a sign of life. */
  ping(): void {
    if (this.state !== 'ready' || !this.answersPings) return
    this.pings += 1
    this.pingedAt ??= this.hooks.now()
    this.say(PING)
  }

  /** The stream that the peer opened. */
  attach(stream: Stream): void {
    if (this.incoming !== undefined) {
      this.fault('opened a second direct stream')
      return
    }
    this.incoming = stream
    const parser = new FrameParser(
      MAX_MESSAGE_BYTES,
      (frame) => this.receive(frame),
      (word) => this.hear(word),
    )
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      if (this.state === 'closed') return
      this.directBytes += event.data.byteLength
      try {
        parser.push(event.data)
      } catch {
        this.fault('sent an oversized frame on the direct stream')
      }
    })
    stream.addEventListener('remoteCloseWrite', () => {
      if (parser.partial) this.fault('sent a truncated frame on the direct stream')
      else this.close()
    })
    this.watch(stream)
  }

  /** Lets what is queued go out, then closes. */
  close(): void {
    if (this.state === 'closed') return
    this.flush()
    this.closed()
    this.connection.close().catch((error: Error) => abortConnection(this.connection, error.message))
  }

  /** Closes at once. */
  abort(reason: string): void {
    if (this.state === 'closed') return
    this.closed()
    abortConnection(this.connection, reason)
  }

  private fault(reason: string): void {
    if (this.state === 'closed') return
    this.abort(reason)
    this.hooks.onFault(this, reason)
  }

  private async open(): Promise<void> {
    try {
      const stream = await this.connection.newStream(DIRECT_PROTOCOL, {
        signal: AbortSignal.timeout(LINK_TIMEOUT_MS),
      })
      if (this.state === 'closed') return
      this.watch(stream)
      stream.addEventListener('drain', () => this.flush())
      this.outgoing = stream
      this.enqueue(Uint8Array.of(PREFACE_VERSION, ACCEPTED_ENCODINGS, ANSWERS_PINGS))
      this.flush()
      this.maybeReady()
    } catch (error) {
      this.abort(`no direct stream: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  private receive(frame: Uint8Array): void {
    if (this.state === 'closed') return
    if (!this.greeted) {
      if (frame[0] !== PREFACE_VERSION || frame.length < 2) {
        this.fault('sent garbage on the direct stream')
        return
      }
      this.greeted = true
      this.encodings = frame[1]!
      this.answersPings = ((frame[2] ?? 0) & ANSWERS_PINGS) !== 0
      this.maybeReady()
      return
    }
    // Messages may overtake the answer to this side's own stream: they wait for that, in order.
    if (this.state === 'opening') {
      this.earlyBytes += frame.length
      if (this.earlyBytes <= MAX_EARLY_BYTES) this.early.push(frame)
      else this.fault('sent too much before the connection stood')
    } else if (!this.hooks.onMessage(this, frame))
      this.fault('sent a message that breaks the protocol')
  }

  private maybeReady(): void {
    if (this.state !== 'opening' || this.outgoing === undefined || !this.greeted) return
    clearTimeout(this.timer)
    this.state = 'ready'
    this.hooks.onReady(this)
    const { early } = this
    this.early = []
    for (const frame of early) this.receive(frame)
  }

  /** One of the words that stand in place of a length. */
  private hear(word: number): void {
    if (this.state === 'closed') return
    if (word === PING) {
      this.say(PONG)
      return
    }
    this.answers += 1
    if (this.pingedAt === undefined) return
    this.rttMs = this.hooks.now() - this.pingedAt
    this.pingedAt = undefined
  }

  private say(word: number): void {
    // Who pings without reading the answers is one that does not read.
    if (this.waitingBytes > MAX_SEND_QUEUE_BYTES) this.fault('does not read what it is sent')
    else {
      this.queue.push(frameHeader(word))
      this.queuedBytes += WORD_BYTES
      this.flushSoon()
    }
  }

  private enqueue(bytes: Uint8Array): void {
    this.queue.push(frameHeader(bytes.length), bytes)
    this.queuedBytes += bytes.length
    this.flushSoon()
  }

  private flushSoon(): void {
    if (this.flushing) return
    this.flushing = true
    setImmediate(() => {
      this.flushing = false
      this.flush()
    })
  }

  private flush(): void {
    const { outgoing, queue } = this
    if (outgoing === undefined || queue.length === 0 || outgoing.writableNeedsDrain) return
    if (outgoing.writeStatus !== 'writable') return
    this.queue = []
    this.queuedBytes = 0
    try {
      for (const write of coalesce(queue)) outgoing.send(write)
    } catch (error) {
      this.abort(`cannot send: ${error instanceof Error ? error.message : String(error)}`)
    }
  }

  private watch(stream: Stream): void {
    stream.addEventListener('close', (event: StreamCloseEvent) => {
      this.abort(event.error?.message ?? 'the direct stream was closed')
    })
  }

  private closed(): void {
    if (this.state === 'closed') return
    clearTimeout(this.timer)
    this.state = 'closed'
    this.queue = []
    this.queuedBytes = 0
    this.hooks.onClosed(this)
  }
}

/** What libp2p's connection has below it: the bytes of all streams, blobs and gossip too, are signs of life. */
interface Inner {
  readonly maConn?: { readonly socket?: { readonly bytesRead?: number } }
}

const WORD_BYTES = 4

/** Many small parts are copied into one write; a large one is written as it is. */
function coalesce(parts: readonly Uint8Array[]): Uint8Array[] {
  const writes: Uint8Array[] = []
  let small: Uint8Array[] = []
  const copySmall = (): void => {
    if (small.length > 0) writes.push(small.length === 1 ? small[0]! : Buffer.concat(small))
    small = []
  }
  for (const part of parts) {
    if (part.length < COPY_BYTES) small.push(part)
    else {
      copySmall()
      writes.push(part)
    }
  }
  copySmall()
  return writes
}

const COPY_BYTES = 16 * 1024
