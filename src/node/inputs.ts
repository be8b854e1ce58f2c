import { fromHex } from '../base/bytes.ts'
import { isMeshError, MeshError } from '../base/errors.ts'
import { type ManifestPiece, readManifest } from '../runtime/manifest.ts'
import type { ChunkInput, ChunkNode } from '../runtime/types.ts'
import type { Plan } from '../scheduler/plan.ts'
import type { BlobHash, JobId, JobOptions, JobSpec, PeerId } from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import { type BringPieces, blobsOfPlan, type NodeItems, prepareNode } from './graph-inputs.ts'
import type { GraphParts } from './graph-values.ts'
import { MAX_CODE_AHEAD_BYTES, MAX_PIECES_PER_CHUNK, PREFETCH_PIECES } from './limits.ts'
import { planOfTask } from './plans.ts'

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
  /** Of a composition: what its items are computed by. */
  readonly node: ChunkNode | undefined
  /** The job's, those of the node in their place. */
  readonly options: JobOptions
  /** The chunk must end here: later items are not on this machine yet. */
  readonly hi: number
}

/** Of a composition: the node that the items are of. */
export interface NodeOfItems {
  readonly plan: Plan
  readonly node: number
  readonly nodeLo: number
}

/** Brings a job's code and the pieces of its input to this machine when a chunk first needs them. */
export class Inputs {
  private readonly blobs: BlobStore
  private readonly exchange: BlobExchange
  private readonly results: GraphParts['results']
  /** By job and manifest. */
  private readonly pieces = new Map<JobId, Map<BlobHash, readonly Piece[]>>()
  private readonly args = new Map<JobId, Uint8Array>()
  /** Compositions whose code was fetched ahead. */
  private readonly codeAhead = new Set<JobId>()

  constructor(blobs: BlobStore, exchange: BlobExchange, results: GraphParts['results']) {
    this.blobs = blobs
    this.exchange = exchange
    this.results = results
  }

  /**
   * What a worker needs for items lo..hi-1. Rejects with ERR_MESH_INPUT_LOST when no connected peer holds a part, with ERR_MESH_RESULT_LOST
   * when a value of the composition that it needs is not to be had now.
   */
  async prepare(
    job: JobId,
    spec: JobSpec,
    author: PeerId,
    lo: number,
    hi: number,
    of?: NodeOfItems,
  ): Promise<PreparedChunk> {
    if (of !== undefined) return this.prepareNode({ job, author, lo, hi, ...of }, spec)
    const bundleHash = spec.task.bundle
    await this.exchange.ensure(bundleHash, [author])
    const bundle = { hash: bundleHash, path: this.blobs.path(bundleHash) }
    const arrays = arraysOf(spec)
    await Promise.all(arrays.map((hash) => this.exchange.ensure(hash, [author])))
    const files = Object.fromEntries(arrays.map((hash) => [hash, this.blobs.path(hash)]))
    const args = this.argsOf(job, spec)
    const common = { bundle, args, files, node: undefined, options: spec.options }
    if (spec.input.kind === 'range') {
      return { ...common, hi, input: { kind: 'range', start: spec.input.start } }
    }
    if (spec.input.kind === 'inline') {
      return { ...common, hi, input: { kind: 'inline', segment: spec.input.segment } }
    }
    const { manifest } = spec.input
    const pieces = await this.preparePieces(job, manifest, author, { lo, hi, must: lo })
    return { ...common, hi: Math.min(hi, pieces.end), input: pieces.input }
  }

  /** The same of a composition. */
  private async prepareNode(at: NodeItems, spec: JobSpec): Promise<PreparedChunk> {
    const { job, author, plan } = at
    const parts = { blobs: this.blobs, exchange: this.exchange, results: this.results }
    const bringPieces: BringPieces = async (manifest, elements) => {
      const brought = await this.preparePieces(job, manifest, author, elements)
      if (brought.end >= elements.must) return brought
      throw new MeshError('ERR_MESH_PLAN_INVALID', 'the input of a node has too few elements')
    }
    const { node, input, hi } = await prepareNode(parts, bringPieces, at)
    void this.fetchCodeAhead(job, plan, author)
    const { bundle } = node.steps[0] ?? node.combine!.step
    const options = { ...spec.options, ...plan.nodes[at.node]!.options }
    return { bundle, args: this.argsOf(job, spec), files: {}, node, options, input, hi }
  }

  /** Pieces for elements lo..hi-1, a few of them; those before `must` are all there. */
  private async preparePieces(
    job: JobId,
    manifest: BlobHash,
    author: PeerId,
    { lo, hi, must }: { readonly lo: number; readonly hi: number; readonly must: number },
  ): Promise<{ input: ChunkInput; end: number }> {
    const all = await this.piecesOf(job, manifest, author)
    const from = firstCovering(all, lo)
    let to = from
    const fits = (index: number): boolean =>
      index - from < MAX_PIECES_PER_CHUNK || all[index]!.first < must
    while (to < all.length && fits(to) && all[to]!.first < hi) to += 1
    const used = await this.bringPieces(all.slice(from, to), author, must)
    this.prefetch(all.slice(to, to + PREFETCH_PIECES), author)
    const last = used.at(-1)
    const pieces = used.map(({ hash, first, count }) => {
      return { path: this.blobs.path(hash), first, count }
    })
    return {
      input: { kind: 'pieces', pieces },
      end: last === undefined ? hi : last.first + last.count,
    }
  }

  /** The pieces up to the first that cannot be had. @throws what kept the first one away (or one before `must`), with `details.hi`, the end of its items */
  private async bringPieces(
    pieces: readonly Piece[],
    author: PeerId,
    must: number,
  ): Promise<readonly Piece[]> {
    const brought = await Promise.allSettled(
      pieces.map((piece) => this.exchange.ensure(piece.hash, [author])),
    )
    const missing = brought.findIndex(({ status }) => status === 'rejected')
    if (missing === -1) return pieces
    if (missing > 0 && pieces[missing]!.first >= must) return pieces.slice(0, missing)
    const { reason } = brought[missing] as PromiseRejectedResult
    if (!isMeshError(reason)) throw reason
    const { first, count } = pieces[missing]!
    throw new MeshError(reason.code, reason.message, {
      cause: reason,
      details: { ...reason.details, hi: first + count },
    })
  }

  /** Every blob of a job's code and input: what a peer must hold to keep the job alive. The manifest must be here. */
  async blobsOf(job: JobId, spec: JobSpec, author: PeerId): Promise<BlobHash[]> {
    const { bundle } = spec.task
    if (spec.task.kind === 'graph') {
      const bring = () => this.exchange.ensure(bundle, [author])
      const { code, manifests } = blobsOfPlan(await planOfTask(this.blobs, spec.task, bring))
      // A plan that rides in the JOB is no blob that anybody asks for.
      const all = [...(spec.task.plan === undefined ? [bundle] : []), ...code, ...manifests]
      for (const manifest of manifests) {
        for (const { hash } of await this.piecesOf(job, manifest, author)) all.push(hash)
      }
      return all
    }
    const code = [bundle, ...arraysOf(spec)]
    if (spec.input.kind !== 'pieces') return code
    const pieces = await this.piecesOf(job, spec.input.manifest, author)
    return [...code, spec.input.manifest, ...pieces.map((piece) => piece.hash)]
  }

  /** The same, of what is here: nothing is fetched, and without the manifest the pieces are not known. */
  async localBlobsOf(spec: JobSpec): Promise<BlobHash[]> {
    const { bundle } = spec.task
    if (spec.task.kind === 'graph') {
      const inline = spec.task.plan !== undefined
      if (!inline && !(await this.blobs.has(bundle))) return [bundle]
      const { code, manifests } = blobsOfPlan(
        await planOfTask(this.blobs, spec.task, async () => undefined),
      )
      const all = [bundle, ...code]
      for (const manifest of manifests) all.push(...(await this.localPieces(manifest)))
      return all
    }
    const code = [bundle, ...arraysOf(spec)]
    if (spec.input.kind !== 'pieces') return code
    return [...code, ...(await this.localPieces(spec.input.manifest))]
  }

  /** A manifest, and what it lists if it is here. */
  private async localPieces(manifest: BlobHash): Promise<BlobHash[]> {
    if (!(await this.blobs.has(manifest))) return [manifest]
    const pieces = readManifest(await this.blobs.get(manifest)) as ManifestPiece[]
    return [manifest, ...pieces.map((piece) => piece.hash as BlobHash)]
  }

  forget(job: JobId): void {
    this.codeAhead.delete(job)
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
    let ofJob = this.pieces.get(job)
    if (ofJob === undefined) this.pieces.set(job, (ofJob = new Map()))
    const known = ofJob.get(manifest)
    if (known !== undefined) return known
    await this.exchange.ensure(manifest, [author])
    const pieces: Piece[] = []
    let first = 0
    for (const piece of readManifest(await this.blobs.get(manifest)) as ManifestPiece[]) {
      pieces.push({ hash: piece.hash as BlobHash, first, count: piece.count })
      first += piece.count
    }
    ofJob.set(manifest, pieces)
    return pieces
  }

  /** The code of nodes that come later, so that they can be run when the submitter is gone by then. */
  private async fetchCodeAhead(job: JobId, { tasks }: Plan, author: PeerId): Promise<void> {
    if (this.codeAhead.has(job)) return
    this.codeAhead.add(job)
    let bytes = 0
    for (const [bundle, bundleBytes] of new Map(tasks.map((it) => [it.bundle, it.bundleBytes]))) {
      bytes += bundleBytes
      if (bytes > MAX_CODE_AHEAD_BYTES || !this.codeAhead.has(job)) return
      // What nobody has now is asked for again when it is needed.
      await this.exchange.ensure(bundle, [author]).catch(() => undefined)
    }
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
