import type { Connection, Stream } from '@libp2p/interface'
import { pipe } from 'it-pipe'
import { isMeshError, MeshError } from '../../base/errors.ts'
import type { Logger } from '../../base/logger.ts'
import type { BlobHash, PeerId } from '../../scheduler/types.ts'
import { isLoopbackAddress } from './addresses.ts'
import { BlobChannel } from './blob-channel.ts'
import type { BlobFrame } from './blob-frames.ts'
import {
  ACCEPTED_ENCODINGS,
  bestEncoding,
  compressPieces,
  decompressPiece,
  type Encoding,
  RAW,
} from './compression.ts'
import { MAX_PIECE_BYTES } from './limits.ts'
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

/** Blobs between peers: a stream for each transfer, which is a pipeline at both ends (docs/protocol.md, "Blobs"). */
export class Blobs {
  private readonly parts: BlobsParts
  private readonly places = new Places()
  private readonly running = new Set<BlobChannel>()

  constructor(parts: BlobsParts) {
    this.parts = parts
  }

  /** See Transport.fetchBlob. */
  async fetch(
    from: PeerId,
    hash: BlobHash,
    options: { signal?: AbortSignal; maxBytes?: number } = {},
  ): Promise<{ sizeBytes: number; source: AsyncIterable<Uint8Array> } | undefined> {
    const { channel, end } = await this.open(from, options.signal)
    try {
      channel.write({ type: 'fetch', hash, encodings: ACCEPTED_ENCODINGS })
      const answer = await channel.readControl()
      if (answer?.type === 'none') {
        end()
        return undefined
      }
      if (answer?.type !== 'have') throw this.broken(from, channel, 'no answer to fetch')
      const { sizeBytes } = answer
      if (options.maxBytes !== undefined && sizeBytes > options.maxBytes) {
        const limit = `at most ${options.maxBytes} are taken`
        throw new MeshError('ERR_MESH_TOO_LARGE', `the blob has ${sizeBytes} bytes, ${limit}`)
      }
      const over = (whole: boolean): void => {
        if (!whole) channel.abort(new MeshError('ERR_MESH_STOPPED', 'a transfer was given up'))
        end()
      }
      return { sizeBytes, source: this.incoming(from, channel, sizeBytes, over) }
    } catch (error) {
      channel.abort(error as Error)
      end()
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
    const { channel, end, link } = await this.open(to, signal)
    try {
      channel.write({ type: 'offer', hash, sizeBytes })
      let answered = false
      const receipt = channel.readControl().then((frame) => {
        answered = true
        channel.nudge()
        return frame
      })
      const sent = this.send(channel, source, sizeBytes, encodingFor(link), () => answered)
      // Whichever fails first: without an answer there is no use in sending, and without data there is none.
      const [answer] = await Promise.all([receipt, sent])
      if (answer?.type !== 'receipt') throw this.broken(to, channel, 'no receipt for an offer')
      end()
      return answer.kept
    } catch (error) {
      channel.abort(error as Error)
      end()
      throw error
    }
  }

  /** Another peer's transfer. Never rejects. */
  async serve(peer: PeerId, stream: Stream, connection: Connection): Promise<void> {
    const channel = this.channel(peer, stream)
    try {
      const request = await channel.readControl()
      if (request?.type === 'fetch') await this.serveFetch(peer, channel, request, connection)
      else if (request?.type === 'offer') await this.serveOffer(peer, channel, request)
      else throw this.broken(peer, channel, 'no request on a blob stream')
      await channel.close()
    } catch (error) {
      channel.abort(error as Error)
      this.parts.log.debug('transfer failed', { peer: peer.slice(0, 8), error: String(error) })
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
    channel.write({ type: 'have', sizeBytes: held.sizeBytes })
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
      if (isMeshError(error, 'ERR_MESH_PROTOCOL')) this.parts.strike(peer, 'offered a wrong blob')
    }
    channel.discard()
    channel.write({ type: 'receipt', kept })
  }

  /** Resets every transfer: half a blob must not look like a whole one. */
  stop(): void {
    for (const channel of this.running) {
      channel.abort(new MeshError('ERR_MESH_STOPPED', 'this peer stops'))
    }
  }

  // ------------------------------------------------------------ pipelines

  /** read -> split -> compress -> frame -> stream */
  private async send(
    channel: BlobChannel,
    source: AsyncIterable<Uint8Array>,
    sizeBytes: number,
    encoding: Encoding,
    enough: () => boolean,
  ): Promise<void> {
    await pipe(
      source,
      (bytes) => exactly(bytes, sizeBytes, enough),
      (pieces) => compressPieces(pieces, encoding),
      (pieces) => channel.writePieces(pieces, enough),
    )
  }

  /** stream -> frames -> decompress -> read */
  private incoming(
    peer: PeerId,
    channel: BlobChannel,
    sizeBytes: number,
    over: (whole: boolean) => void,
  ): AsyncGenerator<Uint8Array> {
    const broken = (reason: string): MeshError => this.broken(peer, channel, reason)
    async function* frames(): AsyncGenerator<{ encoding: number; bytes: Uint8Array }> {
      for (;;) {
        const frame = await channel.readData()
        if (frame === undefined) throw broken('blob cut short')
        yield frame
      }
    }
    async function* sized(
      compressed: AsyncIterable<{ encoding: number; bytes: Uint8Array }>,
    ): AsyncGenerator<Uint8Array> {
      let left = sizeBytes
      let whole = false
      try {
        if (left > 0) {
          for await (const frame of compressed) {
            const piece = await decompressPiece(frame).catch((error: Error) => {
              throw broken(error.message)
            })
            if (piece.length > left) throw broken('blob longer than it was said to be')
            left -= piece.length
            yield piece
            if (left === 0) break
          }
        }
        whole = true
      } finally {
        over(whole)
      }
    }
    return pipe(frames, sized)
  }

  // ------------------------------------------------------------ helpers

  /** Opens a stream, when there is a place for it; `end` must be called once. */
  private async open(
    peer: PeerId,
    signal: AbortSignal | undefined,
  ): Promise<{ channel: BlobChannel; link: Link; end: () => void }> {
    const leave = await this.places.enter(peer, signal)
    try {
      const link = this.parts.link(peer)
      if (link === undefined) {
        throw new MeshError('ERR_MESH_UNREACHABLE', `peer ${peer.slice(0, 8)} is not connected`)
      }
      const stream = await link.connection.newStream(BLOB_PROTOCOL, signal && { signal })
      const channel = this.channel(peer, stream)
      const aborted = (): void => channel.abort(givenUp(signal))
      signal?.addEventListener('abort', aborted)
      let open = true
      const end = (): void => {
        if (!open) return
        open = false
        signal?.removeEventListener('abort', aborted)
        leave()
        void channel.close()
      }
      // Also when nobody ever reads the source of a fetch.
      stream.addEventListener('close', end)
      if (signal?.aborted) aborted()
      return { channel, link, end }
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

  private channel(peer: PeerId, stream: Stream): BlobChannel {
    const channel = new BlobChannel(stream, (reason) => this.parts.strike(peer, reason))
    this.running.add(channel)
    stream.addEventListener('close', () => this.running.delete(channel))
    return channel
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

function encodingFor(link: Link): Encoding {
  return isLoopbackAddress(link.address) ? RAW : bestEncoding(link.encodings)
}

/** Pieces of at most 256 KiB, `sizeBytes` in all: a source that has more or fewer is this peer's own fault. */
async function* exactly(
  source: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  enough: () => boolean,
): AsyncGenerator<Uint8Array> {
  let left = sizeBytes
  for await (const bytes of source) {
    left -= bytes.length
    if (left < 0) break
    for (let at = 0; at < bytes.length; at += MAX_PIECE_BYTES) {
      if (enough()) return
      yield bytes.subarray(at, at + MAX_PIECE_BYTES)
    }
  }
  if (left !== 0) {
    const what = left < 0 ? 'more' : 'fewer'
    throw new MeshError('ERR_MESH_INTERNAL', `a blob has ${what} than its ${sizeBytes} bytes`)
  }
}

function givenUp(signal: AbortSignal | undefined): MeshError {
  const timedOut = (signal?.reason as Error | undefined)?.name === 'TimeoutError'
  return timedOut
    ? new MeshError('ERR_MESH_TIMEOUT', 'a transfer took too long')
    : new MeshError('ERR_MESH_STOPPED', 'a transfer was given up', { cause: signal?.reason })
}
