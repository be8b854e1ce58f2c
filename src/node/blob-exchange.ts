import { MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import type { BlobHash, PeerId } from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import { BLOB_FETCH_TIMEOUT_MS, BLOB_MIN_BYTES_PER_MS, MAX_BLOB_BYTES } from './limits.ts'
import type { Transport } from './transport/types.ts'

/** Brings blobs here: each is fetched once however many ask, from the peers most likely to hold it first, and checked against its hash. */
export class BlobExchange {
  private readonly blobs: BlobStore
  private readonly transport: () => Transport
  private readonly log: Logger
  private readonly inFlight = new Map<BlobHash, Promise<void>>()
  private readonly dropping = new Map<BlobHash, Promise<void>>()
  /** Hears of each blob that somebody wants: it is not to be swept. */
  onWanted: (hash: BlobHash) => void = () => undefined
  /** False while the disk has no room for what others offer. */
  mayTake: () => boolean = () => true

  constructor(blobs: BlobStore, transport: () => Transport, log: Logger) {
    this.blobs = blobs
    this.transport = transport
    this.log = log
  }

  /**
   * Resolves when the blob is in this peer's store.
   * @param likely peers to ask first; then every other connected peer.
   * @throws ERR_MESH_INPUT_LOST when no connected peer has it.
   */
  async ensure(hash: BlobHash, likely: readonly PeerId[]): Promise<void> {
    this.onWanted(hash)
    await this.dropping.get(hash)
    // Looked up each time: a file may vanish, and then another peer's copy is wanted.
    if (await this.blobs.has(hash)) return
    const running = this.inFlight.get(hash)
    if (running !== undefined) return running
    const fetching = this.fetch(hash, likely).finally(() => this.inFlight.delete(hash))
    this.inFlight.set(hash, fetching)
    return fetching
  }

  /**
   * Keeps a blob that another peer offers; what is here already is not read again.
   * @returns false when it is not taken
   */
  async take(
    hash: BlobHash,
    sizeBytes: number,
    source: AsyncIterable<Uint8Array>,
  ): Promise<boolean> {
    this.onWanted(hash)
    await this.dropping.get(hash)
    if ((await this.blobs.size(hash)) === sizeBytes) return true
    if (sizeBytes > MAX_BLOB_BYTES || !this.mayTake()) return false
    await this.blobs.write(source, { hash, sizeBytes })
    return true
  }

  /** Deletes a blob from this peer's store. */
  async drop(hash: BlobHash): Promise<void> {
    const gone = this.blobs.delete(hash).finally(() => this.dropping.delete(hash))
    this.dropping.set(hash, gone)
    await gone
  }

  private async fetch(hash: BlobHash, likely: readonly PeerId[]): Promise<void> {
    const transport = this.transport()
    const order = new Set([...likely, ...transport.connected()])
    order.delete(transport.self)
    for (const peer of order) {
      if (transport.connection(peer) === undefined) continue
      const patience = new Patience()
      try {
        const { signal } = patience
        const found = await transport.fetchBlob(peer, hash, { signal, maxBytes: MAX_BLOB_BYTES })
        if (found === undefined) continue
        patience.renew(BLOB_FETCH_TIMEOUT_MS + found.sizeBytes / BLOB_MIN_BYTES_PER_MS)
        await this.blobs.write(found.source, { hash, sizeBytes: found.sizeBytes })
        return
      } catch (error) {
        this.log.debug('blob fetch failed', {
          blob: hash.slice(0, 8),
          peer: peer.slice(0, 8),
          error: String(error),
        })
      } finally {
        patience.end()
      }
    }
    throw new MeshError(
      'ERR_MESH_INPUT_LOST',
      `no connected peer holds blob ${hash.slice(0, 8)} (asked ${order.size})`,
      { details: { hash, asked: order.size } },
    )
  }
}

/** A time-out that can be set anew: large blobs take longer. */
class Patience {
  private readonly controller = new AbortController()
  private timer: NodeJS.Timeout | undefined

  constructor() {
    this.renew(BLOB_FETCH_TIMEOUT_MS)
  }

  get signal(): AbortSignal {
    return this.controller.signal
  }

  renew(ms: number): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.controller.abort(new DOMException(`nothing for ${ms} ms`, 'TimeoutError'))
    }, ms)
  }

  end(): void {
    clearTimeout(this.timer)
  }
}
