import { MeshError } from '../base/errors.ts'
import { pause } from '../base/pause.ts'
import { RangeSet } from '../scheduler/range-set.ts'
import type { DoneSpan, JobId, PeerId, Range, SchedulerCore } from '../scheduler/types.ts'
import type { Store } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import { failureSegments, failuresAt, storedFailures } from './failed-items.ts'
import type { JobWatch } from './job-watch.ts'
import { KEEPER_RETRY_MS, READER_PATIENCE_MS } from './limits.ts'
import type { Presence } from './presence.ts'
import type { ResultSpan, ResultsOptions } from './types.ts'

export interface ResultsParts {
  readonly scheduler: SchedulerCore
  readonly store: Store
  readonly exchange: BlobExchange
  readonly watch: JobWatch
  readonly self: PeerId
  readonly presence: Pick<Presence, 'awayMs' | 'everSeen' | 'live'>
  readonly name: (peer: PeerId) => string
}

/** Streams a job's results, a span of finished items at a time; holds one result in memory, whatever the job's size. */
export function streamResults(
  parts: ResultsParts,
  job: JobId,
  options: ResultsOptions,
): AsyncGenerator<ResultSpan> {
  if (parts.scheduler.job(job) === undefined) return stored(parts, job, 0, options)
  return options.order === 'item' ? inOrder(parts, job, options) : asTheyCome(parts, job, options)
}

/**
 * Fetches a result from its keepers; a reader that waits also waits a while for one of them to be connected. Undefined: it was declared
 * LOST meanwhile, and its items come again.
 */
async function read(
  parts: ResultsParts,
  job: JobId,
  span: DoneSpan,
  { wait, signal }: ResultsOptions,
): Promise<ResultSpan | undefined> {
  const { lo, hi, originLo } = span
  signal?.throwIfAborted()
  if (span.result.kind === 'inline') return { lo, hi, originLo, bytes: span.result.bytes }
  const { hash, keepers } = span.result
  const until = performance.now() + (wait ? READER_PATIENCE_MS : 0)
  for (;;) {
    try {
      await parts.exchange.ensure(hash, [...keepers, span.author])
      return { lo, hi, originLo, bytes: await parts.store.blobs.get(hash) }
    } catch (cause) {
      const state = parts.scheduler.job(job)?.state
      // Of a job that runs, what is lost runs again in a while (keepers.ts); the reader stays.
      const comesAgain = wait && (state === 'running' || state === 'paused')
      const replaced =
        state !== undefined && parts.scheduler.doneAt(job, span.lo)?.hash !== span.hash
      if (replaced) return undefined
      signal?.throwIfAborted()
      if (!comesAgain && performance.now() >= until) throw unreadable(parts, span, keepers, cause)
      await pause(KEEPER_RETRY_MS, signal)
    }
  }
}

function unreadable(
  parts: ResultsParts,
  { lo, hi }: DoneSpan,
  keepers: readonly PeerId[],
  cause: unknown,
): MeshError {
  const { self, presence, name } = parts
  const others = keepers.filter((keeper) => keeper !== self)
  const details = {
    lo,
    hi,
    keepers: others.map((id) => ({ id, name: name(id), awayMs: Math.round(presence.awayMs(id)) })),
  }
  const items =
    hi - lo === 1 ? `the result of item ${lo} was` : `results of items ${lo}..${hi} were`
  const again = '`mesh results JOB --recompute` runs these items again'
  if (others.length === 0) {
    return new MeshError(
      'ERR_MESH_RESULT_LOST',
      `${items} kept in this peer's own folder, and are not there any more: ${again}`,
      { cause, details },
    )
  }
  const whom = others.map((peer) => keeperText(parts, peer)).join(', ')
  return new MeshError(
    'ERR_MESH_RESULT_LOST',
    `${items} left with ${whom}: bring one of them back, or ${again}`,
    { cause, details },
  )
}

/** 'box2 (away for 3 min)' */
function keeperText({ presence, name }: ResultsParts, peer: PeerId): string {
  if (presence.live(peer)) return `${name(peer)} (there, but without them)`
  const minutes = Math.floor(presence.awayMs(peer) / 60_000)
  const time =
    minutes < 1
      ? 'less than a minute'
      : minutes < 120
        ? `${minutes} min`
        : `${Math.floor(minutes / 60)} h`
  if (!presence.everSeen(peer))
    return `${name(peer)} (not seen since this peer started, ${time} ago)`
  return `${name(peer)} (away for ${time})`
}

/** The results of a job that no connected peer has; the others are here then. */
export async function findLost(
  parts: Pick<ResultsParts, 'store' | 'exchange'>,
  job: JobId,
  signal?: AbortSignal,
  ranges?: readonly Range[],
): Promise<(Range & { readonly done: DoneSpan['hash'] })[]> {
  const wanted = ranges === undefined ? undefined : new RangeSet(ranges)
  const lost: (Range & { readonly done: DoneSpan['hash'] })[] = []
  for await (const { lo, hi, hash: done, result, author } of parts.store.doneSpans(job)) {
    signal?.throwIfAborted()
    if (result.kind === 'inline' || within(wanted, lo, hi).length === 0) continue
    try {
      await parts.exchange.ensure(result.hash, [...result.keepers, author])
    } catch {
      lost.push({ lo, hi, done })
    }
  }
  return lost
}

/** Of a job that is only in the store: its views, and what FAIL entries say of the gaps between them. */
async function* stored(
  parts: ResultsParts,
  job: JobId,
  from: number,
  options: ResultsOptions,
): AsyncGenerator<ResultSpan> {
  let cursor = from
  const wanted = wantedOf(options)
  let failures: Awaited<ReturnType<typeof storedFailures>> | undefined
  const gap = async function* (to: number): AsyncGenerator<ResultSpan> {
    failures ??= await storedFailures(parts.store, job)
    for (const { lo, hi, code, message } of failures) {
      const a = Math.max(lo, cursor)
      const b = Math.min(hi, to)
      if (a >= b) continue
      for (const part of within(wanted, a, b)) yield* failureSegments({ ...part, code, message })
      cursor = b
    }
  }
  for await (const span of parts.store.doneSpans(job, from)) {
    if (span.hi <= cursor) continue
    if (span.lo > cursor) yield* gap(span.lo)
    for (const part of within(wanted, Math.max(span.lo, cursor), span.hi)) {
      const result = await read(parts, job, { ...span, ...part }, options)
      if (result !== undefined) yield result
    }
    cursor = span.hi
  }
  yield* gap(Number.MAX_SAFE_INTEGER)
}

/** What a reader has not had yet, of a job that is only in the store. */
async function* storedRest(
  parts: ResultsParts,
  job: JobId,
  yielded: RangeSet,
  options: ResultsOptions,
): AsyncGenerator<ResultSpan> {
  for await (const span of parts.store.doneSpans(job)) {
    for (const { lo, hi } of yielded.missing(span.lo, span.hi)) {
      const result = await read(parts, job, { ...span, lo, hi }, options)
      yielded.add(lo, hi)
      if (result !== undefined) yield result
    }
  }
  for (const { lo, hi, code, message } of await storedFailures(parts.store, job)) {
    for (const part of yielded.missing(lo, hi)) {
      yield* failureSegments({ ...part, code, message })
      yielded.add(part.lo, part.hi)
    }
  }
}

async function* inOrder(
  parts: ResultsParts,
  job: JobId,
  options: ResultsOptions,
): AsyncGenerator<ResultSpan> {
  let cursor = 0
  const wanted = wantedOf(options)
  const changes = parts.watch.subscribe(job, options.signal)
  try {
    for (;;) {
      const view = parts.scheduler.job(job)
      if (view === undefined) {
        yield* stored(parts, job, cursor, options)
        return
      }
      const next = nextWanted(wanted, cursor, view.items)
      if (next === undefined) return
      cursor = next.lo
      const span = parts.scheduler.doneAt(job, cursor)
      if (span !== undefined) {
        const part = { ...span, lo: cursor, hi: Math.min(span.hi, next.hi) }
        const result = await read(parts, job, part, options)
        if (result === undefined) continue
        yield result
        cursor = part.hi
        continue
      }
      const failed = failuresAt(parts.scheduler, job, cursor)
      if (failed !== undefined) {
        cursor = Math.min(failed.hi, next.hi)
        yield { ...failed, hi: cursor }
      } else if (!options.wait || view.state === 'cancelled') {
        const final = nextFinal(parts.scheduler, job, cursor)
        if (final === undefined) return
        cursor = final
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
): AsyncGenerator<ResultSpan> {
  const { scheduler, watch } = parts
  const wanted = wantedOf(options)
  // What is not wanted counts as told.
  const yielded = new RangeSet(wanted?.missing(0, Number.MAX_SAFE_INTEGER))
  const changes = watch.subscribe(job, options.signal, { spans: true })
  try {
    let pending = [...scheduler.doneSpans(job)]
    for (;;) {
      for (const span of pending) {
        for (const { lo, hi } of yielded.missing(span.lo, span.hi)) {
          const result = await read(parts, job, { ...span, lo, hi }, options)
          if (result === undefined) continue
          yielded.add(lo, hi)
          yield result
        }
      }
      pending = changes.takeDone() ?? unread(scheduler, job, yielded)
      if (pending.length > 0) continue
      const view = scheduler.job(job)
      if (view === undefined) {
        // It left memory while this reader was behind: the rest is in the store.
        yield* storedRest(parts, job, yielded, options)
        return
      }
      const ended = view.state === 'finished' || view.state === 'cancelled'
      // The scheduler is ahead of what readers are told: the last spans may still be on their way.
      if (ended) pending = unread(scheduler, job, yielded)
      if (pending.length > 0) continue
      if (
        !ended &&
        options.wait &&
        !(wanted !== undefined && isTold(scheduler, job, view.items, yielded))
      ) {
        if (!(await changes.next())) return
        continue
      }
      // A DONE beats a FAIL, so failures are told when nothing can come any more.
      for (const { lo, hi, code, message } of scheduler.failures(job)) {
        for (const part of yielded.missing(lo, hi)) {
          yield* failureSegments({ ...part, code, message })
          yielded.add(part.lo, part.hi)
        }
      }
      return
    }
  } finally {
    changes.close()
  }
}

function wantedOf({ ranges }: ResultsOptions): RangeSet | undefined {
  return ranges === undefined ? undefined : new RangeSet(ranges)
}

/** What is wanted of lo..hi-1; undefined: all. */
function within(wanted: RangeSet | undefined, lo: number, hi: number): Range[] {
  if (wanted !== undefined) return wanted.within(lo, hi)
  return lo < hi ? [{ lo, hi }] : []
}

/** The next items that are wanted, from `from` on. */
function nextWanted(wanted: RangeSet | undefined, from: number, items: number): Range | undefined {
  const next = wanted === undefined ? { lo: from, hi: items } : wanted.next(from)
  return next === undefined || next.lo >= items ? undefined : next
}

/** The next item from `from` on that is done or failed. */
function nextFinal(scheduler: SchedulerCore, job: JobId, from: number): number | undefined {
  let next: number | undefined
  for (const { lo, hi } of scheduler.doneSpans(job)) {
    if (hi <= from) continue
    next = Math.max(lo, from)
    break
  }
  for (const { lo, hi } of scheduler.failures(job)) {
    if (hi <= from) continue
    const at = Math.max(lo, from)
    return next === undefined ? at : Math.min(next, at)
  }
  return next
}

function unread(scheduler: SchedulerCore, job: JobId, yielded: RangeSet): DoneSpan[] {
  return [...scheduler.doneSpans(job)].filter(({ lo, hi }) => yielded.countIn(lo, hi) < hi - lo)
}

/** Nothing is left to tell but what failed without a DONE. */
function isTold(scheduler: SchedulerCore, job: JobId, items: number, yielded: RangeSet): boolean {
  const left = yielded.missing(0, items)
  if (left.length === 0) return true
  const failed = new RangeSet(scheduler.failures(job))
  return left.every(({ lo, hi }) => failed.countIn(lo, hi) === hi - lo)
}
