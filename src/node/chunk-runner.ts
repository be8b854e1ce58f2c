import { createHash, type Hash } from 'node:crypto'
import { concatBytes } from '../base/bytes.ts'
import { isMeshError, type MeshError } from '../base/errors.ts'
import type { Logger } from '../base/logger.ts'
import { pause } from '../base/pause.ts'
import type { KernelRunner } from '../gpu/kernel-runner.ts'
import { encodeSegment } from '../runtime/segment.ts'
import type { ChunkHooks, ChunkOutcome, RunningChunkHandle, Runtime } from '../runtime/types.ts'
import { inlineLimit } from '../scheduler/limits.ts'
import type { Plan } from '../scheduler/plan.ts'
import type {
  BlobHash,
  JobId,
  PeerId,
  SchedulerCore,
  SchedulerEffect,
  SchedulerEvent,
} from '../scheduler/types.ts'
import type { BlobStore } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import type { MissingInputs } from './input-loss.ts'
import type { Inputs } from './inputs.ts'
import {
  CHUNK_RETRY_MS,
  KERNEL_REFUSED_MS,
  KERNEL_RETRY_MS,
  KERNEL_TRIES,
  KERNEL_UNFIT_MS,
  MAX_FAIL_MESSAGE,
  MAX_FAILED_AT_ONCE,
} from './limits.ts'
import type { LogRings } from './log-rings.ts'
import { isDiskFull, placeOutput } from './placing.ts'
import type { Transport } from './transport/types.ts'

type StartChunk = Extract<SchedulerEffect, { type: 'startChunk' }>
type PlaceResult = Extract<SchedulerEffect, { type: 'placeResult' }>

interface Chunk {
  readonly job: JobId
  readonly lo: number
  /** So many bytes of output ride in the log. */
  readonly inlineBytes: number
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
  readonly kernels: KernelRunner
  readonly inputs: Inputs
  readonly exchange: BlobExchange
  readonly blobs: BlobStore
  readonly logs: LogRings
  readonly scheduler: SchedulerCore
  readonly transport: () => Transport
  readonly peer: { readonly id: PeerId; readonly name: string }
  readonly dispatch: (event: SchedulerEvent) => void
  readonly log: Logger
  /** Something that the peer's user should see in `mesh status`. */
  readonly warn: (message: string) => void
  /** Says when input that nobody holds is lost for good. */
  readonly missing: MissingInputs
  /** A result has fewer holders than its job asks for. */
  readonly tooFew: () => void
  readonly diskFull: () => void
}

/** Carries out startChunk, abortChunk and placeResult: prepares code and input, runs the worker, brings the output to its keepers. */
export class ChunkRunner {
  private readonly parts: ChunkRunnerParts
  private readonly chunks = new Map<number, Chunk>()
  /** How often chunks failed here as a whole since one succeeded, by kernel job, and until when it is left alone. */
  private readonly kernelFaults = new Map<
    JobId,
    { readonly tries: number; readonly waitUntil: number; readonly handedOn: boolean }
  >()
  /** Outputs on their way to a keeper, by chunk. */
  private readonly placing = new Map<number, Promise<void>>()

  constructor(parts: ChunkRunnerParts) {
    this.parts = parts
  }

  start(effect: StartChunk): void {
    const view = this.parts.scheduler.job(effect.job)
    if (view === undefined) return
    const chunk: Chunk = {
      job: effect.job,
      lo: effect.lo,
      inlineBytes: inlineLimit(view.items),
      parts: [],
      hash: createHash('sha256'),
      sizeBytes: 0,
      failed: 0,
      handle: undefined,
      aborted: false,
      ended: false,
    }
    this.chunks.set(effect.chunk, chunk)
    const { author } = view
    const { missing } = this.parts
    this.run(effect, chunk).catch((error: unknown) => {
      // Given back meanwhile: this peer leaves.
      if (this.chunks.get(effect.chunk) !== chunk) return
      if (isMeshError(error) && isForGood(error)) {
        this.failAll(effect, chunk, error)
        return
      }
      if (view.spec.task.kind === 'kernel' && isKernelFault(error)) {
        this.kernelFailed(effect, chunk, error)
        return
      }
      if (isMeshError(error, 'ERR_MESH_INPUT_LOST') && missing.note(effect.job, author, error)) {
        this.loseInput(effect, error)
        return
      }
      if (isDiskFull(error)) this.parts.diskFull()
      this.parts.log.warn('chunk returned', {
        job: effect.job.slice(0, 8),
        chunk: effect.chunk,
        error: error instanceof Error ? error.message : String(error),
      })
      this.giveBack(effect.chunk, this.parts.missing.retryMs(effect.job))
    })
  }

  /**
   * It may be this machine that cannot compute it: no memory, no process, too few buffers, another version of the rules. The others get time
   * to take what is here before items fail for good.
   */
  private kernelFailed(effect: StartChunk, chunk: Chunk, error: MeshError): void {
    const now = performance.now()
    const before = this.kernelFaults.get(effect.job) ?? { tries: 0, waitUntil: 0, handedOn: false }
    // Chunks that ran side by side fail together: that is one try.
    if (now < before.waitUntil) {
      this.giveBack(effect.chunk, before.handedOn ? CHUNK_RETRY_MS : before.waitUntil - now)
      return
    }
    // A source that is refused or does not compile is no other the next time.
    const refused = error.code === 'ERR_MESH_KERNEL_INVALID'
    const tries = before.tries + 1
    if (tries === 1) this.parts.warn(`a kernel does not run here: ${error.message}`)
    if (tries > KERNEL_TRIES || refused) {
      const others = this.parts.transport().connected().length > 0
      const handsOn = others && !before.handedOn
      const ms = refused ? KERNEL_REFUSED_MS : KERNEL_UNFIT_MS
      const waitUntil = handsOn ? now + ms : 0
      this.kernelFaults.set(effect.job, { tries: KERNEL_TRIES, waitUntil, handedOn: true })
      if (handsOn) {
        // The others get all of it; what comes back after that nobody could run.
        this.giveBack(effect.chunk)
        this.parts.dispatch({ type: 'unfit', job: effect.job, ms })
      } else if (refused) {
        // What is wrong with the kernel itself is so for all of the chunk.
        this.failRange(effect, effect.hi, error)
      } else this.failAll(effect, chunk, error)
      return
    }
    const waitMs = KERNEL_RETRY_MS * 2 ** (tries - 1)
    this.kernelFaults.set(effect.job, { ...before, tries, waitUntil: now + waitMs })
    this.giveBack(effect.chunk, waitMs)
  }

  /** Input that is on no peer any more: the items that need it FAIL; a DONE from a side of the mesh that has it beats that. */
  private loseInput(effect: StartChunk, error: MeshError): void {
    const end = error.details.hi
    this.failRange(effect, typeof end === 'number' ? Math.min(effect.hi, end) : effect.hi, error)
  }

  /** FAIL for the chunk's items up to `hi`, one entry of the log. */
  private failRange({ chunk }: StartChunk, hi: number, { code, message }: MeshError): void {
    this.chunks.delete(chunk)
    const lost = { hi, code, message: message.slice(0, MAX_FAIL_MESSAGE) }
    this.parts.dispatch({ type: 'chunkReturned', chunk, retryMs: 0, lost })
  }

  abort(number: number): void {
    const chunk = this.chunks.get(number)
    if (chunk === undefined) return
    chunk.aborted = true
    if (chunk.ended) this.chunks.delete(number)
    else chunk.handle?.abort()
  }

  /** Brings an ended chunk's output to its keepers, or keeps it here when none can be reached. */
  place(effect: PlaceResult): void {
    const chunk = this.chunks.get(effect.chunk)
    if (chunk === undefined) return
    this.chunks.delete(effect.chunk)
    const output = {
      hash: chunk.hash.digest('hex') as BlobHash,
      sizeBytes: chunk.sizeBytes,
      parts: chunk.parts,
    }
    const { transport, blobs, log, peer } = this.parts
    const placing = { self: peer.id, blobs, transport, log }
    const placed = placeOutput(placing, output, effect.keepers).then(
      (result) => {
        if (!this.placing.delete(effect.chunk)) return
        if (result.kind === 'blob' && result.keepers.length < effect.keepers.length) {
          this.parts.tooFew()
        }
        this.parts.dispatch({ type: 'chunkPlaced', chunk: effect.chunk, result })
      },
      (error: unknown) => {
        if (!this.placing.delete(effect.chunk)) return
        const why = error instanceof Error ? error.message : String(error)
        this.parts.log.error('result could not be kept', { error: why })
        if (isDiskFull(error)) this.parts.diskFull()
        else this.parts.warn(`results cannot be kept here: ${why}`)
        this.giveBack(effect.chunk)
      },
    )
    this.placing.set(effect.chunk, placed)
  }

  /** Ends every chunk: what runs reports how far it came, what is still being prepared goes back at once. */
  async abortAll(graceMs: number): Promise<void> {
    const running: RunningChunkHandle[] = []
    for (const [number, chunk] of [...this.chunks]) {
      chunk.aborted = true
      if (chunk.handle !== undefined) running.push(chunk.handle)
      else if (!chunk.ended) this.giveBack(number)
    }
    for (const handle of running) handle.abort(graceMs)
    await Promise.allSettled(running.map((handle) => handle.done))
  }

  /** Gives back what has not reached its keeper: this peer leaves. */
  returnAll(): void {
    for (const number of [...this.chunks.keys(), ...this.placing.keys()]) this.giveBack(number)
    this.placing.clear()
  }

  /** Resolves when no output waits for its keeper, or after `timeoutMs`. */
  async idle(timeoutMs: number): Promise<void> {
    const over = new AbortController()
    await Promise.race([Promise.allSettled(this.placing.values()), pause(timeoutMs, over.signal)])
    over.abort()
  }

  private giveBack(number: number, retryMs = CHUNK_RETRY_MS): void {
    this.chunks.delete(number)
    this.parts.dispatch({ type: 'chunkReturned', chunk: number, retryMs })
  }

  private async run(effect: StartChunk, chunk: Chunk): Promise<void> {
    const { scheduler, inputs, runtime, kernels, peer } = this.parts
    const view = scheduler.job(effect.job)!
    const { spec, author, plan } = view
    const { node, nodeLo } = effect
    const of =
      plan === undefined || node === undefined || nodeLo === undefined
        ? undefined
        : { plan, node, nodeLo }
    const ready = await inputs.prepare(effect.job, spec, author, effect.lo, effect.hi, of)
    const { options } = ready
    this.parts.missing.found(effect.job)
    if (this.chunks.get(effect.chunk) !== chunk) return
    if (chunk.aborted) {
      this.end(effect, chunk, { reached: effect.lo, failed: 0, elapsedMs: 0, ended: 'aborted' })
      return
    }
    const hooks = this.hooksOf(effect, chunk)
    const { lo, budgetMs } = effect
    const { bundle, files, hi } = ready
    const { timeLimitMs } = options
    const { task } = view.spec
    const handle =
      task.kind === 'kernel'
        ? kernels.run({ bundle, lo, hi, budgetMs, files, timeLimitMs, task }, hooks)
        : runtime.run(
            {
              job: effect.job,
              bundle: ready.bundle,
              lo: effect.lo,
              hi: ready.hi,
              budgetMs: effect.budgetMs,
              input: ready.input,
              args: ready.args,
              node: ready.node && plan && { ...ready.node, family: familyOf(plan) },
              retries: options.retries ?? 0,
              backoff: options.backoff,
              attempt: effect.attempt,
              softTimeLimitMs: options.softTimeLimitMs,
              timeLimitMs: options.timeLimitMs,
              memoryBytes: options.memoryBytes,
              maxItemsPerWorker: options.maxItemsPerWorker,
              peer,
            },
            hooks,
          )
    chunk.handle = handle
    this.end(effect, chunk, await handle.done)
  }

  private hooksOf(effect: StartChunk, chunk: Chunk): ChunkHooks {
    const { logs, peer } = this.parts
    return {
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
    }
  }

  /** Code that no peer can load will not get better: its items fail, a part at a time. */
  private failAll(effect: StartChunk, chunk: Chunk, error: MeshError): void {
    const reached = Math.min(effect.hi, effect.lo + MAX_FAILED_AT_ONCE)
    const count = reached - effect.lo
    const failures = Array.from({ length: count }, (_, index) => ({
      index,
      code: error.code,
      name: error.name,
      message: error.message,
      attempts: 1,
    }))
    const bytes = encodeSegment(new Array(count).fill(null), failures)
    chunk.parts.splice(0, Number.POSITIVE_INFINITY, bytes)
    chunk.hash = createHash('sha256').update(bytes)
    chunk.sizeBytes = bytes.byteLength
    chunk.failed = count
    this.end(effect, chunk, { reached, failed: count, elapsedMs: 0, ended: 'aborted' })
  }

  private end(effect: StartChunk, chunk: Chunk, outcome: ChunkOutcome): void {
    chunk.handle = undefined
    chunk.ended = true
    if (chunk.failed === 0) this.kernelFaults.delete(effect.job)
    const inline =
      outcome.reached > effect.lo && chunk.sizeBytes <= chunk.inlineBytes
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
      ...(outcome.retry === undefined ? {} : { retry: outcome.retry }),
    })
  }
}

/** Code that cannot be loaded, or a plan that makes no sense, is no other the next time. */
function isForGood({ code }: MeshError): boolean {
  return code.startsWith('ERR_MESH_TASK_') || code === 'ERR_MESH_PLAN_INVALID'
}

const families = new WeakMap<Plan, string>()

/** The same for compositions of the same tasks: their nodes share workers. */
function familyOf(plan: Plan): string {
  let family = families.get(plan)
  if (family === undefined) {
    const tasks = plan.tasks.map(({ bundle, pick, name }) => (pick ? `${bundle} ${name}` : bundle))
    family = createHash('sha256').update(tasks.sort().join()).digest('hex')
    families.set(plan, family)
  }
  return family
}

/** Neither the mesh nor the disk is to blame. */
function isKernelFault(error: unknown): error is MeshError {
  if (!isMeshError(error) || isDiskFull(error)) return false
  return error.code !== 'ERR_MESH_INPUT_LOST' && error.code !== 'ERR_MESH_STOPPED'
}
