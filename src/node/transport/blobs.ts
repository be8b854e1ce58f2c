import type { Connection, Stream } from '@libp2p/interface'
import { pipe } from 'it-pipe'
import { isMeshError, MeshError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { BlobHash, PeerId } from '../../scheduler/types.ts'
import { isLoopbackAddress } from './addresses.ts'
import { BlobChannel } from './blob-channel.ts'
import type { BlobFrame } from './blob-frames.ts'
import { cut, receive, sized } from './blob-pipes.ts'
import {
  ACCEPTED_ENCODINGS,
  bestEncoding,
  compressPieces,
  type Encoding,
  RAW,
} from './compression.ts'
import { BLOB_REST_MS, MAX_IDLE_BLOB_STREAMS } from './limits.ts'
import type { Link } from './link.ts'
import { Places } from './places.ts'
import type { TransportEvents } from './types.ts'

export const BLOB_PROTOCOL = '/meshwork/1/blob'

export interface BlobsParts {
  readonly events: Pick<TransportEvents, 'onBlobRequested' | 'onBlobOffered'>
  readonly link: (peer: PeerId) => Link | undefined
  readonly strike: (peer: PeerId, reason: string) => void
  readonly log: Logger
}

/** One transfer that this peer began. */
interface Transfer {
  readonly channel: BlobChannel
  readonly encoding: Encoding
  /** Once, whatever comes of it; `reusable`: both sides are through with it, to the last byte. */
  end(reusable: boolean): void
}

/**
 * Blobs between peers: one transfer at a time on each stream, a few idle streams kept for the next ones; each transfer is a
 * pipeline at both ends (docs/protocol.md, "Blobs").
 */
export class Blobs {
  private readonly parts: BlobsParts
  private readonly places = new Places()
  private readonly running = new Map<BlobChannel, PeerId>()
  private readonly idle = new Map<Connection, BlobChannel[]>()

  constructor(parts: BlobsParts) {
    this.parts = parts
  }

  /** See Transport.fetchBlob. */
  async fetch(
    from: PeerId,
    hash: BlobHash,
    options: { signal?: AbortSignal; maxBytes?: number } = {},
  ): Promise<{ sizeBytes: number; source: AsyncIterable<Uint8Array> } | undefined> {
    const transfer = await this.open(from, options.signal)
    const { channel } = transfer
    try {
      channel.write({ type: 'fetch', hash, encodings: ACCEPTED_ENCODINGS })
      const answer = await channel.readControl()
      if (answer?.type === 'none') {
        transfer.end(true)
        return undefined
      }
      if (answer?.type !== 'have') throw this.broken(from, channel, 'no answer to fetch')
      const { sizeBytes } = answer
      if (options.maxBytes !== undefined && sizeBytes > options.maxBytes) {
        const limit = `at most ${options.maxBytes} are taken`
        throw new MeshError('ERR_MESH_TOO_LARGE', `the blob has ${sizeBytes} bytes, ${limit}`)
      }
      return { sizeBytes, source: this.incoming(from, channel, sizeBytes, transfer.end) }
    } catch (error) {
      channel.abort(error as Error)
      transfer.end(false)
      throw error
    }
  }

  /** See Transport.offerBlob. */
  async offer(
    to: PeerId,
    hash: BlobHash,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<boolean> {
    const { channel, encoding, end } = await this.open(to, signal)
    try {
      channel.hold({ type: 'offer', hash, sizeBytes })
      let answered = false
      let whole = false
      const receipt = channel.readControl().then((frame) => {
        answered = true
        channel.nudge()
        return frame
      })
      const sent = this.send(channel, source, sizeBytes, encoding, () => answered).then(() => {
        whole = !answered
      })
      // The answer may come first: the other side has it already, or does not want it. Without data there is none.
      const answer = await Promise.race([receipt, sent.then(() => receipt)])
      if (answer?.type !== 'receipt') throw this.broken(to, channel, 'no receipt for an offer')
      end(whole)
      return answer.kept
    } catch (error) {
      channel.abort(error as Error)
      end(false)
      throw error
    }
  }

  /** Another peer's transfers, one after the other, on a stream that it opened. Never rejects. */
  async serve(peer: PeerId, stream: Stream, connection: Connection): Promise<void> {
    const channel = this.channel(peer, stream)
    try {
      for (;;) {
        const request = await channel.readControl()
        if (request === undefined) break
        if (request.type === 'fetch') await this.serveFetch(peer, channel, request, connection)
        else if (request.type === 'offer') await this.serveOffer(peer, channel, request)
        else throw this.broken(peer, channel, 'no request on a blob stream')
        channel.rest(2 * BLOB_REST_MS)
      }
      await channel.close()
    } catch (error) {
      channel.abort(error as Error)
      this.parts.log.debug('transfer failed', { peer: peer.slice(0, 8), error: String(error) })
    }
  }

  /** Ends what is under way with a peer, or with all. */
  stop(peer?: PeerId): void {
    for (const [channel, other] of this.running) {
      if (peer === undefined || other === peer) {
        channel.abort(new MeshError('ERR_MESH_STOPPED', 'the connection is being closed'))
      }
    }
  }

  private async serveFetch(
    peer: PeerId,
    channel: BlobChannel,
    request: Extract<BlobFrame, { type: 'fetch' }>,
    connection: Connection,
  ): Promise<void> {
    const held = await this.parts.events.onBlobRequested(peer, request.hash)
    if (held === undefined) {
      channel.write({ type: 'none' })
      return
    }
    channel.hold({ type: 'have', sizeBytes: held.sizeBytes })
    const encoding = isLoopbackAddress(connection.remoteAddr.toString())
      ? RAW
      : bestEncoding(request.encodings)
    await this.send(channel, held.source, held.sizeBytes, encoding, () => false)
  }

  private async serveOffer(
    peer: PeerId,
    channel: BlobChannel,
    { hash, sizeBytes }: Extract<BlobFrame, { type: 'offer' }>,
  ): Promise<void> {
    const source = this.incoming(peer, channel, sizeBytes, () => undefined)
    let kept = false
    try {
      kept = await this.parts.events.onBlobOffered(peer, hash, sizeBytes, source)
    } catch (error) {
      this.parts.log.warn('an offered blob was not taken', {
        peer: peer.slice(0, 8),
        blob: hash.slice(0, 8),
        error: String(error),
      })
      if (isMeshError(error, 'ERR_MESH_PROTOCOL') && !channel.failed) {
        this.parts.strike(peer, 'offered a wrong blob')
      }
    }
    channel.discard()
    channel.write({ type: 'receipt', kept })
  }

  // ------------------------------------------------------------ pipelines

  /** read -> cut -> compress -> frame -> stream */
  private send(
    channel: BlobChannel,
    source: AsyncIterable<Uint8Array>,
    sizeBytes: number,
    encoding: Encoding,
    enough: () => boolean,
  ): Promise<void> {
    return pipe(
      source,
      (bytes) => cut(bytes, sizeBytes, enough),
      (pieces) => compressPieces(pieces, encoding),
      (pieces) => channel.writePieces(pieces, enough),
    )
  }

  /** stream -> frames -> decompress -> read */
  private incoming(
    peer: PeerId,
    channel: BlobChannel,
    sizeBytes: number,
    end: (reusable: boolean) => void,
  ): AsyncIterable<Uint8Array> {
    const broken = (reason: string): MeshError => this.broken(peer, channel, reason)
    return sized(receive(channel, broken), sizeBytes, {
      broken,
      whole: () => end(true),
      abandoned: () => {
        channel.discard()
        end(false)
      },
    })
  }

  // ------------------------------------------------------------ streams

  /** An idle stream or a new one, when there is a place for it. */
  private async open(peer: PeerId, signal: AbortSignal | undefined): Promise<Transfer> {
    const leave = await this.places.enter(peer, signal)
    try {
      const link = this.parts.link(peer)
      if (link === undefined) {
        throw new MeshError('ERR_MESH_UNREACHABLE', `peer ${peer.slice(0, 8)} is not connected`)
      }
      signal?.throwIfAborted()
      const { connection } = link
      const channel =
        this.takeIdle(connection) ?? (await this.openChannel(peer, connection, signal))
      return this.transfer(link, channel, leave, signal)
    } catch (error) {
      leave()
      if (signal?.aborted) throw givenUp(signal)
      if (error instanceof MeshError) throw error
      const why = error instanceof Error ? error.message : String(error)
      throw new MeshError('ERR_MESH_UNREACHABLE', `no transfer with ${peer.slice(0, 8)}: ${why}`, {
        cause: error,
      })
    }
  }

  private transfer(
    link: Link,
    channel: BlobChannel,
    leave: () => void,
    signal: AbortSignal | undefined,
  ): Transfer {
    const aborted = (): void => channel.abort(givenUp(signal))
    signal?.addEventListener('abort', aborted)
    let open = true
    const end = (reusable: boolean): void => {
      if (!open) return
      open = false
      channel.onClose = undefined
      signal?.removeEventListener('abort', aborted)
      leave()
      if (reusable && channel.reusable && this.keepIdle(link.connection, channel)) return
      if (reusable) void channel.close()
      else channel.abort(new MeshError('ERR_MESH_STOPPED', 'a transfer was given up'))
    }
    // Also when nobody ever reads the source of a fetch.
    channel.onClose = () => end(false)
    if (signal?.aborted) aborted()
    const encoding = isLoopbackAddress(link.address) ? RAW : bestEncoding(link.encodings)
    return { channel, encoding, end }
  }

  private async openChannel(
    peer: PeerId,
    connection: Connection,
    signal: AbortSignal | undefined,
  ): Promise<BlobChannel> {
    const stream = await connection.newStream(BLOB_PROTOCOL, signal && { signal })
    return this.channel(peer, stream)
  }

  private channel(peer: PeerId, stream: Stream): BlobChannel {
    const channel = new BlobChannel(stream, (reason) => this.parts.strike(peer, reason))
    this.running.set(channel, peer)
    stream.addEventListener('close', () => this.running.delete(channel))
    return channel
  }

  private takeIdle(connection: Connection): BlobChannel | undefined {
    const waiting = this.idle.get(connection) ?? []
    for (let channel = waiting.pop(); channel !== undefined; channel = waiting.pop()) {
      if (channel.reusable) {
        channel.onClose = undefined
        channel.begin()
        return channel
      }
      void channel.close()
    }
    return undefined
  }

  private keepIdle(connection: Connection, channel: BlobChannel): boolean {
    const waiting = this.idle.get(connection) ?? []
    if (waiting.length >= MAX_IDLE_BLOB_STREAMS) return false
    waiting.push(channel)
    this.idle.set(connection, waiting)
    channel.rest(BLOB_REST_MS)
    channel.onClose = () => {
      const left = (this.idle.get(connection) ?? []).filter((one) => one !== channel)
      if (left.length > 0) this.idle.set(connection, left)
      else this.idle.delete(connection)
    }
    return true
  }

  private broken(peer: PeerId, channel: BlobChannel, reason: string): MeshError {
    const error = new MeshError('ERR_MESH_PROTOCOL', reason)
    if (!channel.failed) {
      channel.abort(error)
      this.parts.strike(peer, reason)
    }
    return error
  }
}

function givenUp(signal: AbortSignal | undefined): MeshError {
  const timedOut = (signal?.reason as Error | undefined)?.name === 'TimeoutError'
  return timedOut
    ? new MeshError('ERR_MESH_TIMEOUT', 'a transfer took too long')
    : new MeshError('ERR_MESH_STOPPED', 'a transfer was given up', { cause: signal?.reason })
}
