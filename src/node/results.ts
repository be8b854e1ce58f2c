import { MeshError } from '../base/errors.ts'
import { pause } from '../base/pause.ts'
import { RangeSet } from '../scheduler/range-set.ts'
import type { DoneSpan, JobId, PeerId, SchedulerCore } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import type { JobWatch } from './job-watch.ts'
import { KEEPER_PATIENCE_MS, KEEPER_RETRY_MS } from './limits.ts'
import type { ResultSpan, ResultsOptions } from './types.ts'

export interface ResultsParts {
  readonly scheduler: SchedulerCore
  readonly store: Store
  readonly exchange: BlobExchange
  readonly watch: JobWatch
  readonly self: PeerId
}

/** Streams a job's results, a span of finished items at a time; holds one result in memory, whatever the job's size. */
export async function* streamResults(
  parts: ResultsParts,
  job: JobId,
  options: ResultsOptions,
): AsyncGenerator<ResultSpan> {
  const spans =
    parts.scheduler.job(job) === undefined
      ? parts.store.doneSpans(job)
      : options.order === 'item'
        ? inOrder(parts, job, options)
        : asTheyCome(parts, job, options)
  for await (const span of spans) {
    options.signal?.throwIfAborted()
    yield {
      lo: span.lo,
      hi: span.hi,
      originLo: span.originLo,
      bytes: await bytesOf(parts, span, options),
    }
  }
}

/** Fetches a result's bytes from its keepers; a reader that waits also waits a while for one of them to be connected. */
async function bytesOf(
  parts: ResultsParts,
  span: DoneSpan,
  { wait, signal }: ResultsOptions,
): Promise<Uint8Array> {
  if (span.result.kind === 'inline') return span.result.bytes
  const { hash, keepers } = span.result
  const until = performance.now() + (wait ? KEEPER_PATIENCE_MS : 0)
  for (;;) {
    try {
      await parts.exchange.ensure(hash, [...keepers, span.author])
      return await parts.store.blobs.get(hash)
    } catch (cause) {
      if (keepers.every((keeper) => keeper === parts.self)) throw resultGone(span, cause)
      if (performance.now() >= until || signal?.aborted) throw keepersAway(span, keepers, cause)
      await pause(KEEPER_RETRY_MS, signal)
    }
  }
}

function resultGone({ lo, hi }: DoneSpan, cause: unknown): MeshError {
  return new MeshError(
    'ERR_MESH_RESULT_LOST',
    `the results of items ${lo}..${hi} were kept in this peer's own folder, and are not there any more: submit the job again`,
    { cause, details: { lo, hi } },
  )
}

function keepersAway(span: DoneSpan, keepers: readonly string[], cause: unknown): MeshError {
  const names = keepers.map((keeper) => keeper.slice(0, 8)).join(', ')
  return new MeshError(
    'ERR_MESH_RESULT_LOST',
    `the results of items ${span.lo}..${span.hi} are on ${names}, not connected now: try again when that peer is back`,
    { cause, details: { lo: span.lo, hi: span.hi, keepers } },
  )
}

async function* inOrder(
  parts: ResultsParts,
  job: JobId,
  options: ResultsOptions,
): AsyncGenerator<DoneSpan> {
  let cursor = 0
  const changes = parts.watch.subscribe(job, options.signal)
  try {
    for (;;) {
      const view = parts.scheduler.job(job)
      if (view === undefined) {
        for await (const span of parts.store.doneSpans(job, cursor)) yield clip(span, cursor)
        return
      }
      if (cursor >= view.items) return
      const span = parts.scheduler.doneAt(job, cursor)
      if (span !== undefined) {
        yield clip(span, cursor)
        cursor = span.hi
      } else if (!options.wait || view.state === 'cancelled') {
        const next = nextDone(parts.scheduler, job, cursor)
        if (next === undefined) return
        cursor = next
      } else if (!(await changes.next())) return
    }
  } finally {
    changes.close()
  }
}

async function* asTheyCome(
  parts: ResultsParts,
  job: JobId,
  options: ResultsOptions,
): AsyncGenerator<DoneSpan> {
  const yielded = new RangeSet()
  const changes = parts.watch.subscribe(job, options.signal, { spans: true })
  try {
    let pending = [...parts.scheduler.doneSpans(job)]
    for (;;) {
      for (const span of pending) {
        for (const { lo, hi } of yielded.missing(span.lo, span.hi)) {
          yielded.add(lo, hi)
          yield { ...span, lo, hi }
        }
      }
      pending = changes.takeDone() ?? unread(parts.scheduler, job, yielded)
      if (pending.length > 0) continue
      const view = parts.scheduler.job(job)
      const ended = view === undefined || view.state === 'finished' || view.state === 'cancelled'
      // The scheduler is ahead of what readers are told: the last spans may still be on their way.
      if (ended) pending = unread(parts.scheduler, job, yielded)
      if (pending.length > 0) continue
      if (ended || !options.wait || !(await changes.next())) return
    }
  } finally {
    changes.close()
  }
}

function clip(span: DoneSpan, from: number): DoneSpan {
  return span.lo >= from ? span : { ...span, lo: from }
}

function nextDone(scheduler: SchedulerCore, job: JobId, from: number): number | undefined {
  for (const span of scheduler.doneSpans(job)) if (span.hi > from) return Math.max(span.lo, from)
  return undefined
}

function unread(scheduler: SchedulerCore, job: JobId, yielded: RangeSet): DoneSpan[] {
  return [...scheduler.doneSpans(job)].filter(({ lo, hi }) => yielded.countIn(lo, hi) < hi - lo)
}
