import { pause } from '../base/pause.ts'
import { hash32, rendezvousRank } from '../scheduler/rendezvous.ts'
import type { BlobHash, JobId, PeerId } from '../scheduler/types.ts'
import type { Store, StoredJob } from '../store/types.ts'
import type { BlobExchange } from './blob-exchange.ts'
import {
  COPIES_AT_ONCE,
  COPY_TIMEOUT_MS,
  DEFAULT_REPLICAS,
  HAND_ON_AT_ONCE,
  MAX_COPIES_KNOWN,
  MAX_COPY_TRIES,
  MAX_REPLICAS,
  SPANS_PER_TURN,
} from './limits.ts'
import { type BlobSpan, type LostParts, LostResults } from './lost-results.ts'
import type { Transport } from './transport/types.ts'
import type { UpkeepTimes } from './upkeep-times.ts'
import { WorkPool } from './work-pool.ts'

export interface KeepersParts extends LostParts {
  readonly store: Store
  readonly exchange: Pick<BlobExchange, 'ensure'>
  readonly transport: () => Pick<Transport, 'offerBlob'>
  /** Everything of a job's log goes to that peer, so that the copy is worth something there. */
  readonly sendJob: (to: PeerId, job: JobId) => Promise<void>
  /** Whether values of these items are still of use. */
  readonly isNeeded?: (job: JobId, lo: number, hi: number) => boolean
  /** 0: it takes no copies now; the higher, the sooner it is chosen. */
  readonly readiness: (peer: PeerId) => 0 | 1 | 2
  readonly times: UpkeepTimes
}

/** How the handing on of a leaving peer goes. */
export interface HandOn {
  readonly bytesLeft: number
  readonly bytesTotal: number
}

/**
 * Sees that each result stays on as many live peers as its job asks for (docs/protocol.md, "Keepers"): when a keeper is lost, the
 * first of the others by rendezvous hash places a new copy; what nobody holds any more of a running job is declared LOST. New copies are
 * not in the log: a reader asks every connected peer.
 */
export class Keepers {
  private readonly parts: KeepersParts
  /** Holders that the log does not name: copies that this session made. */
  private readonly copies = new Map<BlobHash, Set<PeerId>>()
  /** Jobs whose log this session sent to a peer. */
  private readonly informed = new Map<PeerId, Set<JobId>>()
  private timer: NodeJS.Timeout | undefined
  private dueAt = Number.POSITIVE_INFINITY
  private looking: Promise<void> | undefined
  private readonly closed = new AbortController()
  /** Looks since something changed: the holder of rank r acts in look r. */
  private patience = 0
  /** Results that lack a copy, as the last look found. */
  private lacking = 0
  private readonly lost: LostResults

  constructor(parts: KeepersParts) {
    this.parts = parts
    this.lost = new LostResults(parts)
  }

  start(): void {
    this.lookIn(this.parts.times.joinDelayMs)
  }

  /** A peer is taken for dead, or left. */
  leaseEnded(_peer: PeerId): void {
    this.patience = 0
    this.lookIn(this.parts.times.copyDelayMs)
  }

  /** A new peer may hold what lacks a copy. */
  peerJoined(peer: PeerId): void {
    this.informed.delete(peer)
    if (this.lacking > 0) this.lookIn(this.parts.times.joinDelayMs)
  }

  /** A result was placed on fewer peers than it should be. */
  tooFew(): void {
    this.lacking += 1
    this.lookIn(this.parts.times.copyDelayMs)
  }

  close(): void {
    clearTimeout(this.timer)
    this.closed.abort()
  }

  /** Results known to lack a copy, as of the last look. */
  get undercopied(): number {
    return this.lacking
  }

  /** Looks at all results now; resolves when what it found to do is done. One look at a time. */
  async look(): Promise<void> {
    while (this.looking !== undefined) await this.looking
    if (this.closed.signal.aborted) return
    clearTimeout(this.timer)
    this.dueAt = Number.POSITIVE_INFINITY
    this.looking = this.lookAtAll().finally(() => {
      this.looking = undefined
    })
    await this.looking
  }

  private lookIn(ms: number): void {
    const at = this.parts.now() + ms
    if (this.closed.signal.aborted || at >= this.dueAt) return
    clearTimeout(this.timer)
    this.dueAt = at
    this.timer = setTimeout(() => {
      this.look().catch((error: unknown) => {
        this.parts.log.warn('a look at the results failed', { error: String(error) })
        this.lookIn(this.parts.times.copyRankMs)
      })
    }, ms)
    this.timer.unref()
  }

  private async lookAtAll(): Promise<void> {
    const { times } = this.parts
    const found = { lacking: 0, deferred: false, lostIn: Number.POSITIVE_INFINITY }
    const pool = new WorkPool(COPIES_AT_ONCE, this.closed.signal)
    for (const record of await this.parts.store.jobs()) {
      const running = this.parts.isRunning(record.job)
      for await (const span of this.spans(record.job)) {
        const here = await this.holds(span.result.hash)
        const holders = this.holdersOf(span, here)
        if (holders.size === 0 && running) {
          found.lostIn = Math.min(found.lostIn, await this.lost.judge(record.job, span))
        } else if (holders.size < replicasOf(record)) {
          found.lacking += 1
          if (!here && span.result.keepers.includes(this.parts.self)) {
            await pool.add(async () => {
              const inMs = await this.lost.heal(record.job, span, running)
              found.lostIn = Math.min(found.lostIn, inMs)
            })
          }
          if (!here || this.candidates(span.result.hash, holders).length === 0) continue
          if (rendezvousRank(span.result.hash, this.parts.self, holders) > this.patience) {
            found.deferred = true
            continue
          }
          await pool.add(async () => {
            if (await this.copy(record.job, span, replicasOf(record), holders)) found.lacking -= 1
          })
        }
      }
    }
    await pool.idle()
    this.lacking = found.lacking
    this.patience += 1
    this.lookIn(times.lookEveryMs)
    if (found.deferred) this.lookIn(times.copyRankMs)
    if (found.lostIn < Number.POSITIVE_INFINITY)
      this.lookIn(Math.max(times.lostRankMs / 5, found.lostIn))
  }

  // ------------------------------------------------------------ copies

  /** Gives `want` live peers the result; true when so many have it. */
  private async copy(
    job: JobId,
    span: BlobSpan,
    want: number,
    holders: Set<PeerId>,
  ): Promise<boolean> {
    const startedAt = this.parts.now()
    const { hash } = span.result
    const targets = this.candidates(hash, holders).slice(0, MAX_COPY_TRIES)
    for (const target of targets) {
      if (holders.size >= want || this.closed.signal.aborted) break
      if (await this.give(job, hash, target, this.closed.signal)) holders.add(target)
    }
    // Low priority: half of the time at most goes into copies.
    await pause(Math.min(1_000, this.parts.now() - startedAt), this.closed.signal)
    return holders.size >= want
  }

  private async give(job: JobId, hash: BlobHash, to: PeerId, until: AbortSignal): Promise<boolean> {
    const { store, transport, log } = this.parts
    try {
      const sizeBytes = await store.blobs.size(hash)
      if (sizeBytes === undefined) return false
      await this.inform(to, job)
      const signal = AbortSignal.any([until, AbortSignal.timeout(COPY_TIMEOUT_MS)])
      const kept = await transport().offerBlob(to, hash, sizeBytes, store.blobs.read(hash), signal)
      if (kept) this.remember(hash, to)
      return kept
    } catch (error) {
      log.debug('a copy was not taken', { peer: to.slice(0, 8), error: String(error) })
      return false
    }
  }

  /** A copy of a job that its holder does not know would be swept there. */
  private async inform(peer: PeerId, job: JobId): Promise<void> {
    let jobs = this.informed.get(peer)
    if (jobs === undefined) this.informed.set(peer, (jobs = new Set()))
    if (jobs.has(job)) return
    jobs.add(job)
    await this.parts.sendJob(peer, job)
  }

  private remember(hash: BlobHash, peer: PeerId): void {
    const known = this.copies.get(hash)
    if (known !== undefined) {
      known.add(peer)
      return
    }
    if (this.copies.size >= MAX_COPIES_KNOWN) this.copies.clear()
    this.copies.set(hash, new Set([peer]))
  }

  /** Reachable peers that could take a copy, the first by rendezvous hash first; those that lend before those that only submit. */
  private candidates(hash: BlobHash, holders: ReadonlySet<PeerId>): PeerId[] {
    const { presence, readiness } = this.parts
    return presence
      .reachable()
      .filter((peer) => !holders.has(peer))
      .map((peer) => ({ peer, ready: readiness(peer), weight: hash32(hash + peer) }))
      .filter(({ ready }) => ready > 0)
      .sort((a, b) => b.ready - a.ready || b.weight - a.weight || (a.peer < b.peer ? -1 : 1))
      .map(({ peer }) => peer)
  }

  // ------------------------------------------------------------ leaving

  /**
   * Hands on what only this peer holds, for at most `handOnMs`. `tell` hears how much is left.
   * @param only these jobs; undefined: all
   */
  async handOn(
    tell: (progress: HandOn) => void,
    only?: ReadonlySet<JobId>,
    signal?: AbortSignal,
  ): Promise<HandOn> {
    clearTimeout(this.timer)
    const until = AbortSignal.timeout(this.parts.times.handOnMs)
    const stop = signal === undefined ? until : AbortSignal.any([until, signal])
    const progress = { bytesLeft: 0, bytesTotal: 0 }
    const tried = new Set<BlobHash>()
    // Others may still be naming this peer as a keeper of what they placed here a moment ago.
    while (!stop.aborted && this.parts.presence.reachable().length > 0) {
      const todo = await this.onlyHere(only, tried, stop)
      if (todo.length === 0) break
      for (const { hash, sizeBytes } of todo) {
        tried.add(hash)
        progress.bytesLeft += sizeBytes
        progress.bytesTotal += sizeBytes
      }
      tell({ ...progress })
      const pool = new WorkPool(HAND_ON_AT_ONCE, stop)
      for (const one of todo) {
        await pool.add(async () => {
          if (!(await this.giveToAny(one.job, one.hash, stop))) return
          progress.bytesLeft -= one.sizeBytes
          tell({ ...progress })
        })
      }
      await pool.idle()
    }
    return progress
  }

  private async giveToAny(job: JobId, hash: BlobHash, stop: AbortSignal): Promise<boolean> {
    for (const target of this.candidates(hash, new Set()).slice(0, MAX_COPY_TRIES)) {
      if (stop.aborted) return false
      if (await this.give(job, hash, target, stop)) return true
    }
    return false
  }

  /** Results that no other live peer has, as far as this one knows. */
  private async onlyHere(
    only: ReadonlySet<JobId> | undefined,
    except: ReadonlySet<BlobHash>,
    stop: AbortSignal,
  ): Promise<{ job: JobId; hash: BlobHash; sizeBytes: number }[]> {
    const found: { job: JobId; hash: BlobHash; sizeBytes: number }[] = []
    for (const { job } of await this.parts.store.jobs()) {
      if (only !== undefined && !only.has(job)) continue
      if (stop.aborted) break
      for await (const span of this.spans(job)) {
        const { hash, sizeBytes } = span.result
        if (except.has(hash) || !(await this.holds(hash))) continue
        if (this.holdersOf(span, true).size === 1) found.push({ job, hash, sizeBytes })
      }
    }
    return found
  }

  // ------------------------------------------------------------ reads

  /** Live peers that hold a result, as far as this one knows. */
  holdersOf(span: BlobSpan, here: boolean): Set<PeerId> {
    const { self, presence } = this.parts
    const { hash, keepers } = span.result
    const holders = new Set<PeerId>()
    for (const peer of [...keepers, ...(this.copies.get(hash) ?? [])]) {
      // What this peer holds it sees for itself: a named keeper may have lost its folder.
      if (peer !== self && presence.live(peer)) holders.add(peer)
    }
    if (here) holders.add(self)
    return holders
  }

  async holds(hash: BlobHash): Promise<boolean> {
    return this.parts.store.blobs.has(hash)
  }

  /** Results that are blobs, each hash once where its parts follow each other. Lets others run now and then. */
  async *spans(job: JobId): AsyncGenerator<BlobSpan> {
    let last: BlobHash | undefined
    let seen = 0
    for await (const span of this.parts.store.doneSpans(job)) {
      if (this.closed.signal.aborted) return
      seen += 1
      if (seen % SPANS_PER_TURN === 0) await new Promise((resolve) => setImmediate(resolve))
      if (span.result.kind !== 'blob') continue
      if (this.parts.isNeeded?.(job, span.lo, span.hi) === false) continue
      const isNew = span.result.hash !== last
      last = span.result.hash
      if (isNew || this.parts.isRunning(job)) yield span as BlobSpan
    }
  }
}

export function replicasOf({ summary }: StoredJob): number {
  return Math.min(MAX_REPLICAS, summary.spec.options.replicas ?? DEFAULT_REPLICAS)
}
