import { setImmediate as turn } from 'node:timers/promises'
import { sha256Hex, toHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import type { MeshBackend } from '../node/types.ts'
import type { ItemChecker, RefusedItem } from '../runtime/bundle.ts'
import {
  encodeManifest,
  MAX_ITEM_BYTES,
  MAX_PIECE_BYTES,
  MAX_PIECES,
  type ManifestPiece,
  tooManyPieces,
} from '../runtime/manifest.ts'
import { encodeSegment } from '../runtime/segment.ts'
import type { JobInput } from '../scheduler/types.ts'
import type { Items } from './input.ts'
import { isAsyncIterable } from './iterate.ts'
import {
  ITEMS_PER_CHECK,
  MAX_INLINE_INPUT_BYTES,
  MAX_ITEMS_PER_PIECE,
  MAX_PIECES_IN_FLIGHT,
  PIECE_TARGET_BYTES,
} from './limits.ts'
import { roughBytes } from './rough-size.ts'

/** Pieces up to this size are hashed here as well, to save a wait. */
const HASHED_HERE_BYTES = 64 * 1024

export interface SpoolOptions {
  /** Tells which items the task's schema refuses. */
  readonly checker?: Pick<ItemChecker, 'check'> | undefined
  readonly signal?: AbortSignal | undefined
  /** Items up to this many encoded bytes come back inline; default MAX_INLINE_INPUT_BYTES. */
  readonly inlineBytes?: number
}

/**
 * Writes items as content-addressed pieces, and their list as a blob. Holds a few pieces in memory, whatever the input's size.
 * @throws ERR_MESH_VALUE_UNSENDABLE, ERR_MESH_VALUE_TOO_LARGE, ERR_MESH_ITEM_REFUSED (all with `details.index`), ERR_MESH_TOO_LARGE,
 * and whatever the source itself throws
 */
export async function spool(
  backend: Pick<MeshBackend, 'putBlob'>,
  items: Items<unknown>,
  options: SpoolOptions = {},
): Promise<JobInput> {
  const spooler = new Spooler(backend, options)
  // An async source is awaited per item anyway; a plain one is walked in one go, a piece at a time.
  if (isAsyncIterable(items)) for await (const item of items) await spooler.add(item)
  else {
    for (const item of items) {
      const full = spooler.add(item)
      if (full !== undefined) await full
    }
  }
  return spooler.finish()
}

class Spooler {
  private readonly backend: Pick<MeshBackend, 'putBlob'>
  private readonly options: SpoolOptions
  /** Items that are not encoded yet, and their guessed size. */
  private waiting: unknown[] = []
  private waitingBytes = 0
  /** Items that were encoded, and so the number of the first of `waiting`. */
  private encoded = 0
  /** Pieces in item order; each is being written, or written. */
  private readonly pieces: ManifestPiece[] = []
  private readonly writing = new Set<Promise<void>>()
  private failure: { readonly error: unknown } | undefined

  constructor(backend: Pick<MeshBackend, 'putBlob'>, options: SpoolOptions) {
    this.backend = backend
    this.options = options
  }

  /** A promise when a piece is full: await it before the next item. */
  add(item: unknown): Promise<void> | undefined {
    this.waiting.push(item)
    this.waitingBytes += roughBytes(item)
    const full =
      this.waitingBytes >= PIECE_TARGET_BYTES || this.waiting.length >= MAX_ITEMS_PER_PIECE
    return full ? this.flush() : undefined
  }

  async finish(): Promise<JobInput> {
    const inline = await this.inline()
    if (inline !== undefined) return inline
    if (this.waiting.length > 0) await this.flush()
    // No items: nothing to fetch either.
    if (this.encoded === 0) return { kind: 'range', start: 0, count: 0 }
    // A small input's pieces have their hash before they are written: one wait for the disk instead of two.
    if (this.pieces.some((piece) => piece.hash === '')) await Promise.all(this.writing)
    this.throwIfFailed()
    const [{ hash }] = await Promise.all([
      this.backend.putBlob(encodeManifest(this.pieces)),
      ...this.writing,
    ])
    this.throwIfFailed()
    return { kind: 'pieces', count: this.encoded, manifest: hash }
  }

  /** A few small items need no piece: nothing to write here, and nothing to fetch elsewhere. */
  private async inline(): Promise<JobInput | undefined> {
    const { waiting } = this
    if (this.encoded > 0 || this.pieces.length > 0 || waiting.length === 0) return undefined
    const { inlineBytes = MAX_INLINE_INPUT_BYTES } = this.options
    if (this.waitingBytes > 4 * inlineBytes || waiting.length > inlineBytes) return undefined
    this.options.signal?.throwIfAborted()
    await this.check(waiting)
    const segment = await this.numbered(0, () => encodeSegment(waiting))
    if (segment.byteLength > inlineBytes) return undefined
    return { kind: 'inline', count: waiting.length, segment: toHex(segment) }
  }

  private async flush(): Promise<void> {
    const items = this.waiting
    this.waiting = []
    this.waitingBytes = 0
    // Lets the rest of the process run between two pieces.
    await turn()
    this.options.signal?.throwIfAborted()
    this.throwIfFailed()
    await this.check(items)
    await this.encode(items)
  }

  private async check(items: unknown[]): Promise<void> {
    const { checker } = this.options
    if (checker === undefined) return
    for (let from = 0; from < items.length; from += ITEMS_PER_CHECK) {
      const part = items.slice(from, from + ITEMS_PER_CHECK)
      const [refused] = await this.numbered(from, () => checker.check(part))
      if (refused !== undefined) throw itemRefused(this.encoded + from + refused.index, refused)
    }
  }

  /** Encodes items as one piece, or as halves when the guess was too low. */
  private async encode(items: unknown[]): Promise<void> {
    const bytes = await this.numbered(0, () => encodeSegment(items))
    if (bytes.byteLength <= MAX_PIECE_BYTES || items.length === 1) {
      if (bytes.byteLength > MAX_ITEM_BYTES) throw itemTooLarge(this.encoded, bytes.byteLength)
      this.encoded += items.length
      await this.write(bytes, items.length)
      return
    }
    const middle = items.length >> 1
    await this.encode(items.slice(0, middle))
    await this.encode(items.slice(middle))
  }

  /** Errors that name an item within a part of `waiting` name it within the job instead. */
  private async numbered<T>(from: number, act: () => T | Promise<T>): Promise<T> {
    try {
      return await act()
    } catch (error) {
      if (!isMeshError(error) || typeof error.details.index !== 'number') throw error
      const index = this.encoded + from + error.details.index
      const message = error.message.replace(/(the value of )?item \d+/, `item ${index}`)
      const details = { ...error.details, index }
      throw new MeshError(error.code, message, { cause: error, details })
    }
  }

  private async write(bytes: Uint8Array, count: number): Promise<void> {
    if (this.pieces.length >= MAX_PIECES) throw tooManyPieces(this.pieces.length + 1)
    while (this.writing.size >= MAX_PIECES_IN_FLIGHT) await Promise.race(this.writing)
    this.throwIfFailed()
    const place = this.pieces.length
    const hash = bytes.byteLength <= HASHED_HERE_BYTES ? sha256Hex(bytes) : ''
    this.pieces.push({ hash, count, sizeBytes: bytes.byteLength })
    const written = this.backend.putBlob(bytes).then(
      ({ hash }) => {
        this.pieces[place] = { hash, count, sizeBytes: bytes.byteLength }
        this.writing.delete(written)
      },
      (error: unknown) => {
        this.failure ??= { error }
        this.writing.delete(written)
      },
    )
    this.writing.add(written)
  }

  private throwIfFailed(): void {
    if (this.failure !== undefined) throw this.failure.error
  }
}

function itemTooLarge(index: number, sizeBytes: number): MeshError {
  return new MeshError(
    'ERR_MESH_VALUE_TOO_LARGE',
    `item ${index} is ${(sizeBytes / 2 ** 20).toFixed(1)} MiB encoded, and one item may be ${MAX_ITEM_BYTES / 2 ** 20} MiB: split it, or send where to read it`,
    { details: { index, sizeBytes, limit: MAX_ITEM_BYTES } },
  )
}

export function itemRefused(index: number, refused: RefusedItem): MeshError {
  const { issues } = refused
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''
  return new MeshError(
    'ERR_MESH_ITEM_REFUSED',
    `the task's input schema refuses item ${index}: ${issues[0] ?? 'no reason given'}${more}`,
    { details: { index, issues } },
  )
}
