/** Where a run's items come from: numbers of a range, or pieces read from disk as they are needed. */
import { readFileSync, statSync } from 'node:fs'
import { MAX_PIECE_BYTES, MAX_PIECES_CACHED } from '../limits.ts'
import { decodeSegments } from '../segment.ts'
import type { ChunkInput } from '../types.ts'

export interface Items {
  /** The item's value. Throws when its piece cannot be read: that is the peer's fault, not the item's. */
  get(item: number): unknown
}

export function openItems(input: ChunkInput): Items {
  if (input.kind === 'range') {
    const { start } = input
    return { get: (item) => start + item }
  }
  if (input.kind === 'inline') return inlineItems(input.segment)
  return new Pieces(input.pieces)
}

function inlineItems(segment: string): Items {
  const values = [...decodeSegments(Buffer.from(segment, 'hex'), 0)].flatMap((it) => it.values)
  return {
    get: (item) => {
      if (item < values.length) return values[item]
      throw new Error(`the input holds ${values.length} items, and not item ${item}`)
    },
  }
}

type Piece = Extract<ChunkInput, { kind: 'pieces' }>['pieces'][number]

/** Decoded pieces outlive a run: the next chunk often goes on in the same one. */
const cache = new Map<string, unknown[]>()

class Pieces implements Items {
  private readonly pieces: readonly Piece[]
  private values: unknown[] = []
  private first = 0

  constructor(pieces: readonly Piece[]) {
    this.pieces = pieces
  }

  get(item: number): unknown {
    const at = item - this.first
    if (at >= 0 && at < this.values.length) return this.values[at]
    const piece = this.pieces.find((it) => item >= it.first && item < it.first + it.count)
    if (piece === undefined) throw new Error(`no piece of the input holds item ${item}`)
    this.values = readPiece(piece)
    this.first = piece.first
    return this.values[item - piece.first]
  }
}

function readPiece(piece: Piece): unknown[] {
  const known = cache.get(piece.path)
  if (known !== undefined) return known
  const sizeBytes = statSync(piece.path).size
  if (sizeBytes > MAX_PIECE_BYTES) throw new Error(`the piece ${piece.path} is ${sizeBytes} bytes`)
  const values: unknown[] = []
  for (const segment of decodeSegments(readFileSync(piece.path), piece.first)) {
    for (const value of segment.values) values.push(value)
  }
  if (values.length !== piece.count) {
    throw new Error(`the piece ${piece.path} holds ${values.length} items and not ${piece.count}`)
  }
  cache.set(piece.path, values)
  if (cache.size > MAX_PIECES_CACHED) cache.delete(cache.keys().next().value!)
  return values
}
