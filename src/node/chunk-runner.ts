import { createHash, type Hash } from 'node:crypto'
import { concatBytes } from '../base/bytes.ts'
import type { Logger } from '../base/logger.ts'
import type { ChunkOutcome, RunningChunkHandle, Runtime } from '../runtime/types.ts'
import type {
  BlobHash,
  JobId,
  PeerId,
  ResultRef,
  SchedulerCore,
  SchedulerEffect,
  SchedulerEvent,
} from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import type { Inputs } from './inputs.ts'
import { CHUNK_RETRY_MS, MAX_INLINE_RESULT_BYTES } from './limits.ts'
import type { LogRings } from './log-rings.ts'
import type { Transport } from './transport/types.ts'

type StartChunk = Extract<SchedulerEffect, { type: 'startChunk' }>
type PlaceResult = Extract<SchedulerEffect, { type: 'placeResult' }>

interface Chunk {
  readonly job: JobId
  readonly lo: number
  readonly parts: Uint8Array[]
  hash: Hash
  sizeBytes: number
  failed: number
  handle: RunningChunkHandle | undefined
  aborted: boolean
  /** Its output waits for placeResult. */
  ended: boolean
}

export interface ChunkRunnerParts {
  readonly runtime: Runtime
  readonly inputs: Inputs
  readonly exchange: BlobExchange
  readonly blobs: BlobStore
  readonly logs: LogRings
  readonly scheduler: SchedulerCore
  readonly transport: () => Transport
  readonly peer: { readonly id: PeerId; readonly name: string }
  readonly dispatch: (event: SchedulerEvent) => void
  readonly log: Logger
}

/** Carries out startChunk, abortChunk and placeResult: prepares code and input, runs the worker, brings the output to its keeper. */
export class ChunkRunner {
  private readonly parts: ChunkRunnerParts
  private readonly chunks = new Map<number, Chunk>()
  private readonly placing = new Set<Promise<void>>()

  constructor(parts: ChunkRunnerParts) {
    this.parts = parts
  }

  get running(): number {
    let count = 0
    for (const chunk of this.chunks.values()) if (chunk.handle !== undefined) count += 1
    return count
  }

  start(effect: StartChunk): void {
    const view = this.parts.scheduler.job(effect.job)
    if (view === undefined) return
    const chunk: Chunk = {
      job: effect.job,
      lo: effect.lo,
      parts: [],
      hash: createHash('sha256'),
      sizeBytes: 0,
      failed: 0,
      handle: undefined,
      aborted: false,
      ended: false,
    }
    this.chunks.set(effect.chunk, chunk)
    this.run(effect, chunk).catch((error: unknown) => {
      this.parts.log.warn('chunk returned', {
        job: effect.job.slice(0, 8),
        chunk: effect.chunk,
        error: error instanceof Error ? error.message : String(error),
      })
      this.chunks.delete(effect.chunk)
      this.parts.dispatch({ type: 'chunkReturned', chunk: effect.chunk, retryMs: CHUNK_RETRY_MS })
    })
  }

  abort(number: number): void {
    const chunk = this.chunks.get(number)
    if (chunk === undefined) return
    chunk.aborted = true
    if (chunk.ended) this.chunks.delete(number)
    else chunk.handle?.abort()
  }

  /** Brings an ended chunk's output to its keeper, or keeps it here when the keeper cannot be reached. */
  place(effect: PlaceResult): void {
    const chunk = this.chunks.get(effect.chunk)
    if (chunk === undefined) return
    this.chunks.delete(effect.chunk)
    const placed = this.bringTo(effect.keeper, chunk).then(
      (result) => this.parts.dispatch({ type: 'chunkPlaced', chunk: effect.chunk, result }),
      (error: unknown) => {
        this.parts.log.error('result could not be kept', { error: String(error) })
        this.parts.dispatch({ type: 'chunkReturned', chunk: effect.chunk, retryMs: CHUNK_RETRY_MS })
      },
    )
    this.placing.add(placed)
    void placed.finally(() => this.placing.delete(placed))
  }

  /** Ends every running chunk; each reports how far it came. */
  async abortAll(graceMs: number): Promise<void> {
    const handles = [...this.chunks.values()].flatMap((c) => (c.handle ? [c.handle] : []))
    for (const handle of handles) handle.abort(graceMs)
    await Promise.allSettled(handles.map((handle) => handle.done))
  }

  /** Resolves when no output waits for its keeper, or after `timeoutMs`. */
  async idle(timeoutMs: number): Promise<void> {
    const all = Promise.allSettled([...this.placing])
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    await Promise.race([all, late])
    clearTimeout(timer)
  }

  private async run(effect: StartChunk, chunk: Chunk): Promise<void> {
    const { scheduler, inputs, runtime, peer, logs } = this.parts
    const view = scheduler.job(effect.job)!
    const options = view.spec.options
    const ready = await inputs.prepare(effect.job, view.spec, view.author, effect.lo, effect.hi)
    if (chunk.aborted) {
      this.end(effect, chunk, { reached: effect.lo, failed: 0, elapsedMs: 0, ended: 'aborted' })
      return
    }
    const handle = runtime.run(
      {
        job: effect.job,
        bundle: ready.bundle,
        lo: effect.lo,
        hi: ready.hi,
        budgetMs: effect.budgetMs,
        input: ready.input,
        args: ready.args,
        retries: options.retries ?? 0,
        timeLimitMs: options.timeLimitMs,
        memoryBytes: options.memoryBytes,
        maxItemsPerWorker: options.maxItemsPerWorker,
        peer,
      },
      {
        onOutput: (segment) => {
          chunk.parts.push(segment.bytes)
          chunk.hash.update(segment.bytes)
          chunk.sizeBytes += segment.bytes.byteLength
          chunk.failed += segment.failed
        },
        onProgress: (reached) =>
          this.parts.dispatch({ type: 'chunkProgressed', chunk: effect.chunk, reached }),
        onLog: (line) =>
          logs.add(effect.job, {
            job: effect.job,
            peer: peer.id,
            at: new Date().toISOString(),
            stream: line.stream,
            text: line.text,
            ...(line.item === undefined ? {} : { item: line.item }),
          }),
      },
    )
    chunk.handle = handle
    this.end(effect, chunk, await handle.done)
  }

  private end(effect: StartChunk, chunk: Chunk, outcome: ChunkOutcome): void {
    chunk.handle = undefined
    chunk.ended = true
    const inline =
      outcome.reached > effect.lo && chunk.sizeBytes <= MAX_INLINE_RESULT_BYTES
        ? concatBytes(chunk.parts)
        : undefined
    if (inline !== undefined || outcome.reached === effect.lo) this.chunks.delete(effect.chunk)
    this.parts.dispatch({
      type: 'chunkEnded',
      chunk: effect.chunk,
      reached: outcome.reached,
      failed: chunk.failed,
      elapsedMs: outcome.elapsedMs,
      outputBytes: chunk.sizeBytes,
      ...(inline === undefined ? {} : { inline }),
    })
  }

  private async bringTo(keeper: PeerId, chunk: Chunk): Promise<ResultRef> {
    const hash = chunk.hash.digest('hex') as BlobHash
    const { sizeBytes, parts } = chunk
    const { transport, peer, blobs, log } = this.parts
    if (keeper !== peer.id) {
      try {
        if (await transport().offerBlob(keeper, hash, sizeBytes, each(parts))) {
          return { kind: 'blob', hash, sizeBytes, keepers: [keeper] }
        }
      } catch (error) {
        log.warn('keeper unreachable: result stays here', {
          keeper: keeper.slice(0, 8),
          error: String(error),
        })
      }
    }
    await blobs.write(each(parts), { hash, sizeBytes })
    return { kind: 'blob', hash, sizeBytes, keepers: [peer.id] }
  }
}

async function* each(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts
}
