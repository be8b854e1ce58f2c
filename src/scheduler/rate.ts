import type { Core } from './core.ts'
import { readyOwners } from './dependants.ts'
import type { JobRun } from './job-run.ts'
import { RATE_BURST_MS, RATE_LOOK_MS, RATE_TICK_MS } from './limits.ts'
import { NOBODY } from './rules.ts'
import { powerFor } from './seeds.ts'
import type { SessionId } from './types.ts'

/** A token that is almost whole: the sum of many small parts. */
const SLACK = 1e-6

/** Items that may be started, filled at a rate that may change, up to what comes in RATE_BURST_MS (one at least). */
export class TokenBucket {
  /** Items a millisecond. */
  private perMs = 0
  private tokens: number
  private at: number

  constructor(now: number, tokens: number) {
    this.at = now
    this.tokens = tokens
  }

  get rate(): number {
    return this.perMs
  }

  /** Fills it with what came in since, at the rate until now. `least`: it holds so many in any case. */
  fill(now: number, perMs: number, least = 1): void {
    const most = Math.max(least, this.perMs * RATE_BURST_MS)
    const came = Math.max(0, now - this.at) * this.perMs
    // What is there already is not thrown away when the rate falls.
    if (this.tokens < most) this.tokens = Math.min(most, this.tokens + came)
    this.at = Math.max(this.at, now)
    this.perMs = perMs
  }

  /** Whole ones. */
  get whole(): number {
    return Math.max(0, Math.floor(this.tokens + SLACK))
  }

  /** When there are so many; Infinity: at this rate never. */
  readyAt(count: number): number {
    // Without the slack: when the time comes a rounded sum must do.
    const lacking = count - this.tokens
    return lacking <= 0 ? this.at : this.at + lacking / this.perMs
  }

  take(count: number): void {
    this.tokens -= count
  }

  giveBack(count: number): void {
    this.tokens += count
  }
}

/** Items that the mesh may start a millisecond; undefined: as many as it likes. */
export function rateLimit({ fold }: JobRun): number | undefined {
  const per1000s = fold.spec?.options.ratePer1000s
  return per1000s === undefined ? undefined : per1000s / 1e6
}

/**
 * This session's part of the job's rate, items a millisecond: that of the items it owns, final ones too, among those of the sessions
 * that live and have something left, of a composition something that can run. So a GRANT passes its part on, and what nobody uses is
 * the others'.
 */
export function ownRate(core: Core, run: JobRun): number {
  const { session: self } = core.self
  const limit = rateLimit(run) ?? Number.POSITIVE_INFINITY
  const able = run.isGraph ? readyOwners(run) : undefined
  const own = run.fold.openItems(self) > 0 && able?.has(self) !== false ? owned(run, self) : 0
  if (own === 0) return 0
  let all = own
  for (const session of run.fold.openOf.keys()) {
    if (session === self || able?.has(session) === false) continue
    if (isAtWork(core, run, session)) all += owned(run, session)
  }
  return (limit * own) / all
}

/** The same; reckoned anew only when something may have changed it. */
function currentRate(core: Core, run: JobRun): number {
  const { entryCount } = run.fold
  const ended = core.ended.size
  const known = run.knownRate
  const isFresh = known?.entries === entryCount && known.ended === ended
  if (isFresh && core.now - known.at < RATE_LOOK_MS) return known.perMs
  const perMs = ownRate(core, run)
  run.knownRate = { perMs, entries: entryCount, ended, at: core.now }
  return perMs
}

function owned({ fold }: JobRun, session: SessionId): number {
  return fold.ownedOf.get(session) ?? 0
}

/** A session that uses its part: it lives, and has what the job requires. */
function isAtWork(core: Core, run: JobRun, session: SessionId): boolean {
  if (session === NOBODY || core.ended.has(session) || core.predecessors.has(session)) return false
  const facts = core.leases.get(session)?.facts
  return facts === undefined || powerFor(facts, run.fold.spec) > 0
}

/** Brings the bucket up to now, and makes it when the job can start here. */
export function fillBucket(core: Core, run: JobRun): TokenBucket | undefined {
  if (rateLimit(run) === undefined) return undefined
  const rate = currentRate(core, run)
  if (run.bucket === undefined) {
    if (rate === 0) return undefined
    run.bucket = new TokenBucket(core.now, firstTokens(core, run))
  }
  run.bucket.fill(core.now, rate, run.chunkSizeAt(run.todo.first()?.lo ?? 0) ?? 1)
  return run.bucket
}

/**
 * Sessions begin one after the other, not all at once: each with a part of a token, by its place among the items. Later on (after a
 * PAUSE, with stolen items) that part is as often missing as there.
 */
function firstTokens(core: Core, run: JobRun): number {
  let before = 0
  let all = 0
  for (const session of run.fold.openOf.keys()) {
    if (session !== core.self.session && !isAtWork(core, run, session)) continue
    const items = owned(run, session)
    all += items
    if (session < core.self.session) before += items
  }
  const begins = run.fold.final.size === 0
  return (begins ? 1 : 0.5) - before / Math.max(1, all)
}

/** So many are gathered before a chunk starts: at a high rate not a chunk for each item. */
export function tokensWanted(run: JobRun, perMs: number): number {
  const next = run.todo.first()
  if (next === undefined) return 1
  const size = run.chunkSizeAt(next.lo)
  if (size !== undefined) return Math.min(size - (next.lo % size), next.hi - next.lo)
  return Math.max(1, Math.min(run.todo.size, Math.floor(perMs * RATE_TICK_MS)))
}

/** The rate allows the next chunk. */
export function mayStart(core: Core, run: JobRun): boolean {
  if (rateLimit(run) === undefined) return true
  const bucket = fillBucket(core, run)
  return bucket !== undefined && bucket.whole >= wanted(core, run, bucket)
}

function wanted(core: Core, run: JobRun, bucket: TokenBucket): number {
  return run.delayed.isDue(core.now) ? 1 : tokensWanted(run, bucket.rate)
}

/** Looks again when the rate allows the next chunk. */
export function awaitTokens(core: Core, run: JobRun): void {
  const bucket = fillBucket(core, run)
  if (bucket === undefined) return
  const at = bucket.readyAt(wanted(core, run, bucket))
  if (at < Number.POSITIVE_INFINITY && at > core.now) core.arm('rate', run, at)
}
