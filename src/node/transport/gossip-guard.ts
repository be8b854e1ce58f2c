import { RPC } from '@chainsafe/libp2p-gossipsub/message'
import type { Connection, Stream, StreamMessageEvent } from '@libp2p/interface'
import type { PeerId } from '../../scheduler/types.ts'
import { peerOf } from './ids.ts'
import { GOSSIP_FRAME_LIMITS, MAX_GOSSIP_FRAME_BYTES } from './limits.ts'

const LIMITS = {
  subscriptions: GOSSIP_FRAME_LIMITS.maxSubscriptions,
  messages: GOSSIP_FRAME_LIMITS.maxMessages,
  control: {
    ihave: GOSSIP_FRAME_LIMITS.maxControlMessages,
    iwant: GOSSIP_FRAME_LIMITS.maxControlMessages,
    graft: GOSSIP_FRAME_LIMITS.maxControlMessages,
    prune: GOSSIP_FRAME_LIMITS.maxControlMessages,
    idontwant: GOSSIP_FRAME_LIMITS.maxControlMessages,
  },
} as const
const MAX_VARINT_BYTES = 4

interface Incoming {
  onIncomingStream(stream: Stream, connection: Connection): void
}

/**
 * Guards every gossip stream that other peers open; to be called before gossipsub starts. It takes the place of gossipsub's own
 * handler: libp2p's middleware would do, but libp2p (3.3) adds the handler to the list of middleware at each stream, so that from
 * the second one on outgoing streams are handled as incoming ones.
 */
export function watchGossip(pubsub: object, onFault: (peer: PeerId, reason: string) => void): void {
  const incoming = pubsub as Incoming
  const handle = incoming.onIncomingStream
  incoming.onIncomingStream = function onIncomingStream(stream, connection) {
    const peer = peerOf(connection.remotePeer)
    if (peer !== undefined) guardGossip(stream, (reason) => onFault(peer, reason))
    handle.call(pubsub, stream, connection)
  }
}

/**
 * Reads along on an incoming gossip stream. gossipsub itself passes over what it cannot read, and says nothing of who sent it.
 * `onFault` is called once, with what was wrong.
 */
export function guardGossip(stream: Stream, onFault: (reason: string) => void): void {
  const parser = new VarintFrames((frame) => RPC.decode(frame, { limits: LIMITS }))
  let faulty = false
  const fault = (reason: string): void => {
    if (!faulty) onFault(reason)
    faulty = true
  }
  stream.addEventListener('message', (event: StreamMessageEvent) => {
    if (faulty) return
    try {
      const { data } = event
      if (data instanceof Uint8Array) parser.push(data)
      else for (const part of data) parser.push(part)
    } catch (error) {
      fault(error instanceof OversizedError ? 'oversized gossip frame' : 'garbage as gossip')
    }
  })
  stream.addEventListener('remoteCloseWrite', () => {
    if (parser.partial) fault('truncated gossip frame')
  })
}

class OversizedError extends Error {}

/** Frames behind an unsigned varint of their length. */
class VarintFrames {
  private readonly onFrame: (frame: Uint8Array) => void
  private length = 0
  private digits = 0
  private readonly parts: Uint8Array[] = []
  private missing = 0

  constructor(onFrame: (frame: Uint8Array) => void) {
    this.onFrame = onFrame
  }

  get partial(): boolean {
    return this.digits > 0 || this.missing > 0
  }

  push(part: Uint8Array): void {
    let at = 0
    while (at < part.length) {
      if (this.missing > 0) {
        const piece = part.subarray(at, at + this.missing)
        // A copy: the stream may use its buffer again.
        this.parts.push(piece.slice())
        at += piece.length
        this.missing -= piece.length
        if (this.missing === 0) this.onFrame(Buffer.concat(this.parts.splice(0)))
        continue
      }
      const byte = part[at++]!
      this.length += (byte & 0x7f) * 2 ** (7 * this.digits)
      this.digits += 1
      if (this.length > MAX_GOSSIP_FRAME_BYTES) throw new OversizedError()
      if (byte < 0x80) {
        this.missing = this.length
        this.length = 0
        this.digits = 0
      } else if (this.digits >= MAX_VARINT_BYTES) throw new OversizedError()
    }
  }
}
