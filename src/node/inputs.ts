import { fromHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import { type ManifestPiece, readManifest } from '../runtime/manifest.ts'
import type { ChunkInput } from '../runtime/types.ts'
import type { BlobHash, JobId, JobSpec, PeerId } from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import { MAX_PIECES_PER_CHUNK, PREFETCH_PIECES } from './limits.ts'

interface Piece {
  readonly hash: BlobHash
  readonly first: number
  readonly count: number
}

export interface PreparedChunk {
  readonly bundle: { readonly hash: string; readonly path: string }
  readonly input: ChunkInput
  readonly args: Uint8Array | undefined
  /** Of a kernel: where its arrays are, by hash. */
  readonly files: Readonly<Record<string, string>>
  /** The chunk must end here: later items are not on this machine yet. */
  readonly hi: number
}

/** Brings a job's code and the pieces of its input to this machine when a chunk first needs them. */
export class Inputs {
  private readonly blobs: BlobStore
  private readonly exchange: BlobExchange
  private readonly pieces = new Map<JobId, readonly Piece[]>()
  private readonly args = new Map<JobId, Uint8Array>()

  constructor(blobs: BlobStore, exchange: BlobExchange) {
    this.blobs = blobs
    this.exchange = exchange
  }

  /** What a worker needs for items lo..hi-1. Rejects with ERR_MESH_INPUT_LOST when no connected peer holds a part. */
  async prepare(
    job: JobId,
    spec: JobSpec,
    author: PeerId,
    lo: number,
    hi: number,
  ): Promise<PreparedChunk> {
    const bundleHash = spec.task.bundle
    await this.exchange.ensure(bundleHash, [author])
    const bundle = { hash: bundleHash, path: this.blobs.path(bundleHash) }
    const arrays = arraysOf(spec)
    await Promise.all(arrays.map((hash) => this.exchange.ensure(hash, [author])))
    const files = Object.fromEntries(arrays.map((hash) => [hash, this.blobs.path(hash)]))
    const args = this.argsOf(job, spec)
    if (spec.input.kind === 'range') {
      return { bundle, args, files, hi, input: { kind: 'range', start: spec.input.start } }
    }
    if (spec.input.kind === 'inline') {
      return { bundle, args, files, hi, input: { kind: 'inline', segment: spec.input.segment } }
    }
    const all = await this.piecesOf(job, spec.input.manifest, author)
    const from = firstCovering(all, lo)
    let to = from
    while (to < all.length && to - from < MAX_PIECES_PER_CHUNK && all[to]!.first < hi) to += 1
    const used = await this.bringPieces(all.slice(from, to), author)
    this.prefetch(all.slice(to, to + PREFETCH_PIECES), author)
    const last = used.at(-1)
    return {
      bundle,
      args,
      files,
      hi: Math.min(hi, last === undefined ? hi : last.first + last.count),
      input: {
        kind: 'pieces',
        pieces: used.map((p) => ({
          path: this.blobs.path(p.hash),
          first: p.first,
          count: p.count,
        })),
      },
    }
  }

  /** The pieces up to the first that cannot be had. @throws what kept the first one away, with `details.hi`, the end of its items */
  private async bringPieces(pieces: readonly Piece[], author: PeerId): Promise<readonly Piece[]> {
    const brought = await Promise.allSettled(
      pieces.map((piece) => this.exchange.ensure(piece.hash, [author])),
    )
    const missing = brought.findIndex(({ status }) => status === 'rejected')
    if (missing === -1) return pieces
    if (missing > 0) return pieces.slice(0, missing)
    const { reason } = brought[0] as PromiseRejectedResult
    if (!isMeshError(reason)) throw reason
    const { first, count } = pieces[0]!
    throw new MeshError(reason.code, reason.message, {
      cause: reason,
      details: { ...reason.details, hi: first + count },
    })
  }

  /** Every blob of a job's code and input: what a peer must hold to keep the job alive. The manifest must be here. */
  async blobsOf(job: JobId, spec: JobSpec, author: PeerId): Promise<BlobHash[]> {
    const code = [spec.task.bundle, ...arraysOf(spec)]
    if (spec.input.kind !== 'pieces') return code
    const pieces = await this.piecesOf(job, spec.input.manifest, author)
    return [...code, spec.input.manifest, ...pieces.map((piece) => piece.hash)]
  }

  /** The same, of what is here: nothing is fetched, and without the manifest the pieces are not known. */
  async localBlobsOf(spec: JobSpec): Promise<BlobHash[]> {
    const code = [spec.task.bundle, ...arraysOf(spec)]
    if (spec.input.kind !== 'pieces') return code
    const { manifest } = spec.input
    if (!(await this.blobs.has(manifest))) return [...code, manifest]
    const pieces = readManifest(await this.blobs.get(manifest)) as ManifestPiece[]
    return [...code, manifest, ...pieces.map((piece) => piece.hash as BlobHash)]
  }

  forget(job: JobId): void {
    this.pieces.delete(job)
    this.args.delete(job)
  }

  private argsOf(job: JobId, spec: JobSpec): Uint8Array | undefined {
    if (spec.options.args === undefined) return undefined
    let args = this.args.get(job)
    if (args === undefined) {
      args = fromHex(spec.options.args)
      this.args.set(job, args)
    }
    return args
  }

  private async piecesOf(
    job: JobId,
    manifest: BlobHash,
    author: PeerId,
  ): Promise<readonly Piece[]> {
    const known = this.pieces.get(job)
    if (known !== undefined) return known
    await this.exchange.ensure(manifest, [author])
    const pieces: Piece[] = []
    let first = 0
    for (const piece of readManifest(await this.blobs.get(manifest)) as ManifestPiece[]) {
      pieces.push({ hash: piece.hash as BlobHash, first, count: piece.count })
      first += piece.count
    }
    this.pieces.set(job, pieces)
    return pieces
  }

  private prefetch(pieces: readonly Piece[], author: PeerId): void {
    for (const piece of pieces) this.exchange.ensure(piece.hash, [author]).catch(() => undefined)
  }
}

/** Index of the piece that holds item `lo` (binary search; pieces are in item order). */
function firstCovering(pieces: readonly Piece[], lo: number): number {
  let low = 0
  let high = pieces.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (pieces[middle]!.first <= lo) low = middle
    else high = middle - 1
  }
  return low
}

function arraysOf({ task }: JobSpec): BlobHash[] {
  return task.kind === 'kernel' ? task.arrays.map(({ hash }) => hash) : []
}
